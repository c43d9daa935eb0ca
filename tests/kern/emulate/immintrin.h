/* Stands before the compiler's <immintrin.h> where AVX-512 kernels are compiled for tests without AVX-512: what AVX2 has
 * is real, all above comes from SIMDe, in 256-bit halves, or from below where SIMDe 0.7.4 lacks it. */
#ifndef LV_TESTS_EMULATE_IMMINTRIN_H
#define LV_TESTS_EMULATE_IMMINTRIN_H

#include_next <immintrin.h>

#if defined(__AVX512F__) || !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "to be compiled with -mavx2 -mfma -mf16c and nothing above"
#endif

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

/* The compiler's types of these names are other ones, and its functions need AVX-512. */
#define __m512 simde__m512
#define __m512i simde__m512i
#define __m512d simde__m512d

/* ---- what SIMDe 0.7.4 lacks -------------------------------------------------- */

static inline __m256 lv_emu_low_ps(__m512 v)
{
    return simde_mm512_castps512_ps256(v);
}

static inline __m256 lv_emu_high_ps(__m512 v)
{
    return simde__m512_to_private(v).m256[1];
}

static inline __m512 lv_emu_join_ps(__m256 low, __m256 high)
{
    simde__m512_private r;

    r.m256[0] = low;
    r.m256[1] = high;
    return simde__m512_from_private(r);
}

static inline __m256i lv_emu_half(__m512i v, int i)
{
    return simde__m512i_to_private(v).m256i[i];
}

static inline __m512i lv_emu_join(__m256i low, __m256i high)
{
    simde__m512i_private r;

    r.m256i[0] = low;
    r.m256i[1] = high;
    return simde__m512i_from_private(r);
}

/* Lanes 8 * i .. of a mask, all bits of a lane alike. */
static inline __m256i lv_emu_lanes(unsigned mask, int i)
{
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);

    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)(mask >> 8 * i & 255)), bit), bit);
}

static inline __m512 lv_emu_cvtepi32_ps(__m512i v)
{
    return lv_emu_join_ps(_mm256_cvtepi32_ps(lv_emu_half(v, 0)), _mm256_cvtepi32_ps(lv_emu_half(v, 1)));
}

static inline __m512i lv_emu_cvtps_epi32(__m512 v)
{
    return lv_emu_join(_mm256_cvtps_epi32(lv_emu_low_ps(v)), _mm256_cvtps_epi32(lv_emu_high_ps(v)));
}

static inline __m512 lv_emu_cvtph_ps(__m256i v)
{
    return lv_emu_join_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(v)), _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1)));
}

static inline __m512i lv_emu_cvtepu16_epi32(__m256i v)
{
    return lv_emu_join(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(v)),
                       _mm256_cvtepu16_epi32(_mm256_extracti128_si256(v, 1)));
}

/* Truncating, as the instruction: packus would saturate. */
static inline __m256i lv_emu_cvtepi32_epi16(__m512i v)
{
    const __m256i low = _mm256_set1_epi32(0xffff);

    return _mm256_permute4x64_epi64(_mm256_packus_epi32(_mm256_and_si256(lv_emu_half(v, 0), low),
                                                        _mm256_and_si256(lv_emu_half(v, 1), low)), 0xd8);
}

static inline __m128i lv_emu_cvtepi32_epi8(__m512i v)
{
    const __m256i w = _mm256_and_si256(lv_emu_cvtepi32_epi16(v), _mm256_set1_epi16(255));

    return _mm_packus_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
}

static inline __m512 lv_emu_maskz_loadu_ps(unsigned mask, const void *p)
{
    return lv_emu_join_ps(_mm256_maskload_ps(p, lv_emu_lanes(mask, 0)),
                          _mm256_maskload_ps((const float *)p + 8, lv_emu_lanes(mask, 1)));
}

static inline void lv_emu_mask_storeu_ps(void *p, unsigned mask, __m512 v)
{
    _mm256_maskstore_ps(p, lv_emu_lanes(mask, 0), lv_emu_low_ps(v));
    _mm256_maskstore_ps((float *)p + 8, lv_emu_lanes(mask, 1), lv_emu_high_ps(v));
}

static inline float lv_emu_reduce_max_ps(__m512 v)
{
    const __m256 a = _mm256_max_ps(lv_emu_low_ps(v), lv_emu_high_ps(v));
    const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));

    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

static inline __m512i lv_emu_srai_epi32(__m512i v, unsigned n)
{
    return lv_emu_join(_mm256_srai_epi32(lv_emu_half(v, 0), (int)n), _mm256_srai_epi32(lv_emu_half(v, 1), (int)n));
}

static inline __m256i lv_emu_cvtps_ph(__m512 v)
{
    const __m128i low = _mm256_cvtps_ph(lv_emu_low_ps(v), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m128i high = _mm256_cvtps_ph(lv_emu_high_ps(v), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);

    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

static inline void lv_emu_mask_storeu_epi16(void *p, unsigned mask, __m256i v)
{
    uint16_t lane[16];

    _mm256_storeu_si256((__m256i *)(void *)lane, v);
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            ((uint16_t *)p)[i] = lane[i];
}

static inline __m256 lv_emu_maskz_loadu8_ps(unsigned mask, const void *p)
{
    return _mm256_maskload_ps(p, lv_emu_lanes(mask, 0));
}

#define _mm256_maskz_loadu_ps(m, p) lv_emu_maskz_loadu8_ps(m, p)
#define _mm512_srai_epi32(v, n) lv_emu_srai_epi32(v, n)
#define _mm512_cvtps_ph(v, rounding) lv_emu_cvtps_ph(v) /* to nearest is the only one in use */
#define _mm256_mask_storeu_epi16(p, m, v) lv_emu_mask_storeu_epi16(p, m, v)
#define _mm512_cvtepi32_ps(v) lv_emu_cvtepi32_ps(v)
#define _mm512_cvtps_epi32(v) lv_emu_cvtps_epi32(v)
#define _mm512_cvtph_ps(v) lv_emu_cvtph_ps(v)
#define _mm512_cvtepu16_epi32(v) lv_emu_cvtepu16_epi32(v)
#define _mm512_cvtepi32_epi16(v) lv_emu_cvtepi32_epi16(v)
#define _mm512_cvtepi32_epi8(v) lv_emu_cvtepi32_epi8(v)
#define _mm512_maskz_loadu_ps(m, p) lv_emu_maskz_loadu_ps(m, p)
#define _mm512_mask_storeu_ps(p, m, v) lv_emu_mask_storeu_ps(p, m, v)
#define _mm512_reduce_max_ps(v) lv_emu_reduce_max_ps(v)
#define _mm512_extractf32x8_ps(v, i) ((i) ? lv_emu_high_ps(v) : lv_emu_low_ps(v))

#endif
