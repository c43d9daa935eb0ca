/* The predictor: probabilities of siblings, what online correction converges to, and that nothing comes out that is no
 * number; the judge that decides whether to look at all. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "prune/judge.h"
#include "prune/predict.h"

#define SEED 20260612u

static double uniform(struct lv_rng *r)
{
    return ((double)lv_rng_below(r, 1u << 24) + 0.5) / (1u << 24);
}

static void prior_believes_the_draft(void **state)
{
    struct lv_rng r = { .state = SEED };
    struct lv_predict_fix fix;

    (void)state;
    lv_predict_fix_init(&fix);
    for (int round = 0; round < 500; round++) {
        struct lv_predict_node v = { .n = 1 + lv_rng_below(&r, LV_PREDICT_MAX), .depth = lv_rng_below(&r, 30) };
        double left = 0.99;
        float z[LV_PREDICT_MAX], p[LV_PREDICT_MAX];

        for (uint32_t i = 0; i < v.n; i++) {
            v.p[i] = (float)(left * uniform(&r));
            v.rank[i] = (uint8_t)i;
            left -= (double)v.p[i];
        }
        lv_predict_z(lv_predict_prior, &v, z);
        lv_predict_p(&fix, z, v.n, p);
        for (uint32_t i = 0; i < v.n; i++)
            assert_true(fabs((double)p[i] - (double)v.p[i]) < 1e-4 + 0.002 * (double)v.p[i]);
    }
}

/* The features as they are written in the header, in another way. */
static void features_are_as_described(void **state)
{
    struct lv_rng r = { .state = SEED + 1 };

    (void)state;
    for (int round = 0; round < 300; round++) {
        struct lv_predict_node v = { .n = 1 + lv_rng_below(&r, 5), .depth = lv_rng_below(&r, 9), .scored = round % 3 > 0 };
        float x[LV_PREDICT_MAX][LV_PREDICT_WEIGHTS];
        double sum_p = 0.0, sum_e = 0.0;

        for (uint32_t i = 0; i < v.n; i++) {
            v.p[i] = (float)(0.19 * uniform(&r));
            v.score[i] = (float)(lv_rng_below(&r, 9) / 2.0); /* ties too */
            v.rank[i] = (uint8_t)lv_rng_below(&r, 8);
            sum_p += (double)v.p[i];
            sum_e += exp((double)v.score[i]);
        }
        lv_predict_features(&v, x);
        for (uint32_t i = 0; i < v.n; i++) {
            double other = -1e9, s = (double)v.score[i];

            for (uint32_t k = 0; k < v.n; k++)
                if (k != i && (double)v.score[k] > other)
                    other = (double)v.score[k];
            const double want[LV_PREDICT_WEIGHTS] = { 1.0, log((double)v.p[i] / (1.0 - sum_p)),
                                                      v.scored ? s - log(sum_e) : 0.0, v.scored ? s / 10.0 : 0.0,
                                                      v.scored && v.n > 1 ? (s - other) / 4.0 : 0.0, log(1.0 + v.depth),
                                                      log(1.0 + v.rank[i]), log(v.n), v.scored && v.n == 1 };

            for (uint32_t k = 0; k < LV_PREDICT_WEIGHTS; k++)
                assert_true(fabs(want[k] - (double)x[i][k]) < 1e-3);
        }
    }
}

static bool sound(const float *p, uint32_t n)
{
    double sum = 0.0;

    for (uint32_t i = 0; i < n; i++) {
        if (!(p[i] > 0.0f && p[i] < 1.0f))
            return false;
        sum += (double)p[i];
    }
    return sum <= 1.0 + 1e-5;
}

static void nothing_but_numbers(void **state)
{
    static const float odd[] = { NAN, INFINITY, -INFINITY, 0.0f, -1.0f, 1e30f, -1e30f, 1e-30f, 2.0f };
    const uint32_t n_odd = sizeof odd / sizeof *odd;
    struct lv_rng r = { .state = SEED + 2 };
    struct lv_predict_fix fix;

    (void)state;
    lv_predict_fix_init(&fix);
    for (int round = 0; round < 5000; round++) {
        struct lv_predict_node v = { .n = 1 + lv_rng_below(&r, LV_PREDICT_MAX), .depth = lv_rng_below(&r, 99), .scored = true };
        float w[LV_PREDICT_WEIGHTS], z[LV_PREDICT_MAX], p[LV_PREDICT_MAX];

        for (uint32_t k = 0; k < LV_PREDICT_WEIGHTS; k++)
            w[k] = (float)(2000.0 * uniform(&r) - 1000.0);
        for (uint32_t i = 0; i < v.n; i++) {
            v.p[i] = lv_rng_below(&r, 2) ? odd[lv_rng_below(&r, n_odd)] : (float)uniform(&r);
            v.score[i] = lv_rng_below(&r, 2) ? odd[lv_rng_below(&r, n_odd)] : (float)(40.0 * uniform(&r));
        }
        lv_predict_z(w, &v, z);
        lv_predict_p(&fix, z, v.n, p);
        assert_true(sound(p, v.n));
        if (lv_rng_below(&r, 3) == 0)
            z[0] = odd[lv_rng_below(&r, 3)];
        const struct lv_predict_fix before = fix;

        lv_predict_learn(&fix, z, v.n, (int32_t)lv_rng_below(&r, v.n + 2) - 1);
        if (!isfinite(z[0])) /* nothing is learned from what is no number */
            assert_memory_equal(&fix, &before, sizeof fix);
        assert_true(isfinite(fix.scale) && isfinite(fix.shift) && fix.scale > 0.0);
    }
    assert_true(lv_predict_fix_restore(&fix));
}

/* Outcomes drawn from a known correction: it is found again, wherever it began. */
static void correction_converges(void **state)
{
    static const double truth[][2] = { { 1.0, 0.0 }, { 0.5, 0.0 }, { 1.0, 1.2 }, { 1.6, -0.8 }, { 0.6, -1.5 } };
    struct lv_rng r = { .state = SEED + 3 };
    struct lv_predict_fix fix;

    (void)state;
    lv_predict_fix_init(&fix);
    for (uint32_t t = 0; t < sizeof truth / sizeof *truth; t++) {
        const struct lv_predict_fix real = { .scale = truth[t][0], .shift = truth[t][1] };
        double own = 0.0, best = 0.0, raw = 0.0;

        for (int round = 0; round < 6000; round++) {
            const uint32_t n = 1 + lv_rng_below(&r, 4);
            const struct lv_predict_fix none = { .scale = 1.0 };
            float z[LV_PREDICT_MAX], p[3][LV_PREDICT_MAX];
            double u = uniform(&r), rest[3] = { 1.0, 1.0, 1.0 };
            int32_t taken = -1;

            for (uint32_t i = 0; i < n; i++)
                z[i] = (float)(8.0 * uniform(&r) - 4.0);
            lv_predict_p(&real, z, n, p[0]);
            lv_predict_p(&fix, z, n, p[1]);
            lv_predict_p(&none, z, n, p[2]);
            for (uint32_t i = 0; i < n; i++) {
                if (taken < 0 && u < (double)p[0][i])
                    taken = (int32_t)i;
                u -= taken < 0 ? (double)p[0][i] : 0.0;
                for (int k = 0; k < 3; k++)
                    rest[k] -= (double)p[k][i];
            }
            if (round >= 3000) { /* what each loses, in nats */
                best -= log(taken < 0 ? rest[0] : (double)p[0][taken]);
                own -= log(taken < 0 ? rest[1] : (double)p[1][taken]);
                raw -= log(taken < 0 ? rest[2] : (double)p[2][taken]);
            }
            lv_predict_learn(&fix, z, n, taken);
        }
        printf("scale %.2f shift %.2f: found %.2f %.2f; nats a node: true %.4f, found %.4f, none %.4f\n", truth[t][0],
               truth[t][1], fix.scale, fix.shift, best / 3000, own / 3000, raw / 3000);
        assert_true(own - best < 0.02 * 3000);
        if (t)
            assert_true(own < raw - 0.01 * 3000);
    }
}

static void bytes_of_a_file_are_checked(void **state)
{
    struct lv_predict_fix fix;
    struct lv_rng r = { .state = SEED + 4 };

    (void)state;
    for (int round = 0; round < 2000; round++) {
        float z[2] = { (float)uniform(&r), 0.0f }, p[2];

        lv_predict_fix_init(&fix);
        for (uint32_t i = 0; i < sizeof fix; i++)
            if (lv_rng_below(&r, 4) == 0)
                ((uint8_t *)&fix)[i] = (uint8_t)lv_rng_below(&r, 256);
        lv_predict_fix_restore(&fix);
        lv_predict_learn(&fix, z, 2, 0);
        lv_predict_p(&fix, z, 2, p);
        assert_true(sound(p, 2));
    }
}

/* Looks at 0.3 % of a pass that never bring anything cost less than 1 % in all, and ever less. */
static void judge_gives_up_what_loses(void **state)
{
    struct lv_judge j;
    uint32_t n_look = 0, late = 0;

    (void)state;
    lv_judge_init(&j);
    for (uint32_t pass = 0; pass < 2000; pass++)
        if (lv_judge_allows(&j, 0.05)) {
            n_look++;
            late += pass >= 1000;
            lv_judge_learn(&j, 0.0, 0.0003, 0.0, 40.0);
        }
    printf("%u looks in 2000 passes, %u of them in the last 1000\n", n_look, late);
    assert_in_range(n_look, 6, 100);
    assert_true(late < n_look / 2);
}

static void judge_keeps_what_wins(void **state)
{
    struct lv_judge j;
    struct lv_rng r = { .state = SEED + 5 };
    uint32_t n_look = 0;

    (void)state;
    lv_judge_init(&j);
    for (uint32_t pass = 0; pass < 1000; pass++)
        if (lv_judge_allows(&j, 0.05)) {
            n_look++;
            lv_judge_learn(&j, 0.02, 0.0005, lv_rng_below(&r, 20) == 0 ? 2.0 : 0.0, 40.0);
        }
    assert_true(n_look > 700);
    lv_judge_learn(&j, NAN, 0.1, 0.0, 40.0);
    lv_judge_learn(&j, 0.1, -INFINITY, 0.0, 40.0);
    assert_true(isfinite(j.balance) && isfinite(j.cost));
    assert_false(lv_judge_allows(&j, 0.0)); /* in the stream's shadow */
    assert_false(lv_judge_allows(&j, 0.0006));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prior_believes_the_draft),
        cmocka_unit_test(features_are_as_described),
        cmocka_unit_test(nothing_but_numbers),
        cmocka_unit_test(correction_converges),
        cmocka_unit_test(bytes_of_a_file_are_checked),
        cmocka_unit_test(judge_gives_up_what_loses),
        cmocka_unit_test(judge_keeps_what_wins),
    };

    printf("SEED=%u\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
