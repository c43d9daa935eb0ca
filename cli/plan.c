/* lever plan: memory by item and the speed to expect, before anything is loaded. Speed comes from simulated rounds. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const char *const mode_names[] = { "off", "chain", "tree", "lever" };
#define N_MODE 4

/* One mode: it plans the memory for itself, as it would run. */
struct mode {
    bool asked;
    struct lever_plan_report plan;
    struct lever_simulation sim;
};

struct planning {
    const struct lv_args *a;
    struct lever_options opt;
    struct lv_shape_file target, draft; /* described models */
    struct lever_profile device;
    struct lever_acceptance acceptance;
    struct lever_simulation_options how;
    struct mode mode[N_MODE];
};

/* Where the device's figures came from. */
enum source { SOURCE_FILE, SOURCE_CACHE, SOURCE_MEASURED, SOURCE_NONE };
static const char *const source_names[] = { "file", "cache", "measured", "none" };

/* The device: the machine's kept profile, or a quick measurement on the model's own disk. */
static enum lever_status find_profile(const struct lv_args *a, const struct lever_plan_report *r, struct lever_profile *d,
                                      enum source *source, struct lever_error *err)
{
    enum lever_status st;

    memset(d, 0, sizeof *d);
    d->size = sizeof *d;
    *source = SOURCE_CACHE;
    if (!a->no_cache && lv_profile_load(d, r->n_threads, r->kernels))
        return LEVER_OK;
    memset(d, 0, sizeof *d);
    d->size = sizeof *d;
    *source = SOURCE_MEASURED;
    if (!a->target)
        return lv_cli_fail(err, LEVER_E_ARG, "a model that is only described needs a device: --profile FILE or NAME, or run lever "
                           "probe once");
    st = lever_probe(a->target, LEVER_PROBE_COMPUTE | (r->streamed_bytes ? LEVER_PROBE_QUICK_FLASH : 0), a->n_threads,
                     a->cpu_level, d, NULL, NULL, err);
    if (st >= 0)
        return st;
    /* A plan is of use without a prediction. */
    lv_say("warning: no speed is predicted: %s", err->message);
    *source = SOURCE_NONE;
    return LEVER_OK;
}

/* ---- models and modes ---- */

static enum lever_status make_plan(struct planning *x, const struct lever_options *opt, struct lever_plan_report *r,
                                   struct lever_error *err)
{
    memset(r, 0, sizeof *r);
    r->size = sizeof *r;
    if (!x->a->model_shape)
        return lever_plan(opt, r, err);
    return lever_plan_shape(opt, &x->target.shape, x->a->draft_shape ? &x->draft.shape : NULL, r, err);
}

static enum lever_status read_modes(struct planning *x, struct lever_error *err)
{
    const char *list = x->a->modes ? x->a->modes : "off,lever";

    while (*list) {
        const size_t n = strcspn(list, ",");
        bool known = false;

        for (int m = 0; m < N_MODE; m++) {
            if (strlen(mode_names[m]) != n || strncmp(mode_names[m], list, n))
                continue;
            known = x->mode[m].asked = true;
        }
        if (!known)
            return lv_cli_fail(err, LEVER_E_ARG, "--modes: found \"%.*s\", expected some of off, chain, tree, lever", (int)n, list);
        list += n + (list[n] == ',');
    }
    return LEVER_OK;
}

/* "0.5,0.25,0.02", or "0.5,0.3" */
static enum lever_status read_prune(struct planning *x, struct lever_error *err)
{
    const char *s = x->a->prune_model;
    bool good = true;
    float v[3];
    int n = 0;

    for (; s && n < 3; n++) {
        char *end;

        v[n] = strtof(s, &end);
        good = good && end != s && v[n] >= 0 && v[n] < 1 && (*end == ',' || *end == '\0');
        s = *end == ',' ? end + 1 : NULL;
    }
    if (x->a->prune_model && (!good || n < 2 || s))
        return lv_cli_fail(err, LEVER_E_ARG,
                           "--prune-model: found \"%s\", expected numbers below 1: three as in 0.5,0.25,0.02 or two as in 0.5,0.3",
                           x->a->prune_model);
    if (n)
        x->how.prune_at = v[0];
    if (n == 2)
        x->how.prune_knows = v[1];
    if (n == 3) {
        x->how.prune_rows = v[1];
        x->how.prune_lost = v[2];
    }
    return LEVER_OK;
}

static enum lever_status planning_init(struct planning *x, const struct lv_args *a, struct lv_progress *progress,
                                       struct lever_error *err)
{
    memset(x, 0, sizeof *x);
    x->a = a;
    lv_session_options(a, a->n_ctx, progress, &x->opt);
    lever_simulation_options_default(&x->how, sizeof x->how);
    x->how.tree_rows = a->tree_rows;
    x->how.chain = a->spec_draft_n_max;
    x->how.serial_stream = a->stream_ahead == 1;
    x->how.tokens = a->n_sim;
    x->how.text = a->n_predict > 0 ? (uint32_t)a->n_predict : 0;
    if (read_modes(x, err) < 0 || read_prune(x, err) < 0 || lv_acceptance_read(a->acceptance, &x->acceptance, err) < 0)
        return err->status;
    if (a->model_shape && lv_shape_file_read(a->model_shape, &x->target, err) < 0)
        return err->status;
    if (a->draft_shape && lv_shape_file_read(a->draft_shape, &x->draft, err) < 0)
        return err->status;
    return LEVER_OK;
}

/* What a mode would run with: off leaves the memory of a draft to the target's weights. */
static enum lever_status simulate(struct planning *x, int m, struct lever_error *err)
{
    static const enum lever_speculation spec[N_MODE] = { LEVER_SPEC_OFF, LEVER_SPEC_CHAIN, LEVER_SPEC_TREE, LEVER_SPEC_AUTO };
    struct lever_options opt = x->opt;
    struct mode *mode = &x->mode[m];

    opt.speculation = m == LEVER_SIM_LEVER ? x->opt.speculation : spec[m];
    opt.log = NULL; /* said once */
    if (make_plan(x, &opt, &mode->plan, err) < 0)
        return err->status;
    x->how.mode = m == LEVER_SIM_CHAIN && !mode->plan.uses_draft ? LEVER_SIM_OFF : (enum lever_simulation_mode)m;
    mode->sim.size = sizeof mode->sim;
    return lever_simulate(&mode->plan, &x->device, &x->acceptance, &x->how, &mode->sim, err);
}

/* ---- output ---- */

static json_t *task_json(const struct lever_simulation_task *t)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "tok_per_s", lv_json_real(t->tok_per_s),
                     "tokens_per_round", lv_json_real(t->tokens_per_round),
                     "rows_per_round", lv_json_real(t->rows_per_round),
                     "round_seconds", lv_json_real(t->round_seconds),
                     "stream_seconds", lv_json_real(t->stream_seconds),
                     "target_seconds", lv_json_real(t->target_seconds),
                     "head_seconds", lv_json_real(t->head_seconds),
                     "exposed_draft_seconds", lv_json_real(t->exposed_seconds),
                     "hidden_draft_seconds", lv_json_real(t->beside_seconds),
                     "wait_seconds", lv_json_real(t->wait_seconds),
                     "device_idle_share", lv_json_real(t->device_idle),
                     "cpu_idle_share", lv_json_real(t->cpu_idle),
                     "bonus_in_tree", lv_json_real(t->bonus_in_tree));
}

static json_t *mode_json(const struct planning *x, const struct mode *m)
{
    json_t *o = task_json(&m->sim.all), *tasks = json_object();

    for (uint32_t i = 0; i < m->sim.n_task; i++)
        json_object_set_new(tasks, x->acceptance.task[i].name, task_json(&m->sim.task[i]));
    if (!o)
        return o;
    json_object_set_new(o, "bytes_per_round", lv_json_uint(m->plan.streamed_bytes));
    json_object_set_new(o, "pinned_bytes", lv_json_uint(m->plan.pinned_bytes));
    json_object_set_new(o, "planned", lv_json_uint(m->plan.total));
    json_object_set_new(o, "draft", json_boolean(m->plan.uses_draft));
    if (m->sim.chain)
        json_object_set_new(o, "k", lv_json_uint(m->sim.chain));
    json_object_set_new(o, "tasks", tasks);
    return o;
}

static json_t *plan_json(const struct planning *x, const struct lever_plan_report *r, const struct mode *best, enum source source)
{
    const struct lever_simulation_task *t = &best->sim.all, *off = &x->mode[LEVER_SIM_OFF].sim.all;
    const struct lever_profile *d = &x->device;
    const bool known = source != SOURCE_NONE;
    json_t *items = json_array(), *modes = json_object();

    for (uint32_t i = 0; i < r->n_item; i++)
        json_array_append_new(items, json_pack("{s:o, s:o}", "name", lv_json_str(r->item[i].name), "bytes",
                                               lv_json_uint(r->item[i].bytes)));
    for (int m = 0; m < N_MODE && known; m++)
        if (x->mode[m].asked)
            json_object_set_new(modes, mode_names[m], mode_json(x, &x->mode[m]));
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o}, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o},"
        " s:o, s:{s:s, s:o, s:o, s:o}, s:o, s:o, s:s}",
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
        "tok_per_s", known ? lv_json_real(t->tok_per_s) : json_null(),
        "tokens_per_round", lv_json_real(t->tokens_per_round),
        "round_seconds", lv_json_real(t->round_seconds),
        "plain_tok_per_s", known && x->mode[LEVER_SIM_OFF].asked ? lv_json_real(off->tok_per_s) : json_null(),
        "seconds", "stream", lv_json_real(t->stream_seconds), "target", lv_json_real(t->target_seconds), "draft",
            lv_json_real(t->exposed_seconds + t->beside_seconds),
        "modes", modes,
        "profile", "source", source_names[source], "flash_rate", lv_json_real(d->flash_rate), "dram", lv_json_real(d->dram),
            "peak_mac", lv_json_real(d->peak_mac),
        "kernels", lv_json_str(r->kernels),
        "threads", lv_json_uint(r->n_threads),
        "version", lever_version());
}

static void put_mode(const struct planning *x, int m)
{
    const struct lever_simulation *s = &x->mode[m].sim;
    const struct lever_simulation_task *t = &s->all;
    char name[24];

    if (s->chain)
        snprintf(name, sizeof name, "%s %" PRIu32, mode_names[m], s->chain);
    else
        snprintf(name, sizeof name, "%s", mode_names[m]);
    printf("%-9s %7.2f tok/s %6.2f tok/rnd %6.1f rows %8.3f s/rnd; exposed draft %4.1f %%, device idle %4.1f %%, cpu idle %4.1f %%\n",
           name, t->tok_per_s, t->tokens_per_round, t->rows_per_round, t->round_seconds,
           100 * t->exposed_seconds / t->round_seconds, 100 * t->device_idle, 100 * t->cpu_idle);
    for (uint32_t i = 0; x->a->verbose && i < s->n_task; i++)
        printf("  %-15s %7.2f tok/s %6.2f tok/rnd\n", x->acceptance.task[i].name, s->task[i].tok_per_s,
               s->task[i].tokens_per_round);
}

static void put_plan(const struct planning *x, const struct lever_plan_report *r, enum source source, bool draft_given)
{
    const struct lever_profile *d = &x->device;
    char size[24], other[24];

    for (uint32_t i = 0; i < r->n_item; i++)
        printf("%-32s %10s\n", r->item[i].name, lv_size_text(size, r->item[i].bytes));
    printf("%-32s %10s", "total", lv_size_text(size, r->total));
    if (r->budget)
        printf(" of %s; at least %" PRIu64 "M would do", lv_size_text(size, r->budget), r->least >> 20);
    printf("\ncontext %" PRIu32 ", %" PRIu32 " threads", r->n_ctx, r->n_threads);
    if (x->a->profile) /* those of this machine say nothing about another */
        printf("\n");
    else
        printf(", %s kernels\n", r->kernels);
    if (draft_given && !r->uses_draft)
        printf("decoding without the draft: it does not fit, or its memory serves better for weights\n");
    if (r->streamed_bytes)
        printf("each round streams %s, %s stay in memory; ring of %" PRIu32 " slots\n", lv_size_text(size, r->streamed_bytes),
               lv_size_text(other, r->pinned_bytes), r->n_slot);
    else
        printf("everything stays in memory\n");
    if (source == SOURCE_NONE)
        return;
    printf("expected, by simulated rounds:\n");
    for (int m = 0; m < N_MODE; m++)
        if (x->mode[m].asked)
            put_mode(x, m);
    printf("device (%s): ", source_names[source]);
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

/* The mode whose figures stand at the top: the fastest way to run of those asked for is the user's choice, the last one. */
static const struct mode *last_mode(const struct planning *x)
{
    for (int m = N_MODE; m-- > 0;)
        if (x->mode[m].asked)
            return &x->mode[m];
    return &x->mode[LEVER_SIM_OFF];
}

static int run_plan(struct planning *x, struct lv_progress *progress)
{
    const struct lv_args *a = x->a;
    struct lever_error err = { .status = LEVER_OK };
    struct lever_plan_report r;
    enum source source;

    if (planning_init(x, a, progress, &err) < 0)
        return lv_report(&err, a->json);
    if (a->profile && lv_profile_read(a->profile, &x->device, &err) < 0)
        return lv_report(&err, a->json);
    if (!x->opt.n_threads && x->device.n_threads && x->device.n_threads <= 512)
        x->opt.n_threads = x->device.n_threads; /* buffers of that device's workers */
    if (make_plan(x, &x->opt, &r, &err) < 0)
        return report_refusal(a, &err);
    if (a->profile)
        source = SOURCE_FILE;
    else if (find_profile(a, &r, &x->device, &source, &err) < 0)
        return lv_report(&err, a->json);
    for (int m = 0; m < N_MODE && source != SOURCE_NONE; m++)
        if (x->mode[m].asked && simulate(x, m, &err) < 0)
            return lv_report(&err, a->json);
    if (a->json)
        return lv_json_print(plan_json(x, &r, last_mode(x), source));
    put_plan(x, &r, source, a->draft != NULL || a->draft_shape != NULL);
    return lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
}

int lv_cli_plan(const struct lv_args *a)
{
    struct planning *x = calloc(1, sizeof *x);
    struct lv_progress progress;
    int code;

    if (!x) {
        lv_error("no memory for a plan");
        return LV_EXIT_OTHER;
    }
    lv_progress_init(&progress, a->json);
    x->a = a;
    code = run_plan(x, &progress);
    free(x);
    return code;
}
