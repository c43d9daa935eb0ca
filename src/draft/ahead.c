#include "draft/ahead.h"

#include <math.h>

#include "tree/tree.h"

#define STEPS_AHEAD 8 /* batches that drafting looks ahead */

double lv_ahead_value(const struct lv_grow *g, const struct lv_grow_ranked *r, uint32_t n, const struct lv_ahead *a,
                      uint32_t *n_open)
{
    float expected[LV_TREE_MAX];
    double best = -HUGE_VAL, value;

    for (uint32_t open = 1; open <= a->max_open; open *= 2)
        for (uint32_t steps = 1; steps <= STEPS_AHEAD; steps *= 2) {
            const uint32_t n_ahead =
                lv_grow_expected_ahead(g, r, n, a->depth, open, steps, (float)a->p_child, expected, a->n_rows);

            lv_cost_choose(a->target, expected, n_ahead, a->spent + steps * lv_cost_pass(a->draft, open), a->rate, &value);
            if (value > best) {
                best = value;
                *n_open = open;
            }
        }
    return best;
}
