#include "sim/sim.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "draft/ahead.h"
#include "sim/state.h"
#include "tree/tree.h"

#define BATCHES_BESIDE 200 /* as engine/seq.h */
#define HEAD_BATCH 8      /* rows of a head batch, as model/exec.h */
#define PEEK_P 0.8f       /* what a look promises for the token it names */
#define HEAD_STEP 0.2     /* of the average of the head's time, as engine/round.c */

static void tell(const struct lv_sim *s, enum lv_sim_event event, double x)
{
    if (s->c->observe)
        s->c->observe(s->c->ctx, event, x);
}

/* ---- draft ------------------------------------------------------------------------- */

static bool begin_batch(struct lv_sim *s)
{
    const struct lv_sim_config *c = s->c;

    if (!s->quota || s->grow.root < 0 || !c->draft.n)
        return false;
    s->n_batch = lv_grow_batch(&s->grow, s->n_open, c->mode == LV_SIM_CHAIN ? 1e-12f : LV_SIM_P_MIN, s->batch, LV_SIM_BATCH_ROWS,
                               &s->n_spine);
    if (s->n_batch <= s->n_spine) {
        lv_grow_batch_done(&s->grow, s->batch, s->n_batch, true);
        s->n_batch = 0;
        s->starved = true;
        s->quota = 0;
        return false;
    }
    s->quota--;
    s->left = s->passing && c->beside.n ? lv_stairs_at(&c->beside, s->n_batch) : lv_cost_pass(&s->draft, s->n_batch);
    tell(s, LV_SIM_BATCH, s->left);
    return true;
}

static void add_children(struct lv_sim *s, int32_t node)
{
    const uint32_t n_child = s->c->mode == LV_SIM_CHAIN ? 1 : s->c->n_child;
    const int64_t at = s->at[node];
    const float *p = lv_accept_children(&s->accept, at);
    const float path = lv_grow_p(&s->grow, node);
    float rest = 1.0f;

    for (uint32_t k = 0; k < n_child; k++)
        rest -= p[k];
    for (int32_t i = 0; s->c->lookup && i < LV_GROW_MAX && s->grow.node[node].n_child; i++) /* lookup's share what the draft leaves */
        if (s->grow.node[i].state != LV_GROW_FREE && s->grow.node[i].parent == node)
            lv_grow_set_p(&s->grow, i, expf(s->grow.node[i].lp - s->grow.node[node].lp) * (rest > 1e-6f ? rest : 1e-6f));
    for (uint32_t k = 0; k < n_child; k++) {
        const float p_child = p[k] > 1e-9f ? p[k] : 1e-9f;

        if (k > 0 && path * p[k] < LV_SIM_P_MIN)
            continue;
        const int32_t i = lv_grow_add(&s->grow, node, (int32_t)k, p_child, (uint8_t)k);

        if (i < 0)
            continue;
        s->at[i] = at >= 0 && lv_accept_truth(&s->accept, (uint64_t)at) == k ? at + 1 : -1;
        if (s->grow.node[i].lookup_p > 0.0f)
            lv_grow_set_p(&s->grow, i, p_child);
        s->grow.node[i].draft_p = p_child;
    }
}

static void end_batch(struct lv_sim *s)
{
    for (uint32_t i = s->n_spine; i < s->n_batch; i++) {
        const struct lv_grow_node *v = &s->grow.node[s->batch[i]];

        if (!v->doomed && !v->spine)
            add_children(s, s->batch[i]);
    }
    lv_grow_batch_done(&s->grow, s->batch, s->n_batch, false);
    s->n_batch = 0;
    s->r.n_batch++;
}

/* Background work: batches, one behind the other, for so many seconds. */
static void draft_beside(void *ctx, double seconds)
{
    struct lv_sim *s = ctx;

    while (seconds > 0.0 && (s->n_batch || begin_batch(s))) {
        const double used = s->left < seconds ? s->left : seconds;

        s->left -= used;
        seconds -= used;
        s->r.beside += used;
        if (!(s->left > 0.0))
            end_batch(s);
    }
}

/* The batch under way, and n more: the round waits for them. */
static void draft_now(struct lv_sim *s, uint32_t n)
{
    const double begin = s->time.now;

    s->starved = false;
    s->quota = n;
    while (s->n_batch || begin_batch(s)) {
        s->time.now += s->left;
        s->left = 0.0;
        end_batch(s);
    }
    s->r.exposed += s->time.now - begin;
    tell(s, LV_SIM_DRAFT, s->time.now);
}

/* ---- choose ------------------------------------------------------------------------ */

/* Tokens that the text still takes. */
static uint64_t text_left(const struct lv_sim *s)
{
    return s->text ? s->text - s->r.n_token % s->text : UINT64_MAX;
}

/* Deepest node of use: each level is a token to hand out. */
static uint32_t depth_limit(const struct lv_sim *s)
{
    const uint64_t left = text_left(s) - 1;

    return left < s->c->max_depth ? (uint32_t)left : s->c->max_depth;
}

double lv_sim_run_rate(const struct lv_sim *s)
{
    const double first = s->c->draft.n ? s->accept.first : 0.0; /* lookup may find nothing */

    return lv_run_rate(&s->run, lv_cost_chain_rate(&s->cost, first, s->c->draft.n ? lv_cost_pass(&s->draft, 1) : 0.0));
}

static void sync_draft(struct lv_sim *s)
{
    int32_t slot[LV_GROW_MAX];

    if (!s->n_batch)
        lv_grow_drop_spine(&s->grow, lv_grow_spine_ready(&s->grow, slot));
}

static void choose_chain(struct lv_sim *s)
{
    struct lv_grow_ranked have[LV_GROW_MAX];
    const uint32_t depth = depth_limit(s);
    uint32_t k = s->c->chain_k < s->c->max_rows - 1 ? s->c->chain_k : s->c->max_rows - 1;

    k = k < depth ? k : depth;
    const uint32_t known = lv_grow_rank(&s->grow, depth, have) - 1;

    s->n_open = 1;
    if (k > known)
        draft_now(s, k - known);
    lv_grow_select(&s->grow, k + 1, depth, &s->tree, s->map);
}

static void choose_tree(struct lv_sim *s, double begin)
{
    const struct lv_sim_config *c = s->c;
    struct lv_grow_ranked r[LV_GROW_MAX];
    float expected[LV_TREE_MAX];
    const uint32_t depth = depth_limit(s);
    uint32_t n;

    s->starved = false;
    s->quota = 0;
    for (;;) {
        lv_sim_look_up(s, depth);
        const uint32_t n_known = lv_grow_rank(&s->grow, depth, r);
        const struct lv_ahead a = { .target = &s->cost,
                                    .draft = &s->draft,
                                    .n_rows = c->max_rows,
                                    .depth = depth,
                                    .max_open = LV_SIM_BATCH_OPEN,
                                    .spent = s->time.now - begin,
                                    .rate = lv_sim_run_rate(s),
                                    .p_child = s->accept.first };
        double value;

        n = lv_cost_choose(&s->cost, expected, lv_grow_expected(r, n_known, expected, c->max_rows), a.spent, a.rate, &value);
        if (s->starved || !c->draft.n || (lv_ahead_value(&s->grow, r, n_known, &a, &s->n_open) <= value && n_known > 1))
            break;
        draft_now(s, 1);
    }
    s->n_open = LV_SIM_BATCH_OPEN;
    lv_grow_select(&s->grow, n, depth, &s->tree, s->map);
}

/* ---- verify and accept --------------------------------------------------------------- */

uint32_t lv_sim_true_path(struct lv_sim *s, uint32_t *row)
{
    uint32_t n = 0;
    int32_t at = 0;

    while (at >= 0) {
        row[n++] = (uint32_t)at;
        const uint32_t truth = lv_accept_truth(&s->accept, s->n - 1 + n - 1);

        at = lv_tree_child(&s->tree, at, (int32_t)truth);
        if (at >= 0 && !s->kept[at])
            break;
    }
    return n;
}

/* A late layer names the token that will end this round: it comes into the tree, and its path is believed. */
static void peek(void *ctx)
{
    struct lv_sim *s = ctx;
    uint32_t row[LV_TREE_MAX];

    if (0.5 + 0.5 * (double)lv_rng_f32(&s->rng) >= s->c->peek_hit)
        return;
    const uint32_t n = lv_sim_true_path(s, row);
    const int32_t node = s->map[row[n - 1]];
    const int32_t token = (int32_t)lv_accept_truth(&s->accept, s->n - 1 + n - 1);

    for (uint32_t i = 1; i < n; i++)
        if (s->grow.node[s->map[row[i]]].lp < s->grow.node[s->map[row[i - 1]]].lp + logf(PEEK_P))
            lv_grow_set_p(&s->grow, s->map[row[i]], PEEK_P);
    const int32_t child = lv_grow_add(&s->grow, node, token, PEEK_P, 0);

    if (child < 0)
        return;
    s->at[child] = s->at[node] >= 0 ? s->at[node] + 1 : -1;
    lv_grow_set_p(&s->grow, child, PEEK_P);
}

static void verify(struct lv_sim *s)
{
    const struct lv_sim_config *c = s->c;
    const bool beside = c->mode == LV_SIM_LEVER && c->n_extent && text_left(s) > 1; /* as the engine: where nothing is streamed it drafts serially */
    const uint32_t kept = lv_sim_rows_kept(s);
    const struct lv_timeline_pass p = {
        .compute_all = { lv_cost_compute(&s->cost, s->tree.n), lv_cost_compute(&s->cost, kept) },
        .drop_at = kept < s->tree.n ? c->prune_at : 1.0,
        .apart = c->apart,
        .look_at = c->peek_at,
        .look = beside && c->peek_hit > 0.0 ? peek : NULL,
        .idle = beside ? draft_beside : NULL,
        .ctx = s,
    };
    const double waited = s->time.waited;

    if (beside) {
        s->starved = false;
        s->quota = BATCHES_BESIDE;
    }
    if (c->rests)
        lv_timeline_rest(&s->time);
    tell(s, LV_SIM_PASS, p.compute_all[0]);
    s->passing = true;
    s->r.compute += lv_timeline_pass(&s->time, &p);
    s->r.waited += s->time.waited - waited;
    s->passing = false;
    s->quota = 0;
    tell(s, LV_SIM_PASS_END, s->time.now);
}

/* The walk: the head over the likely path, a batch at a time, until the text leaves the tree. */
static void run_head(struct lv_sim *s, const uint32_t *row, uint32_t n)
{
    uint32_t have[HEAD_BATCH], n_have = 0;

    for (uint32_t i = 0; i < n; i++) {
        bool known = false;

        for (uint32_t k = 0; k < n_have; k++)
            known = known || have[k] == row[i];
        if (known)
            continue;
        n_have = lv_tree_first_path(&s->tree, (int32_t)row[i], HEAD_BATCH, have);
        const double t = lv_stairs_at(&s->c->head, n_have);

        s->time.now += t;
        s->r.head += t;
        tell(s, LV_SIM_HEAD, t);
    }
}

static void accept_path(struct lv_sim *s)
{
    uint32_t row[LV_TREE_MAX], n = lv_sim_true_path(s, row), kept = 1;

    while (kept < n && !(0.5 + 0.5 * (double)lv_rng_f32(&s->rng) < s->c->prune_lost))
        kept++;
    n = kept;
    run_head(s, row, n);
    s->time.now += s->c->t_fixed;
    bool known = false;

    for (uint32_t i = 0; i < n && s->c->mode != LV_SIM_OFF; i++) {
        known = lv_grow_advance(&s->grow, (int32_t)lv_accept_truth(&s->accept, s->n - 1 + i));
        s->at[s->grow.root] = (int64_t)(s->n + i);
    }
    s->r.n_bonus_in_tree += known;
    s->n += n;
    s->r.n_token += n;
}

static void begin_tree(struct lv_sim *s)
{
    lv_grow_init(&s->grow, 0);
    s->at[0] = (int64_t)s->n - 1;
}

/* The next text: the draft knows its prompt, and no more. The first token comes with the prompt. */
static void begin_text(struct lv_sim *s)
{
    if (s->text > 1) {
        s->n++;
        s->r.n_token++;
    }
    s->n_batch = 0;
    s->left = 0.0;
    begin_tree(s);
    s->run = (struct lv_run){ 0 };
}

static void run_round(struct lv_sim *s)
{
    const double begin = s->time.now;
    const uint64_t n = s->r.n_token;

    lv_tree_init(&s->tree, 0);
    if (s->c->mode != LV_SIM_OFF && text_left(s) > 1) { /* the last token needs no draft */
        if (s->c->draft.n)
            sync_draft(s);
        else
            begin_tree(s);
        if (s->c->mode == LV_SIM_CHAIN)
            choose_chain(s);
        else
            choose_tree(s, begin);
    }
    verify(s);
    const double head = s->time.now;

    accept_path(s);
    s->cost.t_head += (s->cost.t_head > 0.0 ? HEAD_STEP : 1.0) * (s->time.now - head - s->cost.t_head);
    lv_run_add(&s->run, (double)(s->r.n_token - n), s->time.now - begin);
    s->r.n_round++;
    s->r.n_row += s->tree.n;
    tell(s, LV_SIM_ROUND, s->time.now);
}

static const char *fault(const struct lv_sim_config *c)
{
    const bool drafts = c->mode != LV_SIM_OFF;

    if (!c->target.n || (drafts && !c->draft.n && !(c->lookup && c->mode != LV_SIM_CHAIN)))
        return "a staircase is missing";
    if (c->max_rows < 1 || c->max_rows > LV_TREE_MAX || !c->max_depth || !c->n_tokens)
        return "rows of 1 to 256, a depth and tokens are expected";
    if (drafts && (c->n_child < 1 || c->n_child > LEVER_ACCEPT_CHILDREN))
        return "1 to 8 children of a node are expected";
    if (c->mode == LV_SIM_CHAIN && !c->chain_k)
        return "a chain of at least one token is expected";
    if (!(c->read_seconds >= 0.0) || !(c->pinned_share >= 0.0 && c->pinned_share <= 1.0) || !(c->t_fixed >= 0.0))
        return "a time or share is out of range";
    if (!(c->prune_rows >= 0.0 && c->prune_rows < 1.0) || !(c->prune_lost >= 0.0 && c->prune_lost < 1.0) ||
        !(c->prune_at >= 0.0 && c->prune_at <= 1.0) || !(c->prune_knows >= 0.0 && c->prune_knows <= 1.0) ||
        !(c->peek_hit >= 0.0 && c->peek_hit <= 1.0))
        return "a share of pruning or of the look is out of range";
    if (c->prune_knows > 0.0 && c->prune_rows > 0.0)
        return "rows are dropped by the rules or by a share, not by both";
    return NULL;
}

enum lever_status lv_sim_run(struct lv_sim_result *out, const struct lv_sim_config *c, const struct lever_acceptance *table,
                             uint32_t i_task, struct lever_error *err)
{
    const char *wrong = i_task < table->n_task ? fault(c) : "there is no such task";

    if (wrong)
        return LV_FAIL(err, LEVER_E_ARG, "simulation: %s", wrong);
    struct lv_sim *s = LV_NEW(struct lv_sim);

    if (!s)
        return LV_FAIL(err, LEVER_E_NOMEM, "simulation: %zu bytes", sizeof *s);
    enum lever_status st = lv_timeline_init(&s->time, c->n_extent, c->n_slot, c->read_seconds, c->pinned_share, err);

    if (st < 0)
        goto out;
    s->c = c;
    s->n = 1;
    s->n_open = LV_SIM_BATCH_OPEN;
    const uint64_t seed = lv_mix64(c->seed + ((uint64_t)i_task << 32)); /* tasks differ by chance too */

    s->rng = (struct lv_rng){ ~seed };
    s->cost = (struct lv_cost){ .target = c->target, .t_stream = c->n_extent * c->read_seconds, .t_fixed = 0.0 };
    s->draft = (struct lv_cost){ .target = c->draft };
    lv_accept_init(&s->accept, table, i_task, seed, c->text_tokens);
    s->text = s->accept.period ? s->accept.period : c->text_tokens;
    begin_text(s);
    while (s->r.n_token < c->n_tokens) {
        run_round(s);
        if (s->text && s->r.n_token % s->text == 0 && s->r.n_token < c->n_tokens)
            begin_text(s);
    }
    s->r.seconds = s->time.now;
    s->r.device_busy = s->time.busy;
    *out = s->r;
out:
    lv_timeline_deinit(&s->time);
    lv_free(s);
    return st;
}
