/* A model as a program: a flat list of ops over row buffers, with its weights as views.
 *
 * The emitter of a family (family_*.c) lists the ops; nothing else in Lever knows what a
 * family is. Draft and target are programs for the same executor.
 *
 * owns     its arrays; weight data belongs to whoever fills the views (engine/load.c)
 * threads  read-only once the views are filled */
#ifndef LV_MODEL_PROGRAM_H
#define LV_MODEL_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "gguf/gguf.h"
#include "kern/kern.h"

/* ---- weights ------------------------------------------------------------------ */

/* A range of 32-row groups that lies in one place. The unit of waiting. */
struct lv_segment {
    uint32_t first_group, n_groups;
    const uint8_t *r32; /* pinned: groups in kernel layout, borrowed; NULL = streamed */
    uint32_t i_extent;  /* streamed: extent of the pass that brings it */
    uint32_t off;       /* bytes from the start of the extent's data to the first group (GGUF rows, or R32 if packed) */
};

/* A matrix [n_rows, n_cols]: y = W x. Its view says where each group lives. */
struct lv_weight {
    const struct lv_tensor *tensor; /* borrowed from the gguf */
    enum lv_type type;
    enum lv_type file_type; /* differs where loading requantizes: lv_program_head_q4 */
    uint32_t n_rows, n_cols;
    uint32_t n_groups;     /* of 32 rows; the last may be padded (resident heads only) */
    uint64_t row_bytes, group_bytes, file_group_bytes;
    /* Where the reader finds its groups: in the model file, or in a sidecar that has them in kernel layout. */
    uint32_t i_file;
    uint64_t off, bytes;   /* unless packed, the last group may be short */
    bool packed;
    bool must_pin;         /* K and V: small, needed by every row */
    struct lv_segment *seg; /* [n_seg], owned; in group order */
    uint32_t n_seg;
};

/* A small f32 vector: norm, bias, rope factors. Always resident. */
struct lv_vector {
    const struct lv_tensor *tensor;
    uint32_t n;
    const float *data; /* [n], borrowed; filled at load */
};

/* ---- ops ------------------------------------------------------------------------ */

enum lv_buf { /* row buffers of the executor, f32 */
    LV_BUF_X,   /* [n_embd] residual stream */
    LV_BUF_T,   /* [n_embd] a block's output before its post norm */
    LV_BUF_Q,   /* [n_head * head_dim] */
    LV_BUF_K,   /* [n_head_kv * head_dim] */
    LV_BUF_V,   /* [n_head_kv * head_dim] */
    LV_BUF_G,   /* [n_ff] gate, then gated */
    LV_BUF_U,   /* [n_ff] */
    LV_BUF_LOGITS, /* [n_vocab], LV_HEAD_ROWS rows */
    LV_BUF_COUNT
};

enum lv_acts { /* quantized inputs of matmuls */
    LV_ACT_NORM, /* [n_embd] */
    LV_ACT_ATTN, /* [n_head * head_dim] */
    LV_ACT_FF,   /* [n_ff] */
    LV_ACT_COUNT
};

#define LV_NONE UINT32_MAX

enum lv_op_kind {
    LV_OP_NORM,   /* if post: X += norm(T) * post;  then ACT_NORM = quantize(norm(X) * pre) */
    LV_OP_MATMUL, /* up to three matrices on one input: dst = W x (+ bias), or dst += W x */
    LV_OP_QKV,    /* q and k norm, rope, K and V to the pass's cache slots */
    LV_OP_ATTN,   /* Q against the cache -> ACT_ATTN */
    LV_OP_GLU,    /* ACT_FF = quantize(act(G) * U) */
    LV_OP_CALL    /* a function of the caller's for each row; never part of a program */
};

struct lv_op {
    enum lv_op_kind kind;
    uint32_t layer;
    union {
        struct {
            uint32_t v_post, v_pre; /* vectors, or LV_NONE */
        } norm;
        struct {
            enum lv_acts src;
            bool add;            /* into dst */
            uint32_t n_w;
            uint32_t w[3];
            enum lv_buf dst[3];
            uint32_t v_bias[3];
            uint32_t part, n_part; /* set by lv_program_seal */
        } mm;
        struct {
            uint32_t v_qnorm, v_knorm;
            uint32_t rope;       /* which of the program's rope tables */
        } qkv;
        struct {
            enum lv_glu kind;
        } glu;
    };
};

/* A segment of an op's matrices, in the order workers take them: streamed ones first. */
struct lv_part {
    const struct lv_segment *seg;
    uint32_t i_w; /* 0..2: which of the op's matrices */
};

/* Rotation angles: position / factor * base^(-2i / n_rot) / v_freq[i]. */
struct lv_rope {
    double base, factor;
    uint32_t v_freq; /* vector of frequency divisors, or LV_NONE */
};

struct lv_program {
    struct lv_shape shape;
    struct lv_op *op;
    uint32_t n_op, cap_op;
    struct lv_weight *w; /* in execution order; the head is the last one */
    uint32_t n_w, cap_w;
    struct lv_vector *v;
    uint32_t n_v, cap_v;
    struct lv_op head; /* matmul of the output head alone */
    struct lv_part *part;
    uint32_t n_part; /* of all ops */
    struct lv_rope rope[2];
    uint32_t n_rope;
    bool rope_neox;
    float attn_scale;
    uint32_t *window;     /* [n_layer] sliding window in positions, 0 = none */
    const struct lv_tensor *embd;
    float embd_scale;
    uint32_t v_out_norm, w_head;
};

/* Compiles a model file. The gguf must outlive the program. */
enum lever_status lv_program_new(struct lv_program **out, const struct lv_gguf *g, struct lever_error *err);
void lv_program_free(struct lv_program *p); /* accepts NULL */

/* Call once the segments of all weights are set, before the program is run; again when they have changed. After a failure the
 * list is the old one. */
enum lever_status lv_program_seal(struct lv_program *p, struct lever_error *err);

/* For a draft, before anything is planned. The head has logits for the first n_tokens tokens only: vocabularies are
 * built by merging, frequent ones first. Rounded up to groups of 32. Does nothing where n_tokens is 0 or
 * the head has no more groups. */
void lv_program_cut_head(struct lv_program *p, uint32_t n_tokens);
/* The head becomes Q4_0 as it is loaded, if that makes it smaller. */
void lv_program_head_q4(struct lv_program *p);

/* Bytes of weights that a pass reads (body), and of the head. */
uint64_t lv_program_body_bytes(const struct lv_program *p);

/* ---- for emitters ------------------------------------------------------------------- */

struct lv_builder {
    struct lv_program *p;
    const struct lv_gguf *g;
    struct lever_error *err;
    enum lever_status st; /* first error; later calls do nothing */
    uint32_t layer;
};

/* "blk.<layer>.<name>.weight"; an optional one that is absent gives LV_NONE. */
uint32_t lv_build_weight(struct lv_builder *b, const char *name, bool must_pin);
uint32_t lv_build_vector(struct lv_builder *b, const char *name, const char *suffix, bool optional);
uint32_t lv_build_global_vector(struct lv_builder *b, const char *name, bool optional);
void lv_build_op(struct lv_builder *b, const struct lv_op *op);

/* The parts all families share. */
void lv_build_norm(struct lv_builder *b, uint32_t v_post, const char *pre);
void lv_build_qkv(struct lv_builder *b, bool qk_norm, uint32_t rope);
void lv_build_attn(struct lv_builder *b);
void lv_build_out(struct lv_builder *b, const char *name, enum lv_acts src, bool post_norm);
void lv_build_glu(struct lv_builder *b, enum lv_glu kind);

/* One per family; the table is in program.c. */
void lv_emit_llama(struct lv_builder *b);
void lv_emit_qwen2(struct lv_builder *b);
void lv_emit_qwen3(struct lv_builder *b);
void lv_emit_gemma3(struct lv_builder *b);

#endif
