/* Rows of a matrix to Q4_0, for a draft's head: it only guesses, and a smaller head costs it less time and memory. */
#ifndef LV_ENGINE_REQUANT_H
#define LV_ENGINE_REQUANT_H

#include "model/program.h"

uint64_t lv_requant_scratch_bytes(const struct lv_weight *w);
/* A group of n_rows rows in w->file_type (in kernel layout if w->packed) as rows of Q4_0, in scratch. */
const uint8_t *lv_requant_group(const struct lv_weight *w, const uint8_t *group, uint32_t n_rows, uint8_t *scratch);

#endif
