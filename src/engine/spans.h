/* Spans: when something was going on, the last few of them, for the time line of a round.
 *
 * owns     nothing; lives inside what it tells about, whose lock its user holds. Adding is two stores. */
#ifndef LV_ENGINE_SPANS_H
#define LV_ENGINE_SPANS_H

#include <stddef.h>
#include <stdint.h>

#include "lever/lever.h"

#define LV_SPANS 512 /* kept; more than a round has, save where slots are tiny */

struct lv_spans {
    uint64_t n; /* ever added */
    struct {
        uint64_t begin_ns, end_ns;
    } at[LV_SPANS]; /* number n is at n % LV_SPANS */
};

static inline void lv_spans_add(struct lv_spans *s, uint64_t begin_ns, uint64_t end_ns)
{
    s->at[s->n % LV_SPANS].begin_ns = begin_ns;
    s->at[s->n % LV_SPANS].end_ns = end_ns;
    s->n++;
}

/* Copies those that touch from_ns .. to_ns, cut there, in seconds behind from_ns, as they ended. Returns how many, at most
 * cap. */
static inline size_t lv_spans_copy(const struct lv_spans *s, uint64_t from_ns, uint64_t to_ns, struct lever_span *out,
                                   size_t cap)
{
    size_t n = 0;

    for (uint64_t i = s->n > LV_SPANS ? s->n - LV_SPANS : 0; i < s->n && n < cap; i++) {
        const uint64_t a = s->at[i % LV_SPANS].begin_ns, b = s->at[i % LV_SPANS].end_ns;

        if (b <= from_ns || a >= to_ns)
            continue;
        out[n].begin = a > from_ns ? 1e-9 * (double)(a - from_ns) : 0.0;
        out[n++].end = 1e-9 * (double)((b < to_ns ? b : to_ns) - from_ns);
    }
    return n;
}

#endif
