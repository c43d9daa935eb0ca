/* Placement: which groups of which matrix are pinned, and the extents that stream the rest. */
#ifndef LV_ENGINE_PLACE_H
#define LV_ENGINE_PLACE_H

#include "engine/stream.h"
#include "model/program.h"

struct lv_placement {
    uint64_t pinned_bytes, streamed_bytes; /* of matrices; a pass reads streamed_bytes */
    struct lv_extent *extent;              /* [n_extent], owned, in execution order */
    uint32_t n_extent, cap_extent;
    uint32_t max_extent;                   /* bytes of the longest */
};

/* Least that must be pinned: K and V matrices and, unless it is streamed too, the head. */
uint64_t lv_place_least(const struct lv_program *p, bool stream_head);

/* Fills the views of all weights (r32 still NULL in pinned segments that have no memory yet: see lv_place_assign)
 * so that pinned groups take at most pin_bytes (>= lv_place_least). Pinned first: head, K and V,
 * then the other attention matrices, then the same share of every feed-forward matrix, so that each
 * layer streams alike. stream_head: the head is not pinned; its extents are the last of a pass, and each
 * pass must run it once. extent_bytes: most bytes of an extent; a group never exceeds it. */
enum lever_status lv_place(struct lv_placement *out, struct lv_program *p, uint64_t pin_bytes, bool stream_head,
                           uint64_t extent_bytes, struct lever_error *err);
void lv_placement_deinit(struct lv_placement *pl);

#endif
