#include "tok/tok_kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/mem.h"

struct lv_tok *open_tok(const struct lv_gguf *g)
{
    struct lever_error err = { 0 };
    struct lv_tok *t = NULL;

    if (lv_tok_open(&t, g, &err) != LEVER_OK)
        fail_msg("open: %s", err.message);
    return t;
}

struct lv_tok_ids encode(const struct lv_tok *t, const struct lv_tok_span *span, size_t n_span, bool add_bos)
{
    struct lever_error err = { 0 };
    struct lv_tok_ids ids = { 0 };

    if (lv_tok_encode(t, span, n_span, add_bos, &ids, &err) != LEVER_OK)
        fail_msg("encode: %s", err.message);
    return ids;
}

void check_ids(const struct lv_tok *t, const char *s, bool special, const int32_t *want)
{
    const struct lv_tok_span span = { s, strlen(s), special };
    struct lv_tok_ids ids = encode(t, &span, 1, false);
    size_t n = 0;

    while (want[n] >= 0)
        n++;
    for (size_t i = 0; i < n || i < ids.n; i++)
        if (n != ids.n || ids.ids[i] != want[i])
            fail_msg("\"%s\": %zu ids, expected %zu; number %zu is %d", s, ids.n, n, i, i < ids.n ? ids.ids[i] : -1);
    lv_free(ids.ids);
}

struct lv_gguf *fake_bpe(void)
{
    struct lv_gguf *g = fake_new("gpt2", "qwen2");

    fake_bytes(g, false);
    fake_token(g, "ab", NORMAL, 0);
    fake_merge(g, "a", "b");
    return g;
}

struct lv_gguf *fake_spm(void)
{
    struct lv_gguf *g = fake_new("llama", NULL);

    fake_token(g, "<unk>", UNKNOWN, 0);       /* 0 */
    fake_token(g, "<s>", CONTROL, 0);         /* 1 */
    fake_token(g, "</s>", CONTROL, 0);        /* 2 */
    fake_bytes(g, true);                      /* 3.. */
    fake_token(g, "\u2581", NORMAL, -5);      /* 259 */
    fake_token(g, "a", NORMAL, -6);           /* 260 */
    fake_token(g, "\u2581a", NORMAL, -1);     /* 261 */
    fake_token(g, "\u2581\u2581", NORMAL, -2); /* 262 */
    fake_token(g, "\n\n", USER, -1000);       /* 263 */
    fake_token(g, "    ", USER, -1000);       /* 264: plain spaces */
    return g;
}
