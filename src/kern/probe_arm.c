#include <arm_neon.h>

#include "kern/unroll.h"
#include "kern/probe.h"

#define N_ACC 16 /* independent sums: latency 4 at up to 4 a cycle */

/* The compiler must take x for changed. */
#define KEEP(x) __asm__ volatile("" : "+w"(x))

static uint64_t read_neon(const uint8_t *p, uint64_t bytes, uint64_t ahead)
{
    uint8x16_t a = vdupq_n_u8(0), b = a, c = a, d = a;

    for (uint64_t i = 0; i < bytes; i += 64) {
        if (ahead)
            __builtin_prefetch(p + i + ahead);
        a = veorq_u8(a, vld1q_u8(p + i));
        b = veorq_u8(b, vld1q_u8(p + i + 16));
        c = veorq_u8(c, vld1q_u8(p + i + 32));
        d = veorq_u8(d, vld1q_u8(p + i + 48));
    }
    return vaddvq_u64(vreinterpretq_u64_u8(veorq_u8(veorq_u8(a, b), veorq_u8(c, d))));
}

static uint64_t fma_neon(uint64_t n)
{
    const float32x4_t x = vdupq_n_f32(0.5f), y = vdupq_n_f32(0.25f);
    float32x4_t acc[N_ACC];

    LV_UNROLL
    for (int k = 0; k < N_ACC; k++)
        acc[k] = vdupq_n_f32((float)k);
    for (uint64_t i = 0; i < n; i++) {
        LV_UNROLL
        for (int k = 0; k < N_ACC; k++)
            acc[k] = vfmaq_f32(acc[k], x, y);
    }
    LV_UNROLL
    for (int k = 1; k < N_ACC; k++)
        acc[0] = vaddq_f32(acc[0], acc[k]);
    return vaddvq_u64(vreinterpretq_u64_f32(acc[0]));
}

/* Without a dot product instruction: 16-bit products, then pairs added to 32-bit sums. */
static uint64_t mac_neon(uint64_t n)
{
    int8x16_t w = vdupq_n_s8(5);
    const int8x16_t x = vdupq_n_s8(3);
    int32x4_t acc[N_ACC];

    LV_UNROLL
    for (int k = 0; k < N_ACC; k++)
        acc[k] = vdupq_n_s32(k);
    for (uint64_t i = 0; i < n; i++) {
        LV_UNROLL
        for (int k = 0; k < N_ACC; k++) {
            int16x8_t pairs;

            KEEP(w);
            pairs = vmull_s8(vget_low_s8(w), vget_low_s8(x));
            pairs = vmlal_high_s8(pairs, w, x);
            acc[k] = vpadalq_s16(acc[k], pairs);
        }
    }
    LV_UNROLL
    for (int k = 1; k < N_ACC; k++)
        acc[0] = vaddq_s32(acc[0], acc[k]);
    return (uint64_t)vaddvq_s32(acc[0]);
}

void lv_probe_init_neon(struct lv_probe *p)
{
    p->mac_name = "smull, smlal, sadalp";
    p->fma_name = "fmla 4s";
    p->read = read_neon;
    p->mac = mac_neon;
    p->fma = fma_neon;
    p->mac_per_round = N_ACC * 16;
    p->fma_per_round = N_ACC * 4;
}
