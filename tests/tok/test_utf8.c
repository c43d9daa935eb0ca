/* The detokenizer's character buffer, exhaustively: every character, cut at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "tok/vocab.h"

static size_t encode_char(uint32_t c, char *s)
{
    if (c < 0x80) {
        s[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        s[0] = (char)(0xc0 | c >> 6);
        s[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        s[0] = (char)(0xe0 | c >> 12);
        s[1] = (char)(0x80 | (c >> 6 & 0x3f));
        s[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    s[0] = (char)(0xf0 | c >> 18);
    s[1] = (char)(0x80 | (c >> 12 & 0x3f));
    s[2] = (char)(0x80 | (c >> 6 & 0x3f));
    s[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* Held back until whole, wherever it is cut; text around it is not held. */
static void test_every_character_every_cut(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char s[8] = "x", out[16];
        size_t len;

        if (c >= 0xd800 && c < 0xe000)
            continue;
        len = encode_char(c, s + 1);
        s[1 + len] = 'y';
        assert_int_equal(lv_utf8_char(s + 1, len), len);
        for (size_t cut = 1; cut <= len; cut++) {
            struct lv_utf8 u = { 0 };
            size_t n = lv_utf8_feed(&u, s, cut, out); /* "x" and cut - 1 bytes of the character */

            assert_int_equal(n, 1);
            n += lv_utf8_feed(&u, s + cut, len + 2 - cut, out + n);
            assert_int_equal(n, len + 2);
            assert_memory_equal(out, s, n);
            assert_int_equal(lv_utf8_flush(&u, out), 0);
        }
    }
}

/* By the definition of UTF-8, not by ranges of bytes: is s[0..n) the begin of a character? */
static bool begins_character(const unsigned char *s, size_t n)
{
    /* The characters that begin with these bytes form a range; its ends decide. */
    uint32_t c, lo, hi;
    size_t len;

    if (s[0] < 0xc0 || s[0] >= 0xf8)
        return s[0] < 0x80 && n == 1;
    len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (n > len)
        return false;
    c = s[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return false;
        c = c << 6 | (s[i] & 0x3f);
    }
    lo = c << 6 * (len - n);
    hi = lo + (1u << 6 * (len - n)) - 1;
    if (hi < (len == 2 ? 0x80u : len == 3 ? 0x800u : 0x10000u) || lo > 0x10ffff)
        return false;
    return !(lo >= 0xd800 && hi < 0xe000);
}

/* All sequences of up to three bytes, and four from the edges of the ranges, byte by byte: what comes
 * out is the input; what is held back is the begin of a character and nothing else. */
static void check_bytes(const unsigned char *s, size_t len)
{
    struct lv_utf8 u = { 0 };
    char out[16];
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        n += lv_utf8_feed(&u, (const char *)s + i, 1, out + n);
        assert_int_equal(n + u.n_tail, i + 1);
        if (u.n_tail)
            assert_true(begins_character(s + n, u.n_tail));
        else if (begins_character(s + i, 1) && s[i] >= 0xc0)
            fail_msg("%02x was not held back", s[i]);
    }
    for (size_t i = 0; i < len; i++) /* the same in one call */
        if (i + 1 == len) {
            struct lv_utf8 v = { 0 };
            char all[16];

            assert_int_equal(lv_utf8_feed(&v, (const char *)s, len, all), n);
            assert_memory_equal(all, out, n);
        }
    n += lv_utf8_flush(&u, out + n);
    assert_int_equal(n, len);
    assert_memory_equal(out, s, len);
}

static void test_all_short_sequences(void **state)
{
    static const unsigned char edge[] = { 0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0,
                                          0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff };
    const size_t n = sizeof edge;

    (void)state;
    for (unsigned v = 0; v < 0x10000; v++) {
        const unsigned char s[2] = { (unsigned char)(v >> 8), (unsigned char)v };

        check_bytes(s, 2);
    }
    for (size_t i = 0; i < n * n * n * n; i++) {
        const unsigned char s[4] = { edge[i % n], edge[i / n % n], edge[i / n / n % n], edge[i / n / n / n] };

        check_bytes(s, 4);
    }
}

/* lv_utf8_char against the definition. */
static void test_char_length(void **state)
{
    (void)state;
    for (unsigned v = 0; v < 0x1000000; v += v < 0x800000 ? 0x7fff : 1) {
        const unsigned char s[3] = { (unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v };
        const int got = lv_utf8_char((const char *)s, 3);

        if (got == 0)
            assert_true(s[0] >= 0xf0 && begins_character(s, 3));
        else if (got > 0)
            assert_true(begins_character(s, (size_t)got));
        else
            for (size_t n = 1; n <= 3; n++)
                assert_false(begins_character(s, n) && n == (s[0] < 0x80 ? 1u : s[0] < 0xe0 ? 2u : 3u));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_character_every_cut),
        cmocka_unit_test(test_all_short_sequences),
        cmocka_unit_test(test_char_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
