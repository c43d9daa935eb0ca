#include "tok/pretok.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "base/mem.h"

/* Unicode White_Space. Written out because \s of PCRE2 also takes U+180E, which the
 * regular expression engines these vocabularies were trained with do not. */
#define WS "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define SPACE "[" WS "]"

#define CONTRACTION "'s|'t|'re|'ve|'m|'ll|'d"

/* Patterns of the model families, with alternatives tried in order. Each takes at least one
 * character anywhere, so that nothing is ever left between two words. */
#define PATTERN_GPT2 \
    CONTRACTION "| ?\\p{L}+| ?\\p{N}+| ?[^" WS "\\p{L}\\p{N}]+|" SPACE "+(?![^" WS "])|" SPACE "+"

/* Digits are cut out first, one by one, then the gpt-2 pattern runs on what lies
 * between; so the end of a run of spaces may also be a digit, and no space sticks to one. */
#define PATTERN_SMOLLM \
    "\\p{N}|" CONTRACTION "| ?\\p{L}+| ?[^" WS "\\p{L}\\p{N}]+|" SPACE "+(?![^" WS "\\p{N}])|" SPACE "+"

#define PATTERN_LLAMA3(number)                                                                     \
    "(?i:" CONTRACTION ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" number "| ?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|" \
    SPACE "*[\\r\\n]+|" SPACE "+(?![^" WS "])|" SPACE "+"

static const struct pre {
    const char *name; /* tokenizer.ggml.pre */
    const char *pattern;
    bool ignore_merges, add_bos;
} pre_table[] = {
    { "qwen2", PATTERN_LLAMA3("\\p{N}"), false, false },
    { "deepseek-r1-qwen", PATTERN_LLAMA3("\\p{N}"), false, false },
    { "smollm", PATTERN_SMOLLM, false, false },
    { "llama-bpe", PATTERN_LLAMA3("\\p{N}{1,3}"), true, true },
    { "llama3", PATTERN_LLAMA3("\\p{N}{1,3}"), true, true },
    { "llama-v3", PATTERN_LLAMA3("\\p{N}{1,3}"), true, true },
    { "gpt-2", PATTERN_GPT2, false, false },
};

#define N_PRE (sizeof pre_table / sizeof pre_table[0])

static void *pcre_alloc(size_t size, void *user)
{
    (void)user;
    return lv_alloc(1, size);
}

static void pcre_free(void *p, void *user)
{
    (void)user;
    lv_free(p);
}

static enum lever_status fail_unknown(const char *name, size_t len, struct lever_error *err)
{
    char known[256] = "";

    for (size_t i = 0; i < N_PRE; i++) {
        strcat(known, i ? ", " : "");
        strcat(known, pre_table[i].name);
    }
    if (!len)
        return LV_FAIL(err, LEVER_E_MODEL,
                       "key tokenizer.ggml.pre is absent; this vocabulary needs one of: %s", known);
    return LV_FAIL(err, LEVER_E_MODEL, "tokenizer.ggml.pre is \"%.*s\", which is not supported; known: %s",
                   (int)(len < 64 ? len : 64), name, known);
}

enum lever_status lv_pretok_open(struct lv_pretok *p, const char *name, size_t len, struct lever_error *err)
{
    const struct pre *pre = NULL;
    pcre2_general_context *general;
    pcre2_compile_context *context;
    size_t bytes = 0, jit_bytes = 0, off_error = 0;
    int error = PCRE2_ERROR_NOMEMORY;

    for (size_t i = 0; i < N_PRE; i++)
        if (strlen(pre_table[i].name) == len && memcmp(pre_table[i].name, name, len) == 0)
            pre = &pre_table[i];
    if (!pre)
        return fail_unknown(name, len, err);
    general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    context = general ? pcre2_compile_context_create(general) : NULL;
    if (context)
        p->code = pcre2_compile((PCRE2_SPTR)pre->pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_ANCHORED, &error,
                                &off_error, context);
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    if (!p->code && (error == PCRE2_ERROR_NOMEMORY || error == PCRE2_ERROR_HEAP_FAILED))
        return LV_FAIL(err, LEVER_E_NOMEM, "pre-tokenizer %s: no memory for its pattern", pre->name);
    if (!p->code)
        return LV_FAIL(err, LEVER_E_INTERNAL, "pre-tokenizer %s: PCRE2 error %d at %zu of the pattern", pre->name, error,
                       off_error);
    /* Without executable memory this fails and the interpreter serves. */
    pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE);
    pcre2_pattern_info(p->code, PCRE2_INFO_SIZE, &bytes);
    pcre2_pattern_info(p->code, PCRE2_INFO_JITSIZE, &jit_bytes);
    p->heap_bytes = bytes + jit_bytes;
    p->ignore_merges = pre->ignore_merges;
    p->add_bos = pre->add_bos;
    return LEVER_OK;
}

void lv_pretok_close(struct lv_pretok *p)
{
    pcre2_code_free(p->code);
    p->code = NULL;
}

enum lever_status lv_pretok_begin(struct lv_pretok_run *r, const struct lv_pretok *p, size_t len, struct lever_error *err)
{
    pcre2_general_context *general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    const size_t steps = len < 100000000u ? len : 100000000u;

    if (general) {
        r->match = pcre2_match_data_create_from_pattern(p->code, general);
        r->context = pcre2_match_context_create(general);
        r->stack = pcre2_jit_stack_create((size_t)32 << 10, (size_t)1 << 20, general);
        pcre2_general_context_free(general);
    }
    if (!r->match || !r->context)
        return LV_FAIL(err, LEVER_E_NOMEM, "pre-tokenizer: no memory to match a text of %zu bytes", len);
    /* A run of one class of characters is backed out of one by one, at most three times. */
    pcre2_set_match_limit(r->context, (uint32_t)(10000 + 8 * steps));
    pcre2_set_depth_limit(r->context, 10000);
    pcre2_set_heap_limit(r->context, 16 << 10); /* KiB */
    if (r->stack) /* absent: PCRE2 uses 32 KiB of the thread's stack */
        pcre2_jit_stack_assign(r->context, NULL, r->stack);
    return LEVER_OK;
}

enum lever_status lv_pretok_next(struct lv_pretok_run *r, const struct lv_pretok *p, const char *s, size_t len,
                                 size_t off, size_t *word_len, struct lever_error *err)
{
    const int rc = pcre2_match(p->code, (PCRE2_SPTR)s, len, off, PCRE2_NO_UTF_CHECK, r->match, r->context);

    if (rc == PCRE2_ERROR_NOMEMORY)
        return LV_FAIL(err, LEVER_E_NOMEM, "pre-tokenizer: no memory at byte %zu of a text of %zu bytes", off, len);
    if (rc < 0)
        return LV_FAIL(err, LEVER_E_INTERNAL,
                       "pre-tokenizer: PCRE2 error %d at byte %zu of a text of %zu bytes; try a shorter text", rc, off, len);
    *word_len = pcre2_get_ovector_pointer(r->match)[1] - off;
    return LEVER_OK;
}

void lv_pretok_end(struct lv_pretok_run *r)
{
    pcre2_match_data_free(r->match);
    pcre2_match_context_free(r->context);
    pcre2_jit_stack_free(r->stack);
    *r = (struct lv_pretok_run){ 0 };
}
