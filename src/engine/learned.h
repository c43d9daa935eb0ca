/* What an engine learns while it runs, kept for the next engine of the same models on the same machine: how far a draft is
 * right, how long passes take, what the device gives. It steers drafting and never changes the text, so a file that is
 * missing, foreign or damaged means no more than to learn anew.
 *
 *   <directory>/learned-<key>.bin: magic "LVLEARN1" | version, bytes of the rest | key | checksum of the rest | struct
 *   lv_learned as it lies in memory. The key is a checksum over the bytes of both models' headers, kernels and threads.
 *
 * owns     nothing
 * threads  one at a time; two processes replace each other's file as a whole */
#ifndef LV_ENGINE_LEARNED_H
#define LV_ENGINE_LEARNED_H

#include "cost/cost.h"
#include "draft/calibrate.h"
#include "map/map.h"
#include "prune/predict.h"

#define LV_LEARNED_VERSION 3u /* 2: devices; 3: pruning */
#define LV_PRUNE_STAGES 4 /* layers of a pass that pruning looks at */

struct lv_learned_pass { /* times of passes; no stairs: not measured */
    struct lv_stairs stairs;
    struct lv_cost_fit fit;
};

struct lv_learned_device { /* where there are several; a name of zeros: no device */
    char name[24];
    struct lv_learned_pass pass[LV_MAP_PROGRAMS][2]; /* [1]: some weights streamed; of a draft, with a smaller head */
};

struct lv_learned {
    struct lv_calib calib[2];          /* of drafting for greedy decoding; for sampling */
    struct lv_calib peek[2];           /* of what a late layer of the target says, the same */
    struct lv_predict_fix prune[2][LV_PRUNE_STAGES]; /* of what pruning predicts, the same */
    struct lv_learned_pass target[2];  /* all resident; some weights streamed: then compute alone */
    struct lv_learned_pass draft[2];   /* with its whole head; with a smaller one */
    double p_child;                    /* how often a draft's first choice is the target's */
    double stream_rate;                /* bytes a second that the device gives; 0 = not known */
    struct lv_learned_device device[LV_MAP_DEVICES];
    double t_head;                     /* seconds of the target's head in a round; 0 = not known */
};

void lv_learned_init(struct lv_learned *l);
/* Reads what was kept in `dir` under this key. False, and *l is as after init: nothing of use. */
bool lv_learned_load(struct lv_learned *l, const char *dir, uint64_t key);
/* Keeps it, by way of a file that is renamed; makes `dir` if its parent is there. False: not kept, and what was kept
 * before is untouched. */
bool lv_learned_save(const struct lv_learned *l, const char *dir, uint64_t key);

#endif
