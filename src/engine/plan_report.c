/* lever_plan: what lever_open would do with the memory. */
#include <string.h>

#include "base/mem.h"
#include "engine/candidates.h"
#include "engine/engine.h"

_Static_assert(LEVER_PLAN_ITEMS >= LV_PLAN_ITEMS, "a plan has more items than its report");

static uint64_t matrix_bytes(const struct lv_program *p)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < p->n_w; i++)
        n += p->w[i].n_groups * p->w[i].group_bytes;
    return n;
}

static uint64_t matrix_macs(const struct lv_program *p)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < p->n_w; i++)
        n += (uint64_t)p->w[i].n_rows * p->w[i].n_cols;
    return n;
}

/* Scores and sums: each query head with each position, twice. */
static uint64_t attention_macs(const struct lv_program *p)
{
    return 2 * (uint64_t)p->shape.n_layer * p->shape.n_head * p->shape.head_dim;
}

/* The least budget: what the plan says to one that is far too small. */
static uint64_t least_budget(const struct lever_engine *e)
{
    const struct lv_plan_input in = { .target = &e->target,
                                      .budget = 1,
                                      .base_bytes = lv_memory_resident() + lv_candidates_bytes(&e->opt) + e->vocab_bytes,
                                      .n_worker = lv_pool_n(e->pool),
                                      .n_ctx = e->opt.n_ctx,
                                      .ring_bytes = e->opt.ring_bytes,
                                      .slot_bytes = e->opt.slot_bytes };
    struct lever_error err = { .status = LEVER_OK };
    struct lv_plan plan;

    lv_plan(&plan, &in, &err);
    return err.least_memory;
}

static enum lever_status fill(struct lever_engine *e, struct lever_plan_report *r, struct lever_error *err)
{
    const struct lv_plan *plan = &e->plan;
    const struct lv_program *p = e->target.program;
    const struct lv_instance_spec *spec = &plan->target;
    const struct lv_weight *head = &p->w[p->w_head];

    r->budget = plan->budget;
    r->total = plan->total;
    r->least = plan->budget == LEVER_MEMORY_UNLIMITED ? 0 : least_budget(e);
    r->n_item = plan->n_item;
    for (uint32_t i = 0; i < plan->n_item; i++) {
        r->item[i].name = plan->item[i].name;
        r->item[i].bytes = plan->item[i].bytes;
    }
    r->n_ctx = e->opt.n_ctx;
    r->n_threads = lv_pool_n(e->pool);
    r->uses_draft = e->uses_draft;
    r->kernels = e->kern.level;
    r->head_bytes = head->n_groups * head->group_bytes;
    r->head_macs = (uint64_t)head->n_rows * head->n_cols;
    r->macs_per_row = matrix_macs(p) - r->head_macs;
    r->attn_macs = attention_macs(p);
    r->n_op = p->n_op;
    r->max_rows = spec->max_rows;
    r->peek = spec->peek;
    r->stream_head = spec->stream_head;
    r->packed = e->target.sidecar != NULL;
    /* The placement itself, so that the bytes are those that will be read. */
    LV_TRY(lv_place(&e->target.place, e->target.program, spec->pin_bytes, spec->stream_head, spec->slot_bytes, err));
    r->pinned_bytes = e->target.place.pinned_bytes;
    r->streamed_bytes = e->target.place.streamed_bytes;
    if (e->target.place.n_extent) {
        r->slot_bytes = spec->slot_bytes;
        r->n_extent = e->target.place.n_extent;
        r->n_slot = spec->n_ring_slot < e->target.place.n_extent ? spec->n_ring_slot : e->target.place.n_extent;
        r->ring_bytes = r->n_slot * lv_slot_bytes(e->target.place.max_extent);
    }
    if (e->uses_draft) {
        r->draft_bytes = matrix_bytes(e->draft.program);
        r->draft_head = lv_engine_draft_tokens(e);
        r->draft_macs = matrix_macs(e->draft.program);
        r->draft_attn_macs = attention_macs(e->draft.program);
        r->draft_ops = e->draft.program->n_op;
        r->n_draft = e->opt.spec_draft_n_max ? e->opt.spec_draft_n_max
                     : r->streamed_bytes     ? LV_CHAIN_STREAMED
                                             : LV_CHAIN_RESIDENT;
    }
    return LEVER_OK;
}

enum lever_status lv_plan_report_of(const struct lever_options *opt, uint64_t vocab_bytes, struct lever_plan_report *out,
                                    struct lever_error *err)
{
    struct lever_engine *e = LV_NEW(struct lever_engine);
    struct lever_plan_report r = { .size = out->size };
    enum lever_status st;

    if (!e)
        return LV_FAIL(err, LEVER_E_NOMEM, "engine: %zu bytes", sizeof *e);
    e->vocab_bytes = vocab_bytes;
    st = lv_engine_open_planned(e, opt, err);
    if (st >= 0)
        st = fill(e, &r, err);
    lever_close(e);
    if (st < 0)
        return st;
    memcpy(out, &r, out->size < sizeof r ? out->size : sizeof r);
    return LEVER_OK;
}

enum lever_status lever_plan(const struct lever_options *opt, struct lever_plan_report *out, struct lever_error *err)
{
    struct lever_options o;

    if (!out || out->size < sizeof out->size || !lv_engine_take_options(&o, opt))
        return LV_FAIL(err, LEVER_E_ARG, "lever_plan: opt (made by lever_options_default) and out, with its size set, are "
                       "required");
    o.vocab_only = false;
    return lv_plan_report_of(&o, 0, out, err);
}
