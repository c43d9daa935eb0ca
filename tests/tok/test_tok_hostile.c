/* Bad files are refused with a word about what is wrong, long texts are quick, and every failing allocation is
 * an error and no more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tok/tok_kit.h"

static void check_refused(struct lv_gguf *g, const char *word)
{
    struct lever_error err = { 0 };
    struct lv_tok *t = NULL;
    const enum lever_status st = lv_tok_open(&t, g, &err);

    fake_free(g);
    assert_null(t);
    assert_int_equal(st, LEVER_E_MODEL);
    if (!strstr(err.message, word))
        fail_msg("\"%s\" does not mention \"%s\"", err.message, word);
}

static void test_refusals(void **state)
{
    struct lv_gguf *g;

    (void)state;
    check_refused(fake_new("bert", NULL), "\"bert\"");
    check_refused(fake_new(NULL, NULL), "tokenizer.ggml.model is absent");
    check_refused(fake_new("gpt2", NULL), "tokenizer.ggml.pre");
    check_refused(fake_new("gpt2", "nope"), "\"nope\"");
    check_refused(fake_new("gpt2", "qwen2"), "empty");
    check_refused(fake_new("llama", NULL), "empty");
    fake_num(g = fake_bpe(), "tokenizer.ggml.tokens", LV_GGUF_ARRAY, LV_GGUF_F32);
    check_refused(g, "tokenizer.ggml.tokens");
    fake_num(g = fake_bpe(), "tokenizer.ggml.token_type", LV_GGUF_ARRAY, LV_GGUF_STRING);
    check_refused(g, "token_type");
    (g = fake_bpe())->n_type = 3;
    check_refused(g, "3 elements");
    (g = fake_bpe())->type[9] = 7;
    check_refused(g, "token 9 has type 7");
    (g = fake_bpe())->type[9] = -1;
    check_refused(g, "token 9");
    (g = fake_bpe())->no_merges = true;
    check_refused(g, "tokenizer.ggml.merges is absent");
    fake_merge(g = fake_bpe(), "a", "c"); /* no "ac" */
    check_refused(g, "merge 1");
    fake_merge(g = fake_bpe(), "a", "");
    check_refused(g, "merge 1");
    fake_merge(g = fake_bpe(), "ab", "a thousand letters, more than any token has, are no merge");
    check_refused(g, "merge 1");
    fake_num(g = fake_bpe(), "tokenizer.ggml.eos_token_id", LV_GGUF_U32, 257);
    check_refused(g, "eos_token_id is 257");
    fake_str(g = fake_bpe(), "tokenizer.ggml.bos_token_id", "x");
    check_refused(g, "bos_token_id");
    fake_num(g = fake_bpe(), "tokenizer.ggml.add_bos_token", LV_GGUF_U32, 1);
    check_refused(g, "add_bos_token");
    (g = fake_spm())->n_score = 0;
    check_refused(g, "scores");
    (g = fake_spm())->n_score = 4;
    check_refused(g, "4 elements");
    (g = fake_spm())->score[5] = (double)NAN;
    check_refused(g, "token 5");
    g = fake_new("llama", NULL); /* text would have no tokens at all */
    fake_token(g, "a", NORMAL, 0);
    fake_num(g, "tokenizer.ggml.unknown_token_id", LV_GGUF_U32, UINT32_MAX);
    check_refused(g, "<0x00>");
}

/* Tokens made to fall into one slot of the hash would make opening a large vocabulary quadratic. */
static void test_colliding_tokens_are_refused(void **state)
{
    struct lv_gguf *g = fake_new("gpt2", "qwen2");

    (void)state;
    fake_bytes(g, false);
    for (uint64_t i = 0; g->n_token < 256 + 1100; i++) {
        char s[9];
        uint64_t w;

        snprintf(s, sizeof s, "%08llx", (unsigned long long)i);
        memcpy(&w, s, 8);
        /* The hash of vocab.c for a text of eight bytes; this many tokens have 2048 slots. */
        if ((lv_mix64(lv_mix64(8 * UINT64_C(0x9e3779b97f4a7c15) ^ w)) & 2047) == 0)
            fake_token(g, s, NORMAL, 0);
    }
    check_refused(g, "shares its hash");
}

static void test_many_tokens_open_fast(void **state)
{
    struct lv_gguf *g = fake_new("gpt2", "qwen2");
    struct lv_tok *t;

    (void)state;
    fake_bytes(g, false);
    for (int i = 0; i < 60000; i++) {
        char s[16];

        snprintf(s, sizeof s, "t%d", i);
        fake_token(g, s, NORMAL, 0);
    }
    fake_token(g, "", NORMAL, 0);     /* an empty text is never found */
    fake_token(g, "t7", NORMAL, 0);   /* of equal texts the last one counts */
    t = open_tok(g);
    assert_int_equal(lv_tok_find(t, "t7", 2), 256 + 60001);
    assert_int_equal(lv_tok_find(t, "t59999", 6), 256 + 59999);
    assert_int_equal(lv_tok_find(t, "", 0), -1);
    assert_int_equal(lv_tok_find(t, "t60000", 6), -1);
    assert_true(lv_tok_bytes(t) < (4u << 20));
    lv_tok_close(t);
    fake_free(g);
}

static void test_long_input(void **state)
{
    static const char unit[] = { 'a', ' ', '\n', '!', '1', '\xff', '\t' };
    const size_t len = 1 << 18;
    char *s = malloc(len);

    (void)state;
    for (size_t k = 0; k < 2 * sizeof unit; k++) {
        struct lv_gguf *g = k % 2 ? fake_spm() : fake_bpe();
        struct lv_tok *t = open_tok(g);
        const struct lv_tok_span span = { s, len, true };
        struct lv_tok_ids ids;

        memset(s, unit[k / 2], len);
        ids = encode(t, &span, 1, false);
        assert_true(ids.n >= len / 5);
        lv_free(ids.ids);
        lv_tok_close(t);
        fake_free(g);
    }
    free(s);
}

/* Every allocation fails once: an error, nothing leaks (sanitizer), ids stay as they were. */
static void test_no_memory(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct lv_gguf *g = k ? fake_spm() : fake_bpe();
        const struct lv_tok_span span[] = { { "a b\xff<|im_end|>\n\n", 16, true }, { " ab\u2581", 6, false } };
        struct lv_tok *t = NULL;
        int n_failed[2] = { 0 };

        /* Some failures do no harm: PCRE2 does without its JIT. So go on to well past the last one. */
        for (uint64_t nth = 1; nth <= 60; nth++) {
            enum lever_status st;

            t = NULL;
            lv_alloc_fail_at(nth, false);
            st = lv_tok_open(&t, g, NULL);
            lv_alloc_fail_at(0, false);
            assert_true(st == LEVER_OK || (st == LEVER_E_NOMEM && !t));
            n_failed[0] += st != LEVER_OK;
            if (nth < 60)
                lv_tok_close(t);
        }
        assert_non_null(t);
        for (uint64_t nth = 1; nth <= 60; nth++) {
            struct lv_tok_ids ids = { 0 };
            enum lever_status st;

            lv_alloc_fail_at(nth, false);
            st = lv_tok_encode(t, span, 2, true, &ids, NULL);
            lv_alloc_fail_at(0, false);
            assert_true(st == LEVER_OK || (st == LEVER_E_NOMEM && ids.n == 0));
            n_failed[1] += st != LEVER_OK;
            if (nth == 60)
                assert_int_equal(st, LEVER_OK);
            lv_free(ids.ids);
        }
        assert_true(n_failed[0] >= 10 && n_failed[1] >= 5);
        lv_tok_close(t);
        fake_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_colliding_tokens_are_refused),
        cmocka_unit_test(test_many_tokens_open_fast),
        cmocka_unit_test(test_long_input),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
