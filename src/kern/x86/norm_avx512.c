/* Norm and the other simple passes over one row. */
#include "kern/vec.h"
#include "kern/x86/vec_avx512.h"

void lv_rms_norm_avx512(float *y, const float *x, const float *w, float eps, uint32_t n)
{
    __m512 sum = _mm512_setzero_ps();

    /* a lane beyond the end adds 0 * 0, which leaves a sum of squares as it is */
    for (uint32_t i = 0; i < n; i += 16) {
        const __m512 v = _mm512_maskz_loadu_ps(lv_mask_avx512(n - i), x + i);
        sum = _mm512_fmadd_ps(v, v, sum);
    }
    const __m512 r = _mm512_set1_ps(1.0f / sqrtf(lv_reduce16_avx512(sum) / (float)n + eps));
    for (uint32_t i = 0; i < n; i += 16) {
        const __mmask16 m = lv_mask_avx512(n - i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), r);

        if (w)
            v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, w + i));
        _mm512_mask_storeu_ps(y + i, m, v);
    }
}

void lv_add_avx512(float *y, const float *a, const float *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 16) {
        const __mmask16 m = lv_mask_avx512(n - i);
        _mm512_mask_storeu_ps(y + i, m,
                              _mm512_add_ps(_mm512_maskz_loadu_ps(m, a + i), _mm512_maskz_loadu_ps(m, b + i)));
    }
}

void lv_scale_avx512(float *y, float s, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 16) {
        const __mmask16 m = lv_mask_avx512(n - i);
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(_mm512_maskz_loadu_ps(m, y + i), _mm512_set1_ps(s)));
    }
}

static void rope_neox(float *x, const float *cs, uint32_t half)
{
    for (uint32_t i = 0; i < half; i += 16) {
        const __mmask16 m = lv_mask_avx512(half - i);
        const __m512 a = _mm512_maskz_loadu_ps(m, x + i), b = _mm512_maskz_loadu_ps(m, x + half + i);
        const __m512 c = _mm512_maskz_loadu_ps(m, cs + i), s = _mm512_maskz_loadu_ps(m, cs + half + i);

        _mm512_mask_storeu_ps(x + i, m, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
        _mm512_mask_storeu_ps(x + half + i, m, _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c)));
    }
}

static void rope_pairs(float *x, const float *cs, uint32_t half)
{
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    const __m512i lo = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i hi = _mm512_add_epi32(lo, _mm512_set1_epi32(8));

    for (uint32_t i = 0; i < half; i += 16) {
        const uint32_t left = half - i;
        const __mmask16 m = lv_mask_avx512(left), m0 = lv_mask_avx512(2 * left);
        const __mmask16 m1 = left > 8 ? lv_mask_avx512(2 * left - 16) : 0;
        float *x0 = x + 2 * i, *x1 = m1 ? x0 + 16 : x0;
        const __m512 v0 = _mm512_maskz_loadu_ps(m0, x0), v1 = _mm512_maskz_loadu_ps(m1, x1);
        const __m512 a = _mm512_permutex2var_ps(v0, even, v1), b = _mm512_permutex2var_ps(v0, odd, v1);
        const __m512 c = _mm512_maskz_loadu_ps(m, cs + i), s = _mm512_maskz_loadu_ps(m, cs + half + i);
        const __m512 ra = _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s));
        const __m512 rb = _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c));

        _mm512_mask_storeu_ps(x0, m0, _mm512_permutex2var_ps(ra, lo, rb));
        _mm512_mask_storeu_ps(x1, m1, _mm512_permutex2var_ps(ra, hi, rb));
    }
}

void lv_rope_avx512(float *x, const float *cs, uint32_t n_rot, bool neox)
{
    if (neox)
        rope_neox(x, cs, n_rot / 2);
    else
        rope_pairs(x, cs, n_rot / 2);
}

void lv_f16_from_f32_avx512(uint16_t *dst, const float *src, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 16) {
        const __mmask16 m = lv_mask_avx512(n - i);
        const __m512 v = _mm512_maskz_loadu_ps(m, src + i);

        _mm256_mask_storeu_epi16(dst + i, m, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
}
