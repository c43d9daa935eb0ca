/* Attention products. 16 lanes are a pair of registers. A register tile is up to TILE_Q queries by one or two
 * pairs, each vector with its own fma chain; the tile loop shares every load of K or V between queries and
 * every broadcast between vectors. Up to TILE_Q queries read f16 directly; more would convert the same halves
 * several times, so a chunk is converted once to f32 on the stack. */
#include <string.h>

#include "kern/vec.h"
#include "kern/unroll.h"
#include "kern/x86/vec_avx2.h"

#define TILE_Q    6  /* 6 x 2 accumulators, 2 vectors, 1 broadcast: 15 of 16 registers */
#define TILE_Q2   2  /* queries with two pairs: 2 x 4, 4 and 1 */
#define CHUNK_LEN 64 /* chain steps between conversions: 8 KiB of f32, inside L1 */
#define N_LANE    16

struct chunk {
    _Alignas(32) float f[CHUNK_LEN * 2 * N_LANE];
};

/* One operand of the tile loop: pair b of chain step i is at p + i * stride_step + b * stride_pair. */
struct operand {
    const void *p;
    size_t stride_step, stride_pair; /* elements */
    size_t ahead;                    /* f16: elements from here to what comes next, prefetched; may lie outside */
    bool f32;
};

static inline __attribute__((always_inline)) __m256 load(struct operand o, size_t i, size_t b_vec)
{
    const size_t off = i * o.stride_step + b_vec / 2 * o.stride_pair + b_vec % 2 * 8;

    if (o.f32)
        return _mm256_loadu_ps((const float *)o.p + off);
    const uint16_t *h = (const uint16_t *)o.p + off;
    if (b_vec % 2 == 0)
        _mm_prefetch((const char *)((uintptr_t)h + o.ahead * sizeof *h), _MM_HINT_T1);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)h));
}

/* acc[q][b] = fma(x[q][i], o[i][b], acc[q][b]) for i = 0 .. n_step - 1; acc starts from y, or 0 when first; times
 * *scale at the end unless NULL. n_q and n_vec are constants where this is inlined. */
static inline __attribute__((always_inline)) void tile(float *y, size_t stride_y, const float *x, size_t stride_x,
                                                       struct operand o, uint32_t n_step, int n_q, int n_vec,
                                                       bool first, const float *scale)
{
    __m256 acc[TILE_Q][4];

    LV_UNROLL
    for (int q = 0; q < n_q; q++) {
        LV_UNROLL
        for (int b = 0; b < n_vec; b++)
            acc[q][b] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(y + (size_t)q * stride_y + b * 8);
    }
    for (size_t i = 0; i < n_step; i++) {
        __m256 v[4];

        LV_UNROLL
        for (int b = 0; b < n_vec; b++)
            v[b] = load(o, i, (size_t)b);
        LV_UNROLL
        for (int q = 0; q < n_q; q++) {
            const __m256 xq = _mm256_set1_ps(x[(size_t)q * stride_x + i]);

            LV_UNROLL
            for (int b = 0; b < n_vec; b++)
                acc[q][b] = _mm256_fmadd_ps(xq, v[b], acc[q][b]);
        }
    }
    LV_UNROLL
    for (int q = 0; q < n_q; q++) {
        LV_UNROLL
        for (int b = 0; b < n_vec; b++) {
            if (scale)
                acc[q][b] = _mm256_mul_ps(acc[q][b], _mm256_set1_ps(*scale));
            _mm256_storeu_ps(y + (size_t)q * stride_y + b * 8, acc[q][b]);
        }
    }
}

/* tile() for each number of queries and pairs, as straight code; two pairs up to TILE_Q2 queries only. */
static inline __attribute__((always_inline)) void tile_of(float *y, size_t stride_y, const float *x, size_t stride_x,
                                                          struct operand o, uint32_t n_step, uint32_t n_q,
                                                          uint32_t n_pair, bool first, const float *scale)
{
#define CASE(n)                                                                                                        \
    case n:                                                                                                            \
        if (n <= TILE_Q2 && n_pair == 2)                                                                               \
            tile(y, stride_y, x, stride_x, o, n_step, n, 4, first, scale);                                             \
        else                                                                                                           \
            tile(y, stride_y, x, stride_x, o, n_step, n, 2, first, scale);                                             \
        break
    switch (n_q) {
        CASE(1);
        CASE(2);
        CASE(3);
        CASE(4);
        CASE(5);
        CASE(6);
    }
#undef CASE
}

static void tile_f16(float *y, size_t stride_y, const float *x, size_t stride_x, const uint16_t *h, size_t stride_step,
                     size_t stride_pair, size_t ahead, uint32_t n_step, uint32_t n_q, uint32_t n_pair, bool first,
                     const float *scale)
{
    const struct operand o = { h, stride_step, stride_pair, ahead, false };

    tile_of(y, stride_y, x, stride_x, o, n_step, n_q, n_pair, first, scale);
}

/* All n_q queries against one pair, in tiles of about equal size. */
static void tiles_f32(float *y, size_t stride_y, const float *x, size_t stride_x, const struct chunk *c,
                      uint32_t n_step, uint32_t n_q, bool first, const float *scale)
{
    const struct operand o = { c->f, N_LANE, 0, 0, true };

    while (n_q > 0) {
        const uint32_t n_tile = (n_q + TILE_Q - 1) / TILE_Q;
        const uint32_t n = (n_q + n_tile - 1) / n_tile;

        tile_of(y, stride_y, x, stride_x, o, n_step, n, 1, first, scale);
        y += n * stride_y;
        x += n * stride_x;
        n_q -= n;
    }
}

static void convert(struct chunk *c, const uint16_t *h, size_t stride_step, size_t ahead, uint32_t n_step)
{
    const struct operand o = { h, stride_step, 0, ahead, false };

    for (size_t i = 0; i < n_step; i++) {
        _mm256_store_ps(c->f + i * N_LANE, load(o, i, 0));
        _mm256_store_ps(c->f + i * N_LANE + 8, load(o, i, 1));
    }
}

void lv_attn_qk_avx2(float *s, size_t stride_s, const float *q, size_t stride_q, uint32_t n_q, const uint16_t *k,
                     uint32_t n_dim, uint32_t n_blk, float scale)
{
    const size_t stride_blk = (size_t)n_dim * N_LANE;
    struct chunk c;
    uint32_t n = 0;

    for (uint32_t b = 0; b < n_blk; b += n) {
        const uint16_t *kb = k + b * stride_blk;
        float *sb = s + (size_t)b * N_LANE;

        n = n_q <= TILE_Q2 && n_blk - b >= 2 ? 2 : 1;
        if (n_q <= TILE_Q) {
            tile_f16(sb, stride_s, q, stride_q, kb, N_LANE, stride_blk, n * stride_blk, n_dim, n_q, n, true, &scale);
            continue;
        }
        for (uint32_t d = 0; d < n_dim; d += CHUNK_LEN) { /* blocks adjoin: the next chunk follows in memory */
            const uint32_t n_step = n_dim - d < CHUNK_LEN ? n_dim - d : CHUNK_LEN;

            convert(&c, kb + (size_t)d * N_LANE, N_LANE, (size_t)CHUNK_LEN * N_LANE, n_step);
            tiles_f32(sb, stride_s, q + d, stride_q, &c, n_step, n_q, d == 0, d + n_step == n_dim ? &scale : NULL);
        }
    }
}

/* The last n_dim < 16 dims: V and the results in full vectors on the stack. */
static void pv_tail(float *out, size_t stride_out, const float *p, size_t stride_p, uint32_t n_q, const uint16_t *v,
                    size_t stride_v, uint32_t n_dim, uint32_t n_pos)
{
    uint16_t h[CHUNK_LEN][N_LANE] = { { 0 } };
    float y[N_LANE] = { 0 };
    struct chunk c;

    for (size_t i = 0; i < n_pos; i++)
        memcpy(h[i], v + i * stride_v, n_dim * sizeof *v);
    convert(&c, h[0], N_LANE, 0, n_pos);
    for (size_t q = 0; q < n_q; q++) {
        memcpy(y, out + q * stride_out, n_dim * sizeof *y);
        tiles_f32(y, 0, p + q * stride_p, 0, &c, n_pos, 1, false, NULL);
        memcpy(out + q * stride_out, y, n_dim * sizeof *y);
    }
}

void lv_attn_pv_avx2(float *out, size_t stride_out, const float *p, size_t stride_p, uint32_t n_q, const uint16_t *v,
                     size_t stride_v, uint32_t n_dim, uint32_t n_pos)
{
    const size_t ahead = CHUNK_LEN * stride_v;
    struct chunk c;

    /* positions outside, dims inside: V is read from memory in one pass over whole rows */
    for (uint32_t i = 0; i < n_pos; i += CHUNK_LEN) {
        const uint32_t n = n_pos - i < CHUNK_LEN ? n_pos - i : CHUNK_LEN;
        const uint16_t *vi = v + i * stride_v;
        uint32_t n_pair = 0;

        for (uint32_t d = 0; d < n_dim; d += n_pair * N_LANE) {
            n_pair = n_q <= TILE_Q2 && n_dim - d >= 2 * N_LANE ? 2 : 1;
            if (n_dim - d < N_LANE) {
                pv_tail(out + d, stride_out, p + i, stride_p, n_q, vi + d, stride_v, n_dim - d, n);
            } else if (n_q <= TILE_Q) {
                tile_f16(out + d, stride_out, p + i, stride_p, vi + d, stride_v, N_LANE, ahead, n, n_q, n_pair, false,
                         NULL);
            } else {
                convert(&c, vi + d, stride_v, ahead, n);
                tiles_f32(out + d, stride_out, p + i, stride_p, &c, n, n_q, false, NULL);
            }
        }
    }
}
