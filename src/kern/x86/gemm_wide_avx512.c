/* Integer weights by vpdpbusd for many tokens: 256 columns at a time are unpacked once into the first-level cache, then
 * tiles of 4 to 6 tokens run over them. The same steps in the same order as in gemm_int_avx512.c, which calls this. */
#include "kern/gemm_list.h"

#define CHUNK_QUANTS quants
#include "kern/x86/chunk_avx512.h"

#define TILE_TOK 6
#define PASS_TOK 66 /* accumulators of 8 KiB */

/* Tokens of a tile for the columns of the chunk. */
struct x_tile {
    const int8_t *q;     /* first token, first column */
    const float *d, *sd; /* [token][n_sub] */
    const int16_t *s16;  /* [token][2 * n_sub] */
    uint32_t n_sub, n_blk;
    int16_t offset;      /* of the unsigned quants */
    const uint8_t *next; /* bytes to ask for meanwhile, n_line lines of them a block */
    uint32_t n_line;
};

/* -offset * the sum of x over 32 columns, or one of the two halves. */
INLINE __m512i start(enum kind kind, const int16_t *pair, int16_t offset, uint32_t part)
{
    const __m512i off = _mm512_set1_epi16((int16_t)-offset);
    int32_t both;

    if (kind == MIN)
        return _mm512_setzero_si512();
    memcpy(&both, pair, sizeof both);
    if (kind == TWO_SCALES)
        both &= part ? (int32_t)0xffff0000 : 0xffff;
    return _mm512_dpwssd_epi32(_mm512_setzero_si512(), _mm512_set1_epi32(both), off);
}

INLINE void dots(uint32_t n, __m512i s[TILE_TOK][2], const struct chunk *ch, const struct x_tile *x, uint32_t b,
                 uint32_t i)
{
    const __m512i w0 = _mm512_load_si512(ch->q[0][b][i]), w1 = _mm512_load_si512(ch->q[1][b][i]);

    for (uint32_t t = 0; t < n; t++) {
        int32_t x4;

        memcpy(&x4, x->q + (size_t)t * x->n_sub * 32 + 32 * b + 4 * i, sizeof x4);
        s[t][0] = _mm512_dpbusd_epi32(s[t][0], w0, _mm512_set1_epi32(x4));
        s[t][1] = _mm512_dpbusd_epi32(s[t][1], w1, _mm512_set1_epi32(x4));
    }
}

INLINE void tile(enum kind kind, uint32_t n, float mem[TILE_TOK][LV_GROUP_ROWS], const struct chunk *ch,
                 const struct x_tile *x)
{
    const uint8_t *next = x->next;
    __m512 acc[TILE_TOK][2];

    for (uint32_t t = 0; t < n; t++)
        for (uint32_t h = 0; h < 2; h++)
            acc[t][h] = _mm512_load_ps(mem[t] + 16 * h);
    for (uint32_t b = 0; b < x->n_blk; b++) {
        __m512i s[TILE_TOK][2];
        __m512 f[TILE_TOK][2];

        for (uint32_t t = 0; t < n; t++)
            s[t][0] = s[t][1] = start(kind, x->s16 + ((size_t)t * x->n_sub + b) * 2, x->offset, 0);
        LV_UNROLL
        for (uint32_t i = 0; i < 4; i++)
            dots(n, s, ch, x, b, i);
        for (uint32_t l = 0; l < x->n_line; l++, next += 64)
            _mm_prefetch((const char *)next, _MM_HINT_T0);
        if (kind == TWO_SCALES)
            for (uint32_t t = 0; t < n; t++)
                for (uint32_t h = 0; h < 2; h++) {
                    f[t][h] = _mm512_mul_ps(_mm512_cvtepi32_ps(s[t][h]), _mm512_load_ps(ch->k[b][0] + 16 * h));
                    s[t][h] = start(kind, x->s16 + ((size_t)t * x->n_sub + b) * 2, x->offset, 1);
                }
        LV_UNROLL
        for (uint32_t i = 4; i < 8; i++)
            dots(n, s, ch, x, b, i);
        for (uint32_t h = 0; h < 2; h++)
            for (uint32_t t = 0; t < n; t++) {
                const __m512 d = _mm512_load_ps(ch->s.d[b] + 16 * h);
                const __m512 xd = _mm512_set1_ps(x->d[(size_t)t * x->n_sub + b]);

                if (kind == TWO_SCALES)
                    f[t][h] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s[t][h]), _mm512_load_ps(ch->k[b][1] + 16 * h),
                                              f[t][h]);
                else
                    f[t][h] = _mm512_cvtepi32_ps(s[t][h]);
                acc[t][h] = _mm512_fmadd_ps(f[t][h], _mm512_mul_ps(d, xd), acc[t][h]);
                if (kind == MIN)
                    acc[t][h] = _mm512_fmadd_ps(_mm512_load_ps(ch->s.m[b] + 16 * h),
                                                _mm512_set1_ps(x->sd[(size_t)t * x->n_sub + b]), acc[t][h]);
            }
    }
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t h = 0; h < 2; h++)
            _mm512_store_ps(mem[t] + 16 * h, acc[t][h]);
}

typedef void tile_fn(float mem[TILE_TOK][LV_GROUP_ROWS], const struct chunk *ch, const struct x_tile *x);

#define TILE(kind, n)                                                                                                  \
    static void tile_##kind##_##n(float mem[TILE_TOK][LV_GROUP_ROWS], const struct chunk *ch, const struct x_tile *x) \
    {                                                                                                                  \
        tile(kind, n, mem, ch, x);                                                                                     \
    }
#define TILES(kind)                                                                                                  \
    TILE(kind, 1) TILE(kind, 2) TILE(kind, 3) TILE(kind, 4) TILE(kind, 5) TILE(kind, 6)                              \
    static tile_fn *const tiles_##kind[] = { tile_##kind##_1, tile_##kind##_2, tile_##kind##_3, tile_##kind##_4,     \
                                             tile_##kind##_5, tile_##kind##_6 };
TILES(PLAIN)
TILES(MIN)
TILES(TWO_SCALES)

/* n_tok <= PASS_TOK. Tiles of nearly equal size. */
INLINE void pass(enum lv_type type, float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x,
                 uint32_t t0, uint32_t n_tok)
{
    const enum kind kind = kind_of(type);
    tile_fn *const *const tiles = kind == PLAIN ? tiles_PLAIN : kind == MIN ? tiles_MIN : tiles_TWO_SCALES;
    const uint32_t n_tile = (n_tok + TILE_TOK - 1) / TILE_TOK, n_sub = x->n_cols / 32;
    __attribute__((aligned(64))) float acc[PASS_TOK][LV_GROUP_ROWS];
    struct x_tile xt = { .n_sub = n_sub, .offset = (int16_t)lv_r32_offset(type) };
    struct chunk ch;

    xt.n_line = (chunk_bytes(type) / 64 + n_tile * N_BLK - 1) / (n_tile * N_BLK);
    memset(acc, 0, n_tok * sizeof acc[0]);
    for (uint32_t b0 = 0; b0 < n_sub; b0 += N_BLK, group += chunk_bytes(type)) {
        xt.n_blk = n_sub - b0 < N_BLK ? n_sub - b0 : N_BLK;
        unpack(type, &ch, group, xt.n_blk);
        xt.next = group + chunk_bytes(type) + AHEAD_BYTES;
        for (uint32_t i = n_tile, t = 0; i; i--) {
            const uint32_t n = (n_tok - t + i - 1) / i;
            const size_t b = (size_t)(t0 + t) * n_sub + b0;

            xt.q = x->q + b * 32;
            xt.d = x->d + b;
            xt.sd = x->sd + b;
            xt.s16 = x->s16 + b * 2;
            tiles[n - 1](acc + t, &ch, &xt);
            xt.next += xt.n_blk * xt.n_line * 64;
            t += n;
        }
    }
    for (uint32_t t = 0; t < n_tok; t++)
        memcpy(y + t * stride_y, acc[t], sizeof acc[t]);
}

INLINE void gemm(enum lv_type type, float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x,
                 uint32_t t0, uint32_t n_tok)
{
    for (uint32_t n_pass = (n_tok + PASS_TOK - 1) / PASS_TOK; n_pass; n_pass--) {
        const uint32_t n = (n_tok + n_pass - 1) / n_pass;

        pass(type, y, stride_y, group, x, t0, n);
        y += n * stride_y;
        t0 += n;
        n_tok -= n;
    }
}

#define LV_X(TYPE, name)                                                                                       \
    void lv_gemm_##name##_wide_avx512(float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x, \
                                      uint32_t t0, uint32_t n_tok)                                             \
    {                                                                                                          \
        gemm(LV_TYPE_##TYPE, y, stride_y, group, x, t0, n_tok);                                                \
    }
LV_KERN_INT_TYPES(LV_X)
#undef LV_X
