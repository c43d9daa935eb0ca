#include "sim/accept.h"

#include <assert.h>
#include <string.h>

#include "draft/calibrate.h"
#include "draft/lookup.h"

_Static_assert(LEVER_ACCEPT_MATCHES == LV_CALIB_MATCHES, "a share for each class of matches");

#define N_CHILD LEVER_ACCEPT_CHILDREN
#define FIRST_PLACES 4096 /* drawn to see how often a first choice is right */

static bool is_share(float x)
{
    return x >= 0.0f && x <= 1.001f; /* NaN is not */
}

const char *lv_accept_fault(const struct lever_acceptance *t)
{
    if (t->n_class < 1 || t->n_class > LEVER_ACCEPT_CLASSES || t->n_task < 1 || t->n_task > LEVER_ACCEPT_TASKS)
        return "the number of classes or tasks";
    for (uint32_t c = 0; c < t->n_class; c++) {
        float p = 0.0f, hit = 0.0f;

        for (uint32_t k = 0; k < N_CHILD; k++) {
            if (!is_share(t->cls[c].p[k]) || !is_share(t->cls[c].hit[k]) || (k && t->cls[c].p[k] > t->cls[c].p[k - 1]))
                return "a class: shares of 0 to 1 are expected, p falling";
            p += t->cls[c].p[k];
            hit += t->cls[c].hit[k];
        }
        if (!(p <= 1.001f) || !(hit <= 1.001f))
            return "a class: its shares sum to more than 1";
    }
    for (uint32_t k = 0; k < LEVER_ACCEPT_MATCHES; k++)
        if (!is_share(t->lookup[k]))
            return "lookup: shares of 0 to 1 are expected";
    for (uint32_t i = 0; i < t->n_task; i++) {
        float on = 0.0f, beside = 0.0f, copied = 0.0f;

        for (uint32_t c = 0; c < t->n_class; c++) {
            if (!is_share(t->task[i].on[c]) || !is_share(t->task[i].beside[c]) || !is_share(t->task[i].copied[c]))
                return "a task: shares of 0 to 1 are expected";
            on += t->task[i].on[c];
            beside += t->task[i].beside[c];
            copied += t->task[i].copied[c];
        }
        if (!is_share(t->task[i].found) || !is_share(t->task[i].found_again))
            return "a task: shares of 0 to 1 are expected";
        for (uint32_t k = 0; k < LEVER_ACCEPT_MATCHES; k++)
            if (!is_share(t->task[i].right[k]))
                return "a task: shares of 0 to 1 are expected";
        if (!(on > 0.99f && on < 1.01f) || !(beside > 0.99f && beside < 1.01f) ||
            (t->task[i].found > 0.0f && !(copied > 0.99f && copied < 1.01f)))
            return "a task: its shares do not sum to 1";
        for (uint32_t k = 0; k < t->task[i].n_text && k < LEVER_ACCEPT_TEXT; k++) {
            const struct lever_place *p = &t->task[i].text[k];

            if (p->cls >= t->n_class || p->truth > N_CHILD || p->match == 1 || p->match > LV_LOOKUP_MATCH_MAX)
                return "a task: its text has a place that is out of range";
        }
        if (t->task[i].n_text > LEVER_ACCEPT_TEXT || t->task[i].n_text == 1)
            return "a task: its text is too long or too short";
        if (!(t->task[i].stay >= 0.0f && t->task[i].stay < 1.0f))
            return "a task: stay is a share below 1";
    }
    return NULL;
}

/* Of [0, 1). */
static double uniform(struct lv_rng *r)
{
    return (double)(lv_rng_u64(r) >> 11) * 0x1p-53;
}

/* The index that u falls on; n when the shares end before it. */
static uint32_t pick(const float *share, uint32_t n, double u)
{
    for (uint32_t i = 0; i < n; i++) {
        if (u < (double)share[i])
            return i;
        u -= (double)share[i];
    }
    return n;
}

static uint32_t class_of(const struct lv_accept *a, const float *share, double u)
{
    const uint32_t c = pick(share, a->table->n_class, u);

    return c < a->table->n_class ? c : a->table->n_class - 1;
}

/* The class of a position is that of the one before it, or drawn anew. So stretches of easy text come about, and each class
 * keeps its share. */
static void draw(struct lv_accept *a, const struct lever_place *before, struct lever_place *p)
{
    const struct lever_acceptance *t = a->table;
    struct lv_rng r = { lv_mix64(a->seed ^ lv_mix64(a->n + 1)) }, look = { r.state ^ UINT64_C(0x94d049bb133111eb) },
                  hit = { r.state ^ UINT64_C(0x5bd1e9955bd1e995) };
    const bool again = before && before->copied;
    const uint32_t match = again && before->match < LV_LOOKUP_MATCH_MAX ? before->match + 1u : again ? before->match : LV_LOOKUP_MIN;
    const bool found = uniform(&look) < (double)(again ? t->task[a->i_task].found_again : t->task[a->i_task].found);
    const double stay = uniform(&r), u = uniform(&r);

    p->match = found ? (uint8_t)match : 0;
    p->copied = found && uniform(&look) < (double)t->task[a->i_task].right[lv_calib_match_class(match)];
    if (before && before->copied == p->copied && stay < (double)t->task[a->i_task].stay)
        p->cls = before->cls;
    else
        p->cls = (uint8_t)class_of(a, p->copied ? t->task[a->i_task].copied : t->task[a->i_task].on, u);
    p->truth = (uint8_t)pick(t->cls[p->cls].hit, N_CHILD, uniform(&hit));
}

const struct lever_place *lv_accept_at(struct lv_accept *a, uint64_t at)
{
    for (; a->n <= at; a->n++) {
        struct lever_place *p = &a->place[a->n % LV_ACCEPT_WINDOW];

        if (a->period)
            *p = a->table->task[a->i_task].text[a->n % a->period];
        else
            draw(a, a->n ? &a->place[(a->n - 1) % LV_ACCEPT_WINDOW] : NULL, p);
    }
    assert(at + LV_ACCEPT_WINDOW >= a->n);
    return &a->place[at % LV_ACCEPT_WINDOW];
}

uint32_t lv_accept_truth(struct lv_accept *a, uint64_t at)
{
    return lv_accept_at(a, at)->truth;
}

float lv_accept_promise(const struct lv_accept *a, uint32_t match)
{
    return a->table->lookup[lv_calib_match_class(match)];
}

const float *lv_accept_children(struct lv_accept *a, int64_t at)
{
    if (at < 0)
        return a->table->cls[class_of(a, a->table->task[a->i_task].beside, uniform(&a->beside))].p;
    return a->table->cls[lv_accept_at(a, (uint64_t)at)->cls].p;
}

void lv_accept_init(struct lv_accept *a, const struct lever_acceptance *table, uint32_t i_task, uint64_t seed, uint32_t text)
{
    const uint32_t n_text = table->task[i_task].n_text, period = text && text < n_text ? text : n_text;
    const struct lv_accept none = { .table = table, .i_task = i_task, .seed = seed, .beside = { ~seed }, .period = period };
    uint32_t n = 0;

    *a = none;
    for (uint64_t at = 0; at < FIRST_PLACES; at++)
        n += lv_accept_truth(a, at) == 0;
    *a = none;
    a->first = (double)n / FIRST_PLACES;
}
