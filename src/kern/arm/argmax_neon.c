#include "kern/arm/vec_neon.h"
#include "kern/vec.h"

#define CHUNK 512 /* values read twice when they hold a new maximum */

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

uint32_t lv_argmax_neon(const float *x, uint32_t n, float *value)
{
    float best = -INFINITY;
    uint32_t i = 0; /* where the first value equal to best must be searched */

    for (uint32_t c = 0; c < n; c += CHUNK) {
        const float m = max_of(x + c, n - c < CHUNK ? n - c : CHUNK);
        if (m > best) {
            best = m;
            i = c;
        }
    }
    while (i < n && x[i] != best)
        i++;
    if (i == n) /* all NaN */
        i = 0;
    *value = x[i];
    return i;
}
