#include <float.h>

#include "kern/unroll.h"
#include "kern/arm/vec_neon.h"
#include "kern/vec.h"

static void quantize_32(const float *x, int8_t *q, float *d, float *sd, int16_t *s16)
{
    uint32x4_t m = vdupq_n_u32(0);
    float32x4_t v[8];

    LV_UNROLL
    for (int i = 0; i < 8; i++) {
        v[i] = vld1q_f32(x + 4 * i);
        m = vmaxq_u32(m, vreinterpretq_u32_f32(vabsq_f32(v[i])));
    }
    const uint32_t amax_bits = vmaxvq_u32(m);
    const float amax = lv_f32_from_bits(amax_bits);

    if (amax_bits >= 0x7f800000u) { /* infinite or NaN: see the reference */
        memset(q, 0, 32);
        *d = *sd = NAN;
        s16[0] = s16[1] = 0;
        return;
    }
    float id = amax > 0.0f ? 127.0f / amax : 0.0f;
    if (id > FLT_MAX)
        id = 0.0f;
    LV_UNROLL
    for (int h = 0; h < 2; h++) {
        int32x4_t w[4];

        LV_UNROLL
        for (int i = 0; i < 4; i++) /* to nearest even, whatever the rounding mode */
            w[i] = vcvtnq_s32_f32(vmulq_n_f32(v[4 * h + i], id));
        const int16x8_t a = vcombine_s16(vmovn_s32(w[0]), vmovn_s32(w[1]));
        const int16x8_t b = vcombine_s16(vmovn_s32(w[2]), vmovn_s32(w[3]));

        vst1q_s8(q + 16 * h, vcombine_s8(vmovn_s16(a), vmovn_s16(b)));
        s16[h] = vaddvq_s16(vaddq_s16(a, b));
    }
    *d = amax / 127.0f;
    *sd = *d * (float)(s16[0] + s16[1]);
}

void lv_quantize_neon(const struct lv_act *x, uint32_t t0, uint32_t n, uint32_t c0, uint32_t n_c)
{
    for (size_t t = t0; t < (size_t)t0 + n; t++) {
        for (size_t c = c0; c < (size_t)c0 + n_c; c += 32) {
            const size_t i_blk = (t * x->n_cols + c) / 32;
            quantize_32(x->f + t * x->stride_f + c, x->q + i_blk * 32, x->d + i_blk, x->sd + i_blk, x->s16 + i_blk * 2);
        }
    }
}
