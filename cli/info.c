/* lever info: what a model file holds. Names and values come from the file: they are escaped. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* Tensor types met in a model; a GGUF knows about forty. */
#define CAP_TYPES 64

struct type_row {
    const char *name; /* borrowed from the engine */
    uint64_t n_tensor, bytes;
};

static size_t count_types(const lever_engine *e, int which, uint32_t n_tensor, struct type_row rows[CAP_TYPES])
{
    size_t n = 0;

    for (uint32_t i = 0; i < n_tensor; i++) {
        struct lever_tensor_info t;
        size_t k = 0;

        if (lever_tensor_info(e, which, i, &t) < 0)
            break;
        while (k < n && strcmp(rows[k].name, t.type) != 0)
            k++;
        if (k == CAP_TYPES)
            continue;
        if (k == n)
            rows[n++] = (struct type_row){ .name = t.type };
        rows[k].n_tensor++;
        rows[k].bytes += t.bytes;
    }
    return n;
}

/* ---- text ---- */

static void put_str(const char *label, const char *value)
{
    printf("%-14s", label);
    lv_put_safe(stdout, value ? value : "none", false);
    putchar('\n');
}

static void put_metadata(const lever_engine *e, int which, uint32_t n_meta)
{
    printf("\nmetadata\n");
    for (uint32_t i = 0; i < n_meta; i++) {
        const char *key, *type, *value;

        if (lever_meta(e, which, i, &key, &type, &value) < 0)
            break;
        fputs("  ", stdout);
        lv_put_safe(stdout, key, false);
        printf(" (%s) = ", type);
        lv_put_safe(stdout, value, false);
        putchar('\n');
    }
}

static void put_tensors(const lever_engine *e, int which, uint32_t n_tensor)
{
    printf("\ntensors\n");
    for (uint32_t i = 0; i < n_tensor; i++) {
        struct lever_tensor_info t;

        if (lever_tensor_info(e, which, i, &t) < 0)
            break;
        fputs("  ", stdout);
        lv_put_safe(stdout, t.name, false);
        printf(" %s ", t.type);
        for (uint32_t d = 0; d < t.n_dim && d < 4; d++)
            printf("%s%" PRIu64, d ? " x " : "", t.dim[d]);
        printf(", %" PRIu64 " bytes at %" PRIu64 "\n", t.bytes, t.file_offset);
    }
}

static void put_model(const lever_engine *e, int which, const struct lever_model_info *m, bool all)
{
    struct type_row types[CAP_TYPES];
    const size_t n_type = count_types(e, which, m->n_tensor, types);
    char size[24];

    put_str("file", m->path);
    put_str("name", m->name);
    printf("architecture  %s, %s, %.2f G parameters\n", m->arch, m->file_type ? m->file_type : "unknown type",
           (double)m->n_params * 1e-9);
    printf("size          %s on disk", lv_size_text(size, m->file_bytes));
    printf(", %s of weights\n", lv_size_text(size, m->weight_bytes));
    printf("shape         %" PRIu32 " layers, %" PRIu32 " wide, feed-forward %" PRIu32 "%s\n", m->n_layer, m->n_embd,
           m->n_ff, m->tied_embedding ? ", tied embedding" : "");
    printf("attention     %" PRIu32 " heads, %" PRIu32 " for keys and values, %" PRIu32 " each\n", m->n_head,
           m->n_head_kv, m->head_dim);
    printf("context       %" PRIu32 " tokens\n", m->n_ctx_train);
    printf("vocabulary    %" PRIu32 " tokens, tokenizer ", m->n_vocab);
    lv_put_safe(stdout, m->tokenizer ? m->tokenizer : "none", false);
    putchar('\n');
    put_str("chat format", m->chat_format ? m->chat_format : "not recognised (lever run -p works, --chat does not)");
    printf("tensors       %" PRIu32 ":", m->n_tensor);
    for (size_t i = 0; i < n_type; i++)
        printf("%s %" PRIu64 " %s (%s)", i ? "," : "", types[i].n_tensor, types[i].name,
               lv_size_text(size, types[i].bytes));
    putchar('\n');
    if (all) {
        put_metadata(e, which, m->n_meta);
        put_tensors(e, which, m->n_tensor);
    }
}

/* ---- JSON ---- */

static json_t *types_json(const lever_engine *e, int which, uint32_t n_tensor)
{
    struct type_row types[CAP_TYPES];
    const size_t n = count_types(e, which, n_tensor, types);
    json_t *o = json_object();

    for (size_t i = 0; i < n; i++)
        json_object_set_new(o, types[i].name, json_pack("{s:o, s:o}", "tensors", lv_json_uint(types[i].n_tensor),
                                                        "bytes", lv_json_uint(types[i].bytes)));
    return o;
}

static json_t *metadata_json(const lever_engine *e, int which, uint32_t n_meta)
{
    json_t *a = json_array();

    for (uint32_t i = 0; i < n_meta; i++) {
        const char *key, *type, *value;

        if (lever_meta(e, which, i, &key, &type, &value) < 0)
            break;
        json_array_append_new(a, json_pack("{s:o, s:o, s:o}", "key", lv_json_str(key), "type", lv_json_str(type),
                                           "value", lv_json_str(value)));
    }
    return a;
}

static json_t *tensors_json(const lever_engine *e, int which, uint32_t n_tensor)
{
    json_t *a = json_array();

    for (uint32_t i = 0; i < n_tensor; i++) {
        struct lever_tensor_info t;
        json_t *dim = json_array();

        if (lever_tensor_info(e, which, i, &t) < 0) {
            json_decref(dim);
            break;
        }
        for (uint32_t d = 0; d < t.n_dim && d < 4; d++)
            json_array_append_new(dim, lv_json_uint(t.dim[d]));
        json_array_append_new(a, json_pack("{s:o, s:o, s:o, s:o, s:o}", "name", lv_json_str(t.name), "type",
                                           lv_json_str(t.type), "dim", dim, "offset", lv_json_uint(t.file_offset),
                                           "bytes", lv_json_uint(t.bytes)));
    }
    return a;
}

static json_t *model_json(const lever_engine *e, int which, const struct lever_model_info *m, bool all)
{
    json_t *o = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o}",
        "path", lv_json_str(m->path), "name", lv_json_str(m->name), "arch", lv_json_str(m->arch),
        "file_type", lv_json_str(m->file_type), "tokenizer", lv_json_str(m->tokenizer),
        "chat_format", lv_json_str(m->chat_format), "file_bytes", lv_json_uint(m->file_bytes),
        "weight_bytes", lv_json_uint(m->weight_bytes), "n_params", lv_json_uint(m->n_params),
        "n_layer", lv_json_uint(m->n_layer), "n_embd", lv_json_uint(m->n_embd), "n_ff", lv_json_uint(m->n_ff),
        "n_head", lv_json_uint(m->n_head), "n_head_kv", lv_json_uint(m->n_head_kv),
        "head_dim", lv_json_uint(m->head_dim), "n_vocab", lv_json_uint(m->n_vocab),
        "n_ctx_train", lv_json_uint(m->n_ctx_train), "n_tensor", lv_json_uint(m->n_tensor),
        "tied_embedding", (int)m->tied_embedding, "types", types_json(e, which, m->n_tensor));

    if (o && all) {
        json_object_set_new(o, "metadata", metadata_json(e, which, m->n_meta));
        json_object_set_new(o, "tensors", tensors_json(e, which, m->n_tensor));
    }
    return o;
}

int lv_cli_info(const struct lv_args *a)
{
    struct lever_model_info target, draft;
    struct lever_error err = { .status = LEVER_OK };
    lever_engine *e = NULL;
    bool has_draft;
    int code;

    if (lv_session_vocab(a, &e, &err) < 0)
        return lv_report(&err, a->json);
    if (lever_model_info(e, 0, &target) < 0) {
        lv_cli_fail(&err, LEVER_E_INTERNAL, "%s: no model information", a->target);
        lever_close(e);
        return lv_report(&err, a->json);
    }
    has_draft = a->draft && lever_model_info(e, 1, &draft) >= 0;
    if (a->json) {
        json_t *o = model_json(e, 0, &target, a->all);

        if (o && has_draft)
            json_object_set_new(o, "draft", model_json(e, 1, &draft, a->all));
        code = lv_json_print(o);
    } else {
        put_model(e, 0, &target, a->all);
        if (has_draft) {
            printf("\ndraft\n");
            put_model(e, 1, &draft, a->all);
        }
        code = lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
    }
    lever_close(e);
    return code;
}
