/* Integer weights: exact sums over 32 columns, then the float steps of the contract in
 * kern.h. The definition; never tuned. */
#include <math.h>

#include "base/half.h"
#include "kern/gemm_list.h"
#include "kern/r32.h"

/* Byte j of a part that starts at off: byte j % 4 of word j / 4. */
static uint8_t part_byte(const uint8_t *kb, uint32_t off, uint32_t j, uint32_t row)
{
    return kb[off + LV_R32_PART * (j / 4) + 4 * row + j % 4];
}

/* Unsigned quant of column k of the k-block. */
static int32_t quant(enum lv_type type, const uint8_t *kb, uint32_t k, uint32_t row)
{
    const uint32_t qs = lv_r32_off_qs(type), qh = lv_r32_off_qh(type);
    uint32_t q;

    switch (type) {
    case LV_TYPE_Q8_0:
        return part_byte(kb, qs, k, row);
    case LV_TYPE_Q4_0:
    case LV_TYPE_Q4_1:
    case LV_TYPE_Q5_0:
    case LV_TYPE_Q5_1:
        q = part_byte(kb, qs, k % 16, row) >> (k < 16 ? 0 : 4) & 15u;
        if (qh)
            q |= (part_byte(kb, qh, k % 4, row) >> k / 4 & 1u) << 4;
        return (int32_t)q;
    case LV_TYPE_Q4_K:
    case LV_TYPE_Q5_K:
        q = part_byte(kb, qs, k / 64 * 32 + k % 32, row) >> (k / 32 % 2 * 4) & 15u;
        if (qh)
            q |= (part_byte(kb, qh, k % 32, row) >> k / 32 & 1u) << 4;
        return (int32_t)q;
    case LV_TYPE_Q6_K:
        q = part_byte(kb, qs, k / 128 * 4 * LV_R32_Q6_HALF + k % 64, row) >> (k % 128 / 64 * 4) & 15u;
        q |= (part_byte(kb, qh, k / 128 * 4 * LV_R32_Q6_HALF + k % 32, row) >> (k % 128 / 32 * 2) & 3u) << 4;
        return (int32_t)q;
    default:
        return 0;
    }
}

/* Scale and minimum of 32-column sub-block c, both exact. */
static void scales(enum lv_type type, const uint8_t *kb, uint32_t c, uint32_t row, float *scale, float *min)
{
    *min = 0.0f;
    if (lv_r32_has_min(type)) {
        const float d = lv_f32_from_f16(lv_r32_u16(kb + 4 * row));
        const float m = lv_f32_from_f16(lv_r32_u16(kb + 4 * row + 2));
        uint8_t s[12], sc, mn;

        if (lv_r32_block_len(type) == 32) {
            *scale = d;
            *min = m;
            return;
        }
        for (uint32_t j = 0; j < 12; j++)
            s[j] = part_byte(kb, LV_R32_PART, j, row);
        if (c < 4) {
            sc = s[c] & 63;
            mn = s[c + 4] & 63;
        } else {
            sc = (uint8_t)((s[c + 4] & 15) | s[c - 4] >> 6 << 4);
            mn = (uint8_t)(s[c + 4] >> 4 | s[c] >> 6 << 4);
        }
        *scale = d * (float)sc;
        *min = -(m * (float)mn);
        return;
    }
    *scale = lv_f32_from_f16(lv_r32_u16(kb + 2 * row));
}

static int32_t sum(enum lv_type type, const uint8_t *kb, uint32_t k0, uint32_t n, uint32_t row, const int8_t *q)
{
    int32_t s = 0;

    for (uint32_t k = 0; k < n; k++)
        s += (quant(type, kb, k0 + k, row) - lv_r32_offset(type)) * q[k];
    return s;
}

static float dot(enum lv_type type, const uint8_t *group, uint32_t row, const struct lv_act *x, uint32_t t)
{
    const uint32_t len = lv_r32_block_len(type), n_sub = x->n_cols / 32;
    const size_t kb_bytes = (size_t)LV_GROUP_ROWS * lv_r32_block_bytes(type);
    float acc = 0.0f;

    for (uint32_t b = 0; b < n_sub; b++) {
        const uint8_t *kb = group + b * 32 / len * kb_bytes;
        const uint32_t k0 = b * 32 % len;
        const int8_t *q = x->q + (size_t)t * x->n_cols + b * 32;
        const size_t i = (size_t)t * n_sub + b;
        float scale, min;
        int32_t isum;

        scales(type, kb, k0 / 32, row, &scale, &min);
        if (type == LV_TYPE_Q6_K) {
            const int8_t sc0 = (int8_t)part_byte(kb, 64, k0 / 16, row);
            const int8_t sc1 = (int8_t)part_byte(kb, 64, k0 / 16 + 1, row);

            isum = sc0 * sum(type, kb, k0, 16, row, q) + sc1 * sum(type, kb, k0 + 16, 16, row, q + 16);
        } else {
            isum = sum(type, kb, k0, 32, row, q);
        }
        acc = fmaf((float)isum, scale * x->d[i], acc);
        if (lv_r32_has_min(type))
            acc = fmaf(min, x->sd[i], acc);
    }
    return acc;
}

#define LV_X(TYPE, name)                                                                               \
    void lv_gemm_##name##_ref(float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x, \
                              uint32_t t0, uint32_t n_tok)                                             \
    {                                                                                                  \
        for (uint32_t t = 0; t < n_tok; t++)                                                           \
            for (uint32_t r = 0; r < LV_GROUP_ROWS; r++)                                               \
                y[t * stride_y + r] = dot(LV_TYPE_##TYPE, group, r, x, t0 + t);                        \
    }
LV_KERN_INT_TYPES(LV_X)
#undef LV_X
