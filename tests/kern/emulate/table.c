/* Kernel table of the emulated AVX-512 level. Compiled with names.h: the names below are those of the emulated kernels. */
#include "cpu/cpu.h"
#include "kern/gemm_list.h"
#include "kern/kt.h"
#include "kern/vec.h"

void kt_emulate_avx512(struct lv_kern *k)
{
    lv_kern_init(k, lv_cpu_level("avx2"));
    k->level = "avx512vnni, emulated";
#define LV_X(TYPE, name)                               \
    k->gemm[LV_TYPE_##TYPE] = lv_gemm_##name##_avx512; \
    k->pack[LV_TYPE_##TYPE] = lv_pack_##name##_avx512;
    LV_KERN_TYPES(LV_X)
#undef LV_X
    k->quantize = lv_quantize_avx512;
    k->rms_norm = lv_rms_norm_avx512;
    k->add = lv_add_avx512;
    k->scale = lv_scale_avx512;
    k->rope = lv_rope_avx512;
    k->glu = lv_glu_avx512;
    k->f16_from_f32 = lv_f16_from_f32_avx512;
    k->attn_qk = lv_attn_qk_avx512;
    k->softmax = lv_softmax_avx512;
    k->attn_pv = lv_attn_pv_avx512;
    k->argmax = lv_argmax_avx512;
}
