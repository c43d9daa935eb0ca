/* lever_plan_shape: a plan for models that are only described.
 *
 * The description is written as the header of a GGUF file without data, in memory, and opened like any other: so shape checks,
 * programs, buffers and placement are those of real files. */
#define _GNU_SOURCE /* memfd_create */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "gguf/quant.h"

#define TOKEN_BYTES 50 /* of a tokenizer in memory, a token: 7.2 MiB for 151,936 */
#define HEADER_CAP (1u << 20)
#define ALIGN 32u

enum { KIND_U32 = 4, KIND_F32 = 6, KIND_STR = 8 };

struct writer {
    uint8_t *buf; /* [HEADER_CAP] */
    size_t n;
    uint64_t data; /* bytes of tensors so far */
    uint64_t n_key, n_tensor;
    const char *arch;
    bool full;
};

static void put(struct writer *w, const void *p, size_t n)
{
    if (w->full || n > HEADER_CAP - w->n) {
        w->full = true;
        return;
    }
    memcpy(w->buf + w->n, p, n);
    w->n += n;
}

static void put_u32(struct writer *w, uint32_t x)
{
    put(w, &x, sizeof x);
}

static void put_u64(struct writer *w, uint64_t x)
{
    put(w, &x, sizeof x);
}

static void put_str(struct writer *w, const char *s)
{
    put_u64(w, strlen(s));
    put(w, s, strlen(s));
}

static void key(struct writer *w, const char *suffix, uint32_t kind)
{
    char name[96];

    snprintf(name, sizeof name, "%s.%s", w->arch, suffix);
    put_str(w, name);
    put_u32(w, kind);
    w->n_key++;
}

static void key_u32(struct writer *w, const char *suffix, uint32_t x)
{
    key(w, suffix, KIND_U32);
    put_u32(w, x);
}

/* cols, rows: fastest dimension first; rows 0: a vector. */
static void tensor(struct writer *w, int32_t layer, const char *name, enum lv_type type, uint64_t cols, uint64_t rows)
{
    char full[80];

    if (layer >= 0)
        snprintf(full, sizeof full, "blk.%" PRId32 ".%s", layer, name);
    put_str(w, layer >= 0 ? full : name);
    put_u32(w, rows ? 2 : 1);
    put_u64(w, cols);
    if (rows)
        put_u64(w, rows);
    put_u32(w, type);
    put_u64(w, w->data);
    w->data = lv_round_up(w->data + lv_row_bytes(type, cols) * (rows ? rows : 1), ALIGN);
    w->n_tensor++;
}

/* A type by name, or -1. */
static int type_named(const char *name)
{
    char a[16], b[16];

    for (uint32_t t = 0; name && t < LV_TYPE_MAX; t++) {
        const struct lv_type_traits *x = lv_type_traits(t);
        size_t n = 0;

        if (!x)
            continue;
        for (; n < 15 && x->name[n]; n++)
            a[n] = x->name[n] >= 'A' && x->name[n] <= 'Z' ? (char)(x->name[n] + 32) : x->name[n];
        a[n] = '\0';
        for (n = 0; n < 15 && name[n]; n++)
            b[n] = name[n] >= 'A' && name[n] <= 'Z' ? (char)(name[n] + 32) : name[n];
        b[n] = '\0';
        if (!strcmp(a, b))
            return (int)t;
    }
    return -1;
}

static void write_keys(struct writer *w, const struct lever_model_shape *s)
{
    const float eps = 1e-6f;

    put_str(w, "general.architecture");
    put_u32(w, KIND_STR);
    put_str(w, s->arch);
    w->n_key++;
    key_u32(w, "block_count", s->n_layer);
    key_u32(w, "embedding_length", s->n_embd);
    key_u32(w, "feed_forward_length", s->n_ff);
    key_u32(w, "context_length", s->n_ctx_train);
    key_u32(w, "attention.head_count", s->n_head);
    key_u32(w, "attention.head_count_kv", s->n_head_kv);
    key_u32(w, "attention.key_length", s->head_dim);
    key_u32(w, "attention.value_length", s->head_dim);
    key_u32(w, "rope.dimension_count", s->head_dim);
    key(w, "attention.layer_norm_rms_epsilon", KIND_F32);
    put(w, &eps, sizeof eps);
}

static void write_tensors(struct writer *w, const struct lever_model_shape *s, enum lv_type type, enum lv_type head,
                          enum lv_type down)
{
    const uint64_t q = (uint64_t)s->n_head * s->head_dim, k = (uint64_t)s->n_head_kv * s->head_dim;
    const bool qwen2 = !strcmp(s->arch, "qwen2"), qwen3 = !strcmp(s->arch, "qwen3");

    tensor(w, -1, "token_embd.weight", s->tied ? head : type, s->n_embd, s->n_vocab);
    tensor(w, -1, "output_norm.weight", LV_TYPE_F32, s->n_embd, 0);
    if (!s->tied)
        tensor(w, -1, "output.weight", head, s->n_embd, s->n_vocab);
    for (int32_t i = 0; i < (int32_t)s->n_layer; i++) {
        tensor(w, i, "attn_norm.weight", LV_TYPE_F32, s->n_embd, 0);
        tensor(w, i, "attn_q.weight", type, s->n_embd, q);
        tensor(w, i, "attn_k.weight", type, s->n_embd, k);
        tensor(w, i, "attn_v.weight", type, s->n_embd, k);
        tensor(w, i, "attn_output.weight", type, q, s->n_embd);
        if (qwen2) {
            tensor(w, i, "attn_q.bias", LV_TYPE_F32, q, 0);
            tensor(w, i, "attn_k.bias", LV_TYPE_F32, k, 0);
            tensor(w, i, "attn_v.bias", LV_TYPE_F32, k, 0);
        }
        if (qwen3) {
            tensor(w, i, "attn_q_norm.weight", LV_TYPE_F32, s->head_dim, 0);
            tensor(w, i, "attn_k_norm.weight", LV_TYPE_F32, s->head_dim, 0);
        }
        tensor(w, i, "ffn_norm.weight", LV_TYPE_F32, s->n_embd, 0);
        tensor(w, i, "ffn_gate.weight", type, s->n_embd, s->n_ff);
        tensor(w, i, "ffn_up.weight", type, s->n_embd, s->n_ff);
        tensor(w, i, "ffn_down.weight", down, s->n_ff, s->n_embd);
    }
}

static enum lever_status check_shape(const struct lever_model_shape *s, int *type, int *head, int *down,
                                     struct lever_error *err)
{
    static const char *const archs[] = { "llama", "qwen2", "qwen3" };
    bool known = false;

    if (s->size < sizeof *s || !s->arch || !s->name)
        return LV_FAIL(err, LEVER_E_ARG, "model shape: its size, name and arch are required");
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        known = known || !strcmp(s->arch, archs[i]);
    if (!known)
        return LV_FAIL(err, LEVER_E_ARG, "model shape %s: architecture \"%s\", expected llama, qwen2 or qwen3", s->name, s->arch);
    *type = type_named(s->type);
    *head = type_named(s->head_type ? s->head_type : s->type);
    *down = type_named(s->down_type ? s->down_type : s->type);
    if (*type < 0 || *head < 0 || *down < 0)
        return LV_FAIL(err, LEVER_E_ARG, "model shape %s: a tensor type is unknown; expected one such as q4_0, q4_k, q6_k, q8_0, f16",
                       s->name);
    if (s->n_embd % lv_type_traits((uint32_t)*type)->block_len || s->n_embd % lv_type_traits((uint32_t)*head)->block_len ||
        s->n_ff % lv_type_traits((uint32_t)*down)->block_len ||
        (uint64_t)s->n_head * s->head_dim % lv_type_traits((uint32_t)*type)->block_len)
        return LV_FAIL(err, LEVER_E_ARG, "model shape %s: a row is no multiple of its type's block", s->name);
    if (s->n_layer > 1024 || s->n_vocab > 1u << 22 || s->n_embd > 1u << 17 || s->n_ff > 1u << 20 || s->n_head > 1024 ||
        s->n_head_kv > 1024 || s->head_dim > 512)
        return LV_FAIL(err, LEVER_E_ARG, "model shape %s: a dimension is out of range", s->name);
    return LEVER_OK;
}

/* A file without a name whose header says what the shape says; its data are a hole. */
static enum lever_status write_shape(const struct lever_model_shape *s, int *fd, char path[32], struct lever_error *err)
{
    struct writer w = { .arch = s->arch };
    int type = 0, head = 0, down = 0;
    enum lever_status st = LEVER_OK;
    uint64_t count[2];

    LV_TRY(check_shape(s, &type, &head, &down, err));
    if (!(w.buf = lv_alloc(1, HEADER_CAP)))
        return LV_FAIL(err, LEVER_E_NOMEM, "model shape: header of %u bytes", HEADER_CAP);
    put(&w, "GGUF", 4);
    put_u32(&w, 3);
    put_u64(&w, 0); /* counts, known later */
    put_u64(&w, 0);
    write_keys(&w, s);
    write_tensors(&w, s, (enum lv_type)type, (enum lv_type)head, (enum lv_type)down);
    count[0] = w.n_tensor;
    count[1] = w.n_key;
    memcpy(w.buf + 8, count, sizeof count);
    *fd = memfd_create("lever-shape", MFD_CLOEXEC);
    if (w.full)
        st = LV_FAIL(err, LEVER_E_ARG, "model shape %s: its header is larger than %u bytes", s->name, HEADER_CAP);
    else if (*fd < 0 || write(*fd, w.buf, w.n) != (ssize_t)w.n ||
             ftruncate(*fd, (off_t)(lv_round_up(w.n, ALIGN) + w.data)) != 0)
        st = LV_FAIL(err, LEVER_E_IO, "model shape %s: a file in memory cannot be made", s->name);
    snprintf(path, 32, "/proc/self/fd/%d", *fd);
    lv_free(w.buf);
    return st;
}

enum lever_status lever_plan_shape(const struct lever_options *opt, const struct lever_model_shape *target,
                                   const struct lever_model_shape *draft, struct lever_plan_report *out,
                                   struct lever_error *err)
{
    char path[2][32];
    int fd[2] = { -1, -1 };
    struct lever_options o;
    enum lever_status st;

    if (!target || !out || out->size < sizeof out->size || !lv_engine_take_options(&o, opt))
        return LV_FAIL(err, LEVER_E_ARG, "lever_plan_shape: opt (made by lever_options_default), target and out, with its size "
                       "set, are required");
    st = write_shape(target, &fd[0], path[0], err);
    if (st >= 0 && draft)
        st = write_shape(draft, &fd[1], path[1], err);
    o.target_path = path[0];
    o.draft_path = draft ? path[1] : NULL;
    if (st >= 0)
        st = lv_plan_report_of(&o, (uint64_t)target->n_vocab * TOKEN_BYTES, out, err);
    for (int i = 0; i < 2; i++)
        if (fd[i] >= 0)
            close(fd[i]);
    return st;
}
