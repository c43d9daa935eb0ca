#include "kern/kern.h"

#include "cpu/cpu.h"
#include "kern/gemm_list.h"

/* Each type of a file has its kernels: the two lists name the same types. */
#define LV_X(...) +1
_Static_assert((0 LV_TYPE_LIST(LV_X)) == (0 LV_KERN_TYPES(LV_X)), "a tensor type without kernels");
#undef LV_X

/* Reference first, then overridden upward. */
void lv_kern_init(struct lv_kern *k, uint32_t cpu_flags)
{
    *k = (struct lv_kern){ .level = "ref" };
#define LV_X(TYPE, name)                                \
    k->gemm[LV_TYPE_##TYPE] = lv_gemm_##name##_ref;     \
    k->pack[LV_TYPE_##TYPE] = lv_pack_##name##_ref;
    LV_KERN_TYPES(LV_X)
#undef LV_X
    lv_kern_init_vec(k, cpu_flags);

#if defined(__x86_64__)
    if (!(cpu_flags & LV_CPU_AVX2))
        return;
    k->level = "avx2";
#define LV_X(TYPE, name)                                \
    k->gemm[LV_TYPE_##TYPE] = lv_gemm_##name##_avx2;    \
    k->pack[LV_TYPE_##TYPE] = lv_pack_##name##_avx2;
    LV_KERN_TYPES(LV_X)
#undef LV_X

    if (cpu_flags & LV_CPU_AVXVNNI) {
        k->level = "avxvnni";
#define LV_X(TYPE, name) k->gemm[LV_TYPE_##TYPE] = lv_gemm_##name##_avxvnni;
        LV_KERN_INT_TYPES(LV_X)
#undef LV_X
    }

    if (!(cpu_flags & LV_CPU_AVX512) || !(cpu_flags & LV_CPU_AVX512VNNI))
        return;
    k->level = "avx512vnni";
#define LV_X(TYPE, name)                                \
    k->gemm[LV_TYPE_##TYPE] = lv_gemm_##name##_avx512;  \
    k->pack[LV_TYPE_##TYPE] = lv_pack_##name##_avx512;
    LV_KERN_TYPES(LV_X)
#undef LV_X

    if (cpu_flags & LV_CPU_AMD) {
#define LV_X(TYPE, name) k->gemm[LV_TYPE_##TYPE] = lv_gemm_##name##_avx512_amd;
        LV_KERN_INT_TYPES(LV_X)
#undef LV_X
    }

    /* The AMX kernels unpack with GFNI, which every CPU with AMX has; a virtual machine could hide it. */
    if (!(cpu_flags & LV_CPU_AMX_INT8) || !__builtin_cpu_supports("gfni"))
        return;
    k->level = "amx";
#define LV_X(TYPE, name) k->gemm[LV_TYPE_##TYPE] = lv_gemm_##name##_amx;
    LV_KERN_INT_TYPES(LV_X)
#undef LV_X
#elif defined(__aarch64__)
    if (!(cpu_flags & LV_CPU_NEON))
        return;
    k->level = "neon";
#define LV_X(TYPE, name) k->gemm[LV_TYPE_##TYPE] = lv_gemm_##name##_neon;
    LV_KERN_TYPES(LV_X)
#undef LV_X

    if (!(cpu_flags & LV_CPU_DOTPROD))
        return;
    k->level = "dotprod";
#define LV_X(TYPE, name) k->gemm[LV_TYPE_##TYPE] = lv_gemm_##name##_dotprod;
    LV_KERN_INT_TYPES(LV_X)
#undef LV_X

    if (!(cpu_flags & LV_CPU_I8MM))
        return;
    k->level = "i8mm";
#define LV_X(TYPE, name) k->gemm[LV_TYPE_##TYPE] = lv_gemm_##name##_i8mm;
    LV_KERN_INT_TYPES(LV_X)
#undef LV_X
#endif
}
