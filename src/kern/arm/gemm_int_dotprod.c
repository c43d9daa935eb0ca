/* Integer weights by SDOT: a vector of a line (4 rows x 4 columns) against 4 columns of a token, one lane of its
 * vector of 16. Quants up to 6 bits are signed as they are; 8-bit ones are given signed. */
#define TILE_TOK 8
#define DOT_REGS 1
#define Q8_SIGNED 1
#include "kern/arm/gemm_int_tile.h"

/* The instruction takes its lane as a constant: `lane` is one after unrolling. */
INLINE int32x4_t dot(int32x4_t s, int8x16_t w, int8x16_t x, uint32_t lane)
{
    switch (lane) {
    case 0: return vdotq_laneq_s32(s, w, x, 0);
    case 1: return vdotq_laneq_s32(s, w, x, 1);
    case 2: return vdotq_laneq_s32(s, w, x, 2);
    default: return vdotq_laneq_s32(s, w, x, 3);
    }
}

static inline void dots(enum lv_type type, uint32_t n_tok, uint32_t n_vec, int32x4_t s[TILE_TOK][MAX_VEC],
                        const uint8_t *kb, uint32_t c, uint32_t m, uint32_t i0, uint32_t n, uint32_t r0,
                        const struct acts *x, uint32_t b)
{
    LV_UNROLL
    for (uint32_t j = i0; j < i0 + n; j += 4) {
        int8x16_t xv[TILE_TOK];

        LV_UNROLL
        for (uint32_t t = 0; t < n_tok; t++)
            xv[t] = vld1q_s8(x->q[t] + (size_t)b * 32 + 4 * j);
        LV_UNROLL
        for (uint32_t i = 0; i < 4; i++) {
            LV_UNROLL
            for (uint32_t v = 0; v < n_vec; v++) {
                const int8x16_t w = vreinterpretq_s8_u8(quants(type, kb, c, m, j + i, r0 + v));

                LV_UNROLL
                for (uint32_t t = 0; t < n_tok; t++)
                    s[t][v] = dot(s[t][v], w, xv[t], i);
            }
        }
    }
}

#define LV_X(TYPE, name)                                                                                   \
    void lv_gemm_##name##_dotprod(float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x, \
                                  uint32_t t0, uint32_t n_tok)                                             \
    {                                                                                                      \
        gemm(LV_TYPE_##TYPE, y, stride_y, group, x, t0, n_tok);                                            \
    }
LV_KERN_INT_TYPES(LV_X)
#undef LV_X
