/* Every level of every vector kernel against its reference twin: same bits (or both NaN), over sizes, strides,
 * kinds of data and the aliasing that kern.h allows, in buffers that end at unreadable pages. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "kern/vec_harness.h"

#define CTX_FMT "%s n %u kind %u"

/* Runs body for each level l, length n (1 .. 200 and some large) and kind of data; ends with the buffers given back. */
static const uint32_t large[] = { 255, 256, 257, 896, 1000, 1023, 1024, 1025, 1536, 2048, 4099, 8960 };
#define N_LENGTH (200 + sizeof large / sizeof *large)

static uint32_t length(size_t i)
{
    return i < 200 ? (uint32_t)i + 1 : large[i - 200];
}

typedef void case_fn(const struct vt_level *l, struct lv_rng *rng, uint32_t n, unsigned kind);

static void for_all(const char *name, case_fn *fn)
{
    const struct vt_level *levels;
    const unsigned n_level = vt_levels(&levels);
    struct lv_rng rng = vt_rng(name);

    for (unsigned l = 0; l < n_level; l++) {
        for (size_t i = 0; i < N_LENGTH; i++) {
            for (unsigned kind = 0; kind < VT_N_KIND; kind++) {
                fn(&levels[l], &rng, length(i), kind);
                vt_release();
            }
        }
    }
}

static float *filled(struct lv_rng *rng, size_t n, unsigned kind)
{
    float *x = vt_take(n, sizeof *x);

    vt_fill(rng, x, n, (enum vt_kind)kind);
    return x;
}

static void rms_norm_case(const struct vt_level *l, struct lv_rng *rng, uint32_t n, unsigned kind)
{
    float *x = filled(rng, n, kind), *w = filled(rng, n, VT_PLAIN);
    float *want = vt_take(n, sizeof *want), *got = vt_take(n, sizeof *got);

    vt_ref()->rms_norm(want, x, w, 1e-6f, n);
    l->kern.rms_norm(got, x, w, 1e-6f, n);
    vt_same_f32(got, want, n, "rms_norm " CTX_FMT, l->name, n, kind);
    vt_ref()->rms_norm(want, x, NULL, 0.0f, n);
    l->kern.rms_norm(x, x, NULL, 0.0f, n);
    vt_same_f32(x, want, n, "rms_norm in place, no weight " CTX_FMT, l->name, n, kind);
}

static void add_case(const struct vt_level *l, struct lv_rng *rng, uint32_t n, unsigned kind)
{
    float *a = filled(rng, n, kind), *b = filled(rng, n, kind);
    float *want = vt_take(n, sizeof *want), *got = vt_take(n, sizeof *got);
    float *a2 = vt_copy(a, n, sizeof *a), *b2 = vt_copy(b, n, sizeof *b);

    vt_ref()->add(want, a, b, n);
    l->kern.add(got, a, b, n);
    vt_same_f32(got, want, n, "add " CTX_FMT, l->name, n, kind);
    l->kern.add(a2, a2, b, n);
    vt_same_f32(a2, want, n, "add to a " CTX_FMT, l->name, n, kind);
    l->kern.add(b2, a, b2, n);
    vt_same_f32(b2, want, n, "add to b " CTX_FMT, l->name, n, kind);
}

static void scale_case(const struct vt_level *l, struct lv_rng *rng, uint32_t n, unsigned kind)
{
    float *want = filled(rng, n, kind), *got = vt_copy(want, n, sizeof *want);
    const float s = lv_rng_f32(rng) * 9.0f;

    vt_ref()->scale(want, s, n);
    l->kern.scale(got, s, n);
    vt_same_f32(got, want, n, "scale " CTX_FMT, l->name, n, kind);
}

static void rope_case(const struct vt_level *l, struct lv_rng *rng, uint32_t n, unsigned kind)
{
    if (n % 2 != 0 || n > 1024)
        return;
    const float *cs = filled(rng, n, VT_PLAIN);
    float *want = filled(rng, n, kind), *got = vt_copy(want, n, sizeof *want);

    for (unsigned neox = 0; neox < 2; neox++) {
        vt_ref()->rope(want, cs, n, neox != 0);
        l->kern.rope(got, cs, n, neox != 0);
        vt_same_f32(got, want, n, "rope neox %u " CTX_FMT, neox, l->name, n, kind);
    }
}

static void glu_case(const struct vt_level *l, struct lv_rng *rng, uint32_t n, unsigned kind)
{
    float *g = filled(rng, n, kind), *u = filled(rng, n, VT_PLAIN);
    float *want = vt_take(n, sizeof *want), *got = vt_take(n, sizeof *got);

    for (size_t i = 0; kind == VT_PLAIN && i < n; i++)
        g[i] *= 20.0f;
    for (int act = LV_GLU_SILU; act <= LV_GLU_GELU; act++) {
        float *g2 = vt_copy(g, n, sizeof *g);

        vt_ref()->glu(want, g, u, n, (enum lv_glu)act);
        l->kern.glu(got, g, u, n, (enum lv_glu)act);
        vt_same_f32(got, want, n, "glu %d " CTX_FMT, act, l->name, n, kind);
        l->kern.glu(g2, g2, u, n, (enum lv_glu)act);
        vt_same_f32(g2, want, n, "glu %d in place " CTX_FMT, act, l->name, n, kind);
    }
}

static void f16_case(const struct vt_level *l, struct lv_rng *rng, uint32_t n, unsigned kind)
{
    const float *x = filled(rng, n, kind);
    uint16_t *want = vt_take(n, sizeof *want), *got = vt_take(n, sizeof *got);

    vt_ref()->f16_from_f32(want, x, n);
    l->kern.f16_from_f32(got, x, n);
    vt_same_bytes(got, want, n * sizeof *got, "f16_from_f32 " CTX_FMT, l->name, n, kind);
}

static void softmax_case(const struct vt_level *l, struct lv_rng *rng, uint32_t n, unsigned kind)
{
    n = (n + 15) / 16 * 16;
    float *want = filled(rng, n, kind), *got;
    const float spread = lv_rng_below(rng, 2) ? 1.0f : 60.0f;

    for (uint32_t i = 0; i < n; i++) {
        want[i] *= spread;
        if (i > 0 && lv_rng_below(rng, 3) == 0)
            want[i] = -INFINITY;
    }
    if (kind == VT_NAN) { /* a NaN after the maximum, often in its lane, must not make a kernel forget it */
        for (uint32_t i = 0; i < n; i++)
            want[i] = lv_rng_f32(rng);
        want[lv_rng_below(rng, 16)] = 2.0f;
        want[n - 1 - lv_rng_below(rng, 16)] = NAN;
    }
    got = vt_copy(want, n, sizeof *want);
    const float r_want = vt_ref()->softmax(want, n), r_got = l->kern.softmax(got, n);
    vt_same_f32(got, want, n, "softmax " CTX_FMT, l->name, n, kind);
    vt_same_f32(&r_got, &r_want, 1, "softmax, inverse sum " CTX_FMT, l->name, n, kind);
}

static void argmax_case(const struct vt_level *l, struct lv_rng *rng, uint32_t n, unsigned kind)
{
    float *x = filled(rng, n, kind), want_value, got_value;

    for (uint32_t i = 0; kind == VT_ODD && i < n; i++) /* many ties */
        x[i] = (float)lv_rng_below(rng, 4) * -0.0f + (float)lv_rng_below(rng, 3);
    for (uint32_t i = 0; kind == VT_NAN && i < n; i++) { /* mostly NaN, often nothing but NaN and -inf */
        if (lv_rng_below(rng, n < 20 ? 2 : n) != 0)
            x[i] = NAN;
        else if (n % 2)
            x[i] = -INFINITY;
    }
    const uint32_t want = vt_ref()->argmax(x, n, &want_value), got = l->kern.argmax(x, n, &got_value);
    if (got != want)
        fail_msg("argmax " CTX_FMT ": %u, the reference %u (--seed %" PRIu64 ")", l->name, n, kind, got, want, vt_seed);
    vt_same_f32(&got_value, &want_value, 1, "argmax, value " CTX_FMT, l->name, n, kind);
}

/* All outputs of a quantized activation, poisoned. */
static struct lv_act take_act(const float *f, size_t stride_f, size_t n_rows, uint32_t n_cols)
{
    return (struct lv_act){ f,
                            stride_f,
                            vt_take(n_rows * n_cols, 1),
                            vt_take(n_rows * n_cols / 32, sizeof(float)),
                            vt_take(n_rows * n_cols / 32, sizeof(float)),
                            vt_take(n_rows * n_cols / 16, sizeof(int16_t)),
                            n_cols };
}

static void quantize_case(const struct vt_level *l, struct lv_rng *rng, uint32_t n, unsigned kind)
{
    const uint32_t n_rows = 1 + n % 3, n_blk = 1 + n % 70, n_cols = n_blk * 32;
    const size_t stride = n_cols + n % 5, n_all = (size_t)n_rows * n_cols;
    float *f = filled(rng, (n_rows - 1) * stride + n_cols, kind);
    const struct lv_act want = take_act(f, stride, n_rows, n_cols), got = take_act(f, stride, n_rows, n_cols);
    const uint32_t t0 = lv_rng_below(rng, n_rows), n_t = 1 + lv_rng_below(rng, n_rows - t0);
    const uint32_t b0 = lv_rng_below(rng, n_blk), n_b = 1 + lv_rng_below(rng, n_blk - b0);

    if (kind == VT_PLAIN) { /* one block of values whose inverse scale overflows */
        for (unsigned i = 0; i < 32; i++)
            f[b0 * 32 + i] *= 0x1p-127f;
    }
    if (kind == VT_ZERO) { /* halves between two quants: to the even one */
        for (uint32_t i = 0; i < n_cols; i++)
            f[i] = i % 32 == 0 ? 127.0f : (float)((int)lv_rng_below(rng, 255) - 127) * 0.5f;
    }
    vt_ref()->quantize(&want, t0, n_t, b0 * 32, n_b * 32);
    l->kern.quantize(&got, t0, n_t, b0 * 32, n_b * 32);
    vt_same_bytes(got.q, want.q, n_all, "quantize q " CTX_FMT, l->name, n, kind);
    vt_same_f32(got.d, want.d, n_all / 32, "quantize d " CTX_FMT, l->name, n, kind);
    vt_same_f32(got.sd, want.sd, n_all / 32, "quantize sd " CTX_FMT, l->name, n, kind);
    vt_same_bytes(got.s16, want.s16, n_all / 16 * sizeof(int16_t), "quantize s16 " CTX_FMT, l->name, n, kind);
}

/* Shapes of attention: every tile width and tail of queries, blocks and dims. */
static void qk_case(const struct vt_level *l, struct lv_rng *rng, uint32_t n_q, uint32_t n_dim, uint32_t n_blk,
                    unsigned kind)
{
    const size_t stride_q = n_dim + lv_rng_below(rng, 3), stride_s = 16 * (size_t)n_blk + lv_rng_below(rng, 3);
    const size_t n_s = (n_q - 1) * stride_s + 16 * (size_t)n_blk, n_k = (size_t)n_blk * 16 * n_dim;
    const float *q = filled(rng, (n_q - 1) * stride_q + n_dim, kind);
    float *want = vt_take(n_s, sizeof *want), *got = vt_take(n_s, sizeof *got);
    uint16_t *k = vt_take(n_k, sizeof *k);

    vt_fill_f16(rng, k, n_k, kind == VT_NAN);
    vt_ref()->attn_qk(want, stride_s, q, stride_q, n_q, k, n_dim, n_blk, 0.125f);
    l->kern.attn_qk(got, stride_s, q, stride_q, n_q, k, n_dim, n_blk, 0.125f);
    vt_same_f32(got, want, n_s, "attn_qk %s n_q %u n_dim %u n_blk %u kind %u", l->name, n_q, n_dim, n_blk, kind);
    vt_release();
}

static void pv_case(const struct vt_level *l, struct lv_rng *rng, uint32_t n_q, uint32_t n_dim, uint32_t n_pos,
                    unsigned kind)
{
    const size_t stride_o = n_dim + lv_rng_below(rng, 3), stride_p = n_pos + lv_rng_below(rng, 3);
    const size_t stride_v = n_dim + lv_rng_below(rng, 3);
    const size_t n_o = (n_q - 1) * stride_o + n_dim, n_v = (n_pos - 1) * stride_v + n_dim;
    const float *p = filled(rng, (n_q - 1) * stride_p + n_pos, kind);
    float *want = filled(rng, n_o, VT_PLAIN), *got = vt_copy(want, n_o, sizeof *want);
    uint16_t *v = vt_take(n_v, sizeof *v);

    vt_fill_f16(rng, v, n_v, kind == VT_NAN);
    vt_ref()->attn_pv(want, stride_o, p, stride_p, n_q, v, stride_v, n_dim, n_pos);
    l->kern.attn_pv(got, stride_o, p, stride_p, n_q, v, stride_v, n_dim, n_pos);
    vt_same_f32(got, want, n_o, "attn_pv %s n_q %u n_dim %u n_pos %u kind %u", l->name, n_q, n_dim, n_pos, kind);
    vt_release();
}

typedef void attn_case_fn(const struct vt_level *, struct lv_rng *, uint32_t, uint32_t, uint32_t, unsigned);

static void for_all_attn(const char *name, attn_case_fn *fn, const uint32_t *lengths, size_t n_length)
{
    static const uint32_t dims[] = { 1, 8, 16, 24, 63, 64, 65, 80, 96, 128, 192, 256 };
    const struct vt_level *levels;
    const unsigned n_level = vt_levels(&levels);
    struct lv_rng rng = vt_rng(name);

    for (unsigned l = 0; l < n_level; l++) {
        for (uint32_t n_q = 1; n_q <= 20; n_q++) {
            for (size_t i = 0; i < n_length; i++) /* every length; dims in turn */
                fn(&levels[l], &rng, n_q, dims[(i + n_q) % 12], lengths[i], (unsigned)(i + n_q / 2) % VT_N_KIND);
            for (size_t i = 0; i < 12; i++)
                fn(&levels[l], &rng, n_q, dims[i], lengths[n_q % n_length], VT_PLAIN);
        }
        fn(&levels[l], &rng, 64, 128, lengths[n_length - 1], VT_PLAIN);
        fn(&levels[l], &rng, 6, 64, 4 * lengths[n_length - 1], VT_PLAIN);
        fn(&levels[l], &rng, 1, 128, 4 * lengths[n_length - 1], VT_PLAIN);
    }
}

static void test_rms_norm(void **state)
{
    (void)state;
    for_all("rms_norm", rms_norm_case);
}

static void test_add_scale(void **state)
{
    (void)state;
    for_all("add", add_case);
    for_all("scale", scale_case);
}

static void test_rope(void **state)
{
    (void)state;
    for_all("rope", rope_case);
}

static void test_glu(void **state)
{
    (void)state;
    for_all("glu", glu_case);
}

static void test_f16(void **state)
{
    (void)state;
    for_all("f16", f16_case);
}

static void test_softmax(void **state)
{
    (void)state;
    for_all("softmax", softmax_case);
}

static void test_argmax(void **state)
{
    (void)state;
    for_all("argmax", argmax_case);
}

static void test_quantize(void **state)
{
    (void)state;
    for_all("quantize", quantize_case);
}

static void test_attn_qk(void **state)
{
    static const uint32_t blocks[] = { 1, 2, 3, 4, 5, 7, 8, 9 };

    (void)state;
    for_all_attn("attn_qk", qk_case, blocks, 8);
}

static void test_attn_pv(void **state)
{
    static const uint32_t positions[] = { 1, 2, 15, 16, 17, 63, 64, 65, 130, 200 };

    (void)state;
    for_all_attn("attn_pv", pv_case, positions, 10);
}

/* exp in lanes over all of its range: softmax beside a 0 for arguments below it, SILU for both signs. */
static void test_exp_sweep(void **state)
{
    enum { N = 4096 };
    const struct vt_level *levels;
    const unsigned n_level = vt_levels(&levels);
    uint64_t u = 0;

    (void)state;
    while (u < 0x100000000u) {
        float *x = vt_take(N, sizeof *x), *want = vt_take(N, sizeof *want), *got = vt_take(N, sizeof *got);

        for (int i = 0; i < N; i++, u += 1657)
            x[i] = lv_f32_from_bits((uint32_t)u);
        for (unsigned l = 0; l < n_level; l++) {
            vt_ref()->glu(want, x, x, N, LV_GLU_SILU);
            levels[l].kern.glu(got, x, x, N, LV_GLU_SILU);
            vt_same_f32(got, want, N, "silu sweep to bits %#llx, %s", (unsigned long long)u, levels[l].name);
            for (int i = 0; i < N; i++)
                want[i] = got[i] = i == 0 ? 0.0f : -fabsf(x[i]);
            vt_ref()->softmax(want, N);
            levels[l].kern.softmax(got, N);
            vt_same_f32(got, want, N, "exp sweep to bits %#llx, %s", (unsigned long long)u, levels[l].name);
        }
        vt_release();
    }
}

/* Masks must stop at the row's end also when it lies inside a page: nothing after it may change. */
static void test_row_end_inside(void **state)
{
    const struct vt_level *levels;
    const unsigned n_level = vt_levels(&levels);
    struct lv_rng rng = vt_rng("row_end");

    (void)state;
    for (unsigned l = 0; l < n_level; l++) {
        const struct lv_kern *k = &levels[l].kern;

        for (uint32_t n = 1; n <= 40; n++) {
            float *x = filled(&rng, n + 40, VT_PLAIN), *y = vt_take(n + 40, sizeof *y);
            float *poison = vt_take(40, sizeof *poison), *tail = vt_copy(x + n, 40, sizeof *x);
            uint16_t *h = vt_take(n + 40, sizeof *h);

            k->f16_from_f32(h, x, n);
            vt_same_bytes(h + n, poison, 40 * sizeof *h, "f16 %s, after %u", levels[l].name, n);
            k->add(y, x, x, n);
            k->glu(y, x, x, n, LV_GLU_SILU);
            k->rms_norm(y, x, x, 0.0f, n);
            vt_same_bytes(y + n, poison, 40 * sizeof *y, "%s, after %u", levels[l].name, n);
            k->scale(x, 2.0f, n);
            k->rope(x, x + 40, n / 2 * 2, true);
            k->rope(x, x + 40, n / 2 * 2, false);
            vt_same_f32(x + n, tail, 40, "%s, after %u in place", levels[l].name, n);
            vt_release();
        }
    }
}

/* What the tests below and those of matmul and packing cover is the whole table. */
#define SIZE(field) sizeof(((struct lv_kern *)0)->field)
_Static_assert(sizeof(struct lv_kern) == SIZE(level) + SIZE(gemm) + SIZE(pack) + SIZE(quantize) + SIZE(rms_norm) + SIZE(add)
               + SIZE(scale) + SIZE(rope) + SIZE(glu) + SIZE(f16_from_f32) + SIZE(attn_qk) + SIZE(softmax) + SIZE(attn_pv)
               + SIZE(argmax), "a kernel without a test: write one, then add it here");

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_rms_norm, vt_setup),  cmocka_unit_test_setup(test_add_scale, vt_setup),
        cmocka_unit_test_setup(test_rope, vt_setup),      cmocka_unit_test_setup(test_glu, vt_setup),
        cmocka_unit_test_setup(test_f16, vt_setup),       cmocka_unit_test_setup(test_softmax, vt_setup),
        cmocka_unit_test_setup(test_argmax, vt_setup),    cmocka_unit_test_setup(test_quantize, vt_setup),
        cmocka_unit_test_setup(test_attn_qk, vt_setup),   cmocka_unit_test_setup(test_attn_pv, vt_setup),
        cmocka_unit_test_setup(test_exp_sweep, vt_setup), cmocka_unit_test_setup(test_row_end_inside, vt_setup),
    };

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--bench")) {
            vt_bench();
            return 0;
        }
        if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            vt_seed = strtoull(argv[++i], NULL, 10);
    }
    printf("seed %" PRIu64 "\n", vt_seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
