#include "svg.h"

#include <math.h>
#include <string.h>

/* Units of the view box; the page scales it to between 0.65 and 1.2 pixels. */
#define WIDTH 560.0
#define HEIGHT 330.0
#define LEFT 62.0
#define RIGHT 26.0
#define TOP 30.0
#define BOTTOM 52.0
#define MAX_TICK 12
#define LANE_LABEL 20.0
#define MAX_SUB 8 /* bars one below the other */

/* ---- scales ---- */

struct scale {
    double low, high;   /* of the values */
    double from, to;    /* where they lie in the view box */
    double tick[MAX_TICK];
    int n_tick;
    bool log;
};

static double place(const struct scale *s, double x)
{
    const double a = s->log ? log2(s->low) : s->low, b = s->log ? log2(s->high) : s->high, v = s->log ? log2(x) : x;

    return s->from + (v - a) / (b - a) * (s->to - s->from);
}

/* 0, then steps of 1, 2 or 5 times a power of ten up to high, which moves to the last of them. */
static void linear_ticks(struct scale *s)
{
    const double raw = s->high > 0 ? s->high / 5 : 0.2, ten = pow(10, floor(log10(raw)));
    const double step = raw / ten <= 1 ? ten : raw / ten <= 2 ? 2 * ten : raw / ten <= 5 ? 5 * ten : 10 * ten;
    const int n = (int)ceil((s->high > 0 ? s->high : 1) / step - 1e-9);

    s->low = 0;
    for (s->n_tick = 0; s->n_tick <= n && s->n_tick < MAX_TICK; s->n_tick++)
        s->tick[s->n_tick] = s->n_tick * step;
    s->high = s->tick[s->n_tick - 1];
}

static void log_ticks(struct scale *s)
{
    s->log = true;
    s->low = 1;
    s->n_tick = 0;
    for (double x = 1; s->n_tick < MAX_TICK; x *= 2) {
        s->tick[s->n_tick++] = x;
        if (x >= s->high)
            break;
    }
    s->high = s->n_tick > 1 ? s->tick[s->n_tick - 1] : 2;
}

static bool drawn(const struct lv_chart *c, const struct lv_series *s, size_t i)
{
    return isfinite(s->x[i]) && isfinite(s->y[i]) && s->y[i] >= 0 && s->x[i] >= (c->log_x ? 1 : 0);
}

/* Largest values; false when there is none. */
static bool extent(const struct lv_chart *c, double *x, double *y)
{
    bool any = false;

    *x = 0;
    *y = c->y_max;
    for (size_t k = 0; k < c->n_series; k++) {
        const struct lv_series *s = &c->series[k];

        for (size_t i = 0; i < s->n; i++) {
            if (!drawn(c, s, i))
                continue;
            any = true;
            *x = fmax(*x, s->x[i]);
            *y = fmax(*y, s->high && isfinite(s->high[i]) ? fmax(s->high[i], s->y[i]) : s->y[i]);
        }
    }
    if (c->diagonal)
        *x = *y = fmax(*x, *y);
    return any;
}

/* ---- pieces ---- */

static void put_head(struct lv_markup *m, const char *id, const char *title, const char *desc, double height)
{
    lv_putf(m, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-labelledby=\"%s-t %s-d\"><title id=\"%s-t\">", WIDTH, height,
            id, id, id);
    lv_put_text(m, title);
    lv_putf(m, "</title><desc id=\"%s-d\">", id);
    lv_put_text(m, desc);
    lv_put(m, "</desc>");
}

static void put_label(struct lv_markup *m, double x, double y, const char *anchor, const char *text)
{
    lv_putf(m, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    lv_put_text(m, text);
    lv_put(m, "</text>");
}

/* Ticks need no more digits than tell them apart. */
static void put_tick_number(struct lv_markup *m, double x, double y, const char *anchor, double value)
{
    lv_putf(m, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%.6g</text>", x, y, anchor, value);
}

static void put_marker(struct lv_markup *m, unsigned style, double x, double y)
{
    const char *shape = "";

    switch (style % LV_SVG_STYLES) {
    case 0:
        lv_putf(m, "<circle class=\"f\" cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"/>", x, y);
        return;
    case 1:
        shape = "M-4-4h8v8h-8z";
        break;
    case 2:
        shape = "M0-5.5L5.2 3.8H-5.2z";
        break;
    case 3:
        shape = "M0-6L5 0 0 6-5 0z";
        break;
    case 4:
        lv_putf(m, "<path d=\"M-4.5-4.5L4.5 4.5M-4.5 4.5L4.5-4.5\" transform=\"translate(%.1f %.1f)\"/>", x, y);
        return;
    case 5:
        lv_putf(m, "<path d=\"M0-5.5V5.5M-5.5 0H5.5\" transform=\"translate(%.1f %.1f)\"/>", x, y);
        return;
    case 6:
        lv_putf(m, "<circle class=\"o\" cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"/>", x, y);
        return;
    default:
        shape = "M0 5.5L5.2-3.8H-5.2z";
    }
    lv_putf(m, "<path class=\"f\" d=\"%s\" transform=\"translate(%.1f %.1f)\"/>", shape, x, y);
}

static bool any_drawn(const struct lv_chart *c, const struct lv_series *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (drawn(c, s, i))
            return true;
    return false;
}

static void put_legend(struct lv_markup *m, const struct lv_chart *c)
{
    lv_put(m, "<ul class=\"legend\">");
    for (size_t k = 0; k < c->n_series; k++) {
        const struct lv_series *s = &c->series[k];

        if (!any_drawn(c, s))
            continue;
        lv_putf(m, "<li><svg class=\"key\" viewBox=\"0 0 38 14\" aria-hidden=\"true\"><g class=\"s%u\">",
                s->style % LV_SVG_STYLES);
        if (s->line)
            lv_put(m, "<path class=\"l\" d=\"M1 7H37\"/>");
        put_marker(m, s->style, 19, 7);
        lv_put(m, "</g></svg>");
        lv_put_text(m, s->name);
        lv_put(m, "</li>");
    }
    lv_put(m, "</ul>");
}

/* ---- charts ---- */

static void put_axes(struct lv_markup *m, const struct lv_chart *c, const struct scale *x, const struct scale *y)
{
    const size_t every = (c->n_tick + 7) / 8; /* more than eight names would run into each other */

    lv_put(m, "<g class=\"grid\">");
    for (int i = 0; i < y->n_tick; i++)
        lv_putf(m, "<path d=\"M%.1f %.1fH%.1f\"/>", x->from, place(y, y->tick[i]), x->to);
    lv_put(m, "</g>");
    for (int i = 0; i < y->n_tick; i++)
        put_tick_number(m, x->from - 7, place(y, y->tick[i]) + 4.5, "end", y->tick[i]);
    for (int i = 0; i < x->n_tick && !c->tick; i++)
        put_tick_number(m, place(x, x->tick[i]), y->from + 18, "middle", x->tick[i]);
    for (size_t i = 0; c->tick && i < c->n_tick; i += every)
        put_label(m, place(x, (double)i), y->from + 18, "middle", c->tick[i]);
    lv_putf(m, "<path class=\"axis\" d=\"M%.1f %.1fV%.1fH%.1f\"/>", x->from, y->to, y->from, x->to);
    put_label(m, (x->from + x->to) / 2, HEIGHT - 10, "middle", c->x_label);
    put_label(m, 4, 15, "start", c->y_label);
    if (c->diagonal)
        lv_putf(m, "<path class=\"diagonal\" d=\"M%.1f %.1fL%.1f %.1f\"/>", x->from, y->from, x->to, y->to);
}

static void put_series(struct lv_markup *m, const struct lv_chart *c, const struct lv_series *s, const struct scale *x,
                       const struct scale *y)
{
    bool joined = false;

    lv_putf(m, "<g class=\"s%u\">", s->style % LV_SVG_STYLES);
    if (s->line) {
        lv_put(m, "<path class=\"l\" d=\"");
        for (size_t i = 0; i < s->n; i++) {
            if (drawn(c, s, i))
                lv_putf(m, "%s%.1f %.1f", joined ? "L" : "M", place(x, s->x[i]), place(y, s->y[i]));
            joined = drawn(c, s, i);
        }
        lv_put(m, "\"/>");
    }
    for (size_t i = 0; i < s->n; i++) {
        if (!drawn(c, s, i))
            continue;
        const double px = place(x, s->x[i]);

        if (s->low && s->high && isfinite(s->low[i]) && isfinite(s->high[i]) && s->low[i] >= 0)
            lv_putf(m, "<path class=\"spread\" d=\"M%.1f %.1fV%.1f\"/>", px, place(y, s->low[i]), place(y, s->high[i]));
        put_marker(m, s->style, px, place(y, s->y[i]));
    }
    lv_put(m, "</g>");
}

void lv_chart_put(struct lv_markup *m, const struct lv_chart *c)
{
    struct scale x = { .from = LEFT, .to = WIDTH - RIGHT }, y = { .from = HEIGHT - BOTTOM, .to = TOP };

    if (!extent(c, &x.high, &y.high)) {
        lv_put(m, "<p class=\"none\">Nothing to draw: no such figures were measured.</p>");
        return;
    }
    linear_ticks(&y);
    if (c->tick) { /* half a step of room on both sides */
        x.low = -0.5;
        x.high = (double)c->n_tick - 0.5;
    } else if (c->log_x) {
        log_ticks(&x);
    } else {
        linear_ticks(&x);
    }
    put_head(m, c->id, c->title, c->desc, HEIGHT);
    put_axes(m, c, &x, &y);
    for (size_t k = 0; k < c->n_series; k++)
        put_series(m, c, &c->series[k], &x, &y);
    lv_put(m, "</svg>");
    put_legend(m, c);
}

/* ---- bars over time ---- */

/* The first row that is free at `begin`; the last one when none is. */
static int free_row(double *until, int *n, double begin)
{
    int i = 0;

    while (i < *n && until[i] > begin)
        i++;
    if (i == MAX_SUB)
        i = MAX_SUB - 1;
    if (i == *n)
        until[(*n)++] = 0;
    return i;
}

static bool shown(const struct lv_timeline *t, const struct lv_lane *l, size_t i)
{
    return isfinite(l->begin[i]) && isfinite(l->end[i]) && l->end[i] >= l->begin[i] && l->end[i] > 0 &&
           l->begin[i] < t->seconds;
}

static int rows_of(const struct lv_timeline *t, const struct lv_lane *l)
{
    double until[MAX_SUB];
    int n = 0;

    for (size_t i = 0; i < l->n; i++)
        if (shown(t, l, i))
            until[free_row(until, &n, l->begin[i])] = l->end[i];
    return n > 0 ? n : 1;
}

static double bar_height(int n_row)
{
    return n_row > 2 ? 7 : n_row > 1 ? 10 : 16;
}

static void put_lane(struct lv_markup *m, const struct lv_timeline *t, size_t i_lane, const struct scale *x, double top)
{
    const struct lv_lane *l = &t->lane[i_lane];
    const double height = bar_height(rows_of(t, l));
    double until[MAX_SUB];
    int n = 0;

    put_label(m, x->from, top + 14, "start", l->name);
    lv_putf(m, "<g class=\"s%zu bars\">", i_lane % LV_SVG_STYLES);
    for (size_t i = 0; i < l->n; i++) {
        if (!shown(t, l, i))
            continue;
        const int row = free_row(until, &n, l->begin[i]);
        const double a = place(x, fmax(l->begin[i], 0) * 1e3), b = place(x, fmin(l->end[i], t->seconds) * 1e3);

        until[row] = l->end[i];
        lv_putf(m, "<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\"/>", a, top + LANE_LABEL + row * (height + 1),
                fmax(b - a, 0.7), height);
    }
    lv_put(m, "</g>");
}

void lv_timeline_put(struct lv_markup *m, const struct lv_timeline *t)
{
    struct scale x = { .from = 12, .to = WIDTH - RIGHT, .high = t->seconds * 1e3 };
    double height = 8, top = 4;
    size_t n_bar = 0;

    for (size_t i = 0; i < t->n_lane; i++) {
        const int rows = rows_of(t, &t->lane[i]);

        height += LANE_LABEL + rows * (bar_height(rows) + 1) + 8;
        n_bar += t->lane[i].n;
    }
    if (!n_bar || !(t->seconds > 0) || !isfinite(t->seconds)) {
        lv_put(m, "<p class=\"none\">Nothing to draw: no round was recorded.</p>");
        return;
    }
    linear_ticks(&x);
    put_head(m, t->id, t->title, t->desc, height + 44);
    lv_put(m, "<g class=\"grid\">");
    for (int i = 0; i < x.n_tick; i++)
        lv_putf(m, "<path d=\"M%.1f 4V%.1f\"/>", place(&x, x.tick[i]), height);
    lv_put(m, "</g>");
    for (int i = 0; i < x.n_tick; i++)
        put_tick_number(m, place(&x, x.tick[i]), height + 16, "middle", x.tick[i]);
    put_label(m, (x.from + x.to) / 2, height + 36, "middle", "milliseconds since the round began");
    for (size_t i = 0; i < t->n_lane; i++) {
        const int rows = rows_of(t, &t->lane[i]);

        put_lane(m, t, i, &x, top);
        top += LANE_LABEL + rows * (bar_height(rows) + 1) + 8;
    }
    lv_put(m, "</svg>");
}
