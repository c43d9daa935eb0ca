#include "sim/timeline.h"

#include "base/mem.h"

enum lever_status lv_timeline_init(struct lv_timeline *t, uint32_t n_extent, uint32_t n_slot, double read_seconds,
                                   double pinned_share, struct lever_error *err)
{
    *t = (struct lv_timeline){ .n_extent = n_extent,
                               .n_slot = n_slot < n_extent ? n_slot : n_extent,
                               .full = n_slot < n_extent ? n_slot : n_extent,
                               .read_seconds = read_seconds,
                               .pinned_share = n_extent ? pinned_share : 1.0 };
    if (!n_extent)
        return LEVER_OK;
    if (!n_slot)
        return LV_FAIL(err, LEVER_E_ARG, "simulation: %u extents a pass need a ring of at least one slot", n_extent);
    t->free_at = LV_NEW_ARRAY(double, t->n_slot);
    if (!t->free_at)
        return LV_FAIL(err, LEVER_E_NOMEM, "simulation: a ring of %u slots", t->n_slot);
    return LEVER_OK;
}

void lv_timeline_deinit(struct lv_timeline *t)
{
    lv_free(t->free_at);
    t->free_at = NULL;
}

/* When the next extent has arrived. */
static double arrival(struct lv_timeline *t)
{
    const uint32_t slot = (uint32_t)(t->next % t->n_slot);

    if (t->next >= t->full) {
        t->read_end = (t->read_end > t->free_at[slot] ? t->read_end : t->free_at[slot]) + t->read_seconds;
        t->busy += t->read_seconds;
    }
    return t->read_end;
}

void lv_timeline_rest(struct lv_timeline *t)
{
    t->full = 0;
    t->read_end = t->now;
    for (uint32_t i = 0; i < t->n_slot; i++)
        t->free_at[i] = t->now;
}

static void offer(const struct lv_timeline_pass *p, double seconds)
{
    if (p->idle && seconds > 0.0)
        p->idle(p->ctx, seconds);
}

/* Seconds of compute of the part [i, i + 1) of n. */
static double part(const struct lv_timeline_pass *p, uint32_t i, uint32_t n)
{
    return p->compute_all[(double)i >= p->drop_at * n] / n;
}

double lv_timeline_pass(struct lv_timeline *t, const struct lv_timeline_pass *p)
{
    const uint32_t n = t->n_extent ? t->n_extent : 32; /* a resident pass in so many steps */
    const uint32_t look = p->look && p->look_at < 1.0 ? (uint32_t)(p->look_at * n) : n;
    double compute = 0.0;

    for (uint32_t i = 0; i < n; i++) {
        const double begin = t->now, work = part(p, i, n);

        if (i == look)
            p->look(p->ctx);
        t->now += t->pinned_share * work;
        if (t->n_extent) {
            const double at = arrival(t), wait = at > t->now ? at - t->now : 0.0;

            if (!p->apart)
                offer(p, wait);
            t->waited += wait;
            t->now += wait + (1.0 - t->pinned_share) * work;
            t->free_at[t->next++ % t->n_slot] = t->now;
        }
        if (p->apart)
            offer(p, t->now - begin);
        compute += work;
    }
    return compute;
}
