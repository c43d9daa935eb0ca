/* Two queues, urgent first, and the pread pool: a few threads that take requests from them. Blocking reads by threads
 * reach the device's full rate with requests of 1 MiB and more, and need no system call newer than pread. In their place
 * may be a ring (uring.c). */
#define _POSIX_C_SOURCE 200809L
#include "io/reader.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "io/reader_state.h"
#include "io/uring.h"

#define THREAD_DEFAULT 4
#define URGENT_MAX 1
#define FILE_MAX 4096 /* parts of a split model */

/* ---- queues -------------------------------------------------------------- */

static void push(struct lv_read_queue *q, struct lv_read *req)
{
    req->next = NULL;
    if (q->tail)
        q->tail->next = req;
    else
        q->head = req;
    q->tail = req;
}

static struct lv_read *pop(struct lv_read_queue *q)
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
    const uint64_t now = lv_now_ns();

    if (r->n_flight++ == 0)
        r->busy_since_ns = now;
    if (r->n_flight == r->depth)
        r->full_since_ns = now;
}

static void flight_end(struct lv_reader *r, uint64_t n_bytes)
{
    const uint64_t now = lv_now_ns();

    r->stats.n_reads++;
    r->stats.bytes += n_bytes;
    if (r->n_flight >= r->depth) {
        r->stats.full_bytes += n_bytes;
        r->stats.full_ns += now - r->full_since_ns;
        r->full_since_ns = now;
    }
    if (--r->n_flight == 0)
        r->stats.busy_ns += now - r->busy_since_ns;
}

struct lv_read *lv_reader_begin(struct lv_reader *r, bool urgent_only)
{
    struct lv_read *req = urgent_only ? pop(&r->urgent) : pop_first(r);

    if (req) {
        req->began_ns = lv_now_ns();
        flight_begin(r);
    }
    return req;
}

static enum lever_status check_file(const struct lv_reader *r, uint32_t i_file, struct lever_error *err)
{
    if (i_file >= r->n_files)
        return LV_FAIL(err, LEVER_E_ARG, "read: file %u of %u", i_file, r->n_files);
    return LEVER_OK;
}

enum lever_status lv_reader_transfer(struct lv_reader *r, const struct lv_read *req, struct lv_transfer *t,
                                     struct lever_error *err)
{
    *t = (struct lv_transfer){ 0 };
    LV_TRY(check_file(r, req->i_file, err));
    return lv_transfer_begin(t, &r->file[req->i_file], &r->direct, &r->closing, req->off, req->len, req->buf, err);
}

static enum lever_status read_range(struct lv_reader *r, uint32_t i_file, uint64_t off, uint64_t len, uint8_t *buf,
                                    uint64_t *n_read, struct lever_error *err)
{
    *n_read = 0;
    LV_TRY(check_file(r, i_file, err));
    return lv_file_read(&r->file[i_file], &r->ops, &r->direct, &r->closing, off, len, buf, n_read, err);
}

/* The request belongs to the caller again once done() has begun. */
static void hand_back(struct lv_read *req, enum lever_status st)
{
    req->status = st;
    if (st == LEVER_OK) {
        req->err.status = LEVER_OK;
        req->err.message[0] = '\0';
    }
    req->done(req, req->user);
}

void lv_reader_finish(struct lv_reader *r, struct lv_read *req, enum lever_status st, uint64_t n_bytes)
{
    /* Counted before done(): who has waited for it finds it in the statistics. */
    pthread_mutex_lock(&r->lock);
    flight_end(r, n_bytes);
    pthread_mutex_unlock(&r->lock);
    hand_back(req, st);
}

static void pool_loop(struct lv_reader *r, bool urgent_only)
{
    uint64_t n_read;

    for (;;) {
        struct lv_read *req = NULL;

        pthread_mutex_lock(&r->lock);
        while (!atomic_load(&r->closing) && !(req = lv_reader_begin(r, urgent_only)))
            pthread_cond_wait(urgent_only ? &r->urgent_work : &r->work, &r->lock);
        pthread_mutex_unlock(&r->lock);
        if (!req)
            return;
        const enum lever_status st =
            read_range(r, req->i_file, req->off, req->len, req->buf, &n_read, &req->err);

        lv_reader_finish(r, req, st, n_read);
    }
}

static void *reader_main(void *arg)
{
    pool_loop(arg, false);
    return NULL;
}

static void *urgent_main(void *arg)
{
    pool_loop(arg, true);
    return NULL;
}

void lv_reader_submit(struct lv_reader *r, struct lv_read *req, bool urgent)
{
    pthread_mutex_lock(&r->lock);
    push(urgent ? &r->urgent : &r->normal, req);
    pthread_cond_signal(&r->work);
    if (urgent)
        pthread_cond_signal(&r->urgent_work);
    if (r->uring)
        lv_uring_wake(r->uring);
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

int lv_reader_spawn(pthread_t *t, void *(*fn)(void *), void *arg)
{
    sigset_t all, before;

    sigfillset(&all); /* the program's signal handlers run on its own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int e = pthread_create(t, NULL, fn, arg);

    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return e;
}

static enum lever_status start_threads(struct lv_reader *r, uint32_t n_threads, uint32_t n_urgent,
                                       struct lever_error *err)
{
    for (; r->n_threads < n_threads + n_urgent; r->n_threads++) {
        const int e = lv_reader_spawn(&r->thread[r->n_threads], r->n_threads < n_threads ? reader_main : urgent_main,
                                      r);

        if (e != 0)
            return LV_FAIL(err, LEVER_E_NOMEM, "reader thread %u of %u: %s", r->n_threads + 1, n_threads + n_urgent,
                           strerror(e));
    }
    return LEVER_OK;
}

void lv_reader_add_note(struct lv_reader *r, const char *text)
{
    const size_t at = strlen(r->note);

    snprintf(r->note + at, sizeof r->note - at, "%s%s", at ? "; " : "", text);
}

/* The ring, or false with the reason noted. */
static bool start_uring(struct lv_reader *r, uint32_t depth, uint32_t n_urgent)
{
    struct lever_error err;
    char why[120], text[200];

    if (lv_uring_probe(why, sizeof why)) {
        if (lv_uring_open(&r->uring, r, depth, n_urgent, &err) == LEVER_OK)
            return true;
        snprintf(why, sizeof why, "%.*s", (int)sizeof why - 1, err.message);
    }
    snprintf(text, sizeof text, "io_uring is not used: %s; reading with threads", why);
    lv_reader_add_note(r, text);
    return false;
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
    if (n_threads > LV_READER_THREAD_MAX || o.n_urgent > URGENT_MAX)
        return LV_FAIL(err, LEVER_E_ARG, "reader: %u threads and %u for urgent reads, expected 1..%u and 0..%u",
                       n_threads, o.n_urgent, LV_READER_THREAD_MAX, URGENT_MAX);
    struct lv_reader *r = LV_NEW(struct lv_reader);

    if (!r)
        return LV_FAIL(err, LEVER_E_NOMEM, "reader: no memory for its state");
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    pthread_cond_init(&r->urgent_work, NULL);
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
    r->depth = n_threads;
    if ((o.method != LV_READER_URING || !start_uring(r, n_threads, o.n_urgent)) &&
        (st = start_threads(r, n_threads, o.n_urgent, err)) < 0)
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
    pthread_cond_broadcast(&r->urgent_work);
    if (r->uring)
        lv_uring_wake(r->uring);
    pthread_mutex_unlock(&r->lock);
    lv_uring_close(r->uring);
    for (uint32_t i = 0; i < r->n_threads; i++)
        pthread_join(r->thread[i], NULL);
    while ((req = pop_first(r))) /* the threads are gone: no lock */
        hand_back(req, LV_FAIL(&req->err, LEVER_E_CANCEL, "the reader was closed before a queued read began"));
    for (uint32_t i = 0; i < r->n_files; i++)
        lv_file_close(&r->file[i]);
    lv_free(r->file);
    pthread_cond_destroy(&r->work);
    pthread_cond_destroy(&r->urgent_work);
    pthread_mutex_destroy(&r->lock);
    lv_free(r);
}

const char *lv_reader_mode(const struct lv_reader *r)
{
    return atomic_load(&r->direct) ? "direct" : "buffered";
}

const char *lv_reader_method(const struct lv_reader *r)
{
    return r->uring ? "uring" : "pread";
}

const char *lv_reader_note(const struct lv_reader *r)
{
    return r->note[0] ? r->note : NULL;
}

void lv_reader_get_stats(struct lv_reader *r, struct lv_reader_stats *out)
{
    pthread_mutex_lock(&r->lock);
    *out = r->stats;
    if (r->n_flight > 0)
        out->busy_ns += lv_now_ns() - r->busy_since_ns;
    pthread_mutex_unlock(&r->lock);
}
