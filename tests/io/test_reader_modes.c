/* Which way a reader reads, and that it says so: io_uring refused, direct reads that are not direct, urgent reads beside
 * stuck ones. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/reader.h"
#include "io/uring.h"

#define FILE_BYTES (8u * LV_IO_ALIGN)

static char path[600];
static uint8_t *buf;
static bool direct_works;

static void nap_us(long us)
{
    nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL);
}

static uint8_t byte_at(uint64_t i)
{
    return (uint8_t)(i * 31 + i / 256);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "%s/modes-XXXXXX", LEVER_TEST_TMP);
    const int fd = mkstemp(path);

    buf = aligned_alloc(LV_IO_ALIGN, FILE_BYTES);
    for (uint32_t i = 0; i < FILE_BYTES; i++)
        buf[i] = byte_at(i);
    if (fd < 0 || write(fd, buf, FILE_BYTES) != FILE_BYTES || fsync(fd) != 0)
        return -1;
    close(fd);
    const int d = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);

    direct_works = d >= 0 && pread(d, buf, LV_IO_ALIGN, 0) == LV_IO_ALIGN;
    if (d >= 0)
        close(d);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(buf);
    return unlink(path);
}

static struct lv_reader *open_with(const struct lv_reader_options *opt)
{
    const char *paths[] = { path };
    const uint64_t bytes[] = { FILE_BYTES };
    struct lever_error err = { 0 };
    struct lv_reader *r = NULL;

    if (lv_reader_open(&r, paths, bytes, 1, opt, &err) != LEVER_OK)
        fail_msg("open: %s", err.message);
    return r;
}

/* ---- requests ------------------------------------------------------------ */

static _Atomic uint32_t n_done;

static void count_done(struct lv_read *read, void *user)
{
    (void)read, (void)user;
    atomic_fetch_add(&n_done, 1);
}

static void wait_done(uint32_t n)
{
    while (atomic_load(&n_done) < n)
        nap_us(200);
}

static bool reads_right(struct lv_reader *r)
{
    struct lv_read req = { .off = 20000, .len = 50000, .buf = buf, .done = count_done };

    atomic_store(&n_done, 0);
    memset(buf, 0xaa, FILE_BYTES);
    lv_reader_submit(r, &req, false);
    wait_done(1);
    for (uint64_t i = 0; i < req.len; i++)
        if (buf[lv_read_shift(req.off) + i] != byte_at(req.off + i))
            return false;
    return req.status == LEVER_OK;
}

/* ---- io_uring refused ---------------------------------------------------- */

/* From now on io_uring_setup ends so in this process: SECCOMP_RET_KILL_PROCESS, or SECCOMP_RET_ERRNO | errno. */
static bool forbid_rings(uint32_t action)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog p = { sizeof code / sizeof *code, code };

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p) == 0;
}

/* In a child with that filter: 0 when the reader falls back, says why (word) and reads; 77: no filters here. */
static int try_with_filter(uint32_t action, const char *word)
{
    const struct lv_reader_options opt = { .method = LV_READER_URING, .direct = true };

    if (!forbid_rings(action))
        return 77;
    struct lv_reader *r = open_with(&opt);
    const char *note = lv_reader_note(r);

    printf("note: %s\n", note ? note : "none");
    fflush(stdout);
    if (strcmp(lv_reader_method(r), "pread") != 0)
        return 1;
    if (!note || !strstr(note, "io_uring") || !strstr(note, word))
        return 2;
    if (!reads_right(r))
        return 3;
    lv_reader_close(r);
    return 0;
}

static void check_filter(uint32_t action, const char *word)
{
    fflush(stdout);
    const pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(try_with_filter(action, word));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status)); /* the filter hits the trial, not us */
    if (WEXITSTATUS(status) == 77)
        print_message("no seccomp filters here\n");
    else
        assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_uring_refused(void **state)
{
    char why[200];

    (void)state;
    if (!lv_uring_probe(why, sizeof why)) {
        print_message("io_uring is left out: %s\n", why);
        return;
    }
    check_filter(SECCOMP_RET_KILL_PROCESS, "signal");
    check_filter(SECCOMP_RET_ERRNO | EPERM, strerror(EPERM));
    check_filter(SECCOMP_RET_ERRNO | ENOSYS, strerror(ENOSYS));
}

/* The trial's child is no child of the program's: its SIGCHLD handlers and its wait() see nothing. */
static atomic_int n_sigchld;

static void on_sigchld(int sig)
{
    (void)sig;
    atomic_fetch_add(&n_sigchld, 1);
}

static void test_probe_is_silent(void **state)
{
    char why[200];

    (void)state;
    signal(SIGCHLD, on_sigchld);
    lv_uring_probe(why, sizeof why);
    assert_int_equal(atomic_load(&n_sigchld), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    signal(SIGCHLD, SIG_DFL);
}

/* ---- direct or not ------------------------------------------------------- */

enum disk { DEVICE, CACHED, BROKEN };

struct disk_model {
    enum disk kind;
    long direct_us;
    int cache_fd;
    atomic_uint n_direct, n_buffered;
};

static int64_t model_pread(void *ctx, int fd, void *to, uint64_t len, uint64_t off)
{
    struct disk_model *m = ctx;

    if (!(fcntl(fd, F_GETFL) & O_DIRECT)) {
        atomic_fetch_add(&m->n_buffered, 1);
        return pread(fd, to, len, (off_t)off);
    }
    atomic_fetch_add(&m->n_direct, 1);
    if (m->kind == BROKEN) {
        errno = EIO;
        return -1;
    }
    const uint64_t until = lv_now_ns() + (uint64_t)m->direct_us * 1000;

    while (m->direct_us < 10 && lv_now_ns() < until)
        ;
    if (m->direct_us >= 10)
        nap_us(m->direct_us);
    return pread(m->cache_fd, to, len, (off_t)off); /* whoever takes O_DIRECT and does not mean it */
}

static void check_verdict(enum disk kind, long direct_us, const char *want)
{
    struct disk_model m = { .kind = kind, .direct_us = direct_us, .cache_fd = open(path, O_RDONLY | O_CLOEXEC) };
    const struct lv_reader_options opt = { .direct = true, .ops = { .pread = model_pread, .ctx = &m } };
    struct lv_reader *r = open_with(&opt);
    const uint64_t t0 = lv_now_ns();

    lv_reader_check_direct(r, 0, 3 * LV_IO_ALIGN + 5, buf);
    const uint64_t ns = lv_now_ns() - t0;

    print_message("direct read %ld us: %s, %u + %u reads, %.1f ms; %s\n", direct_us, lv_reader_mode(r),
                  atomic_load(&m.n_direct), atomic_load(&m.n_buffered), (double)ns / 1e6,
                  lv_reader_note(r) ? lv_reader_note(r) : "no note");
    assert_string_equal(lv_reader_mode(r), want);
    assert_int_equal(lv_reader_note(r) != NULL, strcmp(want, "buffered") == 0);
    const unsigned n_direct = atomic_load(&m.n_direct);

    if (kind != BROKEN) {
        assert_true(reads_right(r)); /* and in the way that is reported */
        assert_int_equal(atomic_load(&m.n_direct) > n_direct, strcmp(want, "direct") == 0);
    }
    if (direct_us >= 30000)
        assert_in_range(n_direct, 2, 3); /* a slow device is not asked for long */
    lv_reader_close(r);
    close(m.cache_fd);
}

static void test_direct_check(void **state)
{
    (void)state;
    if (!direct_works) {
        print_message("the file system refuses direct reads: nothing to check\n");
        return;
    }
    check_verdict(CACHED, 0, "buffered");
    check_verdict(CACHED, 1, "buffered"); /* with a detour */
    check_verdict(DEVICE, 100, "direct");
    check_verdict(DEVICE, 1000, "direct");
    check_verdict(DEVICE, 30000, "direct");
    check_verdict(BROKEN, 0, "direct"); /* a failed check decides nothing */

    /* Out of the file, or not direct at all: nothing happens. */
    struct disk_model m = { .kind = CACHED };
    const struct lv_reader_options opt = { .ops = { .pread = model_pread, .ctx = &m } };
    struct lv_reader *r = open_with(&opt);

    lv_reader_check_direct(r, 0, 0, buf);
    lv_reader_check_direct(r, 0, FILE_BYTES, buf);
    lv_reader_check_direct(r, 1, 0, buf);
    assert_null(lv_reader_note(r));
    assert_int_equal(atomic_load(&m.n_buffered), 0);
    lv_reader_close(r);

    /* This machine's disk, for the record: its figure depends on more than our code. */
    const struct lv_reader_options plain = { .direct = true };

    r = open_with(&plain);
    lv_reader_check_direct(r, 0, 0, buf);
    print_message("this disk: %s; %s\n", lv_reader_mode(r), lv_reader_note(r) ? lv_reader_note(r) : "no note");
    lv_reader_close(r);
}

/* ---- room for urgent reads ----------------------------------------------- */

static atomic_bool stuck;

static int64_t stuck_pread(void *ctx, int fd, void *to, uint64_t len, uint64_t off)
{
    (void)ctx;
    while (off < 4 * LV_IO_ALIGN && atomic_load(&stuck))
        nap_us(200);
    return pread(fd, to, len, (off_t)off);
}

/* Every thread hangs in the device; an urgent read of another place comes through if it has room of its own. */
static void test_urgent_room(void **state)
{
    (void)state;
    for (uint32_t n_urgent = 0; n_urgent <= 1; n_urgent++) {
        const struct lv_reader_options opt = { .n_threads = 2, .n_urgent = n_urgent, .ops = { .pread = stuck_pread } };
        struct lv_reader *r = open_with(&opt);
        struct lv_read hang[3], urgent;

        atomic_store(&stuck, true);
        atomic_store(&n_done, 0);
        for (uint32_t i = 0; i < 3; i++) {
            hang[i] = (struct lv_read){ .len = 1, .buf = buf + i * LV_IO_ALIGN, .done = count_done };
            lv_reader_submit(r, &hang[i], false);
        }
        nap_us(20000);
        urgent = (struct lv_read){ .off = 5 * LV_IO_ALIGN, .len = 1, .buf = buf + 5 * LV_IO_ALIGN, .done = count_done };
        lv_reader_submit(r, &urgent, true);
        if (n_urgent)
            wait_done(1);
        else
            nap_us(50000);
        assert_int_equal(atomic_load(&n_done), n_urgent);
        if (n_urgent)
            assert_int_equal(urgent.status, LEVER_OK);
        atomic_store(&stuck, false);
        wait_done(4);
        lv_reader_close(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uring_refused),
        cmocka_unit_test(test_probe_is_silent),
        cmocka_unit_test(test_direct_check),
        cmocka_unit_test(test_urgent_room),
    };

    alarm(60); /* a read that never ends */
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
