/* lever plan: memory by item and the speed to expect, before anything is loaded. */
#include <inttypes.h>
#include <string.h>

#include "cli.h"

/* Where the device's figures came from. */
enum source { SOURCE_FILE, SOURCE_CACHE, SOURCE_MEASURED, SOURCE_NONE };
static const char *const source_names[] = { "file", "cache", "measured", "none" };

/* The device: the file named, the machine's kept profile, or a quick measurement on the model's own disk. */
static enum lever_status find_profile(const struct lv_args *a, const struct lever_plan_report *r, struct lever_profile *d,
                                      enum source *source, struct lever_error *err)
{
    enum lever_status st;

    memset(d, 0, sizeof *d);
    d->size = sizeof *d;
    *source = SOURCE_FILE;
    if (a->profile)
        return lv_profile_read(a->profile, d, err);
    *source = SOURCE_CACHE;
    if (!a->no_cache && lv_profile_load(d, r->n_threads, r->kernels))
        return LEVER_OK;
    memset(d, 0, sizeof *d);
    d->size = sizeof *d;
    *source = SOURCE_MEASURED;
    st = lever_probe(a->target, LEVER_PROBE_COMPUTE | (r->streamed_bytes ? LEVER_PROBE_QUICK_FLASH : 0), a->n_threads,
                     a->cpu_level, d, NULL, NULL, err);
    if (st >= 0)
        return st;
    /* A plan is of use without a prediction. */
    lv_say("warning: no speed is predicted: %s", err->message);
    *source = SOURCE_NONE;
    return LEVER_OK;
}

static json_t *plan_json(const struct lever_plan_report *r, const struct lever_profile *d, enum source source,
                         const struct lever_prediction *p)
{
    json_t *items = json_array();

    for (uint32_t i = 0; i < r->n_item; i++)
        json_array_append_new(items, json_pack("{s:o, s:o}", "name", lv_json_str(r->item[i].name), "bytes",
                                               lv_json_uint(r->item[i].bytes)));
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o}, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o},"
        " s:{s:s, s:o, s:o, s:o}, s:o, s:o, s:s}",
        "budget", lv_json_uint(r->budget),
        "planned", lv_json_uint(r->total),
        "least_memory", lv_json_uint(r->least),
        "items", items,
        "bytes_per_round", lv_json_uint(r->streamed_bytes),
        "pinned_bytes", lv_json_uint(r->pinned_bytes),
        "ring", "bytes", lv_json_uint(r->ring_bytes), "slot_bytes", lv_json_uint(r->slot_bytes), "slots",
            lv_json_uint(r->n_slot),
        "context", lv_json_uint(r->n_ctx),
        "draft", (int)r->uses_draft,
        "spec_draft_n", lv_json_uint(r->n_draft),
        "draft_head", lv_json_uint(r->draft_head),
        "tok_per_s", source == SOURCE_NONE ? json_null() : lv_json_real(p->tok_per_s),
        "tokens_per_round", lv_json_real(p->tokens_per_round),
        "round_seconds", lv_json_real(p->round_seconds),
        "plain_tok_per_s", lv_json_real(p->plain_tok_per_s),
        "seconds", "stream", lv_json_real(p->stream_seconds), "target", lv_json_real(p->target_seconds), "draft",
            lv_json_real(p->draft_seconds),
        "profile", "source", source_names[source], "flash_rate", lv_json_real(d->flash_rate), "dram", lv_json_real(d->dram),
            "peak_mac", lv_json_real(d->peak_mac),
        "kernels", lv_json_str(r->kernels),
        "threads", lv_json_uint(r->n_threads),
        "version", lever_version());
}

static void put_plan(const struct lever_plan_report *r, const struct lever_profile *d, enum source source,
                     const struct lever_prediction *p, bool draft_given)
{
    char size[24], other[24];

    for (uint32_t i = 0; i < r->n_item; i++)
        printf("%-32s %10s\n", r->item[i].name, lv_size_text(size, r->item[i].bytes));
    printf("%-32s %10s", "total", lv_size_text(size, r->total));
    if (r->budget)
        printf(" of %s; at least %" PRIu64 "M would do", lv_size_text(size, r->budget), r->least >> 20);
    printf("\ncontext %" PRIu32 ", %" PRIu32 " threads, %s kernels\n", r->n_ctx, r->n_threads, r->kernels);
    if (draft_given && !r->uses_draft)
        printf("decoding without the draft: it does not fit, or its memory serves better for weights\n");
    if (r->streamed_bytes)
        printf("each round streams %s, %s stay in memory; ring of %" PRIu32 " slots\n", lv_size_text(size, r->streamed_bytes),
               lv_size_text(other, r->pinned_bytes), r->n_slot);
    else
        printf("everything stays in memory\n");
    if (source == SOURCE_NONE)
        return;
    printf("expected %.2f tok/s: %.1f tokens a round of %.3f s (stream %.3f, compute %.3f, draft %.3f)", p->tok_per_s,
           p->tokens_per_round, p->round_seconds, p->stream_seconds, p->target_seconds, p->draft_seconds);
    if (r->uses_draft)
        printf("; %.2f without the draft", p->plain_tok_per_s);
    printf("\ndevice (%s): ", source_names[source]);
    if (d->flash_rate > 0)
        printf("flash %.2f GB/s, ", d->flash_rate * 1e-9);
    printf("memory %.1f GB/s\n", d->dram * 1e-9);
}

/* A refusal: with --json the least budget stands beside the error. */
static int report_refusal(const struct lv_args *a, const struct lever_error *err)
{
    if (!a->json || err->status != LEVER_E_BUDGET)
        return lv_report(err, a->json);
    lv_report(err, false);
    lv_json_print(json_pack("{s:o, s:o}", "least_memory", lv_json_uint(err->least_memory), "error", lv_json_error(err)));
    return lv_exit_code(err->status);
}

int lv_cli_plan(const struct lv_args *a)
{
    struct lever_plan_report r = { .size = sizeof r };
    struct lever_prediction p = { .size = sizeof p };
    struct lever_error err = { .status = LEVER_OK };
    struct lever_profile d;
    struct lever_options opt;
    struct lv_progress progress;
    enum source source;

    lv_progress_init(&progress, a->json);
    lv_session_options(a, a->n_ctx, &progress, &opt);
    if (lever_plan(&opt, &r, &err) < 0)
        return report_refusal(a, &err);
    if (find_profile(a, &r, &d, &source, &err) < 0)
        return lv_report(&err, a->json);
    if (source != SOURCE_NONE && lever_predict(&r, &d, &p, &err) < 0)
        return lv_report(&err, a->json);
    if (a->json)
        return lv_json_print(plan_json(&r, &d, source, &p));
    put_plan(&r, &d, source, &p, a->draft != NULL);
    return lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
}
