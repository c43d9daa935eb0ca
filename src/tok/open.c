#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tok/vocab.h"

void *lv_tok_take(struct lv_tok *t, size_t n, size_t size)
{
    void *p = lv_alloc_zero(n, size);

    if (p)
        t->heap_bytes += (uint64_t)n * size;
    return p;
}

/* A token id from a key, *id unchanged when it is absent. */
static enum lever_status read_id(const struct lv_tok *t, const struct lv_gguf *g, const char *key, int32_t *id,
                                 struct lever_error *err)
{
    uint64_t v;
    const enum lever_status st = lv_gguf_get_u64(g, key, &v, err);

    if (st != LEVER_OK)
        return st < 0 ? st : LEVER_OK;
    if (v == UINT32_MAX) /* "none" of some converters */
        *id = -1;
    else if (v >= t->n_vocab)
        return LV_FAIL(err, LEVER_E_MODEL, "%s is %llu, expected a token below %u", key, (unsigned long long)v, t->n_vocab);
    else
        *id = (int32_t)v;
    return LEVER_OK;
}

static void mark_end(struct lv_tok *t, int32_t id)
{
    if (id >= 0)
        t->type[id] |= LV_TOK_END_FLAG;
}

static enum lever_status load_ids(struct lv_tok *t, const struct lv_gguf *g, struct lever_error *err)
{
    const bool spm = t->model == LV_TOK_SPM;
    int32_t eot = -1, eom = -1;

    /* SentencePiece has fixed places for these; byte-level BPE has none. */
    t->unk = spm && t->n_vocab > 0 ? 0 : -1;
    t->bos = spm && t->n_vocab > 1 ? 1 : -1;
    t->eos = spm && t->n_vocab > 2 ? 2 : -1;
    LV_TRY(read_id(t, g, "tokenizer.ggml.unknown_token_id", &t->unk, err));
    LV_TRY(read_id(t, g, "tokenizer.ggml.bos_token_id", &t->bos, err));
    LV_TRY(read_id(t, g, "tokenizer.ggml.eos_token_id", &t->eos, err));
    LV_TRY(read_id(t, g, "tokenizer.ggml.eot_token_id", &eot, err));
    LV_TRY(read_id(t, g, "tokenizer.ggml.eom_token_id", &eom, err));
    mark_end(t, t->eos);
    mark_end(t, eot);
    mark_end(t, eom);
    return LEVER_OK;
}

static enum lever_status read_flag(const struct lv_gguf *g, const char *key, bool *flag, struct lever_error *err)
{
    const enum lever_status st = lv_gguf_get_bool(g, key, flag, err);

    return st < 0 ? st : LEVER_OK;
}

static enum lever_status load_model(struct lv_tok *t, const struct lv_gguf *g, struct lever_error *err)
{
    struct lv_str model = { "", 0 }, pre = { "", 0 };

    LV_TRY(lv_gguf_get_str(g, "tokenizer.ggml.model", &model, err));
    LV_TRY(lv_gguf_get_str(g, "tokenizer.ggml.pre", &pre, err));
    if (model.len == 4 && memcmp(model.s, "gpt2", 4) == 0) {
        t->model = LV_TOK_BPE;
        LV_TRY(lv_pretok_open(&t->pretok, pre.s, pre.len, err));
        t->heap_bytes += t->pretok.heap_bytes;
        t->add_bos = t->pretok.add_bos;
        snprintf(t->kind, sizeof t->kind, "gpt2/%.*s", (int)pre.len, pre.s);
    } else if (model.len == 5 && memcmp(model.s, "llama", 5) == 0) {
        t->model = LV_TOK_SPM;
        t->add_bos = t->add_space_prefix = true;
        snprintf(t->kind, sizeof t->kind, "llama");
    } else if (!model.len) {
        return LV_FAIL(err, LEVER_E_MODEL, "key tokenizer.ggml.model is absent; expected \"gpt2\" or \"llama\"");
    } else {
        return LV_FAIL(err, LEVER_E_MODEL, "tokenizer.ggml.model is \"%.*s\", which is not supported; known: gpt2, llama",
                       (int)(model.len < 64 ? model.len : 64), model.s);
    }
    LV_TRY(read_flag(g, "tokenizer.ggml.add_bos_token", &t->add_bos, err));
    return read_flag(g, "tokenizer.ggml.add_space_prefix", &t->add_space_prefix, err);
}

static enum lever_status load(struct lv_tok *t, const struct lv_gguf *g, struct lever_error *err)
{
    LV_TRY(load_model(t, g, err));
    LV_TRY(lv_tok_load_vocab(t, g, err));
    LV_TRY(load_ids(t, g, err));
    LV_TRY(lv_tok_load_special(t, err));
    if (t->model == LV_TOK_BPE)
        return lv_tok_load_merges(t, g, err);
    for (int b = 0; b < 256; b++)
        if (t->byte_id[b] < 0 && t->unk < 0)
            return LV_FAIL(err, LEVER_E_MODEL,
                           "tokenizer.ggml.tokens has no <0x%02X> and no unknown token: text with this byte has no ids",
                           (unsigned)b);
    return LEVER_OK;
}

enum lever_status lv_tok_open(struct lv_tok **out, const struct lv_gguf *g, struct lever_error *err)
{
    struct lv_tok *t = LV_NEW(struct lv_tok);
    enum lever_status st;

    if (!t)
        return LV_FAIL(err, LEVER_E_NOMEM, "tokenizer: no memory");
    t->heap_bytes = sizeof *t;
    st = load(t, g, err);
    if (st < 0)
        lv_tok_close(t);
    else
        *out = t;
    return st;
}

void lv_tok_close(struct lv_tok *t)
{
    if (!t)
        return;
    lv_pretok_close(&t->pretok);
    lv_free(t->blob);
    lv_free(t->off);
    lv_free(t->type);
    lv_free(t->prio);
    lv_free(t->slot);
    lv_free(t->merge);
    lv_free(t->merge_slot);
    lv_free(t->special);
    lv_free(t->class_table);
    lv_free(t->special_start);
    lv_free(t);
}

uint32_t lv_tok_n_vocab(const struct lv_tok *t)
{
    return t->n_vocab;
}

const char *lv_tok_kind(const struct lv_tok *t)
{
    return t->kind;
}

uint64_t lv_tok_bytes(const struct lv_tok *t)
{
    return t->heap_bytes;
}

static bool is_token(const struct lv_tok *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->n_vocab;
}

const char *lv_tok_bytes_of(const struct lv_tok *t, int32_t id, bool special, char *buf, size_t *len)
{
    uint32_t n;
    const char *s;

    (void)buf; /* texts are stored decoded */
    *len = 0;
    if (!is_token(t, id))
        return "";
    if (!special && (lv_tok_is_control(t, id) || lv_tok_type_of(t, (uint32_t)id) == LV_TOK_UNKNOWN))
        return "";
    s = lv_tok_text(t, (uint32_t)id, &n);
    *len = n;
    return s;
}

bool lv_tok_is_end(const struct lv_tok *t, int32_t id)
{
    return is_token(t, id) && (t->type[id] & LV_TOK_END_FLAG);
}

bool lv_tok_is_control(const struct lv_tok *t, int32_t id)
{
    return is_token(t, id) && lv_tok_type_of(t, (uint32_t)id) == LV_TOK_CONTROL;
}

int32_t lv_tok_bos(const struct lv_tok *t)
{
    return t->bos;
}

int32_t lv_tok_eos(const struct lv_tok *t)
{
    return t->eos;
}

bool lv_tok_adds_bos(const struct lv_tok *t)
{
    return t->add_bos;
}

int32_t lv_tok_first_difference(const struct lv_tok *a, const struct lv_tok *b)
{
    const uint32_t n = a->n_vocab < b->n_vocab ? a->n_vocab : b->n_vocab;

    for (uint32_t id = 0; id < n; id++) {
        uint32_t len_a, len_b;
        const char *s_a = lv_tok_text(a, id, &len_a), *s_b = lv_tok_text(b, id, &len_b);

        if (len_a != len_b || memcmp(s_a, s_b, len_a) != 0 || lv_tok_type_of(a, id) != lv_tok_type_of(b, id))
            return (int32_t)id;
    }
    return -1;
}
