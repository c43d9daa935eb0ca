/* A round: choose, verify, accept, commit. (arXiv 2605.16786, 4.1 to 4.3) */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "draft/ahead.h"
#include "engine/candidates.h"
#include "engine/peek.h"
#include "engine/release.h"
#include "engine/stairs.h"

#define HEAD_WATCH 64     /* tokens after which the draft's head is judged */
#define CHILD_P 0.85      /* how often a draft's first choice is the target's, before it is known */
#define LOSING_ROUNDS 8    /* rounds before speculation is judged */
#define PLAIN_ROUNDS 48    /* and how long it rests when it loses */

/* The mapper decides otherwise than when the staircases were taken: they are those of its choices. */
static void follow_devices(lever_seq *q)
{
    struct lever_engine *e = q->e;
    struct lv_stairs target, draft;

    if (!e->target.devices || q->n_decided == e->devices.map.n_decided)
        return;
    q->n_decided = e->devices.map.n_decided;
    lv_devices_stairs(e, &target, &draft);
    *lv_engine_learned_target(e) = (struct lv_learned_pass){ .stairs = target };
    q->cost.target = target;
    q->cost.fit = (struct lv_cost_fit){ 0 };
    if (!lv_devices_run_draft(e))
        return;
    *lv_engine_learned_draft(e) = (struct lv_learned_pass){ .stairs = draft };
    q->draft.cost.target = draft;
    q->draft.cost.fit = (struct lv_cost_fit){ 0 };
}

enum lever_status lv_round_init(lever_seq *q, struct lever_error *err)
{
    struct lever_engine *e = q->e;
    struct lv_learned_pass *target = lv_engine_learned_target(e);

    q->cost = (struct lv_cost){ .t_head = e->learned.t_head };
    q->p_child = e->learned.p_child;
    if (!e->uses_draft && !q->lookup_memory)
        return LEVER_OK;
    LV_TRY(lv_devices_measure(e, false, err));
    if (target->stairs.n) /* kept ones, and what passes made of them */
        q->n_decided = e->devices.map.n_decided;
    else
        follow_devices(q);
    if (!target->stairs.n && e->target.stream) /* a pass waits for flash: what counts is its compute */
        lv_stairs_measure(&target->stairs, &e->target.exec, lv_pool_n(e->pool));
    else if (!target->stairs.n)
        LV_TRY(lv_stairs_run(&target->stairs, &e->target, false, err));
    if (e->target.stream) {
        struct lv_reader_stats io;

        lv_reader_get_stats(e->target.reader, &io); /* of loading */
        q->stream_rate = e->learned.stream_rate;
        lv_round_learn_rate(q, &(struct lv_reader_stats){ 0 }, &io);
    }
    q->cost.target = target->stairs;
    q->cost.fit = target->fit;
    if (!e->uses_draft)
        return LEVER_OK;
    struct lv_learned_pass *draft = lv_engine_learned_draft(e);

    if (!draft->stairs.n)
        LV_TRY(lv_stairs_run(&draft->stairs, &e->draft, true, err));
    q->draft.cost.target = draft->stairs;
    q->draft.cost.fit = draft->fit;
    return LEVER_OK;
}

void lv_round_keep(lever_seq *q)
{
    struct lever_engine *e = q->e;

    if (!q->stats.n_round || !q->cost.target.n)
        return;
    lv_devices_keep(e);
    lv_engine_learned_target(e)->fit = q->cost.fit;
    if (e->uses_draft)
        lv_engine_learned_draft(e)->fit = q->draft.cost.fit;
    e->learned.p_child = q->p_child;
    e->learned.t_head = q->cost.t_head;
    if (e->target.stream)
        e->learned.stream_rate = q->stream_rate;
    e->learned_more = true;
}

/* ---- choose -------------------------------------------------------------------------- */

/* Rows a pass may have: what fits, what the caller can take and what the context has room for. */
static uint32_t row_limit(const lever_seq *q, uint32_t cap_out)
{
    const struct lever_engine *e = q->e;
    uint32_t n = e->target.exec.max_rows;

    if (e->opt.tree_rows && e->opt.tree_rows < n)
        n = e->opt.tree_rows;
    if (e->target.stream_head && n > LV_HEAD_ROWS)
        n = LV_HEAD_ROWS;
    return cap_out == 1 ? 1 : n;
}

/* Deepest node of use: each level is a token to hand out, and needs a position. */
static uint32_t depth_limit(const lever_seq *q, uint32_t cap_out)
{
    const uint32_t room = q->e->opt.n_ctx - q->n - 1;

    return cap_out - 1 < room ? cap_out - 1 : room;
}

/* What the choice was made from. */
static void record_choice(lever_seq *q, uint32_t n_known, double rate)
{
    const struct lv_cost *c = &q->cost;
    struct lever_round *r = &q->last;

    *r = (struct lever_round){ .n_row = q->tree.n,
                               .n_stair = c->target.n,
                               .rate = rate,
                               .spent = lv_seconds(lv_now_ns() - q->synced_ns),
                               .stream = c->t_stream,
                               .head = c->t_head,
                               .fixed = c->t_fixed,
                               .predicted = q->predicted };
    for (uint32_t i = 0; i < r->n_stair; i++) {
        r->stair[i].rows = c->target.rows[i];
        r->stair[i].seconds = lv_cost_compute(c, c->target.rows[i]);
    }
    r->n_node = n_known;
}

static uint32_t sources(const struct lv_grow *g, int32_t node)
{
    const struct lv_grow_node *v = &g->node[node];

    return (v->draft_p > 0.0f ? LEVER_FROM_DRAFT : 0u) | (v->lookup_p > 0.0f ? LEVER_FROM_LOOKUP : 0u) |
           (v->peek_p > 0.0f ? LEVER_FROM_PEEK : 0u);
}

/* Of the best n_most nodes the best n are the round's tree. */
static void take_tree(lever_seq *q, uint32_t n, uint32_t n_most, uint32_t depth, double rate)
{
    const struct lv_grow *g = &q->draft.grow;
    struct lv_tree *t = &q->tree;

    lv_grow_select(g, n_most, depth, t, q->map);
    const uint32_t n_known = t->n;

    t->n = n < t->n ? n : t->n;
    q->expected = 0.0;
    for (uint32_t i = 0; i < n_known; i++) {
        q->known[i] = (struct lever_round_node){ t->token[i], t->parent[i], lv_grow_p(g, q->map[i]), sources(g, q->map[i]) };
        q->expected += i < t->n ? (double)q->known[i].p : 0.0;
    }
    q->predicted = lv_seconds(lv_now_ns() - q->round_ns) + lv_cost_round(&q->cost, t->n);
    record_choice(q, n_known, rate);
}

static double run_rate(const lever_seq *q)
{
    const double p = q->e->uses_draft ? q->p_child : 0.0; /* lookup may find nothing */

    return lv_run_rate(&q->run, lv_cost_chain_rate(&q->cost, p, lv_cost_pass(&q->draft.cost, 1)));
}

static enum lever_status draft_chain(lever_seq *q, uint32_t n_rows, uint32_t depth, struct lever_error *err)
{
    const struct lever_engine *e = q->e;
    uint32_t k = e->opt.spec_draft_n_max;

    if (!k)
        k = e->target.stream ? LV_CHAIN_STREAMED : LV_CHAIN_RESIDENT;
    k = k < n_rows - 1 ? k : n_rows - 1;
    k = k < depth ? k : depth;
    q->draft.n_open = q->draft.n_child = 1;
    q->draft.p_min = 1e-12f;
    /* What remains of the last round's chain is below the new root: fewer steps are left. */
    struct lv_grow_ranked have[LV_GROW_MAX];
    const uint32_t known = lv_grow_rank(&q->draft.grow, depth, have) - 1;

    if (k > known)
        LV_TRY(lv_draft_run(&q->draft, k - known, err));
    take_tree(q, k + 1, n_rows, depth, run_rate(q));
    return LEVER_OK;
}

/* What drafting on promises, and how many nodes a batch should open. */
static double value_ahead(const lever_seq *q, const struct lv_grow_ranked *r, uint32_t n, uint32_t n_rows, uint32_t depth,
                         double spent, uint32_t *n_open)
{
    const struct lv_ahead a = { .target = &q->cost,
                                .draft = &q->draft.cost,
                                .n_rows = n_rows,
                                .depth = depth,
                                .max_open = LV_DRAFT_OPEN,
                                .spent = spent,
                                .rate = run_rate(q),
                                .p_child = q->p_child };

    return lv_ahead_value(&q->draft.grow, r, n, &a, n_open);
}

/* The target's embedding rows of likely nodes are read while more is drafted. */
static void want_rows(lever_seq *q, const struct lv_grow_ranked *r, uint32_t n)
{
    int32_t token[LV_TREE_MAX];

    for (uint32_t i = 0; i < n; i++)
        token[i] = q->draft.grow.node[r[i].node].token;
    lv_embed_want(&q->e->target.embed, token, n);
}

/* Drafts on while the round would be worth more with further batches, their time included; then takes the best
 * size. */
static enum lever_status draft_tree(lever_seq *q, uint32_t n_rows, uint32_t depth, struct lever_error *err)
{
    struct lv_draft *d = &q->draft;
    struct lv_grow_ranked r[LV_GROW_MAX];
    float expected[LV_TREE_MAX];
    uint32_t n;

    lv_draft_allow(d, 0); /* what starved it once may be over: the root has moved */
    for (;;) {
        lv_candidates_lookup(q, depth);
        const uint32_t n_known = lv_grow_rank(&d->grow, depth, r);

        want_rows(q, r, n_known < n_rows ? n_known : n_rows);
        const double spent = lv_seconds(lv_now_ns() - q->synced_ns);
        double value;

        n = lv_cost_choose(&q->cost, expected, lv_grow_expected(r, n_known, expected, n_rows), spent, run_rate(q),
                           &value);
        if (lv_draft_starved(d) ||
            (value_ahead(q, r, n_known, n_rows, depth, spent, &d->n_open) <= value && n_known > 1))
            break;
        LV_TRY(lv_draft_run(d, 1, err));
    }
    d->n_open = LV_DRAFT_OPEN; /* in the background more costs nothing */
    take_tree(q, n, n_rows, depth, run_rate(q));
    return LEVER_OK;
}

/* Without a draft model: what lookup finds. */
static void lookup_tree(lever_seq *q, uint32_t n_rows, uint32_t depth)
{
    struct lv_grow *g = &q->draft.grow;
    struct lv_grow_ranked r[LV_GROW_MAX];
    float expected[LV_TREE_MAX];

    lv_grow_init(g, q->text[q->n - 1]);
    lv_candidates_lookup(q, depth);
    const uint32_t n_known = lv_grow_expected(r, lv_grow_rank(g, depth, r), expected, n_rows);

    take_tree(q, lv_cost_choose(&q->cost, expected, n_known, 0.0, run_rate(q), NULL), n_rows, depth, run_rate(q));
}

static bool grows_tree(const struct lever_engine *e)
{
    return e->opt.speculation != LEVER_SPEC_CHAIN;
}

const char *lv_round_mode(const struct lever_engine *e)
{
    if (!e->uses_draft)
        return lv_candidates_bytes(&e->opt) ? "lookup" : "off";
    return grows_tree(e) ? "tree" : "chain";
}

static bool speculates(const lever_seq *q, uint32_t cap_out)
{
    return (q->e->uses_draft || q->lookup_memory) && cap_out > 1 && q->n_plain == 0 && row_limit(q, cap_out) > 1 && depth_limit(q, cap_out) > 0;
}

static enum lever_status choose(lever_seq *q, uint32_t cap_out, struct lever_error *err)
{
    const uint32_t n_rows = row_limit(q, cap_out), depth = depth_limit(q, cap_out);

    lv_tree_init(&q->tree, q->text[q->n - 1]);
    q->map[0] = -1;
    q->expected = 1.0;
    q->predicted = lv_cost_round(&q->cost, 1);
    if (!speculates(q, cap_out))
        return LEVER_OK;
    if (!q->e->uses_draft) {
        lookup_tree(q, n_rows, depth);
        return LEVER_OK;
    }
    LV_TRY(lv_draft_sync(&q->draft, q->text, q->n, err));
    q->synced_ns = lv_now_ns();
    if (!grows_tree(q->e))
        return draft_chain(q, n_rows, depth, err);
    return draft_tree(q, n_rows, depth, err);
}

/* ---- learn ------------------------------------------------------------------------------ */

static double average(double old, double x)
{
    return old > 0.0 ? old + 0.2 * (x - old) : x;
}

/* Compares speculation with plain decoding by measured seconds a token, and rests it when it loses. */
static void judge(lever_seq *q, double seconds, uint32_t n_tokens, bool speculated)
{
    if (!speculated) {
        q->plain_token_seconds = average(q->plain_token_seconds, seconds / n_tokens);
        q->stats.n_rested += q->n_plain > 0;
        if (q->n_plain > 0)
            q->n_plain--;
        return;
    }
    q->spec_token_seconds = average(q->spec_token_seconds, seconds / n_tokens);
    lv_release_judge(q);
    if (q->e->opt.speculation != LEVER_SPEC_AUTO || ++q->n_spec_rounds < LOSING_ROUNDS)
        return;
    q->n_spec_rounds = 0;
    if (q->plain_token_seconds > 0.0) {
        if (q->spec_token_seconds > q->plain_token_seconds) {
            q->n_plain = PLAIN_ROUNDS;
            snprintf(q->note, sizeof q->note, "rested: a token took %.1f ms with drafting, %.1f without",
                     1e3 * q->spec_token_seconds, 1e3 * q->plain_token_seconds);
        }
    } else if (q->spec_token_seconds > lv_cost_round(&q->cost, 1)) {
        q->n_plain = 4; /* plain decoding may be faster: measure it */
    }
}

/* Text that leaves the tokens of a cut head is drafted badly: said once, when it is certain. */
static void watch_head(lever_seq *q, uint32_t n)
{
    const struct lever_engine *e = q->e;
    const uint32_t before = q->n_drawn;

    for (uint32_t i = 0; i < n; i++)
        q->n_outside += (uint32_t)q->text[q->n + i] >= lv_engine_draft_tokens(e) && !lv_tok_is_end(e->tok, q->text[q->n + i]);
    q->n_drawn += n;
    if (before < HEAD_WATCH && q->n_drawn >= HEAD_WATCH && q->n_outside * 10 > q->n_drawn && e->opt.log)
        e->opt.log(e->opt.user, LEVER_LOG_WARN,
                   "more than a tenth of the text is outside the draft's cut head: --draft-head full may be faster");
}

/* What workers do while the target waits for the stream. */
static bool background(void *seq, unsigned worker)
{
    lever_seq *q = seq;

    return lv_peek_work(q, worker) || lv_draft_work(&q->draft, worker);
}

static void between(void *seq, uint32_t i_op)
{
    const lever_seq *q = seq;

    lv_prune_between(seq, i_op);
    lv_peek_between(seq, i_op);
    if (q->watch)
        q->watch(q->watch_ctx, i_op);
}

enum lever_status lv_round(lever_seq *q, uint32_t cap_out, uint32_t *n_drawn, struct lever_error *err)
{
    struct lever_engine *e = q->e;
    struct lv_exec *x = &e->target.exec;
    const bool speculated = speculates(q, cap_out);
    const bool overlap = speculated && e->uses_draft && e->target.stream && !e->opt.no_overlap && grows_tree(e);
    int32_t visited[LV_TREE_MAX], slot[LV_TREE_MAX];

    follow_devices(q);
    q->round_ns = q->synced_ns = lv_now_ns();
    LV_TRY(choose(q, cap_out, err));
    const uint32_t n_rows = q->tree.n;

    if (speculated) {
        lv_prune_begin(q, overlap);
        x->between = between;
        x->between_ctx = q;
    }
    if (overlap) {
        lv_draft_allow(&q->draft, LV_BACKGROUND_BATCHES);
        x->idle = background;
        x->idle_ctx = q;
        lv_peek_begin(q);
    }
    const uint64_t wait0 = atomic_load(&x->stream_wait_ns), idle0 = atomic_load(&x->idle_ns);

    q->line.pass_ns = lv_now_ns();
    enum lever_status st = lv_round_verify(q, 0, err);
    const uint64_t t2 = lv_now_ns();

    q->line.head_ns = t2;
    q->line.wait = lv_seconds(atomic_load(&x->stream_wait_ns) - wait0) / x->n_worker;
    q->line.background = lv_seconds(atomic_load(&x->idle_ns) - idle0) / x->n_worker;

    x->idle = NULL;
    x->between = NULL;
    if (overlap)
        lv_draft_allow(&q->draft, 0); /* a batch under way goes on next time */
    const uint32_t room = e->opt.n_ctx - q->n;

    if (st >= 0)
        st = lv_round_accept(q, cap_out < room ? cap_out : room, n_drawn, visited, err);
    if (st < 0)
        return st;
    /* Every drawn token but the last is a row of the tree, and so is the root before them. */
    for (uint32_t i = 0; i < *n_drawn; i++)
        slot[i] = q->slot[visited[i]];
    lv_kv_commit(&e->target.kv, slot, *n_drawn);
    if (speculated) {
        bool known = false;

        lv_peek_learn(q, visited, *n_drawn);
        lv_prune_learn(q, visited, *n_drawn);

        q->stats.n_lookup_accepted += lv_candidates_from_lookup(q, visited, *n_drawn);
        for (uint32_t i = 0; i < *n_drawn; i++) {
            lv_candidates_learn(q, q->text[q->n + i]);
            known = lv_grow_advance(&q->draft.grow, q->text[q->n + i]);
        }
        const struct lv_grow_node *bonus = &q->draft.grow.node[q->draft.grow.root];

        q->stats.n_bonus_in_tree += known;
        q->stats.n_bonus_by_peek += known && bonus->peek_p > 0.0f && !(bonus->draft_p > 0.0f || bonus->lookup_p > 0.0f);
    }
    lv_calib_fit(q->calib);
    if (e->uses_draft)
        watch_head(q, *n_drawn);
    q->line.end_ns = lv_now_ns();
    q->last.seconds = lv_seconds(q->line.end_ns - q->round_ns);
    q->stats.expected_tokens += q->expected;
    q->stats.seconds_predicted += q->predicted;
    q->stats.n_round++;
    q->stats.n_row += n_rows;
    q->stats.n_drafted += n_rows - 1;
    q->stats.n_pruned += n_rows - q->tree.n;
    q->stats.n_accepted += *n_drawn - 1;
    const uint64_t t3 = lv_now_ns();

    lv_run_add(&q->run, *n_drawn, lv_seconds(t3 - q->synced_ns));
    q->cost.t_head = average(q->cost.t_head, lv_seconds(t3 - t2));
    judge(q, lv_seconds(t3 - q->synced_ns), *n_drawn, speculated);
    return LEVER_OK;
}
