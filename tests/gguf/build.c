#define _GNU_SOURCE
#include "build.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"

static void *must(void *p)
{
    if (!p) {
        fprintf(stderr, "test machinery: out of memory or files\n");
        exit(1);
    }
    return p;
}

static char *copy(const char *s)
{
    return strcpy(must(malloc(strlen(s) + 1)), s);
}

/* ---- bytes ------------------------------------------------------------------- */

void gb_put(struct gb_bytes *b, const void *data, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = 2 * (b->n + n);
        b->data = must(realloc(b->data, b->cap));
    }
    if (n > 0)
        memcpy(b->data + b->n, data, n);
    b->n += n;
}

void gb_put_uint(struct gb_bytes *b, uint64_t v, unsigned n_bytes)
{
    for (unsigned i = 0; i < n_bytes; i++) {
        const uint8_t byte = (uint8_t)(v >> 8 * i);

        gb_put(b, &byte, 1);
    }
}

void gb_put_str(struct gb_bytes *b, const char *s)
{
    gb_put_uint(b, strlen(s), 8);
    gb_put(b, s, strlen(s));
}

void gb_bytes_free(struct gb_bytes *b)
{
    free(b->data);
    *b = (struct gb_bytes){ 0 };
}

/* ---- keys ---------------------------------------------------------------------- */

void gb_init(struct gb_model *m)
{
    *m = (struct gb_model){
        .magic = 0x46554747, .version = 3, .n_tensor_claimed = UINT64_MAX, .n_key_claimed = UINT64_MAX, .align = 32
    };
}

void gb_free(struct gb_model *m)
{
    for (size_t i = 0; i < m->n_key; i++) {
        free(m->key[i].name);
        gb_bytes_free(&m->key[i].value);
    }
    for (size_t i = 0; i < m->n_tensor; i++)
        free(m->tensor[i].name);
    gb_init(m);
}

void gb_append_key(struct gb_model *m, const char *name, uint32_t kind, const void *bytes, size_t n)
{
    struct gb_key *k = must(m->n_key < 64 ? &m->key[m->n_key] : NULL);

    m->n_key++;
    *k = (struct gb_key){ .name = copy(name), .kind = kind };
    gb_put(&k->value, bytes, n);
}

void gb_value(struct gb_model *m, const char *name, uint32_t kind, const void *bytes, size_t n)
{
    for (size_t i = 0; i < m->n_key; i++) {
        if (strcmp(m->key[i].name, name) == 0) {
            m->key[i].kind = kind;
            m->key[i].value.n = 0;
            gb_put(&m->key[i].value, bytes, n);
            return;
        }
    }
    gb_append_key(m, name, kind, bytes, n);
}

void gb_u32(struct gb_model *m, const char *name, uint32_t v)
{
    gb_value(m, name, LV_GGUF_U32, &v, 4);
}

void gb_f32(struct gb_model *m, const char *name, float v)
{
    gb_value(m, name, LV_GGUF_F32, &v, 4);
}

void gb_str(struct gb_model *m, const char *name, const char *v)
{
    struct gb_bytes b = { 0 };

    gb_put_str(&b, v);
    gb_value(m, name, LV_GGUF_STRING, b.data, b.n);
    gb_bytes_free(&b);
}

void gb_array(struct gb_model *m, const char *name, uint32_t elem, uint64_t n_claimed, const void *bytes, size_t n)
{
    struct gb_bytes b = { 0 };

    gb_put_uint(&b, elem, 4);
    gb_put_uint(&b, n_claimed, 8);
    gb_put(&b, bytes, n);
    gb_value(m, name, LV_GGUF_ARRAY, b.data, b.n);
    gb_bytes_free(&b);
}

void gb_strings(struct gb_model *m, const char *name, const char *const *v, size_t n)
{
    struct gb_bytes b = { 0 };

    for (size_t i = 0; i < n; i++)
        gb_put_str(&b, v[i]);
    gb_array(m, name, LV_GGUF_STRING, n, b.data, b.n);
    gb_bytes_free(&b);
}

void gb_drop_key(struct gb_model *m, const char *name)
{
    for (size_t i = 0; i < m->n_key; i++) {
        if (strcmp(m->key[i].name, name) == 0) {
            free(m->key[i].name);
            gb_bytes_free(&m->key[i].value);
            memmove(&m->key[i], &m->key[i + 1], (m->n_key - i - 1) * sizeof m->key[0]);
            m->n_key--;
            return;
        }
    }
    must(NULL);
}

/* ---- tensors --------------------------------------------------------------------- */

struct gb_tensor *gb_tensor(struct gb_model *m, const char *name, uint32_t type, uint64_t d0, uint64_t d1)
{
    struct gb_tensor *t = must(m->n_tensor < 64 ? &m->tensor[m->n_tensor] : NULL);

    m->n_tensor++;
    *t = (struct gb_tensor){
        .name = copy(name), .type = type, .n_dim = d1 ? 2 : 1, .dim = { d0, d1 ? d1 : 1, 1, 1 }, .off = UINT64_MAX
    };
    return t;
}

struct gb_tensor *gb_find(struct gb_model *m, const char *name)
{
    for (size_t i = 0; i < m->n_tensor; i++)
        if (strcmp(m->tensor[i].name, name) == 0)
            return &m->tensor[i];
    return must(NULL);
}

void gb_drop_tensor(struct gb_model *m, const char *name)
{
    struct gb_tensor *t = gb_find(m, name);

    free(t->name);
    memmove(t, t + 1, (size_t)(&m->tensor[m->n_tensor] - (t + 1)) * sizeof *t);
    m->n_tensor--;
}

/* ---- a whole model ----------------------------------------------------------------- */

static void arch_key(struct gb_model *m, enum lv_arch arch, const char *suffix, uint32_t v)
{
    char name[80];

    snprintf(name, sizeof name, "%s.%s", lv_arch_name(arch), suffix);
    gb_u32(m, name, v);
}

static void layer_tensor(struct gb_model *m, uint32_t layer, const char *suffix, uint32_t type, uint64_t d0,
                         uint64_t d1)
{
    char name[80];

    snprintf(name, sizeof name, "blk.%" PRIu32 ".%s", layer, suffix);
    gb_tensor(m, name, type, d0, d1);
}

void gb_family(struct gb_model *m, enum lv_arch arch, uint32_t n_layer)
{
    static const char *const tokens[] = { "a", "b", "c", "d", "e", "f", "g", "h" };
    char name[80];

    gb_init(m);
    gb_str(m, "general.architecture", lv_arch_name(arch));
    arch_key(m, arch, "block_count", n_layer);
    arch_key(m, arch, "embedding_length", 64);
    arch_key(m, arch, "feed_forward_length", 96);
    arch_key(m, arch, "context_length", 128);
    arch_key(m, arch, "attention.head_count", 4);
    arch_key(m, arch, "attention.head_count_kv", 2);
    snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", lv_arch_name(arch));
    gb_f32(m, name, 1e-6f);
    gb_strings(m, "tokenizer.ggml.tokens", tokens, 8);

    gb_tensor(m, "token_embd.weight", LV_TYPE_Q8_0, 64, 8);
    gb_tensor(m, "output_norm.weight", LV_TYPE_F32, 64, 0);
    for (uint32_t i = 0; i < n_layer; i++) {
        layer_tensor(m, i, "attn_norm.weight", LV_TYPE_F32, 64, 0);
        layer_tensor(m, i, "attn_q.weight", LV_TYPE_Q8_0, 64, 64);
        layer_tensor(m, i, "attn_k.weight", LV_TYPE_Q8_0, 64, 32);
        layer_tensor(m, i, "attn_v.weight", LV_TYPE_Q8_0, 64, 32);
        layer_tensor(m, i, "attn_output.weight", LV_TYPE_Q8_0, 64, 64);
        layer_tensor(m, i, "ffn_norm.weight", LV_TYPE_F32, 64, 0);
        layer_tensor(m, i, "ffn_gate.weight", LV_TYPE_Q8_0, 64, 96);
        layer_tensor(m, i, "ffn_up.weight", LV_TYPE_Q8_0, 64, 96);
        layer_tensor(m, i, "ffn_down.weight", LV_TYPE_Q8_0, 96, 64);
        if (arch == LV_ARCH_QWEN2) {
            layer_tensor(m, i, "attn_q.bias", LV_TYPE_F32, 64, 0);
            layer_tensor(m, i, "attn_k.bias", LV_TYPE_F32, 32, 0);
            layer_tensor(m, i, "attn_v.bias", LV_TYPE_F32, 32, 0);
        }
        if (arch == LV_ARCH_QWEN3 || arch == LV_ARCH_GEMMA3) {
            layer_tensor(m, i, "attn_q_norm.weight", LV_TYPE_F32, 16, 0);
            layer_tensor(m, i, "attn_k_norm.weight", LV_TYPE_F32, 16, 0);
        }
        if (arch == LV_ARCH_GEMMA3) {
            layer_tensor(m, i, "post_attention_norm.weight", LV_TYPE_F32, 64, 0);
            layer_tensor(m, i, "post_ffw_norm.weight", LV_TYPE_F32, 64, 0);
        }
    }
}

static uint64_t tensor_bytes(const struct gb_tensor *t)
{
    const struct lv_type_traits *traits = lv_type_traits(t->type);

    return traits ? t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3] / traits->block_len * traits->block_bytes : 0;
}

struct gb_bytes gb_make(struct gb_model *m)
{
    struct gb_bytes b = { 0 };
    struct lv_rng rng = { 1 };
    uint64_t off = 0, end = 0;

    gb_put_uint(&b, m->magic, 4);
    gb_put_uint(&b, m->version, 4);
    gb_put_uint(&b, m->n_tensor_claimed == UINT64_MAX ? m->n_tensor : m->n_tensor_claimed, 8);
    gb_put_uint(&b, m->n_key_claimed == UINT64_MAX ? m->n_key : m->n_key_claimed, 8);
    for (size_t i = 0; i < m->n_key; i++) {
        gb_put_str(&b, m->key[i].name);
        gb_put_uint(&b, m->key[i].kind, 4);
        gb_put(&b, m->key[i].value.data, m->key[i].value.n);
    }
    for (size_t i = 0; i < m->n_tensor; i++) {
        const struct gb_tensor *t = &m->tensor[i];
        const uint64_t bytes = tensor_bytes(t);

        gb_put_str(&b, t->name);
        gb_put_uint(&b, t->n_dim, 4);
        for (uint32_t d = 0; d < t->n_dim; d++)
            gb_put_uint(&b, d < 4 ? t->dim[d] : 1, 8);
        gb_put_uint(&b, t->type, 4);
        gb_put_uint(&b, t->off == UINT64_MAX ? off : t->off, 8);
        if (bytes < 1u << 20) { /* absurd sizes get no data */
            end = off + bytes;
            off += (bytes + m->align - 1) / m->align * m->align;
        }
    }
    m->header_bytes = b.n;
    while (m->n_tensor && b.n % m->align != 0)
        gb_put_uint(&b, 0, 1);
    for (uint64_t i = 0; i < end; i++)
        gb_put_uint(&b, lv_rng_u64(&rng), 1);
    return b;
}

/* ---- files ---------------------------------------------------------------------------- */

static char folder[512];

static void remove_folder(void)
{
    DIR *d = opendir(folder);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        char path[800];

        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    if (d)
        closedir(d);
    rmdir(folder);
}

const char *gb_folder(void)
{
    if (!folder[0]) {
        const char *tmp = getenv("TMPDIR");

        snprintf(folder, sizeof folder, "%s/lever-gguf-XXXXXX", tmp && strlen(tmp) < 400 ? tmp : "/tmp");
        must(mkdtemp(folder));
        atexit(remove_folder);
    }
    return folder;
}

void gb_path(char *out, size_t cap, const char *name)
{
    snprintf(out, cap, "%s/%s", gb_folder(), name);
}

void gb_save(const struct gb_bytes *b, const char *path)
{
    FILE *f = must(fopen(path, "wb"));

    if (fwrite(b->data, 1, b->n, f) != b->n || fclose(f) != 0)
        must(NULL);
}

void gb_write(struct gb_model *m, const char *path)
{
    struct gb_bytes b = gb_make(m);

    gb_save(&b, path);
    gb_bytes_free(&b);
}
