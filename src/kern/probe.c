/* Portable loops: the floor of what a machine can do, where no instruction set is known better. */
#include "kern/probe.h"

#include <string.h>

#include "cpu/cpu.h"

static uint64_t read_plain(const uint8_t *p, uint64_t bytes, uint64_t ahead)
{
    uint64_t s[8] = { 0 };

    for (uint64_t i = 0; i < bytes; i += 64) {
        uint64_t v[8];

        if (ahead)
            __builtin_prefetch(p + i + ahead);
        memcpy(v, p + i, sizeof v);
        for (int k = 0; k < 8; k++)
            s[k] += v[k];
    }
    return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
}

#define LANES 64

static uint64_t mac_plain(uint64_t n)
{
    int32_t acc[LANES] = { 0 };
    int8_t a[LANES], b[LANES];
    uint64_t sum = 0;

    for (int k = 0; k < LANES; k++) {
        a[k] = (int8_t)k;
        b[k] = (int8_t)(k ^ 5);
    }
    for (uint64_t i = 0; i < n; i++) {
        for (int k = 0; k < LANES; k++)
            acc[k] = (int32_t)((uint32_t)acc[k] + (uint32_t)(a[k] * b[k]));
        __asm__ volatile("" : "+m"(a), "+m"(b)); /* or the products are computed once */
    }
    for (int k = 0; k < LANES; k++)
        sum += (uint32_t)acc[k];
    return sum;
}

static uint64_t fma_plain(uint64_t n)
{
    float acc[LANES] = { 0 }, a = 0.5f, b = 0.25f, sum = 0;

    for (uint64_t i = 0; i < n; i++) {
        for (int k = 0; k < LANES; k++)
            acc[k] = acc[k] * a + b;
        __asm__ volatile("" : "+m"(a), "+m"(b));
    }
    for (int k = 0; k < LANES; k++)
        sum += acc[k];
    return (uint64_t)sum;
}

void lv_probe_init(struct lv_probe *p, uint32_t cpu_flags)
{
    *p = (struct lv_probe){ .mac_name = "portable",
                            .fma_name = "portable",
                            .read = read_plain,
                            .mac = mac_plain,
                            .fma = fma_plain,
                            .mac_per_round = LANES,
                            .fma_per_round = LANES };
#if defined(__x86_64__)
    if (!(cpu_flags & LV_CPU_AVX2))
        return;
    lv_probe_init_avx2(p);
    if (cpu_flags & LV_CPU_AVXVNNI)
        lv_probe_init_avxvnni(p);
    if (!(cpu_flags & LV_CPU_AVX512))
        return;
    lv_probe_init_avx512(p);
    if (cpu_flags & LV_CPU_AVX512VNNI)
        lv_probe_init_avx512vnni(p);
#elif defined(__aarch64__)
    if (cpu_flags & LV_CPU_NEON)
        lv_probe_init_neon(p);
    if (cpu_flags & LV_CPU_DOTPROD)
        lv_probe_init_dotprod(p);
#else
    (void)cpu_flags;
#endif
}
