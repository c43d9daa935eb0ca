#include "engine/requant.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

#define LEN 32 /* weights of a block: a half, then 16 bytes, weight i in the low and i + 16 in the high half of byte i */

/* The weight of largest magnitude becomes -8 steps; the others are rounded. */
static void put_block(uint8_t *dst, const float *x)
{
    float most = 0.0f;

    for (int i = 0; i < LEN; i++)
        most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
    const uint16_t half = lv_f16_from_f32(most / -8.0f);
    const float d = lv_f32_from_f16(half), inverse = d != 0.0f ? 1.0f / d : 0.0f;

    memcpy(dst, &half, sizeof half);
    for (int i = 0; i < LEN / 2; i++) {
        uint8_t byte = 0;

        for (int k = 0; k < 2; k++) {
            const float q = roundf(x[i + k * LEN / 2] * inverse) + 8.0f;

            byte |= (uint8_t)((q < 0.0f ? 0 : q > 15.0f ? 15 : (int)q) << 4 * k);
        }
        dst[sizeof half + (size_t)i] = byte;
    }
}

uint64_t lv_requant_scratch_bytes(const struct lv_weight *w)
{
    return w->n_cols * sizeof(float) + lv_group_bytes(LV_TYPE_Q4_0, w->n_cols);
}

const uint8_t *lv_requant_group(const struct lv_weight *w, const uint8_t *group, uint32_t n_rows, uint8_t *scratch)
{
    float *x = (float *)scratch;
    uint8_t *out = scratch + w->n_cols * sizeof *x, *at = out;
    const uint64_t row_bytes = lv_row_bytes(w->file_type, w->n_cols);

    for (uint32_t r = 0; r < n_rows; r++) {
        if (w->packed)
            lv_r32_dequant_row(w->file_type, group, r, w->n_cols, x);
        else
            lv_dequant_row(w->file_type, group + r * row_bytes, x, w->n_cols);
        for (uint32_t c = 0; c < w->n_cols; c += LEN, at += sizeof(uint16_t) + LEN / 2)
            put_block(at, x + c);
    }
    return out;
}
