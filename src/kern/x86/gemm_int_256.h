/* What the two levels with 8 x 32-bit vectors share: 16 rows (two vectors) by 1 to TILE_TOK tokens at a time, f32
 * accumulators of all 32 rows in memory. Who includes this defines TILE_TOK, and block_sums() for the integers. */
#ifndef LV_KERN_X86_GEMM_INT_256_H
#define LV_KERN_X86_GEMM_INT_256_H

#include <immintrin.h>

#include "kern/gemm_list.h"
#include "kern/r32.h"

#define INLINE static inline __attribute__((always_inline))
#define AHEAD_BYTES 2560

/* Exact integer sums of 32 columns for rows of octets e0, e0 + 1: sub-block c of the k-block (m = c % 4, a constant),
 * block b of the row. */
INLINE void block_sums(enum lv_type type, uint32_t n_tok, __m256i s[TILE_TOK][2], const uint8_t *kb, uint32_t c,
                       uint32_t m, uint32_t b, uint32_t e0, const struct lv_act *x, uint32_t t0,
                       const int8_t *const q[TILE_TOK]);

struct scales {
    __attribute__((aligned(64))) float d[8][LV_GROUP_ROWS];
    __attribute__((aligned(64))) float m[8][LV_GROUP_ROWS];
};

/* Eight rows 8e .. 8e + 7 of a word of a part. */
INLINE __m256i octet(const uint8_t *kb, uint32_t off, uint32_t word, uint32_t e)
{
    return _mm256_loadu_si256((const void *)(kb + off + LV_R32_PART * word + 32 * e));
}

INLINE __m256i low_nibbles(__m256i v, uint32_t high)
{
    return _mm256_and_si256(high ? _mm256_srli_epi16(v, 4) : v, _mm256_set1_epi8(15));
}

INLINE __m256i fifth_bit(__m256i q, __m256i hi, __m256i bit)
{
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(hi, bit), bit);

    return _mm256_or_si256(q, _mm256_and_si256(set, _mm256_set1_epi8(16)));
}

/* Four columns 4i .. 4i + 3 of sub-block c (m = c % 4, a constant) as unsigned bytes. Q8_0: as they are. */
INLINE __m256i quants(enum lv_type type, const uint8_t *kb, uint32_t c, uint32_t m, uint32_t i, uint32_t e)
{
    const uint32_t qs = lv_r32_off_qs(type), qh = lv_r32_off_qh(type);

    switch (type) {
    case LV_TYPE_Q8_0:
        return octet(kb, qs, i, e);
    case LV_TYPE_Q4_0:
    case LV_TYPE_Q4_1:
        return low_nibbles(octet(kb, qs, i & 3, e), i >> 2);
    case LV_TYPE_Q5_0:
    case LV_TYPE_Q5_1:
        return fifth_bit(low_nibbles(octet(kb, qs, i & 3, e), i >> 2), octet(kb, qh, 0, e),
                         _mm256_set1_epi8((char)(1u << i)));
    case LV_TYPE_Q4_K:
        return low_nibbles(octet(kb, qs, c / 2 * 8 + i, e), m & 1);
    case LV_TYPE_Q5_K:
        return fifth_bit(low_nibbles(octet(kb, qs, c / 2 * 8 + i, e), m & 1), octet(kb, qh, i, e),
                         _mm256_set1_epi8((char)(1u << c)));
    case LV_TYPE_Q6_K: {
        const __m256i lo = low_nibbles(octet(kb, qs, c / 4 * LV_R32_Q6_HALF + (m & 1) * 8 + i, e), m >> 1);
        const __m256i hi = octet(kb, qh, c / 4 * LV_R32_Q6_HALF + i, e);
        const __m256i two = m == 0 ? _mm256_slli_epi16(hi, 4) : m == 1 ? _mm256_slli_epi16(hi, 2)
                            : m == 2 ? hi : _mm256_srli_epi16(hi, 2);

        return _mm256_or_si256(lo, _mm256_and_si256(two, _mm256_set1_epi8(48)));
    }
    default:
        return _mm256_setzero_si256();
    }
}

INLINE __m256 f32_of_byte(__m256i words, uint32_t byte)
{
    return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(words, (int)(8 * byte)), _mm256_set1_epi32(255)));
}

/* Eight f16 in the low or high halves of 32-bit words. */
INLINE __m256 f32_of_half(__m256i words, uint32_t high)
{
    const __m256i w = high ? _mm256_srli_epi32(words, 16) : _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
    const __m128i h = _mm_packus_epi32(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));

    return _mm256_cvtph_ps(h);
}

INLINE void scales_k(struct scales *s, const uint8_t *kb)
{
    const __m256i m6 = _mm256_set1_epi8(63), m4 = _mm256_set1_epi8(15), hi = _mm256_set1_epi8(48);

    for (uint32_t e = 0; e < 4; e++) {
        const __m256i dm = octet(kb, 0, 0, e);
        const __m256i a = octet(kb, 128, 0, e), b = octet(kb, 128, 1, e), u = octet(kb, 128, 2, e);
        const __m256 d = f32_of_half(dm, 0), neg = _mm256_xor_ps(f32_of_half(dm, 1), _mm256_set1_ps(-0.0f));
        const __m256i sc[2] = { _mm256_and_si256(a, m6),
                                _mm256_or_si256(_mm256_and_si256(u, m4),
                                                _mm256_and_si256(_mm256_srli_epi16(a, 2), hi)) };
        const __m256i mn[2] = { _mm256_and_si256(b, m6),
                                _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(u, 4), m4),
                                                _mm256_and_si256(_mm256_srli_epi16(b, 2), hi)) };

        for (uint32_t c = 0; c < 8; c++) {
            _mm256_store_ps(s->d[c] + 8 * e, _mm256_mul_ps(d, f32_of_byte(sc[c / 4], c % 4)));
            _mm256_store_ps(s->m[c] + 8 * e, _mm256_mul_ps(neg, f32_of_byte(mn[c / 4], c % 4)));
        }
    }
}

INLINE __m256 scale_of(enum lv_type type, const struct scales *s, const uint8_t *kb, uint32_t c, uint32_t e)
{
    if (lv_r32_block_len(type) == 256 && type != LV_TYPE_Q6_K)
        return _mm256_load_ps(s->d[c] + 8 * e);
    if (lv_r32_has_min(type))
        return f32_of_half(octet(kb, 0, 0, e), 0);
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)(kb + 16 * e)));
}

INLINE __m256 min_of(enum lv_type type, const struct scales *s, const uint8_t *kb, uint32_t c, uint32_t e)
{
    if (lv_r32_block_len(type) == 256)
        return _mm256_load_ps(s->m[c] + 8 * e);
    return f32_of_half(octet(kb, 0, 0, e), 1);
}

/* Scale j (0, 1) of the two of 32 columns c of Q6_K. */
INLINE __m256i scale_q6(const uint8_t *kb, uint32_t c, uint32_t m, uint32_t j, uint32_t e)
{
    const int up = 24 - 8 * (int)((m & 1) * 2 + j);

    return _mm256_srai_epi32(_mm256_slli_epi32(octet(kb, 64, c / 2, e), up), 24);
}

/* s = minus offset * sums of x: all 32 columns (part 2), the first (0) or the last 16 (1). */
INLINE void start(enum lv_type type, uint32_t n_tok, __m256i s[TILE_TOK][2], const struct lv_act *x, uint32_t t0,
                  uint32_t b, uint32_t part)
{
    for (uint32_t t = 0; t < n_tok; t++) {
        int32_t sum = 0;

        if (lv_r32_offset(type)) {
            const int16_t *p = x->s16 + ((size_t)(t0 + t) * (x->n_cols / 32) + b) * 2;

            sum = -lv_r32_offset(type) * (part == 2 ? p[0] + p[1] : p[part]);
        }
        s[t][0] = s[t][1] = _mm256_set1_epi32(sum);
    }
}

/* Small shares at a time: a burst of requests fills the line buffers and stalls the loads behind it. */
INLINE void prefetch(const uint8_t *p, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)p + AHEAD_BYTES + i, _MM_HINT_T0);
}

/* 32 columns of all 32 rows: sub-block c of the k-block (m = c % 4, a constant), block b of the row. */
INLINE void block(enum lv_type type, uint32_t n_tok, float acc[TILE_TOK][LV_GROUP_ROWS], const uint8_t *kb,
                  const struct scales *sc, uint32_t c, uint32_t m, uint32_t b, const struct lv_act *x, uint32_t t0,
                  const int8_t *const q[TILE_TOK])
{
    const uint32_t n_sub = x->n_cols / 32;
    const uint32_t share = LV_GROUP_ROWS * lv_r32_block_bytes(type) * 32 / lv_r32_block_len(type); /* bytes */

    for (uint32_t e0 = 0; e0 < 4; e0 += 2) {
        __m256i s[TILE_TOK][2];

        prefetch(kb + c * share + e0 * share / 4, share / 2);

        block_sums(type, n_tok, s, kb, c, m, b, e0, x, t0, q);
        for (uint32_t v = 0; v < 2; v++) {
            const __m256 d = scale_of(type, sc, kb, c, e0 + v);

            for (uint32_t t = 0; t < n_tok; t++) {
                const size_t i = (size_t)(t0 + t) * n_sub + b;
                float *a = acc[t] + 8 * (e0 + v);
                __m256 r = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s[t][v]), _mm256_mul_ps(d, _mm256_set1_ps(x->d[i])),
                                           _mm256_load_ps(a));

                if (lv_r32_has_min(type))
                    r = _mm256_fmadd_ps(min_of(type, sc, kb, c, e0 + v), _mm256_set1_ps(x->sd[i]), r);
                _mm256_store_ps(a, r);
            }
        }
    }
}

INLINE void tile(enum lv_type type, uint32_t n_tok, float *y, size_t stride_y, const uint8_t *group,
                 const struct lv_act *x, uint32_t t0)
{
    const uint32_t kb_bytes = LV_GROUP_ROWS * lv_r32_block_bytes(type), len = lv_r32_block_len(type);
    const uint32_t n_kb = x->n_cols / len;
    __attribute__((aligned(64))) float acc[TILE_TOK][LV_GROUP_ROWS];
    const int8_t *q[TILE_TOK];
    struct scales sc;

    for (uint32_t t = 0; t < n_tok; t++) {
        memset(acc[t], 0, sizeof acc[t]);
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
    for (uint32_t t = 0; t < n_tok; t++)
        memcpy(y + t * stride_y, acc[t], sizeof acc[t]);
}

/* Tiles of nearly equal size. */
INLINE void gemm(enum lv_type type, float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x,
                 uint32_t t0, uint32_t n_tok)
{
    for (uint32_t n_tile = (n_tok + TILE_TOK - 1) / TILE_TOK; n_tile; n_tile--) {
        const uint32_t n = (n_tok + n_tile - 1) / n_tile;

        switch (n) {
        case 1: tile(type, 1, y, stride_y, group, x, t0); break;
        case 2: tile(type, 2, y, stride_y, group, x, t0); break;
        case 3: tile(type, 3, y, stride_y, group, x, t0); break;
#if TILE_TOK > 4
        case 4: tile(type, 4, y, stride_y, group, x, t0); break;
        case 5: tile(type, 5, y, stride_y, group, x, t0); break;
#endif
        default: tile(type, TILE_TOK, y, stride_y, group, x, t0); break;
        }
        y += n * stride_y;
        t0 += n;
        n_tok -= n;
    }
}

#endif
