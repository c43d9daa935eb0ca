/* Integer weights with 8 x 32-bit vectors: 16 rows (two vectors) by 1 to 4 tokens at a time.
 *
 * vpmaddubsw adds two products into a signed 16-bit lane and saturates, so sums are widened to 32 bits before
 * they can reach 2^15, with |x| <= 128: 4-bit quants after 8 steps (15 * 2 * 128 * 8 = 30720), 5-bit after 4 (31744),
 * 6-bit after 2 (32256); an 8-bit quant goes as two 4-bit planes. All integers are exact. */
#define TILE_TOK 4
#include "kern/x86/gemm_int_256.h"

INLINE __m256i widen(__m256i s, __m256i pairs, int16_t by)
{
    return _mm256_add_epi32(s, _mm256_madd_epi16(pairs, _mm256_set1_epi16(by)));
}

/* s[t][v] += dot of columns 4 * i0 .. 4 * (i0 + n) - 1 with rows of octets e0 + v; at most one widening long. */
INLINE void dots(enum lv_type type, uint32_t n_tok, __m256i s[TILE_TOK][2], const uint8_t *kb, uint32_t c, uint32_t m,
                 uint32_t i0, uint32_t n, uint32_t e0, const int8_t *const q[TILE_TOK], uint32_t b)
{
    __m256i lo[TILE_TOK][2];

    for (uint32_t t = 0; t < n_tok; t++)
        lo[t][0] = lo[t][1] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (uint32_t i = i0; i < i0 + n; i++) {
        const __m256i w0 = quants(type, kb, c, m, i, e0), w1 = quants(type, kb, c, m, i, e0 + 1);

        for (uint32_t t = 0; t < n_tok; t++) {
            int32_t x4;

            memcpy(&x4, q[t] + (size_t)b * 32 + 4 * i, sizeof x4);
            const __m256i xv = _mm256_set1_epi32(x4);

            lo[t][0] = _mm256_add_epi16(lo[t][0], _mm256_maddubs_epi16(w0, xv));
            lo[t][1] = _mm256_add_epi16(lo[t][1], _mm256_maddubs_epi16(w1, xv));
        }
    }
    for (uint32_t t = 0; t < n_tok; t++) {
        s[t][0] = widen(s[t][0], lo[t][0], 1);
        s[t][1] = widen(s[t][1], lo[t][1], 1);
    }
}

/* The same for 8-bit quants: low and high nibbles apart. */
INLINE void dots_q8(uint32_t n_tok, __m256i s[TILE_TOK][2], const uint8_t *kb, uint32_t e0,
                    const int8_t *const q[TILE_TOK], uint32_t b)
{
#pragma GCC unroll 2
    for (uint32_t high = 0; high < 2; high++) {
        __m256i sum[TILE_TOK][2];

        for (uint32_t t = 0; t < n_tok; t++)
            sum[t][0] = sum[t][1] = _mm256_setzero_si256();
#pragma GCC unroll 8
        for (uint32_t i = 0; i < 8; i++) {
            const __m256i w0 = low_nibbles(quants(LV_TYPE_Q8_0, kb, 0, 0, i, e0), high);
            const __m256i w1 = low_nibbles(quants(LV_TYPE_Q8_0, kb, 0, 0, i, e0 + 1), high);

            for (uint32_t t = 0; t < n_tok; t++) {
                int32_t x4;

                memcpy(&x4, q[t] + (size_t)b * 32 + 4 * i, sizeof x4);
                const __m256i xv = _mm256_set1_epi32(x4);

                sum[t][0] = _mm256_add_epi16(sum[t][0], _mm256_maddubs_epi16(w0, xv));
                sum[t][1] = _mm256_add_epi16(sum[t][1], _mm256_maddubs_epi16(w1, xv));
            }
        }
        for (uint32_t t = 0; t < n_tok; t++) {
            s[t][0] = widen(s[t][0], sum[t][0], high ? 16 : 1);
            s[t][1] = widen(s[t][1], sum[t][1], high ? 16 : 1);
        }
    }
}

INLINE void block_sums(enum lv_type type, uint32_t n_tok, __m256i s[TILE_TOK][2], const uint8_t *kb, uint32_t c,
                       uint32_t m, uint32_t b, uint32_t e0, const struct lv_act *x, uint32_t t0,
                       const int8_t *const q[TILE_TOK])
{
    __m256i s1[TILE_TOK][2];

    start(type, n_tok, s, x, t0, b, type == LV_TYPE_Q6_K ? 0 : 2);
    switch (type) {
    case LV_TYPE_Q8_0:
        dots_q8(n_tok, s, kb, e0, q, b);
        break;
    case LV_TYPE_Q6_K:
        start(type, n_tok, s1, x, t0, b, 1);
        dots(type, n_tok, s, kb, c, m, 0, 2, e0, q, b);
        dots(type, n_tok, s, kb, c, m, 2, 2, e0, q, b);
        dots(type, n_tok, s1, kb, c, m, 4, 2, e0, q, b);
        dots(type, n_tok, s1, kb, c, m, 6, 2, e0, q, b);
        for (uint32_t v = 0; v < 2; v++) {
            const __m256i k0 = scale_q6(kb, c, m, 0, e0 + v), k1 = scale_q6(kb, c, m, 1, e0 + v);

            for (uint32_t t = 0; t < n_tok; t++)
                s[t][v] = _mm256_add_epi32(_mm256_mullo_epi32(s[t][v], k0), _mm256_mullo_epi32(s1[t][v], k1));
        }
        break;
    case LV_TYPE_Q4_0:
    case LV_TYPE_Q4_1:
    case LV_TYPE_Q4_K:
        dots(type, n_tok, s, kb, c, m, 0, 8, e0, q, b);
        break;
    default:
        dots(type, n_tok, s, kb, c, m, 0, 4, e0, q, b);
        dots(type, n_tok, s, kb, c, m, 4, 4, e0, q, b);
    }
}

#define LV_X(TYPE, name)                                                                                \
    void lv_gemm_##name##_avx2(float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x, \
                               uint32_t t0, uint32_t n_tok)                                             \
    {                                                                                                   \
        gemm(LV_TYPE_##TYPE, y, stride_y, group, x, t0, n_tok);                                         \
    }
LV_KERN_INT_TYPES(LV_X)
#undef LV_X
