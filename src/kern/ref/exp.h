/* exp of f32, the only one in Lever: the x86 versions (x86/exp_*.h) do these very operations in
 * each lane, so a token cannot depend on the instruction set or on the C library.
 *
 * accuracy: 0.9 ulp where the result is at least 1.67e-38; below (x < -86.99) the result is 0, so no result is
 * ever subnormal (those cost a hundred cycles each). exp(-inf) = 0, above 88.7228 +inf, NaN stays NaN. */
#ifndef LV_KERN_REF_EXP_H
#define LV_KERN_REF_EXP_H

#include <math.h>

#include "base/half.h"

#define LV_EXP_MIN   (-87.5f) /* clamps: exponent -126, which becomes a factor 0, ... */
#define LV_EXP_MAX   89.0f    /* ... and 128, which overflows by itself */
#define LV_EXP_LOG2E 0x1.715476p+0f
/* 1.5 * 2^23 + 126: adding it rounds to an integer k and leaves k + 126 in the low bits. */
#define LV_EXP_MAGIC  12583038.0f
#define LV_EXP_LN2_HI 0x1.62e43p-1f
#define LV_EXP_LN2_LO (-0x1.05c61p-29f)
/* 2 * exp(r) on |r| <= ln(2) / 2: Taylor's first two terms, then a minimax fit of the relative error
 * (3.2e-9), each coefficient rounded to f32 before the next ones were fitted. Twice the exponential,
 * because then 2^(k - 1) reaches the largest finite results and is a normal number for the least. */
#define LV_EXP_C2 0x1.fffffcp-1f
#define LV_EXP_C3 0x1.555492p-2f
#define LV_EXP_C4 0x1.5558acp-4f
#define LV_EXP_C5 0x1.12397cp-6f
#define LV_EXP_C6 0x1.6a5132p-9f

static inline float lv_exp(float x)
{
    float c = LV_EXP_MIN > x ? LV_EXP_MIN : x; /* NaN passes both clamps */
    c = LV_EXP_MAX < c ? LV_EXP_MAX : c;

    const float t = fmaf(c, LV_EXP_LOG2E, LV_EXP_MAGIC);
    const float k = t - LV_EXP_MAGIC;
    float r = fmaf(k, -LV_EXP_LN2_HI, c); /* exact */
    r = fmaf(k, -LV_EXP_LN2_LO, r);

    float p = fmaf(LV_EXP_C6, r, LV_EXP_C5);
    p = fmaf(p, r, LV_EXP_C4);
    p = fmaf(p, r, LV_EXP_C3);
    p = fmaf(p, r, LV_EXP_C2);
    p = fmaf(p, r, 2.0f);
    p = fmaf(p, r, 2.0f);
    return p * lv_f32_from_bits(lv_f32_bits(t) << 23); /* 2^(k - 1) */
}

#endif
