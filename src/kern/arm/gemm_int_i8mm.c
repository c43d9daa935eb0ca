/* Integer weights by USMMLA, 2 rows x 8 columns against 2 tokens x 8 columns; one token by USDOT. Weights are unsigned
 * as stored, so 8-bit ones keep their offset of 128 and the sums of the token take it off. */
#define TILE_TOK 8
#define DOT_REGS 1
#define Q8_SIGNED 0
#include "kern/arm/gemm_int_tile.h"

/* The instruction takes its lane as a constant: `lane` is one after unrolling. */
INLINE int32x4_t dot(int32x4_t s, uint8x16_t w, int8x16_t x, uint32_t lane)
{
    switch (lane) {
    case 0: return vusdotq_laneq_s32(s, w, x, 0);
    case 1: return vusdotq_laneq_s32(s, w, x, 1);
    case 2: return vusdotq_laneq_s32(s, w, x, 2);
    default: return vusdotq_laneq_s32(s, w, x, 3);
    }
}

INLINE void dots_one(enum lv_type type, uint32_t n_vec, int32x4_t s[MAX_VEC], const uint8_t *kb, uint32_t c, uint32_t m,
                     uint32_t i0, uint32_t n, uint32_t r0, const int8_t *x)
{
    LV_UNROLL
    for (uint32_t j = i0; j < i0 + n; j += 4) {
        const int8x16_t xv = vld1q_s8(x + 4 * j);

        LV_UNROLL
        for (uint32_t i = 0; i < 4; i++) {
            LV_UNROLL
            for (uint32_t v = 0; v < n_vec; v++)
                s[v] = dot(s[v], quants(type, kb, c, m, j + i, r0 + v), xv, i);
        }
    }
}

/* Words i and i + 1 of 4 rows, exchanged so that 8 columns of a row adjoin: rows 0, 1, then rows 2, 3. */
INLINE uint8x16x2_t row_pairs(uint8x16_t w0, uint8x16_t w1)
{
    const uint32x4_t a = vreinterpretq_u32_u8(w0), b = vreinterpretq_u32_u8(w1);

    return (uint8x16x2_t){ { vreinterpretq_u8_u32(vzip1q_u32(a, b)), vreinterpretq_u8_u32(vzip2q_u32(a, b)) } };
}

static inline void dots(enum lv_type type, uint32_t n_tok, uint32_t n_vec, int32x4_t s[TILE_TOK][MAX_VEC],
                        const uint8_t *kb, uint32_t c, uint32_t m, uint32_t i0, uint32_t n, uint32_t r0,
                        const struct acts *x, uint32_t b)
{
    int32x4_t mm[TILE_TOK / 2][MAX_VEC][2]; /* row 0: token 0, 1; row 1: token 0, 1 of a pair of rows */

    if (n_tok == 1) {
        dots_one(type, n_vec, s[0], kb, c, m, i0, n, r0, x->q[0] + (size_t)b * 32);
        return;
    }
    LV_UNROLL
    for (uint32_t p = 0; p < n_tok / 2; p++) {
        LV_UNROLL
        for (uint32_t v = 0; v < n_vec; v++)
            mm[p][v][0] = mm[p][v][1] = vdupq_n_s32(0);
    }
    LV_UNROLL
    for (uint32_t i = i0; i < i0 + n; i += 2) {
        int8x16_t xv[TILE_TOK / 2];

        LV_UNROLL
        for (uint32_t p = 0; p < n_tok / 2; p++)
            xv[p] = vcombine_s8(vld1_s8(x->q[2 * p] + (size_t)b * 32 + 4 * i),
                                vld1_s8(x->q[2 * p + 1] + (size_t)b * 32 + 4 * i));
        LV_UNROLL
        for (uint32_t v = 0; v < n_vec; v++) {
            const uint8x16x2_t w = row_pairs(quants(type, kb, c, m, i, r0 + v), quants(type, kb, c, m, i + 1, r0 + v));

            LV_UNROLL
            for (uint32_t p = 0; p < n_tok / 2; p++) {
                mm[p][v][0] = vusmmlaq_s32(mm[p][v][0], w.val[0], xv[p]);
                mm[p][v][1] = vusmmlaq_s32(mm[p][v][1], w.val[1], xv[p]);
            }
        }
    }
    LV_UNROLL
    for (uint32_t p = 0; p < n_tok / 2; p++) {
        LV_UNROLL
        for (uint32_t v = 0; v < n_vec; v++) {
            s[2 * p][v] = vaddq_s32(s[2 * p][v], vuzp1q_s32(mm[p][v][0], mm[p][v][1]));
            s[2 * p + 1][v] = vaddq_s32(s[2 * p + 1][v], vuzp2q_s32(mm[p][v][0], mm[p][v][1]));
        }
    }
}

#define LV_X(TYPE, name)                                                                                \
    void lv_gemm_##name##_i8mm(float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x, \
                               uint32_t t0, uint32_t n_tok)                                             \
    {                                                                                                   \
        gemm(LV_TYPE_##TYPE, y, stride_y, group, x, t0, n_tok);                                         \
    }
LV_KERN_INT_TYPES(LV_X)
#undef LV_X
