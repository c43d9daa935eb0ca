#include <string.h>

#include "tok/vocab.h"

/* Table 3-7 of the Unicode standard: the second byte has a range of its own after
 * E0, ED, F0, F4; all others are 80..BF. */
int lv_utf8_char(const char *s, size_t n)
{
    const unsigned char c = (unsigned char)s[0];
    unsigned char lo = 0x80, hi = 0xbf;
    int len;

    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return -1;
    len = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (c == 0xe0)
        lo = 0xa0;
    else if (c == 0xed)
        hi = 0x9f;
    else if (c == 0xf0)
        lo = 0x90;
    else if (c == 0xf4)
        hi = 0x8f;
    for (int i = 1; i < len; i++, lo = 0x80, hi = 0xbf) {
        if ((size_t)i == n)
            return 0;
        if ((unsigned char)s[i] < lo || (unsigned char)s[i] > hi)
            return -1;
    }
    return len;
}

size_t lv_utf8_feed(struct lv_utf8 *u, const char *s, size_t len, char *out)
{
    size_t n_out = 0, i = 0;

    /* First the held-back character, one byte at a time, until it is complete or hopeless. */
    while (u->n_tail && i < len) {
        int n;

        u->tail[u->n_tail++] = (unsigned char)s[i++];
        while (u->n_tail && (n = lv_utf8_char((const char *)u->tail, u->n_tail)) != 0) {
            const unsigned n_take = n > 0 ? (unsigned)n : 1;

            memcpy(out + n_out, u->tail, n_take);
            n_out += n_take;
            u->n_tail -= n_take;
            memmove(u->tail, u->tail + n_take, u->n_tail);
        }
    }
    while (i < len) {
        const int n = lv_utf8_char(s + i, len - i);
        const size_t n_take = n > 0 ? (size_t)n : 1;

        if (n == 0) {
            u->n_tail = (unsigned)(len - i);
            memcpy(u->tail, s + i, u->n_tail);
            break;
        }
        memcpy(out + n_out, s + i, n_take);
        n_out += n_take;
        i += n_take;
    }
    return n_out;
}

size_t lv_utf8_flush(struct lv_utf8 *u, char *out)
{
    const size_t n = u->n_tail;

    memcpy(out, u->tail, n);
    u->n_tail = 0;
    return n;
}
