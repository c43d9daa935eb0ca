#include "vec_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/half.h"
#include "cpu/cpu.h"
#include "kern/kt.h"
#include "kern/vec.h"

#define N_BUF   24
#define CAP_BUF ((size_t)8 << 20)
#define CANARY  64
#define POISON  0xa5 /* as f32 -2.9e-16: unlike any result */

uint64_t vt_seed = 1;

static struct {
    uint8_t *base; /* CAP_BUF readable bytes, then an unreadable page */
    uint8_t *lent;
} bufs[N_BUF];
static unsigned n_lent;

const struct lv_kern *vt_ref(void)
{
    static struct lv_kern ref;

    if (!ref.add)
        lv_kern_init_vec(&ref, 0);
    return &ref;
}

unsigned vt_levels(const struct vt_level **levels)
{
    static const struct {
        const char *name;
        uint32_t flags;
    } all[] = {
#if defined(__aarch64__)
        { "neon", LV_CPU_NEON }
#else
        { "avx2", LV_CPU_AVX2 }, { "avx512", LV_CPU_AVX2 | LV_CPU_AVX512 }
#endif
    };
    static struct vt_level have[sizeof all / sizeof all[0] + 1];
    static unsigned n;

    if (!have[0].name) {
        have[0].name = "none";
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            if ((lv_cpu_detect() & all[i].flags) != all[i].flags) {
                printf("level %s: not on this CPU, not tested\n", all[i].name);
                continue;
            }
            printf("level %s\n", all[i].name);
            have[n].name = all[i].name;
            lv_kern_init_vec(&have[n++].kern, all[i].flags);
        }
#if defined(LV_EMULATE_AVX512)
        if (lv_cpu_detect() & LV_CPU_AVX2) {
            have[n].name = "avx512, emulated";
            kt_emulate_avx512(&have[n++].kern);
            printf("level %s\n", have[n - 1].name);
        }
#endif
    }
    *levels = have;
    return n;
}

struct lv_rng vt_rng(const char *test)
{
    uint64_t h = vt_seed;

    for (; *test; test++)
        h = lv_mix64(h ^ (uint8_t)*test);
    return (struct lv_rng){ h };
}

void *vt_take(size_t n, size_t size)
{
    const size_t n_bytes = n * size, page = (size_t)sysconf(_SC_PAGESIZE);

    if (n_lent == N_BUF || n_bytes > CAP_BUF - CANARY) {
        fprintf(stderr, "vt_take: %zu bytes, %u buffers lent\n", n_bytes, n_lent);
        abort();
    }
    if (!bufs[n_lent].base) {
        void *p = mmap(NULL, CAP_BUF + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || mprotect((uint8_t *)p + CAP_BUF, page, PROT_NONE) != 0) {
            perror("vt_take");
            abort();
        }
        bufs[n_lent].base = p;
    }
    uint8_t *p = bufs[n_lent].base + CAP_BUF - n_bytes;
    memset(p - CANARY, POISON, n_bytes + CANARY);
    bufs[n_lent++].lent = p;
    return p;
}

void *vt_copy(const void *src, size_t n, size_t size)
{
    return memcpy(vt_take(n, size), src, n * size);
}

int vt_setup(void **state)
{
    (void)state;
    n_lent = 0;
    return 0;
}

void vt_release(void)
{
    while (n_lent > 0) {
        const uint8_t *p = bufs[--n_lent].lent;

        for (unsigned i = 1; i <= CANARY; i++) {
            if (p[-(ptrdiff_t)i] != POISON)
                fail_msg("byte %u before buffer %u was overwritten (--seed %llu)", i, n_lent,
                         (unsigned long long)vt_seed);
        }
    }
}

void vt_fill(struct lv_rng *rng, float *x, size_t n, enum vt_kind kind)
{
    static const uint32_t odd[] = { 0,          0x80000000, 1,          0x80000001, 0x007fffff, 0x00800000,
                                    0x7f7fffff, 0xff7fffff, 0x3f800000, 0x42aeac50, 0xc2aeac50, 0x42b17218 };

    for (size_t i = 0; i < n; i++) {
        x[i] = lv_rng_f32(rng);
        if (kind == VT_WIDE)
            x[i] = lv_f32_from_bits((uint32_t)lv_rng_u64(rng) % 0x7f800000u | (uint32_t)(lv_rng_u64(rng) << 31));
        if (kind >= VT_ODD && kind != VT_ZERO && lv_rng_below(rng, 4) == 0)
            x[i] = lv_f32_from_bits(odd[lv_rng_below(rng, sizeof odd / sizeof *odd)]);
        if (kind == VT_INFINITE && lv_rng_below(rng, 8) == 0)
            x[i] = lv_f32_from_bits(0x7f800000u | (uint32_t)(lv_rng_u64(rng) << 31));
        if (kind == VT_ZERO)
            x[i] = 0.0f;
    }
    if (kind == VT_NAN && n > 0)
        x[lv_rng_below(rng, (uint32_t)n)] = lv_f32_from_bits(0x7fc00001u | (uint32_t)(lv_rng_u64(rng) << 31));
}

void vt_fill_f16(struct lv_rng *rng, uint16_t *h, size_t n, bool with_nan)
{
    static const uint16_t odd[] = { 0, 0x8000, 1, 0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff };

    for (size_t i = 0; i < n; i++) {
        h[i] = (uint16_t)(lv_rng_u64(rng) % 0x4400 | (lv_rng_u64(rng) << 15 & 0x8000));
        if (lv_rng_below(rng, 64) == 0)
            h[i] = odd[lv_rng_below(rng, 8)];
    }
    if (with_nan && n > 0) {
        h[lv_rng_below(rng, (uint32_t)n)] = 0xfc00;
        h[lv_rng_below(rng, (uint32_t)n)] = 0x7c01;
    }
}

static void fail_case(const char *fmt, va_list ap, const char *what)
{
    char name[256];

    vsnprintf(name, sizeof name, fmt, ap);
    fail_msg("%s: %s (--seed %llu)", name, what, (unsigned long long)vt_seed);
}

void vt_same_f32(const float *got, const float *want, size_t n, const char *fmt, ...)
{
    for (size_t i = 0; i < n; i++) {
        const bool both_nan = got[i] != got[i] && want[i] != want[i];
        if (!both_nan && lv_f32_bits(got[i]) != lv_f32_bits(want[i])) {
            char what[160];
            va_list ap;

            snprintf(what, sizeof what, "value %zu of %zu is %a, the reference %a", i, n, (double)got[i],
                     (double)want[i]);
            va_start(ap, fmt);
            fail_case(fmt, ap, what);
            va_end(ap);
        }
    }
}

void vt_same_bytes(const void *got, const void *want, size_t n_bytes, const char *fmt, ...)
{
    const uint8_t *a = got, *b = want;

    for (size_t i = 0; i < n_bytes; i++) {
        if (a[i] != b[i]) {
            char what[160];
            va_list ap;

            snprintf(what, sizeof what, "byte %zu of %zu is %#x, the reference %#x", i, n_bytes, a[i], b[i]);
            va_start(ap, fmt);
            fail_case(fmt, ap, what);
            va_end(ap);
        }
    }
}
