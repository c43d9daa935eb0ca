#include "map/round.h"

#include <math.h>

/* What a run, `times` over, puts on devices. The devices that share the cores are one. */
struct load {
    double core, device[LV_MAP_DEVICES];
    double elapsed;
};

static struct load load_of(const struct lv_map *m, enum lv_map_program p, const struct lv_map_split *s, uint32_t times)
{
    struct load l = { .elapsed = s->seconds * times };

    for (uint32_t i = 0; i < s->n; i++) {
        const uint32_t d = s->part[i].device;
        const double t = lv_map_seconds(m, d, p, s->part[i].rows) * times;

        if (m->device[d].shares_cores)
            l.core += t;
        else
            l.device[d] += t;
    }
    return l;
}

static struct load sum(const struct load *a, const struct load *b)
{
    struct load l = { .core = a->core + b->core, .elapsed = a->elapsed + b->elapsed };

    for (uint32_t i = 0; i < LV_MAP_DEVICES; i++)
        l.device[i] = a->device[i] + b->device[i];
    return l;
}

static double busiest(const struct load *l)
{
    double most = l->core;

    for (uint32_t i = 0; i < LV_MAP_DEVICES; i++)
        most = fmax(most, l->device[i]);
    return most;
}

static double work(const struct load *l)
{
    double all = l->core;

    for (uint32_t i = 0; i < LV_MAP_DEVICES; i++)
        all += l->device[i];
    return all;
}

struct ways {
    struct lv_map_split way[LV_MAP_WAYS];
    struct load load[LV_MAP_WAYS];
    uint32_t n;
};

static void list(const struct lv_map *m, uint32_t set, enum lv_map_program p, uint32_t rows, uint32_t times, struct ways *w)
{
    w->n = rows && times ? lv_map_ways(m, set, p, rows, w->way) : 0;
    for (uint32_t i = 0; i < w->n; i++)
        w->load[i] = load_of(m, p, &w->way[i], times);
    if (!rows || !times) { /* nothing to do is one way to do it */
        w->way[0] = (struct lv_map_split){ 0 };
        w->load[0] = (struct load){ 0 };
        w->n = 1;
    }
}

/* The pass and what runs beside it; returns its time. All ways of the three programs: there are few, since a draft's batch is
 * narrow and its head narrower. */
static double place_beside(const struct lv_map *m, uint32_t set, const struct lv_map_round *r, struct lv_map_plan *out)
{
    struct ways body, head, target;
    double best = HUGE_VAL, best_work = HUGE_VAL;

    list(m, set, LV_MAP_DRAFT_BODY, r->draft_rows, r->n_beside, &body);
    list(m, set, LV_MAP_DRAFT_HEAD, r->draft_head_rows, r->n_beside, &head);
    list(m, set, LV_MAP_TARGET_BODY, r->target_rows, 1, &target);
    for (uint32_t b = 0; b < body.n; b++)
        for (uint32_t h = 0; h < head.n; h++) {
            const struct load draft = sum(&body.load[b], &head.load[h]);

            for (uint32_t t = 0; t < target.n; t++) {
                const struct load all = sum(&draft, &target.load[t]);
                const double seconds =
                    fmax(fmax(r->t_stream, busiest(&all)), fmax(draft.elapsed, target.load[t].elapsed));

                if (seconds > best || (seconds == best && work(&all) >= best_work))
                    continue;
                best = seconds;
                best_work = work(&all);
                out->beside[0] = body.way[b];
                out->beside[1] = head.way[h];
                out->target = target.way[t];
            }
        }
    return best;
}

static double alone(const struct lv_map *m, uint32_t set, enum lv_map_program p, uint32_t rows, uint32_t times,
                    struct lv_map_split *out)
{
    *out = (struct lv_map_split){ 0 };
    if (!rows || !times)
        return 0.0;
    *out = lv_map_place(m, set, p, rows);
    return out->n ? out->seconds * times : HUGE_VAL;
}

bool lv_map_plan(const struct lv_map *m, uint32_t set, const struct lv_map_round *r, struct lv_map_plan *out)
{
    *out = (struct lv_map_plan){ 0 };
    out->seconds = alone(m, set, LV_MAP_DRAFT_BODY, r->draft_rows, r->n_exposed, &out->exposed[0]);
    out->seconds += alone(m, set, LV_MAP_DRAFT_HEAD, r->draft_head_rows, r->n_exposed, &out->exposed[1]);
    out->seconds += place_beside(m, set, r, out);
    out->seconds += alone(m, set, LV_MAP_TARGET_HEAD, r->head_rows, r->n_head, &out->head);
    out->seconds += r->t_fixed;
    return out->seconds < HUGE_VAL;
}

/* The devices that keep their draft programs when it lives on device `home`. */
static bool lives_at(const struct lv_map *m, uint32_t home, uint32_t device)
{
    return device == home || (m->device[home].shares_cores && m->device[device].shares_cores);
}

int lv_map_home(const struct lv_map *m, const struct lv_map_round *r, double seconds[LV_MAP_DEVICES])
{
    int best = -1;

    for (uint32_t home = 0; home < LV_MAP_DEVICES; home++) {
        struct lv_map there = *m;
        struct lv_map_plan plan;

        seconds[home] = HUGE_VAL;
        if (home >= m->n || !m->device[home].stairs[LV_MAP_DRAFT_BODY].n)
            continue;
        for (uint32_t i = 0; i < m->n; i++)
            if (!lives_at(m, home, i))
                there.device[i].stairs[LV_MAP_DRAFT_BODY].n = there.device[i].stairs[LV_MAP_DRAFT_HEAD].n = 0;
        if (!lv_map_plan(&there, LV_MAP_ALL, r, &plan))
            continue;
        seconds[home] = plan.seconds;
        if (best < 0 || plan.seconds < seconds[best])
            best = (int)home;
    }
    return best;
}
