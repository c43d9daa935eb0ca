/* Judge: whether looking into passes and dropping rows pays in this run, by what it brought so far.
 *
 * Each look costs time; a cut saves time and loses the tokens that would have been accepted in dropped rows. All is counted
 * in tokens at the run's rate. While the sum of late is a loss nothing is looked at, for ever longer; then it is tried
 * again.
 *
 * Pure; a plain struct. */
#ifndef LV_PRUNE_JUDGE_H
#define LV_PRUNE_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

struct lv_judge {
    double balance;    /* tokens won by looks of late, decayed */
    double weight;     /* looks of late, decayed */
    double cost;       /* seconds of a look, moving average; 0 = not known */
    uint32_t n_look;   /* since the last decision */
    uint32_t rest;     /* passes still to come without a look */
    uint32_t next_rest;
};

void lv_judge_init(struct lv_judge *j);
/* A pass is about to begin; the most that a look could bring is `most` seconds. False: no look. */
bool lv_judge_allows(struct lv_judge *j, double most);
/* What a look came to. saved, cost: seconds; lost: tokens; rate: tokens a second. What is no number is left out. */
void lv_judge_learn(struct lv_judge *j, double saved, double cost, double lost, double rate);

#endif
