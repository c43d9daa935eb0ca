/* Charts as inline SVG: points and lines over a scale, and bars over time.
 *
 * Series are told apart by marker and dash first, by colour second; the colours are CSS variables of the page
 * (report_style.c). A value that is not finite is a gap. Text of names and titles comes from outside and is escaped.
 * Everything is borrowed until the call returns; lack of memory shows in the markup. */
#ifndef LV_CLI_SVG_H
#define LV_CLI_SVG_H

#include "markup.h"

#define LV_SVG_STYLES 8 /* kinds of marker, dash and colour; further series begin again */

struct lv_series {
    const char *name;
    const double *x, *y;     /* [n]; x: in a chart with ticks an index into them */
    const double *low, *high; /* [n], NULL: no spread is drawn */
    size_t n;
    unsigned style;          /* 0 .. LV_SVG_STYLES - 1 */
    bool line;               /* neighbours are joined */
};

struct lv_chart {
    const char *id;          /* of the page's own, unique in it: a name of letters and dashes */
    const char *title, *desc; /* desc: what is to be seen, for those who do not see it */
    const char *x_label, *y_label;
    const struct lv_series *series; /* [n_series] */
    size_t n_series;
    const char *const *tick; /* [n_tick] names on the x axis, evenly spaced; NULL: a scale */
    size_t n_tick;
    bool log_x;              /* powers of two; x >= 1 */
    bool diagonal;           /* y = x is drawn, and both axes end alike */
    double y_max;            /* the scale's end is at least this; 0: as the data */
};

/* The chart and its legend; a sentence instead when there is nothing to draw. */
void lv_chart_put(struct lv_markup *m, const struct lv_chart *c);

struct lv_lane {
    const char *name;
    const double *begin, *end; /* [n] seconds, begin rising; those at the same time are drawn one below the other */
    size_t n;
};

struct lv_timeline {
    const char *id, *title, *desc;
    double seconds;            /* the scale's end */
    const struct lv_lane *lane; /* [n_lane] */
    size_t n_lane;
};

void lv_timeline_put(struct lv_markup *m, const struct lv_timeline *t);

#endif
