#include <string.h>

#include "tok/vocab.h"

/* The byte of a character of the byte-level alphabet: printable Latin-1 stands for
 * itself, the other 68 bytes for U+0100 and up, in order. -1: not in the alphabet. */
static int byte_of_char(uint32_t c)
{
    if ((c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff))
        return (int)c;
    if (c < 0x100 || c >= 0x100 + 68)
        return -1;
    c -= 0x100;
    if (c <= 0x20) /* 00..20 */
        return (int)c;
    if (c <= 0x42) /* 7f..a0 */
        return (int)(c - 0x21 + 0x7f);
    return 0xad;
}

bool lv_tok_unmap_bytes(const char *s, size_t len, char *dst, size_t *n)
{
    size_t i = 0;

    *n = 0;
    while (i < len) {
        const int n_char = lv_utf8_char(s + i, len - i);
        const unsigned char c = (unsigned char)s[i];
        int b;

        if (n_char == 1)
            b = byte_of_char(c);
        else if (n_char == 2) /* the alphabet ends below U+0800 */
            b = byte_of_char((uint32_t)(c & 0x1f) << 6 | ((unsigned char)s[i + 1] & 0x3f));
        else
            return false;
        if (b < 0)
            return false;
        dst[(*n)++] = (char)b;
        i += (size_t)n_char;
    }
    return true;
}

size_t lv_tok_unmap_spaces(const char *s, size_t len, char *dst)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (len - i >= 3 && memcmp(s + i, "\xe2\x96\x81", 3) == 0) {
            dst[n++] = ' ';
            i += 2;
        } else {
            dst[n++] = s[i];
        }
    }
    return n;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

int lv_tok_byte_value(const char *s, size_t len)
{
    int hi, lo;

    if (len != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>')
        return -1;
    hi = hex_digit(s[3]);
    lo = hex_digit(s[4]);
    return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}
