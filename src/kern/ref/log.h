/* Natural logarithm for the sampler: scalar, double inside, the same bits on every machine. */
#ifndef LV_KERN_REF_LOG_H
#define LV_KERN_REF_LOG_H

#include "base/half.h"

/* x positive, normal and finite (anything else: a meaningless value). Accuracy: the double inside is good to
 * 2e-12, so the result is within 0.5001 ulp. log(1) is +0. */
static inline float lv_log(float x)
{
    const uint32_t u = lv_f32_bits(x);
    /* exponent such that m = x / 2^e lies in [sqrt(1/2), sqrt(2)): 0x3f3504f3 is sqrt(1/2) */
    const int32_t e = (int32_t)(u - 0x3f3504f3u) >> 23;
    const double m = (double)lv_f32_from_bits(u - ((uint32_t)e << 23));
    /* log m = 2 atanh s = 2 (s + s^3/3 + s^5/5 + ...), |s| <= 0.1716 */
    const double s = (m - 1.0) / (m + 1.0);
    const double z = s * s;
    double p = 1.0 / 13;

    p = p * z + 1.0 / 11;
    p = p * z + 1.0 / 9;
    p = p * z + 1.0 / 7;
    p = p * z + 1.0 / 5;
    p = p * z + 1.0 / 3;
    p = p * z + 1.0;
    return (float)((double)e * 0x1.62e42fefa39efp-1 + 2.0 * s * p);
}

#endif
