/* The pread pool: a few threads that take requests from two queues, urgent first. Blocking reads by threads reach the
 * device's full rate with requests of 1 MiB and more, and need no system call newer than pread. */
#define _POSIX_C_SOURCE 200809L
#include "io/reader.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "io/file.h"

#define THREAD_MAX 16
#define THREAD_DEFAULT 4
#define FILE_MAX 4096 /* parts of a split model */

struct queue {
    struct lv_read *head, *tail;
};

struct lv_reader {
    struct lv_file *file; /* [n_files] */
    uint32_t n_files;
    struct lv_io_ops ops;
    atomic_bool direct, closing;

    pthread_t thread[THREAD_MAX];
    uint32_t n_threads; /* running */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work;
    struct queue urgent, normal;
    struct lv_reader_stats stats;
    uint32_t n_flight;
    uint64_t busy_since_ns; /* while n_flight > 0 */
};

/* ---- queues -------------------------------------------------------------- */

static void push(struct queue *q, struct lv_read *req)
{
    req->next = NULL;
    if (q->tail)
        q->tail->next = req;
    else
        q->head = req;
    q->tail = req;
}

static struct lv_read *pop(struct queue *q)
{
    struct lv_read *req = q->head;

    if (!req)
        return NULL;
    q->head = req->next;
    if (!q->head)
        q->tail = NULL;
    req->next = NULL;
    return req;
}

static struct lv_read *pop_first(struct lv_reader *r)
{
    struct lv_read *req = pop(&r->urgent);

    return req ? req : pop(&r->normal);
}

/* ---- reading ------------------------------------------------------------- */

/* Both: lock held. */
static void flight_begin(struct lv_reader *r)
{
    if (r->n_flight++ == 0)
        r->busy_since_ns = lv_now_ns();
}

static void flight_end(struct lv_reader *r, uint64_t n_bytes)
{
    r->stats.n_reads++;
    r->stats.bytes += n_bytes;
    if (--r->n_flight == 0)
        r->stats.busy_ns += lv_now_ns() - r->busy_since_ns;
}

static enum lever_status read_range(struct lv_reader *r, uint32_t i_file, uint64_t off, uint64_t len, uint8_t *buf,
                                    uint64_t *n_read, struct lever_error *err)
{
    *n_read = 0;
    if (i_file >= r->n_files)
        return LV_FAIL(err, LEVER_E_ARG, "read: file %u of %u", i_file, r->n_files);
    return lv_file_read(&r->file[i_file], &r->ops, &r->direct, &r->closing, off, len, buf, n_read, err);
}

/* The request belongs to the caller again once done() has begun. */
static void finish(struct lv_read *req, enum lever_status st)
{
    req->status = st;
    if (st == LEVER_OK) {
        req->err.status = LEVER_OK;
        req->err.message[0] = '\0';
    }
    req->done(req, req->user);
}

static void *reader_main(void *arg)
{
    struct lv_reader *r = arg;
    uint64_t n_read;

    pthread_mutex_lock(&r->lock);
    for (;;) {
        struct lv_read *req = NULL;

        while (!atomic_load(&r->closing) && !(req = pop_first(r)))
            pthread_cond_wait(&r->work, &r->lock);
        if (!req)
            break;
        flight_begin(r);
        pthread_mutex_unlock(&r->lock);

        const enum lever_status st =
            read_range(r, req->i_file, req->off, req->len, req->buf, &n_read, &req->err);

        /* Counted before done(): who has waited for it finds it in the statistics. */
        pthread_mutex_lock(&r->lock);
        flight_end(r, n_read);
        pthread_mutex_unlock(&r->lock);
        finish(req, st);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

void lv_reader_submit(struct lv_reader *r, struct lv_read *req, bool urgent)
{
    pthread_mutex_lock(&r->lock);
    push(urgent ? &r->urgent : &r->normal, req);
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->lock);
}

enum lever_status lv_reader_read(struct lv_reader *r, uint32_t i_file, uint64_t off, uint64_t len, uint8_t *buf,
                                 struct lever_error *err)
{
    uint64_t n_read;

    pthread_mutex_lock(&r->lock);
    flight_begin(r);
    pthread_mutex_unlock(&r->lock);
    const enum lever_status st = read_range(r, i_file, off, len, buf, &n_read, err);

    pthread_mutex_lock(&r->lock);
    flight_end(r, n_read);
    pthread_mutex_unlock(&r->lock);
    return st;
}

/* ---- open and close ------------------------------------------------------ */

static enum lever_status start_threads(struct lv_reader *r, uint32_t n_threads, struct lever_error *err)
{
    enum lever_status st = LEVER_OK;
    sigset_t all, before;

    sigfillset(&all); /* the program's signal handlers run on its own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (r->n_threads < n_threads) {
        const int e = pthread_create(&r->thread[r->n_threads], NULL, reader_main, r);

        if (e != 0) {
            st = LV_FAIL(err, LEVER_E_NOMEM, "reader thread %u of %u: %s", r->n_threads + 1, n_threads, strerror(e));
            break;
        }
        r->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return st;
}

enum lever_status lv_reader_open(struct lv_reader **out, const char *const *paths, const uint64_t *file_bytes,
                                 uint32_t n_files, const struct lv_reader_options *opt, struct lever_error *err)
{
    const struct lv_reader_options o = opt ? *opt : (struct lv_reader_options){ .direct = true };
    const uint32_t n_threads = o.n_threads > 0 ? o.n_threads : THREAD_DEFAULT;
    enum lever_status st = LEVER_OK;
    bool direct = o.direct;

    if (n_files == 0 || n_files > FILE_MAX)
        return LV_FAIL(err, LEVER_E_ARG, "reader: %u files, expected 1..%u", n_files, FILE_MAX);
    if (n_threads > THREAD_MAX)
        return LV_FAIL(err, LEVER_E_ARG, "reader: %u threads, expected 1..%u", n_threads, THREAD_MAX);
    struct lv_reader *r = LV_NEW(struct lv_reader);

    if (!r)
        return LV_FAIL(err, LEVER_E_NOMEM, "reader: no memory for its state");
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    r->ops = o.ops;
    atomic_init(&r->closing, false);
    atomic_init(&r->direct, false);
    r->file = LV_NEW_ARRAY(struct lv_file, n_files);
    if (!r->file) {
        st = LV_FAIL(err, LEVER_E_NOMEM, "reader: no memory for %u files", n_files);
        goto out;
    }
    for (; r->n_files < n_files; r->n_files++) {
        struct lv_file *f = &r->file[r->n_files];

        if ((st = lv_file_open(f, paths[r->n_files], file_bytes[r->n_files], direct, err)) < 0)
            goto out;
        direct = direct && f->fd_direct >= 0; /* one mode for all files: what is reported is what happens */
    }
    atomic_store(&r->direct, direct);
    if ((st = start_threads(r, n_threads, err)) < 0)
        goto out;
    *out = r;
    r = NULL;
out:
    lv_reader_close(r);
    return st;
}

void lv_reader_close(struct lv_reader *r)
{
    struct lv_read *req;

    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    atomic_store(&r->closing, true);
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->lock);
    for (uint32_t i = 0; i < r->n_threads; i++)
        pthread_join(r->thread[i], NULL);
    while ((req = pop_first(r))) /* the threads are gone: no lock */
        finish(req, LV_FAIL(&req->err, LEVER_E_CANCEL, "the reader was closed before a queued read began"));
    for (uint32_t i = 0; i < r->n_files; i++)
        lv_file_close(&r->file[i]);
    lv_free(r->file);
    pthread_cond_destroy(&r->work);
    pthread_mutex_destroy(&r->lock);
    lv_free(r);
}

const char *lv_reader_mode(const struct lv_reader *r)
{
    return atomic_load(&r->direct) ? "direct" : "buffered";
}

void lv_reader_get_stats(struct lv_reader *r, struct lv_reader_stats *out)
{
    pthread_mutex_lock(&r->lock);
    *out = r->stats;
    if (r->n_flight > 0)
        out->busy_ns += lv_now_ns() - r->busy_since_ns;
    pthread_mutex_unlock(&r->lock);
}
