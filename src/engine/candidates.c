#include "engine/candidates.h"

#define HITS 2        /* continuations at a place */
#define P_CHILD_STEP 0.03 /* of its moving average */
#define P_MIN 1e-3f   /* of a path: less is not worth a row */

static bool has_lookup(const struct lever_options *opt)
{
    return (opt->speculation == LEVER_SPEC_TREE || opt->speculation == LEVER_SPEC_AUTO) &&
           opt->n_ctx <= LV_LOOKUP_CTX_MAX;
}

uint64_t lv_candidates_bytes(const struct lever_options *opt)
{
    return has_lookup(opt) ? lv_lookup_bytes(opt->n_ctx) : 0;
}

enum lever_status lv_candidates_init(struct lever_seq *q, struct lever_error *err)
{
    const struct lever_options *opt = &q->e->opt;

    q->calib = &q->e->learned.calib[q->sampler.temperature > 0.0f];
    if (!has_lookup(opt))
        return LEVER_OK;
    q->lookup_memory = lv_alloc(1, lv_candidates_bytes(opt));
    if (!q->lookup_memory)
        return LV_FAIL(err, LEVER_E_NOMEM, "prompt lookup: %llu bytes", (unsigned long long)lv_candidates_bytes(opt));
    lv_lookup_init(&q->lookup, q->lookup_memory, opt->n_ctx);
    return LEVER_OK;
}

void lv_candidates_deinit(struct lever_seq *q)
{
    lv_free(q->lookup_memory);
}

void lv_candidates_rewind(struct lever_seq *q)
{
    if (q->lookup_memory && q->lookup.n > q->n)
        lv_lookup_rewind(&q->lookup, q->n);
}

/* Continuations of text + path as children below `node`, the path's end. */
static void add_hits(lever_seq *q, int32_t node, const int32_t *path, uint32_t n_path, uint32_t depth)
{
    struct lv_grow *g = &q->draft.grow;
    struct lv_lookup_hit hit[HITS];
    const uint32_t n = lv_lookup_find(&q->lookup, path, n_path, depth, hit, HITS);

    for (uint32_t h = 0; h < n; h++) {
        int32_t at = node;

        for (uint32_t i = 0; i < hit[h].n && !lv_tok_is_end(q->e->tok, hit[h].token[i]); i++) {
            const uint32_t match = hit[h].match + i;
            const float raw = i ? lv_calib_lookup_raw(match, 1, 1)
                                : lv_calib_lookup_raw(match, hit[h].n_seen, hit[h].n_of);
            const float p = lv_calib_lookup_p(q->calib, raw, match, n_path + i + 1) * lv_grow_rest(g, at);

            /* One that is there keeps its probability; a new one shares what its siblings leave. */
            const int32_t child = lv_grow_add(g, at, hit[h].token[i], p > 1e-9f ? p : 1e-9f, 0);

            if (child < 0)
                break;
            if (g->node[child].lookup_p == 0.0f) {
                g->node[child].lookup_p = raw;
                g->node[child].match = (uint8_t)match;
            }
            if (lv_grow_p(g, child) < P_MIN)
                break;
            at = child;
        }
    }
}

void lv_candidates_lookup(lever_seq *q, uint32_t max_depth)
{
    const struct lv_grow *g = &q->draft.grow;
    const uint32_t depth = max_depth < LV_LOOKUP_DEPTH_MAX ? max_depth : LV_LOOKUP_DEPTH_MAX;
    int32_t node[LV_LOOKUP_DEPTH_MAX], path[LV_LOOKUP_DEPTH_MAX];

    if (!q->lookup_memory || !depth)
        return;
    while (q->lookup.n < q->n)
        lv_lookup_append(&q->lookup, q->text[q->lookup.n]);
    add_hits(q, g->root, NULL, 0, depth);
    const uint32_t n = lv_grow_likely(g, node, depth);

    for (uint32_t i = 0; i < n; i++)
        path[i] = g->node[node[i]].token;
    if (n && n < depth && lv_grow_p(g, node[n - 1]) >= P_MIN)
        add_hits(q, node[n - 1], path, n, depth - n);
}

void lv_candidates_learn(lever_seq *q, int32_t token)
{
    const struct lv_grow *g = &q->draft.grow;

    for (int32_t i = 0; i < LV_GROW_MAX && g->node[g->root].n_child; i++) {
        const struct lv_grow_node *v = &g->node[i];

        if (v->state == LV_GROW_FREE || v->parent != g->root || v->doomed)
            continue;
        if (v->draft_p > 0.0f && v->rank == 0)
            q->p_child += P_CHILD_STEP * ((v->token == token) - q->p_child);
        if (v->draft_p > 0.0f)
            lv_calib_learn(q->calib, v->draft_p, v->rank, v->depth, v->token == token);
        if (v->lookup_p > 0.0f)
            lv_calib_lookup_learn(q->calib, v->lookup_p, v->match, v->depth, v->token == token);
    }
}

uint32_t lv_candidates_from_lookup(const lever_seq *q, const int32_t *visited, uint32_t n)
{
    uint32_t n_found = 0;

    for (uint32_t i = 1; i < n; i++) {
        const struct lv_grow_node *v = &q->draft.grow.node[q->map[visited[i]]];

        n_found += v->lookup_p > 0.0f && !(v->draft_p > 0.0f);
    }
    return n_found;
}
