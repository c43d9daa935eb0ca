#include "kern/vec.h"
#include "kern/x86/vec_avx2.h"

#define CHUNK 512

/* Maximum of x[n] with NaN passed over, -INFINITY if nothing is left. */
static float max_of(const float *x, uint32_t n)
{
    __m256 m0 = _mm256_set1_ps(-INFINITY), m1 = m0;
    uint32_t i = 0;

    for (; i + 16 <= n; i += 16) {
        m0 = _mm256_max_ps(_mm256_loadu_ps(x + i), m0);
        m1 = _mm256_max_ps(_mm256_loadu_ps(x + i + 8), m1);
    }
    m0 = _mm256_max_ps(m0, m1);
    __m128 h = _mm_max_ps(_mm256_castps256_ps128(m0), _mm256_extractf128_ps(m0, 1));
    h = _mm_max_ps(h, _mm_movehl_ps(h, h));
    float m = _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
    for (; i < n; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

#include "kern/argmax_search.h"

uint32_t lv_argmax_avx2(const float *x, uint32_t n, float *value)
{
    return argmax_search(x, n, value);
}
