/* The length of the chain that lever bench decode compares with: replayed from long chains, with measured times. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench_decode.h"

#define K_PROBE_TOK 32u /* tokens of a run that only shows what a round of a chain costs */

const uint32_t lv_bench_k[LV_BENCH_N_K] = { 3, 5, 7, 11, 15, 23, 31 };

/* Where the draft agrees with the text: one flag a token. A chain's draft sees only text that was accepted, so the
 * flags of one long chain tell what a shorter one would have had accepted. */
struct agreement {
    bool *at;
    size_t n;
};

static enum lever_status read_agreement(FILE *trace, struct agreement *g, size_t cap, struct lever_error *err)
{
    json_error_t je;
    json_t *o;

    rewind(trace);
    while ((o = json_loadf(trace, JSON_DISABLE_EOF_CHECK, &je))) {
        const size_t n = json_array_size(json_object_get(o, "ids"));
        const json_int_t drafted = json_integer_value(json_object_get(o, "drafted")),
                         accepted = json_integer_value(json_object_get(o, "accepted"));

        const bool pass = json_number_value(json_object_get(o, "rows")) > 0; /* or the prompt's, for the first token */

        /* behind a chain that was accepted to its end nothing is known: the guess is that it had gone on */
        for (size_t i = 0; i < n && pass && g->n < cap; i++)
            g->at[g->n++] = (json_int_t)i < accepted || (n > 1 && accepted == drafted);
        json_decref(o);
    }
    return g->n ? LEVER_OK : lv_cli_fail(err, LEVER_E_INTERNAL, "the trace of a chain cannot be read: %s", je.text);
}

/* Rounds that a chain of k takes for it. */
static uint64_t replay(const struct agreement *g, uint32_t k)
{
    uint64_t n_round = 0;

    for (size_t i = 0; i < g->n; n_round++) {
        uint32_t n = 0;

        while (n < k && i < g->n && g->at[i]) {
            n++;
            i++;
        }
        i++; /* the target's own token */
    }
    return n_round;
}

/* Rounds of a chain: drafting, and the rest of a round. */
struct chain_time {
    double draft, rest;
    bool streamed;
};

static struct chain_time round_time(const json_t *run)
{
    const double rounds = json_number_value(json_object_get(run, "rounds"));
    const json_t *spec = json_object_get(run, "speculation");
    struct chain_time t = { 0, 0, json_number_value(json_object_get(json_object_get(run, "bytes"), "streamed")) > 0 };

    if (!(rounds > 0))
        return t;
    t.draft = json_number_value(json_object_get(spec, "exposed_draft_seconds")) / rounds;
    t.rest = json_number_value(json_object_get(json_object_get(run, "seconds"), "decode")) / rounds - t.draft;
    return t;
}

static int rising(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* A round of each length on the first prompt; that of the longest is known from every task's. Where the target is streamed
 * the rest of a round does not depend on a chain's length, but the device drifts within minutes, so the median of all runs
 * stands for each. */
static enum lever_status time_rounds(const struct lv_bench *b, const struct chain_time longest[], double seconds[LV_BENCH_N_K],
                                     struct lever_error *err)
{
    double draft[LV_BENCH_N_K] = { 0 }, rest[LV_BENCH_N_K + LV_BENCH_CAP_TASK], all[LV_BENCH_N_K + LV_BENCH_CAP_TASK];
    bool streamed = false;
    size_t n = 0;

    for (uint32_t t = 0; t < b->prompts.n_task; t++) {
        draft[LV_BENCH_N_K - 1] += longest[t].draft / b->prompts.n_task;
        rest[LV_BENCH_N_K - 1 + t] = longest[t].rest;
        streamed = streamed || longest[t].streamed;
    }
    for (size_t i = 0; i + 1 < LV_BENCH_N_K; i++) {
        struct chain_time t;
        json_t *o;

        if (lv_bench_run(b, "chain", lv_bench_k[i], 0, b->n < K_PROBE_TOK ? b->n : K_PROBE_TOK, NULL, &o, err) < 0)
            return err->status;
        t = round_time(o);
        json_decref(o);
        draft[i] = t.draft;
        rest[i] = t.rest;
        lv_say("chain %" PRIu32 ": %.3f s a round, %.3f of them drafting", lv_bench_k[i], t.draft + t.rest, t.draft);
    }
    for (size_t i = 0; i < LV_BENCH_N_K - 1 + b->prompts.n_task; i++)
        all[n++] = rest[i];
    qsort(all, n, sizeof *all, rising);
    for (size_t i = 0; i < LV_BENCH_N_K; i++)
        seconds[i] = draft[i] + (streamed ? all[n / 2] : rest[i]);
    return LEVER_OK;
}

/* The longest chain on the first prompt of each task: agreements, and times of a round. */
static enum lever_status trace_tasks(const struct lv_bench *b, struct agreement *g, struct chain_time *time,
                                     struct lever_error *err)
{
    for (uint32_t t = 0; t < b->prompts.n_task; t++) {
        FILE *trace = tmpfile();
        size_t i = 0;
        json_t *o;
        enum lever_status st;

        if (!trace)
            return lv_cli_fail(err, LEVER_E_IO, "no temporary file for a trace");
        while (b->prompts.prompt[i].i_task != t)
            i++;
        if ((st = lv_bench_run(b, "chain", lv_bench_k[LV_BENCH_N_K - 1], i, b->n, trace, &o, err)) >= 0) {
            st = read_agreement(trace, &g[t], b->n, err);
            time[t] = round_time(o);
            json_decref(o);
        }
        fclose(trace);
        if (st < 0)
            return st;
    }
    return LEVER_OK;
}

/* Without any every length is as good: a draft that does not fit, or never agrees. */
static bool any_agreement(const struct lv_bench *b, const struct agreement *g)
{
    for (uint32_t t = 0; t < b->prompts.n_task; t++)
        if (memchr(g[t].at, true, g[t].n))
            return true;
    return false;
}

enum lever_status lv_bench_choose_k(const struct lv_bench *b, size_t *best, struct lever_error *err)
{
    struct agreement g[LV_BENCH_CAP_TASK] = { { NULL, 0 } };
    struct chain_time longest[LV_BENCH_CAP_TASK] = { { 0, 0, false } };
    double seconds[LV_BENCH_N_K] = { 0 }, least = 0;
    enum lever_status st = LEVER_OK;

    for (uint32_t t = 0; t < b->prompts.n_task && st >= 0; t++)
        if (!(g[t].at = calloc(b->n, sizeof *g[t].at)))
            st = lv_cli_fail(err, LEVER_E_NOMEM, "no memory for a trace");
    *best = 0;
    if (st >= 0)
        st = trace_tasks(b, g, longest, err);
    if (st >= 0 && !any_agreement(b, g))
        goto out;
    if (st >= 0)
        st = time_rounds(b, longest, seconds, err);
    for (size_t i = 0; i < LV_BENCH_N_K && st >= 0; i++) {
        double cost = 0; /* seconds a token, each task weighing the same */

        for (uint32_t t = 0; t < b->prompts.n_task; t++)
            cost += seconds[i] * (double)replay(&g[t], lv_bench_k[i]) / (double)g[t].n;
        if (i == 0 || cost < least) {
            *best = i;
            least = cost;
        }
    }
out:
    for (uint32_t t = 0; t < b->prompts.n_task; t++)
        free(g[t].at);
    return st;
}
