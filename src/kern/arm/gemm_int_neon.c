/* Integer weights on base ARMv8: 8 x 8-bit products into 16-bit lanes, each lane the sum of one product a step.
 * With |x| <= 128 a lane holds 8 steps of 4-bit (15 * 128 * 8 = 15360) and 5-bit quants (31744), 4 of 6-bit ones (32256);
 * 8-bit products are widened at once. All integers are exact. */
#define TILE_TOK 4
#define DOT_REGS 2
#define Q8_SIGNED 1
#include "kern/arm/gemm_int_tile.h"

/* Sums of the four columns of each row: the rows in order. */
INLINE int32x4_t row_sums(int32x4_t rows01, int32x4_t rows23)
{
    return vpaddq_s32(rows01, rows23);
}

static inline void dots(enum lv_type type, uint32_t n_tok, uint32_t n_vec, int32x4_t s[TILE_TOK][MAX_VEC],
                        const uint8_t *kb, uint32_t c, uint32_t m, uint32_t i0, uint32_t n, uint32_t r0,
                        const struct acts *x, uint32_t b)
{
    int16x8_t p[TILE_TOK][MAX_VEC][2]; /* rows 0, 1 and rows 2, 3 of a vector */
    int32x4_t q[TILE_TOK][MAX_VEC][2]; /* Q8_0 */

    LV_UNROLL
    for (uint32_t t = 0; t < n_tok; t++) {
        LV_UNROLL
        for (uint32_t v = 0; v < n_vec; v++) {
            p[t][v][0] = p[t][v][1] = vdupq_n_s16(0);
            q[t][v][0] = q[t][v][1] = vdupq_n_s32(0);
        }
    }
    LV_UNROLL
    for (uint32_t i = i0; i < i0 + n; i++) {
        int8x16_t w[MAX_VEC];

        LV_UNROLL
        for (uint32_t v = 0; v < n_vec; v++)
            w[v] = vreinterpretq_s8_u8(quants(type, kb, c, m, i, r0 + v));
        LV_UNROLL
        for (uint32_t t = 0; t < n_tok; t++) {
            int32_t x4;

            memcpy(&x4, x->q[t] + (size_t)b * 32 + 4 * i, sizeof x4);
            const int8x16_t xv = vreinterpretq_s8_s32(vdupq_n_s32(x4));

            LV_UNROLL
            for (uint32_t v = 0; v < n_vec; v++) {
                if (type == LV_TYPE_Q8_0) {
                    q[t][v][0] = vpadalq_s16(q[t][v][0], vmull_s8(vget_low_s8(w[v]), vget_low_s8(xv)));
                    q[t][v][1] = vpadalq_s16(q[t][v][1], vmull_high_s8(w[v], xv));
                } else {
                    p[t][v][0] = vmlal_s8(p[t][v][0], vget_low_s8(w[v]), vget_low_s8(xv));
                    p[t][v][1] = vmlal_high_s8(p[t][v][1], w[v], xv);
                }
            }
        }
    }
    LV_UNROLL
    for (uint32_t t = 0; t < n_tok; t++) {
        LV_UNROLL
        for (uint32_t v = 0; v < n_vec; v++) {
            const int32x4_t sum = type == LV_TYPE_Q8_0 ? row_sums(q[t][v][0], q[t][v][1])
                                                       : row_sums(vpaddlq_s16(p[t][v][0]), vpaddlq_s16(p[t][v][1]));

            s[t][v] = vaddq_s32(s[t][v], sum);
        }
    }
}

#define LV_X(TYPE, name)                                                                                \
    void lv_gemm_##name##_neon(float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x, \
                               uint32_t t0, uint32_t n_tok)                                             \
    {                                                                                                   \
        gemm(LV_TYPE_##TYPE, y, stride_y, group, x, t0, n_tok);                                         \
    }
LV_KERN_INT_TYPES(LV_X)
#undef LV_X
