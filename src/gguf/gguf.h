/* Directory of a GGUF model: keys and tensors, of one file or of a split model.
 *
 * owns     a copy of all keys, tensor names and string arrays; no descriptor or mapping
 *          of the file stays open
 * threads  read-only after open, except lv_gguf_key and lv_gguf_drop_arrays
 *
 * Every file is hostile. Sizes and offsets are checked (with overflow) against the file's size before
 * anything is allocated; memory stays within the header's bytes + 16 MiB, a header within 64 MiB; errors name
 * file, offset, key or tensor, what was found and what was expected, as LEVER_E_MODEL (LEVER_E_IO when
 * a file cannot be opened or read). */
#ifndef LV_GGUF_GGUF_H
#define LV_GGUF_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "gguf/quant.h"

#define LV_GGUF_MAX_FILES 256

/* Value types of the format, with their numbers. */
enum lv_gguf_kind {
    LV_GGUF_U8 = 0, LV_GGUF_I8, LV_GGUF_U16, LV_GGUF_I16, LV_GGUF_U32, LV_GGUF_I32, LV_GGUF_F32,
    LV_GGUF_BOOL, LV_GGUF_STRING, LV_GGUF_ARRAY, LV_GGUF_U64, LV_GGUF_I64, LV_GGUF_F64
};

struct lv_str {
    const char *s; /* borrowed, not NUL-terminated, may hold any byte */
    size_t len;
};

struct lv_tensor {
    const char *name;    /* 1..127 bytes of visible ASCII */
    enum lv_type type;
    uint32_t n_dim;
    uint64_t dim[4];     /* as in the file: fastest first; unused ones are 1 */
    uint32_t i_file;     /* part of a split model */
    uint64_t off;        /* bytes from the start of that file */
    uint64_t bytes;
};

struct lv_gguf;

/* Opens a file, or a split model by its first part (NAME-00001-of-0000N.gguf; the others are found
 * beside it by name). *out is set only on success. */
enum lever_status lv_gguf_open(struct lv_gguf **out, const char *path, struct lever_error *err);
void lv_gguf_close(struct lv_gguf *g); /* accepts NULL */

uint32_t lv_gguf_n_files(const struct lv_gguf *g);
const char *lv_gguf_path(const struct lv_gguf *g, uint32_t i_file);
uint64_t lv_gguf_file_bytes(const struct lv_gguf *g, uint32_t i_file);

uint32_t lv_gguf_n_tensors(const struct lv_gguf *g);
const struct lv_tensor *lv_gguf_tensor(const struct lv_gguf *g, uint32_t i);
const struct lv_tensor *lv_gguf_find_tensor(const struct lv_gguf *g, const char *name); /* or NULL; log n */

/* Raw access to keys, for info. value: escaped UTF-8 of at most 383 bytes, shortened with "..."; valid until close. */
uint32_t lv_gguf_n_keys(const struct lv_gguf *g);
void lv_gguf_key(struct lv_gguf *g, uint32_t i, const char **key, const char **type, const char **value);

/* Typed access. Any integer kind that fits is accepted for u64, any float or integer kind for f64.
 * Each returns LEVER_OK, or LEVER_DONE when the key is absent (out untouched),
 * or LEVER_E_MODEL when it has another type. */
enum lever_status lv_gguf_get_u64(const struct lv_gguf *g, const char *key, uint64_t *out, struct lever_error *err);
enum lever_status lv_gguf_get_f64(const struct lv_gguf *g, const char *key, double *out, struct lever_error *err);
enum lever_status lv_gguf_get_bool(const struct lv_gguf *g, const char *key, bool *out, struct lever_error *err);
enum lever_status lv_gguf_get_str(const struct lv_gguf *g, const char *key, struct lv_str *out, struct lever_error *err);
/* Arrays: the count; then elements one by one. elem: the element kind found (LV_GGUF_*). An element that
 * does not exist, is of another type or was dropped is empty or 0. */
enum lever_status lv_gguf_get_array(const struct lv_gguf *g, const char *key, enum lv_gguf_kind *elem, uint64_t *n,
                                    struct lever_error *err);
struct lv_str lv_gguf_array_str(const struct lv_gguf *g, const char *key, uint64_t i); /* any i is O(1) */
double lv_gguf_array_num(const struct lv_gguf *g, const char *key, uint64_t i);        /* numbers, bools */
/* Frees the large tokenizer arrays (tokens, merges, scores, types) once tok has its own copy. Their count
 * and text form stay. */
void lv_gguf_drop_arrays(struct lv_gguf *g);

/* ---- schema.c: shape of a supported architecture, every value range-checked ----
 * One table: key, type, range, default, relation to others. Keys are those of the GGUF
 * convention, "<arch>.block_count" and so on. */
enum lv_arch { LV_ARCH_LLAMA, LV_ARCH_QWEN2, LV_ARCH_QWEN3, LV_ARCH_GEMMA3, LV_ARCH_COUNT };

enum lv_rope_scaling { LV_ROPE_PLAIN, LV_ROPE_LINEAR, LV_ROPE_YARN };

struct lv_shape {
    enum lv_arch arch;
    uint32_t n_layer;      /* 1..1024 */
    uint32_t n_embd;       /* multiple of 32 */
    uint32_t n_ff;         /* multiple of 32 */
    uint32_t n_head, n_head_kv; /* n_head % n_head_kv == 0 */
    uint32_t head_dim;     /* attention.key_length or n_embd / n_head, = value length; even, <= 512;
                            * n_head / n_head_kv * head_dim % 32 == 0 */
    uint32_t n_rot;        /* rope.dimension_count or head_dim; even, <= head_dim */
    uint32_t n_vocab;      /* rows of token_embd.weight; must be >= length of tokenizer.ggml.tokens */
    uint32_t n_ctx_train;
    float eps;             /* attention.layer_norm_rms_epsilon */
    float rope_base;       /* rope.freq_base, default 10000 */
    float rope_base_local; /* gemma3 sliding layers: rope.freq_base_swa, default 10000; others: rope_base */
    enum lv_rope_scaling rope_scaling; /* rope.scaling.type: none, linear (also with only a factor); others are refused */
    float rope_factor;     /* linear: positions are divided by it; 1 otherwise */
    uint32_t n_window;     /* attention.sliding_window; 0 = none. gemma3; of llama (Mistral) only when below n_ctx_train;
                            * qwen with such a window is refused */
    uint32_t window_pattern; /* gemma3: layer % window_pattern == window_pattern - 1 is global, by default every
                              * 6th; 0 = no windows */
    bool tied;             /* no output.weight */
};

/* Reads and checks the shape; refuses an unknown architecture or mixture of experts by name. Also checks that every
 * tensor a family needs is present with the right dimensions and types, and none is left over that would
 * change the result (unknown tensors are an error by name). */
enum lever_status lv_shape_read(struct lv_shape *out, const struct lv_gguf *g, struct lever_error *err);
const char *lv_arch_name(enum lv_arch a);

#endif
