/* A round over several devices: who drafts beside the target's pass.
 *
 *   T = exposed batches + max(stream, work of each device, draft's chain, target's pass) + heads + fixed
 *
 * Devices that share the cores count as one in the max. A draft batch waits for the one before it, so their elapsed times add
 * up whatever device they run on.
 *
 * Pure, as map.h. */
#ifndef LV_MAP_ROUND_H
#define LV_MAP_ROUND_H

#include "map/map.h"

/* What there is to do. A count of 0: no such work. */
struct lv_map_round {
    uint32_t draft_rows, draft_head_rows; /* of a batch */
    uint32_t n_exposed, n_beside;         /* batches before the pass; while it runs */
    uint32_t target_rows;
    uint32_t head_rows, n_head;           /* batches along the path, behind the pass */
    double t_stream, t_fixed;
};

struct lv_map_plan {
    struct lv_map_split exposed[2], beside[2]; /* draft's body and head */
    struct lv_map_split target, head;
    double seconds;
};

/* Fills *out with the fastest plan; of equals the one with least work in all. False: some work has no device. */
bool lv_map_plan(const struct lv_map *m, uint32_t set, const struct lv_map_round *r, struct lv_map_plan *out);

/* For a draft that stays where it is put, its cache being there: the device with which a round is over soonest; kernels that
 * share the cores are one place. seconds[i]: of a round with the draft on device i, HUGE_VAL where it cannot be. -1: none
 * can. Of equals the first. */
int lv_map_home(const struct lv_map *m, const struct lv_map_round *r, double seconds[LV_MAP_DEVICES]);

#endif
