/* Tiny models for tests: small, complete GGUF files with pseudo-random weights and a byte-level
 * BPE tokenizer, written to a path.
 *
 * The bytes depend on the spec only: no libm, no clock, no locale. A tensor's weights depend on the
 * seed, its name, type and row length, not on the order in the file, the split or the alignment; so
 *   - the same spec shuffled or split must give the same logits, bit for bit;
 *   - the same spec with fewer layers is "the first layers of" the larger one, and
 *   - with a small `jitter` is a near copy of it: two kinds of draft that agree with it often.
 *
 * owns     nothing; strings of a spec are borrowed during tiny_write
 * threads  any, on different paths
 *
 * docs: tests/ref/README.md. */
#ifndef REF_TINY_H
#define REF_TINY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "gguf/gguf.h"

/* Which matrices share a type. Norms, biases and rope factors are always F32. */
enum tiny_role {
    TINY_EMBD, TINY_HEAD, TINY_Q, TINY_K, TINY_V, TINY_O, TINY_GATE, TINY_UP, TINY_DOWN, TINY_ROLE_COUNT
};

/* A designated initializer for .type: one type for all matrices. */
#define TINY_ALL(t) { (t), (t), (t), (t), (t), (t), (t), (t), (t) }

/* Zero means the value in brackets, so that a test names only what it is about. */
struct tiny_spec {
    enum lv_arch arch;
    uint32_t n_layer;              /* [2] */
    uint32_t n_embd, n_ff;         /* [64], [128]; multiples of 32 and of the types' blocks */
    uint32_t n_head, n_head_kv;    /* [4], [n_head] */
    uint32_t head_dim;             /* [n_embd / n_head] */
    uint32_t n_rot;                /* [head_dim] rope.dimension_count */
    uint32_t n_vocab;              /* [320] 260 .. TINY_MAX_VOCAB */
    uint32_t n_ctx_train;          /* [2048] */
    enum lv_type type[TINY_ROLE_COUNT]; /* [F32] */
    bool tied;                     /* no output.weight */
    bool qkv_bias;                 /* qwen2 has it always */
    float eps;                     /* [1e-6] */
    float rope_base;               /* [10000] */
    bool rope_factors;             /* a rope_freqs.weight tensor, as Llama 3 has */
    float rope_factor;             /* [none] linear scaling: positions are divided by it */
    uint32_t n_window;             /* [16 for gemma3, else none]; layer % 6 == 5 is global */
    uint64_t seed;                 /* of the weights */
    float jitter;                  /* 0 .. 1: each block's scale (float weight) is off by up to this share */
    bool add_bos;                  /* tokenizer.ggml.add_bos_token */
    const char *chat_template;     /* [none] */
    const char *pre;               /* ["qwen2"] tokenizer.ggml.pre */
    uint32_t alignment;            /* [32] a power of two >= 8; 32 writes no general.alignment key */
    uint32_t n_file;               /* [1] > 1: path must end in ".gguf", see tiny_part_path */
    uint64_t shuffle;              /* [not] seed of the tensors' order in the file */
};

#define TINY_MAX_VOCAB 16384

/* A ChatML template (SmolLM2's), for specs that want one. The vocabulary has its tokens. */
extern const char tiny_chatml[];

/* Writes the model. With n_file > 1 writes all parts. An existing file is replaced; after an error
 * a partial file may remain. LEVER_E_ARG: the spec is inconsistent, the message says how. */
enum lever_status tiny_write(const struct tiny_spec *spec, const char *path, struct lever_error *err);

/* "dir/x.gguf" -> "dir/x-00002-of-00003.gguf" for i = 1, n = 3; the path itself for n <= 1.
 * false when it does not fit or path does not end in ".gguf". */
bool tiny_part_path(char *out, size_t cap, const char *path, uint32_t i, uint32_t n);

/* The named presets, those of tests/golden/tiny_forward.jsonl. NULL when there is no such preset. */
const struct tiny_spec *tiny_preset(const char *name);
const char *tiny_preset_name(unsigned i); /* NULL behind the last one */

/* Ids of the control tokens in a vocabulary: <|endoftext|> (bos), <|im_start|>, <|im_end|> (eos). */
static inline int32_t tiny_bos(uint32_t n_vocab)
{
    return (int32_t)n_vocab - 3;
}

static inline int32_t tiny_eos(uint32_t n_vocab)
{
    return (int32_t)n_vocab - 1;
}

#endif
