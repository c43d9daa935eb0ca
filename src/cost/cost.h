/* Predicted time of a round, and the tree size that is worth it. (arXiv 2605.16786, 4.2)
 *
 * T_round(n) = E max(T_stream, T_target(n)) + T_head + T_fixed. Inside the stream's shadow a node costs nothing; beyond it
 * tokens a second decide. Where the shadow ends is not known well: a device drifts, and one whose reads wait for compute does not
 * show how fast it is. So T_stream is taken to be spread evenly about its estimate, and rows near the end of the shadow cost
 * part of what they compute.
 *
 * Pure: no I/O, clock or threads; times in seconds. */
#ifndef LV_COST_COST_H
#define LV_COST_COST_H

#include <stdbool.h>
#include <stdint.h>

#define LV_STAIRS_MAX 16

/* What a run's rounds of late brought: decayed sums. */
struct lv_run {
    double tokens, seconds;
    uint32_t n_round;
};

/* Measured time by rows of a pass, rows rising. */
struct lv_stairs {
    uint32_t n;
    uint32_t rows[LV_STAIRS_MAX];
    double seconds[LV_STAIRS_MAX];
};

/* Sums of a regression of measured / predicted on 1 / predicted, old passes counting less. All 0: nothing was learned. */
struct lv_cost_fit {
    double n, u, uu, r, ru;
};

struct lv_cost {
    struct lv_stairs target; /* compute of a pass, without waiting for the stream */
    struct lv_cost_fit fit;  /* of the staircase: learned from passes */
    double t_stream;         /* streamed bytes / measured rate */
    double t_head, t_fixed;
};

/* Linear between measured points, in proportion beyond the last one. */
double lv_stairs_at(const struct lv_stairs *s, uint32_t rows);
/* Compute of a pass: the staircase as passes have shown it to be, a + b x step. */
double lv_cost_compute(const struct lv_cost *c, uint32_t rows);
/* Expected; stream and compute side by side. */
double lv_cost_pass(const struct lv_cost *c, uint32_t rows);
double lv_cost_round(const struct lv_cost *c, uint32_t rows);
/* A pass of `all` rows of which only `rows` go on where a share `left` of it is to come. */
double lv_cost_cut(const struct lv_cost *c, uint32_t all, uint32_t rows, double left);

/* A pass of `rows` computed for `seconds`; waiting and background work do not count. */
void lv_cost_learn(struct lv_cost *c, uint32_t rows, double seconds);

/* Tokens a second of the best chain, if each of its tokens is right with probability p < 1 and costs t_draft: what a run
 * may expect before it has a rate of its own. */
double lv_cost_chain_rate(const struct lv_cost *c, double p, double t_draft);

void lv_run_add(struct lv_run *r, double tokens, double seconds);
/* Tokens a second that a round has to serve: those of late, once there were some rounds, but no fewer than the chain
 * promises. A run that began badly would otherwise think its time cheap and draft on for longer than its tokens are
 * worth. */
double lv_run_rate(const struct lv_run *r, double promise);

/* expected[i]: expected tokens when the best i + 1 nodes are verified, rising. t_spent: time this round has cost already
 * (exposed drafting). rate: tokens a second of the run. Returns the number of nodes, 1..n, that maximizes tokens - rate *
 * seconds; *value is that. So each round serves the run's rate, which its own tokens a second would not: a hard round
 * is cut short, an easy one goes on. */
uint32_t lv_cost_choose(const struct lv_cost *c, const float *expected, uint32_t n, double t_spent, double rate,
                        double *value);

#endif
