/* Calibration on made-up outcomes whose true probability is known.
 *
 * usage: test_calibrate [SEED]
 *
 * The measure is the mean log-loss above that of the truth: 0 would be perfect, and the identity's is printed beside
 * it. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/rng.h"
#include "draft/calibrate.h"

static uint64_t seed = 11;
static struct lv_calib c; /* 16 KB: not on the stack */

static double uniform(struct lv_rng *r)
{
    return ((double)(lv_rng_u64(r) >> 11) + 0.5) * 0x1p-53;
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/* The distortion: a slope and a shift for each rank class, and trust that grows with depth. */
struct world {
    double slope[4], shift[4], per_depth;
};

static double truth(const struct world *w, double raw_p, uint32_t rank, uint32_t depth)
{
    const uint32_t i = rank < 2 ? rank : rank < 4 ? 2 : 3;
    const uint32_t d = depth < 2 ? 0 : depth < 5 ? 1 : depth < 9 ? 2 : 3;

    return sigmoid(w->slope[i] * log(raw_p / (1.0 - raw_p)) + w->shift[i] + w->per_depth * d);
}

static double loss(double p_true, double p)
{
    return -p_true * log(p) - (1.0 - p_true) * log(1.0 - p);
}

struct excess {
    double learned, identity;
};

/* n observations; those of the second half, each asked before it is learned, are measured. */
static struct excess live(struct lv_calib *cal, const struct world *w, struct lv_rng *r, uint32_t n)
{
    struct excess e = { 0 };

    for (uint32_t i = 0; i < n; i++) {
        const uint32_t rank = lv_rng_below(r, 8), depth = 1 + lv_rng_below(r, 14);
        const float raw_p = (float)sigmoid(uniform(r) * 10.0 - (rank ? 7.0 : 4.0));
        const double p = truth(w, (double)raw_p, rank, depth);

        if (i >= n / 2) {
            e.learned += loss(p, (double)lv_calib_p(cal, raw_p, rank, depth)) - loss(p, p);
            e.identity += loss(p, (double)raw_p) - loss(p, p);
        }
        lv_calib_learn(cal, raw_p, rank, depth, uniform(r) < p);
        lv_calib_fit(cal);
    }
    e.learned /= n - n / 2;
    e.identity /= n - n / 2;
    return e;
}

/* Within a row and depth class p never falls. */
static void check_monotone(const struct lv_calib *cal)
{
    for (uint32_t row = 0; row < LV_CALIB_ROWS; row++)
        for (uint32_t depth = 1; depth <= 9; depth += 2) {
            float last = 0.0f;

            for (int i = -160; i <= 160; i++) {
                const float raw_p = (float)sigmoid(i / 10.0);
                const uint32_t match[] = { 2, 3, 4, 6, 9, 16 };
                const float p = row < LV_CALIB_RANKS
                                    ? lv_calib_p(cal, raw_p, row + (row > 2), depth)
                                    : lv_calib_lookup_p(cal, raw_p, match[row - LV_CALIB_RANKS], depth);

                if (!(p >= last && p >= LV_CALIB_P_MIN * 0.99f && p <= 1.0f - LV_CALIB_P_MIN * 0.9f))
                    fail_msg("SEED=%llu row %u depth %u raw %g: %g after %g", (unsigned long long)seed, row, depth,
                             (double)raw_p, (double)p, (double)last);
                last = p;
            }
        }
}

static void test_identity(void **state)
{
    (void)state;
    lv_calib_init(&c);
    for (int i = -130; i <= 130; i++)
        for (uint32_t k = 0; k < 12; k++) {
            const float raw_p = (float)sigmoid(i / 10.0);

            assert_true(fabsf(lv_calib_p(&c, raw_p, k, k) - raw_p) <= 1e-6f * raw_p);
            assert_true(fabsf(lv_calib_lookup_p(&c, raw_p, 2 + 2 * k, k) - raw_p) <= 1e-6f * raw_p);
        }
}

static void test_recovers(void **state)
{
    static const struct world worlds[] = {
        { { 1.0, 1.0, 1.0, 1.0 }, { 0.0, 0.0, 0.0, 0.0 }, 0.0 },    /* right from the start */
        { { 1.3, 1.1, 1.0, 0.9 }, { 0.2, -0.3, -0.8, -1.5 }, 0.4 }, /* like the reference pair, but more so */
        { { 0.6, 0.8, 1.0, 1.2 }, { -1.0, 0.0, 1.0, 1.5 }, -0.2 },  /* the other way round */
    };

    (void)state;
    print_message("SEED=%llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < sizeof worlds / sizeof *worlds; i++)
        for (uint64_t k = 0; k < 3; k++) {
            struct lv_rng r = { .state = seed * 1000 + i * 10 + k };

            lv_calib_init(&c);
            const struct excess few = live(&c, &worlds[i], &r, 200), many = live(&c, &worlds[i], &r, 40000);

            print_message("world %zu: excess log-loss after 100: %.4f (identity %.4f), after 20000: %.4f (%.4f)\n", i,
                          few.learned, few.identity, many.learned, many.identity);
            assert_true(few.learned < few.identity + 0.01);
            assert_true(many.learned < 0.006);
            if (i > 0)
                assert_true(many.identity > 0.02 && few.learned < few.identity);
            check_monotone(&c);
        }
}

/* What no longer holds is forgotten. */
static void test_drift(void **state)
{
    static const struct world a = { { 1, 1, 1, 1 }, { 2, 1, 1, 1 }, 0 }, b = { { 1, 1, 1, 1 }, { -2, -1, -1, -1 }, 0 };
    struct lv_rng r = { .state = seed + 3 };

    (void)state;
    lv_calib_init(&c);
    live(&c, &a, &r, 100000);
    const struct excess first = live(&c, &b, &r, 2000), e = live(&c, &b, &r, 120000);

    print_message("SEED=%llu change: excess after 1000: %.4f, after 60000: %.4f (identity %.4f)\n",
                  (unsigned long long)seed, first.learned, e.learned, e.identity);
    assert_true(e.learned < 0.012 && e.identity > 0.05 && first.learned > 0.1);
}

/* One outcome moves little, at the ends as in the middle, and other rows not at all. */
static void test_small_steps(void **state)
{
    (void)state;
    for (int x = -9; x <= 5; x++) /* above, a float has too few digits to tell */
        for (int hit = 0; hit < 2; hit++) {
            const float raw_p = (float)sigmoid(x + 0.3);

            lv_calib_init(&c);
            lv_calib_learn(&c, raw_p, 1, 3, hit);
            lv_calib_fit(&c);
            const double p = (double)lv_calib_p(&c, raw_p, 1, 3);
            const double moved = log(p / (1.0 - p)) - (x + 0.3);

            if (hit ? moved <= 0.0 || moved > 1.5 : moved >= 0.0 || moved < -1.5)
                fail_msg("raw %g, hit %d: moved by %g", (double)raw_p, hit, moved);
            assert_true(fabsf(lv_calib_p(&c, raw_p, 0, 3) - raw_p) <= 1e-6f);
            assert_true(fabsf(lv_calib_lookup_p(&c, raw_p, 4, 3) - raw_p) <= 1e-6f);
            /* Another depth follows, but less. */
            const double q = (double)lv_calib_p(&c, raw_p, 1, 12), other = log(q / (1.0 - q)) - (x + 0.3);

            if (hit ? other <= 0.0 || other >= moved : other >= 0.0 || other <= moved)
                fail_msg("raw %g, hit %d: moved by %g, elsewhere %g", (double)raw_p, hit, moved, other);
        }
}

static void test_siblings(void **state)
{
    struct lv_rng r = { .state = seed + 4 };
    const struct world w = { { 1, 1, 1, 1 }, { 2, 2, 2, 2 }, 0.3 };
    uint32_t n_cut = 0;

    (void)state;
    lv_calib_init(&c);
    live(&c, &w, &r, 20000);
    for (int run = 0; run < 5000; run++) {
        float raw_p[LV_CALIB_SIBLINGS_MAX], out[LV_CALIB_SIBLINGS_MAX], sum = 0.0f, alone = 0.0f, rest = 1.0f;
        const uint32_t n = 1 + lv_rng_below(&r, run % 10 ? 8 : LV_CALIB_SIBLINGS_MAX), depth = 1 + lv_rng_below(&r, 12);

        for (uint32_t i = 0; i < n; i++) {
            raw_p[i] = rest * (float)uniform(&r) * (i % 3 ? 1.0f : 0.5f);
            rest -= raw_p[i];
        }
        lv_calib_siblings(&c, raw_p, n, depth, out);
        for (uint32_t i = 0; i < n; i++) {
            const float p = lv_calib_p(&c, raw_p[i], i, depth);

            alone += p;
            sum += out[i];
            assert_true(out[i] > 0.0f && out[i] <= p);
            for (uint32_t k = 0; k < i; k++) /* order is kept */
                assert_true(out[k] == out[i] || (out[k] > out[i]) == (lv_calib_p(&c, raw_p[k], k, depth) > p));
        }
        if (!(sum <= 1.0f))
            fail_msg("SEED=%llu run %d: sum %.9g", (unsigned long long)seed, run, (double)sum);
        if (alone > 1.0f) {
            n_cut++;
            assert_true(sum > 0.999f); /* no more is taken than must be */
        } else if (alone < 0.999f) {
            assert_true(fabsf(sum - alone) < 1e-6f);
        }
        lv_calib_siblings(&c, raw_p, n, depth, raw_p); /* in place */
        assert_memory_equal(raw_p, out, n * sizeof *out);
    }
    assert_in_range(n_cut, 500, 4500);

    /* The sure one keeps more than a common factor would leave it. */
    float p[2] = { 0.99f, 0.5f };

    lv_calib_init(&c);
    lv_calib_siblings(&c, p, 2, 1, p);
    assert_true(p[0] > 0.9f && p[1] < 0.1f && p[0] + p[1] <= 1.0f);
    lv_calib_siblings(&c, NULL, 0, 1, NULL);
}

static void test_odd_input(void **state)
{
    static struct lv_calib before;
    const float odd[] = { NAN, -1.0f, 0.0f, 1e-30f, 1.0f, 2.0f, INFINITY, -INFINITY };
    float out[8];

    (void)state;
    lv_calib_init(&c);
    before = c;
    lv_calib_learn(&c, NAN, 0, 1, true);
    assert_memory_equal(&c, &before, sizeof c);
    for (int run = 0; run < 2000; run++)
        for (uint32_t i = 1; i < 8; i++) {
            lv_calib_learn(&c, odd[i], UINT32_MAX, UINT32_MAX, run & 1);
            lv_calib_lookup_learn(&c, odd[i], UINT32_MAX, 0, run & 1);
            lv_calib_lookup_learn(&c, odd[i], 0, 1, run & 1);
            lv_calib_fit(&c);
        }
    check_monotone(&c);
    for (uint32_t i = 0; i < 8; i++) {
        const float p = lv_calib_p(&c, odd[i], i, i);

        assert_true(p > 0.0f && p < 1.0f);
    }
    assert_true(lv_calib_p(&c, NAN, 0, 1) == lv_calib_p(&c, 0.0f, 0, 1));
    lv_calib_siblings(&c, odd, 8, 1, out);
    for (uint32_t i = 0; i < 8; i++)
        assert_true(out[i] > 0.0f && out[i] < 1.0f);
}

/* Lookup: longer matches that hold more often than their prior says come out above it, and apart from the draft. */
static void test_lookup(void **state)
{
    struct lv_rng r = { .state = seed + 5 };

    (void)state;
    assert_true(lv_calib_lookup_raw(2, 1, 1) < lv_calib_lookup_raw(8, 1, 1));
    assert_true(lv_calib_lookup_raw(8, 1, 4) == lv_calib_lookup_raw(8, 4, 4) / 4.0f);
    assert_true(lv_calib_lookup_raw(8, 0, 0) == 0.0f && lv_calib_lookup_raw(32, 32, 32) < 1.0f);
    lv_calib_init(&c);
    for (int i = 0; i < 4000; i++) {
        const uint32_t match = 2 + lv_rng_below(&r, 31);

        lv_calib_lookup_learn(&c, lv_calib_lookup_raw(match, 1, 1), match, 1, uniform(&r) < (match < 6 ? 0.1 : 0.95));
    }
    lv_calib_fit(&c);
    for (uint32_t match = 2; match <= 32; match++) {
        const float p = lv_calib_lookup_p(&c, lv_calib_lookup_raw(match, 1, 1), match, 1);

        if (match < 6 ? !(p > 0.05f && p < 0.2f) : !(p > 0.88f && p < 0.99f))
            fail_msg("SEED=%llu match %u: %g", (unsigned long long)seed, match, (double)p);
    }
    assert_true(fabsf(lv_calib_p(&c, 0.4f, 0, 1) - 0.4f) < 1e-6f);
    check_monotone(&c);
}

/* A file brings back the same curves; a damaged one brings back the identity. */
static void test_restore(void **state)
{
    static struct lv_calib copy, identity;
    const struct world w = { { 1.3, 0.7, 1, 1 }, { 0.2, -0.3, 1, -1 }, 0.5 };
    const float bad[] = { NAN, -1.0f, 1e9f, INFINITY };
    struct lv_rng r = { .state = seed + 6 };

    (void)state;
    lv_calib_init(&identity);
    lv_calib_init(&c);
    live(&c, &w, &r, 5000);
    copy = c;
    memset(copy.curve, 0x7f, sizeof copy.curve);
    memset(copy.height, 0xff, sizeof copy.height);
    assert_true(lv_calib_restore(&copy));
    assert_memory_equal(&copy, &c, sizeof c);
    for (uint32_t i = 0; i < 8; i++) {
        copy = c;
        struct lv_calib_sum *s = i < 4 ? &copy.row[3][16] : &copy.cell[9][3][0];

        if (i % 2)
            s->hit = bad[i % 4];
        else
            s->n = bad[i % 4];
        assert_false(lv_calib_restore(&copy));
        assert_memory_equal(&copy, &identity, sizeof c);
    }
    copy = c;
    copy.version++;
    assert_false(lv_calib_restore(&copy));
    assert_memory_equal(&copy, &identity, sizeof c);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity),    cmocka_unit_test(test_recovers), cmocka_unit_test(test_drift),
        cmocka_unit_test(test_small_steps), cmocka_unit_test(test_siblings), cmocka_unit_test(test_odd_input),
        cmocka_unit_test(test_lookup),      cmocka_unit_test(test_restore),
    };

    if (argc > 1)
        seed = strtoull(argv[1], NULL, 10);
    return cmocka_run_group_tests_name("calibrate", tests, NULL, NULL);
}
