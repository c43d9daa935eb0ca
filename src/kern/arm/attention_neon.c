/* Attention products. 16 lanes are four registers. A register tile is up to TILE_Q queries by one or two sets
 * of 16 lanes, each register with its own fma chain; the tile loop shares every load and conversion of K or V between
 * queries and every broadcast between registers. */
#include "kern/unroll.h"
#include "kern/arm/vec_neon.h"
#include "kern/vec.h"

#define TILE_Q    6  /* 6 x 4 accumulators, 4 vectors, 1 broadcast: 29 of 32 registers */
#define TILE_Q2   2  /* queries with two sets: 2 x 8, 8 and 1 */
#define CHUNK_LEN 64 /* positions of V in one pass: its rows stay in L1 between queries */
#define N_LANE    16

/* The 16 lanes of set b at step i start at p + i * stride_step + b * stride_set. */
struct operand {
    const uint16_t *p;
    size_t stride_step, stride_set; /* elements */
    size_t ahead;                   /* elements from here to what comes next, prefetched; may lie outside */
};

/* acc[q][b] = fma(x[q][i], o[i][b], acc[q][b]) for i = 0 .. n_step - 1; acc starts from y, or 0 when first; times
 * *scale at the end unless NULL. n_q and n_vec are constants where this is inlined. */
static inline __attribute__((always_inline)) void tile(float *y, size_t stride_y, const float *x, size_t stride_x,
                                                       const struct operand *o, uint32_t n_step, int n_q, int n_vec,
                                                       bool first, const float *scale)
{
    float32x4_t acc[TILE_Q][8];

    LV_UNROLL
    for (int q = 0; q < n_q; q++) {
        LV_UNROLL
        for (int b = 0; b < n_vec; b++)
            acc[q][b] = first ? vdupq_n_f32(0.0f) : vld1q_f32(y + (size_t)q * stride_y + b * 4);
    }
    for (size_t i = 0; i < n_step; i++) {
        const uint16_t *h = o->p + i * o->stride_step;
        float32x4_t v[8];

        LV_UNROLL
        for (int b = 0; b < n_vec; b++) {
            const uint16_t *hb = h + (size_t)(b / 4) * o->stride_set + b % 4 * 4;

            if (b % 4 == 0)
                __builtin_prefetch((const void *)((uintptr_t)hb + o->ahead * sizeof *hb));
            v[b] = lv_load_f16_neon(hb);
        }
        LV_UNROLL
        for (int q = 0; q < n_q; q++) {
            const float32x4_t xq = vdupq_n_f32(x[(size_t)q * stride_x + i]);

            LV_UNROLL
            for (int b = 0; b < n_vec; b++)
                acc[q][b] = vfmaq_f32(acc[q][b], xq, v[b]);
        }
    }
    LV_UNROLL
    for (int q = 0; q < n_q; q++) {
        LV_UNROLL
        for (int b = 0; b < n_vec; b++) {
            if (scale)
                acc[q][b] = vmulq_n_f32(acc[q][b], *scale);
            vst1q_f32(y + (size_t)q * stride_y + b * 4, acc[q][b]);
        }
    }
}

/* tile() for each number of queries and sets, as straight code; two sets up to TILE_Q2 queries only. */
static inline __attribute__((always_inline)) void tile_of(float *y, size_t stride_y, const float *x, size_t stride_x,
                                                          const struct operand *o, uint32_t n_step, uint32_t n_q,
                                                          uint32_t n_set, bool first, const float *scale)
{
#define CASE(n)                                                                                                        \
    case n:                                                                                                            \
        if (n <= TILE_Q2 && n_set == 2)                                                                                \
            tile(y, stride_y, x, stride_x, o, n_step, n, 8, first, scale);                                             \
        else                                                                                                           \
            tile(y, stride_y, x, stride_x, o, n_step, n, 4, first, scale);                                             \
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

/* Queries of the next tile: tiles of about equal size. */
static uint32_t tile_size(uint32_t n_q)
{
    const uint32_t n_tile = (n_q + TILE_Q - 1) / TILE_Q;

    return (n_q + n_tile - 1) / n_tile;
}

void lv_attn_qk_neon(float *s, size_t stride_s, const float *q, size_t stride_q, uint32_t n_q, const uint16_t *k,
                     uint32_t n_dim, uint32_t n_blk, float scale)
{
    const size_t stride_blk = (size_t)n_dim * N_LANE;
    uint32_t n = 0;

    for (uint32_t b = 0; b < n_blk; b += n) { /* a block is converted again by each tile of queries, from L1 */
        n = n_q <= TILE_Q2 && n_blk - b >= 2 ? 2 : 1;
        const struct operand o = { k + b * stride_blk, N_LANE, stride_blk, n * stride_blk };

        for (uint32_t i = 0, n_i; i < n_q; i += n_i) {
            n_i = tile_size(n_q - i);
            tile_of(s + i * stride_s + (size_t)b * N_LANE, stride_s, q + i * stride_q, stride_q, &o, n_dim, n_i, n, true,
                    &scale);
        }
    }
}

/* The last n_dim < 16 dims. */
static void pv_tail(float *out, size_t stride_out, const float *p, size_t stride_p, uint32_t n_q, const uint16_t *v,
                    size_t stride_v, uint32_t n_dim, uint32_t n_pos)
{
    for (size_t q = 0; q < n_q; q++) {
        for (size_t d = 0; d < n_dim; d++) {
            float acc = out[q * stride_out + d];

            for (size_t i = 0; i < n_pos; i++)
                acc = fmaf(p[q * stride_p + i], lv_f32_from_f16(v[i * stride_v + d]), acc);
            out[q * stride_out + d] = acc;
        }
    }
}

void lv_attn_pv_neon(float *out, size_t stride_out, const float *p, size_t stride_p, uint32_t n_q, const uint16_t *v,
                     size_t stride_v, uint32_t n_dim, uint32_t n_pos)
{
    const size_t ahead = CHUNK_LEN * stride_v;

    /* positions outside, dims inside: V is read from memory in one pass over whole rows */
    for (uint32_t i = 0; i < n_pos; i += CHUNK_LEN) {
        const uint32_t n = n_pos - i < CHUNK_LEN ? n_pos - i : CHUNK_LEN;
        const uint16_t *vi = v + i * stride_v;
        uint32_t n_set = 0;

        for (uint32_t d = 0; d < n_dim; d += n_set * N_LANE) {
            n_set = n_q <= TILE_Q2 && n_dim - d >= 2 * N_LANE ? 2 : 1;
            if (n_dim - d < N_LANE) {
                pv_tail(out + d, stride_out, p + i, stride_p, n_q, vi + d, stride_v, n_dim - d, n);
                continue;
            }
            const struct operand o = { vi + d, stride_v, N_LANE, ahead };

            for (uint32_t q = 0, n_i; q < n_q; q += n_i) {
                n_i = tile_size(n_q - q);
                tile_of(out + q * stride_out + d, stride_out, p + q * stride_p + i, stride_p, &o, n, n_i, n_set, false,
                        NULL);
            }
        }
    }
}
