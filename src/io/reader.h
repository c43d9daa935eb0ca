/* Readers: byte ranges of model files into caller's buffers, asynchronously, in any order of completion.
 *
 * owns     descriptors and reader threads, or a ring
 * threads  submit from any thread; done() runs on the thread that filled the buffer, so what it publishes with (a lock,
 *          a release store) carries the bytes along
 *
 * A read rounds its range outwards to LV_IO_ALIGN, so a buffer must hold the aligned superset: the data starts at
 * buf + off % LV_IO_ALIGN. Around it lie the file's bytes, and zeros past its end. Short reads, EINTR and EAGAIN are
 * continued; EIO and an early end are retried once, then reported as LEVER_E_IO with file, offset and cause; what the
 * buffer holds then is undefined. A file that is written to or changes its size after it was opened fails the next read of it.
 * O_DIRECT that is refused or fails with EINVAL falls back to buffered reads with POSIX_FADV_DONTNEED behind, for all
 * files and for good, reported by lv_reader_mode(). */
#ifndef LV_IO_READER_H
#define LV_IO_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#define LV_IO_ALIGN 16384u /* 16 KiB-page devices exist */

struct lv_reader;

struct lv_read {         /* one request; caller's memory, untouched until done */
    uint32_t i_file;
    uint64_t off, len;   /* len >= 1 */
    uint8_t *buf;        /* aligned to LV_IO_ALIGN, lv_read_buf_bytes(off, len) long */
    /* Called once, on a reader thread (or in lv_reader_close), after status and err are set; must not block. The
     * request is the caller's again: done may submit it anew or free it. */
    void (*done)(struct lv_read *r, void *user);
    void *user;
    enum lever_status status;
    struct lever_error err;
    struct lv_read *next; /* the reader's */
    uint64_t began_ns;    /* the reader's: when it went to the device; 0 before */
};

/* Bytes a buffer needs for the aligned superset of [off, off + len). */
static inline uint64_t lv_read_buf_bytes(uint64_t off, uint64_t len)
{
    const uint64_t first = off / LV_IO_ALIGN * LV_IO_ALIGN;
    const uint64_t last = (off + len + LV_IO_ALIGN - 1) / LV_IO_ALIGN * LV_IO_ALIGN;
    return last - first;
}

/* Where the byte at `off` lands in such a buffer. */
static inline uint64_t lv_read_shift(uint64_t off)
{
    return off % LV_IO_ALIGN;
}

/* pread and friends, so that tests can inject faults. NULL = the system's. */
struct lv_io_ops {
    int64_t (*pread)(void *ctx, int fd, void *buf, uint64_t len, uint64_t off); /* as pread(2), sets errno */
    /* What a ring's read gave (bytes or a negative errno), to what the reader is to see. */
    int64_t (*result)(void *ctx, int fd, void *buf, uint64_t len, uint64_t off, int64_t got);
    void *ctx;
};

enum lv_reader_method {
    LV_READER_PREAD = 0, /* a pool of threads */
    LV_READER_URING      /* io_uring; the pool where it is not built in or not allowed, see lv_reader_note */
};

struct lv_reader_options {
    enum lv_reader_method method;
    uint32_t n_threads;  /* reads in flight, and threads of the pool: 1..16; 0 = 4 */
    uint32_t n_urgent;   /* 0 or 1: room for one urgent read beside them, so that it never waits behind a stuck one */
    bool direct;         /* try O_DIRECT first */
    struct lv_io_ops ops;
};

/* paths [n_files]; file_bytes [n_files] as when the model was opened: a file that has changed its size is refused.
 * opt NULL: direct, 4 threads. *out is set only on success. */
enum lever_status lv_reader_open(struct lv_reader **out, const char *const *paths, const uint64_t *file_bytes,
                                 uint32_t n_files, const struct lv_reader_options *opt, struct lever_error *err);
/* Queued reads that have not begun, and long ones between two pieces of 8 MiB, end with LEVER_E_CANCEL; waits for what
 * is in flight. Other threads must have stopped using r; done() may still submit, but not after LEVER_E_CANCEL.
 * Accepts NULL. */
void lv_reader_close(struct lv_reader *r);

/* Queues a read; first come, first served. A bad request (range, buffer) ends with LEVER_E_ARG through done.
 * urgent: before all that are not (embedding rows). */
void lv_reader_submit(struct lv_reader *r, struct lv_read *req, bool urgent);
/* Synchronous read on the calling thread, bypassing the queue. */
enum lever_status lv_reader_read(struct lv_reader *r, uint32_t i_file, uint64_t off, uint64_t len, uint8_t *buf,
                                 struct lever_error *err);

const char *lv_reader_mode(const struct lv_reader *r);   /* "direct" or "buffered" */
const char *lv_reader_method(const struct lv_reader *r); /* "pread" or "uring" */
/* Something asked for that was refused, to be told to the user; NULL when there is nothing. Lives as long as r; call
 * again after lv_reader_check_direct. */
const char *lv_reader_note(const struct lv_reader *r);

/* Finds out whether direct reads really are direct. Some file systems (compressed or verity f2fs, ZFS, sandboxes) take
 * O_DIRECT and still answer from the page cache. A block of LV_IO_ALIGN bytes that was read a moment ago is read again
 * both ways, up to 8 times each; the fastest times are compared. From the page cache it is a system call and a copy
 * (0.4 to 10 us); a device needs a request of its own (flash 50 us and more; the fastest NVMe about 15 us; a virtual
 * disk whose host caches the file about 30 us, for the exit to the host). Less than twice a cached read + 2 us means
 * cached: relative, as machines with slow copies have slow requests too. Host caches below a virtual disk cannot be
 * seen and are not ours to avoid. Persistent memory counts as cached: a copy is all there is to save.
 *
 * When cached, the reader changes to buffered reads, which leave nothing in the page cache, and notes it. Does nothing
 * unless the mode is "direct"; ignores errors, which a real read will report. Takes less than 50 ms, or two reads of
 * a very slow device.
 * buf  LV_IO_ALIGN bytes, aligned to as much
 * Call while no read is in flight; others would only make the verdict "direct" likelier. */
void lv_reader_check_direct(struct lv_reader *r, uint32_t i_file, uint64_t off, uint8_t *buf);

struct lv_reader_stats {
    uint64_t bytes, n_reads; /* bytes: with what was read around the ranges */
    uint64_t busy_ns;      /* time with at least one read in flight */
    /* Times between two neighbouring beginnings or ends of reads with as many in flight as there may be, and the bytes of
     * the reads that ended them: together what the device gives when it is kept busy. */
    uint64_t full_bytes, full_ns;
};
void lv_reader_get_stats(struct lv_reader *r, struct lv_reader_stats *out);

#endif
