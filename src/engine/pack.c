/* Writes sidecars: matrix by matrix through two buffers, to a file beside the final one, which takes its place when
 * all is on the device. */
#define _GNU_SOURCE /* fallocate */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cpu/cpu.h"
#include "engine/sidecar.h"
#include "gguf/cursor.h"
#include "kern/kern.h"

#define PIECE_BYTES (UINT64_C(4) << 20)  /* read, packed and written at once */
#define FLUSH_BYTES (UINT64_C(64) << 20) /* written to the device when so much is dirty: the page cache stays small */

struct packer {
    struct lever_pack_options opt;
    struct lv_pack_ops ops;
    struct lv_gguf *g;
    struct lv_program *p;
    struct lv_kern kern;
    struct lv_reader *reader;
    char *path, *part;         /* the final name, and the one while it is written; owned */
    int fd, fd_dir;            /* of part, locked, and of its folder; -1 */
    uint8_t *region, *in, *out;
    uint64_t region_bytes, piece_bytes;
    uint64_t n_done, n_total, n_dirty;
    struct lv_sidecar_head head;
};

void lever_pack_options_default(struct lever_pack_options *opt, size_t size)
{
    const struct lever_pack_options d = { .size = sizeof d };

    memset(opt, 0, size);
    memcpy(opt, &d, size < sizeof d ? size : sizeof d);
    opt->size = size;
}

static void say(const struct packer *k, enum lever_log_level level, const char *message)
{
    if (k->opt.log)
        k->opt.log(k->opt.user, level, message);
}

/* After each piece. */
static enum lever_status step(struct packer *k, const char *what, uint64_t n, struct lever_error *err)
{
    k->n_done += n;
    if (k->opt.progress)
        k->opt.progress(k->opt.user, what, k->n_done, k->n_total);
    if (k->opt.cancelled && k->opt.cancelled(k->opt.user))
        return LV_FAIL(err, LEVER_E_CANCEL, "%s: cancelled", lv_path_tail(k->path));
    return LEVER_OK;
}

static enum lever_status fail_write(const struct packer *k, const char *what, int e, struct lever_error *err)
{
    return LV_FAIL(err, LEVER_E_IO, "%s: %s failed: %s%s; nothing was left behind", lv_path_tail(k->path), what,
                   strerror(e), e == ENOSPC || e == EDQUOT || e == EFBIG ? " (choose another place with -o FILE)" : "");
}

/* ---- opening ------------------------------------------------------------------------------- */

static enum lever_status open_model(struct packer *k, struct lever_error *err)
{
    const char *path[LV_GGUF_MAX_FILES];
    uint64_t bytes[LV_GGUF_MAX_FILES];
    const struct lv_reader_options io = { .n_threads = 1, .direct = true };

    LV_TRY(lv_gguf_open(&k->g, k->opt.target_path, err));
    LV_TRY(lv_program_new(&k->p, k->g, err));
    lv_gguf_drop_arrays(k->g);
    for (uint32_t i = 0; i < lv_gguf_n_files(k->g); i++) {
        path[i] = lv_gguf_path(k->g, i);
        bytes[i] = lv_gguf_file_bytes(k->g, i);
    }
    LV_TRY(lv_reader_open(&k->reader, path, bytes, lv_gguf_n_files(k->g), &io, err));
    lv_kern_init(&k->kern, lv_cpu_detect());

    k->piece_bytes = PIECE_BYTES;
    for (uint32_t i = 0; i < k->p->n_w; i++) {
        const struct lv_weight *w = &k->p->w[i];

        k->piece_bytes = w->group_bytes > k->piece_bytes ? w->group_bytes : k->piece_bytes;
        k->n_total += w->n_groups * w->group_bytes;
    }
    k->piece_bytes = lv_round_up(k->piece_bytes, LV_IO_ALIGN) + LV_IO_ALIGN;
    k->region_bytes = 2 * k->piece_bytes + LV_IO_ALIGN;
    k->region = lv_region_new(k->region_bytes, false);
    if (!k->region)
        return LV_FAIL(err, LEVER_E_NOMEM, "pack: buffers of %" PRIu64 " bytes", k->region_bytes);
    k->in = (uint8_t *)lv_round_up((uintptr_t)k->region, LV_IO_ALIGN);
    k->out = k->in + k->piece_bytes;
    return LEVER_OK;
}

/* Refuses to replace a part of the model, and what is no sidecar unless told to. */
static enum lever_status check_place(const struct packer *k, struct lever_error *err)
{
    struct stat there, part;
    char magic[4] = "";

    if (stat(k->path, &there) != 0)
        return LEVER_OK; /* a real obstacle shows when part is made */
    for (uint32_t i = 0; i < lv_gguf_n_files(k->g); i++)
        if (stat(lv_gguf_path(k->g, i), &part) == 0 && part.st_dev == there.st_dev && part.st_ino == there.st_ino)
            return LV_FAIL(err, LEVER_E_ARG, "%s is the model itself; give another file", lv_path_tail(k->path));
    if (!S_ISREG(there.st_mode))
        return LV_FAIL(err, LEVER_E_ARG, "%s is not a regular file; give another one", lv_path_tail(k->path));
    if (k->opt.force || there.st_size == 0)
        return LEVER_OK;
    const int fd = open(k->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const bool ours = fd >= 0 && pread(fd, magic, sizeof magic, 0) == sizeof magic && memcmp(magic, "LVPK", 4) == 0;

    if (fd >= 0)
        close(fd);
    if (!ours)
        return LV_FAIL(err, LEVER_E_ARG, "%s is there and no file of lever pack; give another one, or replace it with "
                       "--force", lv_path_tail(k->path));
    return LEVER_OK;
}

/* Opens and locks part. What a killed run left is taken over; what a living one writes is not. */
static enum lever_status open_part(struct packer *k, struct lever_error *err)
{
    for (int tries = 0; tries < 100; tries++) {
        struct stat by_name, by_fd;

        k->fd = open(k->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (k->fd < 0)
            return LV_FAIL(err, LEVER_E_IO, "%s: cannot be made: %s; choose another place with -o FILE",
                           lv_path_tail(k->part), strerror(errno));
        const bool locked = flock(k->fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK; /* or no locks here */

        /* Between open and lock it may have become somebody's finished file. */
        if (locked && stat(k->part, &by_name) == 0 && fstat(k->fd, &by_fd) == 0 && by_name.st_dev == by_fd.st_dev &&
            by_name.st_ino == by_fd.st_ino && S_ISREG(by_fd.st_mode))
            return LEVER_OK;
        close(k->fd);
        k->fd = -1;
        if (!locked)
            break;
    }
    return LV_FAIL(err, LEVER_E_IO, "%s: another lever pack is writing it", lv_path_tail(k->part));
}

/* Space for all of it first: a full device is known before the work, and the file lies in one piece. */
static enum lever_status reserve(struct packer *k, struct lever_error *err)
{
    if (ftruncate(k->fd, 0) != 0 || ftruncate(k->fd, (off_t)k->head.file_bytes) != 0)
        return fail_write(k, "setting its size", errno, err);
    if (fallocate(k->fd, 0, 0, (off_t)k->head.file_bytes) != 0 &&
        (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO)) {
        const int e = errno;
        char what[80];

        snprintf(what, sizeof what, "reserving %" PRIu64 " bytes", k->head.file_bytes);
        return fail_write(k, what, e, err);
    }
    return LEVER_OK;
}

/* ---- writing ---------------------------------------------------------------------------------- */

static enum lever_status flush(struct packer *k, struct lever_error *err)
{
    const int r = k->ops.fsync ? k->ops.fsync(k->ops.ctx, k->fd) : fsync(k->fd);

    if (r != 0)
        return fail_write(k, "writing to the device", errno, err);
    posix_fadvise(k->fd, 0, 0, POSIX_FADV_DONTNEED);
    k->n_dirty = 0;
    return LEVER_OK;
}

static enum lever_status write_all(struct packer *k, const uint8_t *buf, uint64_t len, uint64_t off,
                                   struct lever_error *err)
{
    for (uint64_t at = 0; at < len;) {
        errno = 0;
        const int64_t n = k->ops.pwrite ? k->ops.pwrite(k->ops.ctx, k->fd, buf + at, len - at, off + at)
                                        : pwrite(k->fd, buf + at, (size_t)(len - at), (off_t)(off + at));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            const int e = n < 0 ? errno : ENOSPC; /* 0 bytes, no error: no room is the only known cause */
            char what[80];

            snprintf(what, sizeof what, "writing %" PRIu64 " bytes at offset %" PRIu64, len - at, off + at);
            return fail_write(k, what, e, err);
        }
        at += (uint64_t)n;
    }
    k->n_dirty += len;
    return k->n_dirty >= FLUSH_BYTES ? flush(k, err) : LEVER_OK;
}

static enum lever_status write_matrix(struct packer *k, uint32_t i, struct lever_error *err)
{
    const struct lv_weight *w = &k->p->w[i];
    const uint32_t most = (uint32_t)((k->piece_bytes - LV_IO_ALIGN) / w->group_bytes);
    uint64_t hash = w->n_groups * w->group_bytes;

    for (uint32_t g = 0; g < w->n_groups; g += most) {
        const uint32_t n = w->n_groups - g < most ? w->n_groups - g : most;
        const uint64_t at = g * w->group_bytes, len = n * w->group_bytes;
        const uint64_t there = w->bytes - at < len ? w->bytes - at : len; /* the last group may be short */

        LV_TRY(lv_reader_read(k->reader, w->i_file, w->off + at, there, k->in, err));
        for (uint32_t j = 0; j < n; j++) {
            const uint32_t left = w->n_rows - (g + j) * LV_GROUP_ROWS;

            k->kern.pack[w->type](k->out + j * w->group_bytes, k->in + lv_read_shift(w->off + at) + j * w->group_bytes,
                                  left < LV_GROUP_ROWS ? left : LV_GROUP_ROWS, w->n_cols);
        }
        hash = lv_sidecar_hash(hash, k->out, len);
        LV_TRY(write_all(k, k->out, len, lv_sidecar_matrix_off(&k->head, i) + at, err));
        LV_TRY(step(k, "pack", len, err));
    }
    lv_sidecar_set_hash(&k->head, i, hash);
    return LEVER_OK;
}

/* The model must be the same at the end: only then the key says what was packed. */
static enum lever_status check_model(const struct packer *k, struct lever_error *err)
{
    struct lv_sidecar_head now;

    LV_TRY(lv_sidecar_expect(&now, k->p, k->g, err));
    for (uint32_t i = 0; i < k->p->n_w; i++)
        lv_sidecar_set_hash(&now, i, lv_sidecar_matrix_hash(&k->head, i));
    const bool same = memcmp(now.bytes, k->head.bytes, now.n_bytes) == 0;

    lv_sidecar_head_deinit(&now);
    return same ? LEVER_OK
                : LV_FAIL(err, LEVER_E_IO, "%s changed while it was packed; try again when it is complete",
                          lv_path_tail(k->opt.target_path));
}

/* The folder of the file: its name must survive a crash as its bytes do. Opened early, so that nothing but the device
 * can fail once the file has its name. */
static enum lever_status open_folder(struct packer *k, struct lever_error *err)
{
    char *dir = lv_strdup(k->path), *slash = dir ? strrchr(dir, '/') : NULL;

    if (!dir)
        return LV_FAIL(err, LEVER_E_NOMEM, "pack: name of a folder");
    if (slash)
        slash[slash == dir] = '\0';
    k->fd_dir = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int e = errno;

    lv_free(dir);
    if (k->fd_dir < 0 && e != EACCES) /* a folder may be writable and not readable */
        return LV_FAIL(err, LEVER_E_IO, "%s: its folder cannot be opened: %s; choose another place with -o FILE",
                       lv_path_tail(k->path), strerror(e));
    return LEVER_OK;
}

static enum lever_status finish(struct packer *k, struct lever_error *err)
{
    if (rename(k->part, k->path) != 0)
        return fail_write(k, "giving it its name", errno, err);
    close(k->fd);
    k->fd = -1;
    if (k->fd_dir >= 0 && fsync(k->fd_dir) != 0 && errno != EINVAL && errno != ENOTSUP) /* not all file systems can */
        return LV_FAIL(err, LEVER_E_IO, "%s: written, but writing its folder to the device failed: %s",
                       lv_path_tail(k->path), strerror(errno));
    return LEVER_OK;
}

static enum lever_status write_file(struct packer *k, struct lever_error *err)
{
    LV_TRY(lv_sidecar_expect(&k->head, k->p, k->g, err));
    LV_TRY(open_folder(k, err));
    LV_TRY(open_part(k, err));
    LV_TRY(reserve(k, err));
    k->n_done = k->n_dirty = 0;
    for (uint32_t i = 0; i < k->p->n_w; i++)
        LV_TRY(write_matrix(k, i, err));
    LV_TRY(check_model(k, err));
    lv_sidecar_seal(&k->head);
    LV_TRY(write_all(k, k->head.bytes, k->head.n_bytes, 0, err));
    LV_TRY(flush(k, err));
    return finish(k, err);
}

/* ---- a file that is there already ----------------------------------------------------------------- */

/* LEVER_OK: it holds what its checksums say; LEVER_E_MODEL: it does not. */
static enum lever_status check_data(struct packer *k, const struct lv_sidecar_head *h, struct lever_error *err)
{
    const struct lv_reader_options io = { .n_threads = 1, .direct = true };
    const char *path = k->path;
    struct lv_reader *r = NULL;
    enum lever_status st = lv_reader_open(&r, &path, &h->file_bytes, 1, &io, err);

    for (uint32_t i = 0; i < k->p->n_w && st >= 0; i++) {
        const uint64_t bytes = k->p->w[i].n_groups * k->p->w[i].group_bytes, off = lv_sidecar_matrix_off(h, i);
        uint64_t hash = bytes;

        for (uint64_t at = 0; at < bytes && st >= 0;) {
            const uint64_t n = bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES;

            st = lv_reader_read(r, 0, off + at, n, k->in, err);
            if (st >= 0) {
                hash = lv_sidecar_hash(hash, k->in + lv_read_shift(off + at), n);
                st = step(k, "check", n, err);
            }
            at += n;
        }
        if (st >= 0 && hash != lv_sidecar_matrix_hash(h, i))
            st = LV_FAIL(err, LEVER_E_MODEL, "%s: the checksum of %s is wrong: the file is damaged", lv_path_tail(path),
                         k->p->w[i].tensor->name);
    }
    lv_reader_close(r);
    return st;
}

/* LEVER_DONE: a good one is there. LEVER_OK: it has to be written. */
static enum lever_status look(struct packer *k, struct lever_error *err)
{
    struct lever_error why = { 0 };
    struct lv_sidecar_head h;
    char line[1100];

    if (k->opt.force)
        return LEVER_OK;
    enum lever_status st = lv_sidecar_read(&h, k->p, k->g, k->path, &why);

    if (st == LEVER_DONE)
        return LEVER_OK;
    if (st == LEVER_OK) {
        st = check_data(k, &h, &why);
        lv_sidecar_head_deinit(&h);
        if (st == LEVER_OK)
            return LEVER_DONE;
    }
    if (st != LEVER_E_MODEL && st != LEVER_E_IO) {
        if (err)
            *err = why;
        return st;
    }
    snprintf(line, sizeof line, "replacing what is there: %s", why.message);
    say(k, LEVER_LOG_INFO, line);
    return LEVER_OK;
}

/* ---- all of it -------------------------------------------------------------------------------------- */

static enum lever_status take_options(struct packer *k, const struct lever_pack_options *opt, struct lever_error *err)
{
    lever_pack_options_default(&k->opt, sizeof k->opt);
    memcpy(&k->opt, opt, opt->size < sizeof k->opt ? opt->size : sizeof k->opt);
    k->opt.size = sizeof k->opt;
    if (!k->opt.target_path)
        return LV_FAIL(err, LEVER_E_ARG, "no model: set target_path");
    k->path = k->opt.out_path ? lv_strdup(k->opt.out_path) : lv_sidecar_path(k->opt.target_path);
    k->part = k->path ? lv_alloc(strlen(k->path) + sizeof ".part", 1) : NULL;
    if (!k->part)
        return LV_FAIL(err, LEVER_E_NOMEM, "pack: names of files");
    strcpy(k->part, k->path);
    strcat(k->part, ".part");
    return LEVER_OK;
}

enum lever_status lv_pack(const struct lever_pack_options *opt, const struct lv_pack_ops *ops, struct lever_error *err)
{
    struct packer k = { .fd = -1, .fd_dir = -1, .ops = ops ? *ops : (struct lv_pack_ops){ 0 } };
    enum lever_status st;

    if ((st = take_options(&k, opt, err)) < 0 || (st = open_model(&k, err)) < 0 || (st = check_place(&k, err)) < 0)
        goto out;
    if ((st = look(&k, err)) == LEVER_OK)
        st = write_file(&k, err);
out:
    if (k.fd >= 0) {
        unlink(k.part); /* before the lock goes */
        close(k.fd);
    }
    if (k.fd_dir >= 0)
        close(k.fd_dir);
    lv_reader_close(k.reader);
    lv_region_free(k.region, k.region_bytes);
    lv_sidecar_head_deinit(&k.head);
    lv_program_free(k.p);
    lv_gguf_close(k.g);
    lv_free(k.path);
    lv_free(k.part);
    return st;
}

enum lever_status lever_pack(const struct lever_pack_options *opt, struct lever_error *err)
{
    if (!opt || opt->size < offsetof(struct lever_pack_options, out_path))
        return LV_FAIL(err, LEVER_E_ARG, "lever_pack: opt, made by lever_pack_options_default, is required");
    return lv_pack(opt, NULL, err);
}
