#include <math.h>

#include "base/half.h"
#include "kern/vec.h"

void lv_attn_qk_ref(float *s, size_t stride_s, const float *q, size_t stride_q, uint32_t n_q, const uint16_t *k,
                    uint32_t n_dim, uint32_t n_blk, float scale)
{
    for (size_t i = 0; i < n_q; i++) {
        for (size_t j = 0; j < (size_t)n_blk * LV_KV_BLOCK; j++) {
            const uint16_t *kj = k + j / LV_KV_BLOCK * n_dim * LV_KV_BLOCK + j % LV_KV_BLOCK;
            float acc = 0.0f;

            for (size_t d = 0; d < n_dim; d++)
                acc = fmaf(q[i * stride_q + d], lv_f32_from_f16(kj[d * LV_KV_BLOCK]), acc);
            s[i * stride_s + j] = acc * scale;
        }
    }
}

void lv_attn_pv_ref(float *out, size_t stride_out, const float *p, size_t stride_p, uint32_t n_q, const uint16_t *v,
                    size_t stride_v, uint32_t n_dim, uint32_t n_pos)
{
    for (size_t i = 0; i < n_q; i++) {
        for (size_t d = 0; d < n_dim; d++) {
            float acc = out[i * stride_out + d];

            for (size_t j = 0; j < n_pos; j++)
                acc = fmaf(p[i * stride_p + j], lv_f32_from_f16(v[j * stride_v + d]), acc);
            out[i * stride_out + d] = acc;
        }
    }
}
