#include "model/exec_job.h"

#include <assert.h>
#include <sched.h>
#include <string.h>

#include "base/clock.h"

/* ---- one op ---------------------------------------------------------------------- */

static const struct lv_op call_op = { .kind = LV_OP_CALL };

/* What `at` names. */
static const struct lv_op *op_at(const struct lv_exec *x, uint64_t at)
{
    return (uint32_t)at & INSERTED ? &call_op : &x->job->op[(uint32_t)at];
}

/* Pieces of a row that the gated activation is split into. */
static uint32_t glu_pieces(const struct lv_exec *x)
{
    return (x->p->shape.n_ff + x->job->glu_cols - 1) / x->job->glu_cols;
}

/* Units of a whole op. */
static uint32_t op_units(const struct lv_exec *x, const struct lv_op *op)
{
    const struct lv_exec_job *j = x->job;
    uint32_t n = 0;

    switch (op->kind) {
    case LV_OP_NORM:
    case LV_OP_QKV:
        return j->n_rows;
    case LV_OP_CALL:
        return j->n_call;
    case LV_OP_ATTN:
        return x->p->shape.n_head_kv * ((j->n_rows + j->attn_rows - 1) / j->attn_rows);
    case LV_OP_GLU:
        return j->n_rows * glu_pieces(x);
    case LV_OP_MATMUL:
        for (uint32_t i = 0; i < op->mm.n_w; i++)
            n += x->p->w[op->mm.w[i]].n_groups;
    }
    return n;
}

/* Groups a worker takes at once: about 384 KiB of weights, yet several chunks for each worker. */
static uint32_t matmul_grain(const struct lv_exec *x, const struct lv_weight *w)
{
    const uint32_t by_size = (uint32_t)((384 * 1024 + w->group_bytes - 1) / w->group_bytes);
    const uint32_t by_share = w->n_groups / (x->n_worker * 8) + 1;

    return by_size < by_share ? by_size : by_share;
}

/* Resident segments are cut into a lane a worker: who reads on where it stopped finds the lines that it asked for. Then it
 * helps in other lanes. Streamed segments have one, so that they are used up in the order of the stream. */
static uint32_t lanes(const struct lv_exec *x, const struct lv_segment *seg)
{
    return seg && seg->r32 ? x->n_worker : 1;
}

/* First group of a lane; of lane `lanes`: the end. */
static uint32_t lane_at(const struct lv_exec *x, const struct lv_segment *seg, uint32_t lane)
{
    return (uint32_t)((uint64_t)seg->n_groups * lane / lanes(x, seg));
}

/* Resets the counters and publishes op i_op. Called by one thread, when no unit is in work. */
static void begin_op(struct lv_exec *x, uint64_t serial, uint32_t i_op)
{
    struct lv_exec_job *j = x->job;

    if (x->between && j->pass && i_op && i_op < j->n_op) {
        atomic_store(&j->n_call, 0);
        x->between(x->between_ctx, i_op);
        if (atomic_load(&j->n_call)) {
            /* Who is late at a call must not find it longer than it was. */
            assert(!((uint32_t)atomic_load(&j->at) & INSERTED));
            i_op |= INSERTED;
        }
    }
    if (i_op < j->n_op || i_op & INSERTED) {
        const struct lv_op *op = op_at(x, i_op);
        const uint32_t n_part = op->kind == LV_OP_MATMUL ? op->mm.n_part : 1;

        atomic_store_explicit(&j->n_done, 0, memory_order_relaxed);
        for (uint32_t i = 0; i < n_part; i++) {
            const struct lv_segment *seg = op->kind == LV_OP_MATMUL ? x->p->part[op->mm.part + i].seg : NULL;

            atomic_store_explicit(&j->n_used[i], 0, memory_order_relaxed);
            for (uint32_t l = 0; l < lanes(x, seg); l++)
                atomic_store_explicit(&j->next[i * x->n_worker + l], serial << 32 | (seg ? lane_at(x, seg, l) : 0),
                                      memory_order_release);
        }
    }
    atomic_store(&j->at, serial << 32 | i_op);
    lv_event_bump(x->event);
}

/* Takes up to `grain` units before `end`; returns their count, 0 also when the op is over. */
static uint32_t take(_Atomic uint64_t *next, uint64_t serial, uint32_t end, uint32_t grain, uint32_t *first)
{
    uint64_t cur = atomic_load_explicit(next, memory_order_acquire);

    for (;;) {
        const uint32_t at = (uint32_t)cur;

        if (cur >> 32 != serial || at >= end)
            return 0;
        const uint32_t n = end - at < grain ? end - at : grain;

        if (atomic_compare_exchange_weak_explicit(next, &cur, cur + n, memory_order_acq_rel, memory_order_acquire)) {
            *first = at;
            return n;
        }
    }
}

/* Counts n units as done; who finishes the op's last one begins the next op. */
static void finish_units(struct lv_exec *x, uint64_t at, uint32_t n)
{
    struct lv_exec_job *j = x->job;
    const uint32_t n_op_units = op_units(x, op_at(x, at)), i_op = (uint32_t)at;

    if (atomic_fetch_add_explicit(&j->n_done, n, memory_order_acq_rel) + n == n_op_units)
        begin_op(x, (at >> 32) + 1, i_op & INSERTED ? i_op & ~INSERTED : i_op + 1);
}

/* The first rows of a pass by one kernel table, the rest by another, where there are two. */
static void multiply(const struct lv_exec *x, enum lv_type type, float *y, size_t stride, const uint8_t *group,
                     const struct lv_act *act, uint32_t n)
{
    const uint32_t n_first = x->k_rest && x->n_first < n ? x->n_first : n;

    x->k->gemm[type](y, stride, group, act, 0, n_first);
    if (n_first < n)
        x->k_rest->gemm[type](y + n_first * stride, stride, group, act, n_first, n - n_first);
}

/* Output rows of groups first .. first + n - 1 of a segment, for all rows of the pass. */
static void matmul_chunk(struct lv_exec *x, const struct lv_op *op, const struct lv_part *t, const uint8_t *streamed,
                         uint32_t first, uint32_t n, unsigned worker)
{
    const struct lv_weight *w = &x->p->w[op->mm.w[t->i_w]];
    const struct lv_segment *seg = t->seg;
    const struct lv_act *act = &x->act[op->mm.src];
    const enum lv_buf dst = op->mm.dst[t->i_w];
    const uint32_t v_bias = op->mm.v_bias[t->i_w];
    const uint32_t n_rows = x->job->n_rows;
    float *product = (float *)x->scratch[worker];
    uint8_t *repacked = x->scratch[worker] + (x->scratch_bytes - w->group_bytes) / 64 * 64;

    for (uint32_t i = first; i < first + n; i++) {
        const uint32_t r0 = (seg->first_group + i) * LV_GROUP_ROWS;
        const uint8_t *group = (streamed ? streamed + seg->off : seg->r32) + (size_t)i * w->group_bytes;
        const bool top = dst == LV_BUF_LOGITS && x->head.n_top > 0;
        const bool direct = !op->mm.add && v_bias == LV_NONE && !top;

        if (streamed && !w->packed) {
            const uint32_t left = w->n_rows - r0;

            x->k->pack[w->type](repacked, group, left < LV_GROUP_ROWS ? left : LV_GROUP_ROWS, w->n_cols);
            group = repacked;
        }
        if (direct) {
            multiply(x, w->type, x->buf[dst] + r0, x->stride[dst], group, act, n_rows);
            continue;
        }
        multiply(x, w->type, product, LV_GROUP_ROWS, group, act, n_rows);
        for (uint32_t r = 0; r < n_rows; r++) {
            float *y = lv_exec_row(x, dst, r) + r0, *v = product + (size_t)r * LV_GROUP_ROWS;

            if (v_bias != LV_NONE)
                x->k->add(v, v, x->p->v[v_bias].data + r0, LV_GROUP_ROWS);
            if (top)
                lv_head_add(x, worker, r, v, r0);
            else if (op->mm.add)
                x->k->add(y, y, v, LV_GROUP_ROWS);
            else
                memcpy(y, v, LV_GROUP_ROWS * sizeof *y);
        }
    }
}

/* A chunk of one lane of part i. */
static enum lv_work work_lane(struct lv_exec *x, const struct lv_op *op, uint64_t at, uint32_t i, uint32_t lane,
                              unsigned worker)
{
    struct lv_exec_job *j = x->job;
    const struct lv_part *t = &x->p->part[op->mm.part + i];
    const struct lv_segment *seg = t->seg;
    _Atomic uint64_t *next = &j->next[i * x->n_worker + lane];
    const uint32_t end = lane_at(x, seg, lane + 1);
    const uint64_t cur = atomic_load_explicit(next, memory_order_acquire);
    const uint8_t *streamed = NULL;
    uint32_t first;

    if (cur >> 32 != at >> 32 || (uint32_t)cur >= end)
        return LV_WORK_NONE;
    if (!seg->r32 && !(streamed = x->src.take(x->src.ctx, seg->i_extent)))
        return LV_WORK_STREAM;
    const uint32_t grain = streamed ? 1 : matmul_grain(x, &x->p->w[op->mm.w[t->i_w]]);
    const uint32_t n = take(next, at >> 32, end, grain, &first);

    if (!n)
        return LV_WORK_NONE;
    matmul_chunk(x, op, t, streamed, first, n, worker);
    if (streamed && atomic_fetch_add(&j->n_used[i], n) + n == seg->n_groups)
        x->src.give(x->src.ctx, seg->i_extent);
    finish_units(x, at, n);
    return LV_WORK_CHUNK;
}

/* One chunk of a matmul: of the worker's own lanes, then of others. */
static enum lv_work work_matmul(struct lv_exec *x, const struct lv_op *op, uint64_t at, unsigned worker)
{
    enum lv_work none = LV_WORK_NONE;

    for (uint32_t away = 0; away < x->n_worker; away++)
        for (uint32_t i = 0; i < op->mm.n_part; i++) {
            const uint32_t n_lane = lanes(x, x->p->part[op->mm.part + i].seg);

            if (away >= n_lane)
                continue;
            const enum lv_work w = work_lane(x, op, at, i, (worker + away) % n_lane, worker);

            if (w == LV_WORK_CHUNK)
                return w;
            if (w == LV_WORK_STREAM)
                none = w;
        }
    return none;
}

static void row_chunk(struct lv_exec *x, const struct lv_op *op, uint32_t unit, unsigned worker)
{
    struct lv_exec_job *j = x->job;

    switch (op->kind) {
    case LV_OP_NORM:
        lv_row_norm(x, op, unit);
        break;
    case LV_OP_QKV:
        lv_row_qkv(x, j->kv, j->pass, op, unit);
        break;
    case LV_OP_ATTN: {
        const uint32_t n_head = x->p->shape.n_head_kv, row0 = unit / n_head * j->attn_rows;
        const uint32_t left = j->n_rows - row0;

        lv_attn_chunk(x, j->kv, j->pass, op, unit % n_head, row0, left < j->attn_rows ? left : j->attn_rows,
                      x->scratch[worker]);
        break;
    }
    case LV_OP_GLU: {
        const uint32_t n_ff = x->p->shape.n_ff, n_piece = glu_pieces(x);
        const uint32_t c0 = unit % n_piece * j->glu_cols, left = n_ff - c0;

        lv_row_glu(x, op, unit / n_piece, c0, left < j->glu_cols ? left : j->glu_cols);
        break;
    }
    case LV_OP_CALL:
        x->call(x->call_ctx, unit, worker);
        break;
    case LV_OP_MATMUL:
        assert(false);
        break;
    }
}

static enum lv_work work(struct lv_exec *x, unsigned worker)
{
    struct lv_exec_job *j = x->job;
    const uint64_t at = atomic_load(&j->at);

    if ((uint32_t)at == CLOSED || ((uint32_t)at & ~INSERTED) >= j->n_op || atomic_load_explicit(&j->stop, memory_order_relaxed))
        return LV_WORK_END;
    if ((x->cancel && atomic_load_explicit(x->cancel, memory_order_relaxed)) ||
        (x->src.error && x->src.error(x->src.ctx, NULL) < 0)) {
        atomic_store(&j->stop, true);
        lv_event_bump(x->event);
        return LV_WORK_END;
    }
    const struct lv_op *op = op_at(x, at);
    uint32_t unit;

    if (op->kind == LV_OP_MATMUL)
        return work_matmul(x, op, at, worker);
    if (!take(&j->next[0], at >> 32, op_units(x, op), 1, &unit))
        return LV_WORK_NONE;
    row_chunk(x, op, unit, worker);
    finish_units(x, at, 1);
    return LV_WORK_CHUNK;
}

enum lv_work lv_exec_work(struct lv_exec *x, unsigned worker)
{
    /* First in, then look: either this worker sees that the job is closed, or begin() sees it inside. */
    atomic_fetch_add(&x->job->n_inside, 1);
    const enum lv_work w = work(x, worker);

    atomic_fetch_sub(&x->job->n_inside, 1);
    return w;
}

static void worker_main(void *arg, unsigned worker)
{
    struct lv_exec *x = arg;

    for (;;) {
        const uint32_t seen = lv_event_seen(x->event);
        const enum lv_work w = lv_exec_work(x, worker);

        if (w == LV_WORK_END)
            return;
        if (w == LV_WORK_CHUNK)
            continue;
        const uint64_t t0 = w == LV_WORK_STREAM ? lv_now_ns() : 0;

        if (w == LV_WORK_STREAM && x->idle && x->idle(x->idle_ctx, worker)) {
            atomic_fetch_add_explicit(&x->idle_ns, lv_now_ns() - t0, memory_order_relaxed);
            continue;
        }
        lv_event_wait(x->event, seen);
        if (w == LV_WORK_STREAM)
            atomic_fetch_add_explicit(&x->stream_wait_ns, lv_now_ns() - t0, memory_order_relaxed);
    }
}

static void begin(struct lv_exec *x, const struct lv_op *op, uint32_t n_op, struct lv_kv *kv,
                  const struct lv_pass *pass, uint32_t n_rows)
{
    struct lv_exec_job *j = x->job;
    const uint64_t serial = (atomic_load(&j->at) >> 32) + 1;

    /* The last run is over, so nobody stays inside for long. */
    atomic_store(&j->at, serial << 32 | CLOSED);
    while (atomic_load(&j->n_inside))
        sched_yield();
    j->began_ns = lv_now_ns();
    j->op = op;
    j->n_op = n_op;
    j->kv = kv;
    j->pass = pass;
    j->n_rows = n_rows;
    atomic_store(&j->n_call, n_rows);
    j->attn_rows = pass ? lv_attn_rows_per_chunk(x, kv, pass) : 1;
    /* A row's gated activation is split when there are too few rows for all workers. */
    const uint32_t n_ff = x->p->shape.n_ff, n_piece = n_rows >= 4 * x->n_worker ? 1 : 2 * x->n_worker;

    j->glu_cols = (uint32_t)lv_round_up((n_ff + n_piece - 1) / n_piece, LV_GROUP_ROWS);
    atomic_store(&j->stop, false);
    begin_op(x, serial + 1, 0);
}

void lv_exec_keep_rows(struct lv_exec *x, const uint32_t *keep, const struct lv_pass *pass)
{
    static const enum lv_buf live[] = { LV_BUF_X, LV_BUF_T };
    struct lv_exec_job *j = x->job;

    for (uint32_t i = 0; i < pass->n_rows; i++) {
        assert(keep[i] >= i && keep[i] < j->n_rows);
        if (keep[i] == i)
            continue;
        for (uint32_t b = 0; b < 2; b++)
            memcpy(lv_exec_row(x, live[b], i), lv_exec_row(x, live[b], keep[i]), x->stride[live[b]] * sizeof(float));
        for (uint32_t r = 0; r < x->p->n_rope; r++)
            memcpy(x->rope_cs[r] + (size_t)i * x->p->shape.n_rot, x->rope_cs[r] + (size_t)keep[i] * x->p->shape.n_rot,
                   x->p->shape.n_rot * sizeof(float));
    }
    j->pass = pass;
    atomic_store(&j->n_rows, pass->n_rows);
}

void lv_exec_insert_call(struct lv_exec *x, uint32_t n, void (*fn)(void *ctx, uint32_t i, unsigned worker), void *ctx)
{
    assert(n >= 1);
    x->call = fn;
    x->call_ctx = ctx;
    atomic_store(&x->job->n_call, n);
}

enum lever_status lv_exec_result(struct lv_exec *x, struct lever_error *err)
{
    x->busy_ns += lv_now_ns() - x->job->began_ns;
    if (!atomic_load(&x->job->stop))
        return LEVER_OK;
    if (x->src.error)
        LV_TRY(x->src.error(x->src.ctx, err));
    return LV_FAIL(err, LEVER_E_CANCEL, "cancelled");
}

void lv_exec_begin_forward(struct lv_exec *x, struct lv_kv *kv, const struct lv_pass *pass)
{
    assert(pass->n_rows >= 1 && pass->n_rows <= x->max_rows);
    for (uint32_t r = 0; r < pass->n_rows; r++) {
        const uint32_t pos = kv->n + (pass->path_at[r + 1] - pass->path_at[r]) - 1;

        assert(pos < x->n_ctx);
        for (uint32_t i = 0; i < x->p->n_rope; i++)
            lv_rope_angles(x->p, i, pos, x->rope_cs[i] + (size_t)r * x->p->shape.n_rot);
    }
    begin(x, x->p->op, x->p->n_op, kv, pass, pass->n_rows);
}

void lv_exec_begin_head(struct lv_exec *x, const uint32_t *row, uint32_t n, struct lv_head head)
{
    const struct lv_program *p = x->p;
    const uint32_t n_embd = p->shape.n_embd;

    assert(n >= 1 && n <= LV_HEAD_ROWS && head.n_top <= LV_HEAD_TOP_MAX);
    for (uint32_t i = 0; i < n; i++)
        x->k->rms_norm(x->norm + (size_t)i * n_embd, lv_exec_row(x, LV_BUF_X, row[i]), p->v[p->v_out_norm].data,
                       p->shape.eps, n_embd);
    x->k->quantize(&x->act[LV_ACT_NORM], 0, n, 0, n_embd);
    x->head = head;
    memset(x->n_top, 0, (size_t)x->n_worker * LV_HEAD_ROWS * sizeof *x->n_top);
    begin(x, &p->head, 1, NULL, NULL, n);
}

void lv_exec_begin_call(struct lv_exec *x, uint32_t n, void (*fn)(void *ctx, uint32_t i, unsigned worker), void *ctx)
{
    x->call = fn;
    x->call_ctx = ctx;
    begin(x, &call_op, 1, NULL, NULL, n);
}

enum lever_status lv_exec_forward(struct lv_exec *x, struct lv_kv *kv, const struct lv_pass *pass,
                                  struct lever_error *err)
{
    lv_exec_begin_forward(x, kv, pass);
    lv_pool_run(x->pool, worker_main, x);
    return lv_exec_result(x, err);
}

enum lever_status lv_exec_head(struct lv_exec *x, const uint32_t *row, uint32_t n, struct lv_head head,
                               struct lever_error *err)
{
    lv_exec_begin_head(x, row, n, head);
    lv_pool_run(x->pool, worker_main, x);
    return lv_exec_result(x, err);
}
