#include "map/map.h"

#include <math.h>
#include <stdlib.h>

#define MAX_PATIENCE (1u << 20)
#define MIN_CUT 8u
#define MOST 4.0 /* a run may count as this much slower or faster than predicted: more is an accident */

int lv_map_add(struct lv_map *m, const struct lv_map_device *d)
{
    if (m->n == LV_MAP_DEVICES)
        return -1;
    m->device[m->n] = *d;
    m->n_decided++;
    return (int)m->n++;
}

void lv_map_set_stairs(struct lv_map *m, uint32_t device, enum lv_map_program p, const struct lv_stairs *s)
{
    m->device[device].stairs[p] = *s;
    m->seen[device][p] = (struct lv_map_seen){ 0 };
    m->n_decided++;
}

/* ---- times --------------------------------------------------------------------------- */

static bool of_target(enum lv_map_program p)
{
    return p == LV_MAP_TARGET_BODY || p == LV_MAP_TARGET_HEAD;
}

bool lv_map_may(const struct lv_map *m, uint32_t device, enum lv_map_program p)
{
    return device < m->n && m->device[device].stairs[p].n > 0 && (m->device[device].bit_equal || !of_target(p));
}

/* Rows that a device computes for n. */
static uint32_t whole_tiles(const struct lv_map_device *d, uint32_t n)
{
    return d->stepped && d->tile > 1 ? (n + d->tile - 1) / d->tile * d->tile : n;
}

static struct lv_cost cost_of(const struct lv_map *m, uint32_t device, enum lv_map_program p)
{
    return (struct lv_cost){ .target = m->device[device].stairs[p], .fit = m->seen[device][p].fit };
}

/* Of a run without what it costs to get there. */
static double compute_seconds(const struct lv_map *m, uint32_t device, enum lv_map_program p, uint32_t rows)
{
    const struct lv_map_device *d = &m->device[device];
    const struct lv_map_seen *seen = &m->seen[device][p];

    if (!(seen->fit.n > 0.0))
        return lv_stairs_at(&d->stairs[p], whole_tiles(d, rows));
    const struct lv_cost c = cost_of(m, device, p);

    return lv_cost_compute(&c, whole_tiles(d, rows));
}

static double away_seconds(const struct lv_map_device *d, uint32_t rows)
{
    return d->t_submit + d->t_row * rows;
}

double lv_map_seconds(const struct lv_map *m, uint32_t device, enum lv_map_program p, uint32_t rows)
{
    if (!lv_map_may(m, device, p))
        return HUGE_VAL;
    return away_seconds(&m->device[device], rows) + compute_seconds(m, device, p, rows);
}

/* ---- ways ---------------------------------------------------------------------------- */

static bool side_by_side(const struct lv_map *m, uint32_t a, uint32_t b)
{
    return !m->device[a].shares_cores || !m->device[b].shares_cores;
}

static bool may(const struct lv_map *m, uint32_t set, uint32_t device, enum lv_map_program p)
{
    return set >> device & 1 && lv_map_may(m, device, p);
}

/* Cuts lie at least MIN_CUT rows apart: finer ones gain nothing and are many. */
static uint32_t cut_step(const struct lv_map_device *d)
{
    return (MIN_CUT + d->tile - 1) / d->tile * d->tile;
}

typedef void on_way(void *ctx, const struct lv_map_split *s);

static void each_way(const struct lv_map *m, uint32_t set, enum lv_map_program p, uint32_t rows, on_way *fn, void *ctx)
{
    struct lv_map_split s = { .n = 1 };

    for (uint32_t a = 0; a < m->n; a++)
        if (may(m, set, a, p)) {
            s.part[0].device = a;
            s.part[0].rows = rows;
            s.seconds = lv_map_seconds(m, a, p, rows);
            fn(ctx, &s);
        }
    s.n = 2;
    for (uint32_t a = 0; a < m->n; a++) {
        if (m->device[a].tile < 2 || !may(m, set, a, p))
            continue;
        for (uint32_t first = cut_step(&m->device[a]); first < rows; first += cut_step(&m->device[a])) {
            const double t = lv_map_seconds(m, a, p, first);

            s.part[0].device = a;
            s.part[0].rows = first;
            s.part[1].rows = rows - first;
            for (uint32_t b = 0; b < m->n; b++) {
                if (b == a || !may(m, set, b, p))
                    continue;
                const double rest = lv_map_seconds(m, b, p, rows - first);

                s.part[1].device = b;
                s.seconds = side_by_side(m, a, b) ? fmax(t, rest) : t + rest;
                fn(ctx, &s);
            }
        }
    }
}

static void keep_best(void *best, const struct lv_map_split *s)
{
    struct lv_map_split *b = best;

    if (!b->n || s->seconds < b->seconds)
        *b = *s;
}

struct lv_map_split lv_map_place(const struct lv_map *m, uint32_t set, enum lv_map_program p, uint32_t rows)
{
    struct lv_map_split best = { 0 };

    each_way(m, set, p, rows, keep_best, &best);
    return best;
}

struct list {
    struct lv_map_split *out;
    uint32_t n;
};

static void append(void *list, const struct lv_map_split *s)
{
    struct list *l = list;

    if (l->n < LV_MAP_WAYS)
        l->out[l->n++] = *s;
}

uint32_t lv_map_ways(const struct lv_map *m, uint32_t set, enum lv_map_program p, uint32_t rows, struct lv_map_split out[LV_MAP_WAYS])
{
    struct list l = { .out = out };

    each_way(m, set, p, rows, append, &l);
    return l.n;
}

void lv_map_stairs(const struct lv_map *m, uint32_t set, enum lv_map_program p, struct lv_stairs *out)
{
    const struct lv_stairs *rows = NULL;
    double last = 0.0;

    *out = (struct lv_stairs){ 0 };
    for (uint32_t i = 0; i < m->n && !rows; i++)
        if (may(m, set, i, p))
            rows = &m->device[i].stairs[p];
    for (uint32_t i = 0; rows && i < rows->n; i++) {
        last = fmax(last, lv_map_place(m, set, p, rows->rows[i]).seconds);
        out->rows[out->n] = rows->rows[i];
        out->seconds[out->n++] = last;
    }
}

/* ---- drift --------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* What the runs of the window took, as a multiple of what decisions are made from. */
static double median_ratio(const struct lv_map *m, uint32_t device, enum lv_map_program p)
{
    const struct lv_map_seen *seen = &m->seen[device][p];
    double ratio[LV_MAP_WINDOW];

    for (uint32_t i = 0; i < seen->n; i++)
        ratio[i] = seen->seconds[i] / compute_seconds(m, device, p, seen->rows[i]);
    qsort(ratio, seen->n, sizeof *ratio, ascending);
    return ratio[seen->n / 2];
}

/* Decisions follow the later half of the window from here on: what is before it may be of another time. */
static void correct(struct lv_map *m, uint32_t device, enum lv_map_program p)
{
    struct lv_map_seen *seen = &m->seen[device][p];
    struct lv_cost c = cost_of(m, device, p);

    const uint32_t half = (seen->n + 1) / 2, n = half > LV_MAP_LEAST ? half : LV_MAP_LEAST;

    c.fit = (struct lv_cost_fit){ 0 };
    for (uint32_t i = n; i > 0; i--) {
        const uint32_t at = (seen->next + LV_MAP_WINDOW - i) % LV_MAP_WINDOW;

        lv_cost_learn(&c, whole_tiles(&m->device[device], seen->rows[at]), seen->seconds[at]);
    }
    seen->fit = c.fit;
    seen->n = seen->next = 0;
    m->n_decided++;
}

/* A device that was found slow is believed to be as it was once: to be tried. */
static void forgive(struct lv_map *m, uint32_t device, enum lv_map_program p)
{
    struct lv_map_seen *seen = &m->seen[device][p];

    if (!(seen->fit.n > 0.0) || ++seen->away < (seen->patience ? seen->patience : LV_MAP_PATIENCE))
        return;
    seen->fit = (struct lv_cost_fit){ 0 };
    seen->n = seen->next = seen->away = 0;
    m->n_decided++;
}

/* `seconds`: without submission and transfer. */
static void see(struct lv_map *m, uint32_t device, enum lv_map_program p, uint32_t rows, double seconds)
{
    struct lv_map_seen *seen = &m->seen[device][p];
    const double expected = compute_seconds(m, device, p, rows);

    if (!(expected > 0.0))
        return;
    seconds = fmin(fmax(seconds, expected / MOST), expected * MOST);
    seen->rows[seen->next] = rows;
    seen->seconds[seen->next] = seconds;
    seen->next = (seen->next + 1) % LV_MAP_WINDOW;
    seen->n += seen->n < LV_MAP_WINDOW;
    seen->away = 0;
    if (seen->n < LV_MAP_LEAST)
        return;
    const double ratio = median_ratio(m, device, p), band = seen->n < LV_MAP_WINDOW ? LV_MAP_EARLY : LV_MAP_BAND;

    if (ratio < band && ratio > 1.0 / band)
        return;
    correct(m, device, p);
    if (ratio > 1.0) {
        const uint32_t patience = seen->patience ? 2 * seen->patience : LV_MAP_PATIENCE;

        seen->patience = patience < MAX_PATIENCE ? patience : MAX_PATIENCE;
    }
}

void lv_map_learn(struct lv_map *m, enum lv_map_program p, const struct lv_map_split *s, double seconds)
{
    uint32_t used = 0;

    if (!s->n || !(seconds > 0.0) || !(s->seconds > 0.0))
        return;
    /* Of two parts only the sum is known: both are as far off as that. */
    const double ratio = seconds / s->seconds;

    for (uint32_t i = 0; i < s->n; i++) {
        const uint32_t device = s->part[i].device, rows = s->part[i].rows;
        const double all = lv_map_seconds(m, device, p, rows), away = away_seconds(&m->device[device], rows);

        used |= 1u << device;
        if (lv_map_may(m, device, p))
            see(m, device, p, rows, all * ratio - away);
    }
    for (uint32_t i = 0; i < m->n; i++)
        if (!(used >> i & 1))
            forgive(m, i, p);
}
