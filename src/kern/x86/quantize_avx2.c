#include <float.h>

#include "kern/vec.h"
#include "kern/x86/vec_avx2.h"

static __m256i max_magnitude(__m256i m, __m256 v)
{
    const __m256i mag = _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff));

    return _mm256_max_epi32(m, mag);
}

static void quantize_32(const float *x, int8_t *q, float *d, float *sd, int16_t *s16)
{
    const __m256 v0 = _mm256_loadu_ps(x), v1 = _mm256_loadu_ps(x + 8);
    const __m256 v2 = _mm256_loadu_ps(x + 16), v3 = _mm256_loadu_ps(x + 24);
    __m256i m = _mm256_setzero_si256();

    m = max_magnitude(max_magnitude(max_magnitude(max_magnitude(m, v0), v1), v2), v3);
    __m128i h = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    h = _mm_max_epi32(h, _mm_shuffle_epi32(h, 0x4e));
    h = _mm_max_epi32(h, _mm_shuffle_epi32(h, 0xb1));
    const uint32_t amax_bits = (uint32_t)_mm_cvtsi128_si32(h);
    const float amax = lv_f32_from_bits(amax_bits);

    if (amax_bits >= 0x7f800000u) { /* infinite or NaN: see the reference */
        _mm256_storeu_si256((__m256i *)(void *)q, _mm256_setzero_si256());
        *d = *sd = NAN;
        s16[0] = s16[1] = 0;
        return;
    }
    float id = amax > 0.0f ? 127.0f / amax : 0.0f;
    if (id > FLT_MAX)
        id = 0.0f;
    const __m256 vid = _mm256_set1_ps(id);
    const __m256i i0 = _mm256_cvtps_epi32(_mm256_mul_ps(v0, vid)), i1 = _mm256_cvtps_epi32(_mm256_mul_ps(v1, vid));
    const __m256i i2 = _mm256_cvtps_epi32(_mm256_mul_ps(v2, vid)), i3 = _mm256_cvtps_epi32(_mm256_mul_ps(v3, vid));
    /* packs work in 128-bit halves: groups of 4 come out as 0 2 4 6 1 3 5 7 */
    const __m256i p = _mm256_packs_epi16(_mm256_packs_epi32(i0, i1), _mm256_packs_epi32(i2, i3));
    const __m256i b = _mm256_permutevar8x32_epi32(p, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)q, b);

    /* sums of q + 128 over 8 bytes each */
    const __m256i s = _mm256_sad_epu8(_mm256_xor_si256(b, _mm256_set1_epi8(-128)), _mm256_setzero_si256());
    const __m256i t = _mm256_add_epi64(s, _mm256_shuffle_epi32(s, 0x4e));
    const int sum0 = _mm_cvtsi128_si32(_mm256_castsi256_si128(t)) - 16 * 128;
    const int sum1 = _mm_cvtsi128_si32(_mm256_extracti128_si256(t, 1)) - 16 * 128;
    *d = amax / 127.0f;
    *sd = *d * (float)(sum0 + sum1);
    s16[0] = (int16_t)sum0;
    s16[1] = (int16_t)sum1;
}

void lv_quantize_avx2(const struct lv_act *x, uint32_t t0, uint32_t n, uint32_t c0, uint32_t n_c)
{
    for (size_t t = t0; t < (size_t)t0 + n; t++) {
        for (size_t c = c0; c < (size_t)c0 + n_c; c += 32) {
            const size_t i_blk = (t * x->n_cols + c) / 32;
            quantize_32(x->f + t * x->stride_f + c, x->q + i_blk * 32, x->d + i_blk, x->sd + i_blk, x->s16 + i_blk * 2);
        }
    }
}
