#include <immintrin.h>

#include "kern/probe.h"
#include "kern/unroll.h"

#define N_ACC 12 /* independent sums: latency 4 at 2 a cycle needs 8, a few more hide the loop */
#define N_MAC 8  /* here only the last addition waits for the one before; more would not fit the registers */

/* The compiler must take x for changed: products of constants would be computed once. */
#define KEEP(x) __asm__ volatile("" : "+x"(x))

static uint64_t fold(__m256i v)
{
    uint64_t w[4];

    _mm256_storeu_si256((__m256i *)(void *)w, v);
    return w[0] + w[1] + w[2] + w[3];
}

static uint64_t read_avx2(const uint8_t *p, uint64_t bytes, uint64_t ahead)
{
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    uint64_t i = 0;

    for (; i + 128 <= bytes; i += 128) {
        if (ahead) {
            _mm_prefetch((const char *)p + i + ahead, _MM_HINT_T0);
            _mm_prefetch((const char *)p + i + ahead + 64, _MM_HINT_T0);
        }
        a = _mm256_xor_si256(a, _mm256_loadu_si256((const __m256i *)(const void *)(p + i)));
        b = _mm256_xor_si256(b, _mm256_loadu_si256((const __m256i *)(const void *)(p + i + 32)));
        c = _mm256_xor_si256(c, _mm256_loadu_si256((const __m256i *)(const void *)(p + i + 64)));
        d = _mm256_xor_si256(d, _mm256_loadu_si256((const __m256i *)(const void *)(p + i + 96)));
    }
    for (; i + 32 <= bytes; i += 32)
        a = _mm256_xor_si256(a, _mm256_loadu_si256((const __m256i *)(const void *)(p + i)));
    return fold(_mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d)));
}

/* Bytes to 16-bit pairs, pairs to 32-bit sums, added: the shortest way without a dot product instruction. */
static uint64_t mac_avx2(uint64_t n)
{
    const __m256i ones = _mm256_set1_epi16(1), x = _mm256_set1_epi8(3);
    __m256i acc[N_MAC], w = _mm256_set1_epi8(5);

    LV_UNROLL
    for (int k = 0; k < N_MAC; k++)
        acc[k] = _mm256_set1_epi32(k);
    for (uint64_t i = 0; i < n; i++) {
        LV_UNROLL
        for (int k = 0; k < N_MAC; k++) {
            __m256i pairs;

            KEEP(w);
            pairs = _mm256_maddubs_epi16(w, x);
            acc[k] = _mm256_add_epi32(acc[k], _mm256_madd_epi16(pairs, ones));
        }
    }
    LV_UNROLL
    for (int k = 1; k < N_MAC; k++)
        acc[0] = _mm256_add_epi32(acc[0], acc[k]);
    return fold(acc[0]);
}

static uint64_t fma_avx2(uint64_t n)
{
    const __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
    __m256 acc[N_ACC];

    LV_UNROLL
    for (int k = 0; k < N_ACC; k++)
        acc[k] = _mm256_set1_ps((float)k);
    for (uint64_t i = 0; i < n; i++) {
        LV_UNROLL
        for (int k = 0; k < N_ACC; k++)
            acc[k] = _mm256_fmadd_ps(acc[k], a, b);
    }
    LV_UNROLL
    for (int k = 1; k < N_ACC; k++)
        acc[0] = _mm256_add_ps(acc[0], acc[k]);
    return fold(_mm256_castps_si256(acc[0]));
}

void lv_probe_init_avx2(struct lv_probe *p)
{
    p->mac_name = "vpmaddubsw ymm";
    p->fma_name = "vfmadd ymm";
    p->read = read_avx2;
    p->mac = mac_avx2;
    p->fma = fma_avx2;
    p->mac_per_round = N_MAC * 32;
    p->fma_per_round = N_ACC * 8;
}
