/* The parts of the report: what the figures are made of. All of it comes from the JSON object that
 * lever bench decode --json prints, so that a report can say nothing that the object does not.
 *
 * Everything is borrowed from that object; functions put markup, and lack of memory shows there. */
#ifndef LV_CLI_REPORT_H
#define LV_CLI_REPORT_H

#include <jansson.h>

#include "args.h"
#include "markup.h"
#include "svg.h"

struct lv_report {
    const json_t *o;
    const json_t *size[LV_CAP_MEMORY]; /* [n_size] those that were measured */
    char name[LV_CAP_MEMORY][24];      /* "640M", "unlimited" */
    const char *tick[LV_CAP_MEMORY];   /* [n_size] name */
    size_t n_size;
};

/* Who is compared. Lever itself is first. */
#define LV_RIVALS 7
struct lv_rival {
    const char *group, *key; /* in the object of a size: "modes" or "peers" */
    const char *name, *what; /* for people; what: one sentence */
};
extern const struct lv_rival lv_rivals[LV_RIVALS];

/* ---- report_text.c ---- */
void lv_report_init(struct lv_report *r, const json_t *o);
const char *lv_report_size_name(char buf[24], const json_t *size);
/* A number of rival k at size i; NAN when there is none. A rate of 0 is none. */
double lv_report_value(const struct lv_report *r, size_t i, size_t k, const char *task, const char *field);
bool lv_report_has(const struct lv_report *r, size_t k); /* it was measured at some size */
void lv_report_about(struct lv_markup *m, const struct lv_report *r);
void lv_report_losses(struct lv_markup *m, const struct lv_report *r);
void lv_report_failures(struct lv_markup *m, const struct lv_report *r); /* sizes and peers without a result */

/* ---- report_figures.c: a section each, with its table ---- */
void lv_report_speed(struct lv_markup *m, const struct lv_report *r);
void lv_report_tasks(struct lv_markup *m, const struct lv_report *r);
void lv_report_bytes(struct lv_markup *m, const struct lv_report *r);
void lv_report_memory(struct lv_markup *m, const struct lv_report *r);

/* ---- report_rounds.c ---- */
void lv_report_tree_sizes(struct lv_markup *m, const struct lv_report *r);
void lv_report_acceptance(struct lv_markup *m, const struct lv_report *r);
void lv_report_round(struct lv_markup *m, const struct lv_report *r);
void lv_report_prediction(struct lv_markup *m, const struct lv_report *r);

/* ---- report_style.c ---- */
extern const char lv_report_style[];

#endif
