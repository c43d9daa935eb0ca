/* The tensors of a supported architecture: which there must be, with what dimensions. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gguf/cursor.h"
#include "gguf/schema.h"

#define NAME_CAP    64
#define N_VOCAB_MAX (UINT64_C(1) << 22)

/* Whether llama, qwen2, qwen3, gemma3 have a tensor: no, optional, yes. */
enum need { N, O, Y };

/* Symbolic dimensions; A is the width of all query heads, K of all key heads, H of one head. */
enum dim { ONE, EMBD, FF, A, K, H, VOCAB, HALF_ROT };

struct role {
    const char *name; /* of a layer: what follows "blk.N." */
    enum need need[LV_ARCH_COUNT];
    enum dim dim[2]; /* fastest first, as in the file */
    bool f32;        /* vectors are F32; matrices have any supported type */
};

static const struct role model_roles[] = {
    { "token_embd.weight", { Y, Y, Y, Y }, { EMBD, VOCAB }, false },
    { "output_norm.weight", { Y, Y, Y, Y }, { EMBD, ONE }, true },
    { "output.weight", { O, O, O, O }, { EMBD, VOCAB }, false },
    { "rope_freqs.weight", { O, N, N, N }, { HALF_ROT, ONE }, true },
};

static const struct role layer_roles[] = {
    { "attn_norm.weight", { Y, Y, Y, Y }, { EMBD, ONE }, true },
    { "attn_q.weight", { Y, Y, Y, Y }, { EMBD, A }, false },
    { "attn_q.bias", { O, Y, N, N }, { A, ONE }, true },
    { "attn_k.weight", { Y, Y, Y, Y }, { EMBD, K }, false },
    { "attn_k.bias", { O, Y, N, N }, { K, ONE }, true },
    { "attn_v.weight", { Y, Y, Y, Y }, { EMBD, K }, false },
    { "attn_v.bias", { O, Y, N, N }, { K, ONE }, true },
    { "attn_q_norm.weight", { N, N, Y, Y }, { H, ONE }, true },
    { "attn_k_norm.weight", { N, N, Y, Y }, { H, ONE }, true },
    { "attn_output.weight", { Y, Y, Y, Y }, { A, EMBD }, false },
    { "post_attention_norm.weight", { N, N, N, Y }, { EMBD, ONE }, true },
    { "ffn_norm.weight", { Y, Y, Y, Y }, { EMBD, ONE }, true },
    { "ffn_gate.weight", { Y, Y, Y, Y }, { EMBD, FF }, false },
    { "ffn_up.weight", { Y, Y, Y, Y }, { EMBD, FF }, false },
    { "ffn_down.weight", { Y, Y, Y, Y }, { FF, EMBD }, false },
    { "post_ffw_norm.weight", { N, N, N, Y }, { EMBD, ONE }, true },
};

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static uint64_t dim_of(const struct lv_shape *s, enum dim d)
{
    switch (d) {
    case ONE:
        return 1;
    case EMBD:
        return s->n_embd;
    case FF:
        return s->n_ff;
    case A:
        return (uint64_t)s->n_head * s->head_dim;
    case K:
        return (uint64_t)s->n_head_kv * s->head_dim;
    case H:
        return s->head_dim;
    case VOCAB:
        return s->n_vocab;
    case HALF_ROT:
        return s->n_rot / 2;
    }
    return 0;
}

static const char *where(const struct lv_gguf *g, const struct lv_tensor *t)
{
    return lv_path_tail(lv_gguf_path(g, t ? t->i_file : 0));
}

/* Dimensions and type of one tensor. */
static enum lever_status check(const struct lv_shape *s, const struct lv_gguf *g, const struct lv_tensor *t,
                               const struct role *r, struct lever_error *err)
{
    const uint64_t d0 = dim_of(s, r->dim[0]), d1 = dim_of(s, r->dim[1]);

    if (t->dim[0] != d0 || t->dim[1] != d1 || t->dim[2] != 1 || t->dim[3] != 1)
        return LV_FAIL(err, LEVER_E_MODEL,
                       "%s: tensor %s is [%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64 "], expected [%" PRIu64
                       ", %" PRIu64 "] by the keys of the file",
                       where(g, t), t->name, t->dim[0], t->dim[1], t->dim[2], t->dim[3], d0, d1);
    if (r->f32 && t->type != LV_TYPE_F32)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: tensor %s has type %s, expected F32", where(g, t), t->name,
                       lv_type_name(t->type));
    return LEVER_OK;
}

static const struct role *find_role(const struct role *roles, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(roles[i].name, name) == 0)
            return &roles[i];
    return NULL;
}

/* Splits "blk.12.attn_q.weight" into 12 and the rest; NULL for other names, also "blk.012.x". */
static const char *layer_part(const char *name, uint32_t *layer)
{
    const char *p = name + 4;
    uint32_t n = 0;

    if (strncmp(name, "blk.", 4) != 0)
        return NULL;
    if (*p < '0' || *p > '9' || (*p == '0' && p[1] != '.'))
        return NULL;
    for (; *p >= '0' && *p <= '9'; p++) {
        n = n * 10 + (uint32_t)(*p - '0');
        if (n > 99999)
            return NULL;
    }
    *layer = n;
    return *p == '.' ? p + 1 : NULL;
}

/* A tensor that no table has: says why where we know. */
static enum lever_status refuse(const struct lv_shape *s, const struct lv_gguf *g, const struct lv_tensor *t,
                                const char *part, struct lever_error *err)
{
    static const struct {
        const char *part, *why;
    } known[] = {
        { "_exps", "mixture of experts is not supported" },
        { "_shexp", "mixture of experts is not supported" },
        { "ffn_gate_inp", "mixture of experts is not supported" },
        { "attn_qkv", "fused q, k and v are not supported" },
        { "rope_factors", "longrope scaling is not supported" },
        { ".lora_", "this is an adapter, not a model" },
        { "attn_output.bias", "this bias is not supported" },
        { "ffn_", "this part of the feed-forward block is not supported" },
    };

    for (size_t i = 0; i < COUNT(known); i++)
        if (strstr(part, known[i].part))
            return LV_FAIL(err, LEVER_E_MODEL, "%s: tensor %s: %s", where(g, t), t->name, known[i].why);
    return LV_FAIL(err, LEVER_E_MODEL,
                   "%s: tensor %s is unknown for architecture %s; leaving it out would change the output", where(g, t),
                   t->name, lv_arch_name(s->arch));
}

/* Every tensor of the file is known, expected and of the right shape. */
static enum lever_status check_present(const struct lv_shape *s, const struct lv_gguf *g, struct lever_error *err)
{
    for (uint32_t i = 0; i < lv_gguf_n_tensors(g); i++) {
        const struct lv_tensor *t = lv_gguf_tensor(g, i);
        uint32_t layer = 0;
        const char *part = layer_part(t->name, &layer);
        const struct role *r = part ? find_role(layer_roles, COUNT(layer_roles), part)
                                    : find_role(model_roles, COUNT(model_roles), t->name);

        if (!r || r->need[s->arch] == N)
            return refuse(s, g, t, part ? part : t->name, err);
        if (part && layer >= s->n_layer)
            return LV_FAIL(err, LEVER_E_MODEL,
                           "%s: tensor %s belongs to layer %" PRIu32 ", but %s.block_count is %" PRIu32, where(g, t),
                           t->name, layer, lv_arch_name(s->arch), s->n_layer);
        LV_TRY(check(s, g, t, r, err));
    }
    return LEVER_OK;
}

static enum lever_status missing(const struct lv_gguf *g, const char *name, struct lever_error *err)
{
    return LV_FAIL(err, LEVER_E_MODEL, "%s: tensor %s is missing; the file is no complete language model",
                   where(g, NULL), name);
}

/* Every tensor that the family needs is there. */
static enum lever_status check_missing(const struct lv_shape *s, const struct lv_gguf *g, struct lever_error *err)
{
    for (size_t i = 0; i < COUNT(model_roles); i++)
        if (model_roles[i].need[s->arch] == Y && !lv_gguf_find_tensor(g, model_roles[i].name))
            return missing(g, model_roles[i].name, err);
    for (uint32_t layer = 0; layer < s->n_layer; layer++) {
        for (size_t i = 0; i < COUNT(layer_roles); i++) {
            char name[NAME_CAP];

            if (layer_roles[i].need[s->arch] != Y)
                continue;
            snprintf(name, sizeof name, "blk.%" PRIu32 ".%s", layer, layer_roles[i].name);
            if (!lv_gguf_find_tensor(g, name))
                return missing(g, name, err);
        }
    }
    return LEVER_OK;
}

/* The vocabulary's size is the embedding's row count: it may be padded beyond the token list. */
static enum lever_status read_vocab(struct lv_shape *s, const struct lv_gguf *g, struct lever_error *err)
{
    const char *key = "tokenizer.ggml.tokens";
    const struct lv_tensor *embd = lv_gguf_find_tensor(g, "token_embd.weight");
    enum lv_gguf_kind elem = LV_GGUF_STRING;
    uint64_t n = 0;

    if (!embd)
        return missing(g, "token_embd.weight", err);
    LV_TRY(lv_gguf_get_array(g, key, &elem, &n, err));
    if (elem != LV_GGUF_STRING)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: key %s is an array of other values, expected strings", where(g, NULL),
                       key);
    if (embd->dim[1] > N_VOCAB_MAX)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: tensor %s has %" PRIu64 " rows, expected at most %" PRIu64,
                       where(g, embd), embd->name, embd->dim[1], N_VOCAB_MAX);
    if (embd->dim[1] < n)
        return LV_FAIL(err, LEVER_E_MODEL,
                       "%s: tensor %s has %" PRIu64 " rows, expected at least one for each of the %" PRIu64
                       " tokens of %s",
                       where(g, embd), embd->name, embd->dim[1], n, key);
    s->n_vocab = (uint32_t)embd->dim[1];
    s->tied = !lv_gguf_find_tensor(g, "output.weight");
    return LEVER_OK;
}

enum lever_status lv_schema_tensors(struct lv_shape *s, const struct lv_gguf *g, struct lever_error *err)
{
    LV_TRY(read_vocab(s, g, err));
    LV_TRY(check_present(s, g, err));
    return check_missing(s, g, err);
}
