/* Norm and the other simple passes over one row. */
#include <math.h>

#include "base/half.h"
#include "kern/ref/reduce.h"
#include "kern/vec.h"

void lv_rms_norm_ref(float *y, const float *x, const float *w, float eps, uint32_t n)
{
    float lane[16] = { 0 };

    for (uint32_t i = 0; i < n; i++)
        lane[i % 16] = fmaf(x[i], x[i], lane[i % 16]);
    const float r = 1.0f / sqrtf(lv_reduce16(lane) / (float)n + eps);
    for (uint32_t i = 0; i < n; i++)
        y[i] = w ? (x[i] * r) * w[i] : x[i] * r;
}

void lv_add_ref(float *y, const float *a, const float *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

void lv_scale_ref(float *y, float s, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        y[i] *= s;
}

void lv_rope_ref(float *x, const float *cs, uint32_t n_rot, bool neox)
{
    const uint32_t half = n_rot / 2;

    for (uint32_t i = 0; i < half; i++) {
        float *pa = neox ? x + i : x + 2 * i;
        float *pb = neox ? pa + half : pa + 1;
        const float a = *pa, b = *pb, cos = cs[i], sin = cs[half + i];

        *pa = fmaf(a, cos, -(b * sin));
        *pb = fmaf(a, sin, b * cos);
    }
}

void lv_f16_from_f32_ref(uint16_t *dst, const float *src, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        dst[i] = lv_f16_from_f32(src[i]);
}
