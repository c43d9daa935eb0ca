#include "cpu/cpu.h"
#include "kern/gemm_list.h"
#include "kern/kt.h"

#if defined(__x86_64__)

#define LV_X(TYPE, name)                          \
    lv_gemm_fn lv_gemm_##name##_avxvnni_emulated; \
    lv_gemm_fn lv_gemm_##name##_amx_emulated;
LV_KERN_INT_TYPES(LV_X)
#undef LV_X

uint32_t kt_emulated_levels(struct lv_kern *k, uint32_t cpu_flags)
{
    const uint32_t avx2 = lv_cpu_level("avx2");
#if defined(LV_EMULATE_AVX512)
    const bool has_avx512 = (cpu_flags & avx2) == avx2;
#else
    const uint32_t avx512 = lv_cpu_level("avx512vnni") & ~(uint32_t)(LV_CPU_AVXVNNI | LV_CPU_AMD);
    const bool has_avx512 = (cpu_flags & avx512) == avx512;
#endif
    uint32_t n = 0;

    if ((cpu_flags & avx2) == avx2) {
        lv_kern_init(&k[n], avx2);
#define LV_X(TYPE, name) k[n].gemm[LV_TYPE_##TYPE] = lv_gemm_##name##_avxvnni_emulated;
        LV_KERN_INT_TYPES(LV_X)
#undef LV_X
        k[n++].level = "avxvnni, emulated";
    }
    if (has_avx512) {
#if defined(LV_EMULATE_AVX512)
        kt_emulate_avx512(&k[n++]);
        kt_emulate_avx512(&k[n]);
#else
        lv_kern_init(&k[n], avx512);
#endif
#define LV_X(TYPE, name) k[n].gemm[LV_TYPE_##TYPE] = lv_gemm_##name##_amx_emulated;
        LV_KERN_INT_TYPES(LV_X)
#undef LV_X
        k[n++].level = "amx, emulated";
    }
    return n;
}

#else

uint32_t kt_emulated_levels(struct lv_kern *k, uint32_t cpu_flags)
{
    (void)k;
    (void)cpu_flags;
    return 0;
}

#endif
