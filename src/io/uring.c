#define _GNU_SOURCE
#include "io/uring.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

#define FLIGHT_MAX (LV_READER_THREAD_MAX + 1)
#define WAKE UINT64_MAX    /* user data of the poll on the event descriptor */
#define RETRY_NS 50000     /* after the kernel refused to take or wait (no memory for a request), */
#define RETRY_MAX 10000    /* for about a second in all before the ring is given up */

struct flight {
    struct lv_read *req; /* NULL: free */
    struct lv_transfer t;
    struct lv_piece piece;
};

struct lv_uring {
    struct lv_reader *r;
    struct io_uring ring;
    int event_fd;
    pthread_t thread;
    uint32_t depth, n_urgent;
    /* the thread's own */
    uint32_t n_flight;
    bool wake_armed;
    struct flight flight[FLIGHT_MAX];
};

static void nap(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = RETRY_NS }, NULL);
}

/* Each flight has at most one entry in the submission queue, and the poll one more: there is room. */
static struct io_uring_sqe *get_sqe(struct lv_uring *u)
{
    struct io_uring_sqe *s = io_uring_get_sqe(&u->ring);

    assert(s);
    return s;
}

static void end_flight(struct lv_uring *u, struct flight *f, enum lever_status st)
{
    struct lv_read *req = f->req;

    f->req = NULL;
    u->n_flight--;
    lv_reader_finish(u->r, req, st == LEVER_DONE ? LEVER_OK : st, f->t.at - f->t.first);
}

/* Queues the next piece of a flight whose last step gave st, or ends it. */
static void advance(struct lv_uring *u, struct flight *f, enum lever_status st)
{
    if (st == LEVER_OK)
        st = lv_transfer_next(&f->t, &f->piece, &f->req->err);
    if (st != LEVER_OK) {
        end_flight(u, f, st);
        return;
    }
    struct io_uring_sqe *s = get_sqe(u);

    /* A piece has at most 8 MiB: its length fits. */
    io_uring_prep_read(s, f->piece.fd, f->piece.buf, (unsigned)f->piece.len, f->piece.off);
    io_uring_sqe_set_data64(s, (uint64_t)(f - u->flight));
}

static struct lv_read *next_request(struct lv_uring *u)
{
    struct lv_reader *r = u->r;
    struct lv_read *req = NULL;

    if (u->n_flight >= u->depth + u->n_urgent)
        return NULL;
    pthread_mutex_lock(&r->lock);
    if (!atomic_load(&r->closing))
        req = lv_reader_begin(r, u->n_flight >= u->depth);
    pthread_mutex_unlock(&r->lock);
    return req;
}

static void take_requests(struct lv_uring *u)
{
    struct lv_read *req;

    while ((req = next_request(u))) {
        struct flight *f = u->flight;

        while (f->req)
            f++;
        f->req = req;
        u->n_flight++;
        advance(u, f, lv_reader_transfer(u->r, req, &f->t, &req->err));
    }
}

static void arm_wake(struct lv_uring *u)
{
    if (u->wake_armed)
        return;
    struct io_uring_sqe *s = get_sqe(u);

    io_uring_prep_poll_add(s, u->event_fd, POLLIN);
    io_uring_sqe_set_data64(s, WAKE);
    u->wake_armed = true;
}

static void on_completion(struct lv_uring *u, uint64_t data, int64_t got)
{
    const struct lv_io_ops *ops = &u->r->ops;

    if (data == WAKE) {
        uint64_t count;

        u->wake_armed = false;
        while (read(u->event_fd, &count, sizeof count) < 0 && errno == EINTR)
            ;
        return;
    }
    struct flight *f = &u->flight[data];

    if (ops->result)
        got = ops->result(ops->ctx, f->piece.fd, f->piece.buf, f->piece.len, f->piece.off, got);
    advance(u, f, lv_transfer_result(&f->t, got, &f->req->err));
}

/* Handles what has arrived; false when there was nothing. */
static bool reap(struct lv_uring *u)
{
    struct io_uring_cqe *c;
    bool any = false;

    while (io_uring_peek_cqe(&u->ring, &c) == 0 && c) {
        const uint64_t data = io_uring_cqe_get_data64(c);
        const int64_t got = c->res;

        io_uring_cqe_seen(&u->ring, c);
        on_completion(u, data, got);
        any = true;
    }
    return any;
}

/* The ring does not work any more, which is not known to happen. Reads go on one by one. */
static void go_on_without_ring(struct lv_uring *u, int e)
{
    struct lv_reader *r = u->r;

    for (struct flight *f = u->flight; f < u->flight + FLIGHT_MAX; f++)
        if (f->req)
            end_flight(u, f, LV_FAIL(&f->req->err, LEVER_E_IO,
                                     "%s: reading at offset %llu: io_uring gave \"%s\"; use another reader",
                                     f->t.f->name, (unsigned long long)f->t.at, strerror(e)));
    while (!atomic_load(&r->closing)) {
        struct lv_read *req = next_request(u);
        struct lv_transfer t;
        struct lv_piece p;

        if (!req) {
            poll(&(struct pollfd){ .fd = u->event_fd, .events = POLLIN }, 1, 100);
            continue;
        }
        enum lever_status st = lv_reader_transfer(r, req, &t, &req->err);

        while (st == LEVER_OK && (st = lv_transfer_next(&t, &p, &req->err)) == LEVER_OK)
            st = lv_transfer_result(&t, lv_file_pread(&r->ops, &p), &req->err);
        lv_reader_finish(r, req, st == LEVER_DONE ? LEVER_OK : st, t.at - t.first);
    }
}

static void *ring_main(void *arg)
{
    struct lv_uring *u = arg;
    uint32_t n_refused = 0;

    for (;;) {
        take_requests(u);
        if (atomic_load(&u->r->closing) && u->n_flight == 0)
            return NULL;
        arm_wake(u);
        const int e = io_uring_submit_and_wait(&u->ring, 1);

        if (reap(u) || e >= 0 || e == -EINTR) {
            n_refused = 0;
            continue;
        }
        if (++n_refused == RETRY_MAX) {
            go_on_without_ring(u, -e);
            return NULL;
        }
        nap();
    }
}

enum lever_status lv_uring_open(struct lv_uring **out, struct lv_reader *r, uint32_t depth, uint32_t n_urgent,
                                struct lever_error *err)
{
    struct lv_uring *u = LV_NEW(struct lv_uring);
    enum lever_status st = LEVER_E_IO;
    int e;

    if (!u)
        return LV_FAIL(err, LEVER_E_NOMEM, "no memory for its state");
    u->r = r;
    u->depth = depth;
    u->n_urgent = n_urgent;
    u->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (u->event_fd < 0) {
        st = LV_FAIL(err, LEVER_E_IO, "eventfd: %s", strerror(errno));
        goto no_event;
    }
    if ((e = io_uring_queue_init(depth + n_urgent + 1, &u->ring, 0)) < 0) {
        st = LV_FAIL(err, LEVER_E_IO, "no ring: %s", strerror(-e));
        goto no_ring;
    }
    if ((e = lv_reader_spawn(&u->thread, ring_main, u)) != 0) {
        st = LV_FAIL(err, LEVER_E_NOMEM, "no thread: %s", strerror(e));
        goto no_thread;
    }
    *out = u;
    return LEVER_OK;
no_thread:
    io_uring_queue_exit(&u->ring);
no_ring:
    close(u->event_fd);
no_event:
    lv_free(u);
    return st;
}

void lv_uring_wake(struct lv_uring *u)
{
    const uint64_t one = 1;

    /* EAGAIN: the count is at its limit, so the thread will wake up anyway. */
    while (write(u->event_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void lv_uring_close(struct lv_uring *u)
{
    if (!u)
        return;
    lv_uring_wake(u);
    pthread_join(u->thread, NULL);
    io_uring_queue_exit(&u->ring);
    close(u->event_fd);
    lv_free(u);
}
