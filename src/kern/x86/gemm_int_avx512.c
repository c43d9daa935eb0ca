/* Integer weights by vpdpbusd: 32 rows as two vectors of 16, 1 to 6 tokens a tile.
 *
 * The token count of a tile and the type are constants of inlined functions, so each pair is its own
 * straight code; the order of the steps for one (row, token) is the same in all. */
#include <immintrin.h>

#include "kern/gemm_list.h"
#include "kern/r32.h"

#define INLINE static inline __attribute__((always_inline))

/* Six tokens by two vectors are twelve dot chains: enough to hide the latency of vpdpbusd (5), and
 * with the float accumulators they still fit the 32 registers. */
#define TILE_TOK 6

/* How far ahead of the reader lines are asked for: the hardware prefetcher stops at page ends and alone
 * reaches half the bandwidth. */
#define AHEAD_BYTES 2560

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

/* Minus offset * (sum of x over the columns), as a start value. pair: two sums of 16 columns. */
INLINE __m512i start(enum lv_type type, const int16_t *pair, uint32_t part)
{
    const int16_t off = (int16_t)-lv_r32_offset(type);
    const __m512i zero = _mm512_setzero_si512();
    int32_t both;

    if (!off)
        return zero;
    memcpy(&both, pair, sizeof both);
    if (type == LV_TYPE_Q6_K) /* one of the two */
        return _mm512_dpwssd_epi32(zero, _mm512_set1_epi32(both),
                                   _mm512_set1_epi32(part ? (int32_t)((uint32_t)(uint16_t)off << 16) : (uint16_t)off));
    return _mm512_dpwssd_epi32(zero, _mm512_set1_epi32(both), _mm512_set1_epi16(off));
}

/* Asks for a share of the lines that lie AHEAD_BYTES further: step i of sub-block m. The requests are spread over all
 * steps, because a burst fills the line buffers and stalls the loads behind it. */
INLINE void prefetch(enum lv_type type, const uint8_t *kb, uint32_t c, uint32_t m, uint32_t i)
{
    const bool is_k = lv_r32_block_len(type) == 256;
    const uint32_t bytes = LV_GROUP_ROWS * lv_r32_block_bytes(type) / (is_k ? 2 : 1); /* of n_step steps */
    const uint32_t n_step = is_k ? 32 : 8, n_line = (bytes + 63) / 64, step = 8 * m + i;
    const char *p = (const char *)kb + AHEAD_BYTES + c / 4 * bytes;

    for (uint32_t l = step * n_line / n_step; l < (step + 1) * n_line / n_step; l++)
        _mm_prefetch(p + 64 * l, _MM_HINT_T0);
}

INLINE void dots(enum lv_type type, uint32_t n_tok, __m512i s[TILE_TOK][2], const uint8_t *kb, uint32_t c, uint32_t m,
                 uint32_t i, const int8_t *const q[TILE_TOK], uint32_t b)
{
    const __m512i w0 = quants(type, kb, c, m, i, 0), w1 = quants(type, kb, c, m, i, 1);

    prefetch(type, kb, c, m, i);
    for (uint32_t t = 0; t < n_tok; t++) {
        int32_t x4;

        memcpy(&x4, q[t] + (size_t)b * 32 + 4 * i, sizeof x4);
        s[t][0] = _mm512_dpbusd_epi32(s[t][0], w0, _mm512_set1_epi32(x4));
        s[t][1] = _mm512_dpbusd_epi32(s[t][1], w1, _mm512_set1_epi32(x4));
    }
}

/* 32 columns: sub-block c of the k-block, block b of the row; m = c % 4, a constant. */
INLINE void block(enum lv_type type, uint32_t n_tok, __m512 acc[TILE_TOK][2], const uint8_t *kb,
                  const struct scales *sc, uint32_t c, uint32_t m, uint32_t b, const struct lv_act *x, uint32_t t0,
                  const int8_t *const q[TILE_TOK])
{
    const uint32_t n_sub = x->n_cols / 32;
    __m512i s[TILE_TOK][2];
    __m512 f[TILE_TOK][2];

    for (uint32_t t = 0; t < n_tok; t++)
        s[t][0] = s[t][1] = start(type, x->s16 + ((size_t)(t0 + t) * n_sub + b) * 2, 0);
    if (type == LV_TYPE_Q6_K) {
        /* isum = sc0 * isum0 + sc1 * isum1 in f32: all values are integers below 2^24, so each step is exact. A
         * zero may come out negative here; acc is never -0 and swallows it. */
        __m512 k0[2], k1[2];

        scales_q6(k0, kb, c, m, 0);
        scales_q6(k1, kb, c, m, 1);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; i++)
            dots(type, n_tok, s, kb, c, m, i, q, b);
        for (uint32_t t = 0; t < n_tok; t++) {
            f[t][0] = _mm512_mul_ps(_mm512_cvtepi32_ps(s[t][0]), k0[0]);
            f[t][1] = _mm512_mul_ps(_mm512_cvtepi32_ps(s[t][1]), k1[0]);
            s[t][0] = s[t][1] = start(type, x->s16 + ((size_t)(t0 + t) * n_sub + b) * 2, 1);
        }
#pragma GCC unroll 4
        for (uint32_t i = 4; i < 8; i++)
            dots(type, n_tok, s, kb, c, m, i, q, b);
        for (uint32_t t = 0; t < n_tok; t++) {
            f[t][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s[t][0]), k0[1], f[t][0]);
            f[t][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s[t][1]), k1[1], f[t][1]);
        }
    } else {
        const bool nibbles = lv_r32_block_len(type) == 32 && type != LV_TYPE_Q8_0;

#pragma GCC unroll 8
        for (uint32_t i = 0; i < 8; i++) /* 0, 4, 1, 5 ...: both nibbles of a line together */
            dots(type, n_tok, s, kb, c, m, nibbles ? i / 2 + i % 2 * 4 : i, q, b);
        for (uint32_t t = 0; t < n_tok; t++) {
            f[t][0] = _mm512_cvtepi32_ps(s[t][0]);
            f[t][1] = _mm512_cvtepi32_ps(s[t][1]);
        }
    }
    const __m512 d0 = scale_of(type, sc, kb, c, 0), d1 = scale_of(type, sc, kb, c, 1);

    for (uint32_t t = 0; t < n_tok; t++) {
        const __m512 xd = _mm512_set1_ps(x->d[(size_t)(t0 + t) * n_sub + b]);

        acc[t][0] = _mm512_fmadd_ps(f[t][0], _mm512_mul_ps(d0, xd), acc[t][0]);
        acc[t][1] = _mm512_fmadd_ps(f[t][1], _mm512_mul_ps(d1, xd), acc[t][1]);
    }
    if (lv_r32_has_min(type)) {
        const __m512 m0 = min_of(type, sc, kb, c, 0), m1 = min_of(type, sc, kb, c, 1);

        for (uint32_t t = 0; t < n_tok; t++) {
            const __m512 sd = _mm512_set1_ps(x->sd[(size_t)(t0 + t) * n_sub + b]);

            acc[t][0] = _mm512_fmadd_ps(m0, sd, acc[t][0]);
            acc[t][1] = _mm512_fmadd_ps(m1, sd, acc[t][1]);
        }
    }
}

INLINE void tile(enum lv_type type, uint32_t n_tok, float *y, size_t stride_y, const uint8_t *group,
                 const struct lv_act *x, uint32_t t0)
{
    const uint32_t kb_bytes = LV_GROUP_ROWS * lv_r32_block_bytes(type), len = lv_r32_block_len(type);
    const uint32_t n_kb = x->n_cols / len;
    const int8_t *q[TILE_TOK];
    __m512 acc[TILE_TOK][2];
    struct scales sc;

    for (uint32_t t = 0; t < n_tok; t++) {
        acc[t][0] = acc[t][1] = _mm512_setzero_ps();
        q[t] = x->q + (size_t)(t0 + t) * x->n_cols;
    }
    for (uint32_t k = 0; k < n_kb; k++) {
        const uint8_t *kb = group + (size_t)k * kb_bytes;

        if (len == 32) {
            block(type, n_tok, acc, kb, &sc, 0, 0, k, x, t0, q);
            continue;
        }
        if (type != LV_TYPE_Q6_K)
            scales_k(&sc, kb);
        for (uint32_t c = 0; c < 8; c += 4) {
#pragma GCC unroll 4
            for (uint32_t m = 0; m < 4; m++)
                block(type, n_tok, acc, kb, &sc, c + m, m, 8 * k + c + m, x, t0, q);
        }
    }
    for (uint32_t t = 0; t < n_tok; t++) {
        _mm512_storeu_ps(y + t * stride_y, acc[t][0]);
        _mm512_storeu_ps(y + t * stride_y + 16, acc[t][1]);
    }
}

/* Tiles of nearly equal size. */
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
        default: tile(type, 6, y, stride_y, group, x, t0); break;
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
LV_KERN_INT_TYPES(LV_X)
#undef LV_X
