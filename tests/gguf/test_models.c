/* The four real models, from LEVER_MODELS or ~/.cache/lever/models: their shapes against values that an
 * independent script read from the same files, and what is in them for people to see. Skips what is absent. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "gguf/gguf.h"

#define MAX_OPEN_SECONDS 0.1

static const struct expected {
    const char *file;
    struct lv_shape shape;
    uint32_t n_tensor, n_key;
    uint64_t n_token;
    const char *pre;
} files[] = {
    { "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
      { .arch = LV_ARCH_QWEN2,
        .n_layer = 28,
        .n_embd = 1536,
        .n_ff = 8960,
        .n_head = 12,
        .n_head_kv = 2,
        .head_dim = 128,
        .n_rot = 128,
        .n_vocab = 151936,
        .n_ctx_train = 32768,
        .rope_base = 1e6f,
        .tied = false },
      339,
      26,
      151936,
      "qwen2" },
    { "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
      { .arch = LV_ARCH_QWEN2,
        .n_layer = 24,
        .n_embd = 896,
        .n_ff = 4864,
        .n_head = 14,
        .n_head_kv = 2,
        .head_dim = 64,
        .n_rot = 64,
        .n_vocab = 151936,
        .n_ctx_train = 32768,
        .rope_base = 1e6f,
        .tied = false },
      291,
      26,
      151936,
      "qwen2" },
    { "smollm2-135m-instruct-q4_1.gguf",
      { .arch = LV_ARCH_LLAMA,
        .n_layer = 30,
        .n_embd = 576,
        .n_ff = 1536,
        .n_head = 9,
        .n_head_kv = 3,
        .head_dim = 64,
        .n_rot = 64,
        .n_vocab = 49152,
        .n_ctx_train = 8192,
        .rope_base = 1e5f,
        .tied = true },
      272,
      33,
      49152,
      "smollm" },
    { "gemma-3-270m-q4_k_m.gguf",
      { .arch = LV_ARCH_GEMMA3,
        .n_layer = 18,
        .n_embd = 640,
        .n_ff = 2048,
        .n_head = 4,
        .n_head_kv = 1,
        .head_dim = 256,
        .n_rot = 256,
        .n_vocab = 262144,
        .n_ctx_train = 32768,
        .rope_base = 1e6f,
        .n_window = 512,
        .window_pattern = 6,
        .tied = true },
      236,
      33,
      262144,
      "default" },
};

static int n_wrong;

static void check_u64(const char *what, uint64_t found, uint64_t expected)
{
    if (found != expected) {
        printf("  WRONG %s: %" PRIu64 ", expected %" PRIu64 "\n", what, found, expected);
        n_wrong++;
    }
}

/* "blk.12.attn_q.weight" and "blk.3.attn_q.weight" play the same role. */
static const char *role_of(const char *name)
{
    if (strncmp(name, "blk.", 4) == 0 && strchr(name + 4, '.'))
        return strchr(name + 4, '.') + 1;
    return name;
}

/* Prints each (role, type) with its count, in order of first appearance. */
static void print_types(const struct lv_gguf *g)
{
    for (uint32_t i = 0; i < lv_gguf_n_tensors(g); i++) {
        const struct lv_tensor *t = lv_gguf_tensor(g, i);
        uint32_t n = 0;
        bool first = true;

        for (uint32_t j = 0; j < lv_gguf_n_tensors(g); j++) {
            const struct lv_tensor *u = lv_gguf_tensor(g, j);

            if (u->type == t->type && strcmp(role_of(u->name), role_of(t->name)) == 0) {
                first = first && j >= i;
                n++;
            }
        }
        if (first)
            printf("  %-28s %-5s x %-3" PRIu32 " [%" PRIu64 ", %" PRIu64 "]\n", role_of(t->name), lv_type_name(t->type),
                   n, t->dim[0], t->dim[1]);
    }
}

static void check_shape(const struct lv_shape *s, const struct lv_shape *want)
{
    check_u64("arch", s->arch, want->arch);
    check_u64("n_layer", s->n_layer, want->n_layer);
    check_u64("n_embd", s->n_embd, want->n_embd);
    check_u64("n_ff", s->n_ff, want->n_ff);
    check_u64("n_head", s->n_head, want->n_head);
    check_u64("n_head_kv", s->n_head_kv, want->n_head_kv);
    check_u64("head_dim", s->head_dim, want->head_dim);
    check_u64("n_rot", s->n_rot, want->n_rot);
    check_u64("n_vocab", s->n_vocab, want->n_vocab);
    check_u64("n_ctx_train", s->n_ctx_train, want->n_ctx_train);
    check_u64("rope_base", (uint64_t)s->rope_base, (uint64_t)want->rope_base);
    check_u64("n_window", s->n_window, want->n_window);
    check_u64("window_pattern", s->window_pattern, want->window_pattern);
    check_u64("tied", s->tied, want->tied);
}

/* Weights of the first block of the embedding are finite and not all zero: offsets point at data. */
static void check_data(const struct lv_gguf *g)
{
    const struct lv_tensor *t = lv_gguf_find_tensor(g, "output_norm.weight");
    float y[64];
    FILE *f = t ? fopen(lv_gguf_path(g, t->i_file), "rb") : NULL;
    int n_good = 0;

    if (!f || fseek(f, (long)t->off, SEEK_SET) != 0 || fread(y, 4, 64, f) != 64) {
        printf("  WRONG: cannot read output_norm.weight\n");
        n_wrong++;
    } else {
        for (int i = 0; i < 64; i++)
            n_good += y[i] > -1e4f && y[i] < 1e4f && (y[i] > 1e-4f || y[i] < -1e-4f);
        check_u64("plausible norm weights", (uint64_t)n_good, 64);
    }
    if (f)
        fclose(f);
}

static void check_file(const struct expected *want, const char *path)
{
    struct lever_error err = { 0 };
    struct lv_gguf *g = NULL;
    struct lv_shape s;
    struct lv_str pre = { "", 0 };
    enum lv_gguf_kind elem = LV_GGUF_U8;
    uint64_t n_token = 0, best_ns = UINT64_MAX;

    for (int i = 0; i < 5; i++) { /* the fastest of five: the machine may be busy */
        const uint64_t start = lv_now_ns();

        lv_gguf_close(g);
        g = NULL;
        if (lv_gguf_open(&g, path, &err) < 0 || lv_shape_read(&s, g, &err) < 0) {
            printf("  WRONG: %s\n", err.message);
            n_wrong++;
            lv_gguf_close(g);
            return;
        }
        if (lv_now_ns() - start < best_ns)
            best_ns = lv_now_ns() - start;
    }
    printf("%s: %s, %" PRIu32 " layers, embedding %" PRIu32 ", feed-forward %" PRIu32 ", %" PRIu32 "/%" PRIu32
           " heads of %" PRIu32 ", vocabulary %" PRIu32 "%s, context %" PRIu32 ", rope base %g, eps %g, window %" PRIu32
           "\n",
           want->file, lv_arch_name(s.arch), s.n_layer, s.n_embd, s.n_ff, s.n_head, s.n_head_kv, s.head_dim, s.n_vocab,
           s.tied ? " (tied)" : "", s.n_ctx_train, (double)s.rope_base, (double)s.eps, s.n_window);
    check_shape(&s, &want->shape);
    check_u64("tensors", lv_gguf_n_tensors(g), want->n_tensor);
    check_u64("keys", lv_gguf_n_keys(g), want->n_key);
    if (lv_gguf_get_array(g, "tokenizer.ggml.tokens", &elem, &n_token, &err) != LEVER_OK)
        check_u64("token list", 0, 1);
    check_u64("tokens", n_token, want->n_token);
    lv_gguf_get_str(g, "tokenizer.ggml.pre", &pre, &err);
    check_u64("pre-tokenizer", pre.len == strlen(want->pre) && memcmp(pre.s, want->pre, pre.len) == 0, 1);
    check_data(g);
    print_types(g);

    uint64_t start = lv_now_ns(), bytes = 0;

    for (uint64_t i = 0; i < n_token; i++)
        bytes += lv_gguf_array_str(g, "tokenizer.ggml.tokens", i).len;
    printf("  pre-tokenizer %.*s; opened in %.1f ms; %" PRIu64 " bytes of tokens walked in %.1f ms\n", (int)pre.len,
           pre.s, (double)best_ns * 1e-6, bytes, (double)(lv_now_ns() - start) * 1e-6);
    if (lv_seconds(best_ns) > MAX_OPEN_SECONDS) {
        printf("  WRONG: opened in %g s, expected at most %g\n", lv_seconds(best_ns), MAX_OPEN_SECONDS);
        n_wrong++;
    }
    lv_gguf_close(g);
}

int main(void)
{
    const char *models = getenv("LEVER_MODELS"), *home = getenv("HOME");
    int n_absent = 0;

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[1024];

        if (models)
            snprintf(path, sizeof path, "%s/%s", models, files[i].file);
        else
            snprintf(path, sizeof path, "%s/.cache/lever/models/%s", home ? home : "", files[i].file);
        if (access(path, R_OK) != 0) {
            printf("skipped: no %s\n", path);
            n_absent++;
            continue;
        }
        check_file(&files[i], path);
    }
    if (n_wrong > 0)
        return 1;
    return n_absent > 0 ? 77 : 0;
}
