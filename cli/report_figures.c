/* Figures over memory: speed, speed by task, bytes a token, peak memory. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report.h"
#include "report_table.h"

#define MIB 1048576.0

/* Lines over the memory sizes, one for each of some rivals. */
struct lines {
    double x[LV_CAP_MEMORY], y[LV_RIVALS + 1][LV_CAP_MEMORY], low[LV_RIVALS + 1][LV_CAP_MEMORY],
        high[LV_RIVALS + 1][LV_CAP_MEMORY];
    struct lv_series series[LV_RIVALS + 1];
    size_t n;
};

static struct lv_series *add_line(struct lines *l, const struct lv_report *r, const char *name, unsigned style)
{
    struct lv_series *s = &l->series[l->n];

    for (size_t i = 0; i < r->n_size; i++) {
        l->x[i] = (double)i;
        l->y[l->n][i] = l->low[l->n][i] = l->high[l->n][i] = NAN;
    }
    *s = (struct lv_series){ .name = name, .x = l->x, .y = l->y[l->n], .low = l->low[l->n], .high = l->high[l->n],
                             .n = r->n_size, .style = style, .line = true };
    l->n++;
    return s;
}

static void open_section(struct lv_markup *m, const char *title)
{
    lv_put(m, "<section><h2>");
    lv_put_text(m, title);
    lv_put(m, "</h2>");
}

static struct lv_chart over_memory(const struct lv_report *r, const struct lines *l, const char *id, const char *title,
                                   const char *y_label)
{
    return (struct lv_chart){ .id = id, .title = title, .x_label = "memory (sizes as listed, not to scale)",
                              .y_label = y_label, .series = l->series, .n_series = l->n, .tick = r->tick,
                              .n_tick = r->n_size };
}

/* ---- speed ---- */

/* "3.21 (3.1 to 3.3)", "k 7" of a chain, "no draft" where there was no room for one. */
static void put_speed_cell(struct lv_markup *m, const struct lv_report *r, size_t i, size_t k, const char *task, bool best)
{
    const json_t *o = json_object_get(
        json_object_get(json_object_get(r->size[i], lv_rivals[k].group), lv_rivals[k].key), task);
    const json_t *spread = json_object_get(o, "spread"), *drafted = json_object_get(o, "drafted");
    const json_int_t length = json_integer_value(json_object_get(o, "k"));

    lv_put(m, best ? "<td class=\"best\">" : "<td>");
    lv_put_number(m, lv_report_value(r, i, k, task, "tok_per_s"));
    if (json_array_size(spread) == 2) {
        lv_put(m, " (");
        lv_put_number(m, json_number_value(json_array_get(spread, 0)));
        lv_put(m, "&#8211;");
        lv_put_number(m, json_number_value(json_array_get(spread, 1)));
        lv_put(m, ")");
    }
    if (length)
        lv_putf(m, ", k %d", (int)length);
    if (k != 1 && json_is_integer(drafted) && json_integer_value(drafted) == 0 && json_object_get(r->o, "draft") &&
        !json_is_null(json_object_get(r->o, "draft")))
        lv_put(m, ", no draft");
    lv_put(m, "</td>");
}

static bool is_best(const struct lv_report *r, size_t i, size_t k, const char *task)
{
    const double x = lv_report_value(r, i, k, task, "tok_per_s");

    for (size_t j = 0; j < LV_RIVALS; j++)
        if (lv_report_value(r, i, j, task, "tok_per_s") > x)
            return false;
    return isfinite(x);
}

static void put_speed_table(struct lv_markup *m, const struct lv_report *r, const char *caption, const char *first,
                            size_t i_size, bool by_task)
{
    const json_t *tasks = json_object_get(r->o, "tasks");
    const size_t n = by_task ? json_array_size(tasks) : r->n_size;

    lv_table_open(m, caption, first);
    for (size_t k = 0; k < LV_RIVALS; k++)
        if (lv_report_has(r, k))
            lv_table_column(m, lv_rivals[k].name);
    lv_table_body(m);
    for (size_t row = 0; row < n; row++) {
        const char *task = by_task ? json_string_value(json_array_get(tasks, row)) : "all";
        const size_t i = by_task ? i_size : row;

        lv_table_row(m, by_task ? task : r->tick[row]);
        for (size_t k = 0; k < LV_RIVALS; k++)
            if (lv_report_has(r, k))
                put_speed_cell(m, r, i, k, task, is_best(r, i, k, task));
        lv_table_row_end(m);
    }
    lv_table_close(m);
}

void lv_report_speed(struct lv_markup *m, const struct lv_report *r)
{
    struct lines l = { .n = 0 };
    struct lv_chart c;

    for (size_t k = 0; k < LV_RIVALS; k++) {
        if (!lv_report_has(r, k))
            continue;
        const size_t at = l.n;

        add_line(&l, r, lv_rivals[k].name, (unsigned)k);
        for (size_t i = 0; i < r->n_size; i++) {
            const json_t *spread = json_object_get(
                json_object_get(json_object_get(json_object_get(r->size[i], lv_rivals[k].group), lv_rivals[k].key), "all"),
                "spread");

            l.y[at][i] = lv_report_value(r, i, k, "all", "tok_per_s");
            if (json_array_size(spread) == 2) {
                l.low[at][i] = json_number_value(json_array_get(spread, 0));
                l.high[at][i] = json_number_value(json_array_get(spread, 1));
            }
        }
    }
    open_section(m, "Speed against memory");
    c = over_memory(r, &l, "speed", "Tokens a second against memory", "tokens a second");
    c.desc = "A line for each mode and program over the memory sizes. The table below has the same numbers.";
    lv_chart_put(m, &c);
    lv_put(m, "<p class=\"note\">Harmonic mean over tasks, each weighing the same.");
    for (size_t k = 0; k < LV_RIVALS; k++) {
        if (!lv_report_has(r, k))
            continue;
        lv_putf(m, " <strong>%s</strong>: %s.", lv_rivals[k].name, lv_rivals[k].what);
    }
    lv_put(m, "</p>");
    put_speed_table(m, r, "Tokens a second; the fastest of a row is bold", "Memory", 0, false);
    lv_put(m, "</section>");
}

void lv_report_tasks(struct lv_markup *m, const struct lv_report *r)
{
    char caption[80];

    lv_put(m, "<section class=\"wide\"><h2>Speed by task</h2>");
    for (size_t i = 0; i < r->n_size; i++) {
        snprintf(caption, sizeof caption, "Tokens a second, memory %s", r->tick[i]);
        put_speed_table(m, r, caption, "Task", i, true);
    }
    lv_put(m, "</section>");
}

/* ---- bytes, memory ---- */

static void put_table(struct lv_markup *m, const struct lv_report *r, const struct lines *l, const char *caption)
{
    lv_table_open(m, caption, "Memory");
    for (size_t k = 0; k < l->n; k++)
        lv_table_column(m, l->series[k].name);
    lv_table_body(m);
    for (size_t i = 0; i < r->n_size; i++) {
        lv_table_row(m, r->tick[i]);
        for (size_t k = 0; k < l->n; k++)
            lv_table_number(m, l->y[k][i]);
        lv_table_row_end(m);
    }
    lv_table_close(m);
}

/* One line for each mode of Lever's own. */
static void add_modes(struct lines *l, const struct lv_report *r, const char *field, double unit)
{
    for (size_t k = 0; k < LV_RIVALS; k++) {
        if (strcmp(lv_rivals[k].group, "modes") != 0 || !lv_report_has(r, k))
            continue;
        add_line(l, r, lv_rivals[k].name, (unsigned)k);
        for (size_t i = 0; i < r->n_size; i++)
            l->y[l->n - 1][i] = lv_report_value(r, i, k, "all", field) / unit;
    }
}

void lv_report_bytes(struct lv_markup *m, const struct lv_report *r)
{
    struct lines l = { .n = 0 };
    struct lv_chart c;

    add_modes(&l, r, "bytes_per_token", 1e6);
    open_section(m, "Bytes read for a token");
    c = over_memory(r, &l, "bytes", "Megabytes streamed for each token against memory", "MB a token");
    c.desc = "Bytes that decoding read from the device, divided by the tokens it gave, for each mode over the memory sizes.";
    lv_chart_put(m, &c);
    lv_put(m, "<p class=\"note\">Streamed weights / tokens. A pass reads the same whatever it verifies: more tokens a pass are "
              "fewer bytes a token. Other programs do not tell what they read.</p>");
    put_table(m, r, &l, "MB (10^6 bytes) streamed for a token");
    lv_put(m, "</section>");
}

void lv_report_memory(struct lv_markup *m, const struct lv_report *r)
{
    struct lines l = { .n = 0 };
    struct lv_chart c;

    add_modes(&l, r, "peak_rss", MIB);
    add_line(&l, r, "planned (Lever)", 4);
    for (size_t i = 0; i < r->n_size; i++)
        l.y[l.n - 1][i] = lv_report_value(r, i, 0, "all", "planned") / MIB;
    add_line(&l, r, "budget", 6);
    for (size_t i = 0; i < r->n_size; i++) {
        const double budget = (double)json_integer_value(json_object_get(r->size[i], "memory"));

        l.y[l.n - 1][i] = budget > 0 ? budget / MIB : NAN;
    }
    open_section(m, "Memory used against the plan");
    c = over_memory(r, &l, "memory", "Peak memory of each mode beside plan and budget", "MiB");
    c.desc = "Peak resident memory of the largest process of each mode, the plan made beforehand, and the budget given.";
    lv_chart_put(m, &c);
    lv_put(m, "<p class=\"note\">Peak resident set of the largest process. The plan is made before anything is loaded; a peak above "
              "the budget would be a defect.</p>");
    put_table(m, r, &l, "MiB");
    lv_put(m, "</section>");
}
