#include "engine/stream.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"

/* Reads are numbered 0, 1, 2 ... for ever: number a brings extent a % n_extent of pass
 * a / n_extent. An extent is in one live slot at most: its next read waits until the last one was used up. */
enum slot_state { SLOT_FREE, SLOT_FILLING, SLOT_READY };

struct slot {
    struct lv_stream *stream;
    uint8_t *buf;
    enum slot_state state; /* under lock */
    uint64_t number;       /* under lock */
    _Atomic uint64_t ready; /* number + 1 once its data is valid, else 0 */
    _Atomic uint32_t n_left; /* segments not used up */
    struct lv_read req;
};

struct lv_stream {
    struct lv_reader *reader;
    const struct lv_extent *extent;
    uint32_t n_extent, n_slot;
    struct lv_event *event;
    pthread_mutex_t lock;
    bool running;              /* under lock */
    uint64_t next;             /* under lock: number of the next read */
    uint64_t discard_below;    /* under lock: older reads are of abandoned passes */
    _Atomic uint64_t pass_at;  /* number of the first read of the pass in use */
    uint32_t n_given;          /* under lock: extents of that pass used up */
    _Atomic uint32_t *slot_of; /* [n_extent] slot that holds or will hold it */
    _Atomic bool failed;
    struct lever_error err;    /* under lock */
    _Atomic uint64_t n_bytes;
    struct lv_spans reads;     /* under lock */
    struct slot slot[];
};

static void read_done(struct lv_read *req, void *user);

/* The extent that comes next is still in use: extents are given back in any order, so in a ring of nearly all of a pass
 * there may be a free slot before it is. */
static bool next_is_live(const struct lv_stream *s)
{
    const struct slot *sl = &s->slot[atomic_load(&s->slot_of[s->next % s->n_extent])];

    return s->next >= s->n_extent && sl->number + s->n_extent == s->next && sl->state != SLOT_FREE;
}

/* Starts reads into free slots. Called under lock. */
static void fill(struct lv_stream *s)
{
    for (uint32_t i = 0; i < s->n_slot && s->running && !next_is_live(s); i++) {
        struct slot *sl = &s->slot[i];

        if (sl->state != SLOT_FREE)
            continue;
        const uint32_t e = (uint32_t)(s->next % s->n_extent);
        const struct lv_extent *x = &s->extent[e];

        sl->state = SLOT_FILLING;
        sl->number = s->next++;
        atomic_store(&sl->n_left, x->n_seg);
        atomic_store(&s->slot_of[e], i);
        sl->req = (struct lv_read){
            .i_file = x->i_file, .off = x->off, .len = x->len, .buf = sl->buf, .done = read_done, .user = sl
        };
        lv_reader_submit(s->reader, &sl->req, false);
    }
}

static void read_done(struct lv_read *req, void *user)
{
    struct slot *sl = user;
    struct lv_stream *s = sl->stream;

    pthread_mutex_lock(&s->lock);
    if (req->began_ns)
        lv_spans_add(&s->reads, req->began_ns, lv_now_ns());
    if (req->status == LEVER_E_CANCEL) { /* the reader is closing: it takes no more */
        sl->state = SLOT_FREE;
        s->running = false;
    } else if (sl->number < s->discard_below) {
        sl->state = SLOT_FREE;
        fill(s);
    } else if (req->status < 0) {
        sl->state = SLOT_FREE;
        s->running = false;
        if (!atomic_load(&s->failed)) {
            s->err = req->err;
            s->err.status = req->status;
            atomic_store(&s->failed, true);
        }
    } else {
        sl->state = SLOT_READY;
        atomic_fetch_add(&s->n_bytes, req->len);
        atomic_store_explicit(&sl->ready, sl->number + 1, memory_order_release);
    }
    pthread_mutex_unlock(&s->lock);
    lv_event_bump(s->event);
}

static const uint8_t *take(void *ctx, uint32_t i_extent)
{
    struct lv_stream *s = ctx;
    struct slot *sl = &s->slot[atomic_load_explicit(&s->slot_of[i_extent], memory_order_acquire)];
    const uint64_t number = atomic_load_explicit(&s->pass_at, memory_order_acquire) + i_extent;

    if (atomic_load_explicit(&sl->ready, memory_order_acquire) != number + 1)
        return NULL;
    return sl->buf + lv_read_shift(s->extent[i_extent].off);
}

static void give(void *ctx, uint32_t i_extent)
{
    struct lv_stream *s = ctx;
    struct slot *sl = &s->slot[atomic_load(&s->slot_of[i_extent])];

    if (atomic_fetch_sub(&sl->n_left, 1) != 1)
        return;
    pthread_mutex_lock(&s->lock);
    atomic_store(&sl->ready, 0);
    sl->state = SLOT_FREE;
    if (++s->n_given == s->n_extent) {
        s->n_given = 0;
        atomic_fetch_add(&s->pass_at, s->n_extent);
    }
    fill(s);
    pthread_mutex_unlock(&s->lock);
}

static enum lever_status error(void *ctx, struct lever_error *err)
{
    struct lv_stream *s = ctx;
    enum lever_status st;

    if (!atomic_load_explicit(&s->failed, memory_order_relaxed))
        return LEVER_OK;
    pthread_mutex_lock(&s->lock);
    if (err)
        *err = s->err;
    st = s->err.status;
    pthread_mutex_unlock(&s->lock);
    return st;
}

struct lv_source lv_stream_source(struct lv_stream *s)
{
    return (struct lv_source){ .take = take, .give = give, .error = error, .ctx = s };
}

enum lever_status lv_stream_new(struct lv_stream **out, struct lv_reader *reader, const struct lv_extent *extent,
                                uint32_t n_extent, uint32_t max_extent, uint8_t *ring, uint32_t n_slot,
                                struct lv_event *event, struct lever_error *err)
{
    struct lv_stream *s = lv_alloc_zero(1, sizeof *s + n_slot * sizeof s->slot[0]);

    if (s)
        s->slot_of = LV_NEW_ARRAY(_Atomic uint32_t, n_extent);
    if (!s || !s->slot_of) {
        lv_free(s);
        return LV_FAIL(err, LEVER_E_NOMEM, "stream: states of %u slots and %u extents", n_slot, n_extent);
    }
    assert(n_slot >= 1 && n_slot <= n_extent);
    s->reader = reader;
    s->extent = extent;
    s->n_extent = n_extent;
    s->n_slot = n_slot;
    s->event = event;
    pthread_mutex_init(&s->lock, NULL);
    for (uint32_t i = 0; i < n_slot; i++) {
        s->slot[i].stream = s;
        s->slot[i].buf = ring + i * lv_slot_bytes(max_extent);
    }
    *out = s;
    return LEVER_OK;
}

void lv_stream_free(struct lv_stream *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    lv_free(s->slot_of);
    lv_free(s);
}

void lv_stream_start(struct lv_stream *s)
{
    if (atomic_load(&s->failed)) /* reading ahead, with nobody to tell: the device may have recovered since */
        lv_stream_abandon(s);
    pthread_mutex_lock(&s->lock);
    s->running = true;
    fill(s);
    pthread_mutex_unlock(&s->lock);
}

void lv_stream_stop(struct lv_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->running = false;
    pthread_mutex_unlock(&s->lock);
}

static bool is_reading(struct lv_stream *s)
{
    bool reading = false;

    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->n_slot; i++)
        reading = reading || s->slot[i].state == SLOT_FILLING;
    pthread_mutex_unlock(&s->lock);
    return reading;
}

bool lv_stream_drain(struct lv_stream *s, const atomic_bool *cancel)
{
    for (;;) {
        const uint32_t seen = lv_event_seen(s->event);

        if (!is_reading(s))
            return true;
        if (atomic_load(cancel))
            return false;
        lv_event_wait(s->event, seen);
    }
}

void lv_stream_abandon(struct lv_stream *s)
{
    pthread_mutex_lock(&s->lock);
    const uint64_t pass_end = atomic_load(&s->pass_at) + s->n_extent;
    const uint64_t planned = (s->next + s->n_extent - 1) / s->n_extent * s->n_extent;

    s->discard_below = planned > pass_end ? planned : pass_end;
    s->next = s->discard_below;
    atomic_store(&s->pass_at, s->discard_below);
    s->n_given = 0;
    for (uint32_t i = 0; i < s->n_slot; i++) { /* reads in flight free their slots when they end */
        if (s->slot[i].state == SLOT_READY) {
            atomic_store(&s->slot[i].ready, 0);
            s->slot[i].state = SLOT_FREE;
        }
    }
    atomic_store(&s->failed, false);
    fill(s);
    pthread_mutex_unlock(&s->lock);
}

size_t lv_stream_reads(struct lv_stream *s, uint64_t from_ns, uint64_t to_ns, struct lever_span *out, size_t cap)
{
    struct lv_spans flight = { .n = 0 }; /* reads that go on: they end where the time asked for does */
    size_t n;

    pthread_mutex_lock(&s->lock);
    n = lv_spans_copy(&s->reads, from_ns, to_ns, out, cap);
    for (uint32_t i = 0; i < s->n_slot && i < LV_SPANS; i++)
        if (s->slot[i].state == SLOT_FILLING && s->slot[i].req.began_ns)
            lv_spans_add(&flight, s->slot[i].req.began_ns, to_ns);
    pthread_mutex_unlock(&s->lock);
    return n + lv_spans_copy(&flight, from_ns, to_ns, out + n, cap - n);
}

uint64_t lv_stream_bytes_read(const struct lv_stream *s)
{
    return atomic_load(&s->n_bytes);
}
