/* GGUF rows -> R32: 4 x 4 exchanges of 32-bit words in the four lanes of a 512-bit register.
 *
 * Memory: reads stay inside the 32 rows, writes inside the group. */
#include <immintrin.h>

#include "kern/gemm_list.h"
#include "kern/r32.h"

#define INLINE static inline __attribute__((always_inline))
#define SHORT_ROW_BYTES 4096

/* v[j] = word j at p of 16 rows, rb apart. Reads 16 bytes a row. */
INLINE void quad(__m512i v[4], const uint8_t *p, size_t rb)
{
    __m512i z[4];

    for (uint32_t j = 0; j < 4; j++) {
        const uint8_t *s = p + j * rb;

        z[j] = _mm512_castsi128_si512(_mm_loadu_si128((const void *)s));
        z[j] = _mm512_inserti32x4(z[j], _mm_loadu_si128((const void *)(s + 4 * rb)), 1);
        z[j] = _mm512_inserti32x4(z[j], _mm_loadu_si128((const void *)(s + 8 * rb)), 2);
        z[j] = _mm512_inserti32x4(z[j], _mm_loadu_si128((const void *)(s + 12 * rb)), 3);
    }
    const __m512i a = _mm512_unpacklo_epi32(z[0], z[1]), b = _mm512_unpacklo_epi32(z[2], z[3]);
    const __m512i c = _mm512_unpackhi_epi32(z[0], z[1]), d = _mm512_unpackhi_epi32(z[2], z[3]);

    v[0] = _mm512_unpacklo_epi64(a, b);
    v[1] = _mm512_unpackhi_epi64(a, b);
    v[2] = _mm512_unpacklo_epi64(c, d);
    v[3] = _mm512_unpackhi_epi64(c, d);
}

/* Exchanges the bits at positions p (where mask is set) and p + s. */
INLINE __m512i swap_bits(__m512i x, uint32_t s, int mask)
{
    const __m512i t = _mm512_and_si512(_mm512_xor_si512(_mm512_srli_epi32(x, s), x), _mm512_set1_epi32(mask));

    return _mm512_xor_si512(x, _mm512_xor_si512(t, _mm512_slli_epi32(t, s)));
}

/* Bit 4 * i + b -> bit 8 * b + i: the five bits of a position i2 i1 i0 b1 b0 become b1 b0 i2 i1 i0 by four exchanges. */
INLINE __m512i move_bits(__m512i x)
{
    x = swap_bits(x, 14, 0xcccc);
    x = swap_bits(x, 7, 0xaa00aa);
    x = swap_bits(x, 2, 0x0c0c0c0c);
    return swap_bits(x, 1, 0x22222222);
}

/* One part of one k-block for 16 rows: src the block of the first, dst the k-block. */
INLINE void part(const struct lv_r32_part *p, uint32_t block_bytes, uint8_t *dst, const uint8_t *src, size_t rb,
                 uint32_t h)
{
    __m512i v[4];

    if (p->how == LV_R32_HALF) { /* a 4-byte word with the 2 bytes, in a window inside the block */
        const bool fits = p->src + 16u <= block_bytes;

        quad(v, src + (fits ? p->src : p->src - 14), rb);
        _mm256_storeu_si256((void *)(dst + p->dst + 32 * h),
                            _mm512_cvtepi32_epi16(fits ? v[0] : _mm512_srli_epi32(v[3], 16)));
        return;
    }
    for (uint32_t i = 0; i < p->n_word; i += 4) {
        if (i + 4 > p->n_word && p->n_word > 4)
            i = p->n_word - 4; /* some words twice */
        quad(v, src + p->src + 4 * i, rb);
        for (uint32_t j = 0; j < 4 && i + j < p->n_word; j++) {
            if (p->how == LV_R32_FLIP)
                v[j] = _mm512_xor_si512(v[j], _mm512_set1_epi8(-128));
            else if (p->how == LV_R32_BITS)
                v[j] = move_bits(v[j]);
            _mm512_storeu_si512(dst + p->dst + LV_R32_PART * (i + j) + 64 * h, v[j]);
        }
    }
}

/* Groups lie one behind the other, so the next one can be asked for in order, a piece at a time. Short rows only: they
 * are 32 streams that end before the hardware prefetcher has found them, while long rows do better alone. */
INLINE void prefetch_next(const uint8_t *src, size_t rb, size_t off, size_t bytes)
{
    if (rb > SHORT_ROW_BYTES)
        return;
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)src + LV_GROUP_ROWS * rb + off + i, _MM_HINT_T1);
}

INLINE void pack_int(enum lv_type type, uint8_t *group, const uint8_t *src, uint32_t n_cols)
{
    const struct lv_r32_layout l = lv_r32_layout(type);
    const uint32_t bytes = lv_r32_block_bytes(type), n_blk = n_cols / lv_r32_block_len(type);
    const size_t rb = (size_t)n_blk * bytes;

    const uint8_t *group_src = src;

    for (uint32_t b = 0; b < n_blk; b++, src += bytes, group += (size_t)LV_GROUP_ROWS * bytes) {
        prefetch_next(group_src, rb, (size_t)b * LV_GROUP_ROWS * bytes, LV_GROUP_ROWS * bytes);
        for (uint32_t h = 0; h < 2; h++)
            for (uint32_t i = 0; i < l.n_part; i++)
                part(&l.part[i], bytes, group, src + 16 * h * rb, rb, h);
    }
}

/* n_cols a multiple of 8. */
INLINE void pack_float(uint32_t bytes, uint8_t *group, const uint8_t *src, uint32_t n_cols)
{
    const size_t rb = (size_t)n_cols * bytes;

    const uint8_t *group_src = src;

    for (size_t i = 0; i < rb; i += 16, group += 16 * LV_GROUP_ROWS) {
        prefetch_next(group_src, rb, i * LV_GROUP_ROWS, 16 * LV_GROUP_ROWS);
        for (uint32_t h = 0; h < 2; h++) {
            __m512i v[4];

            quad(v, src + 16 * h * rb + i, rb);
            for (uint32_t j = 0; j < 4; j++) {
                if (bytes == 4) {
                    _mm512_storeu_si512(group + LV_R32_PART * j + 64 * h, v[j]);
                    continue;
                }
                uint8_t *two = group + LV_R32_PART * j + 32 * h; /* columns 2j and 2j + 1 */

                _mm256_storeu_si256((void *)two, _mm512_cvtepi32_epi16(v[j]));
                _mm256_storeu_si256((void *)(two + 64), _mm512_cvtepi32_epi16(_mm512_srli_epi32(v[j], 16)));
            }
        }
    }
}

/* Tail groups (the end of some vocabularies) and odd widths are rare: the reference does them. */
#define LV_X(TYPE, name)                                                                               \
    void lv_pack_##name##_avx512(uint8_t *group, const uint8_t *src, uint32_t n_rows, uint32_t n_cols) \
    {                                                                                                  \
        if (n_rows < LV_GROUP_ROWS)                                                                    \
            lv_pack_##name##_ref(group, src, n_rows, n_cols);                                          \
        else                                                                                           \
            pack_int(LV_TYPE_##TYPE, group, src, n_cols);                                              \
    }
LV_KERN_INT_TYPES(LV_X)
#undef LV_X
#define LV_X(TYPE, name)                                                                               \
    void lv_pack_##name##_avx512(uint8_t *group, const uint8_t *src, uint32_t n_rows, uint32_t n_cols) \
    {                                                                                                  \
        if (n_rows < LV_GROUP_ROWS || n_cols % 8)                                                      \
            lv_pack_##name##_ref(group, src, n_rows, n_cols);                                          \
        else                                                                                           \
            pack_float(lv_r32_block_bytes(LV_TYPE_##TYPE), group, src, n_cols);                        \
    }
LV_KERN_FLOAT_TYPES(LV_X)
#undef LV_X
