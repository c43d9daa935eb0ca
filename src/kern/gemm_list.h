/* The matmul and packing kernels by level: one list makes declarations, tables and tests. */
#ifndef LV_KERN_GEMM_LIST_H
#define LV_KERN_GEMM_LIST_H

#include "kern/kern.h"

/* Name in enum lv_type, name in functions. */
#define LV_KERN_INT_TYPES(X) \
    X(Q4_0, q4_0)            \
    X(Q4_1, q4_1)            \
    X(Q5_0, q5_0)            \
    X(Q5_1, q5_1)            \
    X(Q8_0, q8_0)            \
    X(Q4_K, q4_k)            \
    X(Q5_K, q5_k)            \
    X(Q6_K, q6_k)

#define LV_KERN_FLOAT_TYPES(X) \
    X(F32, f32)                \
    X(F16, f16)                \
    X(BF16, bf16)

#define LV_KERN_TYPES(X)  \
    LV_KERN_INT_TYPES(X)  \
    LV_KERN_FLOAT_TYPES(X)

#define LV_X(TYPE, name)                \
    lv_gemm_fn lv_gemm_##name##_ref;    \
    lv_pack_fn lv_pack_##name##_ref;    \
    lv_gemm_fn lv_gemm_##name##_avx2;   \
    lv_pack_fn lv_pack_##name##_avx2;   \
    lv_gemm_fn lv_gemm_##name##_avx512; \
    lv_pack_fn lv_pack_##name##_avx512;
LV_KERN_TYPES(LV_X)
#undef LV_X

/* Integer types alone: the levels between take packing and floats from the one below. */
#define LV_X(TYPE, name)                 \
    lv_gemm_fn lv_gemm_##name##_avxvnni; \
    lv_gemm_fn lv_gemm_##name##_amx;
LV_KERN_INT_TYPES(LV_X)
#undef LV_X
#define LV_X(TYPE, name)                      \
    lv_gemm_fn lv_gemm_##name##_avx512_amd;   \
    lv_gemm_fn lv_gemm_##name##_wide_avx512; /* called by the two above */
LV_KERN_INT_TYPES(LV_X)
#undef LV_X

/* arm64: packing is the reference, floats have the base level only. */
#define LV_X(TYPE, name)                 \
    lv_gemm_fn lv_gemm_##name##_neon;    \
    lv_gemm_fn lv_gemm_##name##_dotprod; \
    lv_gemm_fn lv_gemm_##name##_i8mm;
LV_KERN_INT_TYPES(LV_X)
#undef LV_X
#define LV_X(TYPE, name) lv_gemm_fn lv_gemm_##name##_neon;
LV_KERN_FLOAT_TYPES(LV_X)
#undef LV_X

/* Filled by vec.c: everything of the table but gemm, pack and level. */
void lv_kern_init_vec(struct lv_kern *k, uint32_t cpu_flags);

#endif
