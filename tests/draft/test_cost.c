/* The cost model: what it learns from passes, and the tree it chooses, against trying every tree. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "check.h"
#include "cost/cost.h"
#include "draft/grow.h"

static uint64_t seed = 20261;

static double uniform(struct lv_rng *r, double lo, double hi)
{
    return lo + (hi - lo) * (0.5 + 0.5 * (double)lv_rng_f32(r)); /* of [-1, 1) */
}

static struct lv_cost random_cost(struct lv_rng *r, uint32_t max_rows)
{
    struct lv_cost c = { .t_head = uniform(r, 0, 0.01) };
    double t = 0.01;

    c.t_stream = uniform(r, 0, 0.2);
    for (uint32_t rows = 1; rows <= max_rows; rows *= 2) {
        c.target.rows[c.target.n] = rows;
        c.target.seconds[c.target.n++] = t;
        t *= uniform(r, 1.0, 2.0);
    }
    return c;
}

/* Sizes: the choice against trying each. */
static void run_sizes(struct lv_rng *r)
{
    const struct lv_cost c = random_cost(r, 128);
    const double rate = uniform(r, 1, 100);
    float expected[LV_TREE_MAX], e = 0.0f, p = 1.0f;
    double best = -1e9, value;

    for (uint32_t i = 0; i < LV_TREE_MAX; i++) {
        e += p;
        p *= (float)uniform(r, 0.8, 1.0);
        expected[i] = e;
    }
    const uint32_t n = lv_cost_choose(&c, expected, 100, 0.02, rate, &value);

    for (uint32_t i = 1; i <= 100; i++) {
        const double x = (double)expected[i - 1] - rate * (0.02 + lv_cost_round(&c, i));

        best = x > best ? x : best;
    }
    CHECK(value >= best && (double)expected[n - 1] - rate * (0.02 + lv_cost_round(&c, n)) == value, "value %g, best %g",
          value, best);
    CHECK(lv_stairs_at(&c.target, 3) >= c.target.seconds[1] && lv_stairs_at(&c.target, 3) <= c.target.seconds[2],
          "staircase between its steps");
}

#define SMALL 12 /* nodes below the root: 4096 subsets */

/* Small trees: the choice against every subtree that has the root, as tokens - rate x seconds and, at the best rate that any
 * tree reaches, as tokens a second. */
static void run_trees(struct lv_rng *r)
{
    static struct lv_grow g;
    const struct lv_cost c = random_cost(r, 16);
    struct lv_grow_ranked ranked[LV_GROW_MAX];
    int32_t node[SMALL + 1], parent[SMALL + 1];
    float expected[LV_TREE_MAX];
    double p[SMALL + 1], best_rate = 0.0, best_value = -HUGE_VAL, value;
    uint32_t n = 1;

    lv_grow_init(&g, 0);
    node[0] = g.root;
    parent[0] = -1;
    p[0] = 1.0;
    while (n <= SMALL) {
        parent[n] = (int32_t)lv_rng_below(r, n);
        const float left = lv_grow_rest(&g, node[parent[n]]), q = left * (float)uniform(r, 0.05, 0.95);

        if (!(q > 1e-4f))
            continue;
        node[n] = lv_grow_add(&g, node[parent[n]], (int32_t)n, q, 0);
        p[n] = p[parent[n]] * (double)q;
        n++;
    }
    for (int turn = 0; turn < 2; turn++) {
        for (uint32_t set = 1; set < 1u << n; set += 2) {
            double tokens = 0.0;
            bool closed = true;

            for (uint32_t i = 0; i < n && closed; i++)
                if (set >> i & 1) {
                    closed = parent[i] < 0 || (set >> parent[i] & 1);
                    tokens += p[i];
                }
            const double seconds = lv_cost_round(&c, (uint32_t)__builtin_popcount(set));

            if (closed && turn == 0)
                best_rate = tokens / seconds > best_rate ? tokens / seconds : best_rate;
            if (closed && turn == 1)
                best_value = tokens - best_rate * seconds > best_value ? tokens - best_rate * seconds : best_value;
        }
    }
    const uint32_t n_ranked = lv_grow_rank(&g, SMALL, ranked);
    const uint32_t k = lv_cost_choose(&c, expected, lv_grow_expected(ranked, n_ranked, expected, LV_TREE_MAX), 0.0,
                                      best_rate, &value);
    const double got = (double)expected[k - 1] / lv_cost_round(&c, k);

    CHECK(n_ranked == n, "%u of %u nodes ranked", n_ranked, n);
    CHECK(value >= best_value - 1e-4, "value %g, the best tree has %g", value, best_value);
    CHECK(got >= 0.98 * best_rate, "%g tokens a second, the best tree has %g", got, best_rate);
}

/* Passes that take a + b x what the staircase says, in any order of sizes. */
static void run_learn(struct lv_rng *r)
{
    struct lv_cost c = random_cost(r, 128);
    const double a = uniform(r, 0, 0.02), b = uniform(r, 0.7, 2.0);
    const double before = lv_cost_compute(&c, 32);

    CHECK(before == lv_stairs_at(&c.target, 32), "nothing was learned, yet %g", before);
    for (int i = 0; i < 60; i++) {
        const uint32_t rows = 1u << lv_rng_below(r, 8);

        lv_cost_learn(&c, rows, (a + b * lv_stairs_at(&c.target, rows)) * uniform(r, 0.98, 1.02));
    }
    for (uint32_t rows = 1; rows <= 128; rows *= 4) {
        const double want = a + b * lv_stairs_at(&c.target, rows), got = lv_cost_compute(&c, rows);

        CHECK(fabs(got - want) < 0.35 * want, "%u rows: learned %g, passes took %g", rows, got, want);
    }
    /* One kind of pass only: that one is right, and more rows never take less. */
    c.fit = (struct lv_cost_fit){ 0 };
    for (int i = 0; i < 60; i++)
        lv_cost_learn(&c, 64, b * lv_stairs_at(&c.target, 64));
    const double got = lv_cost_compute(&c, 64), want = b * lv_stairs_at(&c.target, 64);

    CHECK(fabs(got - want) < 0.15 * want, "64 rows: learned %g, passes took %g", got, want);
    for (uint32_t rows = 2; rows <= 128; rows++)
        CHECK(lv_cost_compute(&c, rows) >= lv_cost_compute(&c, rows - 1) - 1e-12, "%u rows take less than %u", rows,
              rows - 1);
}

/* A pass beside a stream that takes 0.8 to 1.2 of its estimate: the mean over many. */
static void run_passes(struct lv_rng *r)
{
    const struct lv_cost c = random_cost(r, 128);

    for (uint32_t rows = 1; rows <= 128; rows++) {
        const double t = lv_cost_compute(&c, rows), got = lv_cost_pass(&c, rows);
        double want = 0.0;

        for (int i = 0; i < 1000; i++)
            want += fmax(t, c.t_stream * (0.8 + 0.4 * (i + 0.5) / 1000)) / 1000;
        CHECK_OR_RETURN(fabs(got - want) < 1e-5 * want, "%u rows: %g s beside a stream of %g s, the mean is %g", rows, got,
                        c.t_stream, want);
    }
}

/* A run's rate: none while it is young, never below what is promised, and that of a steady run. */
static void run_rates(struct lv_rng *r)
{
    const double tokens = 1.0 + 10.0 * (double)lv_rng_f32(r) * 0.5 + 5.0, seconds = 0.01 + (double)lv_rng_below(r, 100) * 0.01;
    const double steady = tokens / seconds;
    struct lv_run run = { 0 };

    for (int i = 0; i < 200; i++) {
        const double low = lv_run_rate(&run, 0.5 * steady), high = lv_run_rate(&run, 2.0 * steady);

        CHECK_OR_RETURN(high == 2.0 * steady, "promised %g, got %g", 2.0 * steady, high);
        CHECK_OR_RETURN(fabs(low - (i < 4 ? 0.5 : 1.0) * steady) < 1e-9 * steady, "round %d: %g of %g", i, low, steady);
        lv_run_add(&run, tokens, seconds);
    }
    for (int i = 0; i < 200; i++)
        lv_run_add(&run, 3.0 * tokens, seconds);
    CHECK(lv_run_rate(&run, 0.0) > 2.9 * steady, "%g after tripling, %g before", lv_run_rate(&run, 0.0), steady);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        seed = strtoull(argv[1], NULL, 10);
    printf("SEED=%llu\n", (unsigned long long)seed);
    struct lv_rng r = { .state = seed };

    for (int i = 0; i < 200 && !n_fail; i++)
        run_sizes(&r);
    for (int i = 0; i < 200 && !n_fail; i++)
        run_trees(&r);
    for (int i = 0; i < 200 && !n_fail; i++)
        run_learn(&r);
    for (int i = 0; i < 20 && !n_fail; i++)
        run_rates(&r);
    for (int i = 0; i < 100 && !n_fail; i++)
        run_passes(&r);
    printf("%d failures\n", n_fail);
    return n_fail ? 1 : 0;
}
