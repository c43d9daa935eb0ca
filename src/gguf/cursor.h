/* Reads a file's header front to back through a small buffer, with checked lengths.
 *
 * The first error is kept: after it every read gives zeros, nothing moves, and the
 * status stays. So a parser may read a few fields and look at `st` once, as long as it looks
 * before it trusts a value.
 *
 * owns     the descriptor and the buffer, until lv_cursor_close
 * borrows  path, err, kind, name
 * threads  one at a time */
#ifndef LV_GGUF_CURSOR_H
#define LV_GGUF_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* No header is larger. The largest vocabularies in use (262,144 tokens) need 7 MiB. */
#define LV_CURSOR_MAX_BYTES (UINT64_C(64) << 20)

struct lv_cursor {
    int fd;
    const char *path;
    uint64_t off;        /* of the next byte */
    uint64_t size_bytes; /* of the file */
    const char *kind;    /* "key", "tensor" or NULL: what is being read, for messages */
    const char *name;    /* its name, or NULL; printable */
    uint8_t *buf;
    uint64_t buf_off; /* file offset of buf[0] */
    uint64_t buf_len;
    enum lever_status st;
    struct lever_error *err;
};

/* Opens a regular file for reading. On failure nothing is held. */
enum lever_status lv_cursor_open(struct lv_cursor *c, const char *path, struct lever_error *err);
void lv_cursor_close(struct lv_cursor *c);

/* Records "path: offset N, kind name: ..." unless an error is already kept; returns the kept status. */
__attribute__((format(printf, 3, 4))) enum lever_status
lv_cursor_fail(struct lv_cursor *c, enum lever_status st, const char *fmt, ...);

/* True if n things of each >= min_bytes still fit the file; else an error is kept. what: "value", "strings". */
bool lv_cursor_need(struct lv_cursor *c, uint64_t n, uint64_t min_bytes, const char *what);
/* Copies n bytes to dst; on error dst is zeroed. */
bool lv_cursor_read(struct lv_cursor *c, void *dst, uint64_t n, const char *what);
bool lv_cursor_skip(struct lv_cursor *c, uint64_t n, const char *what);
/* Little-endian unsigned number of 1, 2, 4 or 8 bytes; 0 on error. */
uint64_t lv_cursor_uint(struct lv_cursor *c, unsigned n_bytes, const char *what);

/* The end of a long path, for messages of limited length. */
const char *lv_path_tail(const char *path);

#endif
