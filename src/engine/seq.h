/* What a sequence holds. Internal to seq.c (calls of lever.h) and round.c (a round of draft, verify, accept). */
#ifndef LV_ENGINE_SEQ_H
#define LV_ENGINE_SEQ_H

#include <stdatomic.h>

#include "cost/cost.h"
#include "draft/lookup.h"
#include "engine/engine.h"
#include "engine/peek.h"
#include "engine/prune.h"

/* text[0 .. n) is the conversation. Between calls either the last row of a prefill is still at hand (`fresh`: its logits
 * give the next token), or the last token is the root: known, but not yet in the cache. */
struct lever_seq {
    struct lever_engine *e;
    struct lv_sampler sampler;
    int32_t *text;       /* [n_ctx + 1] */
    uint32_t n, n_prompt;
    bool fresh;          /* row fresh_row of the last forward belongs to text[n - 1] */
    uint32_t fresh_row;
    uint32_t head_row[LV_HEAD_ROWS], n_head_row; /* rows that the last head was for */
    bool ended;
    float *logits;       /* [n_vocab] */
    void *scratch;
    struct lv_draft draft; /* without a draft model only its tree is used */
    struct lv_calib *calib; /* the engine's, for this kind of sampling */
    struct lv_lookup lookup; /* of text[0 .. lookup.n) */
    void *lookup_memory;   /* NULL: no lookup */
    struct lv_cost cost;
    uint32_t n_plain;    /* rounds without speculation still to come: it was losing */
    double plain_token_seconds, spec_token_seconds; /* moving averages; 0 = not known */
    uint32_t n_spec_rounds; /* since the last decision */
    uint32_t n_losing;   /* rounds in a row after which the draft's memory would have served better: engine/release.h */
    char note[120];      /* why it rested last; empty: it did not */
    struct lv_tree tree;
    int32_t map[LV_TREE_MAX]; /* tree node -> node of the draft's tree */
    int32_t slot[LV_TREE_MAX]; /* of the KV cache, for each row */
    uint32_t path_at[LV_TREE_MAX + 1];
    int32_t path[LV_TREE_MAX * (LV_TREE_MAX + 1) / 2]; /* of all nodes; a chain has most */
    struct lv_peek peek;
    struct lv_pruner prune;
    void (*watch)(void *ctx, uint32_t i_op); /* tools: called in rounds as the executor's `between` */
    void *watch_ctx;
    atomic_bool cancel;
    struct lv_run run;
    uint32_t n_drawn, n_outside; /* tokens of rounds; of these with no place in the draft's head */
    uint64_t round_ns, synced_ns; /* when the round began; when the draft had caught up with a prompt */
    double stream_rate;    /* bytes a second that the device gives, of late */
    double p_child;        /* how often a draft's first choice is the target's; moving average */
    uint64_t n_decided;    /* the mapper's decisions that cost and draft.cost are of */
    double expected, predicted; /* of the chosen tree: tokens, seconds of the round */
    struct lever_round_node known[LV_TREE_MAX]; /* candidates when the tree was chosen; its rows come first */
    struct lever_round last; /* n_node 0: the last step was no round that chose */
    struct {
        uint64_t pass_ns, head_ns, end_ns; /* when these began; end_ns 0: the last step was no round */
        double wait, background;           /* of the pass, mean over workers */
        struct lever_span read[LV_SPANS], draft[LV_SPANS];
    } line;                  /* of the last round; read and draft are filled when asked for */
    struct lever_stats stats;
};

/* round.c, verify.c */

#define LV_BACKGROUND_BATCHES 200 /* most a pass can hide; the tree is full long before */

/* "off", "chain", "tree" or "lookup" (a tree without a draft model). */
const char *lv_round_mode(const struct lever_engine *e);
/* What a new sequence knows about times; the engine's first one measures. */
enum lever_status lv_round_init(struct lever_seq *q, struct lever_error *err);
/* The engine takes over what the sequence has learned. */
void lv_round_keep(struct lever_seq *q);
/* Runs the tree's rows through the target: node i in slot i. A streamed head passes by once, now: it is applied to rows
 * first_head on, the last ones. */
enum lever_status lv_round_verify(struct lever_seq *q, uint32_t first_head, struct lever_error *err);
/* The device's rate from what was read between two moments. */
void lv_round_learn_rate(struct lever_seq *q, const struct lv_reader_stats *a, const struct lv_reader_stats *b);
/* Walks from the root: draw the target's own token, descend while it is in the tree. Writes what was drawn behind the
 * text, and the rows that were visited. */
enum lever_status lv_round_accept(struct lever_seq *q, uint32_t cap, uint32_t *n_drawn, int32_t *visited,
                                  struct lever_error *err);
/* Logits of one row of the last forward, if they are not there yet. */
enum lever_status lv_round_head(struct lever_seq *q, uint32_t row, struct lever_error *err);
/* Draws the token behind text[0 .. n) from a row whose logits are there. */
int32_t lv_round_draw(struct lever_seq *q, uint32_t row, uint32_t n);
/* One round: drafts, verifies, accepts, commits. *n_drawn >= 1 tokens, at most cap_out, are behind text[n]. When negative,
 * nothing has changed. */
enum lever_status lv_round(struct lever_seq *q, uint32_t cap_out, uint32_t *n_drawn, struct lever_error *err);

#endif
