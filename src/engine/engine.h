/* What lever_engine and lever_seq hold. Internal to the files that implement lever.h. */
#ifndef LV_ENGINE_ENGINE_H
#define LV_ENGINE_ENGINE_H

#include "engine/devices.h"
#include "engine/draft.h"
#include "engine/learned.h"
#include "engine/plan.h"
#include "engine/sampler.h"
#include "tok/chat.h"
#include "prune/judge.h"
#include "prune/lens.h"
#include "tok/tok.h"

struct lever_engine {
    struct lever_options opt;
    char *target_path, *draft_path, *sidecar, *learned_dir, *device, *lens_path; /* owned copies */
    bool has_draft;                 /* a draft was asked for and opened */
    struct lv_gguf *vocab_gguf;     /* vocab_only: the file without a program */
    struct lv_instance target, draft;
    struct lv_tok *tok;
    const struct lv_chat_format *chat;
    struct lv_kern kern;
    struct lv_devices devices;
    struct lv_pool *pool;
    struct lv_plan plan;
    bool uses_draft;                /* after the plan, until it is released */
    bool draft_released;            /* engine/release.h */
    struct lv_lens lens;            /* of the target, for pruning; n 0: none */
    struct lv_lens_layer plain;     /* what pruning does without */
    struct lv_judge judge;          /* whether it pays */
    uint64_t vocab_bytes;           /* > 0: models that are only described; this much their tokenizer would take */
    struct lv_learned learned;      /* sequences begin with it and add to it */
    uint64_t learned_key;
    bool learned_more;              /* since it was read */
    struct lv_accel *accel;         /* the draft's device, while it is open: engine/device.h */
    struct lv_accel_hooks *accel_hooks; /* borrowed; tests only */
    double seconds_load;
    lever_seq *seq;                 /* the KV cache has room for one sequence */
    struct lv_io_ops io_ops;        /* system calls of the readers: faults in tests, else NULL */
};

/* lever_open with other system calls below all weight reads (not the header's), and a device that fails on demand; for tests.
 * Both may be NULL. ops->ctx and accel outlive the engine. */
enum lever_status lv_engine_open_hooked(lever_engine **out, const struct lever_options *opt,
                                        const struct lv_io_ops *ops, struct lever_error *err);
enum lever_status lv_engine_open_hooks(lever_engine **out, const struct lever_options *opt, const struct lv_io_ops *ops,
                                       struct lv_accel_hooks *accel, struct lever_error *err);
/* The same with a second kernel table as a device; for tests. */
enum lever_status lv_engine_open_devices(lever_engine **out, const struct lever_options *opt,
                                         const struct lv_devices_hook *hook, struct lever_error *err);
/* The kernels of a level by name; NULL = the best. */
enum lever_status lv_engine_kernels(struct lv_kern *k, const char *level, struct lever_error *err);
/* A caller's options in full: what his, perhaps older, struct lacks is left at its default. False: opt is NULL or was not made by
 * lever_options_default. */
bool lv_engine_take_options(struct lever_options *out, const struct lever_options *opt);
/* Everything of lever_open but the load: files, tokenizer, kernels, workers, plan (with vocab_only: files and
 * tokenizer). *e is zeroed; lever_close is due in any case. */
enum lever_status lv_engine_open_planned(struct lever_engine *e, const struct lever_options *opt,
                                         struct lever_error *err);

/* Models are told apart by size, name and the list of their tensors. */
uint64_t lv_engine_hash_model(uint64_t h, const struct lv_gguf *g);
/* lever_plan of opt as it is; vocab_bytes: as in struct lever_engine. */
enum lever_status lv_plan_report_of(const struct lever_options *opt, uint64_t vocab_bytes, struct lever_plan_report *out,
                                    struct lever_error *err);

static inline const struct lv_gguf *lv_engine_gguf(const struct lever_engine *e, int which)
{
    if (which == 0)
        return e->vocab_gguf ? e->vocab_gguf : e->target.gguf;
    return which == 1 && e->has_draft ? e->draft.gguf : NULL;
}

/* Why a draft that was asked for is not used, or NULL. */
const char *lv_engine_no_draft(const struct lever_engine *e);

/* The draft's head is another one than its file has: cut, or at 4 bits. */
static inline bool lv_engine_draft_head_shrunk(const struct lever_engine *e)
{
    const struct lv_weight *head = &e->draft.program->w[e->draft.program->w_head];

    return head->n_rows < e->draft.program->shape.n_vocab || head->type != head->file_type;
}

/* What was learned of passes of the target, and of batches of the draft, as they are now. */
static inline struct lv_learned_pass *lv_engine_learned_target(struct lever_engine *e)
{
    return &e->learned.target[e->target.stream != NULL];
}

static inline struct lv_learned_pass *lv_engine_learned_draft(struct lever_engine *e)
{
    return &e->learned.draft[lv_engine_draft_head_shrunk(e)];
}

/* Tokens that the draft's head has logits for. */
static inline uint32_t lv_engine_draft_tokens(const struct lever_engine *e)
{
    return e->draft.program->w[e->draft.program->w_head].n_rows;
}

#endif
