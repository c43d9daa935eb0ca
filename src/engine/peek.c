#include "engine/peek.h"

#include <math.h>
#include <string.h>

#include "engine/seq.h"

#define AT 0.875       /* of the layers: later it is surer, and helps less */
#define MIN_PATH 1e-3f /* of a path: less is not worth a node */

enum state { OFF, WAIT, COPIED, HEAD, DONE };

bool lv_peek_wanted(const struct lever_options *opt)
{
    return !opt->no_peek && !opt->no_overlap && (opt->speculation == LEVER_SPEC_AUTO || opt->speculation == LEVER_SPEC_TREE);
}

/* ---- rows ---------------------------------------------------------------------------- */

/* The next rows to look at: a node and below it the draft's first choices. */
static void set_batch(lever_seq *q, int32_t node)
{
    struct lv_peek *k = &q->peek;
    const uint32_t left = LV_PEEK_ROWS - k->n_known;
    const uint32_t n = lv_tree_first_path(&q->tree, node, left < LV_HEAD_ROWS ? left : LV_HEAD_ROWS, k->batch);

    for (k->n_batch = 0; k->n_batch < n && k->there[k->batch[k->n_batch]];)
        k->n_batch++;
}

/* Copies the rows for the head, each to the place that it has in the tree. */
void lv_peek_between(lever_seq *q, uint32_t i_op)
{
    struct lv_peek *k = &q->peek;
    struct lv_exec *x = &q->e->target.exec;
    int wait = WAIT;

    if (i_op != k->i_op || atomic_load(&k->state) != WAIT)
        return;
    memset(k->there, 0, sizeof k->there);
    for (uint32_t i = 0; i < q->prune.n_row; i++) {
        const uint32_t row = q->prune.row[i];

        k->there[row] = true;
        memcpy(lv_exec_row(&q->e->target.peek, LV_BUF_X, row), lv_exec_row(x, LV_BUF_X, i), x->p->shape.n_embd * sizeof(float));
    }
    set_batch(q, 0);
    atomic_compare_exchange_strong(&k->state, &wait, COPIED);
}

void lv_peek_begin(lever_seq *q)
{
    struct lv_peek *k = &q->peek;
    struct lever_engine *e = q->e;
    const struct lv_program *p = e->target.program;
    const uint32_t layer = (uint32_t)(AT * p->shape.n_layer);

    k->calib = &e->learned.peek[q->sampler.temperature > 0.0f];
    k->n_known = 0;
    if (!e->target.peek.max_rows || q->tree.n < 2 || !lv_sampler_rank_head(&q->sampler, LV_PEEK_TOKENS).n_top)
        return;
    k->i_op = 0;
    for (uint32_t i = 0; i + 1 < p->n_op && !k->i_op; i++)
        if (p->op[i].layer == layer && p->op[i].kind == LV_OP_NORM)
            k->i_op = i + 1; /* then the residual stream holds all of the layer before */
    if (!k->i_op)
        return;
    atomic_store(&k->state, WAIT);
    e->target.peek.cancel = e->target.exec.cancel;
}

/* ---- what was seen ------------------------------------------------------------------- */

/* Whether a row's node is still there: the least probable give way when the draft's tree is full. */
static bool is_there(const lever_seq *q, uint32_t row)
{
    const struct lv_grow_node *v = &q->draft.grow.node[q->map[row]];

    return v->state != LV_GROW_FREE && !v->doomed && v->token == q->tree.token[row] &&
           (row == 0 || v->parent == q->map[q->tree.parent[row]]);
}

/* The children of a node get the probabilities that were seen; those that were not named share the rest. */
static void set_children(lever_seq *q, const struct lv_peek_row *r)
{
    struct lv_grow *g = &q->draft.grow;
    const int32_t node = q->map[r->row];
    float p[LV_PEEK_TOKENS], rest = 1.0f, others = 0.0f;

    lv_calib_siblings(q->peek.calib, r->raw, r->n, 1, p);
    for (uint32_t i = 0; i < r->n; i++)
        rest -= p[i];
    rest = rest > 1e-5f ? rest : 1e-5f;
    for (int pass = 0; pass < 2; pass++) /* first their sum, then their shares */
        for (int32_t c = 0; c < LV_GROW_MAX; c++) {
            const struct lv_grow_node *v = &g->node[c];
            bool named = false;

            if (v->state == LV_GROW_FREE || v->parent != node || v->doomed)
                continue;
            for (uint32_t i = 0; i < r->n; i++)
                named = named || v->token == r->token[i];
            if (named)
                continue;
            const float own = expf(v->lp - g->node[node].lp);

            if (pass == 0)
                others += own;
            else if (others > rest)
                lv_grow_set_p(g, c, own * rest / others > 1e-9f ? own * rest / others : 1e-9f);
        }
    for (uint32_t i = 0; i < r->n; i++) {
        if (lv_tok_is_end(q->e->tok, r->token[i]) || lv_grow_p(g, node) * p[i] < MIN_PATH)
            continue;
        const int32_t c = lv_grow_add(g, node, r->token[i], p[i], (uint8_t)i);

        if (c < 0)
            continue;
        lv_grow_set_p(g, c, p[i]);
        g->node[c].peek_p = r->raw[i];
    }
    g->node[node].peeked = true;
}

static void read_batch(lever_seq *q)
{
    struct lv_peek *k = &q->peek;
    struct lv_exec *x = &q->e->target.peek;
    struct lv_top top[LV_HEAD_TOP_MAX];
    int32_t at = -1; /* the row that the seen path leads on to */

    for (uint32_t i = 0; i < k->n_batch; i++) {
        struct lv_peek_row *r = &k->known[k->n_known++];
        const uint32_t n = lv_exec_top(x, i, top);

        r->row = k->batch[i];
        r->n = lv_sampler_rank_top(&q->sampler, top, n, x->head.sharpen > 0.0f ? lv_exec_mass(x, i) : 0.0,
                                   q->n + q->tree.depth[r->row], q->scratch, LV_PEEK_TOKENS, r->token, r->raw);
        if (is_there(q, r->row))
            set_children(q, r);
        if (r->n && (i == 0 || at == (int32_t)r->row))
            at = lv_tree_child(&q->tree, (int32_t)r->row, r->token[0]);
    }
    for (uint32_t i = 0; i < k->n_known && at >= 0; i++)
        if (k->known[i].row == (uint32_t)at)
            at = -1; /* seen before */
    k->n_batch = 0;
    if (at >= 0)
        set_batch(q, at);
    if (!atomic_load(&q->draft.quota)) /* there is something to expand again */
        lv_draft_allow(&q->draft, LV_BACKGROUND_BATCHES);
    if (k->n_batch) {
        atomic_store(&k->state, COPIED);
        return;
    }
    atomic_store(&k->state, DONE);
}

bool lv_peek_work(lever_seq *q, unsigned worker)
{
    struct lv_peek *k = &q->peek;
    struct lv_exec *x = &q->e->target.peek;
    const int state = atomic_load(&k->state);
    bool did = false;

    if (state != COPIED && state != HEAD)
        return false;
    if (state == HEAD) {
        const enum lv_work w = lv_exec_work(x, worker);

        if (w != LV_WORK_END)
            return w == LV_WORK_CHUNK;
    }
    if (pthread_mutex_trylock(&q->draft.lock) != 0)
        return false;
    if (atomic_load(&k->state) == COPIED) {
        lv_instance_use(&q->e->target, x, true, k->n_batch);
        lv_exec_begin_head(x, k->batch, k->n_batch, lv_sampler_rank_head(&q->sampler, LV_PEEK_TOKENS));
        k->n_looks += k->n_batch;
        atomic_store(&k->state, HEAD);
        did = true;
    } else if (atomic_load(&k->state) == HEAD) {
        const enum lv_work w = lv_exec_work(x, worker); /* the next batch may have begun meanwhile */

        did = w == LV_WORK_CHUNK || w == LV_WORK_END;
        if (w == LV_WORK_END && lv_exec_result(x, NULL) >= 0)
            read_batch(q);
        else if (w == LV_WORK_END)
            atomic_store(&k->state, DONE);
    }
    pthread_mutex_unlock(&q->draft.lock);
    lv_event_bump(x->event);
    return did;
}

/* ---- after the pass --------------------------------------------------------------------- */

void lv_peek_end(lever_seq *q, const int32_t *place)
{
    struct lv_peek *k = &q->peek;
    uint32_t n = 0;

    if (atomic_load(&k->state) == OFF)
        return;
    atomic_store(&k->state, OFF);
    for (uint32_t i = 0; i < k->n_known; i++)
        if (place[k->known[i].row] >= 0) {
            k->known[n] = k->known[i];
            k->known[n++].row = (uint32_t)place[k->known[i].row];
        }
    k->n_known = n;
}

void lv_peek_learn(lever_seq *q, const int32_t *visited, uint32_t n)
{
    const struct lv_peek *k = &q->peek;

    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < k->n_known; j++)
            if (k->known[j].row == (uint32_t)visited[i])
                for (uint32_t c = 0; c < k->known[j].n; c++)
                    lv_calib_learn(k->calib, k->known[j].raw[c], c, 1, k->known[j].token[c] == q->text[q->n + i]);
    if (k->n_known)
        lv_calib_fit(q->peek.calib);
}
