/* Integer weights by vpdpbusd: 32 rows as two vectors of 16, 1 to 8 tokens, unpacked in registers; more tokens go to
 * gemm_wide_avx512.c.
 *
 * The token count and the type are constants of inlined functions, so each pair is its own straight code; the order of
 * the steps for one (row, token) is the same in all. */
#include "kern/gemm_list.h"
#include "kern/x86/r32_avx512.h"

/* All tokens of a call in one tile, so that a byte from memory is looked at once: with 8 the float accumulators no
 * longer fit the registers, which costs less than a second pass. */
#define TILE_TOK 8

/* How a line is asked for, and how far behind a load: see gemm_int_avx512_amd.c. */
#ifndef PREFETCH
#define PREFETCH   "prefetcht0"
#define AHEAD      2560
#define AHEAD_K    3072
#define NAME(name) lv_gemm_##name##_avx512
#endif

/* Minus offset * (sum of x over the columns), as a start value. pair: two sums of 16 columns. */
INLINE __m512i start(enum lv_type type, const int16_t *pair, uint32_t part)
{
    const int16_t off = (int16_t)-lv_r32_offset(type);
    const __m512i zero = _mm512_setzero_si512();
    int32_t both;

    if (!off)
        return zero;
    memcpy(&both, pair, sizeof both);
    if (type == LV_TYPE_Q6_K) /* one of the two */
        return _mm512_dpwssd_epi32(zero, _mm512_set1_epi32(both),
                                   _mm512_set1_epi32(part ? (int32_t)((uint32_t)(uint16_t)off << 16) : (uint16_t)off));
    return _mm512_dpwssd_epi32(zero, _mm512_set1_epi32(both), _mm512_set1_epi16(off));
}

/* Asks for a share of the lines that lie ahead: step i of sub-block m. The hardware prefetcher stops at page ends and
 * alone reaches half the bandwidth; a burst of requests fills the line buffers and stalls the loads behind it, so they are
 * spread over all steps, in assembly because the compiler would move them together. */
INLINE void prefetch(enum lv_type type, const uint8_t *kb, uint32_t c, uint32_t m, uint32_t i)
{
    const bool is_k = lv_r32_block_len(type) == 256;
    const uint32_t bytes = LV_GROUP_ROWS * lv_r32_block_bytes(type) / (is_k ? 2 : 1); /* of n_step steps */
    const uint32_t n_step = is_k ? 32 : 8, n_line = (bytes + 63) / 64, step = 8 * m + i;
    const uint8_t *p = kb + (is_k ? AHEAD_K : AHEAD) + c / 4 * bytes;

    for (uint32_t l = step * n_line / n_step; l < (step + 1) * n_line / n_step; l++)
        __asm__ volatile("" PREFETCH " %0" : : "m"(p[64 * l]) : "memory");
}

INLINE void dots(enum lv_type type, uint32_t n_tok, __m512i s[TILE_TOK][2], const uint8_t *kb, uint32_t c, uint32_t m,
                 uint32_t i, const int8_t *const q[TILE_TOK], uint32_t b)
{
    const __m512i w0 = quants(type, kb, c, m, i, 0), w1 = quants(type, kb, c, m, i, 1);

    prefetch(type, kb, c, m, i);
    for (uint32_t t = 0; t < n_tok; t++) {
        int32_t x4;

        memcpy(&x4, q[t] + (size_t)b * 32 + 4 * i, sizeof x4);
        s[t][0] = _mm512_dpbusd_epi32(s[t][0], w0, _mm512_set1_epi32(x4));
        s[t][1] = _mm512_dpbusd_epi32(s[t][1], w1, _mm512_set1_epi32(x4));
    }
}

/* 32 columns: sub-block c of the k-block, block b of the row; m = c % 4, a constant. */
INLINE void block(enum lv_type type, uint32_t n_tok, __m512 acc[TILE_TOK][2], const uint8_t *kb,
                  const struct scales *sc, uint32_t c, uint32_t m, uint32_t b, const struct lv_act *x, uint32_t t0,
                  const int8_t *const q[TILE_TOK])
{
    const uint32_t n_sub = x->n_cols / 32;
    __m512i s[TILE_TOK][2];
    __m512 f[TILE_TOK][2];

    for (uint32_t t = 0; t < n_tok; t++)
        s[t][0] = s[t][1] = start(type, x->s16 + ((size_t)(t0 + t) * n_sub + b) * 2, 0);
    if (type == LV_TYPE_Q6_K) {
        /* isum = sc0 * isum0 + sc1 * isum1 in f32: all values are integers below 2^24, so each step is exact. A
         * zero may come out negative here; acc is never -0 and swallows it. */
        __m512 k0[2], k1[2];

        scales_q6(k0, kb, c, m, 0);
        scales_q6(k1, kb, c, m, 1);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++)
            dots(type, n_tok, s, kb, c, m, i, q, b);
        for (uint32_t t = 0; t < n_tok; t++) {
            f[t][0] = _mm512_mul_ps(_mm512_cvtepi32_ps(s[t][0]), k0[0]);
            f[t][1] = _mm512_mul_ps(_mm512_cvtepi32_ps(s[t][1]), k1[0]);
            s[t][0] = s[t][1] = start(type, x->s16 + ((size_t)(t0 + t) * n_sub + b) * 2, 1);
        }
#pragma GCC unroll 4
        for (uint32_t i = 4; i < 8; i++)
            dots(type, n_tok, s, kb, c, m, i, q, b);
        for (uint32_t t = 0; t < n_tok; t++) {
            f[t][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s[t][0]), k0[1], f[t][0]);
            f[t][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s[t][1]), k1[1], f[t][1]);
        }
    } else {
        const bool nibbles = lv_r32_block_len(type) == 32 && type != LV_TYPE_Q8_0;

#pragma GCC unroll 8
        for (uint32_t i = 0; i < 8; i++) /* 0, 4, 1, 5 ...: both nibbles of a line together */
            dots(type, n_tok, s, kb, c, m, nibbles ? i / 2 + i % 2 * 4 : i, q, b);
        for (uint32_t t = 0; t < n_tok; t++) {
            f[t][0] = _mm512_cvtepi32_ps(s[t][0]);
            f[t][1] = _mm512_cvtepi32_ps(s[t][1]);
        }
    }
    const __m512 d0 = scale_of(type, sc, kb, c, 0), d1 = scale_of(type, sc, kb, c, 1);

    for (uint32_t t = 0; t < n_tok; t++) {
        const __m512 xd = _mm512_set1_ps(x->d[(size_t)(t0 + t) * n_sub + b]);

        acc[t][0] = _mm512_fmadd_ps(f[t][0], _mm512_mul_ps(d0, xd), acc[t][0]);
        acc[t][1] = _mm512_fmadd_ps(f[t][1], _mm512_mul_ps(d1, xd), acc[t][1]);
    }
    if (lv_r32_has_min(type)) {
        const __m512 m0 = min_of(type, sc, kb, c, 0), m1 = min_of(type, sc, kb, c, 1);

        for (uint32_t t = 0; t < n_tok; t++) {
            const __m512 sd = _mm512_set1_ps(x->sd[(size_t)(t0 + t) * n_sub + b]);

            acc[t][0] = _mm512_fmadd_ps(m0, sd, acc[t][0]);
            acc[t][1] = _mm512_fmadd_ps(m1, sd, acc[t][1]);
        }
    }
}

INLINE void tile(enum lv_type type, uint32_t n_tok, float *y, size_t stride_y, const uint8_t *group,
                 const struct lv_act *x, uint32_t t0)
{
    const uint32_t kb_bytes = LV_GROUP_ROWS * lv_r32_block_bytes(type), len = lv_r32_block_len(type);
    const uint32_t n_kb = x->n_cols / len;
    const int8_t *q[TILE_TOK];
    __m512 acc[TILE_TOK][2];
    struct scales sc;

    for (uint32_t t = 0; t < n_tok; t++) {
        acc[t][0] = acc[t][1] = _mm512_setzero_ps();
        q[t] = x->q + (size_t)(t0 + t) * x->n_cols;
    }
    for (uint32_t k = 0; k < n_kb; k++) {
        const uint8_t *kb = group + (size_t)k * kb_bytes;

        if (len == 32) {
            block(type, n_tok, acc, kb, &sc, 0, 0, k, x, t0, q);
            continue;
        }
        if (type != LV_TYPE_Q6_K)
            scales_k(&sc, kb);
        for (uint32_t c = 0; c < 8; c += 4) {
#pragma GCC unroll 4
            for (uint32_t m = 0; m < 4; m++)
                block(type, n_tok, acc, kb, &sc, c + m, m, 8 * k + c + m, x, t0, q);
        }
    }
    for (uint32_t t = 0; t < n_tok; t++) {
        _mm512_storeu_ps(y + t * stride_y, acc[t][0]);
        _mm512_storeu_ps(y + t * stride_y + 16, acc[t][1]);
    }
}

/* n_tok <= TILE_TOK */
INLINE void gemm(enum lv_type type, float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x,
                 uint32_t t0, uint32_t n_tok)
{
    switch (n_tok) {
    case 1: tile(type, 1, y, stride_y, group, x, t0); break;
    case 2: tile(type, 2, y, stride_y, group, x, t0); break;
    case 3: tile(type, 3, y, stride_y, group, x, t0); break;
    case 4: tile(type, 4, y, stride_y, group, x, t0); break;
    case 5: tile(type, 5, y, stride_y, group, x, t0); break;
    case 6: tile(type, 6, y, stride_y, group, x, t0); break;
    case 7: tile(type, 7, y, stride_y, group, x, t0); break;
    default: tile(type, TILE_TOK, y, stride_y, group, x, t0); break;
    }
}

#define LV_X(TYPE, name)                                                                                    \
    void NAME(name)(float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x, uint32_t t0, \
                    uint32_t n_tok)                                                                       \
    {                                                                                                     \
        if (n_tok > TILE_TOK)                                                                             \
            lv_gemm_##name##_wide_avx512(y, stride_y, group, x, t0, n_tok);                               \
        else                                                                                              \
            gemm(LV_TYPE_##TYPE, y, stride_y, group, x, t0, n_tok);                                       \
    }
LV_KERN_INT_TYPES(LV_X)
#undef LV_X
