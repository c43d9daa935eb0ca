/* What lever_engine and lever_seq hold. Internal to the files that implement lever.h. */
#ifndef LV_ENGINE_ENGINE_H
#define LV_ENGINE_ENGINE_H

#include "engine/draft.h"
#include "engine/plan.h"
#include "engine/sampler.h"
#include "tok/chat.h"
#include "tok/tok.h"

struct lever_engine {
    struct lever_options opt;
    char *target_path, *draft_path; /* owned copies */
    bool has_draft;                 /* a draft was asked for and opened */
    struct lv_gguf *vocab_gguf;     /* vocab_only: the file without a program */
    struct lv_instance target, draft;
    struct lv_tok *tok;
    const struct lv_chat_format *chat;
    struct lv_kern kern;
    struct lv_pool *pool;
    struct lv_plan plan;
    bool uses_draft;                /* after the plan */
    double seconds_load;
    lever_seq *seq;                 /* the KV cache has room for one sequence */
};

static inline const struct lv_gguf *lv_engine_gguf(const struct lever_engine *e, int which)
{
    if (which == 0)
        return e->vocab_gguf ? e->vocab_gguf : e->target.gguf;
    return which == 1 && e->has_draft ? e->draft.gguf : NULL;
}

#endif
