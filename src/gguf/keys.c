#include "gguf/keys.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"

#define STRIDE 16u /* strings an entry of skip[]: 4 bytes for every 128 or more of the file */

static const uint8_t kind_bytes[] = {
    [LV_GGUF_U8] = 1,  [LV_GGUF_I8] = 1,   [LV_GGUF_U16] = 2, [LV_GGUF_I16] = 2, [LV_GGUF_U32] = 4, [LV_GGUF_I32] = 4,
    [LV_GGUF_F32] = 4, [LV_GGUF_BOOL] = 1, [LV_GGUF_U64] = 8, [LV_GGUF_I64] = 8, [LV_GGUF_F64] = 8,
};

static uint64_t load_le(const uint8_t *b, unsigned n_bytes)
{
    uint64_t v = 0;

    for (unsigned i = n_bytes; i-- > 0;)
        v = v << 8 | b[i];
    return v;
}

static double f64_from_bits(uint64_t u)
{
    double f;

    memcpy(&f, &u, sizeof f);
    return f;
}

static int64_t sign_extend(uint64_t u, unsigned n_bytes)
{
    const uint64_t sign = UINT64_C(1) << (8 * n_bytes - 1);

    return (int64_t)((u ^ sign) - sign);
}

static bool is_signed(enum lv_gguf_kind k)
{
    return k == LV_GGUF_I8 || k == LV_GGUF_I16 || k == LV_GGUF_I32 || k == LV_GGUF_I64;
}

static bool is_unsigned(enum lv_gguf_kind k)
{
    return k == LV_GGUF_U8 || k == LV_GGUF_U16 || k == LV_GGUF_U32 || k == LV_GGUF_U64;
}

static bool is_float(enum lv_gguf_kind k)
{
    return k == LV_GGUF_F32 || k == LV_GGUF_F64;
}

/* ---- reading ----------------------------------------------------------------- */

static enum lever_status no_memory(struct lv_cursor *c, uint64_t bytes)
{
    return lv_cursor_fail(c, LEVER_E_NOMEM, "no memory for %" PRIu64 " bytes", bytes);
}

const char *lv_name_read(struct lv_cursor *c, struct lv_strings *strings, uint64_t max_bytes)
{
    const uint64_t n = lv_cursor_uint(c, 8, "length of a name");
    char *s;

    if (c->st < 0)
        return NULL;
    if (n == 0 || n > max_bytes) {
        lv_cursor_fail(c, LEVER_E_MODEL, "a name of %" PRIu64 " bytes, expected 1..%" PRIu64, n, max_bytes);
        return NULL;
    }
    if (!lv_cursor_need(c, 1, n, "name"))
        return NULL;
    if (!(s = lv_strings_take(strings, n + 1))) {
        no_memory(c, n + 1);
        return NULL;
    }
    s[n] = '\0';
    if (!lv_cursor_read(c, s, n, "name"))
        return NULL;
    for (uint64_t i = 0; i < n; i++) {
        const unsigned char b = (unsigned char)s[i];

        if (b <= ' ' || b > '~') {
            char shown[160];

            lv_cursor_fail(c, LEVER_E_MODEL, "name %s holds byte 0x%02x, expected visible ASCII only",
                           lv_str_show(shown, sizeof shown, (struct lv_str){ s, n }), b);
            return NULL;
        }
    }
    return s;
}

static void read_string(struct lv_keys *keys, struct lv_cursor *c, struct lv_str *out)
{
    const uint64_t n = lv_cursor_uint(c, 8, "length of a string");
    char *s;

    if (!lv_cursor_need(c, n, 1, "string"))
        return;
    if (!(s = lv_strings_take(&keys->strings, n + 1))) {
        no_memory(c, n + 1);
        return;
    }
    s[n] = '\0'; /* not counted; handy in a debugger */
    if (lv_cursor_read(c, s, n, "string"))
        *out = (struct lv_str){ s, n };
}

/* Walks over n strings to find where they end. The array is then read in one piece, so that its
 * block has exactly the right size. */
static void skip_strings(struct lv_cursor *c, uint64_t n)
{
    for (uint64_t i = 0; i < n && c->st >= 0; i++)
        lv_cursor_skip(c, lv_cursor_uint(c, 8, "length of a string"), "string of the array");
}

/* Fills skip[]. Checks the lengths again: they were read a second time, and the file may have changed. */
static bool index_strings(struct lv_array *a)
{
    uint64_t at = 0;

    for (uint64_t i = 0; i < a->n; i++) {
        uint64_t len;

        if (a->bytes - at < 8 || (len = load_le(a->data + at, 8)) > a->bytes - at - 8)
            return false;
        if (i % STRIDE == 0)
            a->skip[i / STRIDE] = (uint32_t)at; /* a header is shorter than 2^32 */
        at += 8 + len;
    }
    return at == a->bytes;
}

static void read_array(struct lv_cursor *c, struct lv_array *a)
{
    const uint64_t elem = lv_cursor_uint(c, 4, "element type");
    const uint64_t n = lv_cursor_uint(c, 8, "array length");
    uint64_t start;

    if (c->st < 0)
        return;
    if (elem == LV_GGUF_ARRAY) {
        lv_cursor_fail(c, LEVER_E_MODEL, "an array of arrays is not supported");
        return;
    }
    if (elem > LV_GGUF_F64) {
        lv_cursor_fail(c, LEVER_E_MODEL, "array of values of type %" PRIu64 ", expected a type of 0..12", elem);
        return;
    }
    if (!lv_cursor_need(c, n, elem == LV_GGUF_STRING ? 8 : kind_bytes[elem], "array elements"))
        return;
    a->elem = (enum lv_gguf_kind)elem;
    a->n = n;
    start = c->off;
    if (elem == LV_GGUF_STRING) {
        skip_strings(c, n);
        if (c->st < 0)
            return;
        a->bytes = c->off - start;
        c->off = start;
        if (!(a->skip = lv_alloc((n + STRIDE - 1) / STRIDE, sizeof a->skip[0]))) {
            no_memory(c, n / STRIDE * sizeof a->skip[0]);
            return;
        }
    } else {
        a->bytes = n * kind_bytes[elem];
    }
    if (!(a->data = lv_alloc(a->bytes, 1))) {
        no_memory(c, a->bytes);
        return;
    }
    if (lv_cursor_read(c, a->data, a->bytes, "array elements") && a->skip && !index_strings(a))
        lv_cursor_fail(c, LEVER_E_IO, "the file changed while it was read");
}

static void read_value(struct lv_keys *keys, struct lv_cursor *c, struct lv_kv *kv)
{
    const uint64_t kind = lv_cursor_uint(c, 4, "value type");

    if (c->st < 0)
        return;
    if (kind > LV_GGUF_F64) {
        lv_cursor_fail(c, LEVER_E_MODEL, "value of type %" PRIu64 ", expected a type of 0..12", kind);
        return;
    }
    kv->kind = (enum lv_gguf_kind)kind;
    if (kind == LV_GGUF_STRING) {
        read_string(keys, c, &kv->v.str);
    } else if (kind == LV_GGUF_ARRAY) {
        read_array(c, &kv->v.array);
    } else {
        const unsigned n_bytes = kind_bytes[kind];
        const uint64_t u = lv_cursor_uint(c, n_bytes, "value");

        if (kind == LV_GGUF_F32)
            kv->v.f = (double)lv_f32_from_bits((uint32_t)u);
        else if (kind == LV_GGUF_F64)
            kv->v.f = f64_from_bits(u);
        else if (is_signed(kv->kind))
            kv->v.i = sign_extend(u, n_bytes);
        else
            kv->v.u = u;
        if (kind == LV_GGUF_BOOL && u > 1)
            lv_cursor_fail(c, LEVER_E_MODEL, "bool value is %" PRIu64 ", expected 0 or 1", u);
    }
}

static int compare_names(const void *a, const void *b)
{
    const struct lv_kv *const *x = a, *const *y = b;

    return strcmp((*x)->key, (*y)->key);
}

enum lever_status lv_keys_read(struct lv_keys *keys, struct lv_cursor *c, uint64_t n)
{
    keys->path = c->path;
    c->kind = "keys";
    if (n > LV_KEYS_MAX)
        return lv_cursor_fail(c, LEVER_E_MODEL, "%" PRIu64 " keys, expected at most %u", n, LV_KEYS_MAX);
    /* the shortest key: length, one letter, type, one byte */
    if (!lv_cursor_need(c, n, 8 + 1 + 4 + 1, "keys"))
        return c->st;
    keys->kv = LV_NEW_ARRAY(struct lv_kv, n);
    keys->by_name = lv_alloc(n, sizeof keys->by_name[0]);
    if (!keys->kv || !keys->by_name)
        return no_memory(c, n * sizeof keys->kv[0]);

    for (uint32_t i = 0; i < n; i++) {
        struct lv_kv *kv = &keys->kv[i];

        c->kind = "keys";
        c->name = NULL;
        if (!(kv->key = lv_name_read(c, &keys->strings, LV_KEY_NAME_MAX)))
            return c->st;
        keys->by_name[i] = kv;
        keys->n = i + 1; /* deinit looks at the arrays of so many */
        c->kind = "key";
        c->name = kv->key;
        read_value(keys, c, kv);
        if (c->st < 0)
            return c->st;
    }
    c->kind = c->name = NULL;
    if (n > 0)
        qsort(keys->by_name, n, sizeof keys->by_name[0], compare_names);
    for (uint32_t i = 1; i < n; i++)
        if (strcmp(keys->by_name[i - 1]->key, keys->by_name[i]->key) == 0)
            return lv_cursor_fail(c, LEVER_E_MODEL, "key %.100s occurs twice", keys->by_name[i]->key);
    return LEVER_OK;
}

static void free_array(struct lv_array *a)
{
    lv_free(a->data);
    lv_free(a->skip);
    a->data = NULL;
    a->skip = NULL;
}

void lv_keys_deinit(struct lv_keys *keys)
{
    for (uint32_t i = 0; i < keys->n; i++)
        if (keys->kv[i].kind == LV_GGUF_ARRAY)
            free_array(&keys->kv[i].v.array);
    lv_free(keys->kv);
    lv_free(keys->by_name);
    lv_strings_deinit(&keys->strings);
    *keys = (struct lv_keys){ 0 };
}

void lv_keys_drop_arrays(struct lv_keys *keys)
{
    static const char *const large[] = { "tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.scores",
                                         "tokenizer.ggml.token_type" };

    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        const struct lv_kv *kv = lv_keys_find(keys, large[i]);

        if (kv && kv->kind == LV_GGUF_ARRAY) {
            const uint32_t i_kv = (uint32_t)(kv - keys->kv);

            lv_keys_text(keys, i_kv); /* keeps the first elements for info */
            free_array(&keys->kv[i_kv].v.array);
        }
    }
}

/* ---- typed access -------------------------------------------------------------- */

const struct lv_kv *lv_keys_find(const struct lv_keys *keys, const char *key)
{
    uint32_t lo = 0, hi = keys->n;

    while (lo < hi) {
        const uint32_t mid = lo + (hi - lo) / 2;
        const int c = strcmp(key, keys->by_name[mid]->key);

        if (c == 0)
            return keys->by_name[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

static enum lever_status wrong_type(const struct lv_keys *keys, const struct lv_kv *kv, const char *expected,
                                    struct lever_error *err)
{
    return LV_FAIL(err, LEVER_E_MODEL, "%s: key %.100s has type %s, expected %s", lv_path_tail(keys->path), kv->key,
                   lv_kind_name(kv), expected);
}

enum lever_status lv_keys_u64(const struct lv_keys *keys, const char *key, uint64_t *out, struct lever_error *err)
{
    const struct lv_kv *kv = lv_keys_find(keys, key);

    if (!kv)
        return LEVER_DONE;
    if (is_signed(kv->kind)) {
        if (kv->v.i < 0)
            return LV_FAIL(err, LEVER_E_MODEL, "%s: key %.100s is %" PRIi64 ", expected 0 or more",
                           lv_path_tail(keys->path), kv->key, kv->v.i);
        *out = (uint64_t)kv->v.i;
        return LEVER_OK;
    }
    if (!is_unsigned(kv->kind))
        return wrong_type(keys, kv, "an integer", err);
    *out = kv->v.u;
    return LEVER_OK;
}

enum lever_status lv_keys_f64(const struct lv_keys *keys, const char *key, double *out, struct lever_error *err)
{
    const struct lv_kv *kv = lv_keys_find(keys, key);

    if (!kv)
        return LEVER_DONE;
    if (is_float(kv->kind))
        *out = kv->v.f;
    else if (is_signed(kv->kind))
        *out = (double)kv->v.i;
    else if (is_unsigned(kv->kind))
        *out = (double)kv->v.u;
    else
        return wrong_type(keys, kv, "a number", err);
    return LEVER_OK;
}

enum lever_status lv_keys_bool(const struct lv_keys *keys, const char *key, bool *out, struct lever_error *err)
{
    const struct lv_kv *kv = lv_keys_find(keys, key);

    if (!kv)
        return LEVER_DONE;
    if (kv->kind != LV_GGUF_BOOL)
        return wrong_type(keys, kv, "bool", err);
    *out = kv->v.u != 0;
    return LEVER_OK;
}

enum lever_status lv_keys_str(const struct lv_keys *keys, const char *key, struct lv_str *out, struct lever_error *err)
{
    const struct lv_kv *kv = lv_keys_find(keys, key);

    if (!kv)
        return LEVER_DONE;
    if (kv->kind != LV_GGUF_STRING)
        return wrong_type(keys, kv, "string", err);
    *out = kv->v.str;
    return LEVER_OK;
}

enum lever_status lv_keys_array(const struct lv_keys *keys, const char *key, enum lv_gguf_kind *elem, uint64_t *n,
                                struct lever_error *err)
{
    const struct lv_kv *kv = lv_keys_find(keys, key);

    if (!kv)
        return LEVER_DONE;
    if (kv->kind != LV_GGUF_ARRAY)
        return wrong_type(keys, kv, "an array", err);
    *elem = kv->v.array.elem;
    *n = kv->v.array.n;
    return LEVER_OK;
}

struct lv_str lv_array_str(const struct lv_array *a, uint64_t i)
{
    const uint8_t *s;
    uint64_t len;

    if (!a->skip || i >= a->n)
        return (struct lv_str){ "", 0 };
    s = a->data + a->skip[i / STRIDE];
    len = load_le(s, 8);
    for (uint64_t j = i % STRIDE; j > 0; j--) {
        s += 8 + len;
        len = load_le(s, 8);
    }
    return (struct lv_str){ (const char *)s + 8, len };
}

double lv_array_num(const struct lv_array *a, uint64_t i)
{
    uint64_t u;
    unsigned n_bytes;

    if (!a->data || i >= a->n || a->elem == LV_GGUF_STRING)
        return 0;
    n_bytes = kind_bytes[a->elem];
    u = load_le(a->data + i * n_bytes, n_bytes);
    if (a->elem == LV_GGUF_F32)
        return (double)lv_f32_from_bits((uint32_t)u);
    if (a->elem == LV_GGUF_F64)
        return f64_from_bits(u);
    return is_signed(a->elem) ? (double)sign_extend(u, n_bytes) : (double)u;
}
