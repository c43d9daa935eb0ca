#include "engine/release.h"

#include <stdio.h>

#include "engine/device.h"

#define LOSING_ROUNDS 8  /* in a row */
#define MARGIN 1.1       /* of the predicted time: what reading the weights anew costs, and what the prediction leaves out */
#define SLACK_BYTES (UINT64_C(1) << 20)

/* What the draft's memory can hold of the target; while it is read, buffers take some. */
static uint64_t freed_bytes(const struct lever_engine *e)
{
    const uint64_t has = e->draft.weights_bytes + e->draft.arena.cap_bytes;
    const uint64_t keep = lv_load_buffer_bytes(e->target.program, lv_pool_n(e->pool)) + SLACK_BYTES;

    return has > keep ? has - keep : 0;
}

/* A plain round with the draft's memory full of weights. */
static double plain_seconds(const lever_seq *q)
{
    const uint64_t streamed = q->e->target.place.streamed_bytes, freed = freed_bytes(q->e);
    const double stream = streamed > freed ? (double)(streamed - freed) / q->stream_rate : 0.0;
    const double compute = lv_cost_compute(&q->cost, 1);

    return (stream > compute ? stream : compute) + q->cost.t_head;
}

void lv_release_judge(lever_seq *q)
{
    const struct lever_engine *e = q->e;

    if (e->opt.speculation != LEVER_SPEC_AUTO || !e->uses_draft || !e->target.stream || !(q->stream_rate > 0.0))
        return;
    q->n_losing = q->spec_token_seconds > MARGIN * plain_seconds(q) ? q->n_losing + 1 : 0;
}

bool lv_release_due(const lever_seq *q)
{
    return q->n_losing >= LOSING_ROUNDS;
}

/* What the target's passes are predicted by, now that others of its weights are streamed. */
static void begin_anew(lever_seq *q)
{
    struct lever_engine *e = q->e;
    struct lv_learned_pass *kept = lv_engine_learned_target(e);

    if (!kept->stairs.n)
        *kept = (struct lv_learned_pass){ q->cost.target, q->cost.fit };
    q->cost.target = kept->stairs;
    q->cost.fit = kept->fit;
    q->cost.t_fixed = 0.0;
    q->cost.t_stream = e->target.stream ? (double)e->target.place.streamed_bytes / q->stream_rate : 0.0;
    q->run = (struct lv_run){ 0 };
    q->plain_token_seconds = q->spec_token_seconds = 0.0;
    q->n_spec_rounds = q->n_plain = q->n_losing = 0;
}

enum lever_status lv_release_draft(lever_seq *q, struct lever_error *err)
{
    struct lever_engine *e = q->e;
    const uint64_t freed = freed_bytes(e), before = e->target.place.pinned_bytes;
    struct lever_error why = { 0 };
    char line[200];

    LV_TRY(lv_draft_keep(&q->draft, 0, err)); /* ends a batch that is under way */
    lv_stream_stop(e->target.stream);
    if (!lv_stream_drain(e->target.stream, &q->cancel))
        return LV_FAIL(err, LEVER_E_CANCEL, "cancelled");
    lv_draft_deinit(&q->draft);
    lv_grow_clear(&q->draft.grow);
    lv_device_close(e);
    lv_instance_unload(&e->draft);
    e->uses_draft = false;
    e->draft_released = true;
    if (lv_instance_pin_more(&e->target, freed, &why) < 0)
        snprintf(line, sizeof line, "the draft loses and is released; its memory stays empty: %.120s", why.message);
    else
        snprintf(line, sizeof line, "the draft loses and is released: its memory holds %llu MiB more of the target",
                 (unsigned long long)((e->target.place.pinned_bytes - before) >> 20));
    if (e->opt.log)
        e->opt.log(e->opt.user, LEVER_LOG_WARN, line);
    begin_anew(q);
    return LEVER_OK;
}
