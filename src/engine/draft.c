#include "engine/draft.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"

/* The most a draft is believed: where it repeats a text it is sure of every token, until the target goes another way.
 * Calibration raises it where it deserves more. */
#define SURE 0.985f

enum phase { DRAFT_IDLE, DRAFT_PROMPT, DRAFT_BODY, DRAFT_HEAD, DRAFT_RANK };

uint64_t lv_draft_bytes(const struct lv_sampler *s, uint32_t n_worker, uint32_t n_ctx)
{
    return n_worker * (lv_round_up(lv_sampler_scratch_bytes(s), 64) +
                       (n_ctx + LV_DRAFT_DEPTH + 1) * (uint64_t)sizeof(int32_t));
}

enum lever_status lv_draft_init(struct lv_draft *d, struct lv_instance *m, const struct lv_sampler *s,
                                const struct lv_tok *tok, const struct lv_calib *calib, struct lever_error *err)
{
    const uint32_t n_worker = m->exec.n_worker;

    *d = (struct lv_draft){ .m = m,
                            .sampler = *s,
                            .tok = tok,
                            .calib = calib,
                            .n_open = LV_DRAFT_OPEN,
                            .n_child = LV_DRAFT_CHILDREN,
                            .p_min = 1e-3f,
                            .n_history = m->kv.n_ctx + LV_DRAFT_DEPTH + 1,
                            .scratch_bytes = lv_round_up(lv_sampler_scratch_bytes(s), 64) };
    const uint32_t n_logits = m->program->w[m->program->w_head].n_rows;

    if (n_logits < s->n_vocab)
        d->sampler.n_vocab = n_logits;
    while (d->sampler.n_bias && d->sampler.bias[d->sampler.n_bias - 1].token >= (int32_t)d->sampler.n_vocab)
        d->sampler.n_bias--; /* ids rise */
    pthread_mutex_init(&d->lock, NULL);
    lv_grow_clear(&d->grow);
    d->history = LV_NEW_ARRAY(int32_t, (size_t)n_worker * d->n_history);
    d->scratch = lv_alloc(n_worker, d->scratch_bytes);
    if (!d->history || !d->scratch)
        return LV_FAIL(err, LEVER_E_NOMEM, "draft: %llu bytes",
                       (unsigned long long)lv_draft_bytes(s, n_worker, m->kv.n_ctx));
    return LEVER_OK;
}

void lv_draft_deinit(struct lv_draft *d)
{
    if (!d->m)
        return;
    pthread_mutex_destroy(&d->lock);
    lv_free(d->history);
    lv_free(d->scratch);
    d->m = NULL;
}

/* ---- batches ------------------------------------------------------------------ */

static void end_batch(struct lv_draft *d, bool failed)
{
    lv_grow_batch_done(&d->grow, d->batch, d->n_batch, failed);
    d->n_batch = 0;
    atomic_store(&d->phase, DRAFT_IDLE);
    lv_event_bump(d->m->exec.event);
}

static void fail_batch(struct lv_draft *d, enum lever_status st)
{
    d->st = st;
    atomic_store(&d->quota, 0);
    atomic_store(&d->catching_up, false);
    end_batch(d, true);
}

static bool cancelled(const struct lv_draft *d)
{
    return d->m->exec.cancel && atomic_load(d->m->exec.cancel);
}

/* The device does not work any more, d->err says why: the batch is as if it had never begun, and none begins until
 * turn_to_cpu. */
static void lose_device(struct lv_draft *d)
{
    atomic_store(&d->lost, true);
    atomic_store(&d->starved, true);
    atomic_store(&d->quota, 0);
    atomic_store(&d->catching_up, false);
    end_batch(d, true);
}

/* On the sequence's thread while no worker runs. The tree's K and V are gone with the device. */
static void turn_to_cpu(struct lv_draft *d)
{
    if (!atomic_load(&d->lost))
        return;
    atomic_store(&d->lost, false);
    atomic_store(&d->starved, false);
    lv_accel_unload(d->m->device);
    d->m->device = NULL;
    lv_grow_clear(&d->grow);
    lv_kv_clear(&d->m->kv);
    if (d->on_lost)
        d->on_lost(d->on_lost_ctx, d->err.message);
}

static void commit(struct lv_draft *d, const int32_t *slot, uint32_t n)
{
    struct lv_kv *kv = &d->m->kv;

    if (!d->m->device) {
        lv_kv_commit(kv, slot, n);
        return;
    }
    /* A device lost here is found lost by the next batch. */
    lv_accel_commit(d->m->device, slot, n, kv->n, &d->err);
    lv_kv_advance(kv, n);
}

/* Body and head of the batch on the device. */
static bool begin_on_device(struct lv_draft *d, enum phase phase)
{
    struct lv_exec *x = &d->m->exec;
    uint32_t row[LV_HEAD_ROWS], n = 0;

    for (uint32_t i = d->n_spine; phase == DRAFT_BODY && i < d->n_batch; i++)
        row[n++] = i;
    const struct lv_accel_pass p = { .pass = &d->pass,
                                     .n_kv = d->m->kv.n,
                                     .x = x->buf[LV_BUF_X],
                                     .stride_x = x->stride[LV_BUF_X],
                                     .head_row = row,
                                     .n_head = n,
                                     .logits = x->buf[LV_BUF_LOGITS],
                                     .stride_logits = x->stride[LV_BUF_LOGITS],
                                     .event = x->event };

    if (lv_accel_submit(d->m->device, &p, &d->err) < 0) {
        lose_device(d);
        return false;
    }
    atomic_store(&d->on_device, true);
    atomic_store(&d->phase, phase);
    return true;
}

/* A chunk of the run under way. */
static enum lv_work run_work(struct lv_draft *d, unsigned worker)
{
    if (!atomic_load(&d->on_device))
        return lv_exec_work(&d->m->exec, worker);
    return lv_accel_poll(d->m->device) || cancelled(d) ? LV_WORK_END : LV_WORK_NONE;
}

/* How the run that is over ended. */
static enum lever_status run_result(struct lv_draft *d)
{
    d->given = atomic_exchange(&d->on_device, false);
    if (!d->given)
        return lv_exec_result(&d->m->exec, &d->err);
    if (lv_accel_poll(d->m->device))
        return lv_accel_wait(d->m->device, &d->err);
    lv_accel_abandon(d->m->device); /* whoever uses buffers or device next waits for its end */
    return LV_FAIL(&d->err, LEVER_E_CANCEL, "cancelled");
}

/* Embeds the batch's tokens and begins its forward pass. */
static bool begin_body(struct lv_draft *d, enum phase phase, uint32_t n, const int32_t *slot)
{
    struct lv_instance *m = d->m;

    if (m->device)
        lv_accel_wait(m->device, NULL); /* one that was abandoned */
    const enum lever_status st = lv_embed_rows(&m->embed, d->token, n, m->exec.buf[LV_BUF_X], m->exec.stride[LV_BUF_X],
                                               m->exec.cancel, &d->err);

    if (st < 0) {
        fail_batch(d, st);
        return false;
    }
    d->pass = (struct lv_pass){ .n_rows = n, .slot = slot, .path_at = d->path_at, .path = d->path };
    d->began_ns = lv_now_ns();
    if (m->device)
        return begin_on_device(d, phase);
    atomic_store(&d->phase, phase);
    lv_instance_use(m, &m->exec, false, n);
    lv_exec_begin_forward(&m->exec, &m->kv, &d->pass);
    return true;
}

/* The next bucket of a prompt: a chain. No node is queued. */
static bool begin_prompt(struct lv_draft *d)
{
    const uint32_t n_kv = d->m->kv.n, left = d->n_prompt - n_kv, n = left < LV_DRAFT_ROWS ? left : LV_DRAFT_ROWS;

    for (uint32_t r = 0; r < n; r++) {
        d->chain[r] = (int32_t)r;
        d->token[r] = d->text[n_kv + r];
        memcpy(d->path + d->path_at[r], d->chain, (r + 1) * sizeof *d->path);
        d->path_at[r + 1] = d->path_at[r] + r + 1;
    }
    return begin_body(d, DRAFT_PROMPT, n, d->chain);
}

/* Begins a batch if there is something to expand. Under lock. */
static bool begin_batch(struct lv_draft *d)
{
    struct lv_instance *m = d->m;
    struct lv_grow *g = &d->grow;

    d->path_at[0] = 0;
    if (atomic_load(&d->lost)) {
        lose_device(d); /* what was asked for meanwhile */
        return false;
    }
    if (atomic_load(&d->catching_up))
        return begin_prompt(d);
    if (!atomic_load(&d->quota) || g->root < 0)
        return false;
    d->n_batch = lv_grow_batch(g, d->n_open, d->p_min, d->batch, LV_DRAFT_ROWS, &d->n_spine);
    for (uint32_t i = 0; i < d->n_batch; i++) {
        int32_t slots[LV_GROW_MAX];
        const uint32_t n = lv_grow_path(g, d->batch[i], slots);

        if (n > LV_DRAFT_DEPTH || m->kv.n + n > m->kv.n_ctx) { /* too deep to be of use: never to be expanded */
            lv_grow_batch_done(g, d->batch + i, d->n_batch - i, false);
            d->n_batch = i;
            break;
        }
        memcpy(d->path + d->path_at[i], slots, n * sizeof *slots);
        d->path_at[i + 1] = d->path_at[i] + n;
        d->token[i] = g->node[d->batch[i]].token;
    }
    if (d->n_batch <= d->n_spine) {
        lv_grow_batch_done(g, d->batch, d->n_batch, true);
        d->n_batch = 0;
        atomic_store(&d->starved, true);
        atomic_store(&d->quota, 0);
        return false;
    }
    if (!begin_body(d, DRAFT_BODY, d->n_batch, d->batch))
        return false;
    /* Not before: a worker that sees neither a quota nor a phase goes home, and the batch is computed without it. */
    atomic_fetch_sub(&d->quota, 1);
    return true;
}

/* The best candidates below one row. A call op of the executor: rows run side by side. */
static void rank_row(void *ctx, uint32_t i, unsigned worker)
{
    struct lv_draft *d = ctx;
    const struct lv_sampler *s = &d->sampler;
    const uint32_t row = d->n_spine + i, n_path = d->path_at[row + 1] - d->path_at[row];
    const uint32_t n_kv = d->m->kv.n;
    void *scratch = (uint8_t *)d->scratch + worker * d->scratch_bytes;
    struct lv_exec *x = &d->m->exec;
    struct lv_top top[LV_HEAD_TOP_MAX];
    int32_t *history = d->history + (size_t)worker * d->n_history;
    const bool penalties = lv_sampler_has_penalties(s);

    if (d->given)
        lv_exec_give_logits(x, worker, i);
    if (x->head.n_top) {
        const uint32_t n = lv_exec_top(x, i, top);

        d->n_found[i] = lv_sampler_rank_top(s, top, n, x->head.sharpen > 0.0f ? lv_exec_mass(x, i) : 0.0,
                                            n_kv + n_path, scratch, d->n_child, d->child[i], d->child_p[i]);
        return;
    }
    if (penalties) {
        memcpy(history, d->text, n_kv * sizeof *history);
        for (uint32_t k = 0; k < n_path; k++)
            history[n_kv + k] = d->grow.node[d->path[d->path_at[row] + k]].token;
    }
    d->n_found[i] = lv_sampler_rank(s, lv_exec_row(x, LV_BUF_LOGITS, i), history, penalties ? n_kv + n_path : 0,
                                    n_kv + n_path, scratch, d->n_child, d->child[i], d->child_p[i]);
}

/* What the draft proposes below a node. Candidates that were there already, from lookup: the draft's word counts for
 * those it names too; the others share what it leaves. */
static void add_children(struct lv_draft *d, int32_t node, const int32_t *child, const float *draft_p, uint32_t n)
{
    struct lv_grow *g = &d->grow;
    const bool had = g->node[node].n_child > 0 && !g->node[node].peeked;
    const float path = g->node[node].lp - g->node[g->root].lp;
    float raw[LV_DRAFT_CHILDREN], p[LV_DRAFT_CHILDREN], rest = 1.0f;

    for (uint32_t k = 0; k < n; k++)
        raw[k] = draft_p[k] < SURE ? draft_p[k] : SURE;
    lv_calib_siblings(d->calib, raw, n, lv_grow_depth(g, node) + 1, p);
    if (g->node[node].peeked) /* the target's own layer knows better: the draft adds to what that leaves */
        for (uint32_t k = 0; k < n; k++)
            p[k] = fmaxf(p[k] * lv_grow_rest(g, node), 1e-9f);
    for (uint32_t k = 0; k < n; k++)
        rest -= p[k];
    for (int32_t i = 0; had && i < LV_GROW_MAX; i++)
        if (g->node[i].state != LV_GROW_FREE && g->node[i].parent == node)
            lv_grow_set_p(g, i, expf(g->node[i].lp - g->node[node].lp) * (rest > 1e-6f ? rest : 1e-6f));
    for (uint32_t k = 0; k < n; k++) {
        if (lv_tok_is_end(d->tok, child[k]) || (k > 0 && path + logf(p[k]) < logf(d->p_min)))
            continue; /* a row for an end token would verify nothing */
        const int32_t i = lv_grow_add(g, node, child[k], p[k], (uint8_t)k);

        if (i < 0)
            continue;
        if (g->node[i].lookup_p > 0.0f && !g->node[node].peeked)
            lv_grow_set_p(g, i, p[k]);
        g->node[i].draft_p = raw[k];
        g->node[i].rank = (uint8_t)k;
    }
}

/* The run of a phase has ended: the next one. Under lock. */
static void next_phase(struct lv_draft *d)
{
    struct lv_exec *x = &d->m->exec;
    const enum lever_status st = run_result(d);
    uint32_t row[LV_HEAD_ROWS], n = 0;

    if (d->given && st < 0 && st != LEVER_E_CANCEL) {
        lose_device(d);
        return;
    }
    if (st < 0) {
        fail_batch(d, st);
        return;
    }
    switch ((enum phase)atomic_load(&d->phase)) {
    case DRAFT_PROMPT:
        commit(d, d->chain, d->pass.n_rows);
        atomic_store(&d->catching_up, d->m->kv.n < d->n_prompt);
        end_batch(d, false);
        break;
    case DRAFT_BODY:
        if (d->given) {
            lv_exec_give_head(x, lv_sampler_rank_head(&d->sampler, d->n_child));
            atomic_store(&d->phase, DRAFT_RANK);
            lv_exec_begin_call(x, d->n_batch - d->n_spine, rank_row, d);
            break;
        }
        for (uint32_t i = d->n_spine; i < d->n_batch; i++)
            row[n++] = i;
        atomic_store(&d->phase, DRAFT_HEAD);
        d->head_ns = lv_now_ns();
        if (d->alone)
            lv_instance_learn(d->m, false, d->n_batch, lv_seconds(d->head_ns - d->began_ns));
        lv_instance_use(d->m, x, true, n);
        lv_exec_begin_head(x, row, n, lv_sampler_rank_head(&d->sampler, d->n_child));
        break;
    case DRAFT_HEAD:
        atomic_store(&d->phase, DRAFT_RANK);
        if (d->alone)
            lv_instance_learn(d->m, true, d->n_batch - d->n_spine, lv_seconds(lv_now_ns() - d->head_ns));
        lv_exec_begin_call(x, d->n_batch - d->n_spine, rank_row, d);
        break;
    case DRAFT_RANK:
        for (uint32_t i = 0; i + d->n_spine < d->n_batch; i++) {
            const int32_t node = d->batch[d->n_spine + i];

            if (!d->grow.node[node].doomed && !d->grow.node[node].spine) /* else the root moved on meanwhile */
                add_children(d, node, d->child[i], d->child_p[i], d->n_found[i]);
        }
        d->n_batches++;
        lv_spans_add(&d->spans, d->began_ns, lv_now_ns());
        if (d->alone)
            lv_cost_learn(&d->cost, d->n_batch, lv_seconds(lv_now_ns() - d->began_ns));
        end_batch(d, false);
        break;
    case DRAFT_IDLE:
        break;
    }
}

bool lv_draft_work(void *draft, unsigned worker)
{
    struct lv_draft *d = draft;
    bool did = false;

    if (atomic_load(&d->phase) != DRAFT_IDLE) {
        const enum lv_work w = run_work(d, worker);

        if (w != LV_WORK_END)
            return w == LV_WORK_CHUNK;
    } else if (!atomic_load(&d->quota) && !atomic_load(&d->catching_up)) {
        return false;
    }
    if (pthread_mutex_trylock(&d->lock) != 0)
        return false; /* whoever holds it will bump the event */
    if (atomic_load(&d->phase) == DRAFT_IDLE) {
        did = begin_batch(d);
    } else {
        const enum lv_work w = run_work(d, worker); /* the next run may have begun meanwhile */

        did = w == LV_WORK_CHUNK || w == LV_WORK_END;
        if (w == LV_WORK_END)
            next_phase(d);
    }
    pthread_mutex_unlock(&d->lock);
    return did;
}

/* ---- drafting that the round waits for ------------------------------------------- */

static void run_worker(void *arg, unsigned worker)
{
    struct lv_draft *d = arg;

    for (;;) {
        const uint32_t seen = lv_event_seen(d->m->exec.event);

        if (lv_draft_work(d, worker))
            continue;
        if (atomic_load(&d->phase) == DRAFT_IDLE && !atomic_load(&d->quota) && !atomic_load(&d->catching_up)) {
            lv_event_bump(d->m->exec.event);
            return;
        }
        lv_event_wait(d->m->exec.event, seen);
    }
}

void lv_draft_allow(struct lv_draft *d, uint32_t n)
{
    atomic_store(&d->starved, false);
    atomic_store(&d->quota, n);
}

bool lv_draft_starved(const struct lv_draft *d)
{
    return atomic_load(&d->starved);
}

size_t lv_draft_spans(struct lv_draft *d, uint64_t from_ns, uint64_t to_ns, struct lever_span *out, size_t cap)
{
    struct lv_spans now = { .n = 0 };
    size_t n;

    if (!d->m)
        return 0;
    pthread_mutex_lock(&d->lock);
    n = lv_spans_copy(&d->spans, from_ns, to_ns, out, cap);
    if (atomic_load(&d->phase) > DRAFT_PROMPT)
        lv_spans_add(&now, d->began_ns, to_ns);
    pthread_mutex_unlock(&d->lock);
    return n + lv_spans_copy(&now, from_ns, to_ns, out + n, cap - n);
}

enum lever_status lv_draft_run(struct lv_draft *d, uint32_t n, struct lever_error *err)
{
    const uint64_t t0 = lv_now_ns();

    d->st = LEVER_OK;
    d->alone = atomic_load(&d->phase) == DRAFT_IDLE;
    lv_draft_allow(d, n);
    lv_pool_run(d->m->exec.pool, run_worker, d);
    d->alone = false;
    d->exposed_ns += lv_now_ns() - t0;
    if (d->st < 0 && err)
        *err = d->err;
    return d->st;
}

enum lever_status lv_draft_keep(struct lv_draft *d, uint32_t n, struct lever_error *err)
{
    struct lv_kv *kv = &d->m->kv;
    enum lever_status st = LEVER_OK;

    turn_to_cpu(d);
    if (atomic_exchange(&d->catching_up, false) && kv->n < n)
        n = kv->n; /* what is under way may be of a prompt that failed */
    if (atomic_load(&d->phase) != DRAFT_IDLE) {
        d->n_prompt = 0;
        st = lv_draft_run(d, 0, err);
        turn_to_cpu(d);
    }
    lv_grow_clear(&d->grow);
    if (kv->n > n && !lv_kv_rewind(kv, n))
        lv_kv_clear(kv); /* further back than a sliding window allows */
    return st;
}

enum lever_status lv_draft_prompt(struct lv_draft *d, const int32_t *text, uint32_t n, struct lever_error *err)
{
    struct lv_kv *kv = &d->m->kv;

    LV_TRY(lv_draft_keep(d, n, err));
    d->text = text;
    d->n_prompt = n;
    d->st = LEVER_OK;
    lv_draft_allow(d, 0);
    atomic_store(&d->catching_up, kv->n < n);
    return LEVER_OK;
}

enum lever_status lv_draft_finish_prompt(struct lv_draft *d, struct lever_error *err)
{
    const uint64_t before = d->exposed_ns;

    if (d->st < 0 && err) /* in the background */
        *err = d->err;
    LV_TRY(d->st);
    const enum lever_status st = lv_draft_run(d, 0, err);

    d->exposed_ns = before;
    return st;
}

enum lever_status lv_draft_sync(struct lv_draft *d, const int32_t *text, uint32_t n, struct lever_error *err)
{
    struct lv_grow *g = &d->grow;
    struct lv_kv *kv = &d->m->kv;
    int32_t slot[LV_GROW_MAX];

    turn_to_cpu(d);
    d->text = text;
    if (g->root >= 0 && kv->n + g->n_depth == n - 1 && g->node[g->root].token == text[n - 1]) {
        if (atomic_load(&d->phase) == DRAFT_IDLE) {
            const uint32_t k = lv_grow_spine_ready(g, slot);

            commit(d, slot, k);
            lv_grow_drop_spine(g, k);
        }
        return LEVER_OK;
    }
    LV_TRY(lv_draft_prompt(d, text, n - 1, err));
    LV_TRY(lv_draft_run(d, 0, err));
    if (atomic_load(&d->lost)) /* on the way: once more, here */
        return lv_draft_sync(d, text, n, err);
    lv_grow_init(g, text[n - 1]);
    return LEVER_OK;
}
