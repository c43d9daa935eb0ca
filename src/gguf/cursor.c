#define _POSIX_C_SOURCE 200809L
#include "gguf/cursor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define BUF_BYTES  UINT64_C(65536)
#define PATH_SHOWN 240

const char *lv_path_tail(const char *path)
{
    const size_t n = strlen(path);

    return n > PATH_SHOWN ? path + (n - PATH_SHOWN) : path;
}

enum lever_status lv_cursor_open(struct lv_cursor *c, const char *path, struct lever_error *err)
{
    struct stat sb;
    enum lever_status st;

    *c = (struct lv_cursor){ .fd = -1, .path = path, .err = err };
    /* Non-blocking: opening a FIFO must not hang. Without effect on regular files. */
    do
        c->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (c->fd < 0 && errno == EINTR);
    if (c->fd < 0)
        return LV_FAIL(err, LEVER_E_IO, "%s: cannot open: %s", lv_path_tail(path), strerror(errno));
    if (fstat(c->fd, &sb) != 0) {
        st = LV_FAIL(err, LEVER_E_IO, "%s: cannot read its size: %s", lv_path_tail(path), strerror(errno));
        goto fail;
    }
    if (!S_ISREG(sb.st_mode)) {
        st = LV_FAIL(err, LEVER_E_IO, "%s: is %s, expected a regular file", lv_path_tail(path),
                     S_ISDIR(sb.st_mode) ? "a folder" : "a device or pipe");
        goto fail;
    }
    c->size_bytes = (uint64_t)sb.st_size;
    if (!(c->buf = lv_alloc(1, BUF_BYTES))) {
        st = LV_FAIL(err, LEVER_E_NOMEM, "%s: no memory for a read buffer of %" PRIu64 " bytes", lv_path_tail(path),
                     BUF_BYTES);
        goto fail;
    }
    return LEVER_OK;
fail:
    lv_cursor_close(c);
    return st;
}

void lv_cursor_close(struct lv_cursor *c)
{
    if (c->fd >= 0)
        close(c->fd);
    lv_free(c->buf);
    c->fd = -1;
    c->buf = NULL;
}

enum lever_status lv_cursor_fail(struct lv_cursor *c, enum lever_status st, const char *fmt, ...)
{
    char text[600];
    va_list ap;

    if (c->st < 0)
        return c->st;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->st = LV_FAIL(c->err, st, "%s: offset %" PRIu64 "%s%s%s%.100s: %s", lv_path_tail(c->path), c->off,
                    c->kind ? ", " : "", c->kind ? c->kind : "", c->name ? " " : "", c->name ? c->name : "", text);
    return c->st;
}

bool lv_cursor_need(struct lv_cursor *c, uint64_t n, uint64_t min_bytes, const char *what)
{
    const uint64_t left = c->size_bytes - c->off; /* off never passes size */
    const uint64_t cap = LV_CURSOR_MAX_BYTES - c->off;
    uint64_t need;

    if (c->st < 0)
        return false;
    if (!lv_mul_u64(n, min_bytes, &need) || need > left) {
        lv_cursor_fail(c, LEVER_E_MODEL,
                       "%s: %" PRIu64 " of at least %" PRIu64 " bytes are declared, but only %" PRIu64
                       " bytes are left in the file; it is damaged or was not downloaded completely",
                       what, n, min_bytes, left);
        return false;
    }
    if (need > cap) {
        lv_cursor_fail(c, LEVER_E_MODEL, "%s: the header would be larger than the limit of %" PRIu64 " bytes", what,
                       LV_CURSOR_MAX_BYTES);
        return false;
    }
    return true;
}

/* Reads up to n bytes at the cursor into dst; 0 means an error is kept. Does not move. */
static uint64_t read_some(struct lv_cursor *c, void *dst, uint64_t n)
{
    ssize_t got;

    do
        got = pread(c->fd, dst, n, (off_t)c->off);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        lv_cursor_fail(c, LEVER_E_IO, "reading %" PRIu64 " bytes failed: %s", n, strerror(errno));
    else if (got == 0)
        lv_cursor_fail(c, LEVER_E_IO, "the file became shorter while it was read");
    return got > 0 ? (uint64_t)got : 0;
}

bool lv_cursor_read(struct lv_cursor *c, void *dst, uint64_t n, const char *what)
{
    uint8_t *d = dst;
    uint64_t done = 0;

    if (!lv_cursor_need(c, 1, n, what))
        goto fail;
    while (done < n) {
        const uint64_t in_buf = c->off - c->buf_off; /* wraps when off lies before: then it is large */
        uint64_t got;

        if (in_buf < c->buf_len) {
            got = c->buf_len - in_buf < n - done ? c->buf_len - in_buf : n - done;
            memcpy(d + done, c->buf + in_buf, got);
        } else if (n - done >= BUF_BYTES) { /* large: straight to its place */
            if (!(got = read_some(c, d + done, n - done)))
                goto fail;
        } else {
            c->buf_len = 0;
            if (!(got = read_some(c, c->buf, BUF_BYTES)))
                goto fail;
            c->buf_off = c->off;
            c->buf_len = got;
            continue;
        }
        c->off += got;
        done += got;
    }
    return true;
fail:
    memset(dst, 0, n); /* n was a field's size or an allocated length: the caller has that room */
    return false;
}

bool lv_cursor_skip(struct lv_cursor *c, uint64_t n, const char *what)
{
    if (!lv_cursor_need(c, 1, n, what))
        return false;
    c->off += n;
    return true;
}

uint64_t lv_cursor_uint(struct lv_cursor *c, unsigned n_bytes, const char *what)
{
    uint8_t b[8];
    uint64_t v = 0;

    lv_cursor_read(c, b, n_bytes, what);
    for (unsigned i = n_bytes; i-- > 0;)
        v = v << 8 | b[i];
    return v;
}
