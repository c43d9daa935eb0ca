#include <float.h>
#include <math.h>

#include "base/half.h"
#include "kern/vec.h"

/* Round to nearest even of |v| < 2^22, without the C library and its rounding mode. */
static float round_even(float v)
{
    return (v + 0x1.8p23f) - 0x1.8p23f;
}

/* The cases kern.h leaves open:
 *  - an infinite or NaN value: d = sd = NaN, q = 0, so every product with this row is NaN: never a silent number;
 *  - amax so small (below 3.8e-37) that 127 / amax overflows: q = 0. */
static void quantize_32(const float *x, int8_t *q, float *d, float *sd, int16_t *s16)
{
    uint32_t amax_bits = 0; /* magnitudes order as their bits, infinity and NaN last */
    int sum[2] = { 0, 0 };

    for (int i = 0; i < 32; i++) {
        const uint32_t mag = lv_f32_bits(x[i]) & 0x7fffffffu;
        if (mag > amax_bits)
            amax_bits = mag;
    }
    const bool finite = amax_bits < 0x7f800000u;
    const float amax = lv_f32_from_bits(amax_bits);
    float id = finite && amax > 0.0f ? 127.0f / amax : 0.0f;
    if (id > FLT_MAX)
        id = 0.0f;
    for (int i = 0; i < 32; i++) {
        q[i] = finite ? (int8_t)round_even(x[i] * id) : 0;
        sum[i / 16] += q[i];
    }
    *d = finite ? amax / 127.0f : NAN;
    *sd = *d * (float)(sum[0] + sum[1]);
    s16[0] = (int16_t)sum[0];
    s16[1] = (int16_t)sum[1];
}

void lv_quantize_ref(const struct lv_act *x, uint32_t t0, uint32_t n, uint32_t c0, uint32_t n_c)
{
    for (size_t t = t0; t < (size_t)t0 + n; t++) {
        for (size_t c = c0; c < (size_t)c0 + n_c; c += 32) {
            const size_t i_blk = (t * x->n_cols + c) / 32;
            quantize_32(x->f + t * x->stride_f + c, x->q + i_blk * 32, x->d + i_blk, x->sd + i_blk, x->s16 + i_blk * 2);
        }
    }
}
