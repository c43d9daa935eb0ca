/* Peek: what a late layer of the target says about the tokens to come, while its last layers are still under way.
 *
 * At about 7/8 of the depth the head is run over rows of the path that the target seems to take. The tokens it names get
 * their probabilities in the draft's tree, or come into it, so that background drafting goes on below the token that
 * will probably end this round. It cannot change the text: which tokens are drawn depends on rows that went through all
 * layers. Where the head is too dear for that, engine/prune.h looks at the draft's own candidates alone.
 *
 * States, all steps under the draft's lock:
 *   OFF -> WAIT (a pass begins) -> COPIED (its rows passed that layer) -> HEAD (a batch runs) -> COPIED .. -> DONE
 *
 * Everything here runs between begin and end of one pass. owns: nothing; its head executor is the target's
 * instance's. threads: lv_peek_work from any worker, lv_peek_between from the worker that finished an op. */
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
    uint32_t batch[LV_HEAD_ROWS], n_batch;
    struct lv_peek_row known[LV_PEEK_ROWS];
    uint32_t n_known;
    bool there[LV_TREE_MAX];   /* rows that had not been dropped when they were copied */
    uint64_t n_looks;          /* rows looked at, ever */
};

struct lever_seq;

/* Whether memory for it is to be planned: a draft that works beside the stream. */
bool lv_peek_wanted(const struct lever_options *opt);
/* The tree's rows are about to go through the target; behind lv_prune_begin. */
void lv_peek_begin(struct lever_seq *q);
/* Of the executor: before op i_op, while nobody works. */
void lv_peek_between(struct lever_seq *q, uint32_t i_op);
/* A chunk of it. False when there is none at the moment. */
bool lv_peek_work(struct lever_seq *q, unsigned worker);
/* The pass is over. place: where each of its rows is now in q's tree, or -1; not read if nothing was begun. */
void lv_peek_end(struct lever_seq *q, const int32_t *place);
/* What the walk made of it. visited: rows, n: tokens drawn; before the text grows. */
void lv_peek_learn(struct lever_seq *q, const int32_t *visited, uint32_t n);

#endif
