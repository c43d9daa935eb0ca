#include "sim/accept.h"

#include <string.h>

#define N_CHILD LEVER_ACCEPT_CHILDREN
#define STAY_MAX 64 /* places that a stretch of one class goes on for */

void lv_accept_init(struct lv_accept *a, const struct lever_acceptance *table, uint32_t i_task, uint64_t seed)
{
    *a = (struct lv_accept){ .table = table, .i_task = i_task, .seed = seed, .beside = { ~seed } };
}

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
    for (uint32_t i = 0; i < t->n_task; i++) {
        float on = 0.0f, beside = 0.0f;

        for (uint32_t c = 0; c < t->n_class; c++) {
            if (!is_share(t->task[i].on[c]) || !is_share(t->task[i].beside[c]))
                return "a task: shares of 0 to 1 are expected";
            on += t->task[i].on[c];
            beside += t->task[i].beside[c];
        }
        if (!(on > 0.99f && on < 1.01f) || !(beside > 0.99f && beside < 1.01f))
            return "a task: its shares do not sum to 1";
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

/* A generator of a position: the same in all modes. */
static struct lv_rng at_position(const struct lv_accept *a, uint64_t at)
{
    return (struct lv_rng){ lv_mix64(a->seed ^ lv_mix64(at + 1)) };
}

/* The class of a position: that of the one before it, or drawn anew. So stretches of easy text come about, and each class
 * keeps its share. */
static uint32_t class_at(const struct lv_accept *a, uint64_t at)
{
    for (uint32_t n = 0;; n++, at--) {
        struct lv_rng r = at_position(a, at);
        const double stay = uniform(&r), u = uniform(&r);

        if (at == 0 || n == STAY_MAX || !(stay < (double)a->table->task[a->i_task].stay))
            return class_of(a, a->table->task[a->i_task].on, u);
    }
}

uint32_t lv_accept_truth(const struct lv_accept *a, uint64_t at)
{
    struct lv_rng r = { at_position(a, at).state ^ UINT64_C(0x5bd1e9955bd1e995) };

    return pick(a->table->cls[class_at(a, at)].hit, N_CHILD, uniform(&r));
}

const float *lv_accept_children(struct lv_accept *a, int64_t at)
{
    if (at < 0)
        return a->table->cls[class_of(a, a->table->task[a->i_task].beside, uniform(&a->beside))].p;
    return a->table->cls[class_at(a, (uint64_t)at)].p;
}

double lv_accept_first(const struct lv_accept *a)
{
    double sum = 0.0;

    for (uint32_t c = 0; c < a->table->n_class; c++)
        sum += (double)a->table->task[a->i_task].on[c] * (double)a->table->cls[c].hit[0];
    return sum;
}
