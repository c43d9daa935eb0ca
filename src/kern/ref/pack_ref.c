/* GGUF rows -> R32 group, and one row back to f32: the definition of the layout. */
#include "base/half.h"
#include "kern/gemm_list.h"
#include "kern/r32.h"

/* Bit 4 * i + b -> bit 8 * b + i. */
static uint32_t move_bits(uint32_t w)
{
    uint32_t r = 0;

    for (int i = 0; i < 8; i++)
        for (int b = 0; b < 4; b++)
            r |= (w >> (4 * i + b) & 1u) << (8 * b + i);
    return r;
}

static void pack_part(uint8_t *dst, const uint8_t *src, uint32_t row, const struct lv_r32_part *p)
{
    if (p->how == LV_R32_HALF) {
        memcpy(dst + p->dst + 2 * row, src + p->src, 2);
        return;
    }
    for (uint32_t i = 0; i < p->n_word; i++) {
        uint32_t w = lv_r32_u32(src + p->src + 4 * i);

        if (p->how == LV_R32_FLIP)
            w ^= 0x80808080u;
        else if (p->how == LV_R32_BITS)
            w = move_bits(w);
        memcpy(dst + p->dst + LV_R32_PART * i + 4 * row, &w, 4);
    }
}

/* Rows that are missing are packed as blocks of zero bytes: scale 0, so weight 0. */
static void pack_int(enum lv_type type, uint8_t *group, const uint8_t *src, uint32_t n_rows, uint32_t n_cols)
{
    static const uint8_t zeros[256];
    const struct lv_r32_layout l = lv_r32_layout(type);
    const uint32_t n_blk = n_cols / lv_r32_block_len(type), bytes = lv_r32_block_bytes(type);

    for (uint32_t b = 0; b < n_blk; b++)
        for (uint32_t r = 0; r < LV_GROUP_ROWS; r++) {
            const uint8_t *blk = r < n_rows ? src + ((size_t)r * n_blk + b) * bytes : zeros;

            for (uint32_t i = 0; i < l.n_part; i++)
                pack_part(group + (size_t)b * LV_GROUP_ROWS * bytes, blk, r, &l.part[i]);
        }
}

static void pack_float(uint32_t bytes, uint8_t *group, const uint8_t *src, uint32_t n_rows, uint32_t n_cols)
{
    for (uint32_t k = 0; k < n_cols; k++)
        for (uint32_t r = 0; r < LV_GROUP_ROWS; r++) {
            uint8_t *dst = group + ((size_t)k * LV_GROUP_ROWS + r) * bytes;

            if (r < n_rows)
                memcpy(dst, src + ((size_t)r * n_cols + k) * bytes, bytes);
            else
                memset(dst, 0, bytes);
        }
}

#define LV_X(TYPE, name)                                                                              \
    void lv_pack_##name##_ref(uint8_t *group, const uint8_t *src, uint32_t n_rows, uint32_t n_cols)   \
    {                                                                                                 \
        pack_int(LV_TYPE_##TYPE, group, src, n_rows, n_cols);                                         \
    }
LV_KERN_INT_TYPES(LV_X)
#undef LV_X
#define LV_X(TYPE, name)                                                                              \
    void lv_pack_##name##_ref(uint8_t *group, const uint8_t *src, uint32_t n_rows, uint32_t n_cols)   \
    {                                                                                                 \
        pack_float(lv_r32_block_bytes(LV_TYPE_##TYPE), group, src, n_rows, n_cols);                   \
    }
LV_KERN_FLOAT_TYPES(LV_X)
#undef LV_X

/* Undoes pack_part: the row's block as it was in the file. */
static void unpack_block(enum lv_type type, uint8_t *blk, const uint8_t *kb, uint32_t row)
{
    const struct lv_r32_layout l = lv_r32_layout(type);

    for (uint32_t j = 0; j < l.n_part; j++) {
        const struct lv_r32_part *p = &l.part[j];

        if (p->how == LV_R32_HALF) {
            memcpy(blk + p->src, kb + p->dst + 2 * row, 2);
            continue;
        }
        for (uint32_t i = 0; i < p->n_word; i++) {
            uint32_t w = lv_r32_u32(kb + p->dst + LV_R32_PART * i + 4 * row);

            if (p->how == LV_R32_FLIP)
                w ^= 0x80808080u;
            else if (p->how == LV_R32_BITS) {
                uint32_t r = 0;

                for (int q = 0; q < 8; q++)
                    for (int b = 0; b < 4; b++)
                        r |= (w >> (8 * b + q) & 1u) << (4 * q + b);
                w = r;
            }
            memcpy(blk + p->src + 4 * i, &w, 4);
        }
    }
}

void lv_r32_dequant_row(enum lv_type type, const uint8_t *group, uint32_t row, uint32_t n_cols, float *dst)
{
    const uint32_t bytes = lv_r32_block_bytes(type), len = lv_r32_block_len(type);
    uint8_t blk[256];

    if (lv_r32_is_float(type)) {
        for (uint32_t k = 0; k < n_cols; k++) {
            const uint8_t *p = group + ((size_t)k * LV_GROUP_ROWS + row) * bytes;

            if (type == LV_TYPE_F32)
                dst[k] = lv_f32_from_bits(lv_r32_u32(p));
            else if (type == LV_TYPE_F16)
                dst[k] = lv_f32_from_f16(lv_r32_u16(p));
            else
                dst[k] = lv_f32_from_bf16(lv_r32_u16(p));
        }
        return;
    }
    for (uint32_t b = 0; b < n_cols / len; b++) {
        unpack_block(type, blk, group + (size_t)b * LV_GROUP_ROWS * bytes, row);
        lv_dequant_row(type, blk, dst + (size_t)b * len, len);
    }
}
