/* Random weights as blocks of each type. Scales are chosen so that the decoded weights have about the
 * wanted deviation; quants use their whole range, so that every bit of a block matters.
 * Only + - * / on floats: the bytes are equal on every machine. */
#include <string.h>

#include "base/half.h"
#include "ref/tiny_part.h"

static float draw_normal(struct tiny_draw *r)
{
    const float a = lv_rng_f32(&r->weight) + lv_rng_f32(&r->weight);
    const float b = lv_rng_f32(&r->weight) + lv_rng_f32(&r->weight);

    return (a + b) * 0.8660254f; /* the sum of four has variance 4/3 */
}

static void draw_bytes(struct tiny_draw *r, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(lv_rng_u64(&r->weight) >> 56);
}

/* 1, or with jitter a factor around 1. Its own stream: the weights behind it stay the same. */
static float draw_jitter(struct tiny_draw *r)
{
    return 1.0f + r->jitter * lv_rng_f32(&r->noise);
}

/* A block's scale: of either sign, between half and 1.5 times the mean; rarely zero, as in the
 * dead blocks of real models. */
static float draw_scale(struct tiny_draw *r, float mean)
{
    const float size = mean * (1.0f + 0.5f * lv_rng_f32(&r->weight)) * draw_jitter(r);
    const uint32_t kind = lv_rng_below(&r->weight, 256);

    if (kind == 0)
        return 0.0f;
    return kind & 1 ? -size : size;
}

static void put_half(uint8_t *p, float v)
{
    const uint16_t h = lv_f16_from_f32(v);

    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}

/* d, quants; weights (q - middle) * d. dev: deviation of the quants. */
static void draw_scaled(uint8_t *p, size_t bytes, float sigma, float dev, struct tiny_draw *r)
{
    put_half(p, draw_scale(r, sigma / dev));
    draw_bytes(r, p + 2, bytes - 2);
}

/* d, m, quants; weights q * d + m, with m near -middle * d. */
static void draw_offset(uint8_t *p, size_t bytes, float sigma, float dev, float middle, struct tiny_draw *r)
{
    const float d = draw_scale(r, sigma / dev);

    put_half(p, d);
    put_half(p + 2, -middle * d * (1.0f + 0.125f * lv_rng_f32(&r->weight)));
    draw_bytes(r, p + 4, bytes - 4);
}

/* d, dmin, 8 scales and 8 minima of 6 bits in 12 bytes, quants; weights d * sc * q - dmin * m. */
static void draw_k(uint8_t *p, size_t bytes, float sigma, float dev, float middle, struct tiny_draw *r)
{
    const float d = draw_scale(r, sigma / (dev * 39.0f)); /* 39: rms of the scales below */
    uint8_t sc[8], m[8];

    for (int i = 0; i < 8; i++) {
        const int near = (sc[i] = (uint8_t)(8 + lv_rng_below(&r->weight, 56))) + (int)lv_rng_below(&r->weight, 7) - 3;

        m[i] = (uint8_t)(near > 63 ? 63 : near);
    }
    put_half(p, d);
    put_half(p + 2, d * middle);
    for (int i = 0; i < 4; i++) {
        p[4 + i] = (uint8_t)(sc[i] | (sc[i + 4] >> 4) << 6);
        p[8 + i] = (uint8_t)(m[i] | (m[i + 4] >> 4) << 6);
        p[12 + i] = (uint8_t)((sc[i + 4] & 15) | (m[i + 4] & 15) << 4);
    }
    draw_bytes(r, p + 16, bytes - 16);
}

/* 128 bytes of low bits, 64 of high bits, 16 signed scales, d; weights d * sc * (q - 32). */
static void draw_q6_k(uint8_t *p, float sigma, struct tiny_draw *r)
{
    draw_bytes(r, p, 192);
    for (int i = 0; i < 16; i++) {
        const int size = 32 + (int)lv_rng_below(&r->weight, 96);

        p[192 + i] = (uint8_t)(lv_rng_below(&r->weight, 2) ? size : -size);
    }
    put_half(p + 208, draw_scale(r, sigma / (18.5f * 84.0f)));
}

static void draw_block(uint8_t *p, enum lv_type type, float sigma, struct tiny_draw *r)
{
    const bool is_float = type == LV_TYPE_F32 || type == LV_TYPE_F16 || type == LV_TYPE_BF16;
    const float v = is_float ? sigma * draw_normal(r) * draw_jitter(r) : 0;
    const uint32_t bits = lv_f32_bits(v);

    switch (type) {
    case LV_TYPE_F32:
        for (int i = 0; i < 4; i++)
            p[i] = (uint8_t)(bits >> 8 * i);
        break;
    case LV_TYPE_F16:
        put_half(p, v);
        break;
    case LV_TYPE_BF16: /* cut, not rounded: any bf16 is a valid weight */
        p[0] = (uint8_t)(bits >> 16);
        p[1] = (uint8_t)(bits >> 24);
        break;
    case LV_TYPE_Q4_0:
        draw_scaled(p, 18, sigma, 4.6f, r);
        break;
    case LV_TYPE_Q5_0:
        draw_scaled(p, 22, sigma, 9.2f, r);
        break;
    case LV_TYPE_Q8_0:
        draw_scaled(p, 34, sigma, 73.9f, r);
        break;
    case LV_TYPE_Q4_1:
        draw_offset(p, 20, sigma, 4.6f, 7.5f, r);
        break;
    case LV_TYPE_Q5_1:
        draw_offset(p, 24, sigma, 9.2f, 15.5f, r);
        break;
    case LV_TYPE_Q4_K:
        draw_k(p, 144, sigma, 4.6f, 7.5f, r);
        break;
    case LV_TYPE_Q5_K:
        draw_k(p, 176, sigma, 9.2f, 15.5f, r);
        break;
    case LV_TYPE_Q6_K:
        draw_q6_k(p, sigma, r);
        break;
    }
}

bool tiny_block(enum lv_type type, uint32_t *len, uint32_t *bytes)
{
    switch (type) {
#define LV_X(name, num, block_len, block_bytes) \
    case LV_TYPE_##name:                        \
        *len = block_len;                       \
        *bytes = block_bytes;                   \
        return true;
        LV_TYPE_LIST(LV_X)
#undef LV_X
    }
    return false;
}

void tiny_put_row(struct tiny_buf *b, enum lv_type type, uint32_t n, float sigma, struct tiny_draw *r)
{
    uint32_t len, bytes;
    uint8_t block[256];

    if (!tiny_block(type, &len, &bytes))
        return;
    for (uint32_t i = 0; i < n / len; i++) {
        memset(block, 0, sizeof block);
        draw_block(block, type, sigma, r);
        tiny_put(b, block, bytes);
    }
}
