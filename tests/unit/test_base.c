/* The floor everything stands on: f16, checked sizes, memory, random numbers, sizes as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/size.h"
#include "base/status.h"

/* ---- half.h -------------------------------------------------------------- */

/* f16 by its definition: (-1)^s * 2^(e - 15) * 1.m, or 2^-14 * 0.m. */
static float f16_by_definition(uint16_t h)
{
    const int e = h >> 10 & 31, m = h & 1023;
    const double sign = h & 0x8000 ? -1.0 : 1.0;

    if (e == 31)
        return m ? NAN : (float)(sign * INFINITY);
    return (float)(sign * (e ? ldexp(1024 + m, e - 25) : ldexp(m, -24)));
}

static void test_f16_to_f32(void **state)
{
    (void)state;
    for (uint32_t h = 0; h <= 0xffff; h++) {
        const float got = lv_f32_from_f16((uint16_t)h), want = f16_by_definition((uint16_t)h);

        if (isnan(want)) {
            assert_true(isnan(got));
            assert_int_equal(lv_f32_bits(got) >> 22 & 1, 1); /* quiet */
            assert_int_equal(lv_f32_bits(got) >> 31, h >> 15);
            assert_int_equal(lv_f16_from_f32(got), h | 0x200);
        } else {
            assert_int_equal(lv_f32_bits(got), lv_f32_bits(want));
            assert_int_equal(lv_f16_from_f32(got), h); /* there and back */
        }
    }
}

/* Rounding is monotonic, so it is right everywhere if it is right at each midpoint and the floats on either side. */
static void test_f32_to_f16_rounds(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        const float low = f16_by_definition((uint16_t)h);
        const float high = h == 0x7bff ? 65536.0f : f16_by_definition((uint16_t)(h + 1)); /* then comes infinity */
        const float mid = (float)(((double)low + (double)high) / 2.0);
        const uint16_t even = (uint16_t)(h & 1 ? h + 1 : h);

        for (uint32_t sign = 0; sign <= 0x8000; sign += 0x8000) {
            const float s = sign ? -1.0f : 1.0f;

            assert_int_equal(lv_f16_from_f32(s * nextafterf(mid, 0.0f)), h | sign);
            assert_int_equal(lv_f16_from_f32(s * mid), even | sign);
            assert_int_equal(lv_f16_from_f32(s * nextafterf(mid, INFINITY)), (h + 1) | sign);
            assert_int_equal(lv_f16_from_f32(s * nextafterf(high, 0.0f)), (h + 1) | sign);
        }
    }
    assert_int_equal(lv_f16_from_f32(INFINITY), 0x7c00);
    assert_int_equal(lv_f16_from_f32(-INFINITY), 0xfc00);
    assert_int_equal(lv_f16_from_f32(3e38f), 0x7c00);
    assert_int_equal(lv_f16_from_f32(-1e-45f), 0x8000);
    for (uint32_t i = 0; i < 1000; i++) { /* NaNs stay NaNs, quiet or not */
        struct lv_rng r = { i };
        const uint32_t nan = 0x7f800001u + lv_rng_below(&r, 0x7fffff);

        assert_true((lv_f16_from_f32(lv_f32_from_bits(nan)) & 0x7fff) > 0x7c00);
    }
}

static void test_bf16(void **state)
{
    (void)state;
    for (uint32_t h = 0; h <= 0xffff; h++)
        assert_int_equal(lv_f32_bits(lv_f32_from_bf16((uint16_t)h)), h << 16);
    assert_true(lv_f32_from_bf16(0x3f80) == 1.0f);
}

/* ---- mem.h --------------------------------------------------------------- */

static void test_checked_sizes(void **state)
{
    uint64_t out = 7;

    (void)state;
    assert_false(lv_mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &out));
    assert_false(lv_mul_u64(UINT64_MAX, 2, &out));
    assert_false(lv_add_u64(UINT64_MAX, 1, &out));
    assert_int_equal(out, 7);
    assert_true(lv_mul_u64(UINT64_MAX, 1, &out) && out == UINT64_MAX);
    assert_true(lv_mul_u64(UINT64_MAX, 0, &out) && out == 0);
    assert_true(lv_add_u64(UINT64_MAX - 1, 1, &out) && out == UINT64_MAX);
    assert_int_equal(lv_round_up(0, 64), 0);
    assert_int_equal(lv_round_up(1, 64), 64);
    assert_int_equal(lv_round_up(64, 64), 64);
    assert_int_equal(lv_round_down(127, 64), 64);
}

static void test_heap(void **state)
{
    const volatile size_t half = SIZE_MAX / 2 + 1; /* volatile: the compiler would warn of the overflow */

    (void)state;
    assert_null(lv_alloc(half, 2));
    assert_null(lv_alloc_zero(half, 2));
    assert_null(lv_realloc(NULL, half, 2));

    char *p = lv_alloc(0, 8); /* nothing is not a failure */
    assert_non_null(p);
    lv_free(p);
    p = lv_alloc_zero(1000, 3);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(p[i], 0);
    p[2999] = 5;
    assert_null(lv_realloc(p, half, 2)); /* p is as it was */
    p = lv_realloc(p, 5000, 1);
    assert_int_equal(p[2999], 5);
    lv_free(p);
    p = lv_strdup("text");
    assert_string_equal(p, "text");
    lv_free(p);
    lv_free(NULL);
}

/* What each of the five ways to get memory does when the hook says no. */
static bool get_memory(int way)
{
    void *p = NULL;

    switch (way) {
    case 0:
        p = lv_alloc(1, 8);
        break;
    case 1:
        p = lv_alloc_zero(1, 8);
        break;
    case 2:
        p = lv_realloc(NULL, 1, 8);
        break;
    case 3:
        p = lv_strdup("x");
        break;
    default:
        p = lv_region_new(4096, false);
        lv_region_free(p, 4096);
        return p != NULL;
    }
    lv_free(p);
    return p != NULL;
}

static void test_fail_hook(void **state)
{
    (void)state;
    for (int way = 0; way < 5; way++) {
        for (uint64_t nth = 1; nth <= 3; nth++) {
            for (int for_good = 0; for_good < 2; for_good++) {
                const uint64_t before = lv_alloc_count();

                lv_alloc_fail_at(nth, for_good);
                for (uint64_t i = 1; i <= 5; i++)
                    assert_int_equal(get_memory(way), for_good ? i < nth : i != nth);
                lv_alloc_fail_at(0, false);
                assert_true(get_memory(way));
                assert_int_equal(lv_alloc_count() - before, 6);
            }
        }
    }
    struct lv_arena a;
    lv_alloc_fail_at(1, false);
    assert_false(lv_arena_init(&a, 4096, false));
    lv_alloc_fail_at(0, false);
    assert_null(a.base);
    lv_arena_deinit(&a);
}

static void test_region(void **state)
{
    (void)state;
    for (int huge = 0; huge < 2; huge++) {
        const uint64_t n = (UINT64_C(5) << 20) + 1;
        uint8_t *p = lv_region_new(n, huge);

        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 4096, 0);
        for (uint64_t i = 0; i < n; i += 4096)
            assert_int_equal(p[i], 0);
        memset(p, 1, n);
        lv_region_free(p, n);
    }
    assert_null(lv_region_new(UINT64_MAX / 2, false));
    lv_region_free(NULL, 4096);
}

/* Counting first, then taking the same pieces: they fit exactly, aligned, apart from each other. */
static void test_arena(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct lv_rng r = { seed };
        struct lv_arena count = { 0 }, a;
        uint64_t n[20], size[20];
        uint8_t *p[20];

        for (int i = 0; i < 20; i++) {
            n[i] = lv_rng_below(&r, 300);
            size[i] = 1 + lv_rng_below(&r, 40);
            assert_null(lv_arena_take(&count, n[i], size[i]));
        }
        assert_true(lv_arena_init(&a, count.used_bytes, false));
        for (int i = 0; i < 20; i++) {
            p[i] = lv_arena_take(&a, n[i], size[i]);
            assert_non_null(p[i]);
            assert_int_equal((uintptr_t)p[i] % 64, 0);
            memset(p[i], i + 1, n[i] * size[i]);
        }
        for (int i = 0; i < 20; i++)
            for (uint64_t k = 0; k < n[i] * size[i]; k++)
                assert_int_equal(p[i][k], i + 1);
        assert_int_equal(a.used_bytes, count.used_bytes);
        assert_null(lv_arena_take(&a, 1, 1)); /* full, and says what it would have needed */
        assert_int_equal(a.used_bytes, count.used_bytes + 64);
        lv_arena_deinit(&a);
        assert_null(a.base);
    }
    static const uint64_t huge[][2] = {
        { UINT64_MAX, 2 },
        { UINT64_MAX, 1 },
        { UINT64_C(1) << 40, UINT64_C(1) << 40 },
    };

    for (int i = 0; i < 3; i++) { /* no sum may wrap to something small */
        struct lv_arena a = { 0 };

        assert_null(lv_arena_take(&a, huge[i][0], huge[i][1]));
        assert_true(a.used_bytes >= UINT64_MAX / 4);
        lv_arena_take(&a, 1000, 1000);
        assert_true(a.used_bytes >= UINT64_MAX / 4);
    }
}

static void test_peak_rss(void **state)
{
    const uint64_t n = UINT64_C(64) << 20;
    uint8_t *p = lv_region_new(n, false);

    (void)state;
    assert_non_null(p);
    memset(p, 1, n);
    assert_true(lv_peak_rss() >= n && lv_peak_rss() < n << 6);
    lv_region_free(p, n);
}

/* ---- rng.h --------------------------------------------------------------- */

static void test_rng(void **state)
{
    struct lv_rng r = { 0 };
    uint32_t count[10] = { 0 };
    double sum = 0;

    (void)state;
    /* splitmix64 from state 0, as published. */
    assert_true(lv_rng_u64(&r) == UINT64_C(0xe220a8397b1dcdaf));
    assert_true(lv_rng_u64(&r) == UINT64_C(0x6e789e6aa1b965f4));
    assert_true(lv_rng_u64(&r) == UINT64_C(0x06c45d188009454f));
    assert_true(lv_mix64(0) == 0);
    for (int i = 0; i < 100000; i++) {
        const uint32_t k = lv_rng_below(&r, 10);
        const float f = lv_rng_f32(&r);

        assert_true(k < 10);
        assert_true(f >= -1.0f && f < 1.0f);
        count[k]++;
        sum += (double)f;
    }
    for (int i = 0; i < 10; i++)
        assert_true(count[i] > 9500 && count[i] < 10500);
    assert_true(fabs(sum / 100000) < 0.01);
    for (int i = 0; i < 100; i++)
        assert_int_equal(lv_rng_below(&r, 1), 0);
    /* Every bit of the input moves about half of the output. */
    for (int bit = 0; bit < 64; bit++) {
        uint32_t n = 0;

        for (uint64_t x = 1; x <= 200; x++)
            n += (uint32_t)__builtin_popcountll(lv_mix64(x * 977) ^ lv_mix64(x * 977 ^ UINT64_C(1) << bit));
        assert_true(n > 200 * 30 && n < 200 * 34);
    }
}

/* ---- size.h -------------------------------------------------------------- */

static void test_size(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        { "0", 0 },
        { "2048", 2048 },
        { "1K", 1024 },
        { "640M", UINT64_C(640) << 20 },
        { "640m", UINT64_C(640) << 20 },
        { "1.25G", UINT64_C(5) << 28 },
        { "0.5k", 512 },
        { "00012", 12 },
        { "0.1K", 102 },
        { "1.999999999G", UINT64_C(2147483646) },
        { "18446744073709551615", UINT64_MAX },
        { "17179869183.999999999G", UINT64_MAX - 1 },
        { "16777215M", UINT64_C(16777215) << 20 },
        { "18014398509481983K", UINT64_C(18014398509481983) << 10 },
    };
    static const char *const bad[] = {
        "",     " ",     "M",       "-1",   "+1",   "1 M",  " 1",   "1 ",     "1.5",    "1.",     ".5G",
        "1.G",  "1.2.3", "1MM",     "1MB",  "1T",   "0x10", "1e3",  "1,5G",   "nan",    "auto",   "1\n",
        "-1G",  "1G\t",  "1.-5G",   "K1",   "1.0000000001G",        "18446744073709551616",
        "18014398509481984K",       "17179869184G",                 "99999999999999999999999999999",
        "\xff", "1\xb2",
    };
    uint64_t out;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        out = 77;
        if (!lv_size_parse(good[i].text, &out) || out != good[i].bytes)
            fail_msg("\"%s\" gave %llu", good[i].text, (unsigned long long)out);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        out = 77;
        if (lv_size_parse(bad[i], &out) || out != 77)
            fail_msg("\"%s\" was taken as %llu", bad[i], (unsigned long long)out);
    }
    assert_false(lv_size_parse(NULL, &out));
}

/* ---- status.h ------------------------------------------------------------ */

static enum lever_status forward(enum lever_status st)
{
    LV_TRY(st);
    return LEVER_OK;
}

static void test_status(void **state)
{
    struct lever_error err = { .least_memory = 5 };
    char longer[3000];

    (void)state;
    assert_int_equal(LV_FAIL(&err, LEVER_E_MODEL, "%s: %d", "file", 7), LEVER_E_MODEL);
    assert_int_equal(err.status, LEVER_E_MODEL);
    assert_string_equal(err.message, "file: 7");
    assert_int_equal(err.least_memory, 0);
    assert_int_equal(LV_FAIL(NULL, LEVER_E_IO, "nobody listens"), LEVER_E_IO);
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    LV_FAIL(&err, LEVER_E_IO, "%s", longer);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_int_equal(forward(LEVER_E_IO), LEVER_E_IO);
    assert_int_equal(forward(LEVER_DONE), LEVER_OK);
#define LEVER_X(name, code, text) assert_string_equal(lever_status_text(name), text);
    LEVER_STATUS_LIST(LEVER_X)
#undef LEVER_X
    assert_non_null(lever_status_text((enum lever_status)-77));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16_to_f32), cmocka_unit_test(test_f32_to_f16_rounds),
        cmocka_unit_test(test_bf16),       cmocka_unit_test(test_checked_sizes),
        cmocka_unit_test(test_heap),       cmocka_unit_test(test_fail_hook),
        cmocka_unit_test(test_region),     cmocka_unit_test(test_arena),
        cmocka_unit_test(test_peak_rss),   cmocka_unit_test(test_rng),
        cmocka_unit_test(test_size),       cmocka_unit_test(test_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
