/* Pieces shared by the AVX-512 vector kernels: 16 lanes are one register; row ends load and store by
 * mask and touch no byte outside the row. */
#ifndef LV_KERN_X86_VEC_AVX512_H
#define LV_KERN_X86_VEC_AVX512_H

#include <immintrin.h>

#include "kern/ref/exp.h"

/* The first min(n, 16) lanes. */
static inline __mmask16 lv_mask_avx512(uint32_t n)
{
    return (__mmask16)(n >= 16 ? 0xffff : (1u << n) - 1);
}

/* lv_reduce16 of the lanes of v. */
static inline float lv_reduce16_avx512(__m512 v)
{
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));

    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

/* lv_exp in each lane. max(a, b) and min(a, b) give b when one is NaN, as the conditions in lv_exp do. */
static inline __m512 lv_exp_avx512(__m512 x)
{
    const __m512 c = _mm512_min_ps(_mm512_set1_ps(LV_EXP_MAX), _mm512_max_ps(_mm512_set1_ps(LV_EXP_MIN), x));
    const __m512 t = _mm512_fmadd_ps(c, _mm512_set1_ps(LV_EXP_LOG2E), _mm512_set1_ps(LV_EXP_MAGIC));
    const __m512 k = _mm512_sub_ps(t, _mm512_set1_ps(LV_EXP_MAGIC));
    __m512 r = _mm512_fmadd_ps(k, _mm512_set1_ps(-LV_EXP_LN2_HI), c);
    r = _mm512_fmadd_ps(k, _mm512_set1_ps(-LV_EXP_LN2_LO), r);

    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(LV_EXP_C6), r, _mm512_set1_ps(LV_EXP_C5));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(LV_EXP_C4));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(LV_EXP_C3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(LV_EXP_C2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.0f));
    return _mm512_mul_ps(p, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(t), 23)));
}

#endif
