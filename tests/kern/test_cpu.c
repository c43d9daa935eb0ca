/* CPU levels: names, masks, and the kernel table they lead to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/cpu.h"
#include "kern/kern.h"

static void test_levels(void **state)
{
    const uint32_t flags = lv_cpu_detect();
    const char *name;
    unsigned n = 0;

    (void)state;
    assert_int_equal(flags, lv_cpu_detect());
    assert_string_equal(lv_cpu_level_name(0, 0), "ref");
    assert_null(lv_cpu_level_name(0, 1));
    assert_int_equal(lv_cpu_level("ref"), 0);
    assert_int_equal(lv_cpu_level("AVX2"), UINT32_MAX);
    assert_int_equal(lv_cpu_level(""), UINT32_MAX);
    for (; (name = lv_cpu_level_name(flags, n)); n++)
        assert_true(lv_cpu_level(name) != UINT32_MAX);
    assert_null(lv_cpu_level_name(flags, n + 1));
    /* A level alone is the highest one of its own mask. */
    static const char *const all[] = { "ref", "avx2", "avxvnni", "avx512vnni", "amx", "neon", "dotprod", "i8mm" };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const uint32_t mask = lv_cpu_level(all[i]);

        assert_true(mask != UINT32_MAX);
        for (n = 0; lv_cpu_level_name(mask, n + 1);)
            n++;
        assert_string_equal(lv_cpu_level_name(mask, n), all[i]);
    }
}

/* A mask never gives kernels the flags do not allow. */
static void test_table(void **state)
{
    struct lv_kern k;

    (void)state;
    lv_kern_init(&k, 0);
    assert_string_equal(k.level, "ref");
#if defined(__x86_64__)
    lv_kern_init(&k, LV_CPU_AVX2);
    assert_string_equal(k.level, "avx2");
    lv_kern_init(&k, LV_CPU_AVX2 | LV_CPU_AVX512);
    assert_string_equal(k.level, "avx2");
    lv_kern_init(&k, LV_CPU_AVX512 | LV_CPU_AVX512VNNI);
    assert_string_equal(k.level, "ref");
    lv_kern_init(&k, lv_cpu_level("avxvnni"));
    assert_string_equal(k.level, "avxvnni");
    lv_kern_init(&k, lv_cpu_level("avx512vnni"));
    assert_string_equal(k.level, "avx512vnni");
    lv_kern_init(&k, lv_cpu_level("amx") & ~LV_CPU_AVX512VNNI);
    assert_string_equal(k.level, "avxvnni");
    lv_kern_init(&k, lv_cpu_level("amx")); /* asks the CPU once more */
    assert_true(!strcmp(k.level, "amx") || !strcmp(k.level, "avx512vnni"));
#elif defined(__aarch64__)
    lv_kern_init(&k, LV_CPU_NEON);
    assert_string_equal(k.level, "neon");
    lv_kern_init(&k, LV_CPU_NEON | LV_CPU_I8MM);
    assert_string_equal(k.level, "neon");
    lv_kern_init(&k, LV_CPU_DOTPROD | LV_CPU_I8MM);
    assert_string_equal(k.level, "ref");
    lv_kern_init(&k, lv_cpu_level("dotprod"));
    assert_string_equal(k.level, "dotprod");
    lv_kern_init(&k, lv_cpu_level("i8mm"));
    assert_string_equal(k.level, "i8mm");
#endif
    lv_kern_init(&k, lv_cpu_detect());
    for (uint32_t t = 0; t < LV_TYPE_MAX; t++) { /* every type of a file has kernels, and nothing else has */
        assert_int_equal(k.gemm[t] != NULL, lv_type_traits(t) != NULL);
        assert_int_equal(k.pack[t] != NULL, lv_type_traits(t) != NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_levels), cmocka_unit_test(test_table) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
