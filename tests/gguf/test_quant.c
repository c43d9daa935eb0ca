/* Dequantization against an independent twin: the test picks scales, minima and quants, packs them
 * into bytes by the format's layout, and computes the weights in double. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/rng.h"
#include "gguf/quant.h"

#define SEED 20240613u

static const uint32_t types[] = {
#define LV_X(name, num, len, bytes) num,
    LV_TYPE_LIST(LV_X)
#undef LV_X
};
#define N_TYPES (sizeof types / sizeof types[0])

/* ---- the twin ------------------------------------------------------------------ */

/* What a block means, before packing. */
struct meaning {
    uint16_t d, m; /* f16 bits */
    int scale[16], min[8];
    int q[256];
};

static int bit(int v, int i)
{
    return v >> i & 1;
}

static void set_bits(uint8_t *byte, int shift, int value)
{
    *byte = (uint8_t)(*byte | value << shift);
}

static void put16(uint8_t *b, uint16_t v)
{
    b[0] = (uint8_t)v;
    b[1] = (uint8_t)(v >> 8);
}

/* The 12 bytes of 8 six-bit scales and minima. */
static void pack_scales(uint8_t *s, const struct meaning *w)
{
    for (int j = 0; j < 4; j++) {
        set_bits(&s[j], 0, w->scale[j]);
        set_bits(&s[j + 4], 0, w->min[j]);
        set_bits(&s[j + 8], 0, w->scale[j + 4] & 15);
        set_bits(&s[j + 8], 4, w->min[j + 4] & 15);
        set_bits(&s[j], 6, w->scale[j + 4] >> 4);
        set_bits(&s[j + 4], 6, w->min[j + 4] >> 4);
    }
}

/* b is zeroed. quants are as stored: without the type's offset, except for Q8_0. */
static void pack(uint32_t type, uint8_t *b, const struct meaning *w)
{
    switch (type) {
    case LV_TYPE_Q4_0:
    case LV_TYPE_Q4_1:
    case LV_TYPE_Q5_0:
    case LV_TYPE_Q5_1: {
        const bool has_min = type == LV_TYPE_Q4_1 || type == LV_TYPE_Q5_1;
        const bool five = type == LV_TYPE_Q5_0 || type == LV_TYPE_Q5_1;
        uint8_t *qh = b + (has_min ? 4 : 2), *q = qh + (five ? 4 : 0);

        put16(b, w->d);
        if (has_min)
            put16(b + 2, w->m);
        for (int i = 0; i < 32; i++) {
            set_bits(&q[i % 16], i / 16 * 4, w->q[i] & 15);
            if (five)
                set_bits(&qh[i / 8], i % 8, bit(w->q[i], 4));
        }
        break;
    }
    case LV_TYPE_Q8_0:
        put16(b, w->d);
        for (int i = 0; i < 32; i++)
            b[2 + i] = (uint8_t)w->q[i];
        break;
    case LV_TYPE_Q4_K:
    case LV_TYPE_Q5_K: {
        uint8_t *q = b + (type == LV_TYPE_Q4_K ? 16 : 48);

        put16(b, w->d);
        put16(b + 2, w->m);
        pack_scales(b + 4, w);
        for (int i = 0; i < 256; i++) {
            set_bits(&q[i / 64 * 32 + i % 32], i / 32 % 2 * 4, w->q[i] & 15);
            if (type == LV_TYPE_Q5_K)
                set_bits(&b[16 + i % 32], i / 32, bit(w->q[i], 4));
        }
        break;
    }
    case LV_TYPE_Q6_K:
        for (int i = 0; i < 256; i++) {
            const int half = i / 128, in = i % 128;

            set_bits(&b[half * 64 + in % 64], in / 64 * 4, w->q[i] & 15);
            set_bits(&b[128 + half * 32 + in % 32], in / 32 * 2, w->q[i] >> 4);
        }
        for (int i = 0; i < 16; i++)
            b[192 + i] = (uint8_t)w->scale[i];
        put16(b + 208, w->d);
        break;
    default:
        put16(b, w->d); /* F16, BF16 */
        if (type == LV_TYPE_F32)
            put16(b + 2, w->m);
    }
}

static double value(uint32_t type, const struct meaning *w, int i)
{
    const double d = (double)lv_f32_from_f16(w->d), m = (double)lv_f32_from_f16(w->m);

    switch (type) {
    case LV_TYPE_Q4_0:
        return d * (w->q[i] - 8);
    case LV_TYPE_Q5_0:
        return d * (w->q[i] - 16);
    case LV_TYPE_Q4_1:
    case LV_TYPE_Q5_1:
        return d * w->q[i] + m;
    case LV_TYPE_Q8_0:
        return d * w->q[i];
    case LV_TYPE_Q4_K:
    case LV_TYPE_Q5_K:
        return d * w->scale[i / 32] * w->q[i] - m * w->min[i / 32];
    case LV_TYPE_Q6_K:
        return d * w->scale[i / 16] * (w->q[i] - 32);
    case LV_TYPE_F16:
        return d;
    case LV_TYPE_BF16:
        return (double)lv_f32_from_bits((uint32_t)w->d << 16);
    default:
        return (double)lv_f32_from_bits((uint32_t)w->m << 16 | w->d);
    }
}

static struct meaning draw(struct lv_rng *r, uint32_t type)
{
    static const int n_quants[LV_TYPE_MAX] = {
        [LV_TYPE_Q4_0] = 16, [LV_TYPE_Q4_1] = 16, [LV_TYPE_Q5_0] = 32, [LV_TYPE_Q5_1] = 32,
        [LV_TYPE_Q4_K] = 16, [LV_TYPE_Q5_K] = 32, [LV_TYPE_Q6_K] = 64, [LV_TYPE_Q8_0] = 256,
    };
    struct meaning w = { 0 };

    /* finite: both halves of an F32 come from here too */
    w.d = (uint16_t)(lv_rng_below(r, 0x7c00) | lv_rng_below(r, 2) << 15);
    w.m = (uint16_t)(lv_rng_below(r, 0x7c00) | lv_rng_below(r, 2) << 15);
    for (int i = 0; i < 16; i++)
        w.scale[i] = type == LV_TYPE_Q6_K ? (int)lv_rng_below(r, 256) - 128 : (int)lv_rng_below(r, 64);
    for (int i = 0; i < 8; i++)
        w.min[i] = (int)lv_rng_below(r, 64);
    for (int i = 0; i < 256; i++)
        w.q[i] = n_quants[type] ? (int)lv_rng_below(r, (uint32_t)n_quants[type]) - (type == LV_TYPE_Q8_0 ? 128 : 0) : 0;
    return w;
}

/* ---- tests ------------------------------------------------------------------------ */

/* Three blocks a row, at every alignment; three roundings at most, so a relative 2^-22 of the largest term. */
static void random_blocks(void **state)
{
    struct lv_rng r = { SEED };

    (void)state;
    for (size_t t = 0; t < N_TYPES; t++) {
        const struct lv_type_traits *traits = lv_type_traits(types[t]);
        const int len = traits->block_len;

        for (int round = 0; round < 200; round++) {
            uint8_t bytes[3 * 256 + 8] = { 0 };
            float y[3 * 256 + 1];
            struct meaning w[3];
            uint8_t *row = bytes + round % 4;

            for (int b = 0; b < 3; b++) {
                w[b] = draw(&r, types[t]);
                pack(types[t], row + b * traits->block_bytes, &w[b]);
            }
            y[3 * len] = 12345.0f;
            lv_dequant_row((enum lv_type)types[t], row, y, 3 * (uint64_t)len);
            assert_true(y[3 * len] == 12345.0f); /* wrote n values and no more */
            for (int i = 0; i < 3 * len; i++) {
                const double want = value(types[t], &w[i / len], i % len);
                struct meaning no_min = w[i / len];

                no_min.m = 0;
                const double main_term = types[t] == LV_TYPE_F32 ? 0 : value(types[t], &no_min, i % len);
                const double bound = 0x1p-22 * (fabs(want) + 2 * fabs(main_term)) + 1e-45;

                if (!(fabs((double)y[i] - want) <= bound))
                    fail_msg("%s, seed %u, round %d, weight %d: %.9g, expected %.17g", traits->name, SEED, round, i,
                             (double)y[i], want);
            }
        }
    }
}

/* Values worked out by hand, so that a shared misreading in pack and unpack cannot hide. */
static void by_hand(void **state)
{
    float y[256];

    (void)state;
    { /* d = 2 (0x4000); byte 0 = 0x9f: weight 0 is 15 - 8, weight 16 is 9 - 8 */
        const uint8_t b[18] = { 0x00, 0x40, 0x9f };
        lv_dequant_row(LV_TYPE_Q4_0, b, y, 32);
        assert_true(y[0] == 14.0f && y[16] == 2.0f && y[1] == -16.0f);
    }
    { /* d = 0.5 (0x3800), m = -1 (0xbc00) */
        const uint8_t b[20] = { 0x00, 0x38, 0x00, 0xbc, 0x9f };
        lv_dequant_row(LV_TYPE_Q4_1, b, y, 32);
        assert_true(y[0] == 6.5f && y[16] == 3.5f && y[1] == -1.0f);
    }
    { /* d = 1; high bits of weights 0 and 31 */
        const uint8_t b[22] = { 0x00, 0x3c, 0x01, 0, 0, 0x80, [6] = 0x03, [21] = 0x70 };
        lv_dequant_row(LV_TYPE_Q5_0, b, y, 32);
        assert_true(y[0] == 3.0f && y[31] == 7.0f && y[1] == -16.0f && y[15] == -16.0f);
    }
    {
        const uint8_t b[24] = { 0x00, 0x3c, 0x00, 0x40, 0x01, 0, 0, 0x80, [8] = 0x03, [23] = 0x70 };
        lv_dequant_row(LV_TYPE_Q5_1, b, y, 32);
        assert_true(y[0] == 21.0f && y[31] == 25.0f && y[1] == 2.0f);
    }
    { /* d = -0.25 (0xb400) */
        const uint8_t b[34] = { 0x00, 0xb4, 0x80, [33] = 0x7f };
        lv_dequant_row(LV_TYPE_Q8_0, b, y, 32);
        assert_true(y[0] == 32.0f && y[31] == -31.75f);
    }
    { /* d = 1, dmin = 0.5. Scale 0 is 63 (byte 0 low bits), minimum 0 is 2 (byte 4). Scale 4: low nibble of byte 8
       * is 5, top bits of byte 0 are 2, so 37. Minimum 4: high nibble of byte 8 is 3, top bits of byte 4 are 1: 19. */
        const uint8_t b[144] = {
            0x00, 0x3c, 0x00, 0x38, [4] = 0xbf, [8] = 0x42, [12] = 0x35, [16] = 0x21, [16 + 64] = 0x0f
        };
        lv_dequant_row(LV_TYPE_Q4_K, b, y, 256);
        assert_true(y[0] == 63.0f - 1.0f && y[1] == -1.0f && y[32] == 0.0f);
        assert_true(y[128] == 37.0f * 15.0f - 9.5f && y[129] == -9.5f);
    }
    { /* as above with fifth bits: byte 0 of qh has bits 0 and 4 */
        const uint8_t b[176] = {
            0x00, 0x3c, 0x00, 0x38, [4] = 0xbf, [8] = 0x42, [12] = 0x35, [16] = 0x11, [48] = 0x21, [48 + 64] = 0x0f
        };
        lv_dequant_row(LV_TYPE_Q5_K, b, y, 256);
        assert_true(y[0] == 63.0f * 17.0f - 1.0f && y[1] == -1.0f);
        assert_true(y[128] == 37.0f * 31.0f - 9.5f && y[129] == -9.5f);
    }
    { /* d = 1; scale 0 is 2, scale 1 is -3, scale 6 is 1. ql[0] = 0xa5, qh[0] = 0b11000001:
       * weight 0 is (1 << 4 | 5) - 32 = -11; weight 64 is (0 << 4 | 10) - 32 = -22 of scale 4 = 0;
       * weight 96 takes the high nibble of ql[32] = 0x70 and 3 << 4: 55 - 32 = 23. */
        const uint8_t b[210] = { 0xa5, [32] = 0x70, [128] = 0xc1, [192] = 2, 0xfd, [198] = 1, [208] = 0x00, 0x3c };
        lv_dequant_row(LV_TYPE_Q6_K, b, y, 256);
        assert_true(y[0] == -22.0f && y[64] == 0.0f && y[96] == 23.0f && y[16] == 96.0f);
    }
    {
        const uint8_t b[6] = { 0x00, 0x3c, 0x01, 0x00, 0x00, 0xfc }; /* 1, the least subnormal, minus infinity */
        lv_dequant_row(LV_TYPE_F16, b, y, 3);
        assert_true(y[0] == 1.0f && y[1] == 0x1p-24f && y[2] == -INFINITY);
        lv_dequant_row(LV_TYPE_BF16, (const uint8_t[]){ 0x80, 0x3f, 0x40, 0xc0 }, y, 2);
        assert_true(y[0] == 1.0f && y[1] == -3.0f);
        lv_dequant_row(LV_TYPE_F32, (const uint8_t[]){ 0, 0, 0xc0, 0x3f }, y, 1);
        assert_true(y[0] == 1.5f);
    }
}

static void names_and_traits(void **state)
{
    unsigned n = 0;

    (void)state;
    for (uint32_t t = 0; t < 1000; t++) {
        const struct lv_type_traits *traits = lv_type_traits(t);

        assert_non_null(lv_type_name(t));
        if (traits) {
            assert_string_equal(traits->name, lv_type_name(t)); /* two tables, one truth */
            n++;
        }
    }
    assert_int_equal(n, N_TYPES);
    assert_null(lv_type_traits(UINT32_MAX));
    assert_string_equal(lv_type_name(16), "IQ2_XXS");
    assert_string_equal(lv_type_name(34), "TQ1_0");
    assert_string_equal(lv_type_name(39), "MXFP4");
    assert_string_equal(lv_type_name(UINT32_MAX), "unknown");
    assert_int_equal(lv_row_bytes(LV_TYPE_Q4_K, 1536), 864);
    assert_int_equal(lv_row_bytes(LV_TYPE_F16, 3), 6);
    assert_true(lv_row_bytes(LV_TYPE_Q8_0, UINT64_C(1) << 33) == (UINT64_C(34) << 28));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_blocks),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(names_and_traits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
