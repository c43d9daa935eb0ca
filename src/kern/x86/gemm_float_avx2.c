/* Float weights: 32 rows as four vectors of 8, one fused multiply-add a column, 1 or 2 tokens a tile. */
#include <immintrin.h>

#include "kern/gemm_list.h"
#include "kern/r32.h"

#define INLINE static inline __attribute__((always_inline))
#define AHEAD_BYTES 3072

INLINE __m256 weights(enum lv_type type, const uint8_t *p, uint32_t i)
{
    if (type == LV_TYPE_F32)
        return _mm256_loadu_ps((const float *)(const void *)(p + 32 * i));
    const __m128i v = _mm_loadu_si128((const void *)(p + 16 * i));

    if (type == LV_TYPE_F16)
        return _mm256_cvtph_ps(v);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}

INLINE void tile(enum lv_type type, uint32_t n_tok, float *y, size_t stride_y, const uint8_t *group,
                 const struct lv_act *x, uint32_t t0)
{
    const uint32_t line_bytes = LV_GROUP_ROWS * lv_r32_block_bytes(type);
    const float *f[2];
    __m256 acc[2][4];

    for (uint32_t t = 0; t < n_tok; t++) {
        f[t] = x->f + (t0 + t) * x->stride_f;
        for (uint32_t i = 0; i < 4; i++)
            acc[t][i] = _mm256_setzero_ps();
    }
    for (uint32_t k = 0; k < x->n_cols; k++) {
        const uint8_t *p = group + (size_t)k * line_bytes;

        for (uint32_t i = 0; i < line_bytes; i += 64)
            _mm_prefetch((const char *)p + AHEAD_BYTES + i, _MM_HINT_T0);
        for (uint32_t i = 0; i < 4; i++) {
            const __m256 w = weights(type, p, i);

            for (uint32_t t = 0; t < n_tok; t++)
                acc[t][i] = _mm256_fmadd_ps(w, _mm256_set1_ps(f[t][k]), acc[t][i]);
        }
    }
    for (uint32_t t = 0; t < n_tok; t++)
        for (uint32_t i = 0; i < 4; i++)
            _mm256_storeu_ps(y + t * stride_y + 8 * i, acc[t][i]);
}

INLINE void gemm(enum lv_type type, float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x,
                 uint32_t t0, uint32_t n_tok)
{
    uint32_t t = 0;

    for (; t + 2 <= n_tok; t += 2)
        tile(type, 2, y + t * stride_y, stride_y, group, x, t0 + t);
    if (t < n_tok)
        tile(type, 1, y + t * stride_y, stride_y, group, x, t0 + t);
}

#define LV_X(TYPE, name)                                                                                \
    void lv_gemm_##name##_avx2(float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x, \
                               uint32_t t0, uint32_t n_tok)                                             \
    {                                                                                                   \
        gemm(LV_TYPE_##TYPE, y, stride_y, group, x, t0, n_tok);                                         \
    }
LV_KERN_FLOAT_TYPES(LV_X)
#undef LV_X
