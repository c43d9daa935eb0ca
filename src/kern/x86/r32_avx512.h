/* R32 blocks of the integer types as 512-bit vectors of 16 rows: quants as unsigned bytes, scales in f32. */
#ifndef LV_KERN_X86_R32_AVX512_H
#define LV_KERN_X86_R32_AVX512_H

#include <immintrin.h>

#include "kern/r32.h"

#define INLINE static inline __attribute__((always_inline))

/* Scales of a k-block in f32: sub-block, row. */
struct scales {
    __attribute__((aligned(64))) float d[8][LV_GROUP_ROWS];
    __attribute__((aligned(64))) float m[8][LV_GROUP_ROWS];
};

INLINE __m512i line(const uint8_t *kb, uint32_t off, uint32_t word, uint32_t h)
{
    return _mm512_loadu_si512(kb + off + LV_R32_PART * word + 64 * h);
}

INLINE __m512i low_nibbles(__m512i v, uint32_t high)
{
    return _mm512_and_si512(high ? _mm512_srli_epi16(v, 4) : v, _mm512_set1_epi8(15));
}

/* Adds 16 where the bit is set in the line of high bits. */
INLINE __m512i fifth_bit(__m512i q, __m512i hi, __m512i bit)
{
    return _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(hi, bit), q, _mm512_set1_epi8(16));
}

/* Four columns 4i .. 4i + 3 of sub-block c for rows 16h .. 16h + 15 as unsigned bytes. m = c % 4 is a
 * constant after inlining, because it chooses instructions; c need not be. */
INLINE __m512i quants(enum lv_type type, const uint8_t *kb, uint32_t c, uint32_t m, uint32_t i, uint32_t h)
{
    const uint32_t qs = lv_r32_off_qs(type), qh = lv_r32_off_qh(type);

    switch (type) {
    case LV_TYPE_Q8_0:
        return line(kb, qs, i, h);
    case LV_TYPE_Q4_0:
    case LV_TYPE_Q4_1:
        return low_nibbles(line(kb, qs, i & 3, h), i >> 2);
    case LV_TYPE_Q5_0:
    case LV_TYPE_Q5_1:
        return fifth_bit(low_nibbles(line(kb, qs, i & 3, h), i >> 2), line(kb, qh, 0, h),
                         _mm512_set1_epi8((char)(1u << i)));
    case LV_TYPE_Q4_K:
        return low_nibbles(line(kb, qs, c / 2 * 8 + i, h), m & 1);
    case LV_TYPE_Q5_K:
        return fifth_bit(low_nibbles(line(kb, qs, c / 2 * 8 + i, h), m & 1), line(kb, qh, i, h),
                         _mm512_set1_epi8((char)(1u << c)));
    case LV_TYPE_Q6_K: {
        const __m512i lo = line(kb, qs, c / 4 * LV_R32_Q6_HALF + (m & 1) * 8 + i, h);
        __m512i hi = line(kb, qh, c / 4 * LV_R32_Q6_HALF + i, h);

        hi = m == 0 ? _mm512_slli_epi16(hi, 4) : m == 1 ? _mm512_slli_epi16(hi, 2)
             : m == 2 ? hi : _mm512_srli_epi16(hi, 2);
        hi = _mm512_and_si512(hi, _mm512_set1_epi8(48));
        /* (low & 15) | hi in one step */
        return _mm512_ternarylogic_epi32(m >> 1 ? _mm512_srli_epi16(lo, 4) : lo, _mm512_set1_epi8(15), hi, 0xea);
    }
    default:
        return _mm512_setzero_si512();
    }
}

INLINE __m512 f32_of_byte(__m512i words, uint32_t byte)
{
    return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(words, 8 * byte), _mm512_set1_epi32(255)));
}

INLINE void scales_k(struct scales *s, const uint8_t *kb)
{
    const __m512i m6 = _mm512_set1_epi8(63), m4 = _mm512_set1_epi8(15), hi = _mm512_set1_epi8(48);

    for (uint32_t h = 0; h < 2; h++) {
        const __m512i dm = line(kb, 0, 0, h);
        const __m512i a = line(kb, 128, 0, h), b = line(kb, 128, 1, h), e = line(kb, 128, 2, h);
        const __m512 d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(dm));
        const __m512 dmin = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(dm, 16)));
        const __m512 neg = _mm512_xor_ps(dmin, _mm512_set1_ps(-0.0f));
        const __m512i sc[2] = { _mm512_and_si512(a, m6),
                                _mm512_or_si512(_mm512_and_si512(e, m4),
                                                _mm512_and_si512(_mm512_srli_epi16(a, 2), hi)) };
        const __m512i mn[2] = { _mm512_and_si512(b, m6),
                                _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(e, 4), m4),
                                                _mm512_and_si512(_mm512_srli_epi16(b, 2), hi)) };

        for (uint32_t c = 0; c < 8; c++) {
            _mm512_store_ps(s->d[c] + 16 * h, _mm512_mul_ps(d, f32_of_byte(sc[c / 4], c % 4)));
            _mm512_store_ps(s->m[c] + 16 * h, _mm512_mul_ps(neg, f32_of_byte(mn[c / 4], c % 4)));
        }
    }
}

INLINE __m512 scale_of(enum lv_type type, const struct scales *s, const uint8_t *kb, uint32_t c, uint32_t h)
{
    if (lv_r32_block_len(type) == 256 && type != LV_TYPE_Q6_K)
        return _mm512_load_ps(s->d[c] + 16 * h);
    if (lv_r32_has_min(type))
        return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(line(kb, 0, 0, h)));
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(kb + 32 * h)));
}

INLINE __m512 min_of(enum lv_type type, const struct scales *s, const uint8_t *kb, uint32_t c, uint32_t h)
{
    if (lv_r32_block_len(type) == 256)
        return _mm512_load_ps(s->m[c] + 16 * h);
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(line(kb, 0, 0, h), 16)));
}

/* The two 8-bit scales of 32 columns c of Q6_K for 16 rows. */
INLINE void scales_q6(__m512 sc[2], const uint8_t *kb, uint32_t c, uint32_t m, uint32_t h)
{
    const __m512i w = line(kb, 64, c / 2, h);

    sc[0] = _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(w, m & 1 ? 8 : 24), 24));
    sc[1] = _mm512_cvtepi32_ps(_mm512_srai_epi32(m & 1 ? w : _mm512_slli_epi32(w, 16), 24));
}

#endif
