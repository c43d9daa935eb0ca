/* What the report says in words: what was measured and how, where Lever loses, what gave no result. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report.h"

const struct lv_rival lv_rivals[LV_RIVALS] = {
    { "modes", "lever", "Lever", "everything on auto" },
    { "modes", "off", "plain", "Lever without a draft: one token a pass" },
    { "modes", "chain", "chain", "Lever with a serial chain of draft tokens, the best length" },
    { "modes", "tree", "serial tree", "Lever with a token tree, no drafting during a pass" },
    { "peers", "mmap", "llama.cpp mmap", "llama.cpp, weights mapped, no draft" },
    { "peers", "mmap_chain", "llama.cpp mmap + chain", "llama.cpp, weights mapped, a chain of draft tokens" },
    { "peers", "pinned_chain", "llama.cpp pinned + chain",
      "the same, with as much of the target locked in memory as fits beside the draft" },
};

const char *lv_report_size_name(char buf[24], const json_t *size)
{
    const json_t *memory = json_object_get(size, "memory");
    const uint64_t n = (uint64_t)json_integer_value(memory), mib = UINT64_C(1) << 20;

    if (json_is_string(memory))
        snprintf(buf, 24, "%.20s", json_string_value(memory));
    else if (!n)
        snprintf(buf, 24, "unlimited");
    else if (n % (mib << 10) == 0)
        snprintf(buf, 24, "%" PRIu64 "G", n / (mib << 10));
    else if (n % mib == 0)
        snprintf(buf, 24, "%" PRIu64 "M", n / mib);
    else
        snprintf(buf, 24, "%.1fM", (double)n / (double)mib);
    return buf;
}

void lv_report_init(struct lv_report *r, const json_t *o)
{
    const json_t *sizes = json_object_get(o, "sizes");
    const size_t n = sizes ? json_array_size(sizes) : 1;

    memset(r, 0, sizeof *r);
    r->o = o;
    for (size_t i = 0; i < n && r->n_size < LV_CAP_MEMORY; i++) {
        const json_t *size = sizes ? json_array_get(sizes, i) : o;

        if (!json_is_object(json_object_get(size, "modes")))
            continue;
        r->size[r->n_size] = size;
        r->tick[r->n_size] = lv_report_size_name(r->name[r->n_size], size);
        r->n_size++;
    }
}

double lv_report_value(const struct lv_report *r, size_t i, size_t k, const char *task, const char *field)
{
    const json_t *o = json_object_get(json_object_get(r->size[i], lv_rivals[k].group), lv_rivals[k].key);
    const json_t *v = json_object_get(json_object_get(o, task), field);
    const double x = json_number_value(v);

    return !json_is_number(v) || (x <= 0 && !strcmp(field, "tok_per_s")) ? NAN : x;
}

bool lv_report_has(const struct lv_report *r, size_t k)
{
    for (size_t i = 0; i < r->n_size; i++)
        if (isfinite(lv_report_value(r, i, k, "all", "tok_per_s")))
            return true;
    /* a peer that lacks a task has no mean, but figures of others */
    for (size_t i = 0; i < r->n_size; i++)
        if (json_object_size(json_object_get(json_object_get(r->size[i], lv_rivals[k].group), lv_rivals[k].key)))
            return true;
    return false;
}

/* ---- what was measured ---- */

static const char *text_of(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));

    return s ? s : "";
}

static double number_of(const json_t *o, const char *name)
{
    return json_number_value(json_object_get(o, name));
}

/* A whole number; 0 for anything else. */
static int count_of(const json_t *o, const char *name)
{
    const json_int_t n = json_integer_value(json_object_get(o, name));

    return n > 0 && n < INT32_MAX ? (int)n : 0;
}

static void put_term(struct lv_markup *m, const char *term)
{
    lv_putf(m, "<dt>%s</dt><dd>", term);
}

static void put_device(struct lv_markup *m, const struct lv_report *r)
{
    double low = INFINITY, high = 0, drift = 0;
    bool cached = false;

    for (size_t i = 0; i < r->n_size; i++) {
        const double a = number_of(r->size[i], "raw_before"), b = number_of(r->size[i], "raw_after");

        cached = cached || json_is_true(json_object_get(r->size[i], "looks_cached"));
        if (!(a > 0) || !(b > 0))
            continue;
        low = fmin(low, fmin(a, b));
        high = fmax(high, fmax(a, b));
        drift = fmax(drift, fabs(b / a - 1));
    }
    put_term(m, "Device");
    if (high > 0) {
        lv_put_number(m, low * 1e-9);
        lv_put(m, " to ");
        lv_put_number(m, high * 1e-9);
        lv_put(m, " GB/s of direct reads, before and after each memory size; within one size it moved by up to ");
        lv_put_percent(m, drift);
    } else {
        lv_put(m, "nothing was streamed");
    }
    lv_put(m, cached ? ". These reads look as if they were served from memory.</dd>" : "</dd>");
}

/* Largest distance of a repetition from the figure that stands for it. */
static double widest_spread(const struct lv_report *r)
{
    double wide = NAN;

    for (size_t i = 0; i < r->n_size; i++) {
        for (size_t k = 0; k < LV_RIVALS; k++) {
            const json_t *all = json_object_get(
                json_object_get(json_object_get(r->size[i], lv_rivals[k].group), lv_rivals[k].key), "all");
            const json_t *spread = json_object_get(all, "spread");
            const double x = number_of(all, "tok_per_s");

            if (json_array_size(spread) != 2 || !(x > 0))
                continue;
            wide = fmax(isfinite(wide) ? wide : 0, fmax(1 - json_number_value(json_array_get(spread, 0)) / x,
                                                          json_number_value(json_array_get(spread, 1)) / x - 1));
        }
    }
    return wide;
}

static void put_spread(struct lv_markup *m, const struct lv_report *r)
{
    const double wide = widest_spread(r);
    const int repeat = count_of(r->o, "repeat");

    put_term(m, "Repetitions");
    if (repeat > 1 && isfinite(wide)) {
        lv_putf(m, "%d of each generation; the slowest and the fastest are drawn as vertical bars and lie up to ", repeat);
        lv_put_percent(m, wide);
        lv_put(m, " from the mean</dd>");
    } else {
        lv_put(m, "one run each, so no spread is known; differences of a few percent mean nothing</dd>");
    }
}

static bool all_equal(const struct lv_report *r)
{
    for (size_t i = 0; i < r->n_size; i++)
        for (size_t k = 0; k < LV_RIVALS; k++)
            if (json_is_false(json_object_get(
                    json_object_get(json_object_get(json_object_get(r->size[i], "modes"), lv_rivals[k].key), "all"), "equal")))
                return false;
    return true;
}

static void put_prompts(struct lv_markup *m, const struct lv_report *r)
{
    const json_t *tasks = json_object_get(r->o, "tasks"), *sampling = json_object_get(r->o, "sampling");

    put_term(m, "Prompts");
    lv_putf(m, "%d, of the tasks ", count_of(r->o, "prompts"));
    for (size_t i = 0; i < json_array_size(tasks); i++) {
        lv_put(m, i ? ", " : "");
        lv_put_text(m, json_string_value(json_array_get(tasks, i)));
    }
    lv_putf(m, "; %d tokens each, %d without a draft; ", count_of(r->o, "n"), count_of(r->o, "n_off"));
    if (number_of(sampling, "temp") > 0)
        lv_putf(m, "temperature %g</dd>", fmin(number_of(sampling, "temp"), 100));
    else
        lv_put(m, "greedy</dd>");
}

void lv_report_about(struct lv_markup *m, const struct lv_report *r)
{
    const json_t *peers = json_object_get(r->o, "peer_programs");

    lv_put(m, "<dl>");
    put_term(m, "Version");
    lv_put_textf(m, "Lever %s, commit %s, measured on %s", text_of(r->o, "version"), text_of(r->o, "commit"),
                 text_of(r->o, "date"));
    lv_put(m, "</dd>");
    put_term(m, "Machine");
    lv_put_textf(m, "%s, %d threads", *text_of(r->o, "cpu") ? text_of(r->o, "cpu") : "unknown CPU",
                 count_of(r->o, "threads"));
    lv_put(m, "</dd>");
    put_device(m, r);
    put_term(m, "Models");
    lv_put_textf(m, "target %s, draft %s", text_of(r->o, "target"), *text_of(r->o, "draft") ? text_of(r->o, "draft") : "none");
    lv_put(m, "</dd>");
    put_prompts(m, r);
    put_spread(m, r);
    put_term(m, "Same text");
    lv_put(m, all_equal(r) ? "yes: every generation gave the tokens of plain decoding with everything in memory</dd>"
                           : "<strong>no: some generation differed from plain decoding</strong></dd>");
    if (peers) {
        put_term(m, "Others");
        lv_put_textf(m, "llama.cpp %s, in a control group of the same memory and 16 MiB more, weights not repacked where memory is "
                     "bounded, page cache of the models dropped before each run%s%s", text_of(peers, "version"), *text_of(peers, "missing") ? "; " : "",
                     text_of(peers, "missing"));
        lv_put(m, "</dd>");
    }
    put_term(m, "Command");
    lv_put(m, "<code>");
    lv_put_text(m, text_of(r->o, "command"));
    lv_put(m, "</code></dd></dl>");
}

/* ---- where Lever loses ---- */

struct tally {
    unsigned n_cell, n_lost;
};

static void compare(struct lv_markup *m, const struct lv_report *r, size_t i, const char *task, struct tally *t)
{
    const double own = lv_report_value(r, i, 0, task, "tok_per_s");

    for (size_t k = 1; k < LV_RIVALS; k++) {
        const double other = lv_report_value(r, i, k, task, "tok_per_s");

        if (!isfinite(own) || !isfinite(other))
            continue;
        t->n_cell++;
        if (!(other > own))
            continue;
        lv_put(m, t->n_lost++ ? "<li>" : "<ul><li>");
        lv_put_textf(m, "%s, %s: %s is faster, ", r->tick[i], !strcmp(task, "all") ? "all tasks" : task, lv_rivals[k].name);
        lv_put_number(m, other);
        lv_put(m, " against ");
        lv_put_number(m, own);
        lv_put(m, " tok/s (");
        lv_put_percent(m, other / own - 1);
        lv_put(m, ")</li>");
    }
}

void lv_report_losses(struct lv_markup *m, const struct lv_report *r)
{
    const json_t *tasks = json_object_get(r->o, "tasks");
    struct tally t = { 0, 0 };

    lv_put(m, "<section class=\"wide\"><h2>Where Lever loses</h2>");
    for (size_t i = 0; i < r->n_size; i++) {
        compare(m, r, i, "all", &t);
        for (size_t j = 0; j < json_array_size(tasks); j++)
            compare(m, r, i, json_string_value(json_array_get(tasks, j)), &t);
    }
    if (t.n_lost)
        lv_put(m, "</ul>");
    if (!t.n_cell)
        lv_put(m, "<p>Nothing to compare: mode lever, or every other, was not measured.</p>");
    else
        lv_putf(m, "<p>%u of %u comparisons (memory size, task, other mode or program) are lost%s.</p>", t.n_lost, t.n_cell,
                t.n_lost ? "" : ", as far as was measured");
    lv_put(m, "</section>");
}

/* ---- what gave no result ---- */

static void put_peer_errors(struct lv_markup *m, const char *size_name, const json_t *size, bool *any)
{
    for (size_t k = 0; k < LV_RIVALS; k++) {
        const json_t *all = json_object_get(
            json_object_get(json_object_get(size, "peers"), lv_rivals[k].key), "all");
        const char *why = json_string_value(json_object_get(all, "error"));

        if (!why)
            continue;
        lv_put(m, *any ? "<li>" : "<section class=\"wide\"><h2>Without a result</h2><ul><li>");
        lv_put_textf(m, "%s, %s: %s", size_name, lv_rivals[k].name, why);
        lv_put(m, "</li>");
        *any = true;
    }
}

void lv_report_failures(struct lv_markup *m, const struct lv_report *r)
{
    const json_t *sizes = json_object_get(r->o, "sizes");
    const size_t n = sizes ? json_array_size(sizes) : 1;
    bool any = false;

    for (size_t i = 0; i < n; i++) {
        const json_t *size = sizes ? json_array_get(sizes, i) : r->o;
        const char *why = json_string_value(json_object_get(json_object_get(size, "error"), "message"));
        char name[24];

        lv_report_size_name(name, size);
        if (why) {
            lv_put(m, any ? "<li>" : "<section class=\"wide\"><h2>Without a result</h2><ul><li>");
            lv_put_textf(m, "%s: %s", name, why);
            lv_put(m, "</li>");
            any = true;
        }
        put_peer_errors(m, name, size, &any);
    }
    if (any)
        lv_put(m, "</ul></section>");
}
