/* Memory plan: who gets how much of one budget, decided before anything large is allocated. */
#ifndef LV_ENGINE_PLAN_H
#define LV_ENGINE_PLAN_H

#include "engine/instance.h"

/* Draft tokens of a chain a round when nothing else is asked for: when a pass waits for the disk, and when it does not. */
#define LV_CHAIN_STREAMED 12u
#define LV_CHAIN_RESIDENT 4u

struct lv_plan_input {
    const struct lv_instance *target, *draft; /* opened, not loaded; draft may be NULL */
    bool draft_on_host_device; /* the draft runs on a device whose memory is the host's */
    bool peek;             /* a draft is helped by looks at the target's late layers, where weights are streamed */
    bool draft_must_win;   /* leave the draft out where its memory serves better as pinned weights */
    uint64_t budget;       /* LEVER_MEMORY_UNLIMITED or bytes */
    uint64_t base_bytes;   /* code, tokenizer, metadata: what the process holds already; and tables of prompt lookup */
    uint32_t n_worker, n_ctx;
    uint64_t ring_bytes, slot_bytes; /* 0 = planned */
};

#define LV_PLAN_ITEMS 12

struct lv_plan {
    uint64_t budget, total;
    uint64_t least;                /* with LEVER_E_BUDGET: the smallest budget that works */
    bool use_draft, draft_loses; /* draft_loses: it would fit, but is left out */
    struct lv_instance_spec target, draft;
    uint64_t streamed_bytes;       /* of the target, a pass; about */
    struct {
        const char *name;
        uint64_t bytes;
    } item[LV_PLAN_ITEMS];
    uint32_t n_item;
};

/* LEVER_E_BUDGET (with err->least_memory) when even the target alone does not fit. */
enum lever_status lv_plan(struct lv_plan *out, const struct lv_plan_input *in, struct lever_error *err);

/* Memory that this machine and its cgroup can give this process now, in bytes. */
uint64_t lv_memory_available(void);
/* Resident set now. */
uint64_t lv_memory_resident(void);

#endif
