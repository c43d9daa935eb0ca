/* Attention products. A register tile is some queries by some vectors of 16 results, each with its own fma
 * chain: 6 x 4 accumulators, 4 vectors and 1 broadcast fill 29 of 32 registers. The tile loop shares every load of K or
 * V between queries and every broadcast between vectors. Up to TILE_Q queries read f16 directly; more would convert the
 * same halves several times (two instructions on the ports that the fma need), so a chunk is converted once to f32 on
 * the stack. What comes next is prefetched: several streams, each short, defeat the hardware's own prefetch (V from
 * memory 9.5 -> 14.3 GB/s at one query where plain reading gives 16, Sapphire Rapids class). */
#include <string.h>

#include "kern/vec.h"
#include "kern/unroll.h"
#include "kern/x86/vec_avx512.h"

#define WIDE_Q    6 /* queries of the highest tile of 4 vectors (K blocks, or 16 dims of V) */
#define TILE_Q    8 /* queries of the highest tile of 2 vectors: for 7 or 8 it beats 4 + 3 and 4 + 4 */
#define MAX_VEC   4
#define CHUNK_LEN 64 /* chain steps between conversions: 16 KiB of f32, inside L1 */
#define N_LANE    16

struct chunk {
    _Alignas(64) float f[CHUNK_LEN * MAX_VEC * N_LANE];
};

/* One operand of the tile loop: vector b of chain step i is at p + i * stride_step + b * stride_vec. */
struct operand {
    const void *p;
    size_t stride_step, stride_vec; /* elements */
    size_t ahead;                   /* f16: elements from here to what comes next, prefetched; may lie outside */
    bool f32;
    float *keep;                    /* f16: where the halves go as f32, as a chunk holds them, or NULL */
};

static inline __attribute__((always_inline)) __m512 load(struct operand o, size_t i, size_t b)
{
    const size_t off = i * o.stride_step + b * o.stride_vec;

    if (o.f32)
        return _mm512_loadu_ps((const float *)o.p + off);
    const uint16_t *h = (const uint16_t *)o.p + off;
    if (b % 2 == 0 || o.stride_vec != N_LANE) /* once a line, where vectors are neighbours */
        _mm_prefetch((const char *)((uintptr_t)h + o.ahead * sizeof *h), _MM_HINT_T1);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)h));
}

/* acc[q][b] = fma(x[q][i], o[i][b], acc[q][b]) for i = 0 .. n_step - 1; acc starts from y, or 0 when first; times
 * *scale at the end unless NULL. n_q and n_vec are constants where this is inlined. */
static inline __attribute__((always_inline)) void tile(float *y, size_t stride_y, const float *x, size_t stride_x,
                                                       struct operand o, uint32_t n_step, int n_q, int n_vec,
                                                       bool first, const float *scale)
{
    __m512 acc[TILE_Q][MAX_VEC];

    LV_UNROLL
    for (int q = 0; q < n_q; q++) {
        LV_UNROLL
        for (int b = 0; b < n_vec; b++)
            acc[q][b] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(y + (size_t)q * stride_y + b * N_LANE);
    }
    for (size_t i = 0; i < n_step; i++) {
        __m512 v[MAX_VEC];

        LV_UNROLL
        for (int b = 0; b < n_vec; b++) {
            v[b] = load(o, i, (size_t)b);
            if (o.keep)
                _mm512_store_ps(o.keep + (i * (size_t)n_vec + (size_t)b) * N_LANE, v[b]);
        }
        LV_UNROLL
        for (int q = 0; q < n_q; q++) {
            const __m512 xq = _mm512_set1_ps(x[(size_t)q * stride_x + i]);

            LV_UNROLL
            for (int b = 0; b < n_vec; b++)
                acc[q][b] = _mm512_fmadd_ps(xq, v[b], acc[q][b]);
        }
    }
    LV_UNROLL
    for (int q = 0; q < n_q; q++) {
        LV_UNROLL
        for (int b = 0; b < n_vec; b++) {
            if (scale)
                acc[q][b] = _mm512_mul_ps(acc[q][b], _mm512_set1_ps(*scale));
            _mm512_storeu_ps(y + (size_t)q * stride_y + b * N_LANE, acc[q][b]);
        }
    }
}

/* Vectors of a full tile of n_q queries. */
static uint32_t tile_width(uint32_t n_q)
{
    return n_q <= WIDE_Q || n_q > TILE_Q ? 4 : 2; /* more than TILE_Q are split into tiles of at most WIDE_Q */
}

/* tile() for n_q = 1 .. TILE_Q queries and n_vec = 1 or tile_width(n_q), as straight code each. */
static inline __attribute__((always_inline)) void tile_of(float *y, size_t stride_y, const float *x, size_t stride_x,
                                                          struct operand o, uint32_t n_step, uint32_t n_q,
                                                          uint32_t n_vec, bool first, const float *scale)
{
#define CASE(n)                                                                                                        \
    case n:                                                                                                            \
        if (n_vec > 1)                                                                                                 \
            tile(y, stride_y, x, stride_x, o, n_step, n, n <= WIDE_Q ? 4 : 2, first, scale);                           \
        else                                                                                                           \
            tile(y, stride_y, x, stride_x, o, n_step, n, 1, first, scale);                                             \
        break
    switch (n_q) {
        CASE(1);
        CASE(2);
        CASE(3);
        CASE(4);
        CASE(5);
        CASE(6);
        CASE(7);
        CASE(8);
    }
#undef CASE
}

static void tile_f16(float *y, size_t stride_y, const float *x, size_t stride_x, const uint16_t *h, size_t stride_step,
                     size_t stride_vec, size_t ahead, uint32_t n_step, uint32_t n_q, uint32_t n_vec, bool first,
                     const float *scale)
{
    const struct operand o = { h, stride_step, stride_vec, ahead, false, NULL };

    tile_of(y, stride_y, x, stride_x, o, n_step, n_q, n_vec, first, scale);
}

/* The same for any n_q, in tiles of about equal size, at most WIDE_Q: the first converts for all. */
static void tiles(float *y, size_t stride_y, const float *x, size_t stride_x, const uint16_t *h, size_t stride_step,
                  size_t stride_vec, size_t ahead, uint32_t n_step, uint32_t n_q, uint32_t n_vec, bool first,
                  const float *scale)
{
    struct chunk c;
    const struct operand f32 = { c.f, (size_t)n_vec * N_LANE, N_LANE, 0, true, NULL };
    struct operand f16 = { h, stride_step, stride_vec, ahead, false, c.f };

    for (uint32_t i = 0; i < n_q;) {
        const uint32_t n_tile = (n_q - i + WIDE_Q - 1) / WIDE_Q;
        const uint32_t n = (n_q - i + n_tile - 1) / n_tile;

        if (i == 0)
            tile_of(y, stride_y, x, stride_x, f16, n_step, n, n_vec, first, scale);
        else
            tile_of(y + i * stride_y, stride_y, x + i * stride_x, stride_x, f32, n_step, n, n_vec, first, scale);
        i += n;
    }
}

static void qk_blocks(float *s, size_t stride_s, const float *q, size_t stride_q, uint32_t n_q, const uint16_t *k,
                      uint32_t n_dim, uint32_t n_vec, float scale)
{
    const size_t stride_blk = (size_t)n_dim * N_LANE;

    if (n_q <= TILE_Q) {
        tile_f16(s, stride_s, q, stride_q, k, N_LANE, stride_blk, n_vec * stride_blk, n_dim, n_q, n_vec, true, &scale);
        return;
    }
    for (uint32_t d = 0; d < n_dim; d += CHUNK_LEN) {
        const uint32_t n = n_dim - d < CHUNK_LEN ? n_dim - d : CHUNK_LEN;

        /* next: the same blocks further on, or the next blocks from their start */
        const size_t ahead = d + n < n_dim ? (size_t)CHUNK_LEN * N_LANE : n_vec * stride_blk - (size_t)d * N_LANE;

        tiles(s, stride_s, q + d, stride_q, k + (size_t)d * N_LANE, N_LANE, stride_blk, ahead, n, n_q, n_vec, d == 0,
              d + n == n_dim ? &scale : NULL);
    }
}

void lv_attn_qk_avx512(float *s, size_t stride_s, const float *q, size_t stride_q, uint32_t n_q, const uint16_t *k,
                       uint32_t n_dim, uint32_t n_blk, float scale)
{
    const uint32_t width = tile_width(n_q);
    uint32_t n = 0;

    for (uint32_t b = 0; b < n_blk; b += n) {
        n = n_blk - b >= width ? width : 1;
        qk_blocks(s + (size_t)b * N_LANE, stride_s, q, stride_q, n_q, k + (size_t)b * n_dim * N_LANE, n_dim, n, scale);
    }
}

/* The last n_dim < 16 dims: V and the results in full vectors on the stack. */
static void pv_tail(float *out, size_t stride_out, const float *p, size_t stride_p, uint32_t n_q, const uint16_t *v,
                    size_t stride_v, uint32_t n_dim, uint32_t n_pos)
{
    uint16_t h[CHUNK_LEN][N_LANE] = { { 0 } };
    float y[N_LANE] = { 0 };

    for (size_t i = 0; i < n_pos; i++)
        memcpy(h[i], v + i * stride_v, n_dim * sizeof *v);
    for (size_t q = 0; q < n_q; q++) {
        memcpy(y, out + q * stride_out, n_dim * sizeof *y);
        tile_f16(y, 0, p + q * stride_p, 0, h[0], N_LANE, 0, 0, n_pos, 1, 1, false, NULL);
        memcpy(out + q * stride_out, y, n_dim * sizeof *y);
    }
}

void lv_attn_pv_avx512(float *out, size_t stride_out, const float *p, size_t stride_p, uint32_t n_q, const uint16_t *v,
                       size_t stride_v, uint32_t n_dim, uint32_t n_pos)
{
    const uint32_t width = tile_width(n_q);
    const size_t ahead = CHUNK_LEN * stride_v;

    /* positions outside, dims inside: V is read from memory in one pass over whole rows */
    for (uint32_t i = 0; i < n_pos; i += CHUNK_LEN) {
        const uint32_t n = n_pos - i < CHUNK_LEN ? n_pos - i : CHUNK_LEN;
        const uint16_t *vi = v + i * stride_v;
        uint32_t n_vec = 0;

        for (uint32_t d = 0; d < n_dim; d += n_vec * N_LANE) {
            n_vec = n_dim - d >= width * N_LANE ? width : 1;
            if (n_dim - d < N_LANE) {
                pv_tail(out + d, stride_out, p + i, stride_p, n_q, vi + d, stride_v, n_dim - d, n);
            } else if (n_q <= TILE_Q) {
                tile_f16(out + d, stride_out, p + i, stride_p, vi + d, stride_v, N_LANE, ahead, n, n_q, n_vec, false,
                         NULL);
            } else {
                tiles(out + d, stride_out, p + i, stride_p, vi + d, stride_v, N_LANE, ahead, n, n_q, n_vec, false,
                      NULL);
            }
        }
    }
}
