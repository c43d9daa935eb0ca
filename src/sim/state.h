/* A simulation under way, for the files of sim/ that share it. */
#ifndef LV_SIM_STATE_H
#define LV_SIM_STATE_H

#include "draft/grow.h"
#include "sim/sim.h"
#include "sim/timeline.h"

#define LV_SIM_BATCH_OPEN 8  /* candidates a batch expands, as engine/draft.h */
#define LV_SIM_BATCH_ROWS 64
#define LV_SIM_P_MIN 1e-3f   /* of a path: less is not worth a row */

struct lv_sim {
    const struct lv_sim_config *c;
    struct lv_accept accept;
    struct lv_timeline time;
    struct lv_grow grow;
    int64_t at[LV_GROW_MAX]; /* position of the text that a node is; -1: beside it */
    struct lv_cost cost, draft;
    struct lv_rng rng;
    uint32_t text;           /* tokens of a text; 0: it never ends */
    uint64_t n;              /* text[n - 1] is the root */
    struct lv_tree tree;
    int32_t map[LV_TREE_MAX];
    int32_t batch[LV_SIM_BATCH_ROWS + LV_SIM_BATCH_OPEN];
    uint32_t n_batch, n_spine, n_open, quota;
    double left;             /* seconds of the batch under way; n_batch 0: there is none */
    bool starved, passing;   /* passing: the target's rows are under way */
    bool kept[LV_TREE_MAX];  /* rows to the end of the pass */
    struct lv_run run;
    struct lv_sim_result r;
};

/* Tokens a second that a round has to serve. */
double lv_sim_run_rate(const struct lv_sim *s);
/* lookup.c: what prompt lookup finds at the root, and where the likely path ends; at most `depth` below the root. */
void lv_sim_look_up(struct lv_sim *s, uint32_t depth);
/* cut.c: marks the rows that reach the end of the pass (kept) and returns how many they are. */
uint32_t lv_sim_rows_kept(struct lv_sim *s);
/* The rows that the text takes, from the root, as far as they are kept; returns their count. */
uint32_t lv_sim_true_path(struct lv_sim *s, uint32_t *row);

#endif
