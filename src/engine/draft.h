/* Draft: a small resident model that grows the token tree.
 *
 * Its work is a state machine of batches: rows of the tree through the draft's body, their logits, the best
 * candidates of each. Any worker may carry it a chunk further at any time: the target's workers do so while they wait
 * for the stream, or all workers together when drafting is what the round waits for.
 *
 * With a device (m->device) body and head of a batch run there: whoever looks finds the batch still under way or over, and the
 * ranking is done here. A device that fails costs the tree and what its cache held; the CPU goes on from the text.
 *
 * Its KV cache holds the text as committed positions and the tree in slots; see draft/grow.h for the spine between.
 *
 * borrows  instance, sampler, tokenizer, calibration and text; owns the tree and scratch
 * threads  lv_draft_work from any worker; the rest from the sequence's thread while no worker runs */
#ifndef LV_ENGINE_DRAFT_H
#define LV_ENGINE_DRAFT_H

#include <pthread.h>

#include "cost/cost.h"
#include "draft/calibrate.h"
#include "draft/grow.h"
#include "engine/instance.h"
#include "engine/spans.h"
#include "engine/sampler.h"
#include "tok/tok.h"

#define LV_DRAFT_OPEN LV_HEAD_ROWS /* candidates a batch expands: about the price of one */
#define LV_DRAFT_ROWS 64           /* rows of a batch, catching up included */
#define LV_DRAFT_CHILDREN 8
#define LV_DRAFT_DEPTH 96          /* deepest path the draft computes, spine included */

struct lv_draft {
    struct lv_instance *m;
    struct lv_sampler sampler; /* the target's over the tokens both have; its bias list is borrowed */
    const struct lv_tok *tok;
    const struct lv_calib *calib; /* changed only while no worker runs */
    struct lv_grow grow;
    pthread_mutex_t lock;      /* of the steps between runs */
    _Atomic int phase;
    _Atomic uint32_t quota;    /* batches that may still begin */
    _Atomic bool starved;      /* there was nothing left to expand */
    uint32_t n_open, n_child;  /* shape of the tree: 1, 1 is a chain */
    float p_min;

    const int32_t *text;       /* [>= kv.n] the committed part is read for penalties */
    uint32_t n_prompt;         /* text[0 .. n_prompt) shall be in the cache before anything is drafted */
    _Atomic bool catching_up;  /* it is not yet */
    int32_t *history;          /* [n_worker][n_history] */
    void *scratch;             /* [n_worker] of scratch_bytes */
    uint64_t scratch_bytes;
    uint32_t n_history;

    uint32_t n_batch, n_spine; /* rows of the batch; the first n_spine only catch up */
    int32_t batch[LV_DRAFT_ROWS], token[LV_DRAFT_ROWS], chain[LV_DRAFT_ROWS]; /* chain: slots of a prompt's rows */
    uint32_t path_at[LV_DRAFT_ROWS + 1];
    int32_t path[LV_DRAFT_ROWS * LV_DRAFT_DEPTH];
    struct lv_pass pass;
    int32_t child[LV_DRAFT_OPEN][LV_DRAFT_CHILDREN];
    float child_p[LV_DRAFT_OPEN][LV_DRAFT_CHILDREN];
    uint32_t n_found[LV_DRAFT_OPEN];

    _Atomic bool on_device;    /* the phase under way runs on m->device, as bodies and heads do where there is one */
    bool given;                /* the batch's logits came from there */
    _Atomic bool lost;         /* the device has failed: no batch begins until the sequence's thread has turned to the CPU */
    void (*on_lost)(void *ctx, const char *why); /* it has; may be NULL */
    void *on_lost_ctx;

    enum lever_status st;      /* of a batch that failed */
    struct lever_error err;
    uint64_t n_batches, began_ns, head_ns; /* began_ns: of the batch; head_ns: of its head */
    struct lv_spans spans;     /* of batches, those of prompts left out */
    struct lv_cost cost;       /* of a batch that runs alone, by rows */
    bool alone;                /* the batch began in lv_draft_run, and no background work before */
    uint64_t exposed_ns;       /* time in lv_draft_run and lv_draft_sync; prompts not counted */
};

/* Memory beside the instance: scratch for ranking. */
uint64_t lv_draft_bytes(const struct lv_sampler *s, uint32_t n_worker, uint32_t n_ctx);

/* m: loaded, with LV_GROW_MAX slots. Several executors' workers wait on m->exec.event together. */
enum lever_status lv_draft_init(struct lv_draft *d, struct lv_instance *m, const struct lv_sampler *s,
                                const struct lv_tok *tok, const struct lv_calib *calib, struct lever_error *err);
void lv_draft_deinit(struct lv_draft *d);

/* Only the first n tokens of the text are certain to stay: what the cache holds beyond goes, and so does the tree. */
enum lever_status lv_draft_keep(struct lv_draft *d, uint32_t n, struct lever_error *err);

/* text[0 .. n) is a prompt that is going through the target: background work takes it through the draft too; what is
 * left is done by lv_draft_finish_prompt, all workers together. Drops the tree. The text stays where it is. */
enum lever_status lv_draft_prompt(struct lv_draft *d, const int32_t *text, uint32_t n, struct lever_error *err);
enum lever_status lv_draft_finish_prompt(struct lv_draft *d, struct lever_error *err);

/* Makes text[n - 1] the root: by moving it there if the tree has grown from this text, else by computing what the cache
 * lacks and beginning a new tree. */
enum lever_status lv_draft_sync(struct lv_draft *d, const int32_t *text, uint32_t n, struct lever_error *err);

/* Allows n further batches. Background work begins them; lv_draft_run does them now, all workers together. */
void lv_draft_allow(struct lv_draft *d, uint32_t n);
enum lever_status lv_draft_run(struct lv_draft *d, uint32_t n, struct lever_error *err);
/* A chunk of drafting. False when there is none at the moment. */
bool lv_draft_work(void *draft, unsigned worker);
/* Batches between two moments, as lv_spans_copy; also one that is under way. None without a model. */
size_t lv_draft_spans(struct lv_draft *d, uint64_t from_ns, uint64_t to_ns, struct lever_span *out, size_t cap);
/* Nothing is left to expand above p_min. */
bool lv_draft_starved(const struct lv_draft *d);

#endif
