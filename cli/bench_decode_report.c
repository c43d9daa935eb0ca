/* Sums of runs, as JSON and as a table. */
#include <inttypes.h>
#include <string.h>

#include "bench_decode.h"

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static double real_at(const json_t *o, const char *group, const char *name)
{
    return json_number_value(json_object_get(group ? json_object_get(o, group) : o, name));
}

void lv_bench_sum_add(struct lv_bench_series *series, uint32_t t, uint32_t i_rep, const json_t *run, bool equal)
{
    struct lv_bench_sum *s = &series->task[t];
    const uint64_t planned = (uint64_t)real_at(run, "memory", "planned"), rounds = (uint64_t)real_at(run, NULL, "rounds"), peak = (uint64_t)real_at(run, "memory", "peak_rss");
    const double seconds = real_at(run, "seconds", "decode");

    s->n_prompt++;
    s->n_token += (uint64_t)real_at(run, NULL, "tokens");
    s->n_round += rounds;
    s->n_drafted += (uint64_t)real_at(run, "speculation", "drafted");
    s->n_accepted += (uint64_t)real_at(run, "speculation", "accepted");
    s->rows += real_at(run, NULL, "rows_per_round") * (double)rounds;
    s->bytes += real_at(run, "bytes", "streamed");
    s->seconds += seconds;
    s->draft_seconds += real_at(run, "speculation", "exposed_draft_seconds");
    s->idle_seconds += real_at(run, "stream", "idle_share") * seconds;
    s->peak_rss = peak > s->peak_rss ? peak : s->peak_rss;
    s->planned = planned > s->planned ? planned : s->planned;
    s->differs = s->differs || !equal;
    series->rep[i_rep][t].n_token += (uint64_t)real_at(run, NULL, "tokens");
    series->rep[i_rep][t].seconds += seconds;
}

static double sum_rate(const struct lv_bench_sum *s)
{
    return ratio((double)s->n_token, s->seconds);
}

static double sum_yield(const struct lv_bench_sum *s)
{
    return ratio((double)s->n_token, (double)s->n_round);
}

/* Harmonic mean over tasks: the rate of a text that has as many tokens of each. */
static double mean(const struct lv_bench_series *s, uint32_t n_task, double (*value)(const struct lv_bench_sum *s))
{
    double sum = 0;

    for (uint32_t i = 0; i < n_task; i++)
        sum += 1 / value(&s->task[i]); /* infinite if one is 0: then so is the mean */
    return n_task ? n_task / sum : 0;
}

double lv_bench_rate(const struct lv_bench_series *s, uint32_t n_task)
{
    return mean(s, n_task, sum_rate);
}

/* Rate of one repetition; t == n_task: of all tasks. */
static double rep_rate(const struct lv_bench_series *s, uint32_t n_task, uint32_t t, uint32_t i_rep)
{
    double sum = 0;

    if (t < n_task)
        return ratio((double)s->rep[i_rep][t].n_token, s->rep[i_rep][t].seconds);
    for (uint32_t i = 0; i < n_task; i++)
        sum += 1 / rep_rate(s, n_task, i, i_rep);
    return ratio(n_task, sum);
}

/* [slowest, fastest] repetition; null when there was only one. */
static json_t *spread_json(const struct lv_bench_series *s, uint32_t n_task, uint32_t t, uint32_t n_rep)
{
    double low = rep_rate(s, n_task, t, 0), high = low;

    if (n_rep < 2)
        return json_null();
    for (uint32_t i = 1; i < n_rep; i++) {
        const double x = rep_rate(s, n_task, t, i);

        low = x < low ? x : low;
        high = x > high ? x : high;
    }
    return json_pack("[o, o]", lv_json_real(low), lv_json_real(high));
}

static struct lv_bench_sum total(const struct lv_bench_series *s, uint32_t n_task)
{
    struct lv_bench_sum t = { 0 };

    for (uint32_t i = 0; i < n_task; i++) {
        const struct lv_bench_sum *x = &s->task[i];

        t.n_prompt += x->n_prompt;
        t.n_token += x->n_token;
        t.n_round += x->n_round;
        t.n_drafted += x->n_drafted;
        t.n_accepted += x->n_accepted;
        t.rows += x->rows;
        t.bytes += x->bytes;
        t.seconds += x->seconds;
        t.draft_seconds += x->draft_seconds;
        t.idle_seconds += x->idle_seconds;
        t.peak_rss = x->peak_rss > t.peak_rss ? x->peak_rss : t.peak_rss;
        t.planned = x->planned > t.planned ? x->planned : t.planned;
        t.differs = t.differs || x->differs;
    }
    return t;
}

static json_t *sum_json(const struct lv_bench_sum *s, double rate, double yield, uint32_t k, json_t *spread)
{
    const double rounds = (double)s->n_round;
    json_t *o = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o}",
                          "tok_per_s", lv_json_real(rate),
                          "tokens_per_round", lv_json_real(yield),
                          "rows_per_round", lv_json_real(ratio(s->rows, rounds)),
                          "bytes_per_round", lv_json_real(ratio(s->bytes, rounds)),
                          "draft_seconds", lv_json_real(s->draft_seconds),
                          "target_seconds", lv_json_real(s->seconds - s->draft_seconds),
                          "idle_share", lv_json_real(ratio(s->idle_seconds, s->seconds)),
                          "peak_rss", lv_json_uint(s->peak_rss),
                          "planned", lv_json_uint(s->planned),
                          "spread", spread,
                          "bytes_per_token", lv_json_real(ratio(s->bytes, (double)s->n_token)),
                          "equal", (int)!s->differs,
                          "prompts", lv_json_uint(s->n_prompt),
                          "tokens", lv_json_uint(s->n_token),
                          "rounds", lv_json_uint(s->n_round),
                          "drafted", lv_json_uint(s->n_drafted),
                          "accepted", lv_json_uint(s->n_accepted),
                          "seconds", lv_json_real(s->seconds));

    if (o && k)
        json_object_set_new(o, "k", json_integer((json_int_t)k));
    return o;
}

static json_t *series_json(const struct lv_bench_series *s, const struct lv_bench_prompts *p, uint32_t n_rep)
{
    const struct lv_bench_sum all = total(s, p->n_task);
    json_t *o = json_object();

    json_object_set_new(o, "all", sum_json(&all, lv_bench_rate(s, p->n_task), mean(s, p->n_task, sum_yield), s->k,
                                           spread_json(s, p->n_task, p->n_task, n_rep)));
    for (uint32_t i = 0; i < p->n_task; i++)
        json_object_set_new(o, p->task[i], sum_json(&s->task[i], sum_rate(&s->task[i]), sum_yield(&s->task[i]), s->k,
                                                    spread_json(s, p->n_task, i, n_rep)));
    return o;
}

/* Of the lengths of a chain that were timed the fastest stands for the mode; any other mode is one series. */
static bool stands(const struct lv_bench_result *r, size_t i, uint32_t n_task)
{
    const double rate = lv_bench_rate(&r->series[i], n_task);

    for (size_t j = 0; j < r->n_series; j++) {
        const double other = lv_bench_rate(&r->series[j], n_task);

        if (j != i && !strcmp(r->series[j].mode, r->series[i].mode) && (other > rate || (j < i && !(other < rate))))
            return false;
    }
    return true;
}

static json_t *raw_json(double x)
{
    return x > 0 ? json_real(x) : json_null();
}

json_t *lv_bench_json(const struct lv_bench_result *r, const struct lv_bench_prompts *p, const struct lv_args *a)
{
    json_t *modes = json_object(), *timed = json_object(),
           *memory = a->memory_bytes == LEVER_MEMORY_AUTO ? json_string("auto") : lv_json_uint(a->memory_bytes);

    for (size_t i = 0; i < r->n_series; i++) {
        const struct lv_bench_series *s = &r->series[i];
        char k[16];

        if (stands(r, i, p->n_task))
            json_object_set_new(modes, s->mode, series_json(s, p, a->repeat));
        if (!s->k)
            continue;
        snprintf(k, sizeof k, "%" PRIu32, s->k);
        json_object_set_new(timed, k, lv_json_real(lv_bench_rate(s, p->n_task)));
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:s}",
                     "raw", raw_json((r->raw_before + r->raw_after) / 2),
                     "modes", modes,
                     "raw_before", raw_json(r->raw_before),
                     "raw_after", raw_json(r->raw_after),
                     "looks_cached", (int)r->looks_cached,
                     "chain_tok_per_s", timed,
                     "memory", memory,
                     "n", lv_json_uint((uint64_t)a->n_predict),
                     "version", lever_version());
}

static void put_row(const struct lv_bench_series *s, const char *task, const struct lv_bench_sum *x, double rate,
                    double yield)
{
    const double rounds = (double)x->n_round;
    char mode[32], peak[24];

    if (s->k)
        snprintf(mode, sizeof mode, "%s %" PRIu32, s->mode, s->k);
    else
        snprintf(mode, sizeof mode, "%s", s->mode);
    printf("%-9s ", mode);
    lv_put_safe(stdout, task, false);
    for (size_t i = strlen(task); i < 14; i++)
        putchar(' ');
    printf("%8.2f %7.2f %7.1f %9.1f %8.2f %8.2f %6.3f %10s  %s\n", rate, yield, ratio(x->rows, rounds),
           ratio(x->bytes, rounds) * 1e-6, x->draft_seconds, x->seconds - x->draft_seconds,
           ratio(x->idle_seconds, x->seconds), lv_size_text(peak, x->peak_rss), x->differs ? "NO" : "yes");
}

void lv_bench_put(const struct lv_bench_result *r, const struct lv_bench_prompts *p)
{
    if (r->raw_before > 0)
        printf("raw reads %.2f GB/s before, %.2f after%s\n", r->raw_before * 1e-9, r->raw_after * 1e-9,
               r->looks_cached ? " (served from memory)" : "");
    printf("mode      task             tok/s tok/rnd rows/rn  MB/round  draft s target s   idle  peak       equal\n");
    for (size_t i = 0; i < r->n_series; i++) {
        const struct lv_bench_series *s = &r->series[i];
        const struct lv_bench_sum all = total(s, p->n_task);

        put_row(s, "all", &all, lv_bench_rate(s, p->n_task), mean(s, p->n_task, sum_yield));
        for (uint32_t t = 0; t < p->n_task && stands(r, i, p->n_task); t++)
            put_row(s, p->task[t], &s->task[t], sum_rate(&s->task[t]), sum_yield(&s->task[t]));
    }
}
