/* Verify and accept: a tree's rows through the target, logits along the likely path, what times they took. */
#include <string.h>

#include "base/clock.h"
#include "engine/peek.h"
#include "engine/seq.h"

#define RATE_STEP 0.3
#define FIXED_STEP 0.2

/* The device's rate, which drifts. Reads side by side show it. Where few were needed at a time, what came while at least one
 * was in flight is a lower bound. */
void lv_round_learn_rate(lever_seq *q, const struct lv_reader_stats *a, const struct lv_reader_stats *b)
{
    const double pass_bytes = (double)q->e->target.place.streamed_bytes;
    const double full_bytes = (double)(b->full_bytes - a->full_bytes);

    if (b->full_ns > a->full_ns && full_bytes > 0.0) {
        const double rate = full_bytes / lv_seconds(b->full_ns - a->full_ns), share = full_bytes / pass_bytes;

        q->stream_rate = q->stream_rate > 0.0 ? q->stream_rate + RATE_STEP * (share < 1.0 ? share : 1.0) * (rate - q->stream_rate) : rate;
    }
    if (b->busy_ns > a->busy_ns) {
        const double rate = (double)(b->bytes - a->bytes) / lv_seconds(b->busy_ns - a->busy_ns);

        q->stream_rate = rate > q->stream_rate ? rate : q->stream_rate;
    }
    if (q->stream_rate > 0.0)
        q->cost.t_stream = pass_bytes / q->stream_rate;
}

/* ---- logits -------------------------------------------------------------------- */

static enum lever_status head(lever_seq *q, const uint32_t *row, uint32_t n, struct lever_error *err)
{
    const struct lv_head want = { .n_top = lv_sampler_n_top(&q->sampler) };

    const uint64_t t0 = lv_now_ns();

    q->n_head_row = 0;
    LV_TRY(lv_instance_head(&q->e->target, row, n, want, err));
    if (!q->e->target.stream_head)
        lv_instance_learn(&q->e->target, true, n, lv_seconds(lv_now_ns() - t0));
    memcpy(q->head_row, row, n * sizeof *row);
    q->n_head_row = n;
    return LEVER_OK;
}

/* Where the logits of a row are, or LV_NONE. */
static uint32_t head_index(const lever_seq *q, uint32_t row)
{
    for (uint32_t i = 0; i < q->n_head_row; i++)
        if (q->head_row[i] == row)
            return i;
    return LV_NONE;
}

enum lever_status lv_round_head(lever_seq *q, uint32_t row, struct lever_error *err)
{
    return head_index(q, row) == LV_NONE ? head(q, &row, 1, err) : LEVER_OK;
}

int32_t lv_round_draw(lever_seq *q, uint32_t row, uint32_t n)
{
    struct lv_top top[LV_HEAD_TOP_MAX];

    if (lv_sampler_n_top(&q->sampler)) {
        const uint32_t n_top = lv_exec_top(&q->e->target.exec, head_index(q, row), top);

        return lv_sampler_draw_top(&q->sampler, top, n_top, n, q->scratch);
    }
    memcpy(q->logits, lv_exec_row(&q->e->target.exec, LV_BUF_LOGITS, head_index(q, row)),
           q->sampler.n_vocab * sizeof *q->logits);
    return lv_sampler_draw(&q->sampler, q->logits, q->text, n, n, q->scratch);
}

/* Logits of a node and of first children below it: the likely path, as long as a batch. */
static enum lever_status head_along(lever_seq *q, int32_t node, uint32_t most, struct lever_error *err)
{
    uint32_t row[LV_HEAD_ROWS];
    const uint32_t n = lv_tree_first_path(&q->tree, node, most < LV_HEAD_ROWS ? most : LV_HEAD_ROWS, row);

    return head(q, row, n, err);
}

/* ---- verify and accept ------------------------------------------------------------ */

/* What was read so far, and what the workers did without the target. */
struct marks {
    struct lv_reader_stats io;
    uint64_t ns, wait_ns, idle_ns;
};

static struct marks mark(const struct lever_engine *e)
{
    struct marks m = { .ns = lv_now_ns(),
                       .wait_ns = atomic_load(&e->target.exec.stream_wait_ns),
                       .idle_ns = atomic_load(&e->target.exec.idle_ns) };

    if (e->target.stream)
        lv_reader_get_stats(e->target.reader, &m.io);
    return m;
}

/* What a pass of n rows, of a round or a prompt, says about compute, the stream and what both leave unexplained. */
static void learn_pass(lever_seq *q, uint32_t n, const struct marks *a, const struct marks *b)
{
    const double seconds = lv_seconds(b->ns - a->ns);
    const double away = lv_seconds(b->wait_ns - a->wait_ns + b->idle_ns - a->idle_ns) / q->e->target.exec.n_worker;
    const double predicted = lv_cost_pass(&q->cost, n);

    lv_cost_learn(&q->cost, n, seconds - away);
    lv_instance_learn(&q->e->target, false, n, seconds - away);
    if (q->e->target.stream) {
        q->cost.t_fixed += FIXED_STEP * (seconds - predicted - q->cost.t_fixed);
        lv_round_learn_rate(q, &a->io, &b->io);
    }
}

enum lever_status lv_round_verify(lever_seq *q, uint32_t first_head, struct lever_error *err)
{
    const struct lv_tree *t = &q->tree;
    const uint32_t n_rows = t->n;

    q->path_at[0] = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        q->slot[i] = (int32_t)i;
        q->path_at[i + 1] = q->path_at[i] + lv_tree_path(t, (int32_t)i, q->path + q->path_at[i]);
    }
    const struct lv_pass pass = { .n_rows = t->n, .slot = q->slot, .path_at = q->path_at, .path = q->path };

    q->n_head_row = 0;
    const struct marks before = mark(q->e);

    const enum lever_status st = lv_instance_forward(&q->e->target, t->token, &pass, err);
    const struct marks after = mark(q->e);
    int32_t place[LV_TREE_MAX];
    const double rows = n_rows - lv_prune_end(q, place); /* those that were dropped count for the layers they saw */

    lv_peek_end(q, place);
    if (st < 0)
        return st;
    learn_pass(q, (uint32_t)(rows + 0.5), &before, &after);
    if (!q->e->target.stream_head)
        return LEVER_OK;
    uint32_t row[LV_HEAD_ROWS], n = 0;

    for (uint32_t i = first_head; i < t->n && n < LV_HEAD_ROWS; i++)
        row[n++] = i;
    return head(q, row, n, err);
}

enum lever_status lv_round_accept(lever_seq *q, uint32_t cap, uint32_t *n_drawn, int32_t *visited, struct lever_error *err)
{
    int32_t node = 0;

    *n_drawn = 0;
    while (node >= 0 && *n_drawn < cap) {
        if (head_index(q, (uint32_t)node) == LV_NONE)
            LV_TRY(head_along(q, node, cap - *n_drawn, err));
        const int32_t token = lv_round_draw(q, (uint32_t)node, q->n + *n_drawn);

        visited[*n_drawn] = node;
        q->text[q->n + (*n_drawn)++] = token;
        if (lv_tok_is_end(q->e->tok, token))
            break;
        node = lv_tree_child(&q->tree, node, token);
    }
    return LEVER_OK;
}

