/* Natural logarithm and exponential with the same bits on every machine.
 *
 * A libm may round either way, and then the same seed would draw another token elsewhere. Here only IEEE
 * additions, multiplications, divisions and bit patterns are used, in one order. That needs -ffp-contract=off and
 * no extended precision, which cmake/flags.cmake and the 64-bit ABIs give. Both are within 2 ulp. */
#ifndef LV_BASE_LOG_MATH_H
#define LV_BASE_LOG_MATH_H

#include <stdint.h>
#include <string.h>

#define LV_LN2_HI 0x1.62e42fee00000p-1 /* 32 bits: times an exponent it stays exact */
#define LV_LN2_LO 0x1.a39ef35793c76p-33

static inline double lv_f64_from_bits(uint64_t u)
{
    double d;
    memcpy(&d, &u, sizeof d);
    return d;
}

static inline uint64_t lv_f64_bits(double d)
{
    uint64_t u;
    memcpy(&u, &d, sizeof u);
    return u;
}

/* log(x); -inf for 0, NaN below 0. */
static inline double lv_log_f64(double x)
{
    const double inf = lv_f64_from_bits(UINT64_C(0x7ff0000000000000));
    int e = 0;

    if (!(x > 0.0) || x == inf) { /* 0, negative, NaN, infinity */
        if (x == 0.0)
            return -inf;
        return x < 0.0 ? lv_f64_from_bits(UINT64_C(0x7ff8000000000000)) : x;
    }
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        e = -54;
    }
    /* x = m * 2^e with m in [sqrt(1/2), sqrt(2)): log(x) = e * log(2) + 2 * artanh(s), s = (m - 1) / (m + 1). */
    const uint64_t u = lv_f64_bits(x);
    double m = lv_f64_from_bits((u & UINT64_C(0x000fffffffffffff)) | UINT64_C(0x3ff0000000000000));

    e += (int)(u >> 52) - 1023;
    if (m > 0x1.6a09e667f3bcdp+0) {
        m *= 0.5;
        e++;
    }
    const double f = m - 1.0; /* exact */
    const double s = f / (m + 1.0);
    const double z = s * s; /* <= 0.02944: the first term left out is below 2^-60 of the sum */
    double p = 1.0 / 23.0;

    p = p * z + 1.0 / 21.0;
    p = p * z + 1.0 / 19.0;
    p = p * z + 1.0 / 17.0;
    p = p * z + 1.0 / 15.0;
    p = p * z + 1.0 / 13.0;
    p = p * z + 1.0 / 11.0;
    p = p * z + 1.0 / 9.0;
    p = p * z + 1.0 / 7.0;
    p = p * z + 1.0 / 5.0;
    p = p * z + 1.0 / 3.0;
    /* 2s = f - s * f, so log(m) = f - s * (f - 2 * s * z * p'), with the large part f exact. */
    const double tail = 2.0 * s * (z * p);
    const double low = (double)e * LV_LN2_LO + (tail - s * f);

    return (double)e * LV_LN2_HI + (f + low);
}

/* exp(x); 0 far below, +inf far above, NaN for NaN. */
static inline double lv_exp_f64(double x)
{
    if (!(x < 709.782712893384)) /* also NaN; the last double below gives a finite result */
        return x > 0.0 ? lv_f64_from_bits(UINT64_C(0x7ff0000000000000)) : x;
    if (x < -745.2)
        return 0.0;
    /* x = n * log(2) + r, |r| <= log(2) / 2, Taylor to r^13 (r^14 / 14! < 2^-57). */
    const double y = x * 0x1.71547652b82fep+0;
    const int n = (int)(y + (y < 0.0 ? -0.5 : 0.5));
    const double r = (x - (double)n * LV_LN2_HI) - (double)n * LV_LN2_LO;
    double p = 1.0 / 6227020800.0;

    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r * r + r + 1.0;
    /* 2^n in two factors, so that the ends of the range (n = 1024, subnormals) are formed too. */
    const int n1 = n / 2, n2 = n - n1;

    return p * lv_f64_from_bits((uint64_t)(n1 + 1023) << 52) * lv_f64_from_bits((uint64_t)(n2 + 1023) << 52);
}

#endif
