/* Writer of tiny models: spec -> list of tensors -> GGUF file or files.
 *
 *   header   magic, version 3, counts | keys | tensor infos | padding
 *   data     tensors in the order of their infos, each padded to the alignment
 *
 * With n_file > 1 every part is such a file; the first holds the model's keys, all hold split.*. */
#include "ref/tiny.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "ref/tiny_part.h"

enum fill { FILL_MATRIX, FILL_NORM, FILL_BIAS, FILL_FACTORS };

struct tensor {
    char name[48];
    enum lv_type type;
    enum fill fill;
    uint32_t n_cols, n_rows; /* n_rows 0: a vector */
    float gain;              /* deviation: of a matrix x sqrt(n_cols); of a norm's mean, the mean */
};

struct model {
    struct tiny_spec s; /* with defaults filled in */
    struct tensor *list; /* owned */
    uint32_t n, cap;
};

/* ---- bytes ---------------------------------------------------------------- */

void tiny_put(struct tiny_buf *b, const void *data, size_t n)
{
    if (b->nomem)
        return;
    if (n > b->cap - b->n) {
        const size_t cap = 2 * b->cap + n + 4096;
        uint8_t *p = lv_realloc(b->p, cap, 1);

        if (!p) {
            b->nomem = true;
            return;
        }
        b->p = p;
        b->cap = cap;
    }
    memcpy(b->p + b->n, data, n);
    b->n += n;
}

void tiny_put_u64(struct tiny_buf *b, uint64_t v)
{
    uint8_t p[8];

    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> 8 * i);
    tiny_put(b, p, 8);
}

void tiny_put_u32(struct tiny_buf *b, uint32_t v)
{
    const uint8_t p[4] = { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24) };

    tiny_put(b, p, 4);
}

void tiny_put_u16(struct tiny_buf *b, uint16_t v)
{
    const uint8_t p[2] = { (uint8_t)v, (uint8_t)(v >> 8) };

    tiny_put(b, p, 2);
}

void tiny_put_f32(struct tiny_buf *b, float v)
{
    uint32_t bits;

    memcpy(&bits, &v, sizeof bits);
    tiny_put_u32(b, bits);
}

void tiny_put_str(struct tiny_buf *b, const char *s, size_t n)
{
    tiny_put_u64(b, n);
    tiny_put(b, s, n);
}

void tiny_buf_deinit(struct tiny_buf *b)
{
    lv_free(b->p);
    memset(b, 0, sizeof *b);
}

static void pad(struct tiny_buf *b, uint32_t alignment)
{
    while (b->n % alignment != 0 && !b->nomem)
        tiny_put(b, "", 1);
}

void tiny_put_key(struct tiny_buf *b, uint32_t *n_key, const char *key, enum lv_gguf_kind kind)
{
    tiny_put_str(b, key, strlen(key));
    tiny_put_u32(b, kind);
    ++*n_key;
}

/* ---- spec ------------------------------------------------------------------- */

static void fill_defaults(struct tiny_spec *s)
{
#define DEFAULT(field, value) \
    if (!s->field)            \
        s->field = (value)
    DEFAULT(n_layer, 2);
    DEFAULT(n_embd, 64);
    DEFAULT(n_ff, 128);
    DEFAULT(n_head, 4);
    DEFAULT(n_head_kv, s->n_head);
    DEFAULT(head_dim, s->n_embd / s->n_head);
    DEFAULT(n_rot, s->head_dim);
    DEFAULT(n_vocab, 320);
    DEFAULT(n_ctx_train, 2048);
    DEFAULT(pre, "qwen2");
    DEFAULT(alignment, 32);
    DEFAULT(n_file, 1);
#undef DEFAULT
    if (!(s->eps > 0))
        s->eps = 1e-6f;
    if (!(s->rope_base > 0))
        s->rope_base = 10000.0f;
    if (s->arch == LV_ARCH_GEMMA3 && !s->n_window)
        s->n_window = 16;
    if (s->arch == LV_ARCH_GEMMA3)
        s->tied = true;
    if (s->arch == LV_ARCH_QWEN2)
        s->qkv_bias = true;
}

static enum lever_status check_spec(const struct tiny_spec *s, struct lever_error *err)
{
    if ((unsigned)s->arch >= LV_ARCH_COUNT)
        return LV_FAIL(err, LEVER_E_ARG, "tiny model: architecture %d", (int)s->arch);
    if (s->n_vocab < 260 || s->n_vocab > TINY_MAX_VOCAB)
        return LV_FAIL(err, LEVER_E_ARG, "tiny model: %" PRIu32 " tokens, expected 260..%d", s->n_vocab,
                       TINY_MAX_VOCAB);
    if (s->n_head % s->n_head_kv != 0 || s->n_rot > s->head_dim || s->n_rot % 2 != 0)
        return LV_FAIL(err, LEVER_E_ARG, "tiny model: %" PRIu32 " heads, %" PRIu32 " KV heads, %" PRIu32 " of %" PRIu32
                       " dimensions rotated", s->n_head, s->n_head_kv, s->n_rot, s->head_dim);
    if (s->alignment < 8 || (s->alignment & (s->alignment - 1)) != 0)
        return LV_FAIL(err, LEVER_E_ARG, "tiny model: alignment %" PRIu32 " is not a power of two >= 8", s->alignment);
    if (!(s->jitter >= 0 && s->jitter <= 1))
        return LV_FAIL(err, LEVER_E_ARG, "tiny model: jitter %g, expected 0..1", (double)s->jitter);
    return LEVER_OK;
}

/* ---- tensors ---------------------------------------------------------------- */

__attribute__((format(printf, 7, 8))) static void
add(struct model *m, enum fill fill, enum lv_type type, uint32_t n_cols, uint32_t n_rows, float gain,
    const char *format, ...)
{
    struct tensor *t = &m->list[m->n];
    va_list ap;

    if (m->n == m->cap)
        return;
    va_start(ap, format);
    vsnprintf(t->name, sizeof t->name, format, ap);
    va_end(ap);
    t->type = type;
    t->fill = fill;
    t->n_cols = n_cols;
    t->n_rows = n_rows;
    t->gain = gain;
    m->n++;
}

/* Gains: attention that is peaked enough to depend on positions, and logits spread enough to
 * have a clear winner most of the time. */
static void add_layer(struct model *m, unsigned il)
{
    const struct tiny_spec *s = &m->s;
    const bool gemma = s->arch == LV_ARCH_GEMMA3, qk_norm = gemma || s->arch == LV_ARCH_QWEN3;
    const uint32_t n_q = s->n_head * s->head_dim, n_kv = s->n_head_kv * s->head_dim;
    const enum lv_type *type = s->type;

    add(m, FILL_NORM, LV_TYPE_F32, s->n_embd, 0, 1, "blk.%u.attn_norm.weight", il);
    add(m, FILL_MATRIX, type[TINY_Q], s->n_embd, n_q, 1.4f, "blk.%u.attn_q.weight", il);
    add(m, FILL_MATRIX, type[TINY_K], s->n_embd, n_kv, 1.4f, "blk.%u.attn_k.weight", il);
    add(m, FILL_MATRIX, type[TINY_V], s->n_embd, n_kv, 1, "blk.%u.attn_v.weight", il);
    if (s->qkv_bias) {
        add(m, FILL_BIAS, LV_TYPE_F32, n_q, 0, 1, "blk.%u.attn_q.bias", il);
        add(m, FILL_BIAS, LV_TYPE_F32, n_kv, 0, 1, "blk.%u.attn_k.bias", il);
        add(m, FILL_BIAS, LV_TYPE_F32, n_kv, 0, 1, "blk.%u.attn_v.bias", il);
    }
    if (qk_norm) {
        add(m, FILL_NORM, LV_TYPE_F32, s->head_dim, 0, 1.4f, "blk.%u.attn_q_norm.weight", il);
        add(m, FILL_NORM, LV_TYPE_F32, s->head_dim, 0, 1.4f, "blk.%u.attn_k_norm.weight", il);
    }
    add(m, FILL_MATRIX, type[TINY_O], n_q, s->n_embd, 1, "blk.%u.attn_output.weight", il);
    if (gemma)
        add(m, FILL_NORM, LV_TYPE_F32, s->n_embd, 0, 1, "blk.%u.post_attention_norm.weight", il);
    add(m, FILL_NORM, LV_TYPE_F32, s->n_embd, 0, 1, "blk.%u.ffn_norm.weight", il);
    add(m, FILL_MATRIX, type[TINY_GATE], s->n_embd, s->n_ff, 1, "blk.%u.ffn_gate.weight", il);
    add(m, FILL_MATRIX, type[TINY_UP], s->n_embd, s->n_ff, 1, "blk.%u.ffn_up.weight", il);
    add(m, FILL_MATRIX, type[TINY_DOWN], s->n_ff, s->n_embd, 1.4f, "blk.%u.ffn_down.weight", il);
    if (gemma)
        add(m, FILL_NORM, LV_TYPE_F32, s->n_embd, 0, 1, "blk.%u.post_ffw_norm.weight", il);
}

static enum lever_status list_tensors(struct model *m, struct lever_error *err)
{
    const struct tiny_spec *s = &m->s;

    m->cap = 4 + 16 * s->n_layer;
    if (!(m->list = LV_NEW_ARRAY(struct tensor, m->cap)))
        return LV_FAIL(err, LEVER_E_NOMEM, "tiny model: list of %" PRIu32 " tensors", m->cap);
    add(m, FILL_MATRIX, s->type[TINY_EMBD], s->n_embd, s->n_vocab, 1, "token_embd.weight");
    for (unsigned il = 0; il < s->n_layer; il++)
        add_layer(m, il);
    add(m, FILL_NORM, LV_TYPE_F32, s->n_embd, 0, 3, "output_norm.weight");
    if (!s->tied)
        add(m, FILL_MATRIX, s->type[TINY_HEAD], s->n_embd, s->n_vocab, 1, "output.weight");
    if (s->rope_factors)
        add(m, FILL_FACTORS, LV_TYPE_F32, s->n_rot / 2, 0, 1, "rope_freqs.weight");
    for (uint32_t i = 0; i < m->n; i++) {
        const struct tensor *t = &m->list[i];
        uint32_t len, bytes;

        if (!tiny_block(t->type, &len, &bytes) || t->n_cols % len != 0)
            return LV_FAIL(err, LEVER_E_ARG, "tiny model: %s has rows of %" PRIu32 ", no whole blocks of type %d",
                           t->name, t->n_cols, (int)t->type);
    }
    return LEVER_OK;
}

static uint64_t tensor_bytes(const struct tensor *t)
{
    uint32_t len = 1, bytes = 0;

    tiny_block(t->type, &len, &bytes);
    return (uint64_t)(t->n_cols / len) * bytes * (t->n_rows ? t->n_rows : 1);
}

static void shuffle(struct model *m)
{
    struct lv_rng r = { m->s.shuffle };

    for (uint32_t i = m->n; m->s.shuffle && i > 1; i--) {
        const uint32_t j = lv_rng_below(&r, i);
        const struct tensor t = m->list[j];

        m->list[j] = m->list[i - 1];
        m->list[i - 1] = t;
    }
}

static float square_root(float x) /* Newton: no libm, the same bits everywhere */
{
    float y = x > 1 ? x : 1;

    for (int i = 0; i < 40; i++)
        y = 0.5f * (y + x / y);
    return y;
}

static void put_weights(struct tiny_buf *b, const struct tensor *t, const struct tiny_spec *s)
{
    struct lv_rng r = { s->seed };
    const float sigma = t->gain / square_root((float)t->n_cols);
    uint64_t seed;

    for (const char *c = t->name; *c; c++)
        r.state = lv_mix64(r.state + (unsigned char)*c + 1);
    seed = r.state;
    switch (t->fill) {
    case FILL_MATRIX:
        for (uint32_t i = 0; i < t->n_rows; i++) {
            /* A row does not depend on those before it. */
            const uint64_t row = lv_mix64(seed + i);
            struct tiny_draw d = { { row }, { ~row }, s->jitter };

            tiny_put_row(b, t->type, t->n_cols, sigma, &d);
        }
        break;
    case FILL_NORM:
        for (uint32_t i = 0; i < t->n_cols; i++)
            tiny_put_f32(b, t->gain * (1.0f + 0.25f * lv_rng_f32(&r)));
        break;
    case FILL_BIAS:
        for (uint32_t i = 0; i < t->n_cols; i++)
            tiny_put_f32(b, t->gain * lv_rng_f32(&r));
        break;
    case FILL_FACTORS: /* Llama 3's shape, 1 rising to 8, but steep enough to matter in 100 positions */
        for (uint32_t i = 0; i < t->n_cols; i++)
            tiny_put_f32(b, 4 * i < t->n_cols ? 1.0f + 28.0f * (float)i / (float)t->n_cols : 8.0f);
        break;
    }
}

/* ---- keys ------------------------------------------------------------------- */

static const char *const arch_name[LV_ARCH_COUNT] = { "llama", "qwen2", "qwen3", "gemma3" };

struct keys {
    struct tiny_buf b;
    uint32_t n;
    const char *arch;
};

static void key_u32(struct keys *k, const char *name, uint32_t v)
{
    char full[96];

    snprintf(full, sizeof full, "%s.%s", k->arch, name);
    tiny_put_key(&k->b, &k->n, full, LV_GGUF_U32);
    tiny_put_u32(&k->b, v);
}

static void key_f32(struct keys *k, const char *name, float v)
{
    char full[96];

    snprintf(full, sizeof full, "%s.%s", k->arch, name);
    tiny_put_key(&k->b, &k->n, full, LV_GGUF_F32);
    tiny_put_f32(&k->b, v);
}

static void key_str(struct keys *k, const char *full, const char *v)
{
    tiny_put_key(&k->b, &k->n, full, LV_GGUF_STRING);
    tiny_put_str(&k->b, v, strlen(v));
}

static void put_model_keys(struct keys *k, const struct tiny_spec *s)
{
    k->arch = arch_name[s->arch];
    key_str(k, "general.architecture", k->arch);
    key_str(k, "general.name", "tiny");
    key_u32(k, "block_count", s->n_layer);
    key_u32(k, "context_length", s->n_ctx_train);
    key_u32(k, "embedding_length", s->n_embd);
    key_u32(k, "feed_forward_length", s->n_ff);
    key_u32(k, "attention.head_count", s->n_head);
    key_u32(k, "attention.head_count_kv", s->n_head_kv);
    key_u32(k, "attention.key_length", s->head_dim);
    key_u32(k, "attention.value_length", s->head_dim);
    key_f32(k, "attention.layer_norm_rms_epsilon", s->eps);
    key_f32(k, "rope.freq_base", s->rope_base);
    key_u32(k, "rope.dimension_count", s->n_rot);
    if (s->rope_factor > 0) {
        char full[64];

        snprintf(full, sizeof full, "%s.rope.scaling.type", k->arch);
        key_str(k, full, "linear");
        key_f32(k, "rope.scaling.factor", s->rope_factor);
    }
    if (s->n_window)
        key_u32(k, "attention.sliding_window", s->n_window);
    tiny_put_tokenizer(&k->b, &k->n, s);
}

static void put_split_keys(struct keys *k, uint32_t i_file, uint32_t n_file, uint32_t n_tensor)
{
    tiny_put_key(&k->b, &k->n, "split.no", LV_GGUF_U16);
    tiny_put_u16(&k->b, (uint16_t)i_file);
    tiny_put_key(&k->b, &k->n, "split.count", LV_GGUF_U16);
    tiny_put_u16(&k->b, (uint16_t)n_file);
    tiny_put_key(&k->b, &k->n, "split.tensors.count", LV_GGUF_I32);
    tiny_put_u32(&k->b, n_tensor);
}

/* ---- files ------------------------------------------------------------------ */

static enum lever_status save(const struct tiny_buf *b, const char *path, struct lever_error *err)
{
    FILE *f;
    bool ok;

    if (b->nomem)
        return LV_FAIL(err, LEVER_E_NOMEM, "%s: no memory for %zu bytes", path, b->n);
    if (!(f = fopen(path, "wb")))
        return LV_FAIL(err, LEVER_E_IO, "%s: cannot be created: %s", path, strerror(errno));
    ok = fwrite(b->p, 1, b->n, f) == b->n;
    ok = fclose(f) == 0 && ok;
    return ok ? LEVER_OK : LV_FAIL(err, LEVER_E_IO, "%s: writing %zu bytes failed: %s", path, b->n, strerror(errno));
}

/* Writes one part with tensors first .. end - 1. */
static enum lever_status write_part(const struct model *m, const char *path, uint32_t i_file, struct lever_error *err)
{
    const struct tiny_spec *s = &m->s;
    const uint32_t first = (uint32_t)((uint64_t)m->n * i_file / s->n_file);
    const uint32_t end = (uint32_t)((uint64_t)m->n * (i_file + 1) / s->n_file);
    struct keys k = { .n = 0 };
    struct tiny_buf b = { .n = 0 };
    enum lever_status st;
    uint64_t off = 0;

    if (s->alignment != 32) {
        tiny_put_key(&k.b, &k.n, "general.alignment", LV_GGUF_U32);
        tiny_put_u32(&k.b, s->alignment);
    }
    if (i_file == 0)
        put_model_keys(&k, s);
    if (s->n_file > 1)
        put_split_keys(&k, i_file, s->n_file, m->n);
    tiny_put(&b, "GGUF", 4);
    tiny_put_u32(&b, 3);
    tiny_put_u64(&b, end - first);
    tiny_put_u64(&b, k.n);
    b.nomem |= k.b.nomem;
    if (k.b.n)
        tiny_put(&b, k.b.p, k.b.n);
    for (uint32_t i = first; i < end; i++) {
        const struct tensor *t = &m->list[i];

        tiny_put_str(&b, t->name, strlen(t->name));
        tiny_put_u32(&b, t->n_rows ? 2 : 1);
        tiny_put_u64(&b, t->n_cols); /* fastest first */
        if (t->n_rows)
            tiny_put_u64(&b, t->n_rows);
        tiny_put_u32(&b, (uint32_t)t->type);
        tiny_put_u64(&b, off);
        off += lv_round_up(tensor_bytes(t), s->alignment);
    }
    pad(&b, s->alignment);
    for (uint32_t i = first; i < end; i++) {
        put_weights(&b, &m->list[i], s);
        pad(&b, s->alignment);
    }
    st = save(&b, path, err);
    tiny_buf_deinit(&b);
    tiny_buf_deinit(&k.b);
    return st;
}

bool tiny_part_path(char *out, size_t cap, const char *path, uint32_t i, uint32_t n)
{
    const size_t len = strlen(path);
    int written;

    if (n <= 1) {
        written = snprintf(out, cap, "%s", path);
    } else {
        if (len < 5 || strcmp(path + len - 5, ".gguf") != 0)
            return false;
        written = snprintf(out, cap, "%.*s-%05u-of-%05u.gguf", (int)(len - 5), path, i + 1, n);
    }
    return written >= 0 && (size_t)written < cap;
}

enum lever_status tiny_write(const struct tiny_spec *spec, const char *path, struct lever_error *err)
{
    struct model m = { .s = *spec };
    enum lever_status st;
    char part[4096];

    fill_defaults(&m.s);
    LV_TRY(check_spec(&m.s, err));
    if ((st = list_tensors(&m, err)) < 0)
        goto out;
    if (m.s.n_file > m.n) {
        st = LV_FAIL(err, LEVER_E_ARG, "tiny model: %" PRIu32 " files for %" PRIu32 " tensors", m.s.n_file, m.n);
        goto out;
    }
    shuffle(&m);
    for (uint32_t i = 0; i < m.s.n_file; i++) {
        if (!tiny_part_path(part, sizeof part, path, i, m.s.n_file)) {
            st = LV_FAIL(err, LEVER_E_ARG, "%s: the name of a split model ends in .gguf and is short", path);
            goto out;
        }
        if ((st = write_part(&m, part, i, err)) < 0)
            goto out;
    }
out:
    lv_free(m.list);
    return st;
}
