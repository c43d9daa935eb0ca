/* The device mapper against trying everything: placements of single runs and of rounds, on random simulated devices; the rule of
 * exactness; drift and noise.
 *
 * usage: test_map [SEED] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "map/round.h"
#include "map/sim_device.h"

#define SLACK 1.03 /* of the best that trying everything finds */

static uint64_t seed = 41;

/* ---- machines ------------------------------------------------------------------------- */

struct machine {
    struct sim_device sim[LV_MAP_DEVICES];
    struct lv_map map;
};

static void add(struct machine *h, struct sim_device d, const char *name, enum lv_map_kind kind, bool bit_equal, bool cores)
{
    h->sim[h->map.n] = d;
    const struct lv_map_device m = sim_measure(&d, name, kind, bit_equal, cores);

    lv_map_add(&h->map, &m);
}

/* A CPU, and with luck a matrix unit on its cores, a phone's unit, a second accelerator that may not be exact. */
static struct machine random_machine(struct lv_rng *r)
{
    static const uint32_t tiles[] = { 8, 16, 32 };
    struct machine h = { 0 };

    add(&h, sim_random(r, 1), "vector", LV_MAP_VECTOR, true, true);
    if (lv_rng_below(r, 2))
        add(&h, sim_random(r, 16), "matrix", LV_MAP_MATRIX, true, true);
    if (lv_rng_below(r, 4))
        add(&h, sim_random(r, tiles[lv_rng_below(r, 3)]), "unit", LV_MAP_ACCELERATOR, lv_rng_below(r, 2), lv_rng_below(r, 4) == 0);
    if (lv_rng_below(r, 3) == 0) {
        add(&h, sim_random(r, 32), "other", LV_MAP_ACCELERATOR, lv_rng_below(r, 2), false);
        if (lv_rng_below(r, 2)) /* no room for the target there */
            h.map.device[h.map.n - 1].stairs[LV_MAP_TARGET_BODY].n = 0;
    }
    return h;
}

static bool for_target(enum lv_map_program p)
{
    return p == LV_MAP_TARGET_BODY || p == LV_MAP_TARGET_HEAD;
}

static bool can(const struct machine *h, uint32_t d, enum lv_map_program p)
{
    return h->map.device[d].stairs[p].n && (!for_target(p) || h->map.device[d].bit_equal);
}

/* ---- a twin that tries everything ------------------------------------------------------- */

#define WAYS 4096

struct way {
    uint32_t n, device[2], rows[2];
    double busy[LV_MAP_DEVICES], elapsed; /* busy: [0] is the cores, others by index */
};

/* What the way takes by the simulators themselves. */
static void weigh(const struct machine *h, enum lv_map_program p, struct way *w)
{
    double t[2] = { 0 };

    memset(w->busy, 0, sizeof w->busy);
    for (uint32_t i = 0; i < w->n; i++) {
        const uint32_t d = w->device[i];

        t[i] = sim_seconds(&h->sim[d], p, w->rows[i]);
        w->busy[h->map.device[d].shares_cores ? 0 : d] += t[i];
    }
    const bool same = w->n == 2 && h->map.device[w->device[0]].shares_cores && h->map.device[w->device[1]].shares_cores;

    w->elapsed = same ? t[0] + t[1] : fmax(t[0], t[1]);
}

/* Every device; every pair of them at every row where the first one has at least a tile. */
static uint32_t every_way(const struct machine *h, enum lv_map_program p, uint32_t rows, struct way *out)
{
    uint32_t n = 0;

    for (uint32_t a = 0; a < h->map.n; a++) {
        if (!can(h, a, p))
            continue;
        out[n] = (struct way){ .n = 1, .device = { a }, .rows = { rows } };
        weigh(h, p, &out[n++]);
        for (uint32_t b = 0; b < h->map.n; b++)
            for (uint32_t first = 1; first < rows && b != a && h->sim[a].tile > 1 && can(h, b, p); first++) {
                out[n] = (struct way){ .n = 2, .device = { a, b }, .rows = { first, rows - first } };
                weigh(h, p, &out[n++]);
            }
    }
    return n;
}

static double best_alone(const struct machine *h, enum lv_map_program p, uint32_t rows)
{
    static struct way way[WAYS];
    const uint32_t n = every_way(h, p, rows, way);
    double best = HUGE_VAL;

    for (uint32_t i = 0; i < n; i++)
        best = fmin(best, way[i].elapsed);
    return best;
}

/* ---- placements ------------------------------------------------------------------------- */

static struct way way_of(const struct machine *h, enum lv_map_program p, const struct lv_map_split *s, uint32_t rows)
{
    struct way w = { .n = s->n };
    uint32_t sum = 0;

    for (uint32_t i = 0; i < s->n; i++) {
        w.device[i] = s->part[i].device;
        w.rows[i] = s->part[i].rows;
        sum += w.rows[i];
        CHECK(w.device[i] < h->map.n && can(h, w.device[i], p), "program %d on device %u, which may not", (int)p, w.device[i]);
        CHECK(w.rows[i] > 0, "a part without rows");
    }
    CHECK(sum == rows, "%u rows placed, %u asked for", sum, rows);
    weigh(h, p, &w);
    return w;
}

static void run_place(struct lv_rng *r)
{
    const struct machine h = random_machine(r);

    for (int p = 0; p < LV_MAP_PROGRAMS; p++)
        for (int i = 0; i < 6; i++) {
            const uint32_t rows = i < 3 ? 1 + lv_rng_below(r, 12) : 1 + lv_rng_below(r, 256);
            const struct lv_map_split s = lv_map_place(&h.map, LV_MAP_ALL, p, rows);
            const struct way w = way_of(&h, p, &s, rows);
            const double best = best_alone(&h, p, rows);

            CHECK(w.elapsed <= SLACK * best, "program %d, %u rows: %g s, the best is %g", p, rows, w.elapsed, best);
            CHECK(s.seconds >= w.elapsed / 1.25 && s.seconds <= w.elapsed * 1.25, "says %g s, takes %g", s.seconds, w.elapsed);
        }
}

static double round_seconds(const struct lv_map_round *r, const struct way *body, const struct way *head, const struct way *target)
{
    const double chain = r->n_beside * (body->elapsed + head->elapsed);
    double t = fmax(fmax(r->t_stream, chain), target->elapsed);

    for (int d = 0; d < LV_MAP_DEVICES; d++)
        t = fmax(t, r->n_beside * (body->busy[d] + head->busy[d]) + target->busy[d]);
    return t;
}

/* A narrow draft beside a pass: all ways of body, head and target. */
static double best_round(const struct machine *h, const struct lv_map_round *r)
{
    static struct way body[WAYS], head[WAYS], target[WAYS];
    const uint32_t n_body = every_way(h, LV_MAP_DRAFT_BODY, r->draft_rows, body);
    const uint32_t n_head = every_way(h, LV_MAP_DRAFT_HEAD, r->draft_head_rows, head);
    const uint32_t n_target = every_way(h, LV_MAP_TARGET_BODY, r->target_rows, target);
    double best = HUGE_VAL;

    for (uint32_t b = 0; b < n_body; b++)
        for (uint32_t d = 0; d < n_head; d++)
            for (uint32_t t = 0; t < n_target; t++)
                best = fmin(best, round_seconds(r, &body[b], &head[d], &target[t]));
    best += r->n_exposed * (best_alone(h, LV_MAP_DRAFT_BODY, r->draft_rows) + best_alone(h, LV_MAP_DRAFT_HEAD, r->draft_head_rows));
    return best + r->n_head * best_alone(h, LV_MAP_TARGET_HEAD, r->head_rows) + r->t_fixed;
}

static void run_round(struct lv_rng *r)
{
    const struct machine h = random_machine(r);
    const uint32_t draft_rows = 1 + lv_rng_below(r, 12);
    const struct lv_map_round round = { .draft_rows = draft_rows,
                                        .draft_head_rows = 1 + lv_rng_below(r, draft_rows < 8 ? draft_rows : 8),
                                        .n_exposed = lv_rng_below(r, 4),
                                        .n_beside = 1 + lv_rng_below(r, 20),
                                        .target_rows = 1 + lv_rng_below(r, 96),
                                        .head_rows = 1 + lv_rng_below(r, 8),
                                        .n_head = 1 + lv_rng_below(r, 3),
                                        .t_stream = lv_rng_below(r, 2) ? sim_uniform(r, 0.0, 0.2) : 0.0,
                                        .t_fixed = 0.001 };
    struct lv_map_plan p;
    const bool good = lv_map_plan(&h.map, LV_MAP_ALL, &round, &p);

    CHECK(good, "no plan");
    if (!good)
        return;
    const struct way body = way_of(&h, LV_MAP_DRAFT_BODY, &p.beside[0], round.draft_rows);
    const struct way head = way_of(&h, LV_MAP_DRAFT_HEAD, &p.beside[1], round.draft_head_rows);
    const struct way target = way_of(&h, LV_MAP_TARGET_BODY, &p.target, round.target_rows);
    const struct way last = way_of(&h, LV_MAP_TARGET_HEAD, &p.head, round.head_rows);
    double got = round_seconds(&round, &body, &head, &target) + round.n_head * last.elapsed + round.t_fixed;

    if (round.n_exposed) {
        const struct way first = way_of(&h, LV_MAP_DRAFT_BODY, &p.exposed[0], round.draft_rows);
        const struct way rank = way_of(&h, LV_MAP_DRAFT_HEAD, &p.exposed[1], round.draft_head_rows);

        got += round.n_exposed * (first.elapsed + rank.elapsed);
    }
    const double best = best_round(&h, &round);

    CHECK(got <= SLACK * best, "a round of %g s, the best is %g (%u devices)", got, best, h.map.n);
    CHECK(p.seconds > got / 1.25 && p.seconds < got * 1.25, "the plan says %g s, takes %g", p.seconds, got);
}

/* ---- what must come out ------------------------------------------------------------------- */

static struct machine two(double cpu_row, double unit_tile)
{
    struct machine h = { 0 };
    struct sim_device cpu = { .tile = 1, .drift = 1.0 }, unit = { .tile = 32, .drift = 1.0 };

    for (int p = 0; p < LV_MAP_PROGRAMS; p++) {
        cpu.program[p] = (struct sim_program){ 0.0, cpu_row };
        unit.program[p] = (struct sim_program){ 0.0, unit_tile };
    }
    add(&h, cpu, "cpu", LV_MAP_VECTOR, true, true);
    add(&h, unit, "unit", LV_MAP_MATRIX, true, true);
    return h;
}

static void run_known(void)
{
    struct machine h = two(0.001, 0.012); /* a tile costs what 12 rows do */
    struct lv_map_split s = lv_map_place(&h.map, LV_MAP_ALL, LV_MAP_TARGET_BODY, 40);

    CHECK(s.n == 2 && s.part[0].device == 1 && s.part[0].rows == 32 && s.part[1].device == 0 && s.part[1].rows == 8,
          "40 rows are 32 on the unit and 8 on the CPU");
    s = lv_map_place(&h.map, LV_MAP_ALL, LV_MAP_TARGET_BODY, 60);
    CHECK(s.n == 1 && s.part[0].device == 1, "60 rows fill two tiles of the unit");
    s = lv_map_place(&h.map, LV_MAP_ALL, LV_MAP_DRAFT_BODY, 4);
    CHECK(s.n == 1 && s.part[0].device == 0, "four rows belong to the CPU");
    s = lv_map_place(&h.map, 1u << 1, LV_MAP_DRAFT_BODY, 4);
    CHECK(s.n == 1 && s.part[0].device == 1, "the set of devices is not obeyed");

    h.map.device[1].bit_equal = false;
    for (uint32_t rows = 1; rows <= 256; rows++)
        for (int p = LV_MAP_TARGET_BODY; p <= LV_MAP_TARGET_HEAD; p++) {
            s = lv_map_place(&h.map, LV_MAP_ALL, p, rows);
            CHECK(s.n == 1 && s.part[0].device == 0, "a device that is not exact decides tokens");
        }
    s = lv_map_place(&h.map, LV_MAP_ALL, LV_MAP_DRAFT_BODY, 32);
    CHECK(s.n == 1 && s.part[0].device == 1, "it may draft");
    s = lv_map_place(&h.map, 1u << 1, LV_MAP_TARGET_HEAD, 1);
    CHECK(s.n == 0, "placed where nothing may run");

    /* A slower device of its own drafts beside a pass that fills the cores, and not when the cores wait for flash. */
    struct machine g = two(0.001, 0.050);

    g.map.device[1].shares_cores = false;
    struct lv_map_round round = { .draft_rows = 8, .draft_head_rows = 8, .n_beside = 2, .target_rows = 20, .head_rows = 4, .n_head = 1 };
    struct lv_map_plan plan;

    g.map.device[1].stairs[LV_MAP_TARGET_BODY].n = 0;
    for (int p = LV_MAP_DRAFT_BODY; p <= LV_MAP_DRAFT_HEAD; p++)
        for (uint32_t i = 0; i < g.map.device[1].stairs[p].n; i++)
            g.map.device[1].stairs[p].seconds[i] = 0.009;
    CHECK(lv_map_plan(&g.map, LV_MAP_ALL, &round, &plan) && plan.beside[0].part[0].device == 1, "drafts beside the pass");
    round.t_stream = 1.0;
    CHECK(lv_map_plan(&g.map, LV_MAP_ALL, &round, &plan) && plan.beside[0].part[0].device == 0, "the CPU waits anyway");
    round.n_exposed = 1;
    CHECK(lv_map_plan(&g.map, LV_MAP_ALL, &round, &plan) && plan.exposed[0].part[0].device == 0, "exposed, the faster one drafts");
}

/* A CPU of two kernel tables and an accelerator, where a batch takes 1.1 times as long. */
static void run_home(void)
{
    struct machine h = two(0.001, 0.012);
    struct sim_device far = { .tile = 1, .drift = 1.0 };
    struct lv_map_round round = { .draft_rows = 8, .n_exposed = 3, .target_rows = 4 };
    double t[LV_MAP_DEVICES];

    far.program[LV_MAP_DRAFT_BODY] = (struct sim_program){ 0.0, 0.0011 };
    add(&h, far, "far", LV_MAP_ACCELERATOR, false, false);
    h.map.device[2].stairs[LV_MAP_TARGET_BODY].n = 0;
    CHECK(lv_map_home(&h.map, &round, t) == 0 && t[0] == t[1] && t[2] > t[0] && t[3] == HUGE_VAL,
          "what waits for each batch drafts on the CPU: %g, %g, %g s", t[0], t[1], t[2]);
    round = (struct lv_map_round){ .draft_rows = 8, .n_beside = 10, .target_rows = 64, .t_stream = 0.05 };
    CHECK(lv_map_home(&h.map, &round, t) == 2 && t[2] < t[0], "busy cores leave drafting to others: %g, %g s", t[0], t[2]);
    for (uint32_t i = 0; i < 3; i++)
        h.map.device[i].stairs[LV_MAP_DRAFT_BODY].n = 0;
    CHECK(lv_map_home(&h.map, &round, t) == -1, "a draft that nothing can run has a home");
}

/* ---- drift and noise ------------------------------------------------------------------------ */

struct history {
    uint32_t n_change, first_change; /* of the placement; runs until the first one */
    double seconds, best_seconds;    /* taken; if always the better device had run */
};

/* n runs of p over `rows` rows, placed and reported one after the other. */
static struct history live(struct machine *h, enum lv_map_program p, uint32_t rows, uint32_t n, struct lv_rng *r)
{
    struct lv_map_split last = lv_map_place(&h->map, LV_MAP_ALL, p, rows);
    struct history out = { 0 };

    for (uint32_t i = 0; i < n; i++) {
        const struct lv_map_split s = lv_map_place(&h->map, LV_MAP_ALL, p, rows);
        double t = 0.0;

        if (memcmp(s.part, last.part, s.n * sizeof *s.part) != 0 || s.n != last.n) {
            out.n_change++;
            out.first_change = out.first_change ? out.first_change : i;
        }
        for (uint32_t k = 0; k < s.n; k++)
            t += sim_run(&h->sim[s.part[k].device], p, s.part[k].rows, r);
        lv_map_learn(&h->map, p, &s, t);
        out.seconds += t;
        out.best_seconds += best_alone(h, p, rows);
        last = s;
    }
    return out;
}

static void run_noise(struct lv_rng *r)
{
    struct machine h = two(0.001, 0.001 * sim_uniform(r, 4.0, 60.0));
    const uint32_t rows = 1 + lv_rng_below(r, 64);
    const uint64_t decided = h.map.n_decided;

    h.sim[0].noise = h.sim[1].noise = 0.15;
    const struct history out = live(&h, LV_MAP_TARGET_BODY, rows, 2000, r);

    CHECK(out.n_change <= 2, "%u changes under noise alone, %llu decisions", out.n_change,
          (unsigned long long)(h.map.n_decided - decided));
    CHECK(out.seconds < 1.06 * out.best_seconds, "noise cost %g", out.seconds / out.best_seconds);
}

/* The better device grows slow: found out soon, and tried again only rarely. Then it recovers. */
static void run_drift(struct lv_rng *r)
{
    const uint32_t rows = 33 + lv_rng_below(r, 31);
    struct machine h = two(0.001, 0.001 * sim_uniform(r, 10.0, 14.0)); /* two tiles: 20 to 28 rows' worth */

    h.sim[0].noise = h.sim[1].noise = 0.05;
    h.map.device[1].tile = 64; /* no splits here: one device or the other */
    h.sim[1].tile = 64;
    for (int p = 0; p < LV_MAP_PROGRAMS; p++)
        h.sim[1].program[p].per_tile *= 2.0;
    CHECK(live(&h, LV_MAP_TARGET_BODY, rows, 40, r).n_change == 0, "changed without a reason");
    h.sim[1].drift = sim_uniform(r, 3.5, 6.0);
    struct history out = live(&h, LV_MAP_TARGET_BODY, rows, 40, r);

    CHECK(out.n_change >= 1 && out.first_change <= 2 * LV_MAP_WINDOW, "%u changes, the first after %u runs", out.n_change,
          out.first_change);
    CHECK(lv_map_place(&h.map, LV_MAP_ALL, LV_MAP_TARGET_BODY, rows).part[0].device == 0, "still on the slow device");
    out = live(&h, LV_MAP_TARGET_BODY, rows, 4000, r);
    CHECK(out.seconds < 1.04 * out.best_seconds, "trying again cost %g", out.seconds / out.best_seconds);
    CHECK(out.n_change >= 2 && out.n_change <= 12, "%u changes in 4000 runs", out.n_change);
    h.sim[1].drift = 1.0;
    live(&h, LV_MAP_TARGET_BODY, rows, 16 * LV_MAP_PATIENCE, r);
    CHECK(lv_map_place(&h.map, LV_MAP_ALL, LV_MAP_TARGET_BODY, rows).part[0].device == 1, "never tried again");
}

/* One run that hangs changes nothing. */
static void run_accident(void)
{
    struct machine h = two(0.001, 0.012);
    struct lv_rng r = { .state = seed };

    for (int i = 0; i < 50; i++) {
        const struct lv_map_split s = lv_map_place(&h.map, LV_MAP_ALL, LV_MAP_TARGET_BODY, 32);

        CHECK(s.n == 1 && s.part[0].device == 1, "run %d: an accident changed the placement", i);
        lv_map_learn(&h.map, LV_MAP_TARGET_BODY, &s, i % 7 == 3 ? 100.0 : sim_run(&h.sim[1], LV_MAP_TARGET_BODY, 32, &r));
    }
    const struct lv_map_split none = { 0 }, s = lv_map_place(&h.map, LV_MAP_ALL, LV_MAP_TARGET_BODY, 32);
    const uint64_t decided = h.map.n_decided;

    lv_map_learn(&h.map, LV_MAP_TARGET_BODY, &none, 1.0);
    for (int i = 0; i < 20; i++)
        lv_map_learn(&h.map, LV_MAP_TARGET_BODY, &s, i % 2 ? (double)NAN : -1.0);
    CHECK(h.map.n_decided == decided, "times that are none were believed");
}

static void run_stairs(struct lv_rng *r)
{
    const struct machine h = random_machine(r);
    struct lv_stairs s;

    for (int p = 0; p < LV_MAP_PROGRAMS; p++) {
        lv_map_stairs(&h.map, LV_MAP_ALL, p, &s);
        for (uint32_t i = 0; i < s.n; i++) {
            const double t = lv_map_place(&h.map, LV_MAP_ALL, p, s.rows[i]).seconds;

            CHECK(s.seconds[i] >= t && (!i || s.seconds[i] >= s.seconds[i - 1]), "a staircase that falls");
            CHECK(s.seconds[i] <= t || s.seconds[i] == s.seconds[i - 1], "a step that no run takes");
        }
        CHECK(s.n > 0, "no staircase");
    }
}

int main(int argc, char **argv)
{
    if (argc > 1)
        seed = strtoull(argv[1], NULL, 10);
    printf("SEED=%llu\n", (unsigned long long)seed);
    struct lv_rng r = { .state = seed };

    run_known();
    run_home();
    run_accident();
    for (int i = 0; i < 200 && !n_fail; i++)
        run_place(&r);
    for (int i = 0; i < 60 && !n_fail; i++)
        run_round(&r);
    for (int i = 0; i < 60 && !n_fail; i++)
        run_stairs(&r);
    for (int i = 0; i < 30 && !n_fail; i++)
        run_noise(&r);
    for (int i = 0; i < 20 && !n_fail; i++)
        run_drift(&r);
    printf("%d failures\n", n_fail);
    return n_fail ? 1 : 0;
}
