#include "gguf/quant.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/half.h"

/* ---- names and sizes ------------------------------------------------------- */

static const struct lv_type_traits traits[LV_TYPE_MAX] = {
#define LV_X(name, num, len, bytes) [num] = { #name, len, bytes },
    LV_TYPE_LIST(LV_X)
#undef LV_X
};

const struct lv_type_traits *lv_type_traits(uint32_t type)
{
    return type < LV_TYPE_MAX && traits[type].name ? &traits[type] : NULL;
}

/* All numbers the format has given out, so that a refusal can name the type. */
static const char *const names[] = {
    [0] = "F32",         [1] = "F16",         [2] = "Q4_0",        [3] = "Q4_1",      [4] = "Q4_2",     [5] = "Q4_3",
    [6] = "Q5_0",        [7] = "Q5_1",        [8] = "Q8_0",        [9] = "Q8_1",      [10] = "Q2_K",    [11] = "Q3_K",
    [12] = "Q4_K",       [13] = "Q5_K",       [14] = "Q6_K",       [15] = "Q8_K",     [16] = "IQ2_XXS", [17] = "IQ2_XS",
    [18] = "IQ3_XXS",    [19] = "IQ1_S",      [20] = "IQ4_NL",     [21] = "IQ3_S",    [22] = "IQ2_S",   [23] = "IQ4_XS",
    [24] = "I8",         [25] = "I16",        [26] = "I32",        [27] = "I64",      [28] = "F64",     [29] = "IQ1_M",
    [30] = "BF16",       [31] = "Q4_0_4_4",   [32] = "Q4_0_4_8",   [33] = "Q4_0_8_8", [34] = "TQ1_0",   [35] = "TQ2_0",
    [36] = "IQ4_NL_4_4", [37] = "IQ4_NL_4_8", [38] = "IQ4_NL_8_8", [39] = "MXFP4",    [40] = "NVFP4",
};

const char *lv_type_name(uint32_t type)
{
    return type < sizeof names / sizeof names[0] ? names[type] : "unknown";
}

/* ---- blocks ------------------------------------------------------------------
 * Bytes only: rows have no alignment. f16 fields are little-endian pairs. */

struct block_q4_0 {
    uint8_t d[2];  /* f16 scale */
    uint8_t q[16]; /* low nibbles: weights 0..15, high: 16..31 */
};

struct block_q4_1 {
    uint8_t d[2], m[2]; /* f16 scale, minimum */
    uint8_t q[16];
};

struct block_q5_0 {
    uint8_t d[2];
    uint8_t qh[4]; /* bit j: fifth bit of weight j */
    uint8_t q[16];
};

struct block_q5_1 {
    uint8_t d[2], m[2];
    uint8_t qh[4];
    uint8_t q[16];
};

struct block_q8_0 {
    uint8_t d[2];
    int8_t q[32];
};

struct block_q4_k {
    uint8_t d[2], dmin[2]; /* f16 scales of the scales and of the minima */
    uint8_t s[12];         /* 8 pairs of 6 bits, see scale_min */
    uint8_t q[128];        /* 4 x 32 bytes; low nibbles: 32 weights, high: the next 32 */
};

struct block_q5_k {
    uint8_t d[2], dmin[2];
    uint8_t s[12];
    uint8_t qh[32]; /* byte j, bit b: fifth bit of weight 32 b + j */
    uint8_t q[128];
};

struct block_q6_k {
    uint8_t ql[128]; /* low 4 bits */
    uint8_t qh[64];  /* upper 2 bits */
    int8_t s[16];    /* scale of each 16 weights */
    uint8_t d[2];
};

#define CHECK_BLOCK(name, type) static_assert(sizeof(struct block_##name) == BYTES_##type, "block size of " #type)
enum {
#define LV_X(name, num, len, bytes) BYTES_##name = bytes,
    LV_TYPE_LIST(LV_X)
#undef LV_X
};
CHECK_BLOCK(q4_0, Q4_0);
CHECK_BLOCK(q4_1, Q4_1);
CHECK_BLOCK(q5_0, Q5_0);
CHECK_BLOCK(q5_1, Q5_1);
CHECK_BLOCK(q8_0, Q8_0);
CHECK_BLOCK(q4_k, Q4_K);
CHECK_BLOCK(q5_k, Q5_K);
CHECK_BLOCK(q6_k, Q6_K);

static uint16_t bits16(const uint8_t *b)
{
    return (uint16_t)(b[0] | b[1] << 8);
}

static float half(const uint8_t *b)
{
    return lv_f32_from_f16(bits16(b));
}

/* Pair j of the 8 six-bit (scale, minimum) pairs: the first four in the low bits of bytes
 * 0..3 and 4..7, the others in nibbles of bytes 8..11 with their top bits on the first eight. */
static void scale_min(const uint8_t *s, int j, int *scale, int *min)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *min = s[j + 4] >> 4 | (s[j] >> 6) << 4;
    }
}

/* ---- one block to f32 -------------------------------------------------------- */

static void dequant_f32(const uint8_t *b, float *y)
{
    y[0] = lv_f32_from_bits((uint32_t)bits16(b) | (uint32_t)bits16(b + 2) << 16);
}

static void dequant_f16(const uint8_t *b, float *y)
{
    y[0] = half(b);
}

static void dequant_bf16(const uint8_t *b, float *y)
{
    y[0] = lv_f32_from_bf16(bits16(b));
}

static void dequant_q4_0(const uint8_t *p, float *y)
{
    const struct block_q4_0 *b = (const void *)p;
    const float d = half(b->d);

    for (int j = 0; j < 16; j++) {
        y[j] = (float)((b->q[j] & 15) - 8) * d;
        y[j + 16] = (float)((b->q[j] >> 4) - 8) * d;
    }
}

static void dequant_q4_1(const uint8_t *p, float *y)
{
    const struct block_q4_1 *b = (const void *)p;
    const float d = half(b->d), m = half(b->m);

    for (int j = 0; j < 16; j++) {
        y[j] = (float)(b->q[j] & 15) * d + m;
        y[j + 16] = (float)(b->q[j] >> 4) * d + m;
    }
}

/* The five bits of weight j of Q5_0 and Q5_1. */
static int five_bits(const uint8_t *q, const uint8_t *qh, int j)
{
    const int low = j < 16 ? q[j] & 15 : q[j - 16] >> 4;

    return low | (qh[j / 8] >> j % 8 & 1) << 4;
}

static void dequant_q5_0(const uint8_t *p, float *y)
{
    const struct block_q5_0 *b = (const void *)p;
    const float d = half(b->d);

    for (int j = 0; j < 32; j++)
        y[j] = (float)(five_bits(b->q, b->qh, j) - 16) * d;
}

static void dequant_q5_1(const uint8_t *p, float *y)
{
    const struct block_q5_1 *b = (const void *)p;
    const float d = half(b->d), m = half(b->m);

    for (int j = 0; j < 32; j++)
        y[j] = (float)five_bits(b->q, b->qh, j) * d + m;
}

static void dequant_q8_0(const uint8_t *p, float *y)
{
    const struct block_q8_0 *b = (const void *)p;
    const float d = half(b->d);

    for (int j = 0; j < 32; j++)
        y[j] = (float)b->q[j] * d;
}

static void dequant_q4_k(const uint8_t *p, float *y)
{
    const struct block_q4_k *b = (const void *)p;
    const float d = half(b->d), dmin = half(b->dmin);

    for (int i = 0; i < 8; i++) { /* 32 weights with one scale and minimum */
        const uint8_t *q = b->q + i / 2 * 32;
        int scale, min;

        scale_min(b->s, i, &scale, &min);
        const float ds = d * (float)scale, m = dmin * (float)min;

        for (int j = 0; j < 32; j++)
            y[32 * i + j] = ds * (float)(i % 2 ? q[j] >> 4 : q[j] & 15) - m;
    }
}

static void dequant_q5_k(const uint8_t *p, float *y)
{
    const struct block_q5_k *b = (const void *)p;
    const float d = half(b->d), dmin = half(b->dmin);

    for (int i = 0; i < 8; i++) {
        const uint8_t *q = b->q + i / 2 * 32;
        int scale, min;

        scale_min(b->s, i, &scale, &min);
        const float ds = d * (float)scale, m = dmin * (float)min;

        for (int j = 0; j < 32; j++) {
            const int low = i % 2 ? q[j] >> 4 : q[j] & 15;

            y[32 * i + j] = ds * (float)(low | (b->qh[j] >> i & 1) << 4) - m;
        }
    }
}

static void dequant_q6_k(const uint8_t *p, float *y)
{
    const struct block_q6_k *b = (const void *)p;
    const float d = half(b->d);

    for (int i = 0; i < 8; i++) { /* 32 weights: quarter i % 4 of half i / 4 */
        const uint8_t *ql = b->ql + i / 4 * 64 + i % 2 * 32;
        const uint8_t *qh = b->qh + i / 4 * 32;

        for (int j = 0; j < 32; j++) {
            const int low = i % 4 < 2 ? ql[j] & 15 : ql[j] >> 4;
            const int q = (low | (qh[j] >> i % 4 * 2 & 3) << 4) - 32;

            y[32 * i + j] = d * (float)b->s[2 * i + j / 16] * (float)q;
        }
    }
}

void lv_dequant_row(enum lv_type type, const void *src, float *dst, uint64_t n)
{
    static void (*const dequant[LV_TYPE_MAX])(const uint8_t *, float *) = {
        [LV_TYPE_F32] = dequant_f32,   [LV_TYPE_F16] = dequant_f16,   [LV_TYPE_BF16] = dequant_bf16,
        [LV_TYPE_Q4_0] = dequant_q4_0, [LV_TYPE_Q4_1] = dequant_q4_1, [LV_TYPE_Q5_0] = dequant_q5_0,
        [LV_TYPE_Q5_1] = dequant_q5_1, [LV_TYPE_Q8_0] = dequant_q8_0, [LV_TYPE_Q4_K] = dequant_q4_k,
        [LV_TYPE_Q5_K] = dequant_q5_k, [LV_TYPE_Q6_K] = dequant_q6_k,
    };
    const struct lv_type_traits *t = lv_type_traits(type);
    const uint8_t *b = src;

    assert(t && n % t->block_len == 0);
    for (uint64_t i = 0; i < n; i += t->block_len, b += t->block_bytes)
        dequant[type](b, dst + i);
}
