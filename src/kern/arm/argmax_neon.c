#include "kern/arm/vec_neon.h"
#include "kern/vec.h"

#define CHUNK 512

/* Maximum of x[n] with NaN passed over, -INFINITY if nothing is left. */
static float max_of(const float *x, uint32_t n)
{
    float32x4_t m0 = vdupq_n_f32(-INFINITY), m1 = m0, m2 = m0, m3 = m0;
    uint32_t i = 0;

    for (; i + 16 <= n; i += 16) {
        m0 = lv_max_neon(vld1q_f32(x + i), m0);
        m1 = lv_max_neon(vld1q_f32(x + i + 4), m1);
        m2 = lv_max_neon(vld1q_f32(x + i + 8), m2);
        m3 = lv_max_neon(vld1q_f32(x + i + 12), m3);
    }
    float m = lv_max4_neon(lv_max_neon(lv_max_neon(m0, m1), lv_max_neon(m2, m3)));
    for (; i < n; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

#include "kern/argmax_search.h"

uint32_t lv_argmax_neon(const float *x, uint32_t n, float *value)
{
    return argmax_search(x, n, value);
}
