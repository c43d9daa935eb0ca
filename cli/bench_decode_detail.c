/* What the rounds of mode lever were like, from their traces: acceptance by depth, predictions, tree sizes, one round. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench_decode.h"

enum lever_status lv_bench_detail_open(struct lv_bench_detail *d, struct lever_error *err)
{
    memset(d, 0, sizeof *d);
    if (!(d->all = tmpfile()))
        return lv_cli_fail(err, LEVER_E_IO, "no temporary file for traces: %s", strerror(errno));
    return LEVER_OK;
}

void lv_bench_detail_close(struct lv_bench_detail *d)
{
    if (d->all)
        fclose(d->all);
    memset(d, 0, sizeof *d);
}

/* The next round of a trace; NULL at its end. A step without a pass (the first token comes with the prompt) is none. */
static json_t *next_round(FILE *f)
{
    json_error_t je;
    json_t *o;

    while ((o = json_loadf(f, JSON_DISABLE_EOF_CHECK, &je))) {
        if (json_number_value(json_object_get(o, "rows")) > 0)
            return o;
        json_decref(o);
    }
    return NULL;
}

bool lv_bench_append(FILE *to, FILE *from)
{
    char buf[65536];
    size_t n;

    rewind(from);
    fseek(to, 0, SEEK_END);
    while ((n = fread(buf, 1, sizeof buf, from)) > 0)
        if (fwrite(buf, 1, n, to) != n)
            return false;
    return !ferror(from) && fflush(to) == 0;
}

enum lever_status lv_bench_detail_add(struct lv_bench_detail *d, uint32_t t, FILE *trace, struct lever_error *err)
{
    json_t *o;

    rewind(trace);
    while ((o = next_round(trace))) {
        const json_int_t n = json_integer_value(json_object_get(o, "accepted"));

        d->task[t].n_round++;
        for (json_int_t i = 0; i <= n && i < LV_BENCH_CAP_DEPTH; i++)
            d->task[t].reached[i]++;
        json_decref(o);
    }
    if (!lv_bench_append(d->all, trace))
        return lv_cli_fail(err, LEVER_E_IO, "keeping a trace failed: %s", strerror(errno));
    return LEVER_OK;
}

/* For each task the share of rounds that accepted 1, 2, 3 ... tokens or more, as far as any did. */
static json_t *acceptance_json(const struct lv_bench_detail *d, const struct lv_bench_prompts *p)
{
    json_t *o = json_object();

    for (uint32_t t = 0; t < p->n_task; t++) {
        json_t *share = json_array();

        for (size_t i = 1; i < LV_BENCH_CAP_DEPTH && d->task[t].reached[i]; i++)
            json_array_append_new(share, lv_json_real((double)d->task[t].reached[i] / (double)d->task[t].n_round));
        json_object_set_new(o, p->task[t],
                            json_pack("{s:o, s:o}", "rounds", lv_json_uint(d->task[t].n_round), "share", share));
    }
    return o;
}

/* Predicted and measured seconds: every round, or every second, third ... of many. */
static json_t *rounds_json(FILE *f, size_t n_round)
{
    const size_t every = (n_round + LV_BENCH_CAP_ROUND - 1) / LV_BENCH_CAP_ROUND;
    json_t *predicted = json_array(), *seconds = json_array(), *o;

    rewind(f);
    for (size_t i = 0; (o = next_round(f)); i++) {
        if (i % every == 0) {
            json_array_append(predicted, json_object_get(o, "predicted_seconds"));
            json_array_append(seconds, json_object_get(o, "seconds"));
        }
        json_decref(o);
    }
    return json_pack("{s:o, s:o, s:o}", "n", lv_json_uint(n_round), "predicted", predicted, "seconds", seconds);
}

static int rising(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Of the rounds that have spans, the one of median length: neither the best nor the worst that could be shown. */
static json_t *typical_round(FILE *f, size_t n_round)
{
    double *seconds = calloc(n_round ? n_round : 1, sizeof *seconds);
    double median = 0;
    json_t *o, *found = NULL;
    size_t n = 0;

    rewind(f);
    while (seconds && n < n_round && (o = next_round(f))) {
        if (json_object_get(o, "spans"))
            seconds[n++] = json_number_value(json_object_get(o, "seconds"));
        json_decref(o);
    }
    if (n) {
        qsort(seconds, n, sizeof *seconds, rising);
        median = seconds[n / 2];
    }
    free(seconds);
    rewind(f);
    while (n && !found && (o = next_round(f))) {
        if (json_object_get(o, "spans") && json_number_value(json_object_get(o, "seconds")) == median)
            found = json_pack("{s:O, s:O, s:O, s:O, s:i, s:O}", "seconds", json_object_get(o, "seconds"),
                              "predicted_seconds", json_object_get(o, "predicted_seconds"), "rows",
                              json_object_get(o, "rows"), "accepted", json_object_get(o, "accepted"), "tokens",
                              (int)json_array_size(json_object_get(o, "ids")), "spans", json_object_get(o, "spans"));
        json_decref(o);
    }
    return found ? found : json_null();
}

/* Tokens a round of trees of one size, as lever replay finds them; null when no round chose a tree. */
static json_t *sizes_json(FILE *f)
{
    struct lever_error err;
    char path[40];
    json_t *o, *sizes = NULL;

    snprintf(path, sizeof path, "/dev/fd/%d", fileno(f));
    if (lv_replay_file(path, &o, &err) < 0)
        return json_null();
    sizes = json_pack("{s:O, s:O}", "taken", json_object_get(o, "taken"), "fixed", json_object_get(o, "fixed"));
    json_decref(o);
    return sizes ? sizes : json_null();
}

json_t *lv_bench_detail_json(const struct lv_bench_detail *d, const struct lv_bench_prompts *p)
{
    size_t n_round = 0;

    for (uint32_t t = 0; t < p->n_task; t++)
        n_round += d->task[t].n_round;
    if (!n_round) /* mode lever did not run */
        return json_null();
    return json_pack("{s:o, s:o, s:o, s:o}", "acceptance", acceptance_json(d, p), "rounds", rounds_json(d->all, n_round),
                     "sizes", sizes_json(d->all), "round", typical_round(d->all, n_round));
}
