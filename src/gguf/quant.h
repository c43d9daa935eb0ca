/* Tensor types: the block layouts of GGUF files.
 *
 * A row is a sequence of blocks; a block holds `len` weights in `bytes` bytes.
 * The numbers and field orders are facts of the GGUF format. */
#ifndef LV_GGUF_QUANT_H
#define LV_GGUF_QUANT_H

#include <stdint.h>

/* Name, number in GGUF files, weights a block, bytes a block. */
#define LV_TYPE_LIST(X)          \
    X(F32, 0, 1, 4)              \
    X(F16, 1, 1, 2)              \
    X(Q4_0, 2, 32, 18)           \
    X(Q4_1, 3, 32, 20)           \
    X(Q5_0, 6, 32, 22)           \
    X(Q5_1, 7, 32, 24)           \
    X(Q8_0, 8, 32, 34)           \
    X(Q4_K, 12, 256, 144)        \
    X(Q5_K, 13, 256, 176)        \
    X(Q6_K, 14, 256, 210)        \
    X(BF16, 30, 1, 2)

enum lv_type {
#define LV_X(name, num, len, bytes) LV_TYPE_##name = num,
    LV_TYPE_LIST(LV_X)
#undef LV_X
};
#define LV_TYPE_MAX 31 /* all numbers are below; tables are indexed by type */

struct lv_type_traits {
    const char *name;    /* "Q4_K"; NULL where there is no such type */
    uint16_t block_len;  /* weights */
    uint16_t block_bytes;
};

/* Traits of a type number from a file, or NULL if Lever does not know it. */
const struct lv_type_traits *lv_type_traits(uint32_t type);
/* Name of any type number of the GGUF format, also unsupported ones; "unknown" for others, never NULL. */
const char *lv_type_name(uint32_t type);
/* Bytes of a row of n weights (n a multiple of the block length). */
static inline uint64_t lv_row_bytes(enum lv_type type, uint64_t n)
{
    const struct lv_type_traits *t = lv_type_traits(type);

    return n / t->block_len * t->block_bytes;
}

/* dst[n] = the weights of one row, in f32. The definition of each type; never tuned. */
void lv_dequant_row(enum lv_type type, const void *src, float *dst, uint64_t n);

#endif
