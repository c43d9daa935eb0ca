/* Text on its way out (cli/text.c): every character cut at every byte, and stop strings against a
 * naive twin that looks at the whole text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "text.h"

static size_t encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* Every scalar value is whole at its length, incomplete at every shorter one; surrogates never are. */
static void test_every_scalar(void **state)
{
    uint32_t n_good = 0;

    (void)state;
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        const bool surrogate = c >= 0xd800 && c < 0xe000;
        char s[4];
        const size_t len = encode(c, s);
        bool good;
        const size_t got = lv_utf8_next(s, len, &good);

        assert_int_equal(good, !surrogate);
        if (surrogate) {
            assert_int_equal(got, 1);
            continue;
        }
        assert_int_equal(got, len);
        n_good++;
        for (size_t cut = 1; cut < len; cut++)
            assert_int_equal(lv_utf8_next(s, cut, &good), 0);
    }
    assert_int_equal(n_good, 1112064);
}

/* Cleaning piece by piece, as it streams, gives what cleaning the whole gives: no piece ends inside a
 * character. All strings of 4 bytes out of telling ones. */
static void test_pieces_are_whole(void **state)
{
    static const unsigned char telling[] = { 'a', 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf4, 0xf5 };
    enum { N = sizeof telling, LEN = 4 };

    (void)state;
    for (int x = 0; x < N * N * N * N; x++) {
        const char s[LEN] = { (char)telling[x % N], (char)telling[x / N % N], (char)telling[x / N / N % N],
                              (char)telling[x / N / N / N] };
        char got[3 * LEN];
        size_t n_got = 0, n_want;
        char *want = lv_utf8_clean(s, LEN, &n_want);
        struct lv_text t;

        assert_non_null(want);
        lv_text_init(&t, NULL, 0);
        for (size_t i = 0; i < LEN; i++) {
            const char *from;
            size_t n, n_clean;
            char *clean;

            assert_true(lv_text_push(&t, s + i, 1));
            n = lv_text_take(&t, i == LEN - 1, &from);
            clean = lv_utf8_clean(from, n, &n_clean);
            assert_non_null(clean);
            assert_true(n_got + n_clean <= sizeof got);
            memcpy(got + n_got, clean, n_clean);
            n_got += n_clean;
            free(clean);
        }
        if (n_got != n_want || memcmp(got, want, n_want) != 0)
            fail_msg("bytes %02x %02x %02x %02x: pieces differ from the whole", s[0] & 255, s[1] & 255, s[2] & 255,
                     s[3] & 255);
        free(want);
        lv_text_deinit(&t);
    }
}

/* The twin: the shortest beginning of the text that ends with a stop string, cut before the longest such. */
static size_t twin_cut(const char *text, size_t n, const char *const *stop, size_t n_stop, bool *found)
{
    for (size_t end = 1; end <= n; end++) {
        size_t longest = 0;

        for (size_t i = 0; i < n_stop; i++) {
            const size_t len = strlen(stop[i]);

            if (len <= end && len > longest && !memcmp(text + end - len, stop[i], len))
                longest = len;
        }
        if (longest) {
            *found = true;
            return end - longest;
        }
    }
    *found = false;
    return n;
}

static void test_stop_twin(void **state)
{
    const uint64_t seed = 7;
    struct lv_rng rng = { seed };

    (void)state;
    for (int round = 0; round < 20000; round++) {
        char text[40], stops[3][8], got[40];
        const char *stop[3];
        const size_t n = lv_rng_below(&rng, sizeof text), n_stop = lv_rng_below(&rng, 4);
        struct lv_text t;
        size_t want, n_got = 0;
        bool found;

        for (size_t i = 0; i < n; i++)
            text[i] = (char)('a' + lv_rng_below(&rng, 2));
        for (size_t k = 0; k < n_stop; k++) {
            const size_t len = 1 + lv_rng_below(&rng, 6);

            for (size_t i = 0; i < len; i++)
                stops[k][i] = (char)('a' + lv_rng_below(&rng, 2));
            stops[k][len] = '\0';
            stop[k] = stops[k];
        }
        want = twin_cut(text, n, stop, n_stop, &found);

        lv_text_init(&t, stop, n_stop);
        for (size_t i = 0; i < n;) {
            const size_t left = n - i, len = 1 + lv_rng_below(&rng, left < 5 ? (uint32_t)left : 5);
            const char *from;
            size_t k;

            assert_true(lv_text_push(&t, text + i, len));
            i += len;
            k = lv_text_take(&t, i == n, &from);
            /* shown text is never taken back: it must be part of what is right */
            if (n_got + k > want || memcmp(from, text + n_got, k) != 0)
                fail_msg("seed %llu round %d: showed %zu bytes, right are %zu", (unsigned long long)seed, round,
                         n_got + k, want);
            memcpy(got + n_got, from, k);
            n_got += k;
        }
        if (t.stopped != found || n_got != want || memcmp(got, text, want) != 0)
            fail_msg("seed %llu round %d: %zu bytes, stopped %d; expected %zu, %d", (unsigned long long)seed, round, n_got,
                     t.stopped, want, found);
        lv_text_deinit(&t);
    }
}

/* Nothing is held back longer than needed: without a stop string begun, all is shown. */
static void test_holds_no_more_than_needed(void **state)
{
    static const char *const stop[] = { "abc" };
    const char *from;
    struct lv_text t;

    (void)state;
    lv_text_init(&t, stop, 1);
    assert_true(lv_text_push(&t, "xxab", 4));
    assert_int_equal(lv_text_take(&t, false, &from), 2);
    assert_true(lv_text_push(&t, "a", 1));
    assert_int_equal(lv_text_take(&t, false, &from), 2);
    assert_true(lv_text_push(&t, "z", 1));
    assert_int_equal(lv_text_take(&t, false, &from), 2);
    lv_text_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_scalar),
        cmocka_unit_test(test_pieces_are_whole),
        cmocka_unit_test(test_stop_twin),
        cmocka_unit_test(test_holds_no_more_than_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
