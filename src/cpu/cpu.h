/* CPU features, asked of the CPU and of the operating system, and named levels to mask them. */
#ifndef LV_CPU_CPU_H
#define LV_CPU_CPU_H

#include <stdint.h>

enum {
    LV_CPU_AVX2 = 1u << 0,        /* AVX2, FMA, F16C */
    LV_CPU_AVXVNNI = 1u << 1,     /* 256-bit vpdpbusd, VEX form */
    LV_CPU_AVX512 = 1u << 2,      /* F, BW, VL, DQ */
    LV_CPU_AVX512VNNI = 1u << 3,
    LV_CPU_AMX_INT8 = 1u << 4,    /* and the kernel grants tile state */
    LV_CPU_AMD = 1u << 5,         /* no feature: who made it, where the same instructions want to be fed otherwise */
    LV_CPU_NEON = 1u << 8,
    LV_CPU_DOTPROD = 1u << 9,
    LV_CPU_I8MM = 1u << 10
};

/* Flags of this machine. */
uint32_t lv_cpu_detect(void);

/* A level by name: "ref", "avx2", "avxvnni", "avx512vnni", "amx", "neon", "dotprod", "i8mm".
 * Returns the flags the level may use (all lower ones included), or UINT32_MAX for an unknown name. */
uint32_t lv_cpu_level(const char *name);
/* The i-th level name that these flags can run, lowest first; NULL at the end. For tests and errors. */
const char *lv_cpu_level_name(uint32_t flags, unsigned i);

#endif
