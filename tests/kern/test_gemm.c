/* Matmul kernels: every level and type against the reference bit by bit, each token against the
 * same token alone, and the reference against sums in double of the dequantized rows. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kern/gemm_list.h"
#include "kern/kt.h"

#define N LV_GROUP_ROWS

struct shape {
    uint32_t n_blk, t0, n_tok, pad; /* blocks of 256 columns or 32; first token; tokens; floats between rows of y */
};

static void check(enum lv_type type, const struct shape *s, const uint8_t *group, const struct lv_act *x,
                  const char *what)
{
    const size_t stride = N + s->pad, n_y = (s->n_tok - 1) * stride + N;
    float *want = kt_poison(n_y);

    kt.level[0].gemm[type](want, stride, group, x, s->t0, s->n_tok);
    for (uint32_t l = 0; l < kt.n_level; l++) {
        lv_gemm_fn *gemm = kt.level[l].gemm[type];
        float *got = kt_poison(n_y), *one = kt_poison(N);

        assert_non_null(gemm);
        gemm(got, stride, group, x, s->t0, s->n_tok);
        for (size_t i = 0; i < n_y; i++) {
            const size_t t = i / stride, r = i % stride;

            if (r >= N ? !kt_is_poison(got[i]) : !kt_same(got[i], want[i]))
                fail_msg("%s %s, %s: %u blocks, %u tokens from %u: token %zu row %zu is %a, reference %a, seed %" PRIu64,
                         kt.level[l].level, lv_type_name(type), what, s->n_blk, s->n_tok, s->t0, t, r,
                         (double)got[i], r < N ? (double)want[i] : 0.0, kt.seed);
        }
        for (uint32_t t = 0; t < s->n_tok; t++) {
            gemm(one, N, group, x, s->t0 + t, 1);
            for (uint32_t r = 0; r < N; r++)
                if (!kt_same(one[r], got[t * stride + r]))
                    fail_msg("%s %s, %s: token %u of %u alone: row %u is %a, in the batch %a, seed %" PRIu64,
                             kt.level[l].level, lv_type_name(type), what, t, s->n_tok, r, (double)one[r],
                             (double)got[t * stride + r], kt.seed);
        }
    }
}

/* Packs rows by the reference into a group that ends gap bytes before the guard. */
static uint8_t *group_of(enum lv_type type, const uint8_t *rows, uint32_t n_rows, uint32_t n_cols, size_t gap)
{
    uint8_t *group = kt_buf((size_t)lv_group_bytes(type, n_cols), gap);

    kt.level[0].pack[type](group, rows, n_rows, n_cols);
    return group;
}

static uint32_t columns(enum lv_type type, uint32_t n_blk)
{
    return n_blk * (lv_type_traits(type)->block_len == 256 ? 256 : 32);
}

/* Shapes: few and many blocks, around the eight that AMX kernels unpack at a time; each token count up to 64 once, then
 * some beyond; offsets; unaligned groups. */
static void test_shapes(void **state)
{
    const enum lv_type type = *(const enum lv_type *)*state;
    const uint32_t n_blk[2][8] = { { 1, 2, 3, 7, 8, 13, 18, 28 }, { 1, 2, 3, 1, 2, 1, 3, 2 } }; /* of 32, of 256 */
    const uint32_t beyond[] = { 65, 80, 97, 130, 150 };
    const size_t gap[] = { 0, 2, 32 };

    for (uint32_t i = 1; i <= 64 + sizeof beyond / sizeof beyond[0]; i++) {
        const uint32_t n_tok = i <= 64 ? i : beyond[i - 65];
        const bool is_k = lv_type_traits(type)->block_len == 256;
        const struct shape s = { n_blk[is_k][(n_tok + n_tok / 8) % 8], n_tok % 3, n_tok, n_tok % 2 * 5 };
        const uint32_t n_cols = columns(type, s.n_blk);

        kt_reseed(n_tok);
        const uint8_t *rows = kt_rows(type, N, n_cols, KT_W_RANDOM, 0);
        const uint8_t *group = group_of(type, rows, N, n_cols, gap[n_tok / 4 % 3]);
        const struct lv_act x = kt_act(s.t0 + s.n_tok, n_cols, KT_X_RANDOM);

        check(type, &s, group, &x, "random");
        kt_free_all();
    }
}

static void test_values(void **state)
{
    const enum lv_type type = *(const enum lv_type *)*state;
    static const char *const w_name[] = { "random weights", "all ones", "zero scales", "tiny scales", "NaN scales" };
    static const char *const x_name[] = { "random", "extreme", "zero", "NaN" };

    for (uint32_t w = 0; w < KT_W_COUNT; w++)
        for (uint32_t a = 0; a < KT_X_COUNT; a++) {
            const struct shape s = { 3, 1, 9, 0 };
            const uint32_t n_cols = columns(type, s.n_blk);
            char what[64];

            kt_reseed(1000 + w * 10 + a);
            const uint8_t *rows = kt_rows(type, N, n_cols, (enum kt_weights)w, 0);
            const uint8_t *group = group_of(type, rows, N, n_cols, 0);
            const struct lv_act x = kt_act(s.t0 + s.n_tok, n_cols, (enum kt_acts)a);

            snprintf(what, sizeof what, "%s, %s x", w_name[w], x_name[a]);
            check(type, &s, group, &x, what);
            kt_free_all();
        }
}

/* x = -128 everywhere: the quantizer does not make it, but a kernel must not saturate on it. */
static void test_min_x(void **state)
{
    const enum lv_type type = *(const enum lv_type *)*state;
    const struct shape s = { 2, 0, 5, 0 };
    const uint32_t n_cols = columns(type, s.n_blk);

    kt_reseed(2000);
    const uint8_t *rows = kt_rows(type, N, n_cols, KT_W_ONES, 0);
    const uint8_t *group = group_of(type, rows, N, n_cols, 0);
    struct lv_act x = kt_act(s.n_tok, n_cols, KT_X_RANDOM);

    for (size_t i = 0; i < (size_t)s.n_tok * n_cols; i++)
        x.q[i] = -128;
    for (size_t i = 0; i < (size_t)s.n_tok * n_cols / 16; i++)
        x.s16[i] = -2048;
    check(type, &s, group, &x, "x = -128");
    kt_free_all();
}

/* The reference itself. The bound: each of the 2 * n_sub float steps rounds once, relative to the largest sum
 * possible; the dequantized weight and the scale product round too. */
static void test_double(void **state)
{
    const enum lv_type type = *(const enum lv_type *)*state;
    const uint32_t n_cols = columns(type, 7), n_tok = 3, n_rows = 29;
    static float w[7 * 256];
    float *y = kt_poison((size_t)n_tok * N);
    const bool is_float = lv_type_traits(type)->block_len == 1;

    kt_reseed(3000);
    const uint8_t *rows = kt_rows(type, n_rows, n_cols, KT_W_RANDOM, 0);
    const uint8_t *group = group_of(type, rows, n_rows, n_cols, 0);
    const struct lv_act x = kt_act(n_tok, n_cols, KT_X_RANDOM);

    kt.level[0].gemm[type](y, N, group, &x, 0, n_tok);
    for (uint32_t r = 0; r < N; r++) {
        double w_max = 0;

        if (r < n_rows)
            lv_dequant_row(type, rows + r * lv_row_bytes(type, n_cols), w, n_cols);
        else
            memset(w, 0, sizeof w); /* a missing row */
        for (uint32_t k = 0; k < n_cols; k++)
            w_max = fmax(w_max, fabs((double)w[k]));
        for (uint32_t t = 0; t < n_tok; t++) {
            double sum = 0, mag = 0;

            for (uint32_t k = 0; k < n_cols; k++) {
                const size_t i = (size_t)t * n_cols + k;
                const double v = is_float ? (double)x.f[i] : (double)x.d[i / 32] * x.q[i];

                sum += v * (double)w[k];
                mag += fabs(v) * w_max;
            }
            const double steps = is_float ? n_cols : 2.0 * n_cols / 32 + 8;

            if (!(fabs((double)y[t * N + r] - sum) <= steps * 0x1p-24 * mag))
                fail_msg("reference %s: row %u token %u is %.9g, in double %.9g, bound %.3g, seed %" PRIu64,
                         lv_type_name(type), r, t, (double)y[t * N + r], sum, steps * 0x1p-24 * mag, kt.seed);
        }
    }
    kt_free_all();
}

int main(int argc, char **argv)
{
    if (!kt_init(argc, argv))
        return 1;
    if (kt.bench) {
        kt_bench_gemm();
        return 0;
    }
#define LV_X(TYPE, name) static enum lv_type name = LV_TYPE_##TYPE;
    LV_KERN_TYPES(LV_X)
#undef LV_X
    const struct CMUnitTest tests[] = {
#define LV_X(TYPE, name)                                            \
    { "gemm " #name " shapes", test_shapes, NULL, NULL, &name },    \
    { "gemm " #name " values", test_values, NULL, NULL, &name },    \
    { "gemm " #name " x = -128", test_min_x, NULL, NULL, &name },   \
    { "gemm " #name " in double", test_double, NULL, NULL, &name },
        LV_KERN_TYPES(LV_X)
#undef LV_X
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
