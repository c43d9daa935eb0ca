/* Tables under the figures. */
#ifndef LV_CLI_REPORT_TABLE_H
#define LV_CLI_REPORT_TABLE_H

#include "report.h"

/* Opens a table whose first column is `first`; columns follow with lv_table_column, rows with lv_table_row. */
static inline void lv_table_open(struct lv_markup *m, const char *caption, const char *first)
{
    lv_put(m, "<div class=\"table\" role=\"region\" tabindex=\"0\" aria-label=\"");
    lv_put_text(m, caption);
    lv_put(m, "\"><table><caption>");
    lv_put_text(m, caption);
    lv_put(m, "</caption><thead><tr><th scope=\"col\">");
    lv_put_text(m, first);
    lv_put(m, "</th>");
}

static inline void lv_table_column(struct lv_markup *m, const char *name)
{
    lv_put(m, "<th scope=\"col\">");
    lv_put_text(m, name);
    lv_put(m, "</th>");
}

static inline void lv_table_body(struct lv_markup *m)
{
    lv_put(m, "</tr></thead><tbody>");
}

static inline void lv_table_row(struct lv_markup *m, const char *name)
{
    lv_put(m, "<tr><th scope=\"row\">");
    lv_put_text(m, name);
    lv_put(m, "</th>");
}

static inline void lv_table_number(struct lv_markup *m, double x)
{
    lv_put(m, "<td>");
    lv_put_number(m, x);
    lv_put(m, "</td>");
}

static inline void lv_table_row_end(struct lv_markup *m)
{
    lv_put(m, "</tr>");
}

static inline void lv_table_close(struct lv_markup *m)
{
    lv_put(m, "</tbody></table></div>");
}

#endif
