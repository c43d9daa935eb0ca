/* Sequences: the calls of lever.h that generate text, and their figures. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/candidates.h"
#include "engine/device.h"
#include "engine/release.h"
#include "engine/seq.h"

void lever_sampling_default(struct lever_sampling *s, size_t size)
{
    const struct lever_sampling d = { .size = sizeof d,
                                      .top_p = 1.0f,
                                      .repeat_penalty = 1.0f,
                                      .penalty_last_n = 64 };

    memset(s, 0, size);
    memcpy(s, &d, size < sizeof d ? size : sizeof d);
    s->size = size;
}

/* Ids of all end tokens, for ignore_eos. Returns their count; at most cap are written. */
static uint32_t end_tokens(const struct lever_engine *e, int32_t *out, uint32_t cap)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < lv_tok_n_vocab(e->tok); i++)
        if (lv_tok_is_end(e->tok, (int32_t)i) && n++ < cap)
            out[n - 1] = (int32_t)i;
    return n < cap ? n : cap;
}

enum lever_status lever_seq_new(lever_engine *e, const struct lever_sampling *s, lever_seq **out,
                                struct lever_error *err)
{
    struct lever_sampling sampling;
    int32_t end[64];
    const uint32_t n_vocab = e->target.program ? e->target.program->shape.n_vocab : 0;

    if (e->opt.vocab_only)
        return LV_FAIL(err, LEVER_E_ARG, "the engine was opened with vocab_only: it has no weights");
    if (e->seq)
        return LV_FAIL(err, LEVER_E_ARG, "the engine already has a sequence; free it first");
    lever_sampling_default(&sampling, sizeof sampling);
    if (s) {
        memcpy(&sampling, s, s->size < sizeof sampling ? s->size : sizeof sampling);
        sampling.size = sizeof sampling;
    }
    lever_seq *q = LV_NEW(struct lever_seq);

    if (!q)
        return LV_FAIL(err, LEVER_E_NOMEM, "sequence: %zu bytes", sizeof *q);
    q->e = e;
    enum lever_status st =
        lv_sampler_init(&q->sampler, &sampling, n_vocab, end, end_tokens(e, end, 64), err);

    if (st < 0)
        goto fail;
    q->text = LV_NEW_ARRAY(int32_t, e->opt.n_ctx + LV_TREE_MAX);
    q->logits = lv_alloc(n_vocab, sizeof *q->logits);
    q->scratch = lv_alloc(1, lv_sampler_scratch_bytes(&q->sampler));
    if (!q->text || !q->logits || !q->scratch) {
        st = LV_FAIL(err, LEVER_E_NOMEM, "sequence of %u tokens", e->opt.n_ctx);
        goto fail;
    }
    if ((st = lv_candidates_init(q, err)) < 0)
        goto fail;
    lv_kv_clear(&e->target.kv);
    e->target.exec.cancel = &q->cancel;
    if (e->uses_draft) {
        lv_kv_clear(&e->draft.kv);
        e->draft.exec.cancel = &q->cancel;
        e->draft.exec.event = e->target.exec.event; /* workers wait for both together */
        if ((st = lv_draft_init(&q->draft, &e->draft, &q->sampler, e->tok, q->calib, err)) < 0)
            goto fail;
        q->draft.on_lost = lv_device_lost;
        q->draft.on_lost_ctx = e;
    }
    if ((st = lv_round_init(q, err)) < 0 || (st = lv_prune_init(q, err)) < 0)
        goto fail;
    e->seq = q;
    *out = q;
    return LEVER_OK;
fail:
    lever_seq_free(q);
    return st;
}

void lever_seq_free(lever_seq *q)
{
    if (!q)
        return;
    if (q->e->seq == q) {
        lv_round_keep(q);
        if (q->e->target.stream)
            lv_stream_stop(q->e->target.stream);
        q->e->target.exec.cancel = NULL;
        q->e->draft.exec.cancel = NULL;
        q->e->seq = NULL;
    }
    lv_draft_deinit(&q->draft);
    lv_candidates_deinit(q);
    lv_prune_deinit(q);
    lv_sampler_deinit(&q->sampler);
    lv_free(q->text);
    lv_free(q->logits);
    lv_free(q->scratch);
    lv_free(q);
}

void lever_cancel(lever_seq *q)
{
    atomic_store(&q->cancel, true);
}

void lever_cancel_clear(lever_seq *q)
{
    atomic_store(&q->cancel, false);
}

/* Prompt tokens as chains of up to a bucket; all are committed. */
static enum lever_status prefill(lever_seq *q, uint32_t first, uint32_t end, struct lever_error *err)
{
    struct lv_instance *m = &q->e->target;
    int32_t slot[LV_TREE_MAX];
    uint32_t bucket = m->exec.max_rows;
    const double fixed = q->cost.t_fixed; /* what passes of so many rows leave unexplained is no round's */

    while (first < end) {
        const uint32_t n = end - first < bucket ? end - first : bucket;

        lv_tree_init(&q->tree, q->text[first]);
        for (uint32_t i = 1; i < n; i++)
            lv_tree_add(&q->tree, (int32_t)i - 1, q->text[first + i]);
        LV_TRY(lv_round_verify(q, n - 1, err));
        q->cost.t_fixed = fixed;
        for (uint32_t i = 0; i < n; i++)
            slot[i] = (int32_t)i;
        lv_kv_commit(&m->kv, slot, n);
        first += n;
        q->fresh_row = n - 1;
        if (q->e->opt.progress)
            q->e->opt.progress(q->e->opt.user, "prefill", first, end);
    }
    return LEVER_OK;
}

/* text[0 .. end) through the target and, beside its stream or behind it, through the draft. */
static enum lever_status prompt_both(lever_seq *q, uint32_t end, struct lever_error *err)
{
    struct lever_engine *e = q->e;
    struct lv_exec *x = &e->target.exec;
    enum lever_status st;

    if (!e->uses_draft)
        return prefill(q, e->target.kv.n, end, err);
    LV_TRY(lv_draft_prompt(&q->draft, q->text, end, err));
    if (e->target.stream && !e->opt.no_overlap) {
        x->idle = lv_draft_work;
        x->idle_ctx = &q->draft;
    }
    st = prefill(q, e->target.kv.n, end, err);
    x->idle = NULL;
    if (st >= 0)
        st = lv_draft_finish_prompt(&q->draft, err);
    if (st < 0)
        lv_draft_keep(&q->draft, q->n, NULL);
    return st;
}

/* n tokens more of a prompt are text. */
static void append_prompt(lever_seq *q, uint32_t n)
{
    q->n += n;
    q->n_prompt += n;
    if (n)
        q->ended = false;
}

enum lever_status lever_prompt(lever_seq *q, const int32_t *ids, size_t n, struct lever_error *err)
{
    struct lever_engine *e = q->e;
    const uint64_t t0 = lv_now_ns();

    if (!n || !ids)
        return LV_FAIL(err, LEVER_E_ARG, "the prompt is empty");
    if (n >= e->opt.n_ctx - q->n)
        return LV_FAIL(err, LEVER_E_ARG, "the prompt has %zu tokens, but the context has room for %u; use a larger -c", n,
                       e->opt.n_ctx - q->n - (q->n < e->opt.n_ctx));
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= e->target.program->shape.n_vocab)
            return LV_FAIL(err, LEVER_E_ARG, "token %zu of the prompt is %d; the model has %u tokens", i, (int)ids[i],
                           e->target.program->shape.n_vocab);
    q->last.n_node = 0;
    memcpy(q->text + q->n, ids, n * sizeof *ids);
    if (e->target.stream)
        lv_stream_start(e->target.stream);
    const enum lever_status st = prompt_both(q, q->n + (uint32_t)n, err);

    q->stats.seconds_prefill += lv_seconds(lv_now_ns() - t0);
    if (st < 0) { /* keep the part that was computed as text, its last token as the root */
        append_prompt(q, e->target.kv.n > q->n ? e->target.kv.n - q->n : 0);
        if (q->n && e->target.kv.n == q->n)
            lv_kv_rewind(&e->target.kv, q->n - 1);
        q->fresh = false;
        return st;
    }
    append_prompt(q, (uint32_t)n);
    q->fresh = true;
    return LEVER_OK;
}

static uint64_t reader_busy_ns(const struct lever_engine *e)
{
    struct lv_reader_stats rs = { 0 };

    if (e->target.stream)
        lv_reader_get_stats(e->target.reader, &rs);
    return rs.busy_ns;
}

enum lever_status lever_step(lever_seq *q, int32_t *out, size_t cap_out, size_t *n_out, struct lever_error *err)
{
    uint32_t n_drawn = 0;
    enum lever_status st;

    if (!q || !out || !n_out || !cap_out)
        return LV_FAIL(err, LEVER_E_ARG, "lever_step: seq, out, n_out and room for a token are required");
    *n_out = 0;
    if (!q->n)
        return LV_FAIL(err, LEVER_E_ARG, "lever_step: no prompt was given");
    if (q->ended || q->n >= q->e->opt.n_ctx)
        return LV_FAIL(err, LEVER_E_ARG, "the text has ended; give another prompt");
    struct lever_engine *e = q->e;
    const uint64_t t0 = lv_now_ns();

    if (lv_release_due(q))
        LV_TRY(lv_release_draft(q, err));
    const uint64_t busy0 = reader_busy_ns(e), embed0 = e->target.embed.wait_ns + e->draft.embed.wait_ns;
    const uint64_t wait0 = atomic_load(&e->target.exec.stream_wait_ns);
    const uint64_t bytes0 = e->target.stream ? lv_stream_bytes_read(e->target.stream) : 0;

    if (e->target.stream)
        lv_stream_start(e->target.stream);
    q->last.n_node = 0;
    q->line.end_ns = 0;
    if (q->fresh) {
        st = lv_round_head(q, q->fresh_row, err);
        if (st >= 0) {
            q->text[q->n] = lv_round_draw(q, q->fresh_row, q->n);
            n_drawn = 1;
        }
    } else {
        st = lv_round(q, cap_out < UINT32_MAX ? (uint32_t)cap_out : UINT32_MAX, &n_drawn, err);
    }
    const uint64_t ns = lv_now_ns() - t0, busy = reader_busy_ns(e) - busy0;

    q->stats.seconds_decode += lv_seconds(ns);
    q->stats.seconds_embed_wait += lv_seconds(e->target.embed.wait_ns + e->draft.embed.wait_ns - embed0);
    if (e->target.stream) {
        q->stats.seconds_stream_idle += busy < ns ? lv_seconds(ns - busy) : 0.0;
        q->stats.seconds_stream_wait +=
            lv_seconds(atomic_load(&e->target.exec.stream_wait_ns) - wait0) / (double)e->target.exec.n_worker;
        q->stats.streamed_bytes += lv_stream_bytes_read(e->target.stream) - bytes0;
    }
    if (st < 0)
        return st;
    memcpy(out, q->text + q->n, n_drawn * sizeof *out);
    *n_out = n_drawn;
    q->n += n_drawn;
    q->stats.n_token += n_drawn;
    q->fresh = false;
    q->ended = lv_tok_is_end(e->tok, q->text[q->n - 1]) || q->n == e->opt.n_ctx;
    if (q->ended && e->target.stream)
        lv_stream_stop(e->target.stream);
    return q->ended ? LEVER_DONE : LEVER_OK;
}

enum lever_status lever_rewind(lever_seq *q, size_t n, struct lever_error *err)
{
    struct lv_kv *kv = &q->e->target.kv;

    if (n >= q->n)
        return LV_FAIL(err, LEVER_E_ARG, "lever_rewind: %zu tokens of %u", n, q->n);
    if (!n)
        return LEVER_OK;
    const uint32_t left = q->n - (uint32_t)n;

    if (kv->n > left - 1 && !lv_kv_rewind(kv, left - 1))
        return LV_FAIL(err, LEVER_E_ARG, "lever_rewind: %zu tokens; a sliding-window layer keeps only the last %d", n,
                       LV_KV_SLACK);
    q->n = left;
    if (q->e->uses_draft) /* a batch that fails is of a tree that goes */
        lv_draft_keep(&q->draft, left - 1, NULL);
    lv_candidates_rewind(q);
    q->fresh = false;
    q->ended = false;
    return LEVER_OK;
}

enum lever_status lever_last_spans(lever_seq *q, struct lever_spans *out)
{
    if (!q || !out || out->size < sizeof out->size)
        return LEVER_E_ARG;
    const uint64_t begin = q->round_ns, end = q->line.end_ns;
    const size_t size = out->size < sizeof *out ? out->size : sizeof *out;
    struct lever_spans s = { .size = out->size };

    if (end) {
        s.pass = lv_seconds(q->line.pass_ns - begin);
        s.head = lv_seconds(q->line.head_ns - begin);
        s.end = lv_seconds(end - begin);
        s.wait = q->line.wait;
        s.background = q->line.background;
        s.read = q->line.read;
        s.draft = q->line.draft;
        if (q->e->target.stream)
            s.n_read = lv_stream_reads(q->e->target.stream, begin, end, q->line.read, LV_SPANS);
        s.n_draft = lv_draft_spans(&q->draft, begin, end, q->line.draft, LV_SPANS);
    }
    memcpy(out, &s, size);
    return LEVER_OK;
}

enum lever_status lever_last_round(const lever_seq *q, struct lever_round *out)
{
    if (!q || !out || out->size < sizeof out->size)
        return LEVER_E_ARG;
    struct lever_round r = q->last;
    const size_t size = out->size < sizeof r ? out->size : sizeof r;

    r.size = out->size;
    r.node = q->known;
    memcpy(out, &r, size);
    return LEVER_OK;
}

enum lever_status lever_stats(const lever_engine *e, const lever_seq *q, struct lever_stats *out)
{
    if (!e || !out || out->size < sizeof out->size)
        return LEVER_E_ARG;
    struct lever_stats s = q ? q->stats : (struct lever_stats){ 0 };
    const size_t size = out->size < sizeof s ? out->size : sizeof s;

    s.memory_budget = e->opt.memory_bytes;
    s.memory_planned = e->plan.total;
    s.peak_rss = lv_peak_rss();
    s.seconds_load = e->seconds_load;
    s.kernels = e->kern.level;
    s.reader = e->target.reader ? lv_reader_mode(e->target.reader) : "";
    s.reader_method = e->target.reader ? lv_reader_method(e->target.reader) : "";
    s.pinned_bytes = e->target.place.pinned_bytes;
    s.streamed_bytes_per_pass = e->target.place.streamed_bytes;
    s.speculation = lv_round_mode(e);
    s.speculation_note = q && q->note[0] && !e->draft_released ? q->note : lv_engine_no_draft(e);
    if (q) {
        s.n_prompt = q->n_prompt;
        s.seconds_draft = lv_seconds(q->draft.exposed_ns);
    }
    s.size = out->size;
    memcpy(out, &s, size);
    return LEVER_OK;
}
