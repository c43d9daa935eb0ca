/* What int8 activations cost: the error of a product against double precision with the dequantized weights, beside that
 * of ggml's rule for the type (32 columns and an f16 scale; 256 columns and a scale by the largest value for K-quants).
 * Ours may be at most 1.05 times as large, for plain, outlier and heavy-tailed activations. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "kern/gemm_list.h"
#include "kern/kt.h"

#define N_COLS 1536u
#define N_TOK 24u

enum dist { GAUSS, OUTLIERS, HEAVY, N_DIST };

static double uniform(void)
{
    return ((double)(lv_rng_u64(&kt.rng) >> 11) + 0.5) * 0x1p-53;
}

static float draw(enum dist dist, uint32_t column)
{
    const double g = sqrt(-2.0 * log(uniform())) * cos(6.283185307179586 * uniform());

    if (dist == OUTLIERS) /* the same few channels in every token */
        return (float)(column % 499 == 7 ? 20.0 * g : g);
    return (float)(dist == HEAVY ? g * g * g : g);
}

/* x as ggml's rule for the type would have it. */
static void ggml_rule(enum lv_type type, const float *x, double *out)
{
    const uint32_t len = lv_type_traits(type)->block_len;

    for (uint32_t b = 0; b < N_COLS; b += len) {
        float most = 0.0f; /* with its sign */

        for (uint32_t i = b; i < b + len; i++)
            if (fabsf(x[i]) > fabsf(most))
                most = x[i];
        const float d = len == 256 ? most / -127.0f : fabsf(most) / 127.0f;
        const float stored = len == 256 ? d : lv_f32_from_f16(lv_f16_from_f32(d));

        for (uint32_t i = b; i < b + len; i++)
            out[i] = d == 0.0f ? 0.0 : fmin(127.0, nearbyint((double)(x[i] / d))) * (double)stored;
    }
}

static void test_accuracy(void **state)
{
    static const char *const name[] = { "gaussian", "outliers", "heavy tails" };
    const enum lv_type type = *(const enum lv_type *)*state;
    static float w[N_COLS], f[N_TOK * N_COLS];
    static double rule[N_COLS];

    for (enum dist dist = GAUSS; dist < N_DIST; dist++) {
        double ours = 0, ggml = 0, power = 0;
        float y[N_TOK * LV_GROUP_ROWS];

        kt_reseed(4000 + dist);
        for (uint32_t i = 0; i < N_TOK * N_COLS; i++)
            f[i] = draw(dist, i % N_COLS);
        const uint8_t *rows = kt_rows(type, LV_GROUP_ROWS, N_COLS, KT_W_RANDOM, 0);
        uint8_t *group = kt_buf((size_t)lv_group_bytes(type, N_COLS), 0);
        struct lv_act x = kt_act(N_TOK, N_COLS, KT_X_RANDOM);

        x.f = f;
        x.stride_f = N_COLS;
        kt.level[0].quantize(&x, 0, N_TOK, 0, N_COLS);
        kt.level[0].pack[type](group, rows, LV_GROUP_ROWS, N_COLS);
        kt.level[0].gemm[type](y, LV_GROUP_ROWS, group, &x, 0, N_TOK);
        for (uint32_t t = 0; t < N_TOK; t++) {
            ggml_rule(type, f + t * N_COLS, rule);
            for (uint32_t r = 0; r < LV_GROUP_ROWS; r++) {
                double exact = 0, theirs = 0;

                lv_dequant_row(type, rows + r * lv_row_bytes(type, N_COLS), w, N_COLS);
                for (uint32_t k = 0; k < N_COLS; k++) {
                    exact += (double)w[k] * (double)f[t * N_COLS + k];
                    theirs += (double)w[k] * rule[k];
                }
                ours += pow((double)y[t * LV_GROUP_ROWS + r] - exact, 2);
                ggml += pow(theirs - exact, 2);
                power += exact * exact;
            }
        }
        const double ratio = sqrt(ours / ggml);

        printf("%s, %s: error %.3f %%, by ggml's rule %.3f %%, ratio %.3f\n", lv_type_name(type), name[dist],
               100 * sqrt(ours / power), 100 * sqrt(ggml / power), ratio);
        if (!(ratio <= 1.05))
            fail_msg("%s, %s: ratio %.3f, limit 1.05, seed %" PRIu64, lv_type_name(type), name[dist], ratio, kt.seed);
        kt_free_all();
    }
}

int main(int argc, char **argv)
{
    if (!kt_init(argc, argv))
        return 1;
#define LV_X(TYPE, name) static enum lv_type name = LV_TYPE_##TYPE;
    LV_KERN_INT_TYPES(LV_X)
#undef LV_X
    const struct CMUnitTest tests[] = {
#define LV_X(TYPE, name) { "accuracy of " #name, test_accuracy, NULL, NULL, &name },
        LV_KERN_INT_TYPES(LV_X)
#undef LV_X
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
