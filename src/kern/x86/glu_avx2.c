#include "kern/vec.h"
#include "kern/x86/vec_avx2.h"

static __m256 logistic(__m256 g, __m256 minus_x) /* g / (1 + exp(minus_x)) */
{
    return _mm256_div_ps(g, _mm256_add_ps(_mm256_set1_ps(1.0f), lv_exp_avx2(minus_x)));
}

static __m256 silu(__m256 g)
{
    return logistic(g, _mm256_xor_ps(g, _mm256_set1_ps(-0.0f)));
}

static __m256 gelu(__m256 g)
{
    const __m256 cube = _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(0.044715f), g), g);
    const __m256 z = _mm256_mul_ps(_mm256_set1_ps(0.7978845608f), _mm256_fmadd_ps(cube, g, g));

    return logistic(g, _mm256_mul_ps(_mm256_set1_ps(-2.0f), z));
}

void lv_glu_avx2(float *y, const float *g, const float *u, uint32_t n, enum lv_glu kind)
{
    for (uint32_t i = 0; i < n; i += 8) {
        const __m256 v = lv_load_avx2(g + i, n - i);
        const __m256 a = kind == LV_GLU_SILU ? silu(v) : gelu(v);

        lv_store_avx2(y + i, n - i, _mm256_mul_ps(a, lv_load_avx2(u + i, n - i)));
    }
}
