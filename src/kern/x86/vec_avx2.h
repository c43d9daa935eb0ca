/* Pieces shared by the AVX2 vector kernels: 16 lanes are two registers, lanes 0-7 and 8-15; row ends
 * load and store by mask and touch no byte outside the row. */
#ifndef LV_KERN_X86_VEC_AVX2_H
#define LV_KERN_X86_VEC_AVX2_H

#include <immintrin.h>

#include "kern/ref/exp.h"

/* The first n lanes on, n < 8. */
static inline __m256i lv_tail_mask_avx2(uint32_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* p[0 .. min(n, 8) - 1], zeros above. */
static inline __m256 lv_load_avx2(const float *p, uint32_t n)
{
    return n >= 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, lv_tail_mask_avx2(n));
}

static inline void lv_store_avx2(float *p, uint32_t n, __m256 v)
{
    if (n >= 8)
        _mm256_storeu_ps(p, v);
    else
        _mm256_maskstore_ps(p, lv_tail_mask_avx2(n), v);
}

/* lv_reduce16 of lanes lo, hi. */
static inline float lv_reduce16_avx2(__m256 lo, __m256 hi)
{
    const __m256 a = _mm256_add_ps(lo, hi);
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));

    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

/* lv_exp in each lane. max(a, b) and min(a, b) give b when one is NaN, as the conditions in lv_exp do. */
static inline __m256 lv_exp_avx2(__m256 x)
{
    const __m256 c = _mm256_min_ps(_mm256_set1_ps(LV_EXP_MAX), _mm256_max_ps(_mm256_set1_ps(LV_EXP_MIN), x));
    const __m256 t = _mm256_fmadd_ps(c, _mm256_set1_ps(LV_EXP_LOG2E), _mm256_set1_ps(LV_EXP_MAGIC));
    const __m256 k = _mm256_sub_ps(t, _mm256_set1_ps(LV_EXP_MAGIC));
    __m256 r = _mm256_fmadd_ps(k, _mm256_set1_ps(-LV_EXP_LN2_HI), c);
    r = _mm256_fmadd_ps(k, _mm256_set1_ps(-LV_EXP_LN2_LO), r);

    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(LV_EXP_C6), r, _mm256_set1_ps(LV_EXP_C5));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(LV_EXP_C4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(LV_EXP_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(LV_EXP_C2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(2.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(2.0f));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(t), 23)));
}

#endif
