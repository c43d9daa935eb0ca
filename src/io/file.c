#define _GNU_SOURCE /* O_DIRECT, statx */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

#ifndef O_DIRECT
#define O_DIRECT 0 /* then direct reads are never tried */
#endif

#define PIECE_BYTES (UINT64_C(8) << 20) /* of one pread: the device's full rate, and a cancel is seen soon */
#define INTERRUPT_MAX 10000             /* EINTR or EAGAIN in a row before it counts as an error */
#define AGAIN_FREE 16                   /* EAGAIN in a row before each costs a short sleep ... */
#define AGAIN_SLEEP_NS 50000            /* ... so that the limit is reached in about a second */
#define NAME_MAX_BYTES 240              /* of a path in messages: its end tells most, and the rest must fit too */

/* strerror() is safe between threads in glibc (2.32), musl and bionic. */
static const char *error_text(int e)
{
    return strerror(e);
}

static const char *path_end(const char *path)
{
    const size_t n = strlen(path);

    return n > NAME_MAX_BYTES ? path + (n - NAME_MAX_BYTES) : path;
}

/* ---- open ---------------------------------------------------------------- */

#if !defined(__ANDROID__)
/* False when the system says that direct reads on our alignment cannot work; true when it does not say (before Linux
 * 6.1), as the first read will tell. */
static bool direct_is_possible(int fd)
{
#ifdef STATX_DIOALIGN
    struct statx x;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &x) == 0 && (x.stx_mask & STATX_DIOALIGN))
        return x.stx_dio_offset_align > 0 && x.stx_dio_mem_align > 0 && LV_IO_ALIGN % x.stx_dio_offset_align == 0 &&
               LV_IO_ALIGN % x.stx_dio_mem_align == 0;
#else
    (void)fd;
#endif
    return true;
}
#else
static bool direct_is_possible(int fd) /* an app's seccomp filter may kill for a call it does not know */
{
    (void)fd;
    return true;
}
#endif

/* io_uring takes O_NONBLOCK seriously where a file system cannot promise it, and would give EAGAIN for ever. */
static void let_block(int fd)
{
    const int flags = fcntl(fd, F_GETFL);

    if (flags >= 0)
        fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

enum lever_status lv_file_open(struct lv_file *f, const char *path, uint64_t bytes, bool want_direct,
                               struct lever_error *err)
{
    const char *name = path_end(path);
    enum lever_status st = LEVER_OK;
    struct stat sb;

    *f = LV_FILE_CLOSED;
    /* O_NONBLOCK: a FIFO in the file's place must not hang us; regular files do not care. */
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (f->fd < 0)
        return LV_FAIL(err, LEVER_E_IO, "%s: cannot open: %s", name, error_text(errno));
    if (fstat(f->fd, &sb) != 0) {
        st = LV_FAIL(err, LEVER_E_IO, "%s: cannot get its size: %s", name, error_text(errno));
        goto out;
    }
    if (!S_ISREG(sb.st_mode)) {
        st = LV_FAIL(err, LEVER_E_IO, "%s: not a regular file", name);
        goto out;
    }
    if ((uint64_t)sb.st_size != bytes) {
        st = LV_FAIL(err, LEVER_E_IO,
                     "%s: the file has %" PRIu64 " bytes, expected %" PRIu64
                     " as when its header was read; it is being changed, try again when it is complete",
                     name, (uint64_t)sb.st_size, bytes);
        goto out;
    }
    f->name = lv_strdup(name);
    if (!f->name) {
        st = LV_FAIL(err, LEVER_E_NOMEM, "%s: no memory for its name", name);
        goto out;
    }
    f->bytes = bytes;
    f->mtime_s = sb.st_mtim.tv_sec;
    f->mtime_ns = sb.st_mtim.tv_nsec;
    let_block(f->fd);
#ifdef POSIX_FADV_RANDOM
    /* No read-ahead: its pages straddle our requests, and DONTNEED leaves those behind (Linux 6.18, ext4: up to half
     * of what was read). Large requests are as fast without. */
    posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM);
#endif
    if (want_direct && O_DIRECT != 0 && direct_is_possible(f->fd)) {
        struct stat same;

        f->fd_direct = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_DIRECT);
        /* The path may name another file by now; both descriptors must be one file. */
        if (f->fd_direct >= 0 &&
            (fstat(f->fd_direct, &same) != 0 || same.st_dev != sb.st_dev || same.st_ino != sb.st_ino)) {
            st = LV_FAIL(err, LEVER_E_IO, "%s: the file was replaced while it was opened; try again", name);
            goto out;
        }
        if (f->fd_direct >= 0)
            let_block(f->fd_direct);
    }
out:
    if (st < 0)
        lv_file_close(f);
    return st;
}

void lv_file_close(struct lv_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    if (f->fd_direct >= 0)
        close(f->fd_direct);
    lv_free(f->name);
    *f = LV_FILE_CLOSED;
}

/* ---- read ---------------------------------------------------------------- */

static enum lever_status fail_early_end(const struct lv_transfer *t, struct lever_error *err)
{
    struct stat sb;

    if (fstat(t->f->fd, &sb) == 0 && (uint64_t)sb.st_size != t->f->bytes)
        return LV_FAIL(err, LEVER_E_IO,
                       "%s: the file ended at offset %" PRIu64 ", expected bytes up to %" PRIu64
                       ": it has %" PRIu64 " bytes now, %" PRIu64 " when it was opened; open the model again",
                       t->f->name, t->at, t->end, (uint64_t)sb.st_size, t->f->bytes);
    return LV_FAIL(err, LEVER_E_IO,
                   "%s: reading stopped at offset %" PRIu64 ", expected bytes up to %" PRIu64 " of a file of %" PRIu64
                   "; the device or file system is at fault",
                   t->f->name, t->at, t->end, t->f->bytes);
}

/* EINTR and EAGAIN: wait a little and go on, but not for ever. */
static enum lever_status after_interrupt(struct lv_transfer *t, int e, struct lever_error *err)
{
    if (++t->n_interrupt > INTERRUPT_MAX)
        return LV_FAIL(err, LEVER_E_IO, "%s: reading at offset %" PRIu64 " gave \"%s\" %d times in a row",
                       t->f->name, t->at, error_text(e), INTERRUPT_MAX);
    if (e != EINTR && t->n_interrupt > AGAIN_FREE)
        nanosleep(&(struct timespec){ .tv_nsec = AGAIN_SLEEP_NS }, NULL);
    return LEVER_OK;
}

enum lever_status lv_transfer_begin(struct lv_transfer *t, const struct lv_file *f, atomic_bool *direct,
                                    const atomic_bool *cancel, uint64_t off, uint64_t len, uint8_t *buf,
                                    struct lever_error *err)
{
    struct stat sb;

    *t = (struct lv_transfer){ .f = f, .direct = direct, .cancel = cancel, .buf = buf };
    if (len == 0 || off > f->bytes || len > f->bytes - off)
        return LV_FAIL(err, LEVER_E_ARG, "%s: a read of %" PRIu64 " bytes at offset %" PRIu64
                       " is not in the file's %" PRIu64 " bytes", f->name, len, off, f->bytes);
    if ((uintptr_t)buf % LV_IO_ALIGN != 0)
        return LV_FAIL(err, LEVER_E_ARG, "%s: the buffer of a read must be aligned to %u bytes", f->name,
                       LV_IO_ALIGN);
    const uint64_t last = off + len + (LV_IO_ALIGN - (off + len) % LV_IO_ALIGN) % LV_IO_ALIGN;

    t->first = lv_round_down(off, LV_IO_ALIGN);
    t->end = last < f->bytes ? last : f->bytes;
    t->zero_bytes = last - t->end;
    t->at = t->first;
    if (fstat(f->fd, &sb) != 0) /* the read will tell */
        return LEVER_OK;
    if ((uint64_t)sb.st_size != f->bytes)
        return LV_FAIL(err, LEVER_E_IO,
                       "%s: the file has %" PRIu64 " bytes now, expected %" PRIu64
                       " as when it was opened (reading %" PRIu64 " bytes at offset %" PRIu64
                       "); open the model again",
                       f->name, (uint64_t)sb.st_size, f->bytes, len, off);
    if (sb.st_mtim.tv_sec != f->mtime_s || sb.st_mtim.tv_nsec != f->mtime_ns)
        return LV_FAIL(err, LEVER_E_IO,
                       "%s: the file was written to since it was opened (reading %" PRIu64 " bytes at offset %" PRIu64
                       "); open the model again",
                       f->name, len, off);
    return LEVER_OK;
}

enum lever_status lv_transfer_next(struct lv_transfer *t, struct lv_piece *out, struct lever_error *err)
{
    if (t->at == t->end) {
        memset(t->buf + (t->end - t->first), 0, (size_t)t->zero_bytes);
        return LEVER_DONE;
    }
    if (t->cancel && atomic_load(t->cancel))
        return LV_FAIL(err, LEVER_E_CANCEL, "%s: the reader was closed during a read", t->f->name);

    /* Direct reads go on at aligned places only. After a short one that ends elsewhere, buffered reads finish the
     * aligned block. */
    const bool may = t->f->fd_direct >= 0 && atomic_load(t->direct);

    t->piece_direct = may && t->at % LV_IO_ALIGN == 0;
    t->want = t->end - t->at;
    if (t->piece_direct)
        t->want = lv_round_up(t->want, LV_IO_ALIGN); /* the last block passes the end of the file; there is room */
    else if (may && t->want > LV_IO_ALIGN - t->at % LV_IO_ALIGN)
        t->want = LV_IO_ALIGN - t->at % LV_IO_ALIGN;
    if (t->want > PIECE_BYTES)
        t->want = PIECE_BYTES;
    *out = (struct lv_piece){ .fd = t->piece_direct ? t->f->fd_direct : t->f->fd,
                              .buf = t->buf + (t->at - t->first),
                              .len = t->want,
                              .off = t->at };
    return LEVER_OK;
}

enum lever_status lv_transfer_result(struct lv_transfer *t, int64_t got, struct lever_error *err)
{
    const int e = got < 0 ? (int)-got : 0;

    if (got > 0) {
        const uint64_t at = t->at + (uint64_t)got;

        t->n_interrupt = 0;
        if ((uint64_t)got > t->want)
            return LV_FAIL(err, LEVER_E_INTERNAL, "%s: a read of %" PRIu64 " bytes gave %" PRId64, t->f->name,
                           t->want, got);
        if (!t->piece_direct)
            lv_file_forget(t->f, t->at, (uint64_t)got);
        t->at = at < t->end ? at : t->end;
        return LEVER_OK;
    }
    if (e == EINTR || e == EAGAIN)
        return after_interrupt(t, e, err);
    if (e == EINVAL && t->piece_direct) { /* refused only now: some file systems take the open */
        atomic_store(t->direct, false);
        return LEVER_OK;
    }
    if ((got == 0 || e == EIO) && t->n_retry++ == 0)
        return LEVER_OK;
    if (got == 0)
        return fail_early_end(t, err);
    return LV_FAIL(err, LEVER_E_IO, "%s: reading %" PRIu64 " bytes at offset %" PRIu64 " failed%s: %s", t->f->name,
                   t->want, t->at, e == EIO ? " twice" : "", error_text(e));
}

void lv_file_forget(const struct lv_file *f, uint64_t off, uint64_t len)
{
#ifdef POSIX_FADV_DONTNEED
    posix_fadvise(f->fd, (off_t)off, (off_t)len, POSIX_FADV_DONTNEED);
#else
    (void)f, (void)off, (void)len;
#endif
}

int64_t lv_file_pread(const struct lv_io_ops *ops, const struct lv_piece *p)
{
    errno = 0;
    const int64_t got = ops && ops->pread ? ops->pread(ops->ctx, p->fd, p->buf, p->len, p->off)
                                          : (int64_t)pread(p->fd, p->buf, (size_t)p->len, (off_t)p->off);

    return got < 0 ? -(int64_t)errno : got;
}

enum lever_status lv_file_read(const struct lv_file *f, const struct lv_io_ops *ops, atomic_bool *direct,
                               const atomic_bool *cancel, uint64_t off, uint64_t len, uint8_t *buf, uint64_t *n_read,
                               struct lever_error *err)
{
    struct lv_transfer t;
    struct lv_piece p;
    enum lever_status st = lv_transfer_begin(&t, f, direct, cancel, off, len, buf, err);

    while (st == LEVER_OK && (st = lv_transfer_next(&t, &p, err)) == LEVER_OK)
        st = lv_transfer_result(&t, lv_file_pread(ops, &p), err);
    *n_read = t.at - t.first;
    return st == LEVER_DONE ? LEVER_OK : st;
}
