/* Pieces shared by the NEON vector kernels: 16 lanes are four registers, lanes 0-3, 4-7, 8-11, 12-15; row ends
 * go through a copy on the stack and touch no byte outside the row. All of it is base ARMv8. */
#ifndef LV_KERN_ARM_VEC_NEON_H
#define LV_KERN_ARM_VEC_NEON_H

#include <arm_neon.h>
#include <string.h>

#include "kern/ref/exp.h"

/* p[0 .. min(n, 4) - 1], zeros above. */
static inline float32x4_t lv_load_neon(const float *p, uint32_t n)
{
    float t[4] = { 0 };

    if (n >= 4)
        return vld1q_f32(p);
    memcpy(t, p, n * sizeof *p);
    return vld1q_f32(t);
}

static inline void lv_store_neon(float *p, uint32_t n, float32x4_t v)
{
    float t[4];

    if (n >= 4) {
        vst1q_f32(p, v);
        return;
    }
    vst1q_f32(t, v);
    memcpy(p, t, n * sizeof *p);
}

/* Four halves as floats; the halves need no alignment of 8. */
static inline float32x4_t lv_load_f16_neon(const uint16_t *h)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(h)));
}

/* lv_reduce16 of lanes v[0], v[1], v[2], v[3]. */
static inline float lv_reduce16_neon(const float32x4_t v[4])
{
    const float32x4_t b = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
    const float32x2_t c = vadd_f32(vget_low_f32(b), vget_high_f32(b));

    return vget_lane_f32(c, 0) + vget_lane_f32(c, 1);
}

/* a > b ? a : b, as written: b where either is NaN. (fmax would give NaN, fmaxnm the number.) */
static inline float32x4_t lv_max_neon(float32x4_t a, float32x4_t b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

/* The largest of four lanes that are not NaN. */
static inline float lv_max4_neon(float32x4_t v)
{
    return vmaxvq_f32(v);
}

/* lv_exp in each lane. NaN passes both clamps, as in lv_exp. */
static inline float32x4_t lv_exp_neon(float32x4_t x)
{
    const float32x4_t lo = vdupq_n_f32(LV_EXP_MIN), hi = vdupq_n_f32(LV_EXP_MAX), two = vdupq_n_f32(2.0f);
    float32x4_t c = lv_max_neon(lo, x);
    c = vbslq_f32(vcltq_f32(hi, c), hi, c);

    const float32x4_t t = vfmaq_f32(vdupq_n_f32(LV_EXP_MAGIC), c, vdupq_n_f32(LV_EXP_LOG2E));
    const float32x4_t k = vsubq_f32(t, vdupq_n_f32(LV_EXP_MAGIC));
    float32x4_t r = vfmaq_f32(c, k, vdupq_n_f32(-LV_EXP_LN2_HI));
    r = vfmaq_f32(r, k, vdupq_n_f32(-LV_EXP_LN2_LO));

    float32x4_t p = vfmaq_f32(vdupq_n_f32(LV_EXP_C5), vdupq_n_f32(LV_EXP_C6), r);
    p = vfmaq_f32(vdupq_n_f32(LV_EXP_C4), p, r);
    p = vfmaq_f32(vdupq_n_f32(LV_EXP_C3), p, r);
    p = vfmaq_f32(vdupq_n_f32(LV_EXP_C2), p, r);
    p = vfmaq_f32(two, p, r);
    p = vfmaq_f32(two, p, r);
    return vmulq_f32(p, vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(t), 23)));
}

#endif
