/* Float weights: 32 rows as eight vectors of 4, one fused multiply-add a column, 1 to 3 tokens a tile. */
#include <arm_neon.h>

#include "kern/unroll.h"
#include "kern/gemm_list.h"
#include "kern/r32.h"

#define INLINE static inline __attribute__((always_inline))
#define TILE_TOK 3 /* 3 x 8 accumulators, 3 broadcasts, weights: all 32 registers */
#define N_VEC (LV_GROUP_ROWS / 4)
#define AHEAD_BYTES 2048

/* Bytes: a group has any alignment. */
INLINE float32x4_t weights(enum lv_type type, const uint8_t *p, uint32_t i)
{
    if (type == LV_TYPE_F32)
        return vreinterpretq_f32_u8(vld1q_u8(p + 16 * i));
    const uint16x4_t h = vreinterpret_u16_u8(vld1_u8(p + 8 * i));

    if (type == LV_TYPE_F16)
        return vcvt_f32_f16(vreinterpret_f16_u16(h));
    return vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(h), 16));
}

INLINE void tile(enum lv_type type, uint32_t n_tok, float *y, size_t stride_y, const uint8_t *group,
                 const struct lv_act *x, uint32_t t0)
{
    const uint32_t line_bytes = LV_GROUP_ROWS * lv_r32_block_bytes(type);
    const float *f[TILE_TOK];
    float32x4_t acc[TILE_TOK][N_VEC];

    LV_UNROLL
    for (uint32_t t = 0; t < n_tok; t++) {
        f[t] = x->f + (t0 + t) * x->stride_f;
        LV_UNROLL
        for (uint32_t i = 0; i < N_VEC; i++)
            acc[t][i] = vdupq_n_f32(0.0f);
    }
    for (uint32_t k = 0; k < x->n_cols; k++) {
        const uint8_t *p = group + (size_t)k * line_bytes;
        float32x4_t v[TILE_TOK];

        for (uint32_t i = 0; i < line_bytes; i += 64)
            __builtin_prefetch((const void *)((uintptr_t)p + AHEAD_BYTES + i));
        LV_UNROLL
        for (uint32_t t = 0; t < n_tok; t++)
            v[t] = vdupq_n_f32(f[t][k]);
        LV_UNROLL
        for (uint32_t i = 0; i < N_VEC; i++) {
            const float32x4_t w = weights(type, p, i);

            LV_UNROLL
            for (uint32_t t = 0; t < n_tok; t++)
                acc[t][i] = vfmaq_f32(acc[t][i], w, v[t]);
        }
    }
    LV_UNROLL
    for (uint32_t t = 0; t < n_tok; t++) {
        LV_UNROLL
        for (uint32_t i = 0; i < N_VEC; i++)
            vst1q_f32(y + t * stride_y + 4 * i, acc[t][i]);
    }
}

INLINE void gemm(enum lv_type type, float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x,
                 uint32_t t0, uint32_t n_tok)
{
    for (uint32_t t = 0, n; t < n_tok; t += n) {
        float *yt = y + t * stride_y;

        n = n_tok - t == 4 ? 2 : n_tok - t; /* 4 is 2 + 2 */
        switch (n) {
        case 1: tile(type, 1, yt, stride_y, group, x, t0 + t); break;
        case 2: tile(type, 2, yt, stride_y, group, x, t0 + t); break;
        default: tile(type, n = 3, yt, stride_y, group, x, t0 + t); break;
        }
    }
}

#define LV_X(TYPE, name)                                                                                \
    void lv_gemm_##name##_neon(float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x, \
                               uint32_t t0, uint32_t n_tok)                                             \
    {                                                                                                   \
        gemm(LV_TYPE_##TYPE, y, stride_y, group, x, t0, n_tok);                                         \
    }
LV_KERN_FLOAT_TYPES(LV_X)
#undef LV_X
