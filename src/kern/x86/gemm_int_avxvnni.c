/* Integer weights with 8 x 32-bit vectors and vpdpbusd (VEX form): 16 rows (two vectors) by 1 to 6 tokens at a time.
 *
 * With LV_EMULATE the one new instruction is done in C, so that the level is tested on machines without it. */
#define TILE_TOK 6 /* twelve dot chains hide the latency of vpdpbusd, and leave registers for two lines and an x */
#include "kern/x86/gemm_int_256.h"

#ifdef LV_EMULATE
#define NAME(name) lv_gemm_##name##_avxvnni_emulated

INLINE __m256i dpbusd(__m256i s, __m256i w, __m256i x)
{
    int32_t sum[8];
    uint8_t u[32];
    int8_t i[32];

    _mm256_storeu_si256((void *)sum, s);
    _mm256_storeu_si256((void *)u, w);
    _mm256_storeu_si256((void *)i, x);
    for (uint32_t k = 0; k < 32; k++)
        sum[k / 4] += u[k] * i[k];
    return _mm256_loadu_si256((const void *)sum);
}

#else
#define NAME(name) lv_gemm_##name##_avxvnni
#define dpbusd _mm256_dpbusd_avx_epi32
#endif

/* s[t][v] += dot of columns 4 * i0 .. 4 * (i0 + n) - 1 with rows of octets e0 + v. */
INLINE void dots(enum lv_type type, uint32_t n_tok, __m256i s[TILE_TOK][2], const uint8_t *kb, uint32_t c, uint32_t m,
                 uint32_t i0, uint32_t n, uint32_t e0, const int8_t *const q[TILE_TOK], uint32_t b)
{
#pragma GCC unroll 8
    for (uint32_t i = i0; i < i0 + n; i++) {
        const __m256i w0 = quants(type, kb, c, m, i, e0), w1 = quants(type, kb, c, m, i, e0 + 1);

        for (uint32_t t = 0; t < n_tok; t++) {
            int32_t x4;

            memcpy(&x4, q[t] + (size_t)b * 32 + 4 * i, sizeof x4);
            const __m256i xv = _mm256_set1_epi32(x4);

            s[t][0] = dpbusd(s[t][0], w0, xv);
            s[t][1] = dpbusd(s[t][1], w1, xv);
        }
    }
}

INLINE void block_sums(enum lv_type type, uint32_t n_tok, __m256i s[TILE_TOK][2], const uint8_t *kb, uint32_t c,
                       uint32_t m, uint32_t b, uint32_t e0, const struct lv_act *x, uint32_t t0,
                       const int8_t *const q[TILE_TOK])
{
    __m256i s1[TILE_TOK][2];

    if (type != LV_TYPE_Q6_K) {
        start(type, n_tok, s, x, t0, b, 2);
        dots(type, n_tok, s, kb, c, m, 0, 8, e0, q, b);
        return;
    }
    start(type, n_tok, s, x, t0, b, 0);
    dots(type, n_tok, s, kb, c, m, 0, 4, e0, q, b);
    start(type, n_tok, s1, x, t0, b, 1);
    dots(type, n_tok, s1, kb, c, m, 4, 4, e0, q, b);
    for (uint32_t v = 0; v < 2; v++) {
        const __m256i k0 = scale_q6(kb, c, m, 0, e0 + v), k1 = scale_q6(kb, c, m, 1, e0 + v);

        for (uint32_t t = 0; t < n_tok; t++)
            s[t][v] = _mm256_add_epi32(_mm256_mullo_epi32(s[t][v], k0), _mm256_mullo_epi32(s1[t][v], k1));
    }
}

#define LV_X(TYPE, name)                                                                                            \
    lv_gemm_fn NAME(name);                                                                                          \
    void NAME(name)(float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x, uint32_t t0,          \
                    uint32_t n_tok)                                                                                 \
    {                                                                                                               \
        gemm(LV_TYPE_##TYPE, y, stride_y, group, x, t0, n_tok);                                                     \
    }
LV_KERN_INT_TYPES(LV_X)
#undef LV_X
