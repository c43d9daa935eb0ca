/* Rows that a simulated pass drops on its way: by the engine's rules, or as many as somebody else has measured. */
#include <math.h>

#include "prune/rules.h"
#include "sim/state.h"

#define KNOWN_P 0.98f    /* of the token that a layer in the middle knows */
#define CUT_SECONDS 2e-5 /* of dropping rows, as engine/prune.c */

/* Probability of each row given its parent: the draft's, or what a layer knows about the token there. */
static void look(struct lv_sim *s, float *p)
{
    bool knows[LV_TREE_MAX], is_true[LV_TREE_MAX] = { true };

    for (uint32_t i = 0; i < s->tree.n; i++) {
        const int32_t up = s->tree.parent[i];

        knows[i] = 0.5 + 0.5 * (double)lv_rng_f32(&s->rng) < s->c->prune_knows;
        if (up < 0)
            continue;
        is_true[i] = is_true[up] && (int32_t)lv_accept_truth(&s->accept, s->n - 1 + s->tree.depth[up]) == s->tree.token[i];
        p[i] = expf(s->grow.node[s->map[i]].lp - s->grow.node[s->map[up]].lp);
        if (knows[up] && is_true[up]) /* beside the text there is nothing to know */
            p[i] = is_true[i] ? KNOWN_P : (1.0f - KNOWN_P) * p[i];
    }
}

/* The engine's rules, at the engine's price. Returns how many rows stay. */
static uint32_t prune(struct lv_sim *s)
{
    const struct lv_stairs *stairs = &s->cost.target;
    const double left = 1.0 - s->c->prune_at;
    float p[LV_TREE_MAX], path[LV_TREE_MAX];
    double seconds[LV_STAIRS_MAX], gain;
    const struct lv_rules_price price = { .edge = stairs->rows,
                                          .seconds = seconds,
                                          .n_edge = stairs->n,
                                          .seconds_all = lv_cost_cut(&s->cost, s->tree.n, s->tree.n, left),
                                          .seconds_cut = CUT_SECONDS,
                                          .rate = lv_sim_run_rate(s) };

    look(s, p);
    lv_rules_path(s->tree.parent, p, s->tree.n, path);
    for (uint32_t i = 0; i < stairs->n; i++)
        seconds[i] = lv_cost_cut(&s->cost, s->tree.n, stairs->rows[i], left);
    return lv_rules_select(s->tree.parent, path, s->tree.n, &price, s->kept, &gain);
}

uint32_t lv_sim_rows_kept(struct lv_sim *s)
{
    const struct lv_sim_config *c = s->c;
    const uint32_t n = (uint32_t)ceil(s->tree.n * (1.0 - c->prune_rows));

    for (uint32_t i = 0; i < s->tree.n; i++)
        s->kept[i] = true;
    if (c->prune_knows > 0.0 && s->tree.n > 1)
        return prune(s);
    return n > 1 ? n : 1;
}
