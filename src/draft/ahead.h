/* Looking ahead: what a round would be worth after some further batches of drafting.
 *
 * Shared by the engine, which drafts by it, and by the simulator, which predicts what the engine will do.
 *
 * Pure: no I/O, clock or threads. */
#ifndef LV_DRAFT_AHEAD_H
#define LV_DRAFT_AHEAD_H

#include "cost/cost.h"
#include "draft/grow.h"

/* What is known when a round decides whether to draft on. */
struct lv_ahead {
    const struct lv_cost *target; /* borrowed; of a round */
    const struct lv_cost *draft;  /* borrowed; of a batch by rows */
    uint32_t n_rows, depth;       /* most rows of a round; deepest node of use */
    uint32_t max_open;            /* most candidates a batch opens */
    double spent;                 /* seconds this round has cost already */
    double rate;                  /* tokens a second that a second is worth */
    double p_child;               /* how often a draft's first choice is the target's */
};

/* The best value within reach of some further batches, as of lv_cost_choose, and how many nodes these should open: one
 * batch alone may not pay where several do. r: [n] the tree's ranking. */
double lv_ahead_value(const struct lv_grow *g, const struct lv_grow_ranked *r, uint32_t n, const struct lv_ahead *a,
                      uint32_t *n_open);

#endif
