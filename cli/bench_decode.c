/* lever bench decode: the same prompts in every mode, side by side, each compared with plain decoding. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench_decode.h"

#define CTX_STEP 256u

static const char *const mode_names[] = { "off", "chain", "tree", "lever", "prune-on", "prune-off" };
enum { MODE_OFF, MODE_CHAIN, MODE_TREE, MODE_LEVER, MODE_PRUNE_ON, MODE_PRUNE_OFF, N_MODE };

_Static_assert(N_MODE == LV_BENCH_MODES, "a flag for each mode");

/* ---- arguments ---- */

static const char *mode_name(size_t i)
{
    return mode_names[i];
}

static enum lever_status parse_modes(const char *text, bool wanted[N_MODE], struct lever_error *err)
{
    for (const char *s = text;; s++) {
        const size_t len = strcspn(s, ",");
        char name[32];
        int m = 0;

        while (m < N_MODE && (strlen(mode_names[m]) != len || strncmp(s, mode_names[m], len) != 0))
            m++;
        if (m == N_MODE) {
            snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), s);
            const char *near = lv_args_nearest(name, mode_name, N_MODE);

            return lv_cli_fail(err, LEVER_E_ARG, "--modes: found \"%s\", expected some of off,chain,tree,lever,prune-on,prune-off%s%s%s",
                               name, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
        }
        wanted[m] = true;
        s += len;
        if (!*s)
            return LEVER_OK;
    }
}

static enum lever_status check(struct lv_bench *b, struct lever_error *err)
{
    const struct lv_args *a = b->a;

    if (parse_modes(a->modes ? a->modes : "off,chain,tree,lever", b->wanted, err) < 0)
        return err->status;
    for (int m = MODE_CHAIN; m <= MODE_TREE; m++)
        if (b->wanted[m] && !a->draft)
            return lv_cli_fail(err, LEVER_E_ARG, "mode %s needs a draft model: -md FILE; without one, --modes off",
                               mode_names[m]);
    if (a->n_predict < 1)
        return lv_cli_fail(err, LEVER_E_ARG, "-n: found %" PRId32 ", expected at least 1", a->n_predict);
    b->n = (uint32_t)a->n_predict;
    b->n_off = a->n_off && a->n_off < b->n ? a->n_off : b->n;
    return LEVER_OK;
}

/* ---- workers ---- */

/* The same in every mode, or the budget would be planned for different caches. */
static uint32_t context(const struct lv_bench *b, uint64_t n_prompt)
{
    uint64_t n = (n_prompt + b->n + CTX_STEP - 1) / CTX_STEP * CTX_STEP;

    if (b->a->n_ctx)
        return b->a->n_ctx;
    if (b->n_ctx_train && n > b->n_ctx_train)
        n = b->n_ctx_train;
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static void add_memory(struct lv_worker *w, const struct lv_args *a, uint32_t n_ctx)
{
    lv_worker_add(w, "-m");
    lv_worker_add(w, a->target);
    lv_worker_addf(w, "-c", "%" PRIu32, n_ctx);
    if (a->memory_bytes == LEVER_MEMORY_AUTO)
        lv_worker_addf(w, "--memory", "auto");
    else if (a->memory_bytes != LEVER_MEMORY_UNLIMITED)
        lv_worker_addf(w, "--memory", "%" PRIu64, a->memory_bytes);
    if (a->ring_bytes)
        lv_worker_addf(w, "--ring", "%" PRIu64, a->ring_bytes);
    if (a->slot_bytes)
        lv_worker_addf(w, "--slot", "%" PRIu64, a->slot_bytes);
}

static void add_mode(struct lv_worker *w, const struct lv_args *a, const char *mode, uint32_t k)
{
    static const char *const option[N_MODE][7] = {
        [MODE_OFF] = { "--speculation", "off" },
        [MODE_CHAIN] = { "--speculation", "chain", "--overlap", "off" },
        [MODE_TREE] = { "--speculation", "tree", "--overlap", "off", "--prune", "off" },
        [MODE_LEVER] = { NULL }, /* its defaults are auto */
        [MODE_PRUNE_ON] = { "--prune", "on" },
        [MODE_PRUNE_OFF] = { "--prune", "off" },
    };
    int m = 0;

    while (strcmp(mode, mode_names[m]) != 0)
        m++;
    for (size_t i = 0; option[m][i]; i++)
        lv_worker_add(w, option[m][i]);
    if (m != MODE_OFF && a->draft) { /* off uses a draft's memory for weights of the target */
        lv_worker_add(w, "-md");
        lv_worker_add(w, a->draft);
    }
    if (m == MODE_CHAIN)
        lv_worker_addf(w, "--spec-draft-n-max", "%" PRIu32, k);
    else if (m != MODE_OFF && a->tree_rows)
        lv_worker_addf(w, "--tree-rows", "%" PRIu32, a->tree_rows);
    if (m == MODE_LEVER && a->prune) {
        lv_worker_add(w, "--prune");
        lv_worker_add(w, a->prune == 1 ? "on" : "off");
    }
}

/* Puts mode and prompt before a worker's message. */
static enum lever_status blame(const char *mode, const struct lv_bench_prompt *p, struct lever_error *err)
{
    const struct lever_error why = *err;

    if (why.status != LEVER_E_CANCEL) {
        lv_cli_fail(err, why.status, "mode %s, prompt %.100s: %.800s", mode, p->id, why.message);
        err->least_memory = why.least_memory;
    }
    return err->status;
}

enum lever_status lv_bench_run(const struct lv_bench *b, const char *mode, uint32_t k, size_t i, uint32_t n, FILE *trace,
                               json_t **out, struct lever_error *err)
{
    const struct lv_bench_prompt *p = &b->prompts.prompt[i];
    char learned[LV_BENCH_CAP_PATH + 40];
    struct lv_worker w;

    lv_bench_learned_dir(b, mode, k, learned);
    lv_worker_init(&w, "run", b->a);
    lv_worker_add(&w, "--learned");
    lv_worker_add(&w, learned);
    add_memory(&w, b->a, context(b, b->reference[i].n_prompt));
    add_mode(&w, b->a, mode, k);
    lv_bench_add_prompt(&w, b->a, p, n);
    if (trace) {
        lv_worker_add(&w, "--trace");
        lv_worker_add(&w, "/dev/fd/3");
    }
    return lv_worker_run(&w, trace, out, err) < 0 ? blame(mode, p, err) : LEVER_OK;
}

/* ---- references, raw rate ---- */

static enum lever_status get_references(struct lv_bench *b, struct lever_error *err)
{
    struct lever_model_info info;
    lever_engine *e = NULL;

    if (lv_session_vocab(b->a, &e, err) < 0)
        return err->status;
    b->n_ctx_train = lever_model_info(e, 0, &info) >= 0 ? info.n_ctx_train : 0;
    lever_close(e);
    if (!(b->reference = calloc(b->prompts.n, sizeof *b->reference)))
        return lv_cli_fail(err, LEVER_E_NOMEM, "no memory for %zu references", b->prompts.n);
    for (size_t i = 0; i < b->prompts.n; i++)
        if (lv_bench_reference_get(b->a, &b->prompts.prompt[i], &b->reference[i], err) < 0)
            return blame("off, everything in memory (for \"equal\")", &b->prompts.prompt[i], err);
    return LEVER_OK;
}

static enum lever_status plan(const struct lv_bench *b, bool draft, uint32_t n_ctx, struct lever_plan_report *out,
                              struct lever_error *err)
{
    struct lv_progress progress;
    struct lever_options opt;
    enum lever_status st;

    lv_progress_init(&progress, true);
    lv_session_options(b->a, n_ctx, &progress, &opt);
    if (!draft)
        opt.draft_path = NULL;
    *out = (struct lever_plan_report){ .size = sizeof *out };
    st = lever_plan(&opt, out, err);
    lv_progress_end(&progress);
    return st;
}

static enum lever_status measure_raw(struct lv_bench *b, double *rate, struct lever_error *err)
{
    const bool draft = b->wanted[MODE_CHAIN] || b->wanted[MODE_TREE] || b->wanted[MODE_LEVER] ||
                       b->wanted[MODE_PRUNE_ON] || b->wanted[MODE_PRUNE_OFF];
    struct lever_plan_report report;
    struct lv_args a = *b->a;
    uint64_t longest = 0;
    struct lv_worker w;
    json_t *o;

    *rate = 0;
    if (b->a->memory_bytes == LEVER_MEMORY_UNLIMITED)
        return LEVER_OK;
    for (size_t i = 0; i < b->prompts.n; i++)
        longest = b->reference[i].n_prompt > longest ? b->reference[i].n_prompt : longest;
    if (plan(b, draft, context(b, longest), &report, err) < 0)
        return err->status;
    if (!report.streamed_bytes)
        return LEVER_OK;
    /* bench stream knows no draft: without the memory that a draft takes, it streams about as much as the modes do */
    if (report.uses_draft && report.draft_bytes < report.budget)
        a.memory_bytes = report.budget - report.draft_bytes;
    lv_worker_init(&w, "bench", &a);
    add_memory(&w, &a, context(b, longest));
    lv_worker_add(&w, "--compute");
    lv_worker_add(&w, "off");
    lv_worker_addf(&w, "--passes", "2");
    if (lv_worker_run(&w, NULL, &o, err) < 0) {
        const struct lever_error why = *err;

        return why.status == LEVER_E_CANCEL ? why.status
                                            : lv_cli_fail(err, why.status, "the raw rate: %.900s", why.message);
    }
    *rate = json_number_value(json_object_get(o, "raw"));
    b->r.looks_cached = b->r.looks_cached || json_is_true(json_object_get(o, "looks_cached"));
    json_decref(o);
    lv_say("raw reads: %.2f GB/s", *rate * 1e-9);
    return LEVER_OK;
}

/* ---- timing ---- */

static void add_series(struct lv_bench *b, const char *mode, uint32_t k)
{
    b->r.series[b->r.n_series++] = (struct lv_bench_series){ .mode = mode, .k = k };
}

static enum lever_status make_series(struct lv_bench *b, struct lever_error *err)
{
    for (int m = 0; m < N_MODE; m++) {
        size_t best;

        if (!b->wanted[m])
            continue;
        if (m != MODE_CHAIN || b->a->spec_draft_n_max) {
            add_series(b, mode_names[m], m == MODE_CHAIN ? b->a->spec_draft_n_max : 0);
            continue;
        }
        if (lv_bench_choose_k(b, &best, err) < 0)
            return err->status;
        lv_say("chain: %" PRIu32 " looks best; it and its neighbours are timed", lv_bench_k[best]);
        for (size_t i = best ? best - 1 : 0; i <= best + 1 && i < LV_BENCH_N_K; i++)
            add_series(b, mode_names[m], lv_bench_k[i]);
    }
    return LEVER_OK;
}

/* True if ids are the first n of the reference, or all of it where that is shorter. */
static bool same_ids(const json_t *ids, const json_t *reference, uint32_t n, size_t *at)
{
    const size_t n_ref = json_array_size(reference), expected = n < n_ref ? n : n_ref, found = json_array_size(ids);

    for (*at = 0; *at < expected && *at < found; ++*at)
        if (json_integer_value(json_array_get(ids, *at)) != json_integer_value(json_array_get(reference, *at)))
            return false;
    return found == expected;
}

static enum lever_status time_one(struct lv_bench *b, struct lv_bench_series *s, size_t i, uint32_t i_rep,
                                  struct lever_error *err)
{
    const struct lv_bench_prompt *p = &b->prompts.prompt[i];
    const uint32_t n = strcmp(s->mode, "off") ? b->n : b->n_off;
    const char *task = b->prompts.task[p->i_task];
    FILE *trace = b->detail && !strcmp(s->mode, "lever") ? tmpfile() : NULL;
    enum lever_status st = LEVER_OK;
    char k[16] = "";
    size_t at;
    json_t *o;
    bool equal;

    if (lv_bench_run(b, s->mode, s->k, i, n, trace, &o, err) < 0) {
        if (trace)
            fclose(trace);
        return err->status;
    }
    equal = same_ids(json_object_get(o, "ids"), b->reference[i].ids, n, &at);
    lv_bench_sum_add(s, p->i_task, i_rep, o, equal);
    if (s->k)
        snprintf(k, sizeof k, " %" PRIu32, s->k);
    lv_say("%zu/%zu %s %s, %s%s: %.2f tok/s", i + 1, b->prompts.n, task, p->id, s->mode, k,
           json_number_value(json_object_get(o, "tok_per_s")));
    if (!equal) {
        b->differs = true;
        lv_error("mode %s%s, prompt %.100s: token %zu is not that of plain decoding", s->mode, k, p->id, at);
    }
    json_decref(o);
    if (trace) {
        st = lv_bench_detail_add(b->detail, p->i_task, trace, err);
        fclose(trace);
    }
    return st;
}

/* Prompt by prompt, so that a device that slows down slows every mode; who comes first changes. Peers take their turns. */
static enum lever_status time_all(struct lv_bench *b, struct lever_error *err)
{
    const size_t n = b->r.n_series + (b->peers ? LV_BENCH_PEERS : 0);

    for (uint32_t rep = 0; rep < b->a->repeat; rep++) {
        for (size_t i = 0; i < b->prompts.n; i++) {
            for (size_t j = 0; j < n; j++) {
                const size_t who = (rep + i + j) % n;

                if (who < b->r.n_series ? time_one(b, &b->r.series[who], i, rep, err) < 0
                                        : lv_bench_peers_run(b->peers, b, (uint32_t)(who - b->r.n_series), i, err) < 0)
                    return err->status;
            }
        }
    }
    return LEVER_OK;
}

/* ---- the whole ---- */

enum lever_status lv_bench_init(struct lv_bench *b, struct lever_error *err)
{
    const char *path = b->a->prompts ? b->a->prompts : "prompts/prompts.jsonl";
    struct lever_plan_report ignored;

    if (check(b, err) < 0)
        return err->status;
    if (lv_bench_prompts_read(path, b->a->tasks, b->a->count ? b->a->count : 1, &b->prompts, err) < 0)
        return err->status;
    /* a budget that cannot work is refused before anything is generated; one of several stands in the report */
    if (b->a->n_memory == 1 && b->a->memory_bytes != LEVER_MEMORY_UNLIMITED &&
        plan(b, false, context(b, 1), &ignored, err) < 0)
        return err->status;
    if (lv_bench_learned_init(b->learned, err) < 0)
        return err->status;
    return get_references(b, err);
}

void lv_bench_deinit(struct lv_bench *b)
{
    for (size_t i = 0; b->reference && i < b->prompts.n; i++)
        json_decref(b->reference[i].ids);
    free(b->reference);
    lv_bench_learned_deinit(b->learned);
    lv_bench_prompts_deinit(&b->prompts);
}

enum lever_status lv_bench_measure(struct lv_bench *b, struct lever_error *err)
{
    b->r.n_series = 0;
    b->r.raw_before = b->r.raw_after = 0;
    b->r.looks_cached = false;
    if (measure_raw(b, &b->r.raw_before, err) < 0)
        return err->status;
    if (make_series(b, err) < 0)
        return err->status;
    if (time_all(b, err) < 0)
        return err->status;
    return measure_raw(b, &b->r.raw_after, err);
}
