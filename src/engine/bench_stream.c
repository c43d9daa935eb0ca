/* lever_bench_stream: the weight stream against the raw rate of the same file. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/bench_kernels.h"
#include "engine/engine.h"
#include "engine/probe.h"

#define RAW_NS 1000000000u
#define RAW_FLIGHT 4
#define RAW_ROUNDS 4      /* at most over the streamed ranges: small models end sooner */
#define PASSES_SECONDS 3.0
#define MAX_PASSES 1000u
#define MAX_TURNS 5
#define PACK_BLOCK (UINT64_C(32) << 20)
#define PACK_SECONDS 0.01

struct bench {
    struct lever_engine *e;
    bool compute;
    uint32_t rows;
    struct lv_extent *range; /* [n_range], owned: what is streamed, in file order */
    uint32_t n_range;
    struct lever_stream_report r;
};

/* Sums over the turns of passes. */
struct turns {
    double seconds, last_seconds, cpu, busy;
    uint32_t n_pass;
};

/* ---- raw rate ---- */

static int by_place(const void *a, const void *b)
{
    const struct lv_extent *x = a, *y = b;

    if (x->i_file != y->i_file)
        return x->i_file < y->i_file ? -1 : 1;
    return x->off < y->off ? -1 : x->off > y->off;
}

/* Extents sorted, and neighbours put together up to a slot: one sequential pass over what is streamed. */
static enum lever_status list_ranges(struct bench *b, uint64_t slot_bytes, struct lever_error *err)
{
    const struct lv_placement *pl = &b->e->target.place;
    uint32_t n = 0;

    b->range = LV_NEW_ARRAY(struct lv_extent, pl->n_extent);
    if (!b->range)
        return LV_FAIL(err, LEVER_E_NOMEM, "bench: list of %u ranges", pl->n_extent);
    memcpy(b->range, pl->extent, pl->n_extent * sizeof *b->range);
    qsort(b->range, pl->n_extent, sizeof *b->range, by_place);
    for (uint32_t i = 1; i < pl->n_extent; i++) {
        struct lv_extent *last = &b->range[n], *x = &b->range[i];

        if (x->i_file == last->i_file && last->off + last->len == x->off && last->len + (uint64_t)x->len <= slot_bytes)
            last->len += x->len;
        else
            b->range[++n] = *x;
    }
    b->n_range = n + 1;
    return LEVER_OK;
}

static struct lv_flash_job raw_job(const struct bench *b)
{
    return (struct lv_flash_job){ .reader = b->e->target.reader,
                                  .extent = b->range,
                                  .n_extent = b->n_range,
                                  .n_flight = RAW_FLIGHT,
                                  .max_bytes = RAW_ROUNDS * b->e->target.place.streamed_bytes,
                                  .max_ns = RAW_NS };
}

static enum lever_status raw_rate(const struct bench *b, double *rate, struct lever_error *err)
{
    const struct lv_flash_job job = raw_job(b);
    struct lv_flash_result r;

    LV_TRY(lv_flash_read(&job, &r, err));
    *rate = r.rate;
    return LEVER_OK;
}

/* ---- processor time ---- */

static double clock_seconds(clockid_t c)
{
    struct timespec t;

    clock_gettime(c, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void worker_clock(void *arg, unsigned worker)
{
    ((double *)arg)[worker] = clock_seconds(CLOCK_THREAD_CPUTIME_ID);
}

/* CPU time of all threads that are no workers: the readers. */
static double reader_cpu(const struct bench *b)
{
    double worker[LV_POOL_MAX] = { 0 }, sum = 0;

    lv_pool_run(b->e->pool, worker_clock, worker);
    for (unsigned i = 0; i < lv_pool_n(b->e->pool); i++)
        sum += worker[i];
    return clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - sum;
}

/* Seconds of packing what a pass streams: each type timed alone, times its bytes. */
static double pack_seconds(const struct bench *b)
{
    const struct lv_program *p = b->e->target.program;
    double per_byte[LV_TYPE_MAX] = { 0 }, sum = 0;
    uint8_t *block = lv_region_new(PACK_BLOCK, false);

    if (!block)
        return 0;
    memset(block, LV_BENCH_FILL, PACK_BLOCK);
    for (uint32_t i = 0; i < p->n_w; i++) {
        const struct lv_weight *w = &p->w[i];
        uint64_t n = 0;

        for (uint32_t s = 0; s < w->n_seg; s++)
            n += w->seg[s].r32 || w->packed ? 0 : w->seg[s].n_groups * w->group_bytes;
        if (n && !(per_byte[w->type] > 0))
            per_byte[w->type] = lv_bench_pack_time(&b->e->kern, w->type, w->n_cols, block, PACK_BLOCK, PACK_SECONDS) /
                                (double)w->group_bytes;
        sum += (double)n * per_byte[w->type];
    }
    lv_region_free(block, PACK_BLOCK);
    return sum;
}

/* ---- passes ---- */

/* A pass of independent rows at the first position, then the head as a decoding pass runs it. */
static enum lever_status compute_pass(struct bench *b, struct lever_error *err)
{
    struct lv_instance *m = &b->e->target;
    int32_t token[LV_EXEC_MAX_ROWS], slot[LV_EXEC_MAX_ROWS];
    uint32_t path_at[LV_EXEC_MAX_ROWS + 1], row[LV_HEAD_ROWS];
    const uint32_t n_head = b->rows < LV_HEAD_ROWS ? b->rows : LV_HEAD_ROWS;

    for (uint32_t i = 0; i <= b->rows; i++)
        path_at[i] = i;
    for (uint32_t i = 0; i < b->rows; i++) {
        token[i] = (int32_t)(i % m->program->shape.n_vocab);
        slot[i] = (int32_t)i;
    }
    for (uint32_t i = 0; i < n_head; i++)
        row[i] = i;
    const struct lv_pass pass = { .n_rows = b->rows, .slot = slot, .path_at = path_at, .path = slot };

    LV_TRY(lv_instance_forward(m, token, &pass, err));
    return lv_instance_head(m, row, n_head, LV_HEAD_BEST, err);
}

/* What arrives is given back at once, in the order of a pass. */
static enum lever_status empty_pass(struct bench *b, struct lever_error *err)
{
    struct lv_instance *m = &b->e->target;
    const struct lv_source src = lv_stream_source(m->stream);

    for (uint32_t i = 0; i < m->place.n_extent; i++) {
        for (;;) {
            const uint32_t seen = lv_event_seen(m->exec.event);

            if (src.take(src.ctx, i))
                break;
            LV_TRY(src.error(src.ctx, err));
            lv_event_wait(m->exec.event, seen);
        }
        for (uint32_t s = 0; s < m->place.extent[i].n_seg; s++)
            src.give(src.ctx, i);
    }
    return LEVER_OK;
}

static enum lever_status one_pass(struct bench *b, struct lever_error *err)
{
    return b->compute ? compute_pass(b, err) : empty_pass(b, err);
}

/* n_pass passes behind one that fills the ring; 0: as many as take PASSES_SECONDS / MAX_TURNS. Adds to what a turn
 * before it has counted. */
static enum lever_status timed_passes(struct bench *b, uint32_t n_pass, struct turns *t, struct lever_error *err)
{
    struct lv_instance *m = &b->e->target;
    struct lv_reader_stats s0, s1;

    lv_stream_start(m->stream);
    const uint64_t warm = lv_now_ns();

    LV_TRY(one_pass(b, err));
    if (!n_pass) {
        const double n = PASSES_SECONDS / MAX_TURNS / lv_seconds(lv_now_ns() - warm + 1);

        n_pass = n < 2 ? 2 : n > MAX_PASSES ? MAX_PASSES : (uint32_t)n;
    }
    const double cpu0 = reader_cpu(b);
    const uint64_t t0 = lv_now_ns();

    lv_reader_get_stats(m->reader, &s0);
    for (uint32_t i = 0; i < n_pass; i++)
        LV_TRY(one_pass(b, err));
    const double seconds = lv_seconds(lv_now_ns() - t0 + 1);

    lv_reader_get_stats(m->reader, &s1);
    t->cpu += reader_cpu(b) - cpu0;
    t->busy += lv_seconds(s1.busy_ns - s0.busy_ns);
    t->last_seconds = seconds;
    t->seconds += seconds;
    t->n_pass += n_pass;
    lv_stream_stop(m->stream);
    return LEVER_OK;
}

/* Passes and raw reads in turn, because the rate of a disk drifts: the raw bytes that a turn could have read are its
 * time at the mean of the raw rates before and after it. */
static enum lever_status take_turns(struct bench *b, uint32_t n_pass, struct lever_error *err)
{
    struct lever_stream_report *r = &b->r;
    const uint32_t n_turn = n_pass && n_pass < MAX_TURNS ? n_pass : MAX_TURNS;
    struct turns t = { 0 };
    double raw, raw_bytes = 0;

    LV_TRY(raw_rate(b, &r->raw_before, err));
    raw = r->raw_before;
    for (uint32_t i = 0; i < n_turn; i++) {
        LV_TRY(timed_passes(b, n_pass * (i + 1) / n_turn - n_pass * i / n_turn, &t, err));
        /* Reads of the stopped stream that are still under way stand first in the queue: at most a ring of them. */
        LV_TRY(raw_rate(b, &r->raw_after, err));
        raw_bytes += t.last_seconds * (raw + r->raw_after) / 2;
        raw = r->raw_after;
    }
    const double idle = 1 - t.busy / t.seconds;

    r->n_pass = t.n_pass;
    r->seconds = t.seconds;
    r->rate = (double)b->e->target.place.streamed_bytes * t.n_pass / t.seconds;
    r->raw = raw_bytes / t.seconds;
    r->share = raw_bytes > 0 ? r->rate / r->raw : 0;
    r->idle_share = idle > 0 ? idle : 0;
    r->cpu_reader = t.cpu > 0 ? t.cpu / t.seconds : 0;
    return LEVER_OK;
}

static enum lever_status run(struct bench *b, uint32_t n_pass, struct lever_error *err)
{
    struct lever_engine *e = b->e;
    struct lever_stream_report *r = &b->r;

    LV_TRY(list_ranges(b, e->plan.target.slot_bytes, err));
    const struct lv_flash_job job = raw_job(b);

    LV_TRY(lv_flash_cached(&job, lv_instance_path(&e->target, b->range[0].i_file), &r->looks_cached, &r->reread, err));
    LV_TRY(take_turns(b, n_pass, err));
    if (b->compute)
        r->cpu_pack = pack_seconds(b) * r->n_pass / r->seconds;
    r->cpu_share = r->cpu_reader + r->cpu_pack;
    r->bytes_per_pass = e->target.place.streamed_bytes;
    r->slot_bytes = e->plan.target.slot_bytes;
    r->n_slot = e->plan.target.n_ring_slot < e->target.place.n_extent ? e->plan.target.n_ring_slot
                                                                       : e->target.place.n_extent;
    r->rows = b->compute ? b->rows : 0;
    r->reader = strcmp(lv_reader_mode(e->target.reader), "direct") ? "buffered" : "direct"; /* outlives the engine */
    r->kernels = e->kern.level;
    return LEVER_OK;
}

enum lever_status lever_bench_stream(const struct lever_options *opt, bool compute, uint32_t rows, uint32_t n_pass,
                                     struct lever_stream_report *out, struct lever_error *err)
{
    struct bench b = { .compute = compute, .rows = rows ? rows : 1 };
    struct lever_options o;
    enum lever_status st;

    if (!out || out->size < sizeof out->size || !lv_engine_take_options(&o, opt))
        return LV_FAIL(err, LEVER_E_ARG, "lever_bench_stream: opt (made by lever_options_default) and out, with its size "
                       "set, are required");
    o.draft_path = NULL;
    o.speculation = LEVER_SPEC_OFF;
    o.vocab_only = false;
    LV_TRY(lever_open(&b.e, &o, err));
    if (!b.e->target.stream)
        st = LV_FAIL(err, LEVER_E_ARG, "nothing is streamed: %s fits in memory; give a smaller --memory", o.target_path);
    else if (b.rows > b.e->target.exec.max_rows)
        st = LV_FAIL(err, LEVER_E_ARG, "rows: found %u, expected 1..%u", b.rows, b.e->target.exec.max_rows);
    else
        st = run(&b, n_pass, err);
    lever_close(b.e);
    lv_free(b.range);
    if (st < 0)
        return st;
    b.r.size = out->size;
    memcpy(out, &b.r, out->size < sizeof b.r ? out->size : sizeof b.r);
    return LEVER_OK;
}
