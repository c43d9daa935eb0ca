#include "kern/vec.h"
#include "kern/x86/vec_avx512.h"

#define CHUNK 1024

/* Maximum of x[n] with NaN passed over, -INFINITY if nothing is left. */
static float max_of(const float *x, uint32_t n)
{
    __m512 m0 = _mm512_set1_ps(-INFINITY), m1 = m0;
    uint32_t i = 0;

    for (; i + 32 <= n; i += 32) {
        m0 = _mm512_max_ps(_mm512_loadu_ps(x + i), m0);
        m1 = _mm512_max_ps(_mm512_loadu_ps(x + i + 16), m1);
    }
    for (; i < n; i += 16)
        m0 = _mm512_mask_max_ps(m0, lv_mask_avx512(n - i), _mm512_maskz_loadu_ps(lv_mask_avx512(n - i), x + i), m0);
    return _mm512_reduce_max_ps(_mm512_max_ps(m0, m1));
}

#include "kern/argmax_search.h"

uint32_t lv_argmax_avx512(const float *x, uint32_t n, float *value)
{
    return argmax_search(x, n, value);
}
