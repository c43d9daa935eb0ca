/* Which rows of a token tree go on when a layer has been looked at, and the rules that keep pruning safe.
 *
 * Trees are given as parents (index below the node's own, -1 for the root 0). path[i] is the probability that the text
 * takes node i: path[0] = 1, never more than its parent's. Wrong probabilities cost time, never text: the target's
 * rows do not depend on one another's presence.
 *
 * Rules (arXiv 2605.16786, 4.3): ancestors of what stays stay; the most trusted path stays; near the root several
 * candidates stay; all stays if too little would be left.
 *
 * Pure: no I/O, clock or threads. n <= LV_RULES_MAX. */
#ifndef LV_PRUNE_RULES_H
#define LV_PRUNE_RULES_H

#include <stdbool.h>
#include <stdint.h>

#define LV_RULES_MAX 256

/* path[i] = product of p along the path from the root; p[0] is not read. NaN counts as 0. */
void lv_rules_path(const int32_t *parent, const float *p, uint32_t n, float *path);

/* Ancestors of all that is kept. */
void lv_rules_ancestors(const int32_t *parent, uint32_t n, bool *keep);
/* From the root always the child of largest path, to a leaf; of equal ones the lowest index. */
void lv_rules_trusted(const int32_t *parent, const float *path, uint32_t n, bool *keep);
/* Below each kept node at most max_depth - 1 deep the `most` children of largest path. Call from the root on: what it
 * keeps at one depth counts for the next. */
void lv_rules_near_root(const int32_t *parent, const float *path, uint32_t n, uint32_t max_depth, uint32_t most, bool *keep);
/* False when fewer than `least` nodes are kept: then nothing is to be dropped. */
bool lv_rules_enough(const bool *keep, uint32_t n, uint32_t least);

/* What the rest of a pass costs. */
struct lv_rules_price {
    const uint32_t *edge;  /* [n_edge] row counts where the cost has a step, rising */
    const double *seconds; /* [n_edge] of the rest of the pass with so many rows */
    uint32_t n_edge;
    double seconds_all;    /* the same if all n rows stay */
    double seconds_cut;    /* of dropping itself */
    double rate;           /* tokens a second that time is worth */
};

/* Keeps what the rules want and then the largest paths, up to that edge whose tokens less rate * seconds is most; all if no
 * edge is better by more than the dropping costs. keep [n]; *gain: tokens that it is better by, 0 if all stay. Returns how
 * many stay. Of ancestor-closed sets that hold what the rules want, with as many nodes as an edge, none is better. */
uint32_t lv_rules_select(const int32_t *parent, const float *path, uint32_t n, const struct lv_rules_price *price, bool *keep,
                         double *gain);

#endif
