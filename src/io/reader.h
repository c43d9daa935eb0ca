/* Readers: byte ranges of model files into caller's buffers, asynchronously, in any order of completion.
 *
 * owns     descriptors and reader threads
 * threads  submit from any thread; done() runs on the thread that filled the buffer, so what it publishes with (a lock,
 *          a release store) carries the bytes along
 *
 * A read rounds its range outwards to LV_IO_ALIGN, so a buffer must hold the aligned superset: the data starts at
 * buf + off % LV_IO_ALIGN. Around it lie the file's bytes, and zeros past its end. Short reads, EINTR and EAGAIN are
 * continued; EIO and an early end are retried once, then reported as LEVER_E_IO with file, offset and cause; what the
 * buffer holds then is undefined. A file that changes its size after it was opened fails the next read of it.
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
    void *ctx;
};

struct lv_reader_options {
    uint32_t n_threads;  /* 1..16; 0 = 4 */
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

const char *lv_reader_mode(const struct lv_reader *r); /* "direct" or "buffered" */

struct lv_reader_stats {
    uint64_t bytes, n_reads; /* bytes: with what was read around the ranges */
    uint64_t busy_ns;      /* time with at least one read in flight */
};
void lv_reader_get_stats(struct lv_reader *r, struct lv_reader_stats *out);

#endif
