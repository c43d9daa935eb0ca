/* Readers: one body over direct, buffered and faulty system calls; then each kind of failure and its message. All of it
 * over the pread pool or over io_uring.
 *
 * usage: test_reader [uring] */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "io/reader.h"
#include "io/uring.h"

#define N_FILE 3

static char folder[512];
static char path[N_FILE][600];
static const uint64_t file_bytes[N_FILE] = { (17u << 20) + 777, 100, 4 * LV_IO_ALIGN };
static uint8_t *content[N_FILE];
static enum lv_reader_method method;
static bool direct_works; /* the file system of the build folder takes O_DIRECT */

/* ---- faulty system calls ------------------------------------------------- */

enum fault { NONE, SHORT, STORM, LONG_STORM, STORM_FOR_GOOD, NO_DIRECT, EIO_AT, END_AT, EPERM_AT, TRUNCATE_AT, SLOW };

struct faulty {
    enum fault kind;
    bool for_good;        /* *_AT: at call `at` and all after it */
    uint64_t at;          /* 1 = the first call */
    uint64_t short_max;   /* SHORT: at most so many bytes */
    bool gated;           /* calls wait until the gate is open */
    atomic_uint_fast64_t n_call, n_direct_call, n_waiting;
    pthread_mutex_t lock;
    pthread_cond_t opened;
};

static bool is_direct(int fd)
{
    return fcntl(fd, F_GETFL) & O_DIRECT;
}

/* What the reader gets for a read: bytes or a negative errno. given: what a ring's read gave; NULL: none was made yet.
 * Runs on the reader's thread, so a gate holds the pool's threads one by one, but a ring's thread and all behind it. */
static int64_t faulty_call(struct faulty *f, int fd, void *buf, uint64_t len, uint64_t off, const int64_t *given)
{
    const uint64_t call = atomic_fetch_add(&f->n_call, 1) + 1;
    const bool hit = call == f->at || (call > f->at && f->for_good);
    struct lv_rng r = { call * 977 + off };

    if (is_direct(fd)) {
        atomic_fetch_add(&f->n_direct_call, 1);
        /* The kernel takes less alignment on some devices; we promise it to all. */
        if (off % LV_IO_ALIGN || len % LV_IO_ALIGN || (uintptr_t)buf % LV_IO_ALIGN)
            abort();
    }
    if (!(fcntl(fd, F_GETFD) & FD_CLOEXEC))
        abort();
    if (fcntl(fd, F_GETFL) & O_NONBLOCK) /* a ring would give EAGAIN for it on some file systems */
        abort();
    if (f->gated) {
        pthread_mutex_lock(&f->lock);
        atomic_fetch_add(&f->n_waiting, 1);
        while (f->gated)
            pthread_cond_wait(&f->opened, &f->lock);
        pthread_mutex_unlock(&f->lock);
    }
    switch (f->kind) {
    case NONE:
    case SHORT:
        break;
    case STORM:
        if (lv_rng_below(&r, 10) < 9)
            return lv_rng_below(&r, 2) ? -EINTR : -EAGAIN;
        break;
    case LONG_STORM:
        if (call % 6001)
            return -EINTR;
        break;
    case STORM_FOR_GOOD:
        return f->at ? -EAGAIN : -EINTR;
    case NO_DIRECT:
        if (is_direct(fd))
            return -EINVAL;
        break;
    case EIO_AT:
        if (hit)
            return -EIO;
        break;
    case END_AT:
        if (hit)
            return 0;
        break;
    case EPERM_AT:
        if (hit)
            return -EPERM;
        break;
    case TRUNCATE_AT:
        if (hit && truncate(path[0], 5 << 20) != 0)
            abort();
        break;
    case SLOW:
        nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
        break;
    }
    const int64_t read_now = given ? 0 : pread(fd, buf, len, (off_t)off);
    const int64_t got = given ? *given : read_now < 0 ? -errno : read_now;

    if (f->kind != SHORT || got <= 1)
        return got;
    const int64_t said =
        1 + (int64_t)(lv_rng_u64(&r) % (f->short_max < (uint64_t)got ? f->short_max : (uint64_t)got));

    if (got > said) /* what was not reported must not be relied upon */
        memset((uint8_t *)buf + said, 0xee, (size_t)(got - said));
    return said;
}

static int64_t faulty_pread(void *ctx, int fd, void *buf, uint64_t len, uint64_t off)
{
    const int64_t got = faulty_call(ctx, fd, buf, len, off, NULL);

    if (got >= 0)
        return got;
    errno = (int)-got;
    return -1;
}

static int64_t faulty_result(void *ctx, int fd, void *buf, uint64_t len, uint64_t off, int64_t got)
{
    return faulty_call(ctx, fd, buf, len, off, &got);
}

static void gate_open(struct faulty *f)
{
    pthread_mutex_lock(&f->lock);
    f->gated = false;
    pthread_cond_broadcast(&f->opened);
    pthread_mutex_unlock(&f->lock);
}

#define FAULTY(...) { .lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER, __VA_ARGS__ }

/* ---- files --------------------------------------------------------------- */

static void write_file(const char *to, const uint8_t *bytes, uint64_t n)
{
    const int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    for (uint64_t at = 0; at < n;) {
        const ssize_t k = write(fd, bytes + at, n - at);
        assert_true(k > 0);
        at += (uint64_t)k;
    }
    assert_int_equal(fsync(fd), 0); /* dirty pages could not be dropped */
    close(fd);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s/reader-XXXXXX", LEVER_TEST_TMP);
    if (!mkdtemp(folder))
        return -1;
    for (int i = 0; i < N_FILE; i++) {
        struct lv_rng r = { (uint64_t)i + 1 };

        snprintf(path[i], sizeof path[i], "%s/part%d", folder, i);
        content[i] = malloc(file_bytes[i]);
        for (uint64_t k = 0; k < file_bytes[i]; k++)
            content[i][k] = (uint8_t)lv_rng_u64(&r);
        write_file(path[i], content[i], file_bytes[i]);
    }
    void *p = aligned_alloc(LV_IO_ALIGN, LV_IO_ALIGN);
    const int fd = open(path[0], O_RDONLY | O_DIRECT | O_CLOEXEC);

    direct_works = fd >= 0 && pread(fd, p, LV_IO_ALIGN, 0) == LV_IO_ALIGN;
    if (fd >= 0)
        close(fd);
    free(p);
    print_message("folder %s: direct reads %s\n", folder, direct_works ? "work" : "are refused, fallback is tested");
    return 0;
}

static int tear_down(void **state)
{
    char command[600];

    (void)state;
    for (int i = 0; i < N_FILE; i++) {
        free(content[i]);
        unlink(path[i]);
    }
    snprintf(command, sizeof command, "%s/other", folder);
    unlink(command);
    return rmdir(folder);
}

/* ---- requests ------------------------------------------------------------ */

static struct lv_reader *open_with(struct faulty *f, uint32_t n_threads, bool direct)
{
    const char *paths[N_FILE] = { path[0], path[1], path[2] };
    struct lv_reader_options opt = { .method = method, .n_threads = n_threads, .direct = direct };
    struct lever_error err = { 0 };
    struct lv_reader *r = NULL;

    if (f)
        opt.ops = (struct lv_io_ops){ faulty_pread, faulty_result, f };
    if (lv_reader_open(&r, paths, file_bytes, N_FILE, &opt, &err) != LEVER_OK)
        fail_msg("open: %s", err.message);
    assert_string_equal(lv_reader_method(r), method == LV_READER_URING ? "uring" : "pread");
    assert_null(lv_reader_note(r));
    return r;
}

/* A request, and where its end is counted. */
struct job {
    struct lv_read read;
    atomic_int n_done;
    uint32_t order; /* 1 = done first */
};

static pthread_mutex_t done_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done_cond = PTHREAD_COND_INITIALIZER;
static uint32_t done_count;

static void job_done(struct lv_read *read, void *user)
{
    struct job *j = user;

    (void)read;
    pthread_mutex_lock(&done_lock);
    atomic_fetch_add(&j->n_done, 1);
    j->order = ++done_count;
    pthread_cond_broadcast(&done_cond);
    pthread_mutex_unlock(&done_lock);
}

static struct job *job_new(uint32_t i_file, uint64_t off, uint64_t len)
{
    struct job *j = calloc(1, sizeof *j);
    const uint64_t n = lv_read_buf_bytes(off, len);

    j->read = (struct lv_read){ .i_file = i_file, .off = off, .len = len, .done = job_done, .user = j };
    j->read.buf = aligned_alloc(LV_IO_ALIGN, n);
    memset(j->read.buf, 0xaa, n);
    j->read.status = LEVER_E_INTERNAL;
    return j;
}

static struct job *job_random(struct lv_rng *r, uint64_t len_max)
{
    const uint32_t i_file = lv_rng_below(r, 4) ? 0 : 1 + lv_rng_below(r, 2);
    uint64_t off = lv_rng_u64(r) % file_bytes[i_file];

    if (lv_rng_below(r, 4) == 0) /* at and about block borders */
        off = lv_round_down(off, LV_IO_ALIGN) + lv_rng_below(r, 2) * (LV_IO_ALIGN - 1);
    if (off >= file_bytes[i_file])
        off = file_bytes[i_file] - 1;
    const uint64_t left = file_bytes[i_file] - off;
    uint64_t len = 1 + lv_rng_u64(r) % (left < len_max ? left : len_max);

    if (lv_rng_below(r, 8) == 0 && left <= len_max) /* to the very end */
        len = left;
    return job_new(i_file, off, len);
}

static void job_wait(struct job *j)
{
    pthread_mutex_lock(&done_lock);
    while (atomic_load(&j->n_done) == 0)
        pthread_cond_wait(&done_cond, &done_lock);
    pthread_mutex_unlock(&done_lock);
}

static void job_free(struct job *j)
{
    free(j->read.buf);
    free(j);
}

/* The whole superset is as promised, not the range only. */
static void job_check_bytes(const struct job *j)
{
    const struct lv_read *q = &j->read;
    const uint64_t first = lv_round_down(q->off, LV_IO_ALIGN), n = lv_read_buf_bytes(q->off, q->len);
    const uint64_t in_file = file_bytes[q->i_file] - first < n ? file_bytes[q->i_file] - first : n;

    if (q->status != LEVER_OK)
        fail_msg("read of %llu at %llu: %s", (unsigned long long)q->len, (unsigned long long)q->off, q->err.message);
    assert_int_equal(j->n_done, 1);
    assert_memory_equal(q->buf + lv_read_shift(q->off), content[q->i_file] + q->off, q->len);
    assert_memory_equal(q->buf, content[q->i_file] + first, in_file);
    for (uint64_t i = in_file; i < n; i++)
        assert_int_equal(q->buf[i], 0);
}

/* Submits, waits, and hands back the status; the bytes are checked when it is LEVER_OK. */
static enum lever_status read_one(struct lv_reader *r, uint32_t i_file, uint64_t off, uint64_t len, char *message)
{
    struct job *j = job_new(i_file, off, len);

    lv_reader_submit(r, &j->read, false);
    job_wait(j);
    const enum lever_status st = j->read.status;

    if (st == LEVER_OK)
        job_check_bytes(j);
    else
        assert_int_equal(j->read.err.status, st);
    if (message)
        strcpy(message, j->read.err.message);
    job_free(j);
    return st;
}

/* ---- the body ------------------------------------------------------------ */

struct client {
    struct lv_reader *r;
    uint64_t seed, len_max;
    uint32_t n_job;
};

/* Several requests in flight, waited for in another order; now and then a synchronous one. */
static void *client_main(void *arg)
{
    const struct client *c = arg;
    struct lv_rng r = { c->seed };
    struct job *flight[5] = { 0 };

    for (uint32_t i = 0; i < c->n_job; i++) {
        struct job **slot = &flight[lv_rng_below(&r, 5)];

        if (*slot) {
            job_wait(*slot);
            job_check_bytes(*slot);
            job_free(*slot);
        }
        *slot = job_random(&r, c->len_max);
        if (lv_rng_below(&r, 6) == 0) {
            struct lv_read *q = &(*slot)->read;

            q->status = lv_reader_read(c->r, q->i_file, q->off, q->len, q->buf, &q->err);
            job_done(q, *slot);
        } else {
            lv_reader_submit(c->r, &(*slot)->read, lv_rng_below(&r, 3) == 0);
        }
    }
    for (int i = 0; i < 5; i++) {
        if (!flight[i])
            continue;
        job_wait(flight[i]);
        job_check_bytes(flight[i]);
        job_free(flight[i]);
    }
    return NULL;
}

static void check_reader(struct lv_reader *r, uint64_t seed, uint64_t len_max, uint32_t n_job)
{
    struct client c[3];
    pthread_t t[2];
    struct lv_reader_stats stats;

    for (uint32_t i = 0; i < N_FILE; i++) {
        const uint64_t n = file_bytes[i];

        assert_int_equal(read_one(r, i, 0, 1, NULL), LEVER_OK);
        assert_int_equal(read_one(r, i, n - 1, 1, NULL), LEVER_OK);
        assert_int_equal(read_one(r, i, n > len_max ? n - len_max : 0, n > len_max ? len_max : n, NULL), LEVER_OK);
    }
    for (uint32_t i = 0; i < 3; i++)
        c[i] = (struct client){ r, seed * 10 + i, len_max, n_job };
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, client_main, &c[i]), 0);
    client_main(&c[2]);
    for (uint32_t i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    lv_reader_get_stats(r, &stats);
    assert_int_equal(stats.n_reads, 9 + 3 * n_job);
    assert_true(stats.bytes > stats.n_reads && stats.busy_ns > 0);
}

static const struct setup {
    const char *name;
    bool direct;
    enum fault kind;
    uint64_t short_max, len_max;
    uint32_t n_job;
    const char *mode; /* afterwards, where direct reads work */
} setups[] = {
    { "direct", true, NONE, 0, 17u << 20, 10, "direct" },
    { "buffered", false, NONE, 0, 17u << 20, 10, "buffered" },
    { "direct, few bytes at a time", true, SHORT, 700, 40000, 40, "direct" },
    { "direct, many bytes at a time", true, SHORT, 300000, 2u << 20, 40, "direct" },
    { "buffered, few bytes at a time", false, SHORT, 700, 40000, 40, "buffered" },
    { "direct, one byte at a time", true, SHORT, 1, 20000, 1, "direct" },
    { "direct, interrupted", true, STORM, 0, 1u << 20, 40, "direct" },
    { "buffered, interrupted", false, STORM, 0, 1u << 20, 40, "buffered" },
    { "direct refused at the first read", true, NO_DIRECT, 0, 1u << 20, 40, "buffered" },
};

static void test_body(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof setups / sizeof setups[0]; i++) {
        const struct setup *s = &setups[i];

        for (uint32_t n_threads = 1; n_threads <= 4; n_threads += 3) {
            struct faulty f = FAULTY(.kind = s->kind, .short_max = s->short_max);
            struct lv_reader *r = open_with(&f, n_threads, s->direct);
            const char *want = direct_works ? s->mode : "buffered";

            print_message("%s, %u threads, seed %zu\n", s->name, n_threads, i + 1);
            check_reader(r, i + 1, s->len_max, s->n_job);
            assert_string_equal(lv_reader_mode(r), want);
            if (direct_works)
                assert_true((atomic_load(&f.n_direct_call) > 0) == s->direct);
            lv_reader_close(r);
        }
    }
    struct lv_reader *r = open_with(NULL, 0, true); /* the system's own calls, defaults */
    check_reader(r, 99, 1 << 20, 40);
    lv_reader_close(r);
}

/* ---- failures ------------------------------------------------------------ */

/* Fails call k = 1, 2, ... of a read of several pieces until k is never reached. */
static void fail_every_call(enum fault kind, const char *words)
{
    const uint64_t off = 4321, len = file_bytes[0] - 5000; /* three pieces */

    for (int direct = 0; direct < 2; direct++) {
        for (int for_good = 0; for_good < 2; for_good++) {
            uint64_t k = 0;
            bool reached;

            do {
                struct faulty f = FAULTY(.kind = kind, .at = ++k, .for_good = for_good);
                struct lv_reader *r = open_with(&f, 2, direct);
                char message[1000];
                const enum lever_status st = read_one(r, 0, off, len, message);

                reached = atomic_load(&f.n_call) >= k;
                if (!for_good || !reached) { /* once: the second try succeeds */
                    assert_int_equal(st, LEVER_OK);
                } else {
                    char offset[40];

                    assert_int_equal(st, LEVER_E_IO);
                    assert_int_equal(atomic_load(&f.n_call), k + 1); /* one retry, not more */
                    snprintf(offset, sizeof offset, "offset %llu", (unsigned long long)((k - 1) * (8u << 20)));
                    if (!strstr(message, path[0]) || !strstr(message, words) || !strstr(message, offset))
                        fail_msg("\"%s\" lacks the file, \"%s\" or \"%s\"", message, words, offset);
                    /* The reader is still of use. */
                    f.kind = NONE;
                    assert_int_equal(read_one(r, 0, off, len, NULL), LEVER_OK);
                }
                lv_reader_close(r);
            } while (reached);
            assert_int_equal(k, 4);
        }
    }
}

static void test_eio(void **state)
{
    (void)state;
    fail_every_call(EIO_AT, strerror(EIO));
}

static void test_early_end(void **state)
{
    (void)state;
    fail_every_call(END_AT, "expected bytes up to");
}

/* Other errors are not retried; endless interruptions end. */
static void test_other_errors(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        static const enum fault kinds[] = { EPERM_AT, STORM_FOR_GOOD, STORM_FOR_GOOD };
        struct faulty f = FAULTY(.kind = kinds[i], .at = i < 2, .for_good = true);
        struct lv_reader *r = open_with(&f, 1, true);
        char message[1000];

        assert_int_equal(read_one(r, 2, 20000, 10, message), LEVER_E_IO);
        assert_non_null(strstr(message, strerror(i == 0 ? EPERM : i == 1 ? EAGAIN : EINTR)));
        assert_non_null(strstr(message, "offset 16384"));
        if (i == 0)
            assert_int_equal(atomic_load(&f.n_call), 1);
        lv_reader_close(r);
    }
    /* Interruptions that do let some bytes through are no error, however many come together. */
    struct faulty f = FAULTY(.kind = LONG_STORM);
    struct lv_reader *r = open_with(&f, 1, true);

    /* Three pieces; one through the ring, where what an interruption hides was really read. */
    const uint32_t i_file = method == LV_READER_URING ? 2 : 0;

    assert_int_equal(read_one(r, i_file, 0, file_bytes[i_file], NULL), LEVER_OK);
    lv_reader_close(r);
}

static void test_file_changed(void **state)
{
    char message[1000];

    (void)state;
    for (int direct = 0; direct < 2; direct++) {
        struct lv_reader *r = open_with(NULL, 2, direct);

        /* Shorter, then longer, than when it was opened; ranges that still exist are refused too. */
        for (int i = 0; i < 2; i++) {
            assert_int_equal(truncate(path[0], i == 0 ? 5 << 20 : (off_t)file_bytes[0] + 1), 0);
            assert_int_equal(read_one(r, 0, 0, 10, message), LEVER_E_IO);
            assert_non_null(strstr(message, path[0]));
            assert_non_null(strstr(message, i == 0 ? "5242880 bytes now" : "17826570 bytes now"));
            assert_non_null(strstr(message, "expected 17826569"));
            assert_int_equal(read_one(r, 2, 0, 10, NULL), LEVER_OK);
        }
        lv_reader_close(r);
        write_file(path[0], content[0], file_bytes[0]);

        /* Other bytes, the same size. */
        r = open_with(NULL, 2, direct);
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL); /* a file's times move in steps of some ms */
        write_file(path[0], content[0], file_bytes[0]);
        assert_int_equal(read_one(r, 0, 0, 10, message), LEVER_E_IO);
        assert_non_null(strstr(message, path[0]));
        assert_non_null(strstr(message, "written to since"));
        lv_reader_close(r);

        /* In the middle of a read. */
        struct faulty f = FAULTY(.kind = TRUNCATE_AT, .at = 2);
        r = open_with(&f, 1, direct);
        assert_int_equal(read_one(r, 0, 0, file_bytes[0], message), LEVER_E_IO);
        assert_non_null(strstr(message, path[0]));
        assert_non_null(strstr(message, "5242880 bytes now"));
        lv_reader_close(r);
        write_file(path[0], content[0], file_bytes[0]);
    }
}

/* Another file in the path's place: the descriptors keep the old one; a new reader sees that the size is wrong. */
static void test_file_replaced(void **state)
{
    struct lv_reader *r = open_with(NULL, 2, true), *none = NULL;
    const char *paths[] = { path[2] };
    struct lever_error err = { 0 };
    char other[600];

    (void)state;
    snprintf(other, sizeof other, "%s/other", folder);
    write_file(other, content[0], 12345);
    assert_int_equal(rename(other, path[2]), 0);
    assert_int_equal(read_one(r, 2, 1000, 40000, NULL), LEVER_OK);
    assert_int_equal(lv_reader_open(&none, paths, &file_bytes[2], 1, NULL, &err), LEVER_E_IO);
    assert_null(none);
    assert_non_null(strstr(err.message, path[2]));
    assert_non_null(strstr(err.message, "12345"));
    assert_non_null(strstr(err.message, "65536"));
    lv_reader_close(r);
    write_file(path[2], content[2], file_bytes[2]);
}

static uint32_t count_descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    uint32_t n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static void test_open_refused(void **state)
{
    char fifo[600], missing[600];
    const char *paths[2] = { path[0], path[1] };
    const uint64_t bytes[2] = { file_bytes[0], file_bytes[1] };
    const uint32_t n_before = count_descriptors();
    struct lv_reader *r = NULL;
    struct lever_error err = { 0 };

    (void)state;
    snprintf(missing, sizeof missing, "%s/missing", folder);
    paths[1] = missing;
    assert_int_equal(lv_reader_open(&r, paths, bytes, 2, NULL, &err), LEVER_E_IO);
    assert_non_null(strstr(err.message, missing));
    assert_non_null(strstr(err.message, strerror(ENOENT)));
    paths[1] = folder;
    assert_int_equal(lv_reader_open(&r, paths, bytes, 2, NULL, &err), LEVER_E_IO);
    assert_non_null(strstr(err.message, "not a regular file"));
    snprintf(fifo, sizeof fifo, "%s/fifo", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    paths[1] = fifo;
    assert_int_equal(lv_reader_open(&r, paths, bytes, 2, NULL, &err), LEVER_E_IO);
    assert_non_null(strstr(err.message, "not a regular file"));
    unlink(fifo);
    paths[1] = path[1];
    assert_int_equal(lv_reader_open(&r, paths, bytes, 0, NULL, &err), LEVER_E_ARG);
    const struct lv_reader_options many = { .n_threads = 17 };
    assert_int_equal(lv_reader_open(&r, paths, bytes, 2, &many, &err), LEVER_E_ARG);

    /* Every allocation fails once (but the ring's: then the pool reads). */
    const struct lv_reader_options opt = { .method = method, .direct = true };
    uint64_t n = 0;
    enum lever_status st;
    do {
        lv_alloc_fail_at(++n, false);
        st = lv_reader_open(&r, paths, bytes, 2, &opt, &err);
        lv_alloc_fail_at(0, false);
        if (st != LEVER_OK) {
            assert_int_equal(st, LEVER_E_NOMEM);
            assert_null(r);
            assert_int_equal(count_descriptors(), n_before);
        }
    } while (st != LEVER_OK);
    assert_int_equal(n, 5);
    lv_reader_close(r);
    assert_int_equal(count_descriptors(), n_before);
    lv_reader_close(NULL);
}

static void test_bad_requests(void **state)
{
    struct lv_reader *r = open_with(NULL, 2, true);
    uint8_t *buf = aligned_alloc(LV_IO_ALIGN, 2 * LV_IO_ALIGN);
    const uint64_t n = file_bytes[1];
    const struct {
        uint32_t i_file;
        uint64_t off, len;
        uint32_t shift;
    } bad[] = { { N_FILE, 0, 1, 0 }, { UINT32_MAX, 0, 1, 0 }, { 1, 0, 0, 0 },          { 1, n, 1, 0 },
                { 1, 0, n + 1, 0 },  { 1, n - 1, 2, 0 },      { 1, UINT64_MAX, 2, 0 }, { 1, 2, UINT64_MAX, 0 },
                { 1, 0, 1, 4096 } };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct lever_error err = { 0 };
        struct job j = { 0 };

        assert_int_equal(lv_reader_read(r, bad[i].i_file, bad[i].off, bad[i].len, buf + bad[i].shift, &err),
                         LEVER_E_ARG);
        assert_int_equal(lv_reader_read(r, bad[i].i_file, bad[i].off, bad[i].len, buf + bad[i].shift, NULL),
                         LEVER_E_ARG);
        j.read = (struct lv_read){ .i_file = bad[i].i_file, .off = bad[i].off, .len = bad[i].len,
                                   .buf = buf + bad[i].shift, .done = job_done, .user = &j };
        lv_reader_submit(r, &j.read, true);
        job_wait(&j);
        assert_int_equal(j.read.status, LEVER_E_ARG);
        assert_true(err.message[0] != '\0');
    }
    free(buf);
    lv_reader_close(r);
}

/* ---- order, close, statistics -------------------------------------------- */

static void wait_for_gate(struct faulty *f, uint64_t n)
{
    while (atomic_load(&f->n_waiting) < n)
        nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
}

static void test_order(void **state)
{
    struct faulty f = FAULTY(.gated = true);
    struct lv_reader *r = open_with(&f, 1, true);
    struct job *j[7];
    static const bool urgent[7] = { false, false, false, true, false, true, true };
    static const uint32_t want[7] = { 1, 5, 6, 2, 7, 3, 4 };

    (void)state;
    done_count = 0;
    for (int i = 0; i < 7; i++) {
        j[i] = job_new(0, (uint64_t)i * 50000, 100);
        lv_reader_submit(r, &j[i]->read, urgent[i]);
        if (i == 0)
            wait_for_gate(&f, 1); /* the first is in flight: nothing overtakes it */
    }
    gate_open(&f);
    for (int i = 0; i < 7; i++) {
        job_wait(j[i]);
        job_check_bytes(j[i]);
        assert_int_equal(j[i]->order, want[i]);
        job_free(j[i]);
    }
    lv_reader_close(r);
}

static void *open_gate_later(void *arg)
{
    nanosleep(&(struct timespec){ .tv_nsec = 150000000 }, NULL);
    gate_open(arg);
    return NULL;
}

static void test_close_with_queue(void **state)
{
    struct faulty f = FAULTY(.gated = true);
    struct lv_reader *r = open_with(&f, 2, true);
    struct job *j[9];
    pthread_t t;

    (void)state;
    /* Two in flight: a short one, which ends well, and one of three pieces, which ends after the first. */
    for (int i = 0; i < 9; i++) {
        j[i] = job_new(0, 100, i == 1 ? file_bytes[0] - 100 : 1000);
        lv_reader_submit(r, &j[i]->read, i % 2);
        if (i == 1)
            wait_for_gate(&f, method == LV_READER_URING ? 1 : 2);
    }
    assert_int_equal(pthread_create(&t, NULL, open_gate_later, &f), 0);
    lv_reader_close(r);
    pthread_join(t, NULL);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(j[i]->n_done, 1);
        if (i == 0)
            job_check_bytes(j[i]);
        else
            assert_int_equal(j[i]->read.status, LEVER_E_CANCEL);
        job_free(j[i]);
    }
    /* A held ring may not have begun the second one. */
    assert_in_range(atomic_load(&f.n_call), method == LV_READER_URING ? 1 : 2, 2);
}

/* done() may hand the same request in again. */
static atomic_int again_left;
static struct lv_reader *again_reader;

static void submit_again(struct lv_read *read, void *user)
{
    if (read->status == LEVER_OK && atomic_fetch_sub(&again_left, 1) > 1)
        lv_reader_submit(again_reader, read, false);
    else
        job_done(read, user);
}

static void test_submit_from_done(void **state)
{
    struct job *j = job_new(0, 12345, 100000);

    (void)state;
    again_reader = open_with(NULL, 3, true);
    atomic_store(&again_left, 100);
    j->read.done = submit_again;
    lv_reader_submit(again_reader, &j->read, false);
    job_wait(j);
    job_check_bytes(j);
    lv_reader_close(again_reader);
    job_free(j);
}

/* Four reads of 5 ms side by side are busy for less than four times that, and never longer than the clock. */
static void test_stats(void **state)
{
    struct faulty f = FAULTY(.kind = SLOW);
    struct lv_reader *r = open_with(&f, 4, false);
    struct job *j[8];
    struct lv_reader_stats s;
    const uint64_t begin = lv_now_ns();

    (void)state;
    for (int i = 0; i < 8; i++) {
        j[i] = job_new(0, (uint64_t)i * 3 * LV_IO_ALIGN + 1, LV_IO_ALIGN);
        lv_reader_submit(r, &j[i]->read, false);
    }
    for (int i = 0; i < 8; i++)
        job_wait(j[i]);
    const uint64_t wall = lv_now_ns() - begin;

    lv_reader_get_stats(r, &s);
    assert_int_equal(s.n_reads, 8);
    assert_int_equal(s.bytes, 8 * 2 * LV_IO_ALIGN);
    assert_true(s.busy_ns >= 10000000 && s.busy_ns <= wall);
    nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    const uint64_t busy = s.busy_ns;
    lv_reader_get_stats(r, &s);
    assert_int_equal(s.busy_ns, busy); /* stands still while nothing is in flight */
    for (int i = 0; i < 8; i++) {
        job_check_bytes(j[i]);
        job_free(j[i]);
    }
    lv_reader_close(r);
}

/* Buffered reads leave little behind in the page cache, wherever they begin. */
static void test_page_cache(void **state)
{
    struct lv_reader *r = open_with(NULL, 2, false);
    unsigned char map[8192];
    size_t n_resident = 0;
    const size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), n_page = (file_bytes[0] + page_bytes - 1) / page_bytes;

    (void)state;
    if (!direct_works || n_page > sizeof map) {
        print_message("file system in memory, or small pages: nothing to look at\n");
        lv_reader_close(r);
        return;
    }
    const int fd = open(path[0], O_RDONLY | O_CLOEXEC);
    void *p = mmap(NULL, file_bytes[0], PROT_READ, MAP_SHARED, fd, 0);

    assert_true(p != MAP_FAILED);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* what writing left */
    for (uint64_t off = 37 * LV_IO_ALIGN; off < file_bytes[0]; off += 4u << 20)
        assert_int_equal(
            read_one(r, 0, off, file_bytes[0] - off < 4u << 20 ? file_bytes[0] - off : 4u << 20, NULL), LEVER_OK);
    assert_int_equal(mincore(p, file_bytes[0], map), 0);
    for (size_t i = 0; i < n_page; i++)
        n_resident += map[i] & 1;
    print_message("%zu of %zu pages stayed\n", n_resident, n_page);
    assert_true(n_resident * 8 < n_page);
    munmap(p, file_bytes[0]);
    close(fd);
    lv_reader_close(r);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body),          cmocka_unit_test(test_eio),
        cmocka_unit_test(test_early_end),     cmocka_unit_test(test_other_errors),
        cmocka_unit_test(test_file_changed),  cmocka_unit_test(test_file_replaced),
        cmocka_unit_test(test_open_refused),  cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_order),         cmocka_unit_test(test_close_with_queue),
        cmocka_unit_test(test_submit_from_done), cmocka_unit_test(test_stats),
        cmocka_unit_test(test_page_cache),
    };

    alarm(240); /* a lost wake-up ends the test */
    if (argc < 2 || strcmp(argv[1], "uring") != 0)
        return cmocka_run_group_tests_name("pread pool", tests, set_up, tear_down);
    char why[200];

    if (!lv_uring_probe(why, sizeof why)) {
        printf("skip: io_uring: %s\n", why);
        return 77;
    }
    method = LV_READER_URING;
    return cmocka_run_group_tests_name("io_uring", tests, set_up, tear_down);
}
