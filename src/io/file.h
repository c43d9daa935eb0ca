/* One model file: open, and reads that are whole or an error. Knows about O_DIRECT, short reads, EINTR, EIO and files
 * that change underneath; knows nothing of threads and queues. A read is a transfer of several pieces: who has the means
 * (pread, io_uring) reads the next piece and reports what came of it, and the transfer decides how to go on.
 *
 * owns     descriptors and the copy of the name
 * threads  reads from any; the fallback to buffered happens once, whoever sees the need first */
#ifndef LV_IO_FILE_H
#define LV_IO_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "io/reader.h"

struct lv_file {
    char *name;     /* the path's end, for messages; owned */
    uint64_t bytes; /* as when it was opened, */
    int64_t mtime_s, mtime_ns; /* and when it had been written last */
    int fd;         /* buffered */
    int fd_direct;  /* -1: not open */
};

#define LV_FILE_CLOSED ((struct lv_file){ .fd = -1, .fd_direct = -1 })

/* Opens path, which must be a regular file of exactly `bytes` bytes. want_direct: also for O_DIRECT; where the system
 * refuses that, fd_direct stays -1 and the call succeeds. On failure *f is LV_FILE_CLOSED. */
enum lever_status lv_file_open(struct lv_file *f, const char *path, uint64_t bytes, bool want_direct,
                               struct lever_error *err);
void lv_file_close(struct lv_file *f); /* accepts LV_FILE_CLOSED */

/* One read on its way: the LV_IO_ALIGN superset of a range. All fields are file.c's own, but for `at` and `first`. */
struct lv_transfer {
    const struct lv_file *f;
    atomic_bool *direct;
    const atomic_bool *cancel;
    uint8_t *buf;         /* of byte `first` */
    uint64_t first, end;  /* superset, cut at the end of the file */
    uint64_t at;          /* next byte wanted; at - first bytes have come */
    uint64_t zero_bytes;  /* of the buffer, behind `end` */
    uint64_t want;        /* of the piece that was asked for, */
    bool piece_direct;    /* and how */
    uint32_t n_retry;     /* EIO and early ends so far */
    uint32_t n_interrupt; /* in a row */
};

struct lv_piece { /* arguments of one pread */
    int fd;
    uint8_t *buf;
    uint64_t len, off;
};

/* direct    true: O_DIRECT; set to false for good when the system turns out to refuse it
 * cancel    looked at between pieces (LEVER_E_CANCEL); NULL = never
 * Returns LEVER_OK, LEVER_E_ARG for a range outside the file or an unaligned buffer, or LEVER_E_IO when the file has
 * changed since it was opened. */
enum lever_status lv_transfer_begin(struct lv_transfer *t, const struct lv_file *f, atomic_bool *direct,
                                    const atomic_bool *cancel, uint64_t off, uint64_t len, uint8_t *buf,
                                    struct lever_error *err);
/* The next piece; LEVER_DONE when the buffer is complete. */
enum lever_status lv_transfer_next(struct lv_transfer *t, struct lv_piece *out, struct lever_error *err);
/* What came of the piece: bytes, or a negative errno. LEVER_OK: go on with lv_transfer_next. May sleep 50 us. */
enum lever_status lv_transfer_result(struct lv_transfer *t, int64_t got, struct lever_error *err);

/* A whole transfer by pread, on the calling thread. n_read: bytes that came, also on failure; may not be NULL. */
enum lever_status lv_file_read(const struct lv_file *f, const struct lv_io_ops *ops, atomic_bool *direct,
                               const atomic_bool *cancel, uint64_t off, uint64_t len, uint8_t *buf, uint64_t *n_read,
                               struct lever_error *err);
/* pread, or the hook in its place: bytes, or a negative errno. */
int64_t lv_file_pread(const struct lv_io_ops *ops, const struct lv_piece *p);
/* Drops a range from the page cache, where it would only compete with the resident weights. */
void lv_file_forget(const struct lv_file *f, uint64_t off, uint64_t len);

#endif
