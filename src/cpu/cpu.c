#include "cpu/cpu.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#if defined(__linux__)
#include <unistd.h>
#include <sys/syscall.h>
#endif

#if defined(__x86_64__)
#include <cpuid.h>

/* State the operating system saves on a task switch (Intel SDM vol. 1, chapter 13). */
#define XCR0_AVX 0x6u       /* XMM, YMM */
#define XCR0_AVX512 0xe6u   /* and opmask, both parts of ZMM */
#define XCR0_AMX 0x60000u   /* tile configuration and data */

static uint64_t xcr0(void)
{
    uint32_t lo, hi;

    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* Linux gives tile data only to a process that asked for it, before its threads start. */
static bool amx_granted(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    const long req_xcomp_perm = 0x1023, tile_data = 18;

    return syscall(SYS_arch_prctl, req_xcomp_perm, tile_data) == 0;
#else
    return false;
#endif
}

uint32_t lv_cpu_detect(void)
{
    uint32_t a, b, c, d, flags = 0;
    uint64_t os;

    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    const uint32_t fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    const uint32_t need1 = fma | osxsave | avx | f16c;

    if ((c & need1) != need1)
        return 0;
    os = xcr0();
    if ((os & XCR0_AVX) != XCR0_AVX)
        return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & 1u << 5))
        return 0;
    flags |= LV_CPU_AVX2;
    if ((os & XCR0_AVX512) == XCR0_AVX512) {
        const uint32_t need7 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */

        if ((b & need7) == need7) {
            flags |= LV_CPU_AVX512;
            if (c & 1u << 11)
                flags |= LV_CPU_AVX512VNNI;
        }
    }
    if ((os & XCR0_AMX) == XCR0_AMX && (d & 1u << 24) && (d & 1u << 25) && amx_granted())
        flags |= LV_CPU_AMX_INT8;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4))
        flags |= LV_CPU_AVXVNNI;
    if (__get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx && c == signature_AMD_ecx && d == signature_AMD_edx)
        flags |= LV_CPU_AMD;
    return flags;
}

#elif defined(__aarch64__)
#if defined(__linux__)
#include <sys/auxv.h>
#endif

uint32_t lv_cpu_detect(void)
{
    uint32_t flags = LV_CPU_NEON; /* part of the base architecture */

#if defined(__linux__)
    /* Bits of the Linux arm64 ABI (elf_hwcaps.rst): ASIMDDP, I8MM. */
    if (getauxval(AT_HWCAP) & 1ul << 20)
        flags |= LV_CPU_DOTPROD;
    if (getauxval(AT_HWCAP2) & 1ul << 13)
        flags |= LV_CPU_I8MM;
#elif defined(__APPLE__)
    flags |= LV_CPU_DOTPROD; /* every Apple 64-bit core that runs macOS */
#endif
    return flags;
}

#else
uint32_t lv_cpu_detect(void)
{
    return 0;
}
#endif

/* need: without these the level cannot run. may: all it may use. Lowest first. */
static const struct level {
    const char *name;
    uint32_t need, may;
} levels[] = {
    { "ref", 0, 0 },
    { "avx2", LV_CPU_AVX2, LV_CPU_AVX2 },
    { "avxvnni", LV_CPU_AVX2 | LV_CPU_AVXVNNI, LV_CPU_AVX2 | LV_CPU_AVXVNNI },
    { "avx512vnni", LV_CPU_AVX2 | LV_CPU_AVX512 | LV_CPU_AVX512VNNI,
      LV_CPU_AVX2 | LV_CPU_AVXVNNI | LV_CPU_AVX512 | LV_CPU_AVX512VNNI | LV_CPU_AMD },
    { "amx", LV_CPU_AVX2 | LV_CPU_AVX512 | LV_CPU_AVX512VNNI | LV_CPU_AMX_INT8,
      LV_CPU_AVX2 | LV_CPU_AVXVNNI | LV_CPU_AVX512 | LV_CPU_AVX512VNNI | LV_CPU_AMD | LV_CPU_AMX_INT8 },
    { "neon", LV_CPU_NEON, LV_CPU_NEON },
    { "dotprod", LV_CPU_NEON | LV_CPU_DOTPROD, LV_CPU_NEON | LV_CPU_DOTPROD },
    { "i8mm", LV_CPU_NEON | LV_CPU_DOTPROD | LV_CPU_I8MM, LV_CPU_NEON | LV_CPU_DOTPROD | LV_CPU_I8MM },
};
#define N_LEVELS (sizeof levels / sizeof levels[0])

uint32_t lv_cpu_level(const char *name)
{
    for (size_t i = 0; i < N_LEVELS; i++)
        if (!strcmp(name, levels[i].name))
            return levels[i].may;
    return UINT32_MAX;
}

const char *lv_cpu_level_name(uint32_t flags, unsigned i)
{
    for (size_t j = 0; j < N_LEVELS; j++)
        if ((flags & levels[j].need) == levels[j].need && i-- == 0)
            return levels[j].name;
    return NULL;
}
