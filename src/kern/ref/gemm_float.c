/* Float weights: one fused multiply-add a column, in column order. The definition; never tuned. */
#include <math.h>

#include "base/half.h"
#include "kern/gemm_list.h"
#include "kern/r32.h"

static float weight(enum lv_type type, const uint8_t *group, uint32_t k, uint32_t row)
{
    const size_t i = (size_t)k * LV_GROUP_ROWS + row;

    if (type == LV_TYPE_F32)
        return lv_f32_from_bits(lv_r32_u32(group + 4 * i));
    return type == LV_TYPE_F16 ? lv_f32_from_f16(lv_r32_u16(group + 2 * i)) : lv_f32_from_bf16(lv_r32_u16(group + 2 * i));
}

static void gemm(enum lv_type type, float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x,
                 uint32_t t0, uint32_t n_tok)
{
    for (uint32_t t = 0; t < n_tok; t++) {
        const float *f = x->f + (t0 + t) * x->stride_f;

        for (uint32_t r = 0; r < LV_GROUP_ROWS; r++) {
            float acc = 0.0f;

            for (uint32_t k = 0; k < x->n_cols; k++)
                acc = fmaf(weight(type, group, k, r), f[k], acc);
            y[t * stride_y + r] = acc;
        }
    }
}

#define LV_X(TYPE, name)                                                                            \
    void lv_gemm_##name##_ref(float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x, \
                              uint32_t t0, uint32_t n_tok)                                          \
    {                                                                                               \
        gemm(LV_TYPE_##TYPE, y, stride_y, group, x, t0, n_tok);                                     \
    }
LV_KERN_FLOAT_TYPES(LV_X)
#undef LV_X
