/* Simulator: the engine's rounds in virtual time. (arXiv 2605.16786, 4.1 to 4.3)
 *
 * The same draft tree, look-ahead and choice of size as the engine's (draft/grow.h, draft/ahead.h, cost/cost.h); seconds come
 * from staircases of a device, tokens from an acceptance table. A round: drafting that it waits for, a pass over the ring
 * (sim/timeline.h) with drafting beside it, the head along the path, the root moves on. Prompt lookup speaks at the root and
 * where the likely path ends, as in the engine, but with one continuation and not two. Left out: embedding rows, the rest that
 * speculation takes where it loses.
 *
 * Pure: no I/O, clock or threads; the same input gives the same numbers. */
#ifndef LV_SIM_SIM_H
#define LV_SIM_SIM_H

#include "cost/cost.h"
#include "sim/accept.h"

enum lv_sim_mode {
    LV_SIM_OFF,   /* one token a pass */
    LV_SIM_CHAIN, /* chain_k draft tokens, then a pass */
    LV_SIM_TREE,  /* the tree that pays, then a pass */
    LV_SIM_LEVER, /* the same, drafting on beside the pass */
};

/* What happened, in order, for tests. */
enum lv_sim_event {
    LV_SIM_BATCH,      /* a draft batch begins; x: its seconds */
    LV_SIM_DRAFT,      /* workers draft until the batch that was begun last has ended; x: time after it */
    LV_SIM_PASS,       /* a pass begins; x: compute of all its rows */
    LV_SIM_PASS_END,   /* x: time */
    LV_SIM_HEAD,       /* x: seconds of one head batch */
    LV_SIM_ROUND,      /* x: time */
};

struct lv_sim_config {
    enum lv_sim_mode mode;
    struct lv_stairs target; /* compute of a pass by rows, body only */
    struct lv_stairs draft;  /* a batch by rows, its head included, where a round waits for it; n 0: there is no draft */
    struct lv_stairs beside; /* the same beside a pass; n 0: as draft */
    struct lv_stairs head;   /* the target's head by rows, 1 to 8 */
    double t_fixed;          /* of a round */
    uint32_t n_extent, n_slot; /* 0: resident */
    double read_seconds, pinned_share;
    bool rests;              /* the device reads within passes only */
    uint32_t max_rows, max_depth, chain_k, n_child;
    bool lookup;             /* prompt lookup finds what the table says; trees only */
    bool apart;              /* the draft runs beside the pass on a processor of its own */
    double peek_at, peek_hit; /* share of the pass before a late layer is looked at; how often that names the next root; 0: no look */
    double prune_at;         /* share of the pass after which rows are dropped */
    double prune_rows, prune_lost; /* so many of them, and of accepted tokens, as somebody else has measured it; or .. */
    double prune_knows;      /* .. what the engine's rules drop (prune/rules.h) where a layer knows, in that share of places,
                                which token comes next */
    uint64_t n_tokens, seed;
    uint32_t text_tokens;    /* a text ends after so many: the round is cut, the tree begins anew; 0: it never does. Of more than
                                one the first comes with the prompt, as in lever run, and costs nothing */
    void (*observe)(void *ctx, enum lv_sim_event event, double x);
    void *ctx;
};

struct lv_sim_result {
    uint64_t n_round, n_token, n_row, n_batch, n_bonus_in_tree;
    double seconds;
    double exposed;      /* drafting that rounds waited for */
    double beside;       /* drafting beside passes */
    double compute, head; /* of the target */
    double waited;       /* passes without an extent, drafting beside them included */
    double device_busy;
};

/* LEVER_E_ARG: the configuration contradicts itself. table: valid (lv_accept_fault). */
enum lever_status lv_sim_run(struct lv_sim_result *out, const struct lv_sim_config *c, const struct lever_acceptance *table,
                             uint32_t i_task, struct lever_error *err);

#endif
