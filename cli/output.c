/* Messages on stderr, exit codes, files. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

int lv_exit_code(enum lever_status st)
{
    switch (st) {
    case LEVER_OK:
    case LEVER_DONE:
        return LV_EXIT_OK;
    case LEVER_E_ARG:
        return LV_EXIT_USAGE;
    case LEVER_E_MODEL:
    case LEVER_E_PAIR:
        return LV_EXIT_MODEL;
    case LEVER_E_BUDGET:
        return LV_EXIT_BUDGET;
    case LEVER_E_IO:
        return LV_EXIT_IO;
    case LEVER_E_CANCEL:
        return LV_EXIT_INTERRUPTED;
    case LEVER_E_NOMEM:
    case LEVER_E_INTERNAL:
        break;
    }
    return LV_EXIT_OTHER;
}

void lv_put_safe(FILE *f, const char *text, bool multi_line)
{
    for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
        /* 0xc2 0x80..0x9f are the control characters beyond ASCII; some terminals obey them */
        if (*s == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0) {
            fprintf(f, "\\x%02x", s[1]);
            s++;
        } else if ((*s < 0x20 || *s == 0x7f) && *s != '\t' && !(multi_line && *s == '\n')) {
            fprintf(f, "\\x%02x", *s);
        } else {
            fputc(*s, f);
        }
    }
}

__attribute__((format(printf, 2, 0))) static void say(const char *tag, const char *fmt, va_list ap)
{
    char text[2048];

    vsnprintf(text, sizeof text, fmt, ap);
    fprintf(stderr, "lever: %s", tag);
    lv_put_safe(stderr, text, false);
    fputc('\n', stderr);
}

void lv_say(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("", fmt, ap);
    va_end(ap);
}

void lv_error(const char *fmt, ...)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    const bool color = isatty(STDERR_FILENO) && !(no_color && *no_color) && !(term && !strcmp(term, "dumb"));
    va_list ap;

    va_start(ap, fmt);
    say(color ? "\033[1;31merror:\033[0m " : "error: ", fmt, ap);
    va_end(ap);
}

int lv_report(const struct lever_error *err, bool json)
{
    lv_error("%s", err->message[0] ? err->message : lever_status_text(err->status));
    if (json)
        lv_json_print(json_pack("{s:o}", "error", lv_json_error(err)));
    return lv_exit_code(err->status);
}

bool lv_stdout_done(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    lv_error("writing to standard output failed: %s", strerror(errno));
    return false;
}

enum lever_status lv_cli_fail(struct lever_error *err, enum lever_status st, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    err->status = st;
    err->least_memory = 0;
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    va_end(ap);
    return st;
}

/* All of f, in a buffer that doubles up to max_bytes. *out is owned by the caller, also on failure. */
static enum lever_status read_all(FILE *f, const char *path, size_t max_bytes, char **out, size_t *len,
                                  struct lever_error *err)
{
    size_t cap = 65536, n = 0;

    for (*out = NULL;; cap *= 2) {
        char *p = realloc(*out, cap + 1);

        if (!p)
            return lv_cli_fail(err, LEVER_E_NOMEM, "%s: no memory for %zu bytes of text", path, cap);
        *out = p;
        n += fread(p + n, 1, cap - n, f);
        if (ferror(f))
            return lv_cli_fail(err, LEVER_E_IO, "%s: reading failed: %s", path, strerror(errno));
        if (n > max_bytes)
            return lv_cli_fail(err, LEVER_E_ARG, "%s: the text is longer than %zu bytes", path, max_bytes);
        if (n < cap)
            break;
    }
    (*out)[n] = '\0';
    *len = n;
    return LEVER_OK;
}

enum lever_status lv_read_file(const char *path, size_t max_bytes, char **out, size_t *len, struct lever_error *err)
{
    const bool is_stdin = !strcmp(path, "-");
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    enum lever_status st;

    *out = NULL;
    if (!f)
        return lv_cli_fail(err, LEVER_E_IO, "%s: cannot be opened: %s", path, strerror(errno));
    st = read_all(f, is_stdin ? "standard input" : path, max_bytes, out, len, err);
    if (!is_stdin)
        fclose(f);
    if (st < 0) {
        free(*out);
        *out = NULL;
    }
    return st;
}

const char *lv_size_text(char buf[24], uint64_t bytes)
{
    static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
    double x = (double)bytes / 1024;
    size_t u = 0;

    if (bytes < 1024) {
        snprintf(buf, 24, "%" PRIu64 " bytes", bytes);
        return buf;
    }
    while (x >= 1024 && u < 3) {
        x /= 1024;
        u++;
    }
    snprintf(buf, 24, x < 100 ? "%.1f %s" : "%.0f %s", x, units[u]);
    return buf;
}
