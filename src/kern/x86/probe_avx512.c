#include <immintrin.h>

#include "kern/probe.h"
#include "kern/unroll.h"

#define N_ACC 16

static uint64_t fold(__m512i v)
{
    uint64_t w[8];

    _mm512_storeu_si512(w, v);
    return w[0] + w[1] + w[2] + w[3] + w[4] + w[5] + w[6] + w[7];
}

static uint64_t read_avx512(const uint8_t *p, uint64_t bytes, uint64_t ahead)
{
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    uint64_t i = 0;

    for (; i + 256 <= bytes; i += 256) {
        if (ahead)
            for (uint64_t k = 0; k < 256; k += 64)
                _mm_prefetch((const char *)p + i + ahead + k, _MM_HINT_T0);
        a = _mm512_xor_si512(a, _mm512_loadu_si512(p + i));
        b = _mm512_xor_si512(b, _mm512_loadu_si512(p + i + 64));
        c = _mm512_xor_si512(c, _mm512_loadu_si512(p + i + 128));
        d = _mm512_xor_si512(d, _mm512_loadu_si512(p + i + 192));
    }
    for (; i + 64 <= bytes; i += 64)
        a = _mm512_xor_si512(a, _mm512_loadu_si512(p + i));
    a = _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d));
    return fold(a);
}

static uint64_t fma_avx512(uint64_t n)
{
    const __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
    __m512 acc[N_ACC];

    LV_UNROLL
    for (int k = 0; k < N_ACC; k++)
        acc[k] = _mm512_set1_ps((float)k);
    for (uint64_t i = 0; i < n; i++) {
        LV_UNROLL
        for (int k = 0; k < N_ACC; k++)
            acc[k] = _mm512_fmadd_ps(acc[k], a, b);
    }
    LV_UNROLL
    for (int k = 1; k < N_ACC; k++)
        acc[0] = _mm512_add_ps(acc[0], acc[k]);
    return fold(_mm512_castps_si512(acc[0]));
}

static uint64_t mac_avx512vnni(uint64_t n)
{
    const __m512i w = _mm512_set1_epi8(5), x = _mm512_set1_epi8(3);
    __m512i acc[N_ACC];

    LV_UNROLL
    for (int k = 0; k < N_ACC; k++)
        acc[k] = _mm512_set1_epi32(k);
    for (uint64_t i = 0; i < n; i++) {
        LV_UNROLL
        for (int k = 0; k < N_ACC; k++)
            acc[k] = _mm512_dpbusd_epi32(acc[k], w, x);
    }
    LV_UNROLL
    for (int k = 1; k < N_ACC; k++)
        acc[0] = _mm512_add_epi32(acc[0], acc[k]);
    return fold(acc[0]);
}

void lv_probe_init_avx512(struct lv_probe *p)
{
    p->read = read_avx512;
    p->fma_name = "vfmadd zmm";
    p->fma = fma_avx512;
    p->fma_per_round = N_ACC * 16;
}

void lv_probe_init_avx512vnni(struct lv_probe *p)
{
    p->mac_name = "vpdpbusd zmm";
    p->mac = mac_avx512vnni;
    p->mac_per_round = N_ACC * 64;
}
