/* Pruning: in the middle of a pass of the target, rows of the token tree that became improbable are dropped.
 *
 * After some layers the draft's candidates below each row are scored by the row's state there, seen through a lens
 * (prune/lens.h): all workers together, as a call between two ops. A small model turns scores and the draft's confidence
 * into probabilities (prune/predict.h). Before the next norm those rows go whose tokens are worth less than what the
 * remaining layers take for them (prune/rules.h). Where drafting goes on beside the pass, the draft's tree gets the same
 * probabilities. None of this can change the text: which tokens are drawn depends on rows that went through all layers,
 * and on no other row.
 *
 * Everything runs between begin and end of one pass. owns: scratch; borrows the engine's lens. threads: scores from any
 * worker, `between` from the worker that finished an op, the rest from the sequence's. */
#ifndef LV_ENGINE_PRUNE_H
#define LV_ENGINE_PRUNE_H

#include "engine/engine.h"
#include "prune/judge.h"
#include "prune/lens.h"
#include "prune/predict.h"
#include "prune/rules.h"

struct lv_prune_stage {
    const struct lv_lens_layer *lens;
    uint32_t op;    /* scores before this op: all of the layers before are in the residual stream */
    double left;    /* share of the pass that is still to come there */
};

/* A row with rows below it, and what the draft proposes there. */
struct lv_prune_node {
    uint32_t row;
    struct lv_predict_node in;
    int32_t token[LV_PREDICT_MAX];
    int32_t child[LV_PREDICT_MAX]; /* row of the candidate; -1: it is none */
    int32_t grow[LV_PREDICT_MAX];  /* its node in the draft's tree */
    float z[LV_PRUNE_STAGES][LV_PREDICT_MAX];
    float p[LV_PREDICT_MAX];       /* as last seen */
    uint32_t seen;                 /* bit i: scored at stage i */
};

struct lv_pruner {
    struct lv_prune_stage stage[LV_PRUNE_STAGES];
    uint32_t n_stage;              /* 0: nothing is ever scored */
    const uint8_t **head;          /* [groups] of the target's head, where they lie; owned */
    uint8_t *scratch;              /* [n_worker] of lv_lens_scratch_bytes; owned */

    /* of the pass; rows are numbered as in the tree that was chosen */
    bool begun, active, steers, cuts; /* steers: the draft's tree gets the probabilities */
    uint32_t i_stage;
    bool scored;                   /* of this stage */
    uint32_t n_all;                /* rows when it began */
    uint32_t n_row, row[LV_TREE_MAX]; /* those that are left, in order */
    int32_t at[LV_TREE_MAX];       /* where a row is now; -1: gone */
    struct lv_prune_node node[LV_TREE_MAX];
    uint32_t n_node, unit[LV_TREE_MAX], n_unit;
    float p[LV_TREE_MAX];          /* of each row, given its parent */
    struct lv_pass pass;
    double row_layers;             /* rows dropped times the share of the pass they were spared */
    uint64_t began_ns, mark_ns;    /* of the pass; of the look that runs */
    double spent;                  /* seconds in looks */
    double first_seconds, first_left; /* till the first cut; what was left then */
    bool looked;
    uint64_t n_looks;              /* layers looked at, ever */
};

struct lever_seq;

/* Which lens, if any, the engine's target has: opt.lens. */
enum lever_status lv_prune_open(struct lever_engine *e, struct lever_error *err);
enum lever_status lv_prune_init(struct lever_seq *q, struct lever_error *err);
void lv_prune_deinit(struct lever_seq *q);

/* The tree's rows are about to go through the target. steers: drafting goes on meanwhile. */
void lv_prune_begin(struct lever_seq *q, bool steers);
/* Of the executor: before op i_op, while nobody works. */
void lv_prune_between(struct lever_seq *q, uint32_t i_op);
/* The pass is over: q's tree becomes that of the rows that are left. place [n before]: where each row is now, or -1.
 * Returns how many whole rows were saved. 0, and place is untouched, if the pass was not begun: a prompt's. */
double lv_prune_end(struct lever_seq *q, int32_t *place);
/* What the walk made of it. visited: rows of the tree that is left, n tokens drawn; before the text grows. */
void lv_prune_learn(struct lever_seq *q, const int32_t *visited, uint32_t n);

#endif
