#include "kern/vec.h"
#include "kern/x86/vec_avx512.h"

static __m512 logistic(__m512 g, __m512 minus_x) /* g / (1 + exp(minus_x)) */
{
    return _mm512_div_ps(g, _mm512_add_ps(_mm512_set1_ps(1.0f), lv_exp_avx512(minus_x)));
}

static __m512 silu(__m512 g)
{
    return logistic(g, _mm512_xor_ps(g, _mm512_set1_ps(-0.0f)));
}

static __m512 gelu(__m512 g)
{
    const __m512 cube = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(0.044715f), g), g);
    const __m512 z = _mm512_mul_ps(_mm512_set1_ps(0.7978845608f), _mm512_fmadd_ps(cube, g, g));

    return logistic(g, _mm512_mul_ps(_mm512_set1_ps(-2.0f), z));
}

void lv_glu_avx512(float *y, const float *g, const float *u, uint32_t n, enum lv_glu kind)
{
    for (uint32_t i = 0; i < n; i += 16) {
        const __mmask16 m = lv_mask_avx512(n - i);
        const __m512 v = _mm512_maskz_loadu_ps(m, g + i);
        const __m512 a = kind == LV_GLU_SILU ? silu(v) : gelu(v);

        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(a, _mm512_maskz_loadu_ps(m, u + i)));
    }
}
