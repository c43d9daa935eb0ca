#include "kern/vec.h"
#include "kern/x86/vec_avx512.h"

static float row_max(const float *s, uint32_t n)
{
    __m512 m0 = _mm512_set1_ps(-INFINITY), m1 = m0;
    uint32_t i = 0;

    /* max(x, m) is m where x is NaN: m never becomes NaN */
    for (; i + 32 <= n; i += 32) {
        m0 = _mm512_max_ps(_mm512_loadu_ps(s + i), m0);
        m1 = _mm512_max_ps(_mm512_loadu_ps(s + i + 16), m1);
    }
    if (i < n)
        m0 = _mm512_max_ps(_mm512_loadu_ps(s + i), m0);
    return _mm512_reduce_max_ps(_mm512_max_ps(m0, m1));
}

float lv_softmax_avx512(float *s, uint32_t n)
{
    const __m512 m = _mm512_set1_ps(row_max(s, n));
    __m512 sum = _mm512_setzero_ps();

    for (uint32_t i = 0; i < n; i += 16) {
        const __m512 e = lv_exp_avx512(_mm512_sub_ps(_mm512_loadu_ps(s + i), m));

        _mm512_storeu_ps(s + i, e);
        sum = _mm512_add_ps(sum, e);
    }
    return 1.0f / lv_reduce16_avx512(sum);
}
