/* Keys and strings of a file as text for people: escaped, valid UTF-8, of bounded length. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gguf/keys.h"

#define SHOWN_ELEMENTS 6u
#define SHOWN_STRING   40u /* bytes of a string inside an array */

static const char *const kinds[] = { "u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                     "bool", "string", "array", "u64", "i64", "f64" };
static const char *const arrays[] = { "array of u8",     "array of i8",    "array of u16", "array of i16",
                                      "array of u32",    "array of i32",   "array of f32", "array of bool",
                                      "array of string", "array of array", "array of u64", "array of i64",
                                      "array of f64" };

const char *lv_kind_name(const struct lv_kv *kv)
{
    return kv->kind == LV_GGUF_ARRAY ? arrays[kv->v.array.elem] : kinds[kv->kind];
}

/* ---- a bounded buffer -------------------------------------------------------- */

struct text {
    char *buf;
    size_t cap, n; /* n < cap: there is always room for the NUL */
    bool full;     /* something did not fit */
};

/* Adds all n bytes or, when they do not fit, none. */
static void add(struct text *t, const char *s, size_t n)
{
    if (t->full || n >= t->cap - t->n) {
        t->full = true;
        return;
    }
    memcpy(t->buf + t->n, s, n);
    t->n += n;
    t->buf[t->n] = '\0';
}

__attribute__((format(printf, 2, 3))) static void addf(struct text *t, const char *fmt, ...)
{
    char s[64];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(s, sizeof s, fmt, ap);
    va_end(ap);
    if (n > 0)
        add(t, s, (size_t)n < sizeof s ? (size_t)n : sizeof s - 1);
}

/* Length of the well-formed UTF-8 character at s, 0 if there is none. */
static size_t utf8_len(const unsigned char *s, size_t n)
{
    size_t len;

    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f)) /* overlong, surrogate, too large */
        return 0;
    return len;
}

/* As much of s as fits, escaped. Returns whether something is missing. */
static bool add_escaped(struct text *t, struct lv_str s)
{
    const unsigned char *b = (const unsigned char *)s.s;
    size_t i = 0;

    while (i < s.len && !t->full) {
        const size_t n = utf8_len(b + i, s.len - i);

        if (b[i] == '\n')
            add(t, "\\n", 2);
        else if (b[i] == '\t')
            add(t, "\\t", 2);
        else if (n == 0 || b[i] < 0x20 || b[i] == 0x7f)
            addf(t, "\\x%02x", b[i]);
        else
            add(t, (const char *)b + i, n);
        i += n ? n : 1;
    }
    return t->full || i < s.len;
}

const char *lv_str_show(char *buf, size_t cap, struct lv_str s)
{
    struct text t = { buf, cap - 5, 0, false }; /* keeps room for ...", the NUL comes with it */
    bool cut;

    add(&t, "\"", 1);
    cut = add_escaped(&t, s);
    memcpy(buf + t.n, cut ? "...\"" : "\"", cut ? 5 : 2);
    return buf;
}

/* ---- values -------------------------------------------------------------------- */

static void add_array(struct text *t, const struct lv_array *a)
{
    const uint64_t shown = !a->data ? 0 : a->n < SHOWN_ELEMENTS ? a->n : SHOWN_ELEMENTS;

    add(t, "[", 1);
    for (uint64_t i = 0; i < shown; i++) {
        if (i > 0)
            add(t, ", ", 2);
        if (a->elem == LV_GGUF_STRING) {
            char s[SHOWN_STRING];

            lv_str_show(s, sizeof s, lv_array_str(a, i));
            add(t, s, strlen(s));
        } else if (a->elem == LV_GGUF_BOOL) {
            addf(t, "%s", lv_array_num(a, i) != 0 ? "true" : "false");
        } else {
            addf(t, "%.9g", lv_array_num(a, i));
        }
    }
    if (shown < a->n)
        addf(t, "%s... %" PRIu64 " in all", shown ? ", " : "", a->n);
    add(t, "]", 1);
}

const char *lv_keys_text(struct lv_keys *keys, uint32_t i)
{
    struct lv_kv *kv = &keys->kv[i];
    char buf[LV_TEXT_MAX] = "";
    struct text t = { buf, sizeof buf, 0, false };
    char *kept;

    if (kv->text)
        return kv->text;
    switch (kv->kind) {
    case LV_GGUF_U8:
    case LV_GGUF_U16:
    case LV_GGUF_U32:
    case LV_GGUF_U64:
        addf(&t, "%" PRIu64, kv->v.u);
        break;
    case LV_GGUF_I8:
    case LV_GGUF_I16:
    case LV_GGUF_I32:
    case LV_GGUF_I64:
        addf(&t, "%" PRIi64, kv->v.i);
        break;
    case LV_GGUF_F32:
        addf(&t, "%g", kv->v.f);
        break;
    case LV_GGUF_F64:
        addf(&t, "%.12g", kv->v.f);
        break;
    case LV_GGUF_BOOL:
        addf(&t, "%s", kv->v.u ? "true" : "false");
        break;
    case LV_GGUF_STRING:
        t.cap -= 3; /* for the dots */
        if (add_escaped(&t, kv->v.str))
            memcpy(buf + t.n, "...", 4);
        break;
    case LV_GGUF_ARRAY:
        add_array(&t, &kv->v.array);
        break;
    }
    if (!(kept = lv_strings_take(&keys->strings, strlen(buf) + 1)))
        return "(no memory to show it)";
    return kv->text = strcpy(kept, buf);
}
