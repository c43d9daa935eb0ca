/* Acceptance: how a draft and a target agree, as a few classes of positions.
 *
 * A class is what a draft says at a position (probabilities of its best tokens, as calibrated) and how often the target
 * takes each of them. A task is how often each class comes, on the text's own path and beside it. The target's
 * choices are drawn by position, so that all modes see the same text.
 *
 * Fitted to recorded rounds by tools/fit_acceptance.py. Pure; borrows the table. */
#ifndef LV_SIM_ACCEPT_H
#define LV_SIM_ACCEPT_H

#include <stdbool.h>
#include <stdint.h>

#include <lever/lever.h>

#include "base/rng.h"

#define LV_ACCEPT_MISS LEVER_ACCEPT_CHILDREN /* the target's token is none of the draft's */

struct lv_accept {
    const struct lever_acceptance *table; /* borrowed */
    uint32_t i_task;
    uint64_t seed;
    struct lv_rng beside;                 /* for nodes off the text */
};

void lv_accept_init(struct lv_accept *a, const struct lever_acceptance *table, uint32_t i_task, uint64_t seed);
/* What is wrong with a table, or NULL. */
const char *lv_accept_fault(const struct lever_acceptance *table);

/* The target's token behind position `at` of the text, as the draft ranks it: 0 = its best, LV_ACCEPT_MISS. */
uint32_t lv_accept_truth(const struct lv_accept *a, uint64_t at);
/* The draft's probabilities there, falling: LEVER_ACCEPT_CHILDREN of them. at < 0: of a node beside the text. */
const float *lv_accept_children(struct lv_accept *a, int64_t at);
/* Share of positions of the task where the draft's best token is the target's. */
double lv_accept_first(const struct lv_accept *a);

#endif
