/* Float weights: 32 rows as two vectors of 16, one fused multiply-add a column, 1 to 8 tokens a tile. */
#include <immintrin.h>

#include "kern/gemm_list.h"
#include "kern/r32.h"

#define INLINE static inline __attribute__((always_inline))
#define TILE_TOK 8
#define AHEAD_BYTES 3072

INLINE __m512 weights(enum lv_type type, const uint8_t *p, uint32_t h)
{
    if (type == LV_TYPE_F32)
        return _mm512_loadu_ps(p + 64 * h);
    const __m256i v = _mm256_loadu_si256((const void *)(p + 32 * h));

    if (type == LV_TYPE_F16)
        return _mm512_cvtph_ps(v);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}

INLINE void tile(enum lv_type type, uint32_t n_tok, float *y, size_t stride_y, const uint8_t *group,
                 const struct lv_act *x, uint32_t t0)
{
    const uint32_t line_bytes = LV_GROUP_ROWS * lv_r32_block_bytes(type);
    const float *f[TILE_TOK];
    __m512 acc[TILE_TOK][2];

    for (uint32_t t = 0; t < n_tok; t++) {
        acc[t][0] = acc[t][1] = _mm512_setzero_ps();
        f[t] = x->f + (t0 + t) * x->stride_f;
    }
    for (uint32_t k = 0; k < x->n_cols; k++) {
        const uint8_t *p = group + (size_t)k * line_bytes;
        const __m512 w0 = weights(type, p, 0), w1 = weights(type, p, 1);

        for (uint32_t i = 0; i < line_bytes; i += 64)
            _mm_prefetch((const char *)p + AHEAD_BYTES + i, _MM_HINT_T0);
        for (uint32_t t = 0; t < n_tok; t++) {
            const __m512 xk = _mm512_set1_ps(f[t][k]);

            acc[t][0] = _mm512_fmadd_ps(w0, xk, acc[t][0]);
            acc[t][1] = _mm512_fmadd_ps(w1, xk, acc[t][1]);
        }
    }
    for (uint32_t t = 0; t < n_tok; t++) {
        _mm512_storeu_ps(y + t * stride_y, acc[t][0]);
        _mm512_storeu_ps(y + t * stride_y + 16, acc[t][1]);
    }
}

INLINE void gemm(enum lv_type type, float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x,
                 uint32_t t0, uint32_t n_tok)
{
    for (uint32_t n_tile = (n_tok + TILE_TOK - 1) / TILE_TOK; n_tile; n_tile--) {
        const uint32_t n = (n_tok + n_tile - 1) / n_tile;

        switch (n) {
        case 1: tile(type, 1, y, stride_y, group, x, t0); break;
        case 2: tile(type, 2, y, stride_y, group, x, t0); break;
        case 3: tile(type, 3, y, stride_y, group, x, t0); break;
        case 4: tile(type, 4, y, stride_y, group, x, t0); break;
        case 5: tile(type, 5, y, stride_y, group, x, t0); break;
        case 6: tile(type, 6, y, stride_y, group, x, t0); break;
        case 7: tile(type, 7, y, stride_y, group, x, t0); break;
        default: tile(type, 8, y, stride_y, group, x, t0); break;
        }
        y += n * stride_y;
        t0 += n;
        n_tok -= n;
    }
}

#define LV_X(TYPE, name)                                                                                  \
    void lv_gemm_##name##_avx512(float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x, \
                                 uint32_t t0, uint32_t n_tok)                                             \
    {                                                                                                     \
        gemm(LV_TYPE_##TYPE, y, stride_y, group, x, t0, n_tok);                                           \
    }
LV_KERN_FLOAT_TYPES(LV_X)
#undef LV_X
