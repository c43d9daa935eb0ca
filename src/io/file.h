/* One model file: open, and reads that are whole or an error. Knows about O_DIRECT, short reads, EINTR, EIO and files
 * that change underneath; knows nothing of threads and queues. Readers of any kind (pread pool, later io_uring) use
 * it for the odd cases.
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
    uint64_t bytes; /* as when it was opened */
    int fd;         /* buffered */
    int fd_direct;  /* -1: not open */
};

#define LV_FILE_CLOSED ((struct lv_file){ .fd = -1, .fd_direct = -1 })

/* Opens path, which must be a regular file of exactly `bytes` bytes. want_direct: also for O_DIRECT; where the system
 * refuses that, fd_direct stays -1 and the call succeeds. On failure *f is LV_FILE_CLOSED. */
enum lever_status lv_file_open(struct lv_file *f, const char *path, uint64_t bytes, bool want_direct,
                               struct lever_error *err);
void lv_file_close(struct lv_file *f); /* accepts LV_FILE_CLOSED */

/* Reads the LV_IO_ALIGN superset of [off, off + len) to buf and zeroes what lies past the end of the file.
 * direct    true: O_DIRECT; set to false for good when the system turns out to refuse it
 * cancel    looked at between pieces (LEVER_E_CANCEL); NULL = never
 * n_read    bytes that came, also on failure; may not be NULL
 * Returns LEVER_OK, LEVER_E_ARG for a range outside the file or an unaligned buffer, or LEVER_E_IO. */
enum lever_status lv_file_read(const struct lv_file *f, const struct lv_io_ops *ops, atomic_bool *direct,
                               const atomic_bool *cancel, uint64_t off, uint64_t len, uint8_t *buf, uint64_t *n_read,
                               struct lever_error *err);

#endif
