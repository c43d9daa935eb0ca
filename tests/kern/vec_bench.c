/* Speeds of the vector kernels, one thread, each beside the raw f32 fma peak of the same run and level. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "kern/vec_harness.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* 12 independent chains: 2 fma a cycle at a latency of 4, with room. Returns lanes a second in 1e9. */
__attribute__((target("avx2,fma"))) static double peak_avx2(void)
{
    const uint64_t n = 4000000;
    __m256 a[12], x = _mm256_set1_ps(0.999f);
    float sink[8];

    for (int i = 0; i < 12; i++)
        a[i] = _mm256_set1_ps((float)i);
    const uint64_t t0 = lv_now_ns();
    for (uint64_t r = 0; r < n; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++)
            a[i] = _mm256_fmadd_ps(a[i], x, x);
    }
    const double ns = (double)(lv_now_ns() - t0);
    for (int i = 1; i < 12; i++)
        a[0] = _mm256_add_ps(a[0], a[i]);
    _mm256_storeu_ps(sink, a[0]);
    return sink[0] > -1.0f ? (double)n * 12 * 8 / ns : 0;
}

__attribute__((target("avx512f"))) static double peak_avx512(void)
{
    const uint64_t n = 4000000;
    __m512 a[12], x = _mm512_set1_ps(0.999f);
    float sink[16];

    for (int i = 0; i < 12; i++)
        a[i] = _mm512_set1_ps((float)i);
    const uint64_t t0 = lv_now_ns();
    for (uint64_t r = 0; r < n; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++)
            a[i] = _mm512_fmadd_ps(a[i], x, x);
    }
    const double ns = (double)(lv_now_ns() - t0);
    for (int i = 1; i < 12; i++)
        a[0] = _mm512_add_ps(a[0], a[i]);
    _mm512_storeu_ps(sink, a[0]);
    return sink[0] > -1.0f ? (double)n * 12 * 16 / ns : 0;
}

static double peak(const char *level)
{
    double best = 0;

    for (int i = 0; i < 5; i++) {
        const double g = strcmp(level, "avx512") ? peak_avx2() : peak_avx512();
        best = g > best ? g : best;
    }
    return best;
}
#else
static double peak(const char *level)
{
    (void)level;
    return 0;
}
#endif

enum { N_POS = 2048, N_LEN = 8192, MAX_Q = 64, MAX_DIM = 128 };

struct bench {
    const struct lv_kern *k;
    float *a, *b, *c, *s; /* [N_LEN] each; s [MAX_Q][N_POS] */
    uint16_t *h;          /* [N_POS][MAX_DIM] */
    struct lv_act act;
    uint32_t n_q, n_dim;
};

static void run_qk(struct bench *x)
{
    x->k->attn_qk(x->s, N_POS, x->a, x->n_dim, x->n_q, x->h, x->n_dim, N_POS / 16, 0.1f);
}

static void run_pv(struct bench *x)
{
    x->k->attn_pv(x->a, x->n_dim, x->s, N_POS, x->n_q, x->h, x->n_dim, x->n_dim, N_POS);
}

static void run_quantize(struct bench *x)
{
    x->k->quantize(&x->act, 0, 1, 0, N_LEN);
}

static void run_norm(struct bench *x)
{
    x->k->rms_norm(x->c, x->a, x->b, 1e-6f, N_LEN);
}

static void run_add(struct bench *x)
{
    x->k->add(x->c, x->a, x->b, N_LEN);
}

static void run_rope(struct bench *x)
{
    x->k->rope(x->c, x->b, N_LEN, true);
}

static void run_rope_pairs(struct bench *x)
{
    x->k->rope(x->c, x->b, N_LEN, false);
}

static void run_silu(struct bench *x)
{
    x->k->glu(x->c, x->a, x->b, N_LEN, LV_GLU_SILU);
}

static void run_gelu(struct bench *x)
{
    x->k->glu(x->c, x->a, x->b, N_LEN, LV_GLU_GELU);
}

static void run_f16(struct bench *x)
{
    x->k->f16_from_f32(x->h, x->a, N_LEN);
}

static void run_softmax(struct bench *x)
{
    x->k->softmax(x->c, N_LEN);
}

static void run_argmax(struct bench *x)
{
    float v;

    x->k->argmax(x->a, N_LEN, &v);
}

/* Best of 9 timings of about 3 ms. */
static double best_ns(void (*fn)(struct bench *), struct bench *x)
{
    double best = 1e30;
    unsigned n_rep = 1;

    for (int i = 0; i < 9; i++) {
        const uint64_t t0 = lv_now_ns();
        for (unsigned r = 0; r < n_rep; r++)
            fn(x);
        const double ns = (double)(lv_now_ns() - t0) / n_rep;
        best = ns < best ? ns : best;
        n_rep = ns > 3e6 ? 1 : (unsigned)(3e6 / ns) + 1;
    }
    return best;
}

static void bench_level(const char *name, struct bench *x)
{
    static const struct {
        const char *name;
        void (*fn)(struct bench *);
        double bytes; /* read and written, a value */
    } simple[] = {
        { "quantize", run_quantize, 5.3 },
        { "rms_norm", run_norm, 12 },
        { "add", run_add, 12 },
        { "rope neox", run_rope, 12 },
        { "rope pairs", run_rope_pairs, 12 },
        { "silu", run_silu, 12 },
        { "gelu", run_gelu, 12 },
        { "f16", run_f16, 6 },
        { "softmax", run_softmax, 8 },
        { "argmax", run_argmax, 4 },
    };
    static const uint32_t n_q[] = { 1, 6, 7, 16, 64 }, n_dim[] = { 64, 128 };
    const double top = peak(name);

    printf("%s: raw fma peak %.1f GFMA/s\n", name, top);
    for (unsigned d = 0; d < 2; d++) {
        for (unsigned q = 0; q < 5; q++) {
            const double work = (double)n_q[q] * n_dim[d] * N_POS;

            x->n_q = n_q[q];
            x->n_dim = n_dim[d];
            const double qk = work / best_ns(run_qk, x), pv = work / best_ns(run_pv, x);
            printf("  %-4s n_dim %3u n_q %2u: qk %6.1f GFMA/s (%.2f of peak)  pv %6.1f (%.2f)\n", "attn", n_dim[d],
                   n_q[q], qk, top > 0 ? qk / top : 0, pv, top > 0 ? pv / top : 0);
        }
    }
    for (uint32_t j = 0; j < N_LEN; j++) /* attn_pv added to it */
        x->a[j] = (float)(j % 29) * 0.1f - 1.0f;
    for (unsigned i = 0; i < sizeof simple / sizeof *simple; i++) {
        for (uint32_t j = 0; j < N_LEN; j++)
            x->c[j] = (float)(j % 23) * 0.1f;
        const double ns = best_ns(simple[i].fn, x);
        printf("  %-10s %6.2f ns per 16 values, %5.1f GB/s\n", simple[i].name, ns * 16 / N_LEN,
               simple[i].bytes * N_LEN / ns);
    }
}

void vt_bench(void)
{
    const struct vt_level *levels;
    const unsigned n_level = vt_levels(&levels);
    struct lv_rng rng = vt_rng("bench");
    struct bench x = { .a = vt_take(N_LEN, 4), .b = vt_take(N_LEN, 4), .c = vt_take(N_LEN, 4) };

    x.s = vt_take((size_t)MAX_Q * N_POS, 4);
    x.h = vt_take((size_t)N_POS * MAX_DIM, 2);
    x.act = (struct lv_act){
        x.a, N_LEN, vt_take(N_LEN, 1), vt_take(N_LEN / 32, 4), vt_take(N_LEN / 32, 4), vt_take(N_LEN / 16, 2), N_LEN
    };
    vt_fill(&rng, x.a, N_LEN, VT_PLAIN);
    for (size_t i = 0; i < N_LEN; i++) /* also cosines and sines */
        x.b[i] = i < N_LEN / 2 ? 0.6f : 0.8f;
    for (size_t i = 0; i < (size_t)N_POS * MAX_DIM; i++)
        x.h[i] = (uint16_t)(0x2c00 + lv_rng_below(&rng, 1024));
    vt_fill(&rng, x.s, (size_t)MAX_Q * N_POS, VT_PLAIN);
    for (unsigned l = 0; l < n_level; l++) {
        x.k = &levels[l].kern;
        vt_fill(&rng, x.a, N_LEN, VT_PLAIN);
        bench_level(levels[l].name, &x);
    }
}
