/* Candidates that cost no draft step, and what acceptance teaches about all of them.
 *
 * Prompt lookup adds how the text went on before: at the root, and where the likely path ends. Every token the target
 * decides on a node with candidates is an outcome for each of them (draft/calibrate.h).
 *
 * threads  the sequence's, while no worker runs */
#ifndef LV_ENGINE_CANDIDATES_H
#define LV_ENGINE_CANDIDATES_H

#include "engine/seq.h"

/* Memory for lookup; 0 when this mode has none. */
uint64_t lv_candidates_bytes(const struct lever_options *opt);
enum lever_status lv_candidates_init(struct lever_seq *q, struct lever_error *err);
void lv_candidates_deinit(struct lever_seq *q);
/* The text was cut to q->n tokens. */
void lv_candidates_rewind(struct lever_seq *q);

/* Adds what lookup finds to q->draft.grow, at most max_depth below the root. The tree's root is the end of the text. */
void lv_candidates_lookup(struct lever_seq *q, uint32_t max_depth);
/* The target's token behind the tree's root is known, the root about to move there. */
void lv_candidates_learn(struct lever_seq *q, int32_t token);
/* Nodes of the tree that only lookup proposed, among n visited ones. */
uint32_t lv_candidates_from_lookup(const struct lever_seq *q, const int32_t *visited, uint32_t n);

#endif
