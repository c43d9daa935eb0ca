#include <arm_neon.h>

#include "kern/unroll.h"
#include "kern/probe.h"

#define N_ACC 16

static uint64_t mac_dotprod(uint64_t n)
{
    const int8x16_t w = vdupq_n_s8(5), x = vdupq_n_s8(3);
    int32x4_t acc[N_ACC];

    LV_UNROLL
    for (int k = 0; k < N_ACC; k++)
        acc[k] = vdupq_n_s32(k);
    for (uint64_t i = 0; i < n; i++) {
        LV_UNROLL
        for (int k = 0; k < N_ACC; k++)
            acc[k] = vdotq_s32(acc[k], w, x);
    }
    LV_UNROLL
    for (int k = 1; k < N_ACC; k++)
        acc[0] = vaddq_s32(acc[0], acc[k]);
    return (uint64_t)vaddvq_s32(acc[0]);
}

void lv_probe_init_dotprod(struct lv_probe *p)
{
    p->mac_name = "sdot";
    p->mac = mac_dotprod;
    p->mac_per_round = N_ACC * 16;
}
