#include "kern/vec.h"
#include "kern/x86/vec_avx2.h"

static float row_max(const float *s, uint32_t n)
{
    __m256 m0 = _mm256_set1_ps(-INFINITY), m1 = m0;

    /* max(x, m) is m where x is NaN: m never becomes NaN */
    for (uint32_t i = 0; i < n; i += 16) {
        m0 = _mm256_max_ps(_mm256_loadu_ps(s + i), m0);
        m1 = _mm256_max_ps(_mm256_loadu_ps(s + i + 8), m1);
    }
    m0 = _mm256_max_ps(m0, m1);
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(m0), _mm256_extractf128_ps(m0, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

float lv_softmax_avx2(float *s, uint32_t n)
{
    const __m256 m = _mm256_set1_ps(row_max(s, n));
    __m256 lo = _mm256_setzero_ps(), hi = lo;

    for (uint32_t i = 0; i < n; i += 16) {
        const __m256 e0 = lv_exp_avx2(_mm256_sub_ps(_mm256_loadu_ps(s + i), m));
        const __m256 e1 = lv_exp_avx2(_mm256_sub_ps(_mm256_loadu_ps(s + i + 8), m));

        _mm256_storeu_ps(s + i, e0);
        _mm256_storeu_ps(s + i + 8, e1);
        lo = _mm256_add_ps(lo, e0);
        hi = _mm256_add_ps(hi, e1);
    }
    return 1.0f / lv_reduce16_avx2(lo, hi);
}
