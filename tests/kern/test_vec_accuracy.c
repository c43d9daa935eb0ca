/* The reference kernels against double precision, exp and log over dense sweeps, and the half
 * conversions of base/half.h against plain arithmetic and the CPU's own. (test_vec.c shows that every other
 * level has the bits of the reference.) */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "cpu/cpu.h"
#include "kern/ref/exp.h"
#include "kern/ref/log.h"
#include "kern/ref/reduce.h"
#include "kern/vec_harness.h"

#define FLT_MIN_NORMAL 0x1p-126

/* Distance of got from want in units of the last place of the result. */
static double ulps(float got, double want)
{
    int e;

    frexp(want, &e);
    return fabs((double)got - want) / ldexp(1.0, (e < -125 ? -125 : e) - 24);
}

static void check_ulps(float got, double want, double bound, double *worst, const char *what, float x)
{
    const double u = ulps(got, want);

    if (!(u <= bound))
        fail_msg("%s(%a) is %a, should be %a: %g ulp, bound %g", what, (double)x, (double)got, want, u, bound);
    if (u > *worst)
        *worst = u;
}

static void test_exp(void **state)
{
    const float least = -86.98f;
    double worst = 0;

    (void)state;
    /* all floats with a stride, both signs: 12 million */
    for (uint64_t u = 0; u < 0x100000000u; u += 353) {
        const float x = lv_f32_from_bits((uint32_t)u), y = lv_exp(x);

        if (x != x)
            assert_true(y != y);
        else if (x > 88.7229f)
            assert_true(y == INFINITY);
        else if (x < -87.0f)
            assert_int_equal(lv_f32_bits(y), 0);
        else if (x > least && x < 88.72f)
            check_ulps(y, exp((double)x), 0.9, &worst, "exp", x);
        if (y > 0.0f && (double)y < FLT_MIN_NORMAL)
            fail_msg("exp(%a) is subnormal", (double)x);
    }
    /* every float around both ends */
    for (float x = -87.1f; x < -86.9f; x = nextafterf(x, 0.0f)) {
        const float y = lv_exp(x);
        if (y != 0.0f)
            check_ulps(y, exp((double)x), 0.9, &worst, "exp", x);
        assert_true(y == 0.0f ? x < least : x > -87.0f);
    }
    for (float x = 88.71f; x < 88.7228f; x = nextafterf(x, 100.0f))
        check_ulps(lv_exp(x), exp((double)x), 0.9, &worst, "exp", x);
    printf("exp: %.3f ulp at worst\n", worst);
    assert_true(lv_exp(0.0f) == 1.0f && lv_exp(-0.0f) == 1.0f);
    assert_int_equal(lv_f32_bits(lv_exp(-INFINITY)), 0);
    assert_true(lv_exp(INFINITY) == INFINITY);
    assert_true(isnan(lv_exp(NAN)) && isnan(lv_exp(-NAN)) && isnan(lv_exp(lv_f32_from_bits(0x7f800001))));
}

static void test_log(void **state)
{
    double worst = 0;

    (void)state;
    for (uint32_t u = 0x00800000; u < 0x7f800000; u += 211) {
        const float x = lv_f32_from_bits(u);
        check_ulps(lv_log(x), log((double)x), 0.5001, &worst, "log", x);
    }
    for (uint32_t u = 0x3f7f0000; u < 0x3f810000; u++) { /* around 1, where the result vanishes */
        const float x = lv_f32_from_bits(u);
        if (x != 1.0f)
            check_ulps(lv_log(x), log((double)x), 0.5001, &worst, "log", x);
    }
    printf("log: %.5f ulp at worst\n", worst);
    assert_int_equal(lv_f32_bits(lv_log(1.0f)), 0);
}

static void test_reduce16(void **state)
{
    /* each addition of the tree rounds in its own way: any other order gives other bits for some data */
    struct lv_rng rng = vt_rng("reduce16");

    (void)state;
    for (int r = 0; r < 1000; r++) {
        float l[16], t[16];

        vt_fill(&rng, l, 16, VT_PLAIN);
        memcpy(t, l, sizeof t);
        for (int half = 8; half >= 1; half /= 2) {
            for (int i = 0; i < half; i++)
                t[i] = t[i] + t[i + half];
        }
        assert_int_equal(lv_f32_bits(lv_reduce16(l)), lv_f32_bits(t[0]));
    }
}

static void close_to(float got, double want, double scale, double bound, const char *what, uint32_t i, uint32_t n)
{
    const double e = fabs((double)got - want) / scale;

    if (!(e <= bound))
        fail_msg("%s: value %u of %u is %.9g, should be %.9g (relative error %g, bound %g, seed %" PRIu64 ")", what, i,
                 n, (double)got, want, e, bound, vt_seed);
}

static void test_rows(void **state)
{
    static const uint32_t sizes[] = { 16, 48, 896, 1536, 8960 };
    struct lv_rng rng = vt_rng("rows");
    const struct lv_kern *k = vt_ref();

    (void)state;
    for (unsigned c = 0; c < sizeof sizes / sizeof *sizes; c++) {
        const uint32_t n = sizes[c];
        float *x = vt_take(n, 4), *w = vt_take(n, 4), *y = vt_take(n, 4);
        double sum = 0, top = -INFINITY;

        vt_fill(&rng, x, n, VT_PLAIN);
        vt_fill(&rng, w, n, VT_PLAIN);
        for (uint32_t i = 0; i < n; i++) {
            x[i] *= 12.0f;
            sum += (double)x[i] * (double)x[i];
            top = fmax(top, (double)x[i]);
        }
        k->rms_norm(y, x, w, 1e-5f, n);
        for (uint32_t i = 0; i < n; i++) {
            const double want = (double)x[i] / sqrt(sum / n + (double)1e-5f) * (double)w[i];
            close_to(y[i], want, fabs(want) + 1e-30, 1e-6, "rms_norm", i, n);
        }
        for (int act = 0; act < 2; act++) {
            k->glu(y, x, w, n, act ? LV_GLU_GELU : LV_GLU_SILU);
            for (uint32_t i = 0; i < n; i++) {
                const double g = (double)x[i], z = sqrt(2 / 3.14159265358979323846) * (g + 0.044715 * g * g * g);
                const double a = act ? 0.5 * g * (1 + tanh(z)) : g / (1 + exp(-g));
                /* far left the tail is tiny and as inexact as its exponent is large; its size is what counts */
                const double size = fabs(a * (double)w[i]) + 1e-6 * fabs(g);
                close_to(y[i], a * (double)w[i], size, 2e-6, act ? "gelu" : "silu", i, n);
            }
        }
        memcpy(y, x, n * sizeof *y);
        y[n / 2] = -INFINITY;
        sum = 0;
        for (uint32_t i = 0; i < n; i++)
            sum += exp((double)y[i] - top);
        const float inverse = k->softmax(y, n);
        close_to(inverse, 1 / sum, 1 / sum, 2e-6, "softmax, inverse sum", 0, n);
        for (uint32_t i = 0; i < n; i++) {
            const double want = i == n / 2 ? 0 : exp((double)x[i] - top);
            close_to(y[i], want, fabs(want) + 1e-30, 1.5e-6, "softmax", i, n); /* x - top rounds: 24 * 2^-24 */
        }
        vt_release();
    }
}

/* Masked places must not show: the same row without them gives the same bits when lanes stay the same. */
static void test_softmax_mask(void **state)
{
    struct lv_rng rng = vt_rng("mask");
    const struct lv_kern *k = vt_ref();

    (void)state;
    for (uint32_t n = 16; n <= 160; n += 16) {
        float *s = vt_take(n + 32, 4), *t = vt_take(n, 4);

        vt_fill(&rng, s, n, VT_PLAIN);
        memcpy(t, s, n * sizeof *s);
        for (uint32_t i = n; i < n + 32; i++)
            s[i] = -INFINITY;
        const float a = k->softmax(s, n + 32), b = k->softmax(t, n);
        vt_same_f32(&a, &b, 1, "inverse sum, n %u", n);
        vt_same_f32(s, t, n, "n %u", n);
        for (uint32_t i = n; i < n + 32; i++)
            assert_int_equal(lv_f32_bits(s[i]), 0);
        vt_release();
    }
}

static void test_rope(void **state)
{
    enum { N = 64 };
    struct lv_rng rng = vt_rng("rope");
    float cs[N], x[N], y[N];

    (void)state;
    for (int neox = 0; neox < 2; neox++) {
        for (int i = 0; i < N / 2; i++) {
            cs[i] = (float)cos(i * 0.7);
            cs[N / 2 + i] = (float)sin(i * 0.7);
        }
        vt_fill(&rng, x, N, VT_PLAIN);
        memcpy(y, x, sizeof y);
        vt_ref()->rope(y, cs, N, neox != 0);
        for (int i = 0; i < N / 2; i++) {
            const int ia = neox ? i : 2 * i, ib = neox ? i + N / 2 : 2 * i + 1;
            const double a = (double)x[ia], b = (double)x[ib], c = cos(i * 0.7), s = sin(i * 0.7);
            close_to(y[ia], a * c - b * s, 1, 3e-7, "rope, first", (uint32_t)ia, N);
            close_to(y[ib], a * s + b * c, 1, 3e-7, "rope, second", (uint32_t)ib, N);
        }
    }
}

static void test_attention(void **state)
{
    enum { N_Q = 3, N_DIM = 80, N_POS = 160 };
    struct lv_rng rng = vt_rng("attention");
    const struct lv_kern *k = vt_ref();
    static float q[N_Q][N_DIM], s[N_Q][N_POS], out[N_Q][N_DIM];
    static uint16_t kb[N_POS * N_DIM], v[N_POS * N_DIM]; /* [N_POS / 16][N_DIM][16], [N_POS][N_DIM] */

    (void)state;
    vt_fill(&rng, q[0], N_Q * N_DIM, VT_PLAIN);
    vt_fill(&rng, out[0], N_Q * N_DIM, VT_ZERO);
    for (size_t i = 0; i < N_POS * N_DIM; i++) {
        kb[i] = lv_f16_from_f32(lv_rng_f32(&rng));
        v[i] = lv_f16_from_f32(lv_rng_f32(&rng));
    }
    k->attn_qk(s[0], N_POS, q[0], N_DIM, N_Q, kb, N_DIM, N_POS / 16, 0.5f);
    k->attn_pv(out[0], N_DIM, s[0], N_POS, N_Q, v, N_DIM, N_DIM, N_POS);
    for (uint32_t i = 0; i < N_Q; i++) {
        for (uint32_t j = 0; j < N_POS; j++) {
            double want = 0;
            for (uint32_t d = 0; d < N_DIM; d++)
                want += (double)q[i][d] * (double)lv_f32_from_f16(kb[(j / 16 * N_DIM + d) * 16 + j % 16]);
            close_to(s[i][j], want / 2, 1, 1e-5, "attn_qk", j, N_POS);
        }
        for (uint32_t d = 0; d < N_DIM; d++) {
            double want = 0;
            for (uint32_t j = 0; j < N_POS; j++)
                want += (double)s[i][j] * (double)lv_f32_from_f16(v[j * N_DIM + d]);
            close_to(out[i][d], want, 1, 1e-4, "attn_pv", d, N_DIM);
        }
    }
}

static void test_quantize(void **state)
{
    enum { N = 320 };
    struct lv_rng rng = vt_rng("quantize");
    static float x[N], d[N / 32], sd[N / 32];
    static int8_t q[N];
    static int16_t s16[N / 16];
    const struct lv_act act = { x, N, q, d, sd, s16, N };

    (void)state;
    for (int r = 0; r < 200; r++) {
        vt_fill(&rng, x, N, VT_PLAIN);
        if (r % 2) { /* block 3 unusable, blocks 4 and 5 zero and tiny: the others must not notice */
            x[3 * 32 + r % 32] = r % 4 == 1 ? NAN : -INFINITY;
            for (int i = 4 * 32; i < 6 * 32; i++)
                x[i] *= i < 5 * 32 ? 0.0f : 0x1p-140f;
        }
        vt_ref()->quantize(&act, 0, 1, 0, N);
        for (uint32_t b = 0; b < N / 32; b++) {
            const bool nan_block = r % 2 && b == 3, no_step = r % 2 && (b == 4 || b == 5);
            double amax = 0;
            int sum = 0;

            for (uint32_t i = b * 32; i < b * 32 + 32; i++)
                amax = fmax(amax, fabs((double)x[i]));
            for (uint32_t i = b * 32; i < b * 32 + 32; i++) {
                sum += q[i];
                if (nan_block || no_step)
                    assert_int_equal(q[i], 0);
                else
                    close_to((float)q[i] * d[b], (double)x[i], (double)d[b], 0.50001, "quantize", i, N);
            }
            assert_int_equal(s16[2 * b] + s16[2 * b + 1], sum);
            if (nan_block) {
                assert_true(isnan(d[b]) && isnan(sd[b]));
                continue;
            }
            assert_true(d[b] == (float)amax / 127.0f);
            assert_true(sd[b] == d[b] * (float)sum);
        }
    }
}

static void test_argmax(void **state)
{
    struct lv_rng rng = vt_rng("argmax");
    static float x[3000];

    (void)state;
    for (int r = 0; r < 2000; r++) {
        const uint32_t n = 1 + lv_rng_below(&rng, r < 1000 ? 40 : 3000);
        float value;
        int64_t want = -1;

        for (uint32_t i = 0; i < n; i++)
            x[i] = lv_rng_below(&rng, 3) ? (float)lv_rng_below(&rng, 20) - 10.0f : r % 3 ? NAN : -INFINITY;
        if (r % 100 == 0) {
            for (uint32_t i = 0; i < n; i++)
                x[i] = NAN;
        }
        for (int64_t i = n - 1; i >= 0; i--) { /* from the end: equal ones replace */
            if (!isnan(x[i]) && (want < 0 || x[i] >= x[want]))
                want = i;
        }
        want = want < 0 ? 0 : want;
        assert_int_equal(vt_ref()->argmax(x, n, &value), want);
        vt_same_f32(&value, &x[want], 1, "value, n %u", n);
    }
}

/* ---- halves ---------------------------------------------------------------- */

/* The value of a half by its definition. */
static double f16_value(uint16_t h)
{
    const int e = h >> 10 & 31, m = h & 1023;
    const double v = e == 31 ? (m ? (double)NAN : (double)INFINITY) : (e ? ldexp(1024 + m, e - 25) : ldexp(m, -24));

    return h & 0x8000 ? -v : v;
}

/* Round to nearest even by definition: f in units of the last place, rounded as an integer, put together again. */
static uint16_t f16_naive(float f)
{
    const uint16_t sign = signbit(f) ? 0x8000 : 0;
    const double a = fabs((double)f);
    int e;

    if (f != f)
        return 0x7e00; /* the caller compares NaN by class */
    frexp(a, &e);
    const int exp_ulp = (e < -13 ? -13 : e) - 11;
    const double rounded = isinf(a) ? a : ldexp(nearbyint(ldexp(a, -exp_ulp)), exp_ulp);
    if (rounded >= 65520)
        return sign | 0x7c00;
    if (rounded < 0x1p-14)
        return (uint16_t)(sign | (uint16_t)ldexp(rounded, 24));
    frexp(rounded, &e);
    return (uint16_t)(sign | ((e + 14) << 10) | ((uint16_t)ldexp(rounded, 11 - e) & 1023));
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("f16c"))) static uint16_t f16_hardware(float f)
{
    return (uint16_t)_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(f), _MM_FROUND_TO_NEAREST_INT));
}

__attribute__((target("f16c"))) static float f32_hardware(uint16_t h)
{
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}

static bool has_hardware(void) /* asked once: CPUID is slow in a virtual machine */
{
    static int has = -1;

    if (has < 0)
        has = (lv_cpu_detect() & LV_CPU_AVX2) != 0;
    return has != 0;
}
#else
static uint16_t f16_hardware(float f)
{
    return lv_f16_from_f32(f);
}

static float f32_hardware(uint16_t h)
{
    return lv_f32_from_f16(h);
}

static bool has_hardware(void)
{
    return false;
}
#endif

static void test_f32_from_f16(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float got = lv_f32_from_f16((uint16_t)h);
        const double want = f16_value((uint16_t)h);

        if (want != want)
            assert_true(isnan(got));
        else if ((double)got != want || !signbit(got) != !signbit(want))
            fail_msg("f32_from_f16(%#x) is %a, should be %a", h, (double)got, want);
        if (has_hardware() && lv_f32_bits(f32_hardware((uint16_t)h)) != lv_f32_bits(got))
            fail_msg("f32_from_f16(%#x) has bits %#x, the CPU gives %#x", h, lv_f32_bits(got),
                     lv_f32_bits(f32_hardware((uint16_t)h)));
    }
}

static void check_f16(uint32_t u)
{
    const float f = lv_f32_from_bits(u);
    const uint16_t got = lv_f16_from_f32(f), want = f16_naive(f);

    if (f != f ? !isnan(f16_value(got)) : got != want)
        fail_msg("f16_from_f32(%a) is %#x, should be %#x", (double)f, got, want);
    if (has_hardware() && f16_hardware(f) != got)
        fail_msg("f16_from_f32(bits %#x) is %#x, the CPU gives %#x", u, got, f16_hardware(f));
}

static void test_f16_from_f32(void **state)
{
    (void)state;
    for (uint64_t u = 0; u < 0x100000000u; u += 1009)
        check_f16((uint32_t)u);
    for (uint32_t h = 0; h < 0x7c00; h++) { /* each half, each midpoint, and their neighbours */
        const float lo = lv_f32_from_f16((uint16_t)h);
        const float mid = h == 0x7bff ? 65520.0f : (lo + lv_f32_from_f16((uint16_t)(h + 1))) * 0.5f;

        for (uint32_t sign = 0; sign < 2; sign++) {
            for (int32_t near = -1; near <= 1; near++) {
                if (lv_f32_bits(lo) || near >= 0)
                    check_f16((lv_f32_bits(lo) + (uint32_t)near) | sign << 31);
                check_f16((lv_f32_bits(mid) + (uint32_t)near) | sign << 31);
            }
        }
    }
    for (uint32_t u = 0x7f800000; u > 0x7f7fff00; u--)
        check_f16(u);
    check_f16(0x7f800001);
    check_f16(0xffc00000);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_reduce16),
        cmocka_unit_test_setup(test_rows, vt_setup),
        cmocka_unit_test_setup(test_softmax_mask, vt_setup),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_quantize),
        cmocka_unit_test(test_argmax),
        cmocka_unit_test(test_f32_from_f16),
        cmocka_unit_test(test_f16_from_f32),
    };

    if (argc > 2 && !strcmp(argv[1], "--seed"))
        vt_seed = strtoull(argv[2], NULL, 10);
    printf("seed %" PRIu64 "\n", vt_seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
