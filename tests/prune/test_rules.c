/* The safety rules of pruning, each alone against a naive twin; the chosen rows against every subset of small trees. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "prune/rules.h"

#define SEED 20260611u
#define SMALL 12

struct random_tree {
    uint32_t n;
    int32_t parent[LV_RULES_MAX];
    float p[LV_RULES_MAX], path[LV_RULES_MAX];
};

/* Few distinct probabilities, so that ties happen. */
static void make(struct random_tree *t, struct lv_rng *r, uint32_t most)
{
    t->n = 1 + lv_rng_below(r, most);
    t->parent[0] = -1;
    for (uint32_t i = 1; i < t->n; i++) {
        t->parent[i] = (int32_t)lv_rng_below(r, i);
        t->p[i] = (float)(1 + lv_rng_below(r, 5)) / 5.0f;
    }
    lv_rules_path(t->parent, t->p, t->n, t->path);
}

static bool is_closed(const struct random_tree *t, const bool *keep)
{
    for (uint32_t i = 1; i < t->n; i++)
        if (keep[i] && !keep[t->parent[i]])
            return false;
    return keep[0];
}

static void random_keep(const struct random_tree *t, struct lv_rng *r, bool *keep)
{
    for (uint32_t i = 0; i < t->n; i++)
        keep[i] = lv_rng_below(r, 3) == 0;
}

static void path_is_a_product(void **state)
{
    struct lv_rng r = { .state = SEED };
    static struct random_tree t;

    (void)state;
    for (int round = 0; round < 200; round++) {
        make(&t, &r, 60);
        for (uint32_t i = 0; i < t.n; i++) {
            double want = 1.0;

            for (int32_t v = (int32_t)i; v > 0; v = t.parent[v])
                want *= (double)t.p[v];
            assert_true(fabs(want - (double)t.path[i]) <= 1e-5 * want);
            assert_true(i == 0 || t.path[i] <= t.path[t.parent[i]]);
        }
    }
    const int32_t parent[] = { -1, 0, 0, 0, 1 };
    const float p[] = { NAN, NAN, INFINITY, -1.0f, 0.5f };
    float path[5];

    lv_rules_path(parent, p, 5, path);
    assert_true(path[0] == 1.0f && path[1] == 0.0f && path[2] == 1.0f && path[3] == 0.0f && path[4] == 0.0f);
}

static void ancestors_stay(void **state)
{
    struct lv_rng r = { .state = SEED + 1 };
    static struct random_tree t;
    bool keep[LV_RULES_MAX], had[LV_RULES_MAX];

    (void)state;
    for (int round = 0; round < 500; round++) {
        make(&t, &r, 60);
        random_keep(&t, &r, keep);
        memcpy(had, keep, sizeof keep);
        lv_rules_ancestors(t.parent, t.n, keep);
        for (uint32_t i = 0; i < t.n; i++) {
            bool want = had[i];

            for (uint32_t k = i + 1; k < t.n; k++) /* i is above a kept k */
                for (int32_t v = had[k] ? (int32_t)k : -1; v >= 0; v = t.parent[v])
                    want = want || v == (int32_t)i;
            assert_int_equal(keep[i], want);
        }
    }
}

static void trusted_path_stays(void **state)
{
    struct lv_rng r = { .state = SEED + 2 };
    static struct random_tree t;
    bool keep[LV_RULES_MAX];

    (void)state;
    for (int round = 0; round < 500; round++) {
        uint32_t n_path = 0, n_kept = 0;

        make(&t, &r, 60);
        memset(keep, 0, sizeof keep);
        lv_rules_trusted(t.parent, t.path, t.n, keep);
        for (int32_t node = 0; node >= 0; n_path++) {
            int32_t best = -1;

            assert_true(keep[node]);
            for (uint32_t i = 0; i < t.n; i++)
                if (t.parent[i] == node && (best < 0 || t.path[i] > t.path[best]))
                    best = (int32_t)i;
            node = best;
        }
        for (uint32_t i = 0; i < t.n; i++)
            n_kept += keep[i];
        assert_int_equal(n_kept, n_path); /* and nothing else */
    }
}

static void several_stay_near_the_root(void **state)
{
    struct lv_rng r = { .state = SEED + 3 };
    static struct random_tree t;
    bool keep[LV_RULES_MAX], had[LV_RULES_MAX];

    (void)state;
    for (int round = 0; round < 500; round++) {
        const uint32_t max_depth = 1 + lv_rng_below(&r, 3), most = 1 + lv_rng_below(&r, 4);

        make(&t, &r, 60);
        memset(keep, 0, sizeof keep);
        keep[0] = true;
        if (lv_rng_below(&r, 2))
            lv_rules_trusted(t.parent, t.path, t.n, keep);
        memcpy(had, keep, sizeof keep);
        lv_rules_near_root(t.parent, t.path, t.n, max_depth, most, keep);
        assert_true(is_closed(&t, keep));
        for (uint32_t i = 0; i < t.n; i++) {
            uint32_t depth = 0, n_child = 0, n_kept = 0, n_had = 0;
            float least_kept = 2.0f, most_left = -1.0f;

            for (int32_t v = (int32_t)i; v > 0; v = t.parent[v])
                depth++;
            for (uint32_t c = 0; c < t.n; c++)
                if (t.parent[c] == (int32_t)i) {
                    n_child++;
                    n_kept += keep[c];
                    n_had += had[c];
                    if (keep[c] && !had[c] && t.path[c] < least_kept)
                        least_kept = t.path[c];
                    if (!keep[c] && t.path[c] > most_left)
                        most_left = t.path[c];
                }
            if (keep[i] && depth < max_depth)
                assert_true(n_kept >= (n_child < most ? n_child : most));
            assert_true(n_kept <= (n_had > most ? n_had : most)); /* and no more */
            assert_true(least_kept >= most_left); /* the likeliest */
            assert_true(keep[i] == had[i] || depth <= max_depth);
        }
    }
}

static void too_few_is_too_few(void **state)
{
    bool keep[4] = { true, false, true, false };

    (void)state;
    assert_true(lv_rules_enough(keep, 4, 2));
    assert_false(lv_rules_enough(keep, 4, 3));
    assert_false(lv_rules_enough(keep, 2, 2));
}

/* Value of a set: its tokens less what its rows cost. */
static double value(const struct random_tree *t, const bool *keep, const struct lv_rules_price *price)
{
    uint32_t n = 0;
    double sum = 0.0;

    for (uint32_t i = 0; i < t->n; i++) {
        n += keep[i];
        sum += keep[i] ? (double)t->path[i] : 0.0;
    }
    if (n == t->n)
        return sum - price->rate * price->seconds_all;
    for (uint32_t e = 0; e < price->n_edge; e++)
        if (price->edge[e] == n)
            return sum - price->rate * (price->seconds[e] + price->seconds_cut);
    return -HUGE_VAL; /* between the edges */
}

static void selection_is_the_best_of_all(void **state)
{
    struct lv_rng r = { .state = SEED + 4 };
    static struct random_tree t;
    uint32_t n_cut = 0;

    (void)state;
    for (int round = 0; round < 400; round++) {
        uint32_t edge[SMALL], n_edge = 0;
        double seconds[SMALL], s = 0.0, gain, best = -HUGE_VAL;
        bool keep[LV_RULES_MAX], forced[LV_RULES_MAX] = { true };

        make(&t, &r, SMALL);
        for (uint32_t k = 1; k <= t.n && n_edge < SMALL; k++) {
            s += (double)lv_rng_below(&r, 100) / 100.0;
            if (lv_rng_below(&r, 2)) {
                edge[n_edge] = k;
                seconds[n_edge++] = s;
            }
        }
        const struct lv_rules_price price = { .edge = edge, .seconds = seconds, .n_edge = n_edge, .seconds_all = s,
                                              .seconds_cut = (double)lv_rng_below(&r, 20) / 100.0,
                                              .rate = (double)lv_rng_below(&r, 300) / 100.0 };
        const uint32_t n = lv_rules_select(t.parent, t.path, t.n, &price, keep, &gain);
        uint32_t n_kept = 0;

        for (uint32_t i = 0; i < t.n; i++)
            n_kept += keep[i];
        assert_int_equal(n, n_kept);
        assert_true(is_closed(&t, keep));
        lv_rules_trusted(t.parent, t.path, t.n, forced);
        lv_rules_near_root(t.parent, t.path, t.n, 1, 2, forced);
        for (uint32_t i = 0; i < t.n; i++)
            assert_true(keep[i] || !forced[i]);
        for (uint32_t set = 0; set < 1u << t.n; set++) {
            bool one[SMALL], holds = true;

            for (uint32_t i = 0; i < t.n; i++) {
                one[i] = set >> i & 1;
                holds = holds && (one[i] || !forced[i]);
            }
            if (holds && is_closed(&t, one) && (lv_rules_enough(one, t.n, 3) || t.n < 3) && value(&t, one, &price) > best)
                best = value(&t, one, &price);
        }
        if (t.n >= 3)
            assert_true(value(&t, keep, &price) >= best - 1e-5);
        assert_true(fabs(gain - (value(&t, keep, &price) - value(&t, (bool[SMALL]){ 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, &price))) < 1e-5);
        n_cut += n < t.n;
    }
    printf("%u of 400 trees cut\n", n_cut);
    assert_true(n_cut > 50);
}

static void nothing_to_win_drops_nothing(void **state)
{
    struct lv_rng r = { .state = SEED + 5 };
    static struct random_tree t;
    const uint32_t edge[] = { 1, 2, 4, 8, 16, 32 };
    const double same[] = { 1, 1, 1, 1, 1, 1 };

    (void)state;
    for (int round = 0; round < 200; round++) {
        bool keep[LV_RULES_MAX];
        double gain;
        const struct lv_rules_price shadow = { .edge = edge, .seconds = same, .n_edge = 6, .seconds_all = 1.0, .rate = 1e6 };
        const struct lv_rules_price nan = { .edge = edge, .seconds = same, .n_edge = 6, .seconds_all = NAN, .rate = 1.0 };

        make(&t, &r, 60);
        assert_int_equal(lv_rules_select(t.parent, t.path, t.n, &shadow, keep, &gain), t.n);
        assert_true(gain == 0.0);
        assert_int_equal(lv_rules_select(t.parent, t.path, t.n, &nan, keep, &gain), t.n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(path_is_a_product),
        cmocka_unit_test(ancestors_stay),
        cmocka_unit_test(trusted_path_stays),
        cmocka_unit_test(several_stay_near_the_root),
        cmocka_unit_test(too_few_is_too_few),
        cmocka_unit_test(selection_is_the_best_of_all),
        cmocka_unit_test(nothing_to_win_drops_nothing),
    };

    printf("SEED=%u\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
