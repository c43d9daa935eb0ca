#include "markup.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

#define MAX_TEXT_BYTES 500

void lv_markup_deinit(struct lv_markup *m)
{
    free(m->text);
    *m = (struct lv_markup){ .text = NULL };
}

static void put_bytes(struct lv_markup *m, const char *s, size_t n)
{
    if (m->failed)
        return;
    if (m->n + n + 1 > m->cap) {
        const size_t cap = 2 * (m->n + n) + 4096;
        char *grown = realloc(m->text, cap);

        if (!grown) {
            m->failed = true;
            return;
        }
        m->text = grown;
        m->cap = cap;
    }
    memcpy(m->text + m->n, s, n);
    m->n += n;
    m->text[m->n] = '\0';
}

void lv_put(struct lv_markup *m, const char *markup)
{
    put_bytes(m, markup, strlen(markup));
}

void lv_putf(struct lv_markup *m, const char *fmt, ...)
{
    char buf[1024];
    va_list ap;

    va_start(ap, fmt);
    const int n = vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof buf) /* cut markup would not be well-formed */
        m->failed = true;
    else
        put_bytes(m, buf, (size_t)n);
}

void lv_put_text(struct lv_markup *m, const char *text)
{
    for (const char *s = text ? text : ""; *s; s++) {
        const unsigned char c = (unsigned char)*s;
        const size_t plain = strcspn(s, "&<>\"'\1\2\3\4\5\6\7\10\13\14\16\17\20\21\22\23\24\25\26\27\30\31\32\33\34\35\36\37\177");

        if (plain) {
            put_bytes(m, s, plain);
            s += plain - 1;
            continue;
        }
        switch (c) {
        case '&':
            lv_put(m, "&amp;");
            break;
        case '<':
            lv_put(m, "&lt;");
            break;
        case '>':
            lv_put(m, "&gt;");
            break;
        case '"':
            lv_put(m, "&quot;");
            break;
        case '\'':
            lv_put(m, "&#39;");
            break;
        default:
            lv_put(m, "\xef\xbf\xbd");
        }
    }
}

void lv_put_textf(struct lv_markup *m, const char *fmt, ...)
{
    char buf[MAX_TEXT_BYTES];
    va_list ap;
    size_t n;

    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    if ((n = strlen(buf)) == sizeof buf - 1) /* it may have been cut inside a character */
        while (n && ((unsigned char)buf[n - 1] & 0x80))
            buf[--n] = '\0';
    lv_put_text(m, buf);
}

void lv_put_number(struct lv_markup *m, double x)
{
    const double size = fabs(x);

    if (!isfinite(x))
        lv_put(m, "&#8211;");
    else if (x == floor(x) && size < 1e15)
        lv_putf(m, "%.0f", x); /* a count */
    else if (size > 0 && size < 0.0005)
        lv_putf(m, "%.1e", x);
    else
        lv_putf(m, "%.*f", size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3, x);
}

void lv_put_percent(struct lv_markup *m, double share)
{
    if (isfinite(100 * share))
        lv_putf(m, "%.0f %%", 100 * share);
    else
        lv_put(m, "&#8211;");
}

enum lever_status lv_file_replace(const char *path, const char *bytes, size_t n, struct lever_error *err)
{
    char part[PATH_MAX];
    struct stat sb;
    FILE *f;

    if (stat(path, &sb) == 0 && !S_ISREG(sb.st_mode)) /* a pipe or /dev/stdout: renaming would replace it by a file */
        return lv_cli_fail(err, LEVER_E_IO, "%s: found something that is no file, expected a file or nothing there", path);
    if ((size_t)snprintf(part, sizeof part, "%s.part%ld", path, (long)getpid()) >= sizeof part)
        return lv_cli_fail(err, LEVER_E_IO, "%.200s...: the name is too long", path);
    if (!(f = fopen(part, "wb")))
        return lv_cli_fail(err, LEVER_E_IO, "%s: cannot be written: %s", path, strerror(errno));
    bool good = fwrite(bytes, 1, n, f) == n && fflush(f) == 0 && fsync(fileno(f)) == 0;
    int e = errno;

    if (fclose(f) != 0 && good) {
        good = false;
        e = errno;
    }
    if (good && rename(part, path) != 0) {
        good = false;
        e = errno;
    }
    if (good)
        return LEVER_OK;
    unlink(part);
    return lv_cli_fail(err, LEVER_E_IO, "%s: writing failed, and what was there is kept: %s", path, strerror(e));
}
