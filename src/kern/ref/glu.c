#include "kern/ref/exp.h"
#include "kern/vec.h"

static float silu(float g)
{
    return g / (1.0f + lv_exp(-g));
}

static float gelu(float g)
{
    const float z = 0.7978845608f * fmaf(0.044715f * g * g, g, g);

    return g / (1.0f + lv_exp(-2.0f * z));
}

void lv_glu_ref(float *y, const float *g, const float *u, uint32_t n, enum lv_glu kind)
{
    for (uint32_t i = 0; i < n; i++)
        y[i] = (kind == LV_GLU_SILU ? silu(g[i]) : gelu(g[i])) * u[i];
}
