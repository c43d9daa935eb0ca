#include "kern/vec.h"

#include "cpu/cpu.h"

#define SET_ALL(k, level)                                                                                              \
    do {                                                                                                               \
        (k)->quantize = lv_quantize_##level;                                                                           \
        (k)->rms_norm = lv_rms_norm_##level;                                                                           \
        (k)->add = lv_add_##level;                                                                                     \
        (k)->scale = lv_scale_##level;                                                                                 \
        (k)->rope = lv_rope_##level;                                                                                   \
        (k)->glu = lv_glu_##level;                                                                                     \
        (k)->f16_from_f32 = lv_f16_from_f32_##level;                                                                   \
        (k)->attn_qk = lv_attn_qk_##level;                                                                             \
        (k)->softmax = lv_softmax_##level;                                                                             \
        (k)->attn_pv = lv_attn_pv_##level;                                                                             \
        (k)->argmax = lv_argmax_##level;                                                                               \
    } while (0)

/* Reference first, then overridden upward. */
void lv_kern_init_vec(struct lv_kern *k, uint32_t cpu_flags)
{
    SET_ALL(k, ref);
#if defined(__x86_64__)
    if (!(cpu_flags & LV_CPU_AVX2))
        return;
    SET_ALL(k, avx2);
    if (!(cpu_flags & LV_CPU_AVX512))
        return;
    SET_ALL(k, avx512);
#elif defined(__aarch64__)
    if (cpu_flags & LV_CPU_NEON)
        SET_ALL(k, neon);
#else
    (void)cpu_flags;
#endif
}
