#include "kern/arm/vec_neon.h"
#include "kern/vec.h"

static float32x4_t logistic(float32x4_t g, float32x4_t minus_x) /* g / (1 + exp(minus_x)) */
{
    return vdivq_f32(g, vaddq_f32(vdupq_n_f32(1.0f), lv_exp_neon(minus_x)));
}

static float32x4_t gelu(float32x4_t g)
{
    const float32x4_t cube = vmulq_f32(vmulq_f32(vdupq_n_f32(0.044715f), g), g);
    const float32x4_t z = vmulq_f32(vdupq_n_f32(0.7978845608f), vfmaq_f32(g, cube, g));

    return logistic(g, vmulq_f32(vdupq_n_f32(-2.0f), z));
}

void lv_glu_neon(float *y, const float *g, const float *u, uint32_t n, enum lv_glu kind)
{
    for (uint32_t i = 0; i < n; i += 4) {
        const float32x4_t v = lv_load_neon(g + i, n - i);
        const float32x4_t a = kind == LV_GLU_SILU ? logistic(v, vnegq_f32(v)) : gelu(v);

        lv_store_neon(y + i, n - i, vmulq_f32(a, lv_load_neon(u + i, n - i)));
    }
}
