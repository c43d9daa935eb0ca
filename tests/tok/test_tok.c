/* The tokenizer on small vocabularies made here: merges against a naive twin, special tokens against
 * a naive scan, words of each pre-tokenizer, bytes both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tok/tok_kit.h"

/* ---- merges against a naive twin ------------------------------------------------ */

#define MAX_VOCAB 300
#define MAX_MERGE 300

struct twin {
    char piece[MAX_VOCAB][64]; /* of token id */
    double score[MAX_VOCAB];
    int n_piece;
    int merge[MAX_MERGE][2]; /* ids, by rank */
    int n_merge;
    bool spm;
};

static int twin_find(const struct twin *w, const char *s)
{
    for (int i = 0; i < w->n_piece; i++)
        if (strcmp(w->piece[i], s) == 0)
            return i;
    return -1;
}

/* Smaller is better; -1: the two do not join. */
static double twin_rank(const struct twin *w, int a, int b, int *joined)
{
    char both[128];

    snprintf(both, sizeof both, "%s%s", w->piece[a], w->piece[b]);
    *joined = twin_find(w, both);
    if (*joined < 0)
        return -1;
    if (w->spm)
        return 1e6 - w->score[*joined];
    for (int i = 0; i < w->n_merge; i++)
        if (w->merge[i][0] == a && w->merge[i][1] == b)
            return i;
    return -1;
}

/* The definition: again and again join the best pair, the leftmost of equals. */
static size_t twin_encode(const struct twin *w, const char *s, int *ids)
{
    size_t n = strlen(s);

    for (size_t i = 0; i < n; i++)
        ids[i] = twin_find(w, (const char[]){ s[i], '\0' });
    for (;;) {
        double best = -1;
        size_t at = 0;
        int best_id = -1;

        for (size_t i = 0; i + 1 < n; i++) {
            int id;
            const double rank = twin_rank(w, ids[i], ids[i + 1], &id);

            if (rank >= 0 && (best < 0 || rank < best)) {
                best = rank;
                at = i;
                best_id = id;
            }
        }
        if (best < 0)
            return n;
        ids[at] = best_id;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

static void twin_make(struct twin *w, struct lv_rng *r, bool spm, uint32_t n_letter)
{
    memset(w, 0, sizeof *w);
    w->spm = spm;
    for (uint32_t i = 0; i < n_letter; i++) {
        w->piece[w->n_piece][0] = (char)('a' + i);
        w->score[w->n_piece++] = (double)lv_rng_below(r, 8);
    }
    for (int k = 0; k < 60; k++) {
        const int a = (int)lv_rng_below(r, (uint32_t)w->n_piece), b = (int)lv_rng_below(r, (uint32_t)w->n_piece);
        char both[128];

        if (strlen(w->piece[a]) + strlen(w->piece[b]) > 12)
            continue;
        snprintf(both, sizeof both, "%s%s", w->piece[a], w->piece[b]);
        if (twin_find(w, both) < 0) {
            memcpy(w->piece[w->n_piece], both, 16);
            w->score[w->n_piece++] = (double)lv_rng_below(r, 8) - 4; /* many ties, some below 0 */
        } else if (spm) {
            continue;
        }
        w->merge[w->n_merge][0] = a;
        w->merge[w->n_merge++][1] = b;
    }
}

static struct lv_tok *twin_open(const struct twin *w)
{
    struct lv_gguf *g = fake_new(w->spm ? "llama" : "gpt2", w->spm ? NULL : "gpt-2");
    struct lv_tok *t;

    for (int i = 0; i < w->n_piece; i++)
        fake_token(g, w->piece[i], NORMAL, w->score[i]);
    for (int i = 0; i < w->n_merge; i++)
        fake_merge(g, w->piece[w->merge[i][0]], w->piece[w->merge[i][1]]);
    if (w->spm)
        fake_num(g, "tokenizer.ggml.add_space_prefix", LV_GGUF_BOOL, 0);
    t = open_tok(g);
    fake_free(g);
    return t;
}

static void test_merges_against_twin(void **state)
{
    struct twin *w = malloc(sizeof *w);

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct lv_rng r = { seed };
        const uint32_t n_letter = 1 + lv_rng_below(&r, 4);
        struct lv_tok *t;

        twin_make(w, &r, seed % 2, n_letter);
        t = twin_open(w);
        for (int k = 0; k < 40; k++) {
            char s[128];
            int want[128];
            const size_t len = 1 + lv_rng_below(&r, 100);
            struct lv_tok_span span = { s, len, false };
            struct lv_tok_ids ids;
            size_t n_want;

            for (size_t i = 0; i < len; i++)
                s[i] = (char)('a' + lv_rng_below(&r, n_letter));
            s[len] = '\0';
            n_want = twin_encode(w, s, want);
            ids = encode(t, &span, 1, false);
            for (size_t i = 0; i < n_want || i < ids.n; i++)
                if (n_want != ids.n || want[i] != ids.ids[i])
                    fail_msg("seed %llu, \"%s\": %zu ids, the twin has %zu; number %zu differs", (unsigned long long)seed, s, ids.n,
                             n_want, i);
            lv_free(ids.ids);
        }
        lv_tok_close(t);
    }
    free(w);
}

/* ---- special tokens --------------------------------------------------------------- */

/* The definition: each special token in turn, longest first, over what is still plain. owner[i] = the
 * token that covers byte i, first[i] = it begins there. */
static void naive_scan(const struct lv_gguf *g, const char *s, const struct lv_tok_span *span, size_t n_span, int *owner,
                       bool *first)
{
    size_t off = 0;

    for (size_t k = 0; k < n_span; off += span[k++].len) {
        for (size_t len = 16; len > 0; len--) {
            for (size_t i = off; i + len <= off + span[k].len; i++) {
                for (uint64_t id = 256; id < g->n_token; id++) {
                    bool is_free = true;

                    if (g->token_len[id] != len || memcmp(g->token[id], s + i, len) != 0)
                        continue;
                    if (g->type[id] != USER && !span[k].special)
                        continue;
                    for (size_t j = i; j < i + len; j++)
                        is_free = is_free && owner[j] < 0;
                    for (size_t j = i; is_free && j < i + len; j++) {
                        owner[j] = (int)id;
                        first[j] = j == i;
                    }
                }
            }
        }
    }
}

static void test_special_against_naive_scan(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct lv_rng r = { seed };
        struct lv_gguf *g = fake_new("gpt2", "qwen2");
        struct lv_tok *t;
        char s[256];
        size_t len = 0, n_want = 0, n_span = 1 + lv_rng_below(&r, 5);
        struct lv_tok_span span[5];
        int owner[256];
        bool first[256] = { false };
        struct lv_tok_ids ids;

        fake_bytes(g, false);
        for (uint32_t n = 1 + lv_rng_below(&r, 12); n > 0; n--) {
            char text[16] = "";
            bool is_new = true;

            for (uint32_t i = 1 + lv_rng_below(&r, 6); i > 0; i--)
                strcat(text, lv_rng_below(&r, 2) ? "<" : lv_rng_below(&r, 2) ? "|" : "x");
            for (uint64_t id = 256; id < g->n_token; id++)
                is_new = is_new && strcmp(g->token[id], text) != 0;
            if (is_new)
                fake_token(g, text, lv_rng_below(&r, 2) ? CONTROL : USER, 0);
        }
        t = open_tok(g);
        for (size_t k = 0; k < n_span; k++) {
            span[k] = (struct lv_tok_span){ s + len, lv_rng_below(&r, 30), lv_rng_below(&r, 2) };
            for (size_t i = 0; i < span[k].len; i++)
                s[len++] = "<|x"[lv_rng_below(&r, 3)];
        }
        for (size_t i = 0; i < len; i++)
            owner[i] = -1;
        naive_scan(g, s, span, n_span, owner, first);
        ids = encode(t, span, n_span, false);
        for (size_t i = 0; i < len; i++) {
            if (owner[i] >= 0 && !first[i])
                continue;
            /* Bytes are tokens 0..255, and nothing merges. */
            if (n_want >= ids.n || ids.ids[n_want] != (owner[i] >= 0 ? owner[i] : (int)(unsigned char)s[i]))
                fail_msg("seed %llu: \"%.*s\", byte %zu", (unsigned long long)seed, (int)len, s, i);
            n_want++;
        }
        assert_int_equal(ids.n, n_want);
        lv_free(ids.ids);
        lv_tok_close(t);
        fake_free(g);
    }
}

/* Text must not become a control token by any way: merges, whole words, pieces side by side. */
static void test_text_never_becomes_control(void **state)
{
    static const char *const pre_table[] = { "qwen2", "llama-bpe", NULL };

    (void)state;
    for (int k = 0; k < 3; k++) { /* the last one is SentencePiece */
        const bool spm = !pre_table[k];
        struct lv_gguf *g = fake_new(spm ? "llama" : "gpt2", pre_table[k]);
        const struct lv_tok_span split[] = { { "ab", 2, true }, { "c", 1, false } };
        struct lv_tok_ids ids;
        int32_t ab, abc, b0;
        struct lv_tok *t;

        b0 = (int32_t)g->n_token;
        fake_bytes(g, spm);
        for (char c = 'a'; spm && c <= 'c'; c++)
            b0 = fake_token(g, (const char[]){ c, '\0' }, NORMAL, 0) - c;
        ab = fake_token(g, "ab", NORMAL, 1);
        abc = fake_token(g, "abc", CONTROL, 2);
        fake_merge(g, "a", "b");
        fake_merge(g, "ab", "c");
        if (spm)
            fake_num(g, "tokenizer.ggml.add_space_prefix", LV_GGUF_BOOL, 0);
        t = open_tok(g);
        CHECK_IDS(t, "abc", false, ab, b0 + 'c');
        CHECK_IDS(t, "abc", true, abc);
        ids = encode(t, split, 2, false);
        assert_int_equal(ids.n, 2);
        assert_int_equal(ids.ids[0], ab);
        lv_free(ids.ids);
        lv_tok_close(t);
        fake_free(g);
    }
}

/* Pieces side by side are one text: merges go across. */
static void test_spans_are_one_text(void **state)
{
    struct lv_gguf *g = fake_new("gpt2", "qwen2");
    const struct lv_tok_span span[] = { { "a", 1, true }, { NULL, 0, false }, { "b", 1, false } };
    struct lv_tok_ids ids;
    struct lv_tok *t;
    int32_t ab;

    (void)state;
    fake_bytes(g, false);
    ab = fake_token(g, "ab", NORMAL, 0);
    fake_merge(g, "a", "b");
    t = open_tok(g);
    ids = encode(t, span, 3, false);
    assert_int_equal(ids.n, 1);
    assert_int_equal(ids.ids[0], ab);
    lv_free(ids.ids);
    ids = encode(t, NULL, 0, true); /* no text, and no beginning token in this vocabulary */
    assert_int_equal(ids.n, 0);
    lv_free(ids.ids);
    lv_tok_close(t);
    fake_free(g);
}

/* ---- pre-tokenizers ----------------------------------------------------------------- */

/* words: the text with a | at each cut (the texts have none of their own). */
static void check_words(const char *name, const char *words)
{
    struct lv_pretok p = { 0 };
    struct lv_pretok_run r = { 0 };
    char s[256], got[512] = "";
    size_t len = 0, word_len;

    for (const char *c = words; *c; c++)
        if (*c != '|')
            s[len++] = *c;
    assert_int_equal(lv_pretok_open(&p, name, strlen(name), NULL), LEVER_OK);
    assert_int_equal(lv_pretok_begin(&r, &p, len, NULL), LEVER_OK);
    for (size_t off = 0; off < len; off += word_len) {
        assert_int_equal(lv_pretok_next(&r, &p, s, len, off, &word_len, NULL), LEVER_OK);
        assert_true(word_len > 0 && off + word_len <= len);
        strcat(got, off ? "|" : "");
        strncat(got, s + off, word_len);
    }
    if (strcmp(got, words) != 0)
        fail_msg("%s: got %s, expected %s", name, got, words);
    lv_pretok_end(&r);
    lv_pretok_close(&p);
}

static void test_words(void **state)
{
    (void)state;
    check_words("qwen2", "I|'ll| say| it|'S|  | twice");
    check_words("qwen2", "a|1|2|3| |4");
    check_words("qwen2", "x| ==\n\n| | y|()\n\n|z|  \n|\t| w");
    check_words("qwen2", "tab|\tx|\r\n|.end|   ");
    check_words("qwen2", "\u00e9t\u00e9| \u4f60\u597d|\uff01|\u0663|\u00b2");
    check_words("qwen2", "nb|\u00a0sp| |\u3000wide|\u180ex"); /* U+180E is no space: it sticks to a word as others do */
    check_words("deepseek-r1-qwen", "a|1|2|3| |4");
    check_words("llama-bpe", "a|123|456|7| |89|'RE");
    check_words("llama3", "a|123|4");
    check_words("llama-v3", "a|123|4");
    check_words("smollm", "I|'ll| say| it|'|S|  |1|2| |3| x");
    check_words("smollm", "a|\n\n|\n|b| ==|  | y|   ");
    check_words("smollm", "a| |\t|b| \t\t|1");
    check_words("gpt-2", "I|'ll| say|'|S| 123|  | 45|\n|x|!?| ...");
}

static void test_unknown_pre_is_named(void **state)
{
    struct lever_error err = { 0 };
    struct lv_pretok p = { 0 };

    (void)state;
    assert_int_equal(lv_pretok_open(&p, "tekken", 6, &err), LEVER_E_MODEL);
    assert_non_null(strstr(err.message, "\"tekken\""));
    assert_non_null(strstr(err.message, "qwen2, "));
    assert_non_null(strstr(err.message, "gpt-2"));
    assert_int_equal(lv_pretok_open(&p, "", 0, &err), LEVER_E_MODEL);
    assert_non_null(strstr(err.message, "absent"));
    assert_int_equal(lv_pretok_open(&p, "qwen", 4, &err), LEVER_E_MODEL);
    assert_int_equal(lv_pretok_open(&p, "qwen22", 6, &err), LEVER_E_MODEL);
}

/* llama-bpe takes a word that is a token, whatever the merges say; qwen2 does not. */
static void test_ignore_merges(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct lv_gguf *g = fake_new("gpt2", k ? "llama-bpe" : "qwen2");
        int32_t abc;
        struct lv_tok *t;

        fake_bytes(g, false);
        abc = fake_token(g, "abc", NORMAL, 0);
        t = open_tok(g);
        if (k)
            CHECK_IDS(t, "abc", false, abc);
        else
            CHECK_IDS(t, "abc", false, 'a', 'b', 'c');
        assert_int_equal(lv_tok_adds_bos(t), k == 1);
        lv_tok_close(t);
        fake_free(g);
    }
}

/* ---- bytes ---------------------------------------------------------------------------- */

static void test_byte_alphabet(void **state)
{
    struct lv_gguf *g = fake_new("gpt2", "gpt-2");
    struct lv_tok *t;
    char buf[256];

    (void)state;
    fake_bytes(g, false);
    t = open_tok(g);
    for (int b = 0; b < 256; b++) {
        size_t len;
        const char *s = lv_tok_bytes_of(t, b, false, buf, &len);

        assert_int_equal(len, 1);
        assert_int_equal((unsigned char)s[0], b);
        assert_int_equal(t->byte_id[b], b);
    }
    assert_string_equal(lv_tok_kind(t), "gpt2/gpt-2");
    lv_tok_close(t);
    fake_free(g);
}

/* Bad bytes become U+FFFD, one each; what is around them stays. */
static void test_ill_formed_text(void **state)
{
    struct lv_gguf *g = fake_new("gpt2", "qwen2");
    struct lv_tok *t;

    (void)state;
    fake_bytes(g, false);
    t = open_tok(g);
    CHECK_IDS(t, "a\xff" "b", false, 'a', 0xef, 0xbf, 0xbd, 'b');
    CHECK_IDS(t, "\xe2\x82", false, 0xef, 0xbf, 0xbd, 0xef, 0xbf, 0xbd);
    CHECK_IDS(t, "\xc3(", false, 0xef, 0xbf, 0xbd, '(');
    lv_tok_close(t);
    fake_free(g);
}

static void test_sentencepiece(void **state)
{
    struct lv_gguf *g = fake_spm();
    struct lv_tok *t = open_tok(g);
    const struct lv_tok_span text = { "a", 1, false };
    struct lv_tok_ids ids;
    char buf[256];
    size_t len;

    (void)state;
    assert_string_equal(lv_tok_kind(t), "llama");
    assert_true(lv_tok_adds_bos(t));
    assert_int_equal(lv_tok_bos(t), 1);
    assert_int_equal(lv_tok_eos(t), 2);
    CHECK_IDS(t, "a", false, 261);              /* a space goes before */
    CHECK_IDS(t, " a", false, 259, 261);        /* -1 beats -2 */
    CHECK_IDS(t, "<s>a", true, 1, 261);         /* also after a special token */
    CHECK_IDS(t, "a\n\na", false, 261, 263, 261);
    CHECK_IDS(t, "a    a", false, 261, 264, 261);
    CHECK_IDS(t, "a\n", false, 261, 3 + '\n');  /* byte tokens */
    CHECK_IDS(t, "a\u00e9", false, 261, 3 + 0xc3, 3 + 0xa9);
    CHECK_IDS(t, "a\xff", false, 261, 3 + 0xff);
    CHECK_IDS(t, "a\u2581" "a", false, 261, 261); /* U+2581 is a space */
    CHECK_IDS(t, "a<0x41>", false, 261, 3 + '<', 3 + '0', 3 + 'x', 3 + '4', 3 + '1', 3 + '>');
    ids = encode(t, &text, 1, true);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.ids[0], 1);
    lv_free(ids.ids);
    assert_memory_equal(lv_tok_bytes_of(t, 261, false, buf, &len), " a", 2);
    assert_int_equal(len, 2);
    assert_memory_equal(lv_tok_bytes_of(t, 3 + 0xc3, false, buf, &len), "\xc3", 1);
    assert_int_equal(len, 1);
    lv_tok_bytes_of(t, 1, false, buf, &len);
    assert_int_equal(len, 0);
    lv_tok_bytes_of(t, 0, false, buf, &len);
    assert_int_equal(len, 0);
    assert_memory_equal(lv_tok_bytes_of(t, 1, true, buf, &len), "<s>", 3);
    assert_int_equal(len, 3);
    lv_tok_bytes_of(t, -1, true, buf, &len);
    assert_int_equal(len, 0);
    lv_tok_bytes_of(t, 265, true, buf, &len);
    assert_int_equal(len, 0);
    lv_tok_close(t);
    fake_free(g);
}

static void test_ends(void **state)
{
    struct lv_gguf *g = fake_new("gpt2", "qwen2");
    struct lv_tok *t;

    (void)state;
    fake_bytes(g, false);
    fake_token(g, "<|im_end|>", NORMAL, 0);    /* 256: an end, whatever the file says */
    fake_token(g, "<|other|>", CONTROL, 0);    /* 257 */
    fake_token(g, "<|stop|>", CONTROL, 0);     /* 258: by key */
    fake_token(g, "<|im_end|>x", NORMAL, 0);   /* 259 */
    fake_num(g, "tokenizer.ggml.eot_token_id", LV_GGUF_U32, 258);
    fake_num(g, "tokenizer.ggml.eos_token_id", LV_GGUF_U32, 65);
    fake_num(g, "tokenizer.ggml.bos_token_id", LV_GGUF_U32, UINT32_MAX);
    t = open_tok(g);
    assert_true(lv_tok_is_end(t, 256) && lv_tok_is_control(t, 256));
    assert_false(lv_tok_is_end(t, 257));
    assert_true(lv_tok_is_end(t, 258) && lv_tok_is_end(t, 65));
    assert_false(lv_tok_is_end(t, 259) || lv_tok_is_control(t, 259) || lv_tok_is_control(t, 65));
    assert_false(lv_tok_is_end(t, -1) || lv_tok_is_end(t, 260) || lv_tok_is_control(t, 1 << 30));
    assert_int_equal(lv_tok_bos(t), -1);
    lv_tok_close(t);
    fake_free(g);
}

static void test_first_difference(void **state)
{
    struct lv_gguf *a = fake_new("gpt2", "qwen2"), *b = fake_new("gpt2", "qwen2");
    struct lv_tok *ta, *tb;

    (void)state;
    for (int i = 0; i < 2; i++) {
        fake_bytes(i ? a : b, false);
        fake_token(i ? a : b, "[PAD]", UNUSED, 0);
    }
    fake_token(b, "[PAD2]", UNUSED, 0);
    ta = open_tok(a);
    tb = open_tok(b);
    assert_int_equal(lv_tok_first_difference(ta, tb), -1);
    assert_int_equal(lv_tok_first_difference(tb, ta), -1);
    lv_tok_close(tb);
    b->type[200] = CONTROL;
    tb = open_tok(b);
    assert_int_equal(lv_tok_first_difference(ta, tb), 200);
    lv_tok_close(tb);
    free(b->token[7]);
    b->token[7] = strdup("AA");
    b->token_len[7] = 2;
    tb = open_tok(b);
    assert_int_equal(lv_tok_first_difference(ta, tb), 7);
    lv_tok_close(tb);
    lv_tok_close(ta);
    fake_free(a);
    fake_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges_against_twin),
        cmocka_unit_test(test_special_against_naive_scan),
        cmocka_unit_test(test_text_never_becomes_control),
        cmocka_unit_test(test_spans_are_one_text),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_unknown_pre_is_named),
        cmocka_unit_test(test_ignore_merges),
        cmocka_unit_test(test_byte_alphabet),
        cmocka_unit_test(test_ill_formed_text),
        cmocka_unit_test(test_sentencepiece),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_first_difference),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
