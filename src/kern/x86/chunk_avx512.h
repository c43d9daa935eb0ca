/* 256 columns of a group unpacked at a time, for kernels that use them for many tokens: one byte a quant in lines as in
 * R32, scales in f32. Who includes this defines CHUNK_QUANTS(type, kb, c, m, i, h), the lines in the form it wants. */
#ifndef LV_KERN_X86_CHUNK_AVX512_H
#define LV_KERN_X86_CHUNK_AVX512_H

#include "kern/x86/r32_avx512.h"
#include "kern/unroll.h"

#define N_BLK 8 /* blocks of 32 columns in a chunk */

/* While a chunk is used, bytes from so far behind its end on are asked for: those right behind it would come too late
 * for the next unpacking, which waits for them. */
#define AHEAD_BYTES 2048

struct chunk {
    __attribute__((aligned(64))) int8_t q[2][N_BLK][8][64]; /* rows 0..15 or 16..31, block, line */
    struct scales s;
    __attribute__((aligned(64))) float k[N_BLK][2][LV_GROUP_ROWS]; /* Q6_K: the two scales of a block */
};

/* What differs in the float steps. */
enum kind { PLAIN, MIN, TWO_SCALES };

INLINE enum kind kind_of(enum lv_type type)
{
    return type == LV_TYPE_Q6_K ? TWO_SCALES : lv_r32_has_min(type) ? MIN : PLAIN;
}

INLINE uint32_t chunk_bytes(enum lv_type type)
{
    return LV_GROUP_ROWS * lv_r32_block_bytes(type) * (256 / lv_r32_block_len(type));
}

/* Block b of the chunk: sub-block b of a k-block of 256, or a k-block of 32. m = b % 4 is a constant. */
INLINE void unpack_block(enum lv_type type, struct chunk *ch, const uint8_t *kb, uint32_t b, uint32_t m)
{
    const uint32_t c = lv_r32_block_len(type) == 256 ? b : 0;

    for (uint32_t h = 0; h < 2; h++) {
        LV_UNROLL
        for (uint32_t i = 0; i < 8; i++)
            _mm512_store_si512(ch->q[h][b][i], CHUNK_QUANTS(type, kb, c, m, i, h));
        if (type == LV_TYPE_Q4_K || type == LV_TYPE_Q5_K)
            continue;
        _mm512_store_ps(ch->s.d[b] + 16 * h, scale_of(type, &ch->s, kb, c, h));
        if (lv_r32_has_min(type))
            _mm512_store_ps(ch->s.m[b] + 16 * h, min_of(type, &ch->s, kb, c, h));
        if (type == LV_TYPE_Q6_K) {
            __m512 k[2];

            scales_q6(k, kb, c, m, h);
            _mm512_store_ps(ch->k[b][0] + 16 * h, k[0]);
            _mm512_store_ps(ch->k[b][1] + 16 * h, k[1]);
        }
    }
}

INLINE void unpack(enum lv_type type, struct chunk *ch, const uint8_t *kb, uint32_t n_blk)
{
    const uint32_t kb_bytes = LV_GROUP_ROWS * lv_r32_block_bytes(type);

    if (lv_r32_block_len(type) == 32) {
        for (uint32_t b = 0; b < n_blk; b++)
            unpack_block(type, ch, kb + b * kb_bytes, b, 0);
        return;
    }
    if (type != LV_TYPE_Q6_K)
        scales_k(&ch->s, kb);
    for (uint32_t c = 0; c < N_BLK; c += 4) {
        LV_UNROLL
        for (uint32_t m = 0; m < 4; m++)
            unpack_block(type, ch, kb, c + m, m);
    }
}

#endif
