/* Staircases of a program on this machine: time of a pass by rows. */
#ifndef LV_ENGINE_STAIRS_H
#define LV_ENGINE_STAIRS_H

#include "cost/cost.h"
#include "engine/instance.h"

/* Times the kernels of the program's types on one group each, for row counts up to max_rows, and adds up all matrices of the
 * body. Takes about ten milliseconds. Memory traffic of resident weights is left to lv_cost_learn. */
void lv_stairs_measure(struct lv_stairs *out, const struct lv_exec *x, uint32_t n_worker);

/* Times whole passes of a resident model, memory traffic included, with the head of up to LV_HEAD_ROWS rows if with_head;
 * about 0.2 s. Larger row counts follow the shape of lv_stairs_measure. The KV cache is empty, and stays so. */
enum lever_status lv_stairs_run(struct lv_stairs *out, struct lv_instance *m, bool with_head, struct lever_error *err);

/* Seconds of a pass of n <= LV_HEAD_ROWS rows with their heads, where the instance runs (on its device, if it has one): the
 * best of three. */
enum lever_status lv_stairs_time(double *seconds, struct lv_instance *m, uint32_t n, struct lever_error *err);
/* The same for its head, of 1 to LV_HEAD_ROWS rows; a streamed head's kernels alone. */
enum lever_status lv_stairs_head(struct lv_stairs *out, struct lv_instance *m, struct lever_error *err);

#endif
