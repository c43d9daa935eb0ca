/* lever pack: it replaces only what it may, and a write that fails, a run that is stopped or killed leaves what was
 * there.
 *
 * usage: test_lever_pack FOLDER */
#include "engine/side_files.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"

static void flip_byte(const char *path, off_t at)
{
    const int fd = open(path, O_RDWR);
    uint8_t b;

    assert_int_equal(pread(fd, &b, 1, at), 1);
    b ^= 0x10;
    assert_int_equal(pwrite(fd, &b, 1, at), 1);
    close(fd);
}

/* ---- lever pack and its place ------------------------------------------------------------------------------- */

static ino_t inode(const char *path)
{
    struct stat sb;

    assert_int_equal(stat(path, &sb), 0);
    return sb.st_ino;
}

static void test_again(void **state)
{
    struct tiny_spec s = side_usual();
    struct lever_error err;
    size_t n;

    (void)state;
    side_write_model(&s);
    side_pack_ok();
    const ino_t first = inode(side_lvp);

    assert_int_equal(side_pack(false, &err), LEVER_DONE);
    assert_int_equal(inode(side_lvp), first);
    assert_int_equal(side_pack(true, &err), LEVER_OK);
    assert_int_not_equal(inode(side_lvp), first);

    free(side_read(side_lvp, &n));
    for (int i = 0; i < 4; i++) { /* a bit of the data: found and mended */
        const off_t at[4] = { 65536, (off_t)n / 2 / 65536 * 65536, (off_t)n - 1, 65536 + 77 };

        flip_byte(side_lvp, at[i]);
        side_pack_ok();
        side_check_contents();
    }
    /* a run that was killed left this; it holds no lock */
    side_write(side_part, (const uint8_t *)"left over", 9);
    assert_int_equal(side_pack(true, &err), LEVER_OK);
    assert_false(side_exists(side_part));
    side_check_contents();
}

static void test_refusals(void **state)
{
    struct tiny_spec s = side_usual();
    struct lever_pack_options o = side_pack_options();
    struct lever_error err;
    char path[700];
    size_t n, n2;

    (void)state;
    side_write_model(&s);
    uint8_t *before = side_read(side_model, &n), *after;

    o.out_path = side_model;
    o.force = true;
    assert_int_equal(lever_pack(&o, &err), LEVER_E_ARG);
    assert_non_null(strstr(err.message, "the model itself"));
    assert_int_equal(symlink(strrchr(side_model, '/') + 1, side_lvp), 0); /* by another name */
    o.out_path = side_lvp;
    assert_int_equal(lever_pack(&o, &err), LEVER_E_ARG);
    remove(side_lvp);
    after = side_read(side_model, &n2);
    assert_int_equal(n, n2);
    assert_memory_equal(before, after, n);
    free(after);
    free(before);

    o.force = false;
    side_write(side_lvp, (const uint8_t *)"my notes", 8);
    assert_int_equal(lever_pack(&o, &err), LEVER_E_ARG);
    assert_non_null(strstr(err.message, "--force"));
    free(side_read(side_lvp, &n));
    assert_int_equal(n, 8);
    o.force = true;
    assert_int_equal(lever_pack(&o, &err), LEVER_OK);
    remove(side_lvp);

    o.out_path = side_folder;
    assert_int_equal(lever_pack(&o, &err), LEVER_E_ARG);
    snprintf(path, sizeof path, "%s/no/such/folder.lvp", side_folder);
    o.out_path = path;
    assert_int_equal(lever_pack(&o, &err), LEVER_E_IO);
    o = side_pack_options();
    o.target_path = NULL;
    assert_int_equal(lever_pack(&o, &err), LEVER_E_ARG);
    o.target_path = "/nonexistent.gguf";
    assert_int_equal(lever_pack(&o, &err), LEVER_E_IO);
    assert_int_equal(lever_pack(NULL, &err), LEVER_E_ARG);

    /* a link in the place of the part is not followed */
    snprintf(path, sizeof path, "%s.victim", side_lvp);
    side_write(path, (const uint8_t *)"precious", 8);
    assert_int_equal(symlink(path, side_part), 0);
    assert_int_equal(side_pack(false, &err), LEVER_E_IO);
    free(side_read(path, &n));
    assert_int_equal(n, 8);
    remove(path);
    remove(side_part);

    /* another run writes there */
    const int fd = open(side_part, O_RDWR | O_CREAT, 0600);

    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(side_pack(false, &err), LEVER_E_IO);
    assert_non_null(strstr(err.message, "another lever pack"));
    assert_true(side_exists(side_part)); /* it is the other's */
    close(fd);
    side_pack_ok();
}

/* ---- faults while writing ------------------------------------------------------------------------------------- */

struct fault {
    int64_t left; /* calls until it strikes */
    int kind;     /* errno; 0: no bytes and no error */
    bool short_writes, on_sync;
    struct lv_rng rng;
};

static int64_t faulty_pwrite(void *ctx, int fd, const void *buf, uint64_t len, uint64_t off)
{
    struct fault *f = ctx;

    if (f->short_writes) {
        if (lv_rng_below(&f->rng, 5) == 0) {
            errno = EINTR;
            return -1;
        }
        len = 1 + lv_rng_below(&f->rng, (uint32_t)(len < 50000 ? len : 50000));
    }
    if (!f->on_sync && f->left-- == 0) {
        errno = f->kind;
        return f->kind ? -1 : 0;
    }
    return pwrite(fd, buf, len, (off_t)off);
}

static int faulty_fsync(void *ctx, int fd)
{
    struct fault *f = ctx;

    (void)fd;
    if (f->on_sync && f->left-- == 0) {
        errno = f->kind;
        return -1;
    }
    return 0;
}

static void test_write_faults(void **state)
{
    static const int kinds[] = { ENOSPC, EIO, EDQUOT, 0 };
    struct tiny_spec s = side_usual();
    struct lever_error err;
    unsigned n_fault = 0;
    size_t n, n2;

    (void)state;
    s.n_layer = 1;
    side_write_model(&s);
    side_pack_ok();
    uint8_t *good = side_read(side_lvp, &n), *b;

    for (int kind = 0; kind < 8; kind++) {
        for (int old = 0; old < 2; old++) { /* without and with one that is there */
            enum lever_status st = LEVER_E_IO;

            for (int64_t k = 0; st < 0; k++) {
                struct lever_pack_options o = side_pack_options();
                struct fault f = { .left = k, .kind = kinds[kind % 4], .on_sync = kind >= 4, .rng = { 3 } };
                const struct lv_pack_ops ops = { .pwrite = faulty_pwrite, .fsync = faulty_fsync, .ctx = &f };

                if (f.on_sync && !f.kind)
                    f.kind = EIO;
                if (old)
                    side_write(side_lvp, good, n);
                else
                    remove(side_lvp);
                o.force = true;
                st = lv_pack(&o, &ops, &err);
                assert_false(side_exists(side_part));
                if (st >= 0)
                    break;
                n_fault++;
                assert_int_equal(st, LEVER_E_IO);
                assert_non_null(strstr(err.message, ".lvp"));
                assert_non_null(strstr(err.message, strerror(f.kind ? f.kind : ENOSPC)));
                assert_int_equal(side_exists(side_lvp), old);
                if (old) {
                    b = side_read(side_lvp, &n2);
                    assert_int_equal(n, n2);
                    assert_memory_equal(b, good, n);
                    free(b);
                }
            }
            b = side_read(side_lvp, &n2); /* the run that got through */
            assert_int_equal(n, n2);
            assert_memory_equal(b, good, n);
            free(b);
        }
    }
    assert_true(n_fault > 40);

    struct lever_pack_options o = side_pack_options();
    struct fault f = { .left = -1, .short_writes = true, .rng = { 4 } };
    const struct lv_pack_ops ops = { .pwrite = faulty_pwrite, .ctx = &f };

    o.force = true;
    assert_int_equal(lv_pack(&o, &ops, &err), LEVER_OK);
    b = side_read(side_lvp, &n2);
    assert_int_equal(n, n2);
    assert_memory_equal(b, good, n);
    free(b);
    free(good);
}

/* The kernel's own refusal, at many sizes. */
static void test_file_size_limit(void **state)
{
    struct tiny_spec s = side_usual();
    struct rlimit old, now;
    struct lever_error err;
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    size_t n;

    (void)state;
    side_write_model(&s);
    side_pack_ok();
    free(side_read(side_lvp, &n));
    remove(side_lvp);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    for (rlim_t limit = 0; limit < n; limit += n / 7) {
        now = old;
        now.rlim_cur = limit;
        setrlimit(RLIMIT_FSIZE, &now);
        const enum lever_status st = side_pack(false, &err);

        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(st, LEVER_E_IO);
        assert_non_null(strstr(err.message, strerror(EFBIG)));
        assert_false(side_exists(side_part));
        assert_false(side_exists(side_lvp));
    }
    signal(SIGXFSZ, before);
    side_pack_ok();
}

static bool stop_at_once(void *user)
{
    (void)user;
    return true;
}

/* The model is touched behind the last read of it. */
static void touch_model(void *user, const char *what, uint64_t done, uint64_t total)
{
    const struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 12345 } };

    (void)user;
    (void)what;
    assert_true(done > 0 && done <= total);
    if (done == total)
        utimensat(AT_FDCWD, side_model, t, 0);
}

static void die(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user;
    (void)what;
    if (done > total / 2)
        kill(getpid(), SIGKILL);
}

static void test_interruptions(void **state)
{
    struct tiny_spec s = side_usual();
    struct lever_pack_options o = side_pack_options();
    struct lever_error err;
    int status;

    (void)state;
    side_write_model(&s);
    o.cancelled = stop_at_once;
    assert_int_equal(lever_pack(&o, &err), LEVER_E_CANCEL);
    assert_false(side_exists(side_part) || side_exists(side_lvp));
    o = side_pack_options();
    o.progress = touch_model;
    assert_int_equal(lever_pack(&o, &err), LEVER_E_IO);
    assert_non_null(strstr(err.message, "changed"));
    assert_false(side_exists(side_part) || side_exists(side_lvp));

    o.progress = die;
    const pid_t child = fork();

    if (child == 0)
        _exit(lever_pack(&o, &err) == LEVER_OK ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_false(side_exists(side_lvp)); /* half of it is not to be found under its name */
    side_pack_ok();
    assert_false(side_exists(side_part));
    side_check_contents();
}

static void test_pack_without_memory(void **state)
{
    struct tiny_spec s = side_usual();
    struct lever_error err;
    enum lever_status st;
    unsigned k = 0;

    (void)state;
    side_write_model(&s);
    do {
        lv_alloc_fail_at(++k, false);
        st = side_pack(false, &err);
        lv_alloc_fail_at(0, false);
        assert_true(st == LEVER_OK || st == LEVER_E_NOMEM);
        assert_false(side_exists(side_part));
        assert_int_equal(side_exists(side_lvp), st == LEVER_OK);
    } while (st != LEVER_OK);
    assert_true(k > 20);
    side_check_contents();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_again, side_setup, side_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, side_setup, side_teardown),
        cmocka_unit_test_setup_teardown(test_write_faults, side_setup, side_teardown),
        cmocka_unit_test_setup_teardown(test_file_size_limit, side_setup, side_teardown),
        cmocka_unit_test_setup_teardown(test_interruptions, side_setup, side_teardown),
        cmocka_unit_test_setup_teardown(test_pack_without_memory, side_setup, side_teardown),
    };

    if (argc < 2)
        return 2;
    side_folder = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
