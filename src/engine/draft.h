/* Draft: a small resident model that proposes what the target will say.
 *
 * Holds its own KV cache: the text so far is committed, the last chain lies in tree slots until it
 * is known how much of it the target accepted.
 *
 * borrows  the instance; owns nothing else. One thread at a time. */
#ifndef LV_ENGINE_DRAFT_H
#define LV_ENGINE_DRAFT_H

#include "engine/instance.h"
#include "engine/sampler.h"
#include "tree/tree.h"

#define LV_DRAFT_CHAIN_MAX 63 /* with the root: one bucket of 64 rows */

struct lv_draft {
    struct lv_instance *m;
    int32_t slot_token[LV_DRAFT_CHAIN_MAX]; /* chain rows computed in slots 0 .. n_slot - 1 */
    uint32_t n_slot;
    int32_t path[LV_EXEC_MAX_ROWS];         /* 0, 1, 2 ... */
    uint64_t busy_ns;
};

void lv_draft_init(struct lv_draft *d, struct lv_instance *m);

/* Brings the draft's cache up to text[0 .. n), the last token included, and leaves that token's row
 * as row *row of the last forward. */
enum lever_status lv_draft_sync(struct lv_draft *d, const int32_t *text, uint32_t n, uint32_t *row,
                                struct lever_error *err);

/* Adds a chain of up to k tokens below the root of `tree` (which is text[n - 1]), drawn as the target will draw them.
 * text     room for n + k tokens; the chain is written behind the text
 * logits   [sampler->n_vocab] scratch;  scratch: as lv_sampler_draw
 * is_end   stops the chain behind an end token */
enum lever_status lv_draft_chain(struct lv_draft *d, int32_t *text, uint32_t n, uint32_t k,
                                 const struct lv_sampler *sampler, float *logits, void *scratch,
                                 bool (*is_end)(void *ctx, int32_t token), void *ctx, struct lv_tree *tree,
                                 struct lever_error *err);

#endif
