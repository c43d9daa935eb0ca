/* The text part of lever.h: tokens, chat formats, what a file says about itself. */
#include <string.h>

#include "base/mem.h"
#include "engine/engine.h"

/* Hands the ids over, or says how many there are. */
static enum lever_status give_ids(struct lv_tok_ids *ids, int32_t *out, size_t cap_out, size_t *n_out,
                                  struct lever_error *err)
{
    enum lever_status st = LEVER_OK;

    *n_out = ids->n;
    if (ids->n > cap_out)
        st = LV_FAIL(err, LEVER_E_ARG, "%zu tokens, room for %zu", ids->n, cap_out);
    else if (ids->n)
        memcpy(out, ids->ids, ids->n * sizeof *out);
    lv_free(ids->ids);
    return st;
}

enum lever_status lever_tokenize(const lever_engine *e, const char *text, size_t len, unsigned flags, int32_t *out,
                                 size_t cap_out, size_t *n_out, struct lever_error *err)
{
    const struct lv_tok_span span = { .s = text, .len = len, .special = flags & LEVER_TOK_PARSE_SPECIAL };
    struct lv_tok_ids ids = { 0 };

    *n_out = 0;
    const enum lever_status st = lv_tok_encode(e->tok, &span, 1, flags & LEVER_TOK_ADD_BOS, &ids, err);

    if (st < 0) {
        lv_free(ids.ids);
        return st;
    }
    return give_ids(&ids, out, cap_out, n_out, err);
}

enum lever_status lever_chat_tokenize(const lever_engine *e, const struct lever_message *msg, size_t n_msg, int32_t *out,
                                      size_t cap_out, size_t *n_out, struct lever_error *err)
{
    struct lv_chat_text text = { 0 };
    struct lv_tok_ids ids = { 0 };

    *n_out = 0;
    LV_TRY(lv_chat_render(e->chat, msg, n_msg, &text, err));
    const enum lever_status st = lv_tok_encode(e->tok, text.span, text.n_span, false, &ids, err);

    lv_chat_text_deinit(&text);
    if (st < 0) {
        lv_free(ids.ids);
        return st;
    }
    return give_ids(&ids, out, cap_out, n_out, err);
}

enum lever_status lever_token_bytes(const lever_engine *e, int32_t token, bool special, const char **bytes, size_t *len)
{
    static const char none[] = "";
    char buf[256];

    if (token < 0 || (uint32_t)token >= lv_tok_n_vocab(e->tok)) {
        *bytes = none; /* rows that pad the vocabulary stand for nothing */
        *len = 0;
        return token < 0 ? LEVER_E_ARG : LEVER_OK;
    }
    const char *s = lv_tok_bytes_of(e->tok, token, special, buf, len);

    /* Only byte tokens are made on the fly: one byte, from a table that outlives buf. */
    static const char all[256] = {
#define B4(n) (char)(n), (char)((n) + 1), (char)((n) + 2), (char)((n) + 3)
#define B16(n) B4(n), B4((n) + 4), B4((n) + 8), B4((n) + 12)
#define B64(n) B16(n), B16((n) + 16), B16((n) + 32), B16((n) + 48)
        B64(0), B64(64), B64(128), B64(192)
    };
    *bytes = s == buf ? all + (unsigned char)buf[0] : s;
    return LEVER_OK;
}

bool lever_token_is_end(const lever_engine *e, int32_t token)
{
    return lv_tok_is_end(e->tok, token);
}

bool lever_adds_bos(const lever_engine *e)
{
    return lv_tok_adds_bos(e->tok);
}

/* A string key, or NULL; strings in the file are not NUL-terminated, so values come from the text form. */
static const char *string_key(const struct lv_gguf *g, const char *want)
{
    const char *key, *type, *value;

    for (uint32_t i = 0; i < lv_gguf_n_keys(g); i++) {
        lv_gguf_key((struct lv_gguf *)g, i, &key, &type, &value);
        if (strcmp(key, want) == 0)
            return value;
    }
    return NULL;
}

enum lever_status lever_model_info(const lever_engine *e, int which, struct lever_model_info *out)
{
    const struct lv_gguf *g = lv_engine_gguf(e, which);
    uint64_t by_type[LV_TYPE_MAX] = { 0 }, most = 0;
    struct lv_shape s;

    if (!g || !out || lv_shape_read(&s, g, NULL) < 0)
        return LEVER_E_ARG;
    *out = (struct lever_model_info){
        .path = lv_gguf_path(g, 0),
        .arch = lv_arch_name(s.arch),
        .name = string_key(g, "general.name"),
        .file_type = "",
        .tokenizer = lv_tok_kind(e->tok),
        .n_layer = s.n_layer,
        .n_embd = s.n_embd,
        .n_ff = s.n_ff,
        .n_head = s.n_head,
        .n_head_kv = s.n_head_kv,
        .head_dim = s.head_dim,
        .n_vocab = s.n_vocab,
        .n_ctx_train = s.n_ctx_train,
        .n_tensor = lv_gguf_n_tensors(g),
        .n_meta = lv_gguf_n_keys(g),
        .tied_embedding = s.tied,
        .chat_format = e->chat ? lv_chat_name(e->chat) : NULL,
    };
    if (!out->name)
        out->name = "";
    for (uint32_t i = 0; i < lv_gguf_n_files(g); i++)
        out->file_bytes += lv_gguf_file_bytes(g, i);
    for (uint32_t i = 0; i < out->n_tensor; i++) {
        const struct lv_tensor *t = lv_gguf_tensor(g, i);

        out->weight_bytes += t->bytes;
        out->n_params += t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
        by_type[t->type] += t->bytes;
        if (by_type[t->type] > most) {
            most = by_type[t->type];
            out->file_type = lv_type_name(t->type);
        }
    }
    return LEVER_OK;
}

enum lever_status lever_tensor_info(const lever_engine *e, int which, uint32_t i, struct lever_tensor_info *out)
{
    const struct lv_gguf *g = lv_engine_gguf(e, which);

    if (!g || !out || i >= lv_gguf_n_tensors(g))
        return LEVER_E_ARG;
    const struct lv_tensor *t = lv_gguf_tensor(g, i);

    *out = (struct lever_tensor_info){
        .name = t->name, .type = lv_type_name(t->type), .n_dim = t->n_dim, .file_offset = t->off, .bytes = t->bytes
    };
    memcpy(out->dim, t->dim, sizeof out->dim);
    return LEVER_OK;
}

enum lever_status lever_meta(const lever_engine *e, int which, uint32_t i, const char **key, const char **type,
                             const char **value)
{
    const struct lv_gguf *g = lv_engine_gguf(e, which);

    if (!g || i >= lv_gguf_n_keys(g))
        return LEVER_E_ARG;
    lv_gguf_key((struct lv_gguf *)g, i, key, type, value);
    return LEVER_OK;
}
