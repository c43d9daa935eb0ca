/* Integer weights by AMX tiles, for 10 tokens and more.
 *
 * 256 columns of a group at a time are unpacked to signed bytes and f32 scales; then tiles of 8 to 16 tokens
 * by 16 rows run over them, accumulators in registers. The tile unit gives the integer sums of 32 columns (16 of
 * Q6_K) through a ring in memory, three products ahead of the float steps; these and their order are those of the
 * contract, so the result is bitwise that of the other levels. The float steps, and the stores of tiles beside them,
 * are the limit: docs/SPEED.md. */
#include "kern/gemm_list.h"
#include "kern/x86/amx_tile.h"
#include "kern/x86/r32_avx512.h"
#include "kern/unroll.h"

#ifdef LV_EMULATE
#define NAME(name) lv_gemm_##name##_amx_emulated
#else
#define NAME(name) lv_gemm_##name##_amx
#endif

#define MIN_TOK 10   /* fewer: storing tiles takes longer than the dots of the level below */
#define MIN_TILE_TOK 8
#define TILE_TOK 16
#define PASS_TILES 4 /* what they need stays in the first-level cache */
#define AHEAD 3      /* products from begin to use */

/* Where bit i of the result of an affine map of bytes comes from: row i is a mask of bits, in byte 7 - i. */
#define NIBBLE_LOW 0x0102040800000000ull
#define NIBBLE_HIGH 0x1020408000000000ull
#define TOP_LOW 0x08080808ull   /* bits 4 to 7 all equal to bit 3 */
#define TOP_HIGH 0x80808080ull  /* ... to bit 7 */

/* Columns 4i .. 4i + 3 of block b for 16 rows as signed bytes, the offset taken off. One affine map is shift, mask and
 * subtraction: q - 2^n is q with bit n - 1 turned round and copied to the bits above. */
INLINE __m512i signed_quants(enum lv_type type, const uint8_t *kb, uint32_t c, uint32_t m, uint32_t i, uint32_t h)
{
    const uint32_t qs = lv_r32_off_qs(type), qh = lv_r32_off_qh(type);
    __m512i lo, hi;
    bool high;

    switch (type) {
    case LV_TYPE_Q8_0:
        return _mm512_xor_si512(line(kb, qs, i, h), _mm512_set1_epi8(-128));
    case LV_TYPE_Q4_0:
        return i < 4 ? lv_amx_affine(line(kb, qs, i & 3, h), NIBBLE_LOW | TOP_LOW, 0xf8)
                     : lv_amx_affine(line(kb, qs, i & 3, h), NIBBLE_HIGH | TOP_HIGH, 0xf8);
    case LV_TYPE_Q4_1:
        high = i >= 4;
        lo = line(kb, qs, i & 3, h);
        hi = _mm512_setzero_si512();
        break;
    case LV_TYPE_Q4_K:
        high = m & 1;
        lo = line(kb, qs, c / 2 * 8 + i, h);
        hi = _mm512_setzero_si512();
        break;
    case LV_TYPE_Q5_0:
        high = i >= 4;
        lo = line(kb, qs, i & 3, h);
        hi = lv_amx_affine(line(kb, qh, 0, h), 0x01010101ull << i, 0xf0);
        break;
    case LV_TYPE_Q5_1:
        high = i >= 4;
        lo = line(kb, qs, i & 3, h);
        hi = lv_amx_affine(line(kb, qh, 0, h), 0x01000000ull << i, 0);
        break;
    case LV_TYPE_Q5_K:
        high = m & 1;
        lo = line(kb, qs, c / 2 * 8 + i, h);
        hi = lv_amx_affine(line(kb, qh, i, h), 0x01000000ull << c, 0);
        break;
    default: /* Q6_K: two high bits */
        high = m >> 1;
        lo = line(kb, qs, c / 4 * LV_R32_Q6_HALF + (m & 1) * 8 + i, h);
        hi = lv_amx_affine(line(kb, qh, c / 4 * LV_R32_Q6_HALF + i, h), 0x01020202ull << 2 * m, 0xe0);
    }
    if (high)
        return _mm512_or_si512(lv_amx_affine(lo, NIBBLE_HIGH, 0), hi);
    return _mm512_ternarylogic_epi32(lo, _mm512_set1_epi8(15), hi, 0xea); /* (lo & 15) | hi */
}

#define CHUNK_QUANTS signed_quants
#include "kern/x86/chunk_avx512.h"

/* The tokens of a tile for the columns of the chunk. */
struct x_tile {
    const int8_t *q; /* first token, first column */
    __attribute__((aligned(32))) float d[TILE_TOK][N_BLK];
    __attribute__((aligned(32))) float sd[TILE_TOK][N_BLK];
};

/* One call's working memory, on the stack: 30 KiB. */
struct state {
    struct lv_amx amx;
    uint32_t n_tile, n_blk;
    size_t stride_q;
    const uint8_t *next; /* bytes to ask for meanwhile, n_line lines of them each quad */
    uint32_t n_line;
    struct chunk ch;
    struct x_tile x[PASS_TILES];
    struct lv_amx_sums ring[LV_AMX_SLOTS];
    __attribute__((aligned(64))) float acc[PASS_TILES][2][TILE_TOK][16];
};

/* Integers below 2^22 to f32 by two additions: beside tile instructions these run twice as fast as a conversion,
 * because the second multiplier of the vector unit sleeps. */
INLINE __m512 f32_sums(const int32_t *s)
{
    const __m512i v = _mm512_add_epi32(_mm512_load_si512(s), _mm512_set1_epi32(0x4b400000)); /* 1.5 * 2^23 */

    return _mm512_sub_ps(_mm512_castsi512_ps(v), _mm512_set1_ps(0x1.8p23f));
}

/* The float steps of block b for token t of a tile. s0, s1: its sums, two with two scales. */
INLINE __m512 step(enum kind kind, __m512 acc, const int32_t *s0, const int32_t *s1, const struct chunk *ch,
                   const struct x_tile *x, uint32_t t, uint32_t b, uint32_t h)
{
    __m512 f = f32_sums(s0);

    if (kind == TWO_SCALES) /* exact, as in the level below */
        f = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(s1)), _mm512_load_ps(ch->k[b][1] + 16 * h),
                            _mm512_mul_ps(f, _mm512_load_ps(ch->k[b][0] + 16 * h)));
    acc = _mm512_fmadd_ps(f, _mm512_mul_ps(_mm512_load_ps(ch->s.d[b] + 16 * h), _mm512_set1_ps(x->d[t][b])), acc);
    if (kind == MIN)
        acc = _mm512_fmadd_ps(_mm512_load_ps(ch->s.m[b] + 16 * h), _mm512_set1_ps(x->sd[t][b]), acc);
    return acc;
}

/* Four blocks: where their products find activations and weights. */
struct quad {
    const int8_t *x, *w;
};

INLINE struct quad quad_of(const struct state *s, uint32_t tile, uint32_t h, uint32_t b)
{
    return (struct quad){ s->x[tile].q + 32 * b, s->ch.q[h][b][0] };
}

/* The one after (tile, h, b). Behind the last one comes the first again, whose products nobody uses. */
INLINE struct quad next_quad(const struct state *s, uint32_t tile, uint32_t h, uint32_t b)
{
    if (b + 8 <= s->n_blk) /* another quad of these rows */
        return quad_of(s, tile, h, b + 4);
    if (!h)
        return quad_of(s, tile, 1, 0);
    return quad_of(s, tile + 1 < s->n_tile ? tile + 1 : 0, 0, 0);
}

/* Product i of the quads q[0], q[1]; half a block each with two scales. All but the pointers is constant. */
INLINE void begin_product(enum kind kind, struct state *s, const struct quad *q, uint32_t i)
{
    const uint32_t per_blk = kind == TWO_SCALES ? 2 : 1, n = 4 * per_blk;

    lv_amx_product(&s->amx, i % LV_AMX_SLOTS, q[i / n].x + i % n * 32 / per_blk, s->stride_q,
                   q[i / n].w + i % n * 512 / per_blk);
}

INLINE void store_product(struct state *s, uint32_t i)
{
    lv_amx_store(&s->amx, i % LV_AMX_SLOTS, &s->ring[i % LV_AMX_SLOTS]);
}

/* The blocks of the chunk, a multiple of four, for all tiles of n tokens. */
INLINE void run(enum kind kind, uint32_t n, struct state *s)
{
    const uint32_t per_blk = kind == TWO_SCALES ? 2 : 1;
    struct quad q[2];

    q[0] = quad_of(s, 0, 0, 0);
    LV_UNROLL
    for (uint32_t i = 0; i < AHEAD; i++)
        begin_product(kind, s, q, i);
    LV_UNROLL
    for (uint32_t i = 0; i + 1 < AHEAD; i++)
        store_product(s, i);
    for (uint32_t tile = 0; tile < s->n_tile; tile++)
        for (uint32_t h = 0; h < 2; h++) {
            __m512 acc[TILE_TOK];

            LV_UNROLL
            for (uint32_t t = 0; t < n; t++)
                acc[t] = _mm512_load_ps(s->acc[tile][h][t]);
            for (uint32_t b = 0; b + 4 <= s->n_blk; b += 4) {
                q[1] = next_quad(s, tile, h, b);
                LV_UNROLL
                for (uint32_t j = 0; j < 4; j++) {
                    LV_UNROLL
                    for (uint32_t i = j * per_blk; i < (j + 1) * per_blk; i++) {
                        begin_product(kind, s, q, i + AHEAD);
                        store_product(s, i + AHEAD - 1);
                    }
                    const struct lv_amx_sums *s0 = &s->ring[j * per_blk % LV_AMX_SLOTS];

                    LV_UNROLL
                    for (uint32_t t = 0; t < n; t++)
                        acc[t] = step(kind, acc[t], s0->v[t], s0[per_blk - 1].v[t], &s->ch, &s->x[tile], t, b + j, h);
                }
                for (uint32_t l = 0; l < s->n_line; l++, s->next += 64)
                    _mm_prefetch((const char *)s->next, _MM_HINT_T0);
                q[0] = q[1];
            }
            LV_UNROLL
            for (uint32_t t = 0; t < n; t++)
                _mm512_store_ps(s->acc[tile][h][t], acc[t]);
        }
}

/* Blocks b0 .. of the chunk one after the other: what a row has beyond a multiple of four. Never many. */
static void run_rest(enum kind kind, uint32_t n, struct state *s, uint32_t b0)
{
    for (uint32_t tile = 0; tile < s->n_tile; tile++)
        for (uint32_t h = 0; h < 2; h++)
            for (uint32_t b = b0; b < s->n_blk; b++) {
                const struct quad q = quad_of(s, tile, h, b);

                for (uint32_t i = 0; i < (kind == TWO_SCALES ? 2 : 1); i++) {
                    begin_product(kind, s, &q, i);
                    store_product(s, i);
                }
                for (uint32_t t = 0; t < n; t++) {
                    __m512 acc = _mm512_load_ps(s->acc[tile][h][t]);

                    acc = step(kind, acc, s->ring[0].v[t], s->ring[1].v[t], &s->ch, &s->x[tile], t, b, h);
                    _mm512_store_ps(s->acc[tile][h][t], acc);
                }
            }
}

typedef void run_fn(struct state *s);

#define RUN(kind, n) static void run_##kind##_##n(struct state *s) { run(kind, n, s); }
#define RUNS(kind)                                                                                                 \
    RUN(kind, 8) RUN(kind, 9) RUN(kind, 10) RUN(kind, 11) RUN(kind, 12) RUN(kind, 13) RUN(kind, 14) RUN(kind, 15) \
    RUN(kind, 16)                                                                                                  \
    static run_fn *const runs_##kind[] = { run_##kind##_8, run_##kind##_9, run_##kind##_10, run_##kind##_11,       \
                                           run_##kind##_12, run_##kind##_13, run_##kind##_14, run_##kind##_15,     \
                                           run_##kind##_16 };
RUNS(PLAIN)
RUNS(MIN)
RUNS(TWO_SCALES)

/* Token t, blocks b0 .. b0 + n_blk - 1 of the row. */
INLINE void load_scales(float out[N_BLK], const float *src, uint32_t n_blk)
{
    _mm256_store_ps(out, _mm256_maskz_loadu_ps((__mmask8)((1u << n_blk) - 1), src));
}

/* n_tok <= PASS_TILES * TILE_TOK tokens in tiles of one size n; the last one reaches back over tokens that
 * an earlier one has too, and gives the same values again. */
INLINE void pass(enum lv_type type, float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x,
                 uint32_t t0, uint32_t n_tok)
{
    const uint32_t n_tile = (n_tok + TILE_TOK - 1) / TILE_TOK, n = (n_tok + n_tile - 1) / n_tile;
    const uint32_t n_sub = x->n_cols / 32;
    const enum kind kind = kind_of(type);
    run_fn *const run_n = (kind == PLAIN ? runs_PLAIN : kind == MIN ? runs_MIN : runs_TWO_SCALES)[n - MIN_TILE_TOK];
    struct state s;

    s.n_tile = n_tile;
    s.stride_q = x->n_cols;
    s.n_line = (chunk_bytes(type) / 64 + n_tile * 4 - 1) / (n_tile * 4);
    memset(s.acc, 0, n_tile * sizeof s.acc[0]);
    lv_amx_begin(&s.amx, n, kind == TWO_SCALES ? 16 : 32);
    for (uint32_t b0 = 0; b0 < n_sub; b0 += N_BLK, group += chunk_bytes(type)) {
        s.n_blk = n_sub - b0 < N_BLK ? n_sub - b0 : N_BLK;
        unpack(type, &s.ch, group, s.n_blk);
        for (uint32_t i = 0; i < n_tile; i++) {
            const uint32_t first = t0 + (i + 1 < n_tile ? i * n : n_tok - n);

            s.x[i].q = x->q + (size_t)first * x->n_cols + b0 * 32;
            for (uint32_t t = 0; t < n; t++) {
                load_scales(s.x[i].d[t], x->d + (size_t)(first + t) * n_sub + b0, s.n_blk);
                if (kind == MIN)
                    load_scales(s.x[i].sd[t], x->sd + (size_t)(first + t) * n_sub + b0, s.n_blk);
            }
        }
        s.next = group + chunk_bytes(type) + AHEAD_BYTES;
        if (s.n_blk >= 4)
            run_n(&s);
        if (s.n_blk % 4)
            run_rest(kind, n, &s, s.n_blk / 4 * 4);
    }
    lv_amx_end();
    for (uint32_t i = 0; i < n_tile; i++)
        for (uint32_t t = 0; t < n; t++)
            for (uint32_t h = 0; h < 2; h++)
                memcpy(y + ((i + 1 < n_tile ? i * n : n_tok - n) + t) * stride_y + 16 * h, s.acc[i][h][t],
                       sizeof s.acc[i][h][t]);
}

INLINE void gemm(enum lv_type type, lv_gemm_fn *few, float *y, size_t stride_y, const uint8_t *group,
                 const struct lv_act *x, uint32_t t0, uint32_t n_tok)
{
    const uint32_t cap = PASS_TILES * TILE_TOK;

    if (n_tok < MIN_TOK) {
        few(y, stride_y, group, x, t0, n_tok);
        return;
    }
    for (uint32_t n_pass = (n_tok + cap - 1) / cap; n_pass; n_pass--) {
        const uint32_t n = (n_tok + n_pass - 1) / n_pass;

        pass(type, y, stride_y, group, x, t0, n);
        y += n * stride_y;
        t0 += n;
        n_tok -= n;
    }
}

#define LV_X(TYPE, name)                                                                                    \
    lv_gemm_fn NAME(name);                                                                                  \
    void NAME(name)(float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x, uint32_t t0,  \
                    uint32_t n_tok)                                                                         \
    {                                                                                                       \
        gemm(LV_TYPE_##TYPE, lv_gemm_##name##_avx512, y, stride_y, group, x, t0, n_tok);                    \
    }
LV_KERN_INT_TYPES(LV_X)
#undef LV_X
