/* The keys of a supported architecture: one table of ranges, one of keys that must keep their
 * neutral value because Lever does not compute what they ask for, and the relations between values. */
#include "gguf/schema.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gguf/cursor.h"
#include "gguf/keys.h"

#define ANY        ((1u << LV_ARCH_COUNT) - 1)
#define ONLY(arch) (1u << (arch))
#define KEY_CAP    96 /* "<arch>." and the longest suffix below */

static const char *const arch_names[LV_ARCH_COUNT] = {
    [LV_ARCH_LLAMA] = "llama",
    [LV_ARCH_QWEN2] = "qwen2",
    [LV_ARCH_QWEN3] = "qwen3",
    [LV_ARCH_GEMMA3] = "gemma3",
};

const char *lv_arch_name(enum lv_arch a)
{
    return arch_names[a];
}

/* ---- the table ------------------------------------------------------------------ */

/* Values as read, before relations are applied. 0 in an optional integer: the key is absent. */
struct raw {
    uint64_t n_layer, n_embd, n_ff, n_head, n_head_kv, key_dim, value_dim, n_rot, n_ctx, n_window, pattern;
    double eps, rope_base, rope_base_local, rope_factor, rope_linear;
};

enum need { REQUIRED, OPTIONAL };

struct int_key {
    const char *suffix;
    unsigned archs;
    enum need need;
    size_t field;
    uint64_t min, max, multiple_of;
};

struct float_key {
    const char *suffix;
    unsigned archs;
    enum need need;
    size_t field;
    double min, max, absent; /* absent: the value without the key */
};

#define FIELD(name) offsetof(struct raw, name)

static const struct int_key int_keys[] = {
    { "block_count", ANY, REQUIRED, FIELD(n_layer), 1, 1024, 1 },
    { "embedding_length", ANY, REQUIRED, FIELD(n_embd), 32, 131072, 32 },
    { "feed_forward_length", ANY, REQUIRED, FIELD(n_ff), 32, 1048576, 32 },
    { "context_length", ANY, REQUIRED, FIELD(n_ctx), 1, 1073741824, 1 },
    { "attention.head_count", ANY, REQUIRED, FIELD(n_head), 1, 1024, 1 },
    { "attention.head_count_kv", ANY, OPTIONAL, FIELD(n_head_kv), 1, 1024, 1 },
    { "attention.key_length", ANY, OPTIONAL, FIELD(key_dim), 2, 512, 2 },
    { "attention.value_length", ANY, OPTIONAL, FIELD(value_dim), 2, 512, 2 },
    { "rope.dimension_count", ANY, OPTIONAL, FIELD(n_rot), 2, 512, 2 },
    { "attention.sliding_window", ANY, OPTIONAL, FIELD(n_window), 0, 1073741824, 1 },
    { "attention.sliding_window_pattern", ONLY(LV_ARCH_GEMMA3), OPTIONAL, FIELD(pattern), 1, 1024, 1 },
};

static const struct float_key float_keys[] = {
    { "attention.layer_norm_rms_epsilon", ANY, REQUIRED, FIELD(eps), 1e-12, 0.1, 0 },
    { "rope.freq_base", ANY, OPTIONAL, FIELD(rope_base), 1, 1e12, 10000 },
    { "rope.freq_base_swa", ONLY(LV_ARCH_GEMMA3), OPTIONAL, FIELD(rope_base_local), 1, 1e12, 10000 },
    { "rope.scaling.factor", ANY, OPTIONAL, FIELD(rope_factor), 0, 65536, 0 }, /* 0: as if absent */
    { "rope.scale_linear", ANY, OPTIONAL, FIELD(rope_linear), 0, 65536, 0 },   /* its older name */
};

/* Keys that change the computation in a way Lever does not know, with the value that changes nothing. */
static const struct {
    const char *suffix;
    double neutral;
    const char *what;
} neutral_keys[] = {
    { "expert_count", 0, "mixture of experts" },
    { "expert_used_count", 0, "mixture of experts" },
    { "attn_logit_softcapping", 0, "softcapping of attention scores" },
    { "final_logit_softcapping", 0, "softcapping of logits" },
    { "attention.scale", 0, "a scale of attention scores" },
    { "attention.clamp_kqv", 0, "clamping of q, k and v" },
    { "attention.max_alibi_bias", 0, "ALiBi" },
    { "attention.temperature_scale", 0, "a temperature of attention scores" },
    { "attention.temperature_length", 0, "a temperature of attention scores" },
    { "embedding_scale", 0, "a scale of embeddings" },
    { "residual_scale", 0, "a scale of residuals" },
    { "logit_scale", 0, "a scale of logits" },
    { "rope.scaling.attn_factor", 1, "a factor on attention from rope scaling" },
    { "pooling_type", 0, "pooling" },
    { "nextn_predict_layers", 0, "layers that predict several tokens" },
    { "shared_kv_layers", 0, "layers that share keys and values" },
};

static void key_name(char key[KEY_CAP], enum lv_arch arch, const char *suffix)
{
    snprintf(key, KEY_CAP, "%s.%s", arch_names[arch], suffix);
}

/* The file, for messages. */
static const char *where(const struct lv_gguf *g)
{
    return lv_path_tail(lv_gguf_path(g, 0));
}

static enum lever_status missing(const struct lv_gguf *g, const char *key, struct lever_error *err)
{
    return LV_FAIL(err, LEVER_E_MODEL, "%s: key %s is missing; the file is no complete language model", where(g), key);
}

static enum lever_status read_int(const struct lv_gguf *g, enum lv_arch arch, const struct int_key *k, struct raw *raw,
                                  struct lever_error *err)
{
    char key[KEY_CAP];
    uint64_t v = 0;
    enum lever_status st;

    key_name(key, arch, k->suffix);
    LV_TRY(st = lv_gguf_get_u64(g, key, &v, err));
    if (st == LEVER_DONE)
        return k->need == REQUIRED ? missing(g, key, err) : LEVER_OK;
    if (v < k->min || v > k->max)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: key %s is %" PRIu64 ", expected %" PRIu64 "..%" PRIu64, where(g), key,
                       v, k->min, k->max);
    if (v % k->multiple_of != 0)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: key %s is %" PRIu64 ", expected a multiple of %" PRIu64, where(g), key,
                       v, k->multiple_of);
    memcpy((char *)raw + k->field, &v, sizeof v);
    return LEVER_OK;
}

static enum lever_status read_float(const struct lv_gguf *g, enum lv_arch arch, const struct float_key *k,
                                    struct raw *raw, struct lever_error *err)
{
    char key[KEY_CAP];
    double v = k->absent;
    enum lever_status st;

    key_name(key, arch, k->suffix);
    LV_TRY(st = lv_gguf_get_f64(g, key, &v, err));
    if (st == LEVER_DONE && k->need == REQUIRED)
        return missing(g, key, err);
    if (st == LEVER_OK && !(v >= k->min && v <= k->max)) /* also refuses NaN */
        return LV_FAIL(err, LEVER_E_MODEL, "%s: key %s is %g, expected %g..%g", where(g), key, v, k->min, k->max);
    memcpy((char *)raw + k->field, &v, sizeof v);
    return LEVER_OK;
}

static enum lever_status read_table(const struct lv_gguf *g, enum lv_arch arch, struct raw *raw,
                                    struct lever_error *err)
{
    char causal_key[KEY_CAP];
    bool causal = true;

    *raw = (struct raw){ 0 };
    key_name(causal_key, arch, "attention.causal");
    LV_TRY(lv_gguf_get_bool(g, causal_key, &causal, err));
    if (!causal)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: key %s is false: attention to later tokens is not supported", where(g),
                       causal_key);
    for (size_t i = 0; i < sizeof neutral_keys / sizeof neutral_keys[0]; i++) {
        char key[KEY_CAP];
        double v = neutral_keys[i].neutral;

        key_name(key, arch, neutral_keys[i].suffix);
        LV_TRY(lv_gguf_get_f64(g, key, &v, err));
        if (!(v == neutral_keys[i].neutral))
            return LV_FAIL(err, LEVER_E_MODEL, "%s: key %s is %g: %s is not supported", where(g), key, v,
                           neutral_keys[i].what);
    }
    for (size_t i = 0; i < sizeof int_keys / sizeof int_keys[0]; i++)
        if (int_keys[i].archs & ONLY(arch))
            LV_TRY(read_int(g, arch, &int_keys[i], raw, err));
    for (size_t i = 0; i < sizeof float_keys / sizeof float_keys[0]; i++)
        if (float_keys[i].archs & ONLY(arch))
            LV_TRY(read_float(g, arch, &float_keys[i], raw, err));
    return LEVER_OK;
}

/* ---- relations --------------------------------------------------------------------- */

static enum lever_status read_arch(const struct lv_gguf *g, enum lv_arch *out, struct lever_error *err)
{
    struct lv_str name;
    char shown[80];
    enum lever_status st;
    bool moe = false;

    LV_TRY(st = lv_gguf_get_str(g, "general.architecture", &name, err));
    if (st == LEVER_DONE)
        return missing(g, "general.architecture", err);
    for (int a = 0; a < LV_ARCH_COUNT; a++) {
        if (name.len == strlen(arch_names[a]) && memcmp(name.s, arch_names[a], name.len) == 0) {
            *out = (enum lv_arch)a;
            return LEVER_OK;
        }
    }
    for (size_t i = 0; i + 3 <= name.len; i++)
        moe = moe || memcmp(name.s + i, "moe", 3) == 0;
    return LV_FAIL(err, LEVER_E_MODEL,
                   "%s: architecture %s is not supported%s; supported are llama, qwen2, qwen3, gemma3", where(g),
                   lv_str_show(shown, sizeof shown, name), moe ? " (mixture of experts)" : "");
}

static enum lever_status check_heads(struct lv_shape *s, const struct lv_gguf *g, const struct raw *raw,
                                     struct lever_error *err)
{
    const char *arch = arch_names[s->arch];
    const uint64_t n_head = raw->n_head, n_kv = raw->n_head_kv ? raw->n_head_kv : n_head;
    uint64_t dim = raw->key_dim;

    if (n_head % n_kv != 0)
        return LV_FAIL(err, LEVER_E_MODEL,
                       "%s: key %s.attention.head_count is %" PRIu64
                       ", expected a multiple of attention.head_count_kv, %" PRIu64,
                       where(g), arch, n_head, n_kv);
    if (dim == 0) {
        if (raw->n_embd % n_head != 0 || raw->n_embd / n_head > 512 || raw->n_embd / n_head % 2 != 0)
            return LV_FAIL(err, LEVER_E_MODEL,
                           "%s: %" PRIu64 " heads over an embedding of %" PRIu64
                           ", expected an even head length of 2..512 (there is no key %s.attention.key_length)",
                           where(g), n_head, raw->n_embd, arch);
        dim = raw->n_embd / n_head;
    }
    if (raw->value_dim != 0 && raw->value_dim != dim)
        return LV_FAIL(err, LEVER_E_MODEL,
                       "%s: key %s.attention.value_length is %" PRIu64 ", expected the length of keys, %" PRIu64,
                       where(g), arch, raw->value_dim, dim);
    if (n_head / n_kv * dim % 32 != 0)
        return LV_FAIL(err, LEVER_E_MODEL,
                       "%s: %" PRIu64 " query heads of length %" PRIu64
                       " share a key head, expected a product that is a multiple of 32",
                       where(g), n_head / n_kv, dim);
    if (raw->n_rot > dim)
        return LV_FAIL(err, LEVER_E_MODEL,
                       "%s: key %s.rope.dimension_count is %" PRIu64 ", expected at most the head length %" PRIu64,
                       where(g), arch, raw->n_rot, dim);
    s->n_head = (uint32_t)n_head;
    s->n_head_kv = (uint32_t)n_kv;
    s->head_dim = (uint32_t)dim;
    s->n_rot = (uint32_t)(raw->n_rot ? raw->n_rot : dim);
    return LEVER_OK;
}

/* A factor without a type means linear, as in files from before the key existed. */
static enum lever_status check_scaling(struct lv_shape *s, const struct lv_gguf *g, const struct raw *raw,
                                       struct lever_error *err)
{
    const double factor = raw->rope_factor > 0 ? raw->rope_factor : raw->rope_linear;
    char key[KEY_CAP], shown[80];
    struct lv_str type = { "linear", 6 };

    key_name(key, s->arch, "rope.scaling.type");
    LV_TRY(lv_gguf_get_str(g, key, &type, err));
    s->rope_scaling = LV_ROPE_PLAIN;
    s->rope_factor = 1.0f;
    if (type.len == 4 && memcmp(type.s, "none", 4) == 0)
        return LEVER_OK;
    if (type.len != 6 || memcmp(type.s, "linear", 6) != 0)
        return LV_FAIL(err, LEVER_E_MODEL,
                       "%s: key %s is %s: this kind of rope scaling is not supported; supported are none, linear",
                       where(g), key, lv_str_show(shown, sizeof shown, type));
    if (!(factor > 0) || factor == 1.0)
        return LEVER_OK;
    if (factor < 1.0 / 65536)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: rope scaling factor of %s is %g, expected 1/65536..65536", where(g),
                       arch_names[s->arch], factor);
    s->rope_scaling = LV_ROPE_LINEAR;
    s->rope_factor = (float)factor;
    return LEVER_OK;
}

static enum lever_status check_window(struct lv_shape *s, const struct lv_gguf *g, const struct raw *raw,
                                      struct lever_error *err)
{
    if (s->arch == LV_ARCH_GEMMA3) {
        s->n_window = (uint32_t)raw->n_window;
        s->window_pattern = raw->n_window == 0 ? 0 : raw->pattern ? (uint32_t)raw->pattern : 6;
        return LEVER_OK;
    }
    if (raw->n_window == 0 || raw->n_window >= raw->n_ctx) /* it never hides anything */
        return LEVER_OK;
    if (s->arch != LV_ARCH_LLAMA) /* which of its layers slide is not in the file */
        return LV_FAIL(err, LEVER_E_MODEL,
                       "%s: key %s.attention.sliding_window is %" PRIu64
                       ": a sliding window is not supported for this architecture",
                       where(g), arch_names[s->arch], raw->n_window);
    s->n_window = (uint32_t)raw->n_window;
    return LEVER_OK;
}

enum lever_status lv_shape_read(struct lv_shape *out, const struct lv_gguf *g, struct lever_error *err)
{
    struct lv_shape s = { 0 };
    struct raw raw;

    LV_TRY(read_arch(g, &s.arch, err));
    LV_TRY(read_table(g, s.arch, &raw, err));
    s.n_layer = (uint32_t)raw.n_layer;
    s.n_embd = (uint32_t)raw.n_embd;
    s.n_ff = (uint32_t)raw.n_ff;
    s.n_ctx_train = (uint32_t)raw.n_ctx;
    s.eps = (float)raw.eps;
    s.rope_base = (float)raw.rope_base;
    s.rope_base_local = s.arch == LV_ARCH_GEMMA3 ? (float)raw.rope_base_local : s.rope_base;
    LV_TRY(check_heads(&s, g, &raw, err));
    LV_TRY(check_scaling(&s, g, &raw, err));
    LV_TRY(check_window(&s, g, &raw, err));
    LV_TRY(lv_schema_tensors(&s, g, err));
    *out = s;
    return LEVER_OK;
}
