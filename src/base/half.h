/* f16 and bf16 as bits. The conversions are exact or rounded to nearest even, as
 * the hardware does, so every level agrees. */
#ifndef LV_BASE_HALF_H
#define LV_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float lv_f32_from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint32_t lv_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float lv_f32_from_bf16(uint16_t h)
{
    return lv_f32_from_bits((uint32_t)h << 16);
}

static inline float lv_f32_from_f16(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    const uint32_t mag = h & 0x7fffu;

    if (mag >= 0x7c00u) /* infinity, NaN (made quiet) */
        return lv_f32_from_bits(sign | 0x7f800000u | (mag & 0x3ffu) << 13 | (mag > 0x7c00u ? 0x400000u : 0));
    if (mag < 0x400u) { /* zero and subnormals: mag * 2^-24, exact */
        const float f = (float)mag * 0x1p-24f;
        return lv_f32_from_bits(sign | lv_f32_bits(f));
    }
    return lv_f32_from_bits(sign | ((mag << 13) + 0x38000000u));
}

static inline uint16_t lv_f16_from_f32(float f)
{
    const uint32_t u = lv_f32_bits(f);
    const uint32_t sign = u >> 16 & 0x8000u;
    const uint32_t mag = u & 0x7fffffffu;

    if (mag > 0x7f800000u) /* NaN: quiet, payload cut */
        return (uint16_t)(sign | 0x7e00u | (mag >> 13 & 0x3ffu));
    if (mag >= 0x477ff000u) /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7c00u);
    if (mag < 0x38800000u) { /* subnormal: let the FPU round at 2^-24 */
        const float r = lv_f32_from_bits(mag) + 0.5f; /* ulp of 0.5 is 2^-24 */
        return (uint16_t)(sign | (lv_f32_bits(r) - 0x3f000000u));
    }
    return (uint16_t)(sign | ((mag - 0x38000000u + 0xfffu + (mag >> 13 & 1u)) >> 13));
}

#endif
