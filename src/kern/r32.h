/* R32: 32 weight rows in one linear stream, in the order the kernels read them.
 *
 * A group is a sequence of k-blocks, one for each block of the 32 GGUF rows, with exactly
 * the bytes of those 32 blocks. A k-block is made of parts, and a part is a piece
 * of the 32 blocks with rows and 4-byte words exchanged:
 *
 *     part [n_word][32 rows] of 4 bytes:  word i of row r at 128 * i + 4 * r
 *
 * so 64 bytes (a line) are one word of 16 rows, and lines of rows 0..15 and 16..31 alternate.
 * One word of quants is 4 consecutive columns of a row (8 with nibbles): what a 4-byte integer dot
 * takes. A lone f16 scale is a part of [32 rows] of 2 bytes. Byte order is little-endian.
 *
 *            file offset and bytes of a block     -> offset in the k-block, words
 * Q4_0  18   d 0:2  qs 2:16                       -> d 0  qs 64 x4                          = 576
 * Q4_1  20   d,m 0:4  qs 4:16                     -> dm 0 x1  qs 128 x4                     = 640
 * Q5_0  22   d 0:2  qh 2:4  qs 6:16               -> d 0  qh 64 x1*  qs 192 x4              = 704
 * Q5_1  24   d,m 0:4  qh 4:4  qs 8:16             -> dm 0 x1  qh 128 x1*  qs 256 x4         = 768
 * Q8_0  34   d 0:2  qs 2:32                       -> d 0  qs 64 x8, bytes ^ 0x80            = 1088
 * Q4_K  144  d,dmin 0:4  scales 4:12  qs 16:128   -> dm 0 x1  scales 128 x3  qs 512 x32     = 4608
 * Q5_K  176  d,dmin 0:4  scales 4:12  qh 16:32  qs 48:128
 *                                                 -> dm 0 x1  scales 128 x3  qh 512 x8  qs 1536 x32 = 5632
 * Q6_K  210  ql 0:128  qh 128:64  scales 192:16  d 208:2
 *                                                 -> d 0  scales 64 x4, then for h = 0, 1 (128 columns each)
 *                                                    qh 576 + 3072h x8  ql 1600 + 3072h x16  = 6720
 * F16, BF16  one column: 32 x 2 bytes;  F32  one column: 32 x 4 bytes
 *
 * Where column k of a row is (w = word, i = k % 32 / 4 or less, byte k % 4 of the word):
 *   Q4_0 Q4_1 Q5_0 Q5_1  w = k % 16 / 4; low nibble if k < 16, else high. High bit: byte k % 4, bit k / 4 of
 *              qh: *this is the one place where bits move (in the file it is bit k of the word)
 *   Q8_0       w = k / 4
 *   Q4_K Q5_K  c = k / 32: w = c / 2 * 8 + i; low nibble if c is even. High bit: bit c of word i of qh
 *   Q6_K       h = k / 128, m = k % 128 / 32: ql word m % 2 * 8 + i of half h, low nibble if m < 2;
 *              two high bits: qh word i of half h, bits 2m and 2m + 1; scale of each 16 columns: byte k / 16
 *   scales of Q4_K, Q5_K: 12 bytes s; sub-block c < 4: scale s[c] & 63, min s[c + 4] & 63; else
 *              scale s[c + 4] & 15 | s[c - 4] >> 6 << 4, min s[c + 4] >> 4 | s[c] >> 6 << 4
 *
 * Stored quants are unsigned; a weight is scale * (q - offset) or scale * q + min. */
#ifndef LV_KERN_R32_H
#define LV_KERN_R32_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "gguf/quant.h"

#define LV_R32_PART 128 /* bytes of one word of 32 rows */

enum lv_r32_how {
    LV_R32_WORD,  /* words as they are */
    LV_R32_FLIP,  /* words ^ 0x80808080 */
    LV_R32_BITS,  /* one word, bit 4 * i + b goes to bit 8 * b + i */
    LV_R32_HALF   /* 2 bytes a row */
};

struct lv_r32_part {
    uint16_t src, dst; /* bytes from the start of the file's block, of the k-block */
    uint8_t n_word;
    uint8_t how;       /* enum lv_r32_how */
};

struct lv_r32_layout {
    uint32_t n_part;
    struct lv_r32_part part[6];
};

/* Layout of an integer type. Inline and constant, so that packers see constants. */
static inline struct lv_r32_layout lv_r32_layout(enum lv_type type)
{
    switch (type) {
    case LV_TYPE_Q4_0:
        return (struct lv_r32_layout){ 2, { { 0, 0, 1, LV_R32_HALF }, { 2, 64, 4, LV_R32_WORD } } };
    case LV_TYPE_Q4_1:
        return (struct lv_r32_layout){ 1, { { 0, 0, 5, LV_R32_WORD } } };
    case LV_TYPE_Q5_0:
        return (struct lv_r32_layout){
            3, { { 0, 0, 1, LV_R32_HALF }, { 2, 64, 1, LV_R32_BITS }, { 6, 192, 4, LV_R32_WORD } } };
    case LV_TYPE_Q5_1:
        return (struct lv_r32_layout){
            3, { { 0, 0, 1, LV_R32_WORD }, { 4, 128, 1, LV_R32_BITS }, { 8, 256, 4, LV_R32_WORD } } };
    case LV_TYPE_Q8_0:
        return (struct lv_r32_layout){ 2, { { 0, 0, 1, LV_R32_HALF }, { 2, 64, 8, LV_R32_FLIP } } };
    case LV_TYPE_Q4_K:
        return (struct lv_r32_layout){ 1, { { 0, 0, 36, LV_R32_WORD } } };
    case LV_TYPE_Q5_K:
        return (struct lv_r32_layout){ 1, { { 0, 0, 44, LV_R32_WORD } } };
    case LV_TYPE_Q6_K:
        return (struct lv_r32_layout){
            6, { { 208, 0, 1, LV_R32_HALF }, { 192, 64, 4, LV_R32_WORD }, { 128, 576, 8, LV_R32_WORD },
                 { 0, 1600, 16, LV_R32_WORD }, { 160, 3648, 8, LV_R32_WORD }, { 64, 4672, 16, LV_R32_WORD } } };
    default:
        return (struct lv_r32_layout){ 0, { { 0, 0, 0, 0 } } };
    }
}

/* Words from one half of a Q6_K block to the other: each has its high bits, then its low ones, so that a kernel
 * that reads both keeps close to one place of the stream. */
#define LV_R32_Q6_HALF 24

/* Offsets of the quants in a k-block (Q6_K: of its first half). qh: 0 where a type has none. */
static inline uint32_t lv_r32_off_qs(enum lv_type type)
{
    switch (type) {
    case LV_TYPE_Q4_1: return 128;
    case LV_TYPE_Q5_0: return 192;
    case LV_TYPE_Q5_1: return 256;
    case LV_TYPE_Q4_K: return 512;
    case LV_TYPE_Q5_K: return 1536;
    case LV_TYPE_Q6_K: return 1600;
    default: return 64;
    }
}

static inline uint32_t lv_r32_off_qh(enum lv_type type)
{
    switch (type) {
    case LV_TYPE_Q5_0: return 64;
    case LV_TYPE_Q5_1: return 128;
    case LV_TYPE_Q5_K: return 512;
    case LV_TYPE_Q6_K: return 576;
    default: return 0;
    }
}

/* Subtracted from the unsigned quant; the types with a minimum have none. */
static inline int32_t lv_r32_offset(enum lv_type type)
{
    switch (type) {
    case LV_TYPE_Q4_0: return 8;
    case LV_TYPE_Q5_0: return 16;
    case LV_TYPE_Q8_0: return 128;
    case LV_TYPE_Q6_K: return 32;
    default: return 0;
    }
}

static inline bool lv_r32_has_min(enum lv_type type)
{
    return type == LV_TYPE_Q4_1 || type == LV_TYPE_Q5_1 || type == LV_TYPE_Q4_K || type == LV_TYPE_Q5_K;
}

static inline bool lv_r32_is_float(enum lv_type type)
{
    return type == LV_TYPE_F32 || type == LV_TYPE_F16 || type == LV_TYPE_BF16;
}

/* Constants for inlined kernels; lv_type_traits() says the same (checked by a test). */
static inline uint32_t lv_r32_block_len(enum lv_type type)
{
    switch (type) {
#define LV_X(name, num, len, bytes) case num: return len;
    LV_TYPE_LIST(LV_X)
#undef LV_X
    }
    return 0;
}

static inline uint32_t lv_r32_block_bytes(enum lv_type type)
{
    switch (type) {
#define LV_X(name, num, len, bytes) case num: return bytes;
    LV_TYPE_LIST(LV_X)
#undef LV_X
    }
    return 0;
}

/* Unaligned little-endian loads. */
static inline uint16_t lv_r32_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t lv_r32_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

#endif
