/* Norm and the other simple passes over one row. */
#include <string.h>

#include "kern/vec.h"
#include "kern/x86/vec_avx2.h"

void lv_rms_norm_avx2(float *y, const float *x, const float *w, float eps, uint32_t n)
{
    __m256 lo = _mm256_setzero_ps(), hi = lo;
    uint32_t i = 0;

    /* a lane beyond the end adds 0 * 0, which leaves a sum of squares as it is */
    for (; i + 16 <= n; i += 16) {
        const __m256 v0 = _mm256_loadu_ps(x + i), v1 = _mm256_loadu_ps(x + i + 8);
        lo = _mm256_fmadd_ps(v0, v0, lo);
        hi = _mm256_fmadd_ps(v1, v1, hi);
    }
    if (i < n) {
        const __m256 v0 = lv_load_avx2(x + i, n - i);
        lo = _mm256_fmadd_ps(v0, v0, lo);
    }
    if (i + 8 < n) {
        const __m256 v1 = lv_load_avx2(x + i + 8, n - i - 8);
        hi = _mm256_fmadd_ps(v1, v1, hi);
    }
    const __m256 r = _mm256_set1_ps(1.0f / sqrtf(lv_reduce16_avx2(lo, hi) / (float)n + eps));
    for (i = 0; i < n; i += 8) {
        __m256 v = _mm256_mul_ps(lv_load_avx2(x + i, n - i), r);
        if (w)
            v = _mm256_mul_ps(v, lv_load_avx2(w + i, n - i));
        lv_store_avx2(y + i, n - i, v);
    }
}

void lv_add_avx2(float *y, const float *a, const float *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 8)
        lv_store_avx2(y + i, n - i, _mm256_add_ps(lv_load_avx2(a + i, n - i), lv_load_avx2(b + i, n - i)));
}

void lv_scale_avx2(float *y, float s, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 8)
        lv_store_avx2(y + i, n - i, _mm256_mul_ps(lv_load_avx2(y + i, n - i), _mm256_set1_ps(s)));
}

static void rope_neox(float *x, const float *cs, uint32_t half)
{
    for (uint32_t i = 0; i < half; i += 8) {
        const uint32_t left = half - i;
        const __m256 a = lv_load_avx2(x + i, left), b = lv_load_avx2(x + half + i, left);
        const __m256 c = lv_load_avx2(cs + i, left), s = lv_load_avx2(cs + half + i, left);

        lv_store_avx2(x + i, left, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        lv_store_avx2(x + half + i, left, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
    }
}

static void rope_pairs(float *x, const float *cs, uint32_t half)
{
    for (uint32_t i = 0; i < half; i += 8) {
        const uint32_t left = half - i, left_hi = left > 4 ? 2 * left - 8 : 0;
        float *x0 = x + 2 * i, *x1 = x0 + 8;
        const __m256 v0 = lv_load_avx2(x0, 2 * left);
        const __m256 v1 = left_hi ? lv_load_avx2(x1, left_hi) : _mm256_setzero_ps();
        /* firsts and seconds of the pairs in the order 0 1 4 5 2 3 6 7, and the angles alike */
        const __m256 a = _mm256_shuffle_ps(v0, v1, 0x88), b = _mm256_shuffle_ps(v0, v1, 0xdd);
        const __m256d c4 = _mm256_castps_pd(lv_load_avx2(cs + i, left));
        const __m256d s4 = _mm256_castps_pd(lv_load_avx2(cs + half + i, left));
        const __m256 c = _mm256_castpd_ps(_mm256_permute4x64_pd(c4, 0xd8));
        const __m256 s = _mm256_castpd_ps(_mm256_permute4x64_pd(s4, 0xd8));
        const __m256 ra = _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s));
        const __m256 rb = _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c));

        lv_store_avx2(x0, 2 * left, _mm256_unpacklo_ps(ra, rb));
        if (left_hi)
            lv_store_avx2(x1, left_hi, _mm256_unpackhi_ps(ra, rb));
    }
}

void lv_rope_avx2(float *x, const float *cs, uint32_t n_rot, bool neox)
{
    if (neox)
        rope_neox(x, cs, n_rot / 2);
    else
        rope_pairs(x, cs, n_rot / 2);
}

void lv_f16_from_f32_avx2(uint16_t *dst, const float *src, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 8) {
        const uint32_t left = n - i;
        const __m128i h = _mm256_cvtps_ph(lv_load_avx2(src + i, left), _MM_FROUND_TO_NEAREST_INT);

        if (left >= 8)
            _mm_storeu_si128((__m128i *)(void *)(dst + i), h);
        else
            memcpy(dst + i, &h, left * sizeof *dst);
    }
}
