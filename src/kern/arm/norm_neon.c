/* Norm and the other simple passes over one row. */
#include "kern/unroll.h"
#include "kern/arm/vec_neon.h"
#include "kern/vec.h"

void lv_rms_norm_neon(float *y, const float *x, const float *w, float eps, uint32_t n)
{
    float32x4_t lane[4];
    uint32_t i = 0;

    LV_UNROLL
    for (int j = 0; j < 4; j++)
        lane[j] = vdupq_n_f32(0.0f);
    for (; i + 16 <= n; i += 16) {
        LV_UNROLL
        for (int j = 0; j < 4; j++) {
            const float32x4_t v = vld1q_f32(x + i + 4 * j);

            lane[j] = vfmaq_f32(lane[j], v, v);
        }
    }
    if (i < n) { /* a lane beyond the end adds 0 * 0, which leaves a sum of squares as it is */
        float tail[16] = { 0 };

        memcpy(tail, x + i, (n - i) * sizeof *x);
        LV_UNROLL
        for (int j = 0; j < 4; j++) {
            const float32x4_t v = vld1q_f32(tail + 4 * j);

            lane[j] = vfmaq_f32(lane[j], v, v);
        }
    }
    const float r = 1.0f / sqrtf(lv_reduce16_neon(lane) / (float)n + eps);
    for (i = 0; i < n; i += 4) {
        float32x4_t v = vmulq_n_f32(lv_load_neon(x + i, n - i), r);
        if (w)
            v = vmulq_f32(v, lv_load_neon(w + i, n - i));
        lv_store_neon(y + i, n - i, v);
    }
}

void lv_add_neon(float *y, const float *a, const float *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 4)
        lv_store_neon(y + i, n - i, vaddq_f32(lv_load_neon(a + i, n - i), lv_load_neon(b + i, n - i)));
}

void lv_scale_neon(float *y, float s, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 4)
        lv_store_neon(y + i, n - i, vmulq_n_f32(lv_load_neon(y + i, n - i), s));
}

struct turned {
    float32x4_t a, b;
};

static struct turned turn(float32x4_t a, float32x4_t b, float32x4_t cos, float32x4_t sin)
{
    return (struct turned){ vfmaq_f32(vnegq_f32(vmulq_f32(b, sin)), a, cos), vfmaq_f32(vmulq_f32(b, cos), a, sin) };
}

static void rope_neox(float *x, const float *cs, uint32_t half)
{
    for (uint32_t i = 0; i < half; i += 4) {
        const uint32_t left = half - i;
        const struct turned t = turn(lv_load_neon(x + i, left), lv_load_neon(x + half + i, left),
                                     lv_load_neon(cs + i, left), lv_load_neon(cs + half + i, left));

        lv_store_neon(x + i, left, t.a);
        lv_store_neon(x + half + i, left, t.b);
    }
}

static void rope_pairs(float *x, const float *cs, uint32_t half)
{
    for (uint32_t i = 0; i < half; i += 4) {
        const uint32_t left = half - i, left_hi = left > 2 ? 2 * left - 4 : 0;
        float *x0 = x + 2 * i, *x1 = x0 + 4;
        const float32x4_t v0 = lv_load_neon(x0, 2 * left);
        const float32x4_t v1 = left_hi ? lv_load_neon(x1, left_hi) : vdupq_n_f32(0.0f);
        const struct turned t = turn(vuzp1q_f32(v0, v1), vuzp2q_f32(v0, v1), lv_load_neon(cs + i, left),
                                     lv_load_neon(cs + half + i, left));

        lv_store_neon(x0, 2 * left, vzip1q_f32(t.a, t.b));
        if (left_hi)
            lv_store_neon(x1, left_hi, vzip2q_f32(t.a, t.b));
    }
}

void lv_rope_neon(float *x, const float *cs, uint32_t n_rot, bool neox)
{
    if (neox)
        rope_neox(x, cs, n_rot / 2);
    else
        rope_pairs(x, cs, n_rot / 2);
}

void lv_f16_from_f32_neon(uint16_t *dst, const float *src, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 4) {
        const uint32_t left = n - i;
        const uint16x4_t h = vreinterpret_u16_f16(vcvt_f16_f32(lv_load_neon(src + i, left)));

        if (left >= 4)
            vst1_u16(dst + i, h);
        else
            memcpy(dst + i, &h, left * sizeof *dst);
    }
}
