#include "engine/prune.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "engine/seq.h"

#define MIN_ROWS 4      /* of a tree that is looked at */
#define CUT_SECONDS 2e-5 /* of moving rows together */
#define PLAIN_AT 0.86   /* without a lens: of the layers. Earlier the state says little by itself */

/* ---- lens ------------------------------------------------------------------------- */

/* Fitted on the reference pair at 24 of 28 layers by tools/train_prune.py; what is different elsewhere is learned. */
static const float plain_weight[LV_PREDICT_WEIGHTS] = { -1.34f, 0.84f, 0.02f, 1.91f, -0.1f, -0.12f, -0.05f, -0.4f, -1.0f };

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

enum lever_status lv_prune_open(struct lever_engine *e, struct lever_error *err)
{
    const struct lv_shape *s = &e->target.program->shape;
    const uint64_t fingerprint = lv_engine_hash_model(0, e->target.gguf);
    const bool search = e->opt.lens && is_folder(e->opt.lens);
    struct lever_error why = { 0 };
    char path[4200];
    enum lever_status st;

    if (!e->opt.lens || strcmp(e->opt.lens, "off") == 0 || e->opt.prune == LEVER_PRUNE_OFF)
        return LEVER_OK;
    snprintf(path, sizeof path, search ? "%.4000s/%016llx.lens" : "%.4000s", e->opt.lens, (unsigned long long)fingerprint);
    st = lv_lens_open(&e->lens, path, &e->kern, &why);
    if (st == LEVER_OK && (st = lv_lens_check(&e->lens, fingerprint, s->n_embd, s->n_layer, &why)) < 0)
        lv_lens_close(&e->lens);
    if (st == LEVER_DONE && search)
        return LEVER_OK;
    if (st == LEVER_DONE)
        return LV_FAIL(err, LEVER_E_IO, "lens %s: there is no such file; leave --lens out to decode without it", path);
    if (st < 0 && !search) {
        if (err)
            *err = why;
        return st;
    }
    if (st < 0 && e->opt.log)
        e->opt.log(e->opt.user, LEVER_LOG_WARN, why.message);
    return LEVER_OK;
}

/* ---- what is looked at --------------------------------------------------------------- */

/* The first op behind the first norm of layer `depth`: then the residual stream holds all of the layers before. 0: none. */
static uint32_t op_of(const struct lv_program *p, uint32_t depth)
{
    for (uint32_t i = 0; i + 1 < p->n_op; i++)
        if (p->op[i].layer == depth && p->op[i].kind == LV_OP_NORM)
            return i + 1;
    return 0;
}

static void add_stage(struct lv_pruner *k, const struct lv_program *p, const struct lv_lens_layer *lens)
{
    const uint32_t op = op_of(p, lens->depth);

    if (op && k->n_stage < LV_PRUNE_STAGES)
        k->stage[k->n_stage++] = (struct lv_prune_stage){ lens, op, 1.0 - (double)op / p->n_op };
}

static bool find_head(struct lv_pruner *k, const struct lv_program *p)
{
    const struct lv_weight *w = &p->w[p->w_head];

    k->head = lv_alloc_zero(w->n_groups, sizeof *k->head);
    for (uint32_t s = 0; k->head && s < w->n_seg; s++)
        for (uint32_t i = 0; i < w->seg[s].n_groups; i++)
            if (w->seg[s].r32)
                k->head[w->seg[s].first_group + i] = w->seg[s].r32 + i * w->group_bytes;
    return k->head;
}

enum lever_status lv_prune_init(lever_seq *q, struct lever_error *err)
{
    struct lever_engine *e = q->e;
    struct lv_pruner *k = &q->prune;
    const struct lv_program *p = e->target.program;

    if (e->opt.prune == LEVER_PRUNE_OFF || e->target.stream_head || !(e->uses_draft || q->lookup_memory))
        return LEVER_OK;
    if (!e->lens.n) {
        e->plain = (struct lv_lens_layer){ .depth = (uint32_t)(PLAIN_AT * p->shape.n_layer), .gain = 1.0f };
        memcpy(e->plain.weight, plain_weight, sizeof plain_weight);
        add_stage(k, p, &e->plain);
    }
    for (uint32_t i = 0; i < e->lens.n; i++)
        add_stage(k, p, &e->lens.layer[i]);
    k->scratch = lv_alloc(e->target.exec.n_worker, lv_lens_scratch_bytes(p->shape.n_embd));
    if (!find_head(k, p) || !k->scratch)
        return LV_FAIL(err, LEVER_E_NOMEM, "pruning: scratch of %u workers", e->target.exec.n_worker);
    return LEVER_OK;
}

void lv_prune_deinit(lever_seq *q)
{
    lv_free(q->prune.head);
    lv_free(q->prune.scratch);
}

/* ---- begin ------------------------------------------------------------------------------ */

/* What the draft proposes below rows of the tree: rows first, as they come first in the tree. */
static void gather(lever_seq *q)
{
    struct lv_pruner *k = &q->prune;
    const struct lv_grow *g = &q->draft.grow;
    const struct lv_tree *t = &q->tree;
    int32_t node_of[LV_TREE_MAX], row_of[LV_GROW_MAX];

    k->n_node = 0;
    for (int32_t i = 0; i < LV_GROW_MAX; i++)
        row_of[i] = -1;
    for (uint32_t i = 0; i < t->n; i++) {
        node_of[i] = -1;
        row_of[q->map[i]] = (int32_t)i;
    }
    for (uint32_t i = 1; i < t->n; i++)
        if (node_of[t->parent[i]] < 0) {
            struct lv_prune_node *v = &k->node[k->n_node];

            v->row = (uint32_t)t->parent[i];
            v->in.n = v->seen = 0;
            v->in.depth = t->depth[v->row];
            node_of[v->row] = (int32_t)k->n_node++;
        }
    for (uint32_t pass = 0; pass < 2; pass++) /* rows, then the others */
        for (int32_t i = 0; i < LV_GROW_MAX; i++) {
            const struct lv_grow_node *c = &g->node[i];
            const int32_t up = c->state == LV_GROW_FREE || c->spine || c->doomed || c->parent < 0 ? -1 : row_of[c->parent];

            if (up < 0 || node_of[up] < 0 || (row_of[i] >= 0) != (pass == 0))
                continue;
            struct lv_prune_node *v = &k->node[node_of[up]];

            if (v->in.n == LV_PREDICT_MAX)
                continue;
            v->in.p[v->in.n] = expf(c->lp - g->node[c->parent].lp);
            v->in.rank[v->in.n] = c->rank;
            v->token[v->in.n] = c->token;
            v->child[v->in.n] = row_of[i];
            v->grow[v->in.n++] = i;
        }
}

void lv_prune_begin(lever_seq *q, bool steers)
{
    struct lv_pruner *k = &q->prune;
    const uint32_t n = q->tree.n;

    k->begun = true;
    k->active = k->looked = k->scored = false;
    k->n_all = k->n_row = n;
    k->i_stage = 0;
    k->row_layers = k->spent = k->first_left = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        k->row[i] = i;
        k->at[i] = (int32_t)i;
    }
    if (!k->n_stage || n < MIN_ROWS || !q->cost.target.n)
        return;
    const double left = k->stage[0].left;
    const double most = lv_cost_cut(&q->cost, n, n, left) - lv_cost_cut(&q->cost, n, MIN_ROWS - 1, left);

    k->cuts = most > 0.0 && (q->e->opt.prune == LEVER_PRUNE_ON || lv_judge_allows(&q->e->judge, most));
    k->steers = steers && q->e->lens.n;
    k->active = k->cuts || k->steers;
    if (!k->active)
        return;
    gather(q);
    for (uint32_t i = 1; i < n; i++)
        k->p[i] = expf(q->draft.grow.node[q->map[i]].lp - q->draft.grow.node[q->map[q->tree.parent[i]]].lp);
    k->began_ns = lv_now_ns();
}

/* ---- scores ------------------------------------------------------------------------------ */

static float score(const lever_seq *q, const struct lv_lens_scratch *s, int32_t token, uint32_t depth)
{
    const struct lv_exec *x = &q->e->target.exec;
    const struct lv_weight *w = &x->p->w[x->p->w_head];
    const struct lv_sampler *sampler = &q->sampler;
    const uint8_t *group = (uint32_t)token < w->n_rows ? q->prune.head[(uint32_t)token / LV_GROUP_ROWS] : NULL;
    float y[LV_GROUP_ROWS], noise = 0.0f;

    if (!group)
        return -INFINITY;
    x->k->gemm[w->type](y, LV_GROUP_ROWS, group, &s->wide, 0, 1);
    if (sampler->temperature > 0.0f)
        noise = sampler->temperature * lv_sampler_gumbel(sampler->seed, q->n + depth, token);
    return y[(uint32_t)token % LV_GROUP_ROWS] + noise;
}

/* Candidates below one row. A call of the executor: rows run side by side. */
static void score_node(void *seq, uint32_t i, unsigned worker)
{
    lever_seq *q = seq;
    struct lv_pruner *k = &q->prune;
    const struct lv_exec *x = &q->e->target.exec;
    const struct lv_program *p = x->p;
    const uint32_t n_embd = p->shape.n_embd;
    const struct lv_lens_layer *l = k->stage[k->i_stage].lens;
    struct lv_prune_node *v = &k->node[k->unit[i]];
    struct lv_lens_scratch s;

    lv_lens_scratch_init(&s, n_embd, k->scratch + worker * lv_lens_scratch_bytes(n_embd));
    lv_lens_apply(l, x->k, n_embd, lv_exec_row(x, LV_BUF_X, (uint32_t)k->at[v->row]), &s);
    x->k->rms_norm(s.norm, s.h, p->v[p->v_out_norm].data, p->shape.eps, n_embd);
    x->k->quantize(&s.wide, 0, 1, 0, n_embd);
    v->in.scored = true;
    for (uint32_t c = 0; c < v->in.n; c++)
        v->in.score[c] = score(q, &s, v->token[c], v->in.depth);
    lv_predict_z(l->weight, &v->in, v->z[k->i_stage]);
    lv_predict_p(&q->e->learned.prune[q->sampler.temperature > 0.0f][k->i_stage], v->z[k->i_stage], v->in.n, v->p);
    v->seen |= 1u << k->i_stage;
    for (uint32_t c = 0; c < v->in.n; c++)
        if (v->child[c] >= 0)
            k->p[v->child[c]] = v->p[c];
}

/* ---- the cut ------------------------------------------------------------------------------- */

/* The pass for the rows that are left: slots and paths move together. In place: rows only move down. */
static void keep_pass(lever_seq *q, const uint32_t *keep, uint32_t n)
{
    uint32_t at = 0;

    for (uint32_t i = 0; i < n; i++) {
        const uint32_t from = q->path_at[keep[i]], len = q->path_at[keep[i] + 1] - from;

        memmove(q->path + at, q->path + from, len * sizeof *q->path);
        q->slot[i] = q->slot[keep[i]];
        q->path_at[i] = at; /* at or before from: later rows still find theirs */
        at += len;
    }
    q->path_at[n] = at;
    q->prune.pass = (struct lv_pass){ .n_rows = n, .slot = q->slot, .path_at = q->path_at, .path = q->path };
}

static void drop_rows(lever_seq *q, const bool *kept, double left)
{
    struct lv_pruner *k = &q->prune;
    uint32_t keep[LV_TREE_MAX], n = 0;

    for (uint32_t i = 0; i < k->n_row; i++) {
        k->at[k->row[i]] = kept[i] ? (int32_t)n : -1;
        if (kept[i])
            keep[n++] = i;
    }
    keep_pass(q, keep, n);
    lv_exec_keep_rows(&q->e->target.exec, keep, &k->pass);
    for (uint32_t i = 0; i < n; i++)
        k->row[i] = k->row[keep[i]];
    k->row_layers += (k->n_row - n) * left;
    if (k->first_left <= 0.0) {
        k->first_left = left;
        k->first_seconds = lv_seconds(lv_now_ns() - k->began_ns) - k->spent;
    }
    k->n_row = n;
}

/* Rows whose path has become too improbable for what the remaining layers cost. */
static void cut(lever_seq *q, double left)
{
    struct lv_pruner *k = &q->prune;
    const struct lv_stairs *stairs = &q->cost.target;
    int32_t parent[LV_TREE_MAX];
    float p[LV_TREE_MAX], path[LV_TREE_MAX];
    double seconds[LV_STAIRS_MAX], gain;
    bool kept[LV_TREE_MAX];

    if (!k->cuts || k->n_row < MIN_ROWS)
        return;
    for (uint32_t i = 0; i < k->n_row; i++) {
        const uint32_t row = k->row[i];

        parent[i] = row ? k->at[q->tree.parent[row]] : -1;
        p[i] = k->p[row];
    }
    lv_rules_path(parent, p, k->n_row, path);
    for (uint32_t i = 0; i < stairs->n; i++)
        seconds[i] = lv_cost_cut(&q->cost, k->n_row, stairs->rows[i], left);
    const struct lv_rules_price price = { .edge = stairs->rows,
                                          .seconds = seconds,
                                          .n_edge = stairs->n,
                                          .seconds_all = lv_cost_cut(&q->cost, k->n_row, k->n_row, left),
                                          .seconds_cut = CUT_SECONDS,
                                          .rate = q->last.rate };

    if (lv_rules_select(parent, path, k->n_row, &price, kept, &gain) < k->n_row)
        drop_rows(q, kept, left);
}

/* ---- the draft's tree -------------------------------------------------------------------------- */

/* Whether a row's node is still there: the least probable give way when the draft's tree is full. */
static bool is_there(const lever_seq *q, uint32_t row)
{
    const struct lv_grow_node *v = &q->draft.grow.node[q->map[row]];

    return v->state != LV_GROW_FREE && !v->doomed && v->token == q->tree.token[row] &&
           (row == 0 || v->parent == q->map[q->tree.parent[row]]);
}

/* The draft's tree takes over what was seen. Where a batch just begins or ends it does not: nobody waits for that here. */
static void steer(lever_seq *q)
{
    struct lv_pruner *k = &q->prune;
    struct lv_grow *g = &q->draft.grow;
    float p[LV_GROW_MAX] = { 0.0f };

    if (pthread_mutex_trylock(&q->draft.lock) != 0)
        return;
    for (uint32_t i = 0; i < k->n_node; i++) {
        const struct lv_prune_node *v = &k->node[i];

        if (!v->seen || !is_there(q, v->row) || g->node[q->map[v->row]].peeked)
            continue; /* peeked: a later layer has spoken */
        for (uint32_t c = 0; c < v->in.n; c++) {
            const struct lv_grow_node *n = &g->node[v->grow[c]];

            if (n->state != LV_GROW_FREE && !n->doomed && n->token == v->token[c] && n->parent == q->map[v->row])
                p[v->grow[c]] = v->p[c];
        }
    }
    lv_grow_set_all(g, p);
    if (!atomic_load(&q->draft.quota)) /* there is something to expand again */
        lv_draft_allow(&q->draft, LV_BACKGROUND_BATCHES);
    pthread_mutex_unlock(&q->draft.lock);
}

/* ---- between ops ----------------------------------------------------------------------------- */

void lv_prune_between(lever_seq *q, uint32_t i_op)
{
    struct lv_pruner *k = &q->prune;
    struct lv_exec *x = &q->e->target.exec;

    if (!k->active || k->i_stage >= k->n_stage)
        return;
    const struct lv_prune_stage *s = &k->stage[k->i_stage];

    if (i_op == s->op && !k->scored) {
        k->n_unit = 0;
        for (uint32_t i = 0; i < k->n_node; i++)
            if (k->at[k->node[i].row] >= 0)
                k->unit[k->n_unit++] = i;
        k->mark_ns = lv_now_ns();
        k->scored = k->looked = true;
        k->n_looks++;
        lv_exec_insert_call(x, k->n_unit, score_node, q);
    } else if (i_op == s->op) { /* again, behind the call */
        k->spent += lv_seconds(lv_now_ns() - k->mark_ns);
        if (k->steers)
            steer(q);
    } else if (k->scored && x->p->op[i_op].kind == LV_OP_NORM) {
        cut(q, 1.0 - (double)i_op / x->p->n_op);
        k->scored = false;
        k->i_stage++;
    }
}

/* ---- after the pass --------------------------------------------------------------------------- */

double lv_prune_end(lever_seq *q, int32_t *place)
{
    struct lv_pruner *k = &q->prune;
    struct lv_tree *t = &q->tree;

    if (!k->begun)
        return 0.0;
    k->begun = k->active = false;
    for (uint32_t i = 0; i < k->n_all; i++)
        place[i] = k->at[i];
    if (k->n_row == k->n_all)
        return 0.0;
    const double now = lv_seconds(lv_now_ns() - k->began_ns);

    /* The layers before the first cut show what those behind it would have taken. */
    k->first_seconds = k->first_seconds / (1.0 - k->first_left) - (now - k->spent);
    for (uint32_t i = 0; i < k->n_row; i++) {
        const uint32_t from = k->row[i];

        t->token[i] = t->token[from];
        t->depth[i] = t->depth[from];
        t->parent[i] = i ? k->at[t->parent[from]] : -1;
        q->map[i] = q->map[from];
    }
    t->n = k->n_row;
    return k->row_layers;
}

/* Tokens that a dropped row below the walk's end has cost, as far as the draft's word goes. */
static double lost(const lever_seq *q, int32_t row)
{
    const struct lv_pruner *k = &q->prune;
    double sum = 0.0;
    bool below[LV_TREE_MAX] = { false };

    for (uint32_t i = (uint32_t)row; i < k->n_all; i++) {
        below[i] = i == (uint32_t)row || (i > 0 && below[q->known[i].parent]);
        sum += below[i] ? (double)q->known[i].p : 0.0;
    }
    return sum / (q->known[row].p > 1e-6f ? (double)q->known[row].p : 1e-6);
}

void lv_prune_learn(lever_seq *q, const int32_t *visited, uint32_t n)
{
    struct lv_pruner *k = &q->prune;
    struct lv_predict_fix *fix = q->e->learned.prune[q->sampler.temperature > 0.0f];
    double tokens = 0.0;

    if (!k->looked)
        return;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < k->n_node; j++) {
            const struct lv_prune_node *v = &k->node[j];
            int32_t taken = -1;

            if (v->row != k->row[visited[i]])
                continue;
            for (uint32_t c = 0; c < v->in.n; c++)
                if (v->token[c] == q->text[q->n + i])
                    taken = (int32_t)c;
            for (uint32_t s = 0; s < k->n_stage; s++)
                if (v->seen >> s & 1)
                    lv_predict_learn(&fix[s], v->z[s], v->in.n, taken);
            if (taken >= 0 && v->child[taken] >= 0 && k->at[v->child[taken]] < 0)
                tokens = lost(q, v->child[taken]);
        }
    if (k->cuts)
        lv_judge_learn(&q->e->judge, k->first_left > 0.0 ? k->first_seconds : 0.0, k->spent, tokens, q->last.rate);
    q->stats.n_prune_lost += tokens;
    q->stats.seconds_prune += k->spent;
}
