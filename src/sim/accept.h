/* Acceptance: how a draft and a target agree, as a few classes of positions.
 *
 * A class is what a draft says at a position (probabilities of its best tokens, as calibrated) and how often the target
 * takes each of them. A task is how often each class comes, on the text's own path and beside it, and how prompt lookup does.
 * The target's choices are drawn by position, so that all modes see the same text.
 *
 * Lookup is right in stretches: where it was right, one more token agrees, and it is likelier to be right again. So its match
 * is as long as it has been right, and two, the shortest there is, at a stretch's first token.
 *
 * Fitted to recorded rounds by tools/fit_acceptance.py. Pure; borrows the table. */
#ifndef LV_SIM_ACCEPT_H
#define LV_SIM_ACCEPT_H

#include <stdbool.h>
#include <stdint.h>

#include <lever/lever.h>

#include "base/rng.h"

#define LV_ACCEPT_MISS LEVER_ACCEPT_CHILDREN /* the target's token is none of the draft's */

#define LV_ACCEPT_WINDOW 2048 /* positions kept: more than a tree is deep */

struct lv_accept {
    const struct lever_acceptance *table; /* borrowed */
    uint32_t i_task;
    uint64_t seed;
    struct lv_rng beside;                 /* for nodes off the text */
    double first;                         /* share of positions where the draft's best token is the target's */
    uint64_t n;                           /* positions drawn: they depend on those before them */
    uint32_t period;                      /* of a recorded text; 0: the text is drawn */
    struct lever_place place[LV_ACCEPT_WINDOW];
};

/* text: tokens after which a recorded text begins anew; 0, or more than it has: all of it. */
void lv_accept_init(struct lv_accept *a, const struct lever_acceptance *table, uint32_t i_task, uint64_t seed, uint32_t text);
/* What is wrong with a table, or NULL. */
const char *lv_accept_fault(const struct lever_acceptance *table);

/* What comes behind position `at` of the text. Up to LV_ACCEPT_WINDOW positions behind the furthest one asked for are known. truth:
 * the target's token as the draft ranks it, 0 = its best, LV_ACCEPT_MISS. */
const struct lever_place *lv_accept_at(struct lv_accept *a, uint64_t at);
uint32_t lv_accept_truth(struct lv_accept *a, uint64_t at);
/* What lookup promises of a token with such a match before it. */
float lv_accept_promise(const struct lv_accept *a, uint32_t match);
/* The draft's probabilities there, falling: LEVER_ACCEPT_CHILDREN of them. at < 0: of a node beside the text. */
const float *lv_accept_children(struct lv_accept *a, int64_t at);

#endif
