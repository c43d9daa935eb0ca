/* Peek: what a late layer of the target says about the tokens to come, while its last layers are still under way.
 *
 * At about 7/8 of the depth the head is run over rows of the path that the target seems to take. The tokens it names get
 * their probabilities in the draft's tree, or come into it, so that background drafting goes on below the token that
 * will probably end this round. Rows that have become improbable are dropped for the layers that remain. Neither
 * can change the text: which tokens are drawn depends on rows that went through all layers.
 *
 * States, all steps under the draft's lock:
 *   OFF -> WAIT (a pass begins) -> COPIED (its rows passed that layer) -> HEAD (a batch runs) -> COPIED .. -> DONE
 *
 * Everything here runs between begin and end of one pass. owns: nothing; its head executor is the target's
 * instance's. threads: lv_peek_work from any worker, `between` from the worker that finished an op. */
#ifndef LV_ENGINE_PEEK_H
#define LV_ENGINE_PEEK_H

#include <stdatomic.h>

#include "draft/calibrate.h"
#include "engine/draft.h"

#define LV_PEEK_TOKENS 4 /* named for a row */
#define LV_PEEK_ROWS 32  /* looked at in a pass: four batches of a head */

struct lv_peek_row {
    uint32_t row, n;
    int32_t token[LV_PEEK_TOKENS];
    float raw[LV_PEEK_TOKENS]; /* the layer's own probability */
};

struct lv_peek {
    _Atomic int state;
    struct lv_calib *calib;    /* the engine's, for this kind of sampling */
    uint32_t i_op;             /* rows are copied before this op */
    double row_seconds;        /* what the remaining layers cost a row */
    double rate;               /* tokens a second that time is worth */
    uint32_t n_row;            /* rows when the pass began */
    uint32_t batch[LV_HEAD_ROWS], n_batch;
    struct lv_peek_row known[LV_PEEK_ROWS];
    uint32_t n_known;
    _Atomic bool cut;          /* keep is ready, and not yet used */
    uint32_t keep[LV_TREE_MAX];
    struct lv_pass pass;       /* of the rows that are kept */
    bool pruned;               /* it took their place */
    uint64_t n_looks;          /* rows looked at, ever */
};

struct lever_seq;

/* Whether memory for it is to be planned: a draft that works beside the stream. */
bool lv_peek_wanted(const struct lever_options *opt);
/* The tree's rows are about to go through the target. */
void lv_peek_begin(struct lever_seq *q);
/* A chunk of it. False when there is none at the moment. */
bool lv_peek_work(struct lever_seq *q, unsigned worker);
/* The pass is over: q's tree becomes that of the rows that are left. Returns how many whole rows were saved, or 0. */
double lv_peek_end(struct lever_seq *q);
/* What the walk made of it. visited: rows, n: tokens drawn; before the text grows. */
void lv_peek_learn(struct lever_seq *q, const int32_t *visited, uint32_t n);

#endif
