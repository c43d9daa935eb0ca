/* Figures from the rounds of mode lever: tree sizes, acceptance by depth, one round over time, predictions. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "report_table.h"

#define MAX_POINT 512 /* of a series */
#define MAX_SERIES 16
#define MAX_DEPTH 24  /* deeper is too rare to be told from chance */

/* Points of the series of one figure; too many for a stack. */
struct points {
    double x[MAX_SERIES][MAX_POINT], y[MAX_SERIES][MAX_POINT];
    struct lv_series series[MAX_SERIES];
    size_t n;
};

static struct points *new_points(struct lv_markup *m)
{
    struct points *p = calloc(1, sizeof *p);

    if (!p)
        m->failed = true;
    return p;
}

static struct lv_series *add(struct points *p, const char *name)
{
    struct lv_series *s = &p->series[p->n];

    *s = (struct lv_series){ .name = name, .x = p->x[p->n], .y = p->y[p->n], .style = (unsigned)(p->n % LV_SVG_STYLES) };
    p->n++;
    return s;
}

static void put_point(struct lv_series *s, struct points *p, double x, double y)
{
    const size_t k = (size_t)(s - p->series);

    if (s->n == MAX_POINT)
        return;
    p->x[k][s->n] = x;
    p->y[k][s->n++] = y;
}

static const json_t *detail(const struct lv_report *r, size_t i, const char *name)
{
    return json_object_get(json_object_get(r->size[i], "detail"), name);
}

static double real_of(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

static double real_at(const json_t *array, size_t i)
{
    const json_t *v = json_array_get(array, i);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* ---- tokens a round by tree size ---- */

static double yield_of(const json_t *fixed, double rows)
{
    for (size_t i = 0; i < json_array_size(fixed); i++)
        if (real_of(json_array_get(fixed, i), "rows") == rows)
            return real_of(json_array_get(fixed, i), "tokens_per_round");
    return NAN;
}

static void put_size_table(struct lv_markup *m, const struct lv_report *r)
{
    static const double rows[] = { 1, 2, 4, 8, 16, 32, 64, 128, 256 };
    char name[24];

    lv_table_open(m, "Tokens a round of trees of so many rows", "Memory");
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        snprintf(name, sizeof name, "%g", rows[k]);
        lv_table_column(m, name);
    }
    lv_table_column(m, "as chosen: rows");
    lv_table_column(m, "tokens");
    lv_table_body(m);
    for (size_t i = 0; i < r->n_size; i++) {
        const json_t *sizes = detail(r, i, "sizes"), *taken = json_object_get(sizes, "taken");

        if (!json_is_object(sizes))
            continue;
        lv_table_row(m, r->tick[i]);
        for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++)
            lv_table_number(m, yield_of(json_object_get(sizes, "fixed"), rows[k]));
        lv_table_number(m, real_of(taken, "rows_per_round"));
        lv_table_number(m, real_of(taken, "tokens_per_round"));
        lv_table_row_end(m);
    }
    lv_table_close(m);
}

void lv_report_tree_sizes(struct lv_markup *m, const struct lv_report *r)
{
    struct points *p = new_points(m);
    struct lv_chart c = { .id = "sizes", .title = "Tokens a round by tree size", .x_label = "rows of a pass (log scale)",
                          .y_label = "tokens a round", .log_x = true,
                          .desc = "Tokens that a round gives when every tree is cut to so many rows, for each memory size." };

    if (!p)
        return;
    for (size_t i = 0; i < r->n_size; i++) {
        const json_t *fixed = json_object_get(detail(r, i, "sizes"), "fixed");

        if (!json_array_size(fixed))
            continue;
        struct lv_series *s = add(p, r->tick[i]);

        s->line = true;
        for (size_t k = 0; k < json_array_size(fixed); k++)
            put_point(s, p, real_of(json_array_get(fixed, k), "rows"),
                      real_of(json_array_get(fixed, k), "tokens_per_round"));
    }
    c.series = p->series;
    c.n_series = p->n;
    lv_put(m, "<section><h2>Tokens a round by tree size</h2>");
    lv_chart_put(m, &c);
    lv_put(m, "<p class=\"note\">The recorded rounds decided again, as <code>lever replay</code> does: the likeliest candidates up to a "
              "size, known in each round when its tree was chosen. A line that becomes flat had no more candidates.</p>");
    if (p->n)
        put_size_table(m, r);
    lv_put(m, "</section>");
    free(p);
}

/* ---- acceptance by depth ---- */

/* Share of rounds of a task, over all memory sizes, that accepted depth tokens or more; NAN without rounds. */
static double accepted(const struct lv_report *r, const char *task, size_t depth)
{
    double n = 0, sum = 0;

    for (size_t i = 0; i < r->n_size; i++) {
        const json_t *o = json_object_get(detail(r, i, "acceptance"), task), *share = json_object_get(o, "share");
        const double rounds = json_number_value(json_object_get(o, "rounds"));

        n += rounds;
        sum += rounds * (depth <= json_array_size(share) ? json_number_value(json_array_get(share, depth - 1)) : 0);
    }
    return n > 0 ? sum / n : NAN;
}

void lv_report_acceptance(struct lv_markup *m, const struct lv_report *r)
{
    static const size_t shown[] = { 1, 2, 3, 4, 6, 8, 12, 16, 24 };
    const json_t *tasks = json_object_get(r->o, "tasks");
    struct points *p = new_points(m);
    struct lv_chart c = { .id = "acceptance", .title = "Acceptance by depth and task", .x_label = "tokens accepted, at least",
                          .y_label = "share of rounds, %", .y_max = 100,
                          .desc = "For each task the share of rounds that accepted at least so many draft tokens." };
    char name[24];

    if (!p)
        return;
    for (size_t t = 0; t < json_array_size(tasks) && p->n < MAX_SERIES; t++) {
        const char *task = json_string_value(json_array_get(tasks, t));

        if (!task || !isfinite(accepted(r, task, 1)))
            continue;
        struct lv_series *s = add(p, task);

        s->line = true;
        for (size_t d = 1; d <= MAX_DEPTH; d++)
            put_point(s, p, (double)d, 100 * accepted(r, task, d));
    }
    c.series = p->series;
    c.n_series = p->n;
    lv_put(m, "<section><h2>Acceptance by depth and task</h2>");
    lv_chart_put(m, &c);
    lv_put(m, "<p class=\"note\">Mode lever, rounds of all memory sizes together. A round ends early also where its tree does.</p>");
    if (p->n) {
        lv_table_open(m, "Share of rounds in % that accepted at least so many tokens", "Task");
        for (size_t k = 0; k < sizeof shown / sizeof shown[0]; k++) {
            snprintf(name, sizeof name, "%zu", shown[k]);
            lv_table_column(m, name);
        }
        lv_table_body(m);
        for (size_t t = 0; t < p->n; t++) {
            lv_table_row(m, p->series[t].name);
            for (size_t k = 0; k < sizeof shown / sizeof shown[0]; k++)
                lv_table_number(m, p->series[t].y[shown[k] - 1]);
            lv_table_row_end(m);
        }
        lv_table_close(m);
    }
    lv_put(m, "</section>");
    free(p);
}

/* ---- one round over time ---- */

#define N_LANE 5

static const struct {
    const char *key, *name;
} lanes[N_LANE] = {
    { "drafting", "drafting that the round waits for" },
    { "reads", "reads from the device" },
    { "pass", "the target's pass over the tree" },
    { "background", "drafting during the pass" },
    { "head", "output head and acceptance" },
};

struct bar {
    double begin, end;
};

static int earlier(const void *a, const void *b)
{
    const struct bar *x = a, *y = b;

    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Microseconds [begin, end, begin, end, ...] to seconds, begins rising: the trace has them as they ended. */
static void fill_lane(struct points *p, struct lv_lane *lane, size_t k, const json_t *span, double *sum)
{
    const size_t n = json_array_size(span) / 2;
    struct bar bar[MAX_POINT];

    *lane = (struct lv_lane){ .name = lanes[k].name, .begin = p->x[k], .end = p->y[k], .n = n < MAX_POINT ? n : MAX_POINT };
    *sum = 0;
    for (size_t i = 0; i < lane->n; i++)
        bar[i] = (struct bar){ 1e-6 * real_at(span, 2 * i), 1e-6 * real_at(span, 2 * i + 1) };
    qsort(bar, lane->n, sizeof *bar, earlier);
    for (size_t i = 0; i < lane->n; i++) {
        p->x[k][i] = bar[i].begin;
        p->y[k][i] = bar[i].end;
        *sum += bar[i].end - bar[i].begin;
    }
}

static void put_round(struct lv_markup *m, const char *size, const json_t *round)
{
    struct points *p = new_points(m);
    const json_t *spans = json_object_get(round, "spans");
    const double seconds = real_of(round, "seconds"), wait = real_of(spans, "wait_seconds"),
                 busy = real_of(spans, "background_seconds");
    struct lv_lane lane[N_LANE];
    double sum[N_LANE];
    struct lv_timeline t = { .id = "round", .title = "One round over time", .seconds = seconds, .lane = lane, .n_lane = N_LANE,
                             .desc = "Bars show when the device was read, when the target computed and when the draft did." };

    if (!p)
        return;
    for (size_t k = 0; k < N_LANE; k++)
        fill_lane(p, &lane[k], k, json_object_get(spans, lanes[k].key), &sum[k]);
    lv_put(m, "<p>Memory ");
    lv_put_text(m, size);
    lv_put(m, ". Of all rounds that drafted, the one of median length: ");
    lv_put_number(m, 1e3 * seconds);
    lv_put(m, " ms, predicted ");
    lv_put_number(m, 1e3 * real_of(round, "predicted_seconds"));
    lv_put(m, " ms, rows ");
    lv_put_number(m, real_of(round, "rows"));
    lv_put(m, ", tokens ");
    lv_put_number(m, real_of(round, "tokens"));
    lv_put(m, ".</p>");
    lv_timeline_put(m, &t);
    if (isfinite(wait) && isfinite(busy) && sum[2] > 0) {
        lv_put(m, "<p class=\"note\">During the pass the workers computed for the target ");
        lv_put_percent(m, fmax(0, 1 - (wait + busy) / sum[2]));
        lv_put(m, " of the time, drafted ");
        lv_put_percent(m, busy / sum[2]);
        lv_put(m, " and waited for the device ");
        lv_put_percent(m, wait / sum[2]);
        lv_put(m, ". Reads may begin before the round, as the ring is filled ahead: bars are cut at the edges.</p>");
    }
    lv_table_open(m, "Spans of this round", "What");
    lv_table_column(m, "bars");
    lv_table_column(m, "ms in all");
    lv_table_column(m, "ms / ms of the round");
    lv_table_body(m);
    for (size_t k = 0; k < N_LANE; k++) {
        lv_table_row(m, lanes[k].name);
        lv_putf(m, "<td>%zu</td>", lane[k].n);
        lv_table_number(m, 1e3 * sum[k]);
        lv_table_number(m, sum[k] / seconds);
        lv_table_row_end(m);
    }
    lv_table_close(m);
    free(p);
}

/* How much of a round's work its spans show: reads, and drafting beside the pass. -1: no round was recorded. */
static int shows(const json_t *round)
{
    const json_t *spans = json_object_get(round, "spans");

    if (!json_is_object(round))
        return -1;
    return 2 * (json_array_size(json_object_get(spans, "reads")) > 0) + (json_array_size(json_object_get(spans, "background")) > 0);
}

/* The first of the sizes whose recorded round shows most. */
void lv_report_round(struct lv_markup *m, const struct lv_report *r)
{
    size_t best = r->n_size;
    int most = -1;

    for (size_t i = 0; i < r->n_size; i++) {
        const int n = shows(detail(r, i, "round"));

        if (n > most) {
            most = n;
            best = i;
        }
    }
    lv_put(m, "<section class=\"wide\"><h2>One round over time</h2>");
    if (best < r->n_size)
        put_round(m, r->tick[best], detail(r, best, "round"));
    else
        lv_put(m, "<p class=\"none\">Nothing to draw: no round was recorded.</p>");
    lv_put(m, "</section>");
}

/* ---- predicted against measured ---- */

static int rising(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void put_ratios(struct lv_markup *m, const struct lv_series *s)
{
    double ratio[MAX_POINT];
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        if (s->x[i] > 0 && isfinite(s->y[i]))
            ratio[n++] = s->y[i] / s->x[i];
    qsort(ratio, n, sizeof *ratio, rising);
    lv_table_row(m, s->name);
    lv_putf(m, "<td>%zu</td>", n);
    lv_table_number(m, n ? ratio[n / 10] : NAN);
    lv_table_number(m, n ? ratio[n / 2] : NAN);
    lv_table_number(m, n ? ratio[n - 1 - n / 10] : NAN);
    lv_table_row_end(m);
}

void lv_report_prediction(struct lv_markup *m, const struct lv_report *r)
{
    struct points *p = new_points(m);
    struct lv_chart c = { .id = "prediction", .title = "Predicted against measured time of a round", .diagonal = true,
                          .x_label = "measured, ms", .y_label = "predicted, ms",
                          .desc = "A point for each round; on the dashed diagonal both are the same." };

    if (!p)
        return;
    for (size_t i = 0; i < r->n_size; i++) {
        const json_t *rounds = detail(r, i, "rounds"), *seconds = json_object_get(rounds, "seconds");

        if (!json_array_size(seconds))
            continue;
        struct lv_series *s = add(p, r->tick[i]);

        for (size_t k = 0; k < json_array_size(seconds); k++)
            put_point(s, p, 1e3 * real_at(seconds, k), 1e3 * real_at(json_object_get(rounds, "predicted"), k));
    }
    c.series = p->series;
    c.n_series = p->n;
    lv_put(m, "<section><h2>Predicted against measured time</h2>");
    lv_chart_put(m, &c);
    lv_put(m, "<p class=\"note\">What the cost model said of each round of mode lever before its pass, drafting included.</p>");
    if (p->n) {
        lv_table_open(m, "Predicted / measured time: the median round, and what a tenth of them is below and above", "Memory");
        lv_table_column(m, "rounds");
        lv_table_column(m, "10 %");
        lv_table_column(m, "median");
        lv_table_column(m, "90 %");
        lv_table_body(m);
        for (size_t k = 0; k < p->n; k++)
            put_ratios(m, &p->series[k]);
        lv_table_close(m);
    }
    lv_put(m, "</section>");
    free(p);
}
