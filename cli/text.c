/* See text.h. */
#include "text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

size_t lv_utf8_next(const char *s, size_t n, bool *good)
{
    const unsigned char *u = (const unsigned char *)s;
    unsigned lo = 0x80, hi = 0xbf; /* range of the second byte */
    size_t len;

    *good = true;
    if (u[0] < 0x80)
        return 1;
    *good = false;
    if (u[0] < 0xc2 || u[0] > 0xf4)
        return 1;
    len = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
    if (u[0] == 0xe0)
        lo = 0xa0; /* not overlong */
    else if (u[0] == 0xed)
        hi = 0x9f; /* no surrogates */
    else if (u[0] == 0xf0)
        lo = 0x90;
    else if (u[0] == 0xf4)
        hi = 0x8f; /* up to U+10FFFF */
    for (size_t i = 1; i < len; i++) {
        if (i == n)
            return 0;
        if (u[i] < lo || u[i] > hi)
            return i;
        lo = 0x80;
        hi = 0xbf;
    }
    *good = true;
    return len;
}

char *lv_utf8_clean(const char *s, size_t n, size_t *n_out)
{
    char *out = n <= SIZE_MAX / 3 - 1 ? malloc(3 * n + 1) : NULL; /* one bad byte becomes three */
    size_t k = 0;

    if (!out)
        return NULL;
    for (size_t i = 0; i < n;) {
        bool good;
        const size_t len = lv_utf8_next(s + i, n - i, &good);

        if (good && len) {
            memcpy(out + k, s + i, len);
            k += len;
        } else {
            memcpy(out + k, "\xef\xbf\xbd", 3);
            k += 3;
        }
        if (!len)
            break; /* the text ends inside a character */
        i += len;
    }
    out[k] = '\0';
    *n_out = k;
    return out;
}

void lv_text_init(struct lv_text *t, const char *const *stop, size_t n_stop)
{
    *t = (struct lv_text){ .stop = stop, .n_stop = n_stop };
}

void lv_text_deinit(struct lv_text *t)
{
    free(t->bytes);
    t->bytes = NULL;
}

/* Length of the longest stop string that the text ends with, or 0. */
static size_t stop_at_end(const struct lv_text *t)
{
    size_t best = 0;

    for (size_t i = 0; i < t->n_stop; i++) {
        const size_t n = strlen(t->stop[i]);

        if (n > best && n <= t->n_bytes && !memcmp(t->bytes + t->n_bytes - n, t->stop[i], n))
            best = n;
    }
    return best;
}

bool lv_text_push(struct lv_text *t, const char *bytes, size_t n)
{
    if (n > t->cap_bytes - t->n_bytes) {
        const size_t cap = 2 * (t->n_bytes + n) + 256;
        char *p = realloc(t->bytes, cap);

        if (!p)
            return false;
        t->bytes = p;
        t->cap_bytes = cap;
    }
    for (size_t i = 0; i < n && !t->stopped; i++) {
        size_t cut;

        t->bytes[t->n_bytes++] = bytes[i];
        if ((cut = stop_at_end(t)) > 0) {
            t->n_bytes -= cut;
            t->stopped = true;
        }
    }
    return true;
}

/* Length of the longest end of the text that is a beginning of a stop string. */
static size_t stop_begun(const struct lv_text *t)
{
    size_t best = 0;

    for (size_t i = 0; i < t->n_stop; i++) {
        size_t n = strlen(t->stop[i]) - 1;

        if (n > t->n_bytes)
            n = t->n_bytes;
        for (; n > best; n--)
            if (!memcmp(t->bytes + t->n_bytes - n, t->stop[i], n))
                best = n;
    }
    return best;
}

size_t lv_text_take(struct lv_text *t, bool last, const char **from)
{
    const bool all = last || t->stopped;
    const size_t held = all ? 0 : stop_begun(t);
    size_t end = t->n_bytes - held, i = t->n_out;

    if (end < i) /* cannot be: what could begin a stop string was never handed out */
        end = i;
    *from = t->bytes + t->n_out;
    if (!all) {
        while (i < end) {
            bool good;
            const size_t len = lv_utf8_next(t->bytes + i, end - i, &good);

            if (!len)
                break;
            i += len;
        }
        end = i;
    }
    i = t->n_out;
    t->n_out = end;
    return end - i;
}
