/* Integer weights with 4 x 32-bit vectors: all but the dot products, which each level brings. A vector of an R32
 * line is 4 rows x 4 columns, the lanes of the dot product instructions; a pass takes 1, 2 or 4 such vectors by
 * 1 to TILE_TOK tokens. The float tail is here, so levels can differ in exact integers only.
 *
 * A level's file defines, then includes this header, then defines dots():
 *   TILE_TOK   4 or 8
 *   DOT_REGS   accumulators that dots() holds for each vector and token
 *   Q8_SIGNED  1 where dots() takes both sides signed: 8-bit quants are given signed and need no offset */
#ifndef LV_KERN_ARM_GEMM_INT_TILE_H
#define LV_KERN_ARM_GEMM_INT_TILE_H

#include <arm_neon.h>

#include "kern/unroll.h"
#include "kern/gemm_list.h"
#include "kern/r32.h"

#define INLINE static inline __attribute__((always_inline))
#define MAX_VEC 4
#define ROW_VECS (LV_GROUP_ROWS / 4)
#define AHEAD_BYTES 2048

/* The rows of the activations that one tile reads. */
struct acts {
    const int8_t *q[TILE_TOK];
    const int16_t *s16[TILE_TOK];
    const float *d[TILE_TOK], *sd[TILE_TOK];
};

/* Of one k-block of Q4_K or Q5_K. */
struct scales {
    _Alignas(64) float d[8][LV_GROUP_ROWS];
    _Alignas(64) float m[8][LV_GROUP_ROWS];
};

/* s[t][v] += exact dot of columns 4 * i0 .. 4 * (i0 + n) - 1 of sub-block c of the k-block (m = c % 4, a constant) with
 * rows 4 * (r0 + v) .. + 3, for n_tok tokens of block b. */
static inline void dots(enum lv_type type, uint32_t n_tok, uint32_t n_vec, int32x4_t s[TILE_TOK][MAX_VEC],
                        const uint8_t *kb, uint32_t c, uint32_t m, uint32_t i0, uint32_t n, uint32_t r0,
                        const struct acts *x, uint32_t b) __attribute__((always_inline));

/* Four rows 4r .. 4r + 3 of a word of a part. */
INLINE uint8x16_t quad(const uint8_t *kb, uint32_t off, uint32_t word, uint32_t r)
{
    return vld1q_u8(kb + off + LV_R32_PART * word + 16 * r);
}

INLINE uint8x16_t nibbles(uint8x16_t v, uint32_t high)
{
    return high ? vshrq_n_u8(v, 4) : vandq_u8(v, vdupq_n_u8(15));
}

INLINE uint8x16_t fifth_bit(uint8x16_t q, uint8x16_t hi, uint32_t bit)
{
    const uint8x16_t set = vtstq_u8(hi, vdupq_n_u8((uint8_t)(1u << bit)));

    return vorrq_u8(q, vandq_u8(set, vdupq_n_u8(16)));
}

/* Four columns 4i .. 4i + 3 of sub-block c (m = c % 4, a constant) as unsigned bytes; Q8_0: as the level wants them. */
INLINE uint8x16_t quants(enum lv_type type, const uint8_t *kb, uint32_t c, uint32_t m, uint32_t i, uint32_t r)
{
    const uint32_t qs = lv_r32_off_qs(type), qh = lv_r32_off_qh(type);

    switch (type) {
    case LV_TYPE_Q8_0:
        return Q8_SIGNED ? veorq_u8(quad(kb, qs, i, r), vdupq_n_u8(0x80)) : quad(kb, qs, i, r);
    case LV_TYPE_Q4_0:
    case LV_TYPE_Q4_1:
        return nibbles(quad(kb, qs, i & 3, r), i >> 2);
    case LV_TYPE_Q5_0:
    case LV_TYPE_Q5_1:
        return fifth_bit(nibbles(quad(kb, qs, i & 3, r), i >> 2), quad(kb, qh, 0, r), i);
    case LV_TYPE_Q4_K:
        return nibbles(quad(kb, qs, c / 2 * 8 + i, r), m & 1);
    case LV_TYPE_Q5_K:
        return fifth_bit(nibbles(quad(kb, qs, c / 2 * 8 + i, r), m & 1), quad(kb, qh, i, r), c);
    case LV_TYPE_Q6_K: {
        const uint8x16_t lo = nibbles(quad(kb, qs, c / 4 * LV_R32_Q6_HALF + (m & 1) * 8 + i, r), m >> 1);
        const uint8x16_t hi = quad(kb, qh, c / 4 * LV_R32_Q6_HALF + i, r);
        const uint8x16_t two = m == 0 ? vshlq_n_u8(hi, 4) : m == 1 ? vshlq_n_u8(hi, 2)
                               : m == 2 ? hi : vshrq_n_u8(hi, 2);

        return vorrq_u8(lo, vandq_u8(two, vdupq_n_u8(48)));
    }
    default:
        return vdupq_n_u8(0);
    }
}

INLINE float32x4_t f32_of_byte(uint8x16_t words, uint32_t byte)
{
    const uint32x4_t w = vshlq_u32(vreinterpretq_u32_u8(words), vdupq_n_s32(-8 * (int32_t)byte));

    return vcvtq_f32_u32(vandq_u32(w, vdupq_n_u32(255)));
}

/* Four f16 in the low or high halves of 32-bit words. */
INLINE float32x4_t f32_of_half(uint8x16_t words, uint32_t high)
{
    const uint32x4_t w = vreinterpretq_u32_u8(words);

    return vcvt_f32_f16(vreinterpret_f16_u16(high ? vshrn_n_u32(w, 16) : vmovn_u32(w)));
}

INLINE void scales_k(struct scales *s, const uint8_t *kb)
{
    const uint8x16_t m6 = vdupq_n_u8(63), m4 = vdupq_n_u8(15);

    for (uint32_t r = 0; r < ROW_VECS; r++) {
        const uint8x16_t dm = quad(kb, 0, 0, r);
        const uint8x16_t a = quad(kb, 128, 0, r), b = quad(kb, 128, 1, r), u = quad(kb, 128, 2, r);
        const float32x4_t d = f32_of_half(dm, 0), neg = vnegq_f32(f32_of_half(dm, 1));
        const uint8x16_t sc[2] = { vandq_u8(a, m6),
                                   vorrq_u8(vandq_u8(u, m4), vshlq_n_u8(vshrq_n_u8(a, 6), 4)) };
        const uint8x16_t mn[2] = { vandq_u8(b, m6),
                                   vorrq_u8(vshrq_n_u8(u, 4), vshlq_n_u8(vshrq_n_u8(b, 6), 4)) };

        LV_UNROLL
        for (uint32_t c = 0; c < 8; c++) {
            vst1q_f32(s->d[c] + 4 * r, vmulq_f32(d, f32_of_byte(sc[c / 4], c % 4)));
            vst1q_f32(s->m[c] + 4 * r, vmulq_f32(neg, f32_of_byte(mn[c / 4], c % 4)));
        }
    }
}

INLINE float32x4_t scale_of(enum lv_type type, const struct scales *s, const uint8_t *kb, uint32_t c, uint32_t r)
{
    if (lv_r32_block_len(type) == 256 && type != LV_TYPE_Q6_K)
        return vld1q_f32(s->d[c] + 4 * r);
    if (lv_r32_has_min(type))
        return f32_of_half(quad(kb, 0, 0, r), 0);
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(kb + 8 * r)));
}

INLINE float32x4_t min_of(enum lv_type type, const struct scales *s, const uint8_t *kb, uint32_t c, uint32_t r)
{
    if (lv_r32_block_len(type) == 256)
        return vld1q_f32(s->m[c] + 4 * r);
    return f32_of_half(quad(kb, 0, 0, r), 1);
}

/* Scale j (0, 1) of the two of 32 columns c of Q6_K. */
INLINE int32x4_t scale_q6(const uint8_t *kb, uint32_t c, uint32_t m, uint32_t j, uint32_t r)
{
    const int32_t up = 24 - 8 * (int32_t)((m & 1) * 2 + j);

    return vshrq_n_s32(vshlq_s32(vreinterpretq_s32_u8(quad(kb, 64, c / 2, r)), vdupq_n_s32(up)), 24);
}

/* s = minus offset * sums of x: all 32 columns (part 2), the first (0) or the last 16 (1). */
INLINE void start(enum lv_type type, uint32_t n_tok, uint32_t n_vec, int32x4_t s[TILE_TOK][MAX_VEC],
                  const struct acts *x, uint32_t b, uint32_t part)
{
    LV_UNROLL
    for (uint32_t t = 0; t < n_tok; t++) {
        int32_t sum = 0;

        if (lv_r32_offset(type) && !(Q8_SIGNED && type == LV_TYPE_Q8_0)) {
            const int16_t *p = x->s16[t] + (size_t)b * 2;

            sum = -lv_r32_offset(type) * (part == 2 ? p[0] + p[1] : p[part]);
        }
        LV_UNROLL
        for (uint32_t v = 0; v < n_vec; v++)
            s[t][v] = vdupq_n_s32(sum);
    }
}

/* Exact integer sums of 32 columns for rows 4 * r0 .. */
INLINE void block_sums(enum lv_type type, uint32_t n_tok, uint32_t n_vec, int32x4_t s[TILE_TOK][MAX_VEC],
                       const uint8_t *kb, uint32_t c, uint32_t m, uint32_t r0, const struct acts *x, uint32_t b)
{
    int32x4_t s1[TILE_TOK][MAX_VEC];

    if (type != LV_TYPE_Q6_K) {
        start(type, n_tok, n_vec, s, x, b, 2);
        dots(type, n_tok, n_vec, s, kb, c, m, 0, 8, r0, x, b);
        return;
    }
    start(type, n_tok, n_vec, s, x, b, 0);
    dots(type, n_tok, n_vec, s, kb, c, m, 0, 4, r0, x, b);
    start(type, n_tok, n_vec, s1, x, b, 1);
    dots(type, n_tok, n_vec, s1, kb, c, m, 4, 4, r0, x, b);
    LV_UNROLL
    for (uint32_t v = 0; v < n_vec; v++) {
        const int32x4_t k0 = scale_q6(kb, c, m, 0, r0 + v), k1 = scale_q6(kb, c, m, 1, r0 + v);

        LV_UNROLL
        for (uint32_t t = 0; t < n_tok; t++)
            s[t][v] = vmlaq_s32(vmulq_s32(s[t][v], k0), s1[t][v], k1);
    }
}

/* Vectors of a pass: as many as leave half the registers to weights and activations. */
INLINE uint32_t pass_vecs(enum lv_type type, uint32_t n_tok)
{
    const uint32_t regs = n_tok * DOT_REGS * (type == LV_TYPE_Q6_K ? 2 : 1);

    return 4 * regs <= 16 ? 4 : 2 * regs <= 16 ? 2 : 1;
}

INLINE void prefetch(const uint8_t *p, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i += 64)
        __builtin_prefetch((const void *)((uintptr_t)p + AHEAD_BYTES + i));
}

/* 32 columns of all 32 rows: sub-block c of the k-block (m = c % 4, a constant), block b of the row. */
INLINE void block(enum lv_type type, uint32_t n_tok, float acc[TILE_TOK][LV_GROUP_ROWS], const uint8_t *kb,
                  const struct scales *sc, uint32_t c, uint32_t m, uint32_t b, const struct acts *x)
{
    const uint32_t n_vec = pass_vecs(type, n_tok);
    const uint32_t share = LV_GROUP_ROWS * lv_r32_block_bytes(type) * 32 / lv_r32_block_len(type); /* bytes */

    for (uint32_t r0 = 0; r0 < ROW_VECS; r0 += n_vec) {
        int32x4_t s[TILE_TOK][MAX_VEC];

        prefetch(kb + c * share + r0 * share / ROW_VECS, n_vec * share / ROW_VECS);
        block_sums(type, n_tok, n_vec, s, kb, c, m, r0, x, b);
        LV_UNROLL
        for (uint32_t v = 0; v < n_vec; v++) {
            const float32x4_t d = scale_of(type, sc, kb, c, r0 + v);

            LV_UNROLL
            for (uint32_t t = 0; t < n_tok; t++) {
                float *a = acc[t] + 4 * (r0 + v);
                float32x4_t y = vfmaq_f32(vld1q_f32(a), vcvtq_f32_s32(s[t][v]), vmulq_n_f32(d, x->d[t][b]));

                if (lv_r32_has_min(type))
                    y = vfmaq_n_f32(y, min_of(type, sc, kb, c, r0 + v), x->sd[t][b]);
                vst1q_f32(a, y);
            }
        }
    }
}

/* n_tok, a constant, is the width of the tile; only n are asked for, the last one stands in for the others. */
INLINE void tile(enum lv_type type, uint32_t n_tok, uint32_t n, float *y, size_t stride_y, const uint8_t *group,
                 const struct lv_act *x, uint32_t t0)
{
    const uint32_t kb_bytes = LV_GROUP_ROWS * lv_r32_block_bytes(type), len = lv_r32_block_len(type);
    const uint32_t n_kb = x->n_cols / len;
    _Alignas(64) float acc[TILE_TOK][LV_GROUP_ROWS];
    struct acts a;
    struct scales sc;

    for (uint32_t t = 0; t < n_tok; t++) {
        const size_t i = (size_t)(t0 + (t < n ? t : n - 1)) * (x->n_cols / 32);

        memset(acc[t], 0, sizeof acc[t]);
        a.q[t] = x->q + 32 * i;
        a.s16[t] = x->s16 + 2 * i;
        a.d[t] = x->d + i;
        a.sd[t] = x->sd + i;
    }
    for (uint32_t k = 0; k < n_kb; k++) {
        const uint8_t *kb = group + (size_t)k * kb_bytes;

        if (len == 32) {
            block(type, n_tok, acc, kb, &sc, 0, 0, k, &a);
            continue;
        }
        if (type != LV_TYPE_Q6_K)
            scales_k(&sc, kb);
        for (uint32_t c = 0; c < 8; c += 4) {
            block(type, n_tok, acc, kb, &sc, c, 0, 8 * k + c, &a);
            block(type, n_tok, acc, kb, &sc, c + 1, 1, 8 * k + c + 1, &a);
            block(type, n_tok, acc, kb, &sc, c + 2, 2, 8 * k + c + 2, &a);
            block(type, n_tok, acc, kb, &sc, c + 3, 3, 8 * k + c + 3, &a);
        }
    }
    for (uint32_t t = 0; t < n; t++)
        memcpy(y + t * stride_y, acc[t], sizeof acc[t]);
}

/* Tiles of nearly equal size. */
INLINE void gemm(enum lv_type type, float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x,
                 uint32_t t0, uint32_t n_tok)
{
    for (uint32_t n_tile = (n_tok + TILE_TOK - 1) / TILE_TOK; n_tile; n_tile--) {
        const uint32_t n = (n_tok + n_tile - 1) / n_tile;

        if (n == 1)
            tile(type, 1, n, y, stride_y, group, x, t0);
        else if (n == 2)
            tile(type, 2, n, y, stride_y, group, x, t0);
        else if (n <= 4)
            tile(type, 4, n, y, stride_y, group, x, t0);
#if TILE_TOK == 8
        else if (n <= 6)
            tile(type, 6, n, y, stride_y, group, x, t0);
        else
            tile(type, 8, n, y, stride_y, group, x, t0);
#endif
        y += n * stride_y;
        t0 += n;
        n_tok -= n;
    }
}

#endif
