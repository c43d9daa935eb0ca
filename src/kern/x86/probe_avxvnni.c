#include <immintrin.h>

#include "kern/probe.h"
#include "kern/unroll.h"

#define N_ACC 12

static uint64_t mac_avxvnni(uint64_t n)
{
    const __m256i w = _mm256_set1_epi8(5), x = _mm256_set1_epi8(3);
    __m256i acc[N_ACC];
    uint64_t out[4];

    LV_UNROLL
    for (int k = 0; k < N_ACC; k++)
        acc[k] = _mm256_set1_epi32(k);
    for (uint64_t i = 0; i < n; i++) {
        LV_UNROLL
        for (int k = 0; k < N_ACC; k++)
            acc[k] = _mm256_dpbusd_avx_epi32(acc[k], w, x);
    }
    LV_UNROLL
    for (int k = 1; k < N_ACC; k++)
        acc[0] = _mm256_add_epi32(acc[0], acc[k]);
    _mm256_storeu_si256((__m256i *)(void *)out, acc[0]);
    return out[0] + out[1] + out[2] + out[3];
}

void lv_probe_init_avxvnni(struct lv_probe *p)
{
    p->mac_name = "vpdpbusd ymm";
    p->mac = mac_avxvnni;
    p->mac_per_round = N_ACC * 32;
}
