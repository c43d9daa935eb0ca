#include "kern/unroll.h"
#include "kern/arm/vec_neon.h"
#include "kern/vec.h"

static float row_max(const float *s, uint32_t n)
{
    float32x4_t m[4];

    LV_UNROLL
    for (int j = 0; j < 4; j++)
        m[j] = vdupq_n_f32(-INFINITY);
    for (uint32_t i = 0; i < n; i += 16) {
        LV_UNROLL
        for (int j = 0; j < 4; j++) /* where s is NaN m stays */
            m[j] = lv_max_neon(vld1q_f32(s + i + 4 * j), m[j]);
    }
    return lv_max4_neon(lv_max_neon(lv_max_neon(m[0], m[1]), lv_max_neon(m[2], m[3])));
}

float lv_softmax_neon(float *s, uint32_t n)
{
    const float32x4_t m = vdupq_n_f32(row_max(s, n));
    float32x4_t lane[4];

    LV_UNROLL
    for (int j = 0; j < 4; j++)
        lane[j] = vdupq_n_f32(0.0f);
    for (uint32_t i = 0; i < n; i += 16) {
        LV_UNROLL
        for (int j = 0; j < 4; j++) {
            const float32x4_t e = lv_exp_neon(vsubq_f32(vld1q_f32(s + i + 4 * j), m));

            vst1q_f32(s + i + 4 * j, e);
            lane[j] = vaddq_f32(lane[j], e);
        }
    }
    return 1.0f / lv_reduce16_neon(lane);
}
