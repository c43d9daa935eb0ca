/* Staircase of a program on this machine: compute time of a pass by rows. */
#ifndef LV_ENGINE_STAIRS_H
#define LV_ENGINE_STAIRS_H

#include "cost/cost.h"
#include "engine/instance.h"

/* Times the kernels of the program's types on one group each, for row counts up to max_rows, and adds up all matrices of the
 * body. Takes about ten milliseconds. Memory traffic of resident weights is left to lv_cost_learn. */
void lv_stairs_measure(struct lv_stairs *out, const struct lv_exec *x, uint32_t n_worker);

#endif
