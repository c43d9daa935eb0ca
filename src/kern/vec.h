/* Vector kernels (all but the matmuls) by level; what each does is written in kern.h.
 * Stateless, no allocation, any thread. Each function of an instruction set is bitwise equal to its _ref twin. */
#ifndef LV_KERN_VEC_H
#define LV_KERN_VEC_H

#include "kern/kern.h"

/* Sets every field of *k below pack[], the best that cpu_flags (cpu/cpu.h) allow. */
void lv_kern_init_vec(struct lv_kern *k, uint32_t cpu_flags);

/* clang-format off */
#define LV_VEC_DECLARE(level)                                                                                   \
    void lv_quantize_##level(const struct lv_act *x, uint32_t t0, uint32_t n, uint32_t c0, uint32_t n_c);       \
    void lv_rms_norm_##level(float *y, const float *x, const float *w, float eps, uint32_t n);                  \
    void lv_add_##level(float *y, const float *a, const float *b, uint32_t n);                                  \
    void lv_scale_##level(float *y, float s, uint32_t n);                                                       \
    void lv_rope_##level(float *x, const float *cs, uint32_t n_rot, bool neox);                                 \
    void lv_glu_##level(float *y, const float *g, const float *u, uint32_t n, enum lv_glu kind);                \
    void lv_f16_from_f32_##level(uint16_t *dst, const float *src, uint32_t n);                                  \
    void lv_attn_qk_##level(float *s, size_t stride_s, const float *q, size_t stride_q, uint32_t n_q,           \
                            const uint16_t *k, uint32_t n_dim, uint32_t n_blk, float scale);                    \
    float lv_softmax_##level(float *s, uint32_t n);                                                             \
    void lv_attn_pv_##level(float *out, size_t stride_out, const float *p, size_t stride_p, uint32_t n_q,       \
                            const uint16_t *v, size_t stride_v, uint32_t n_dim, uint32_t n_pos);                \
    uint32_t lv_argmax_##level(const float *x, uint32_t n, float *value)
/* clang-format on */

LV_VEC_DECLARE(ref);
LV_VEC_DECLARE(avx2);
LV_VEC_DECLARE(avx512);
LV_VEC_DECLARE(neon);

#endif
