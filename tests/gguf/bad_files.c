#include "bad_files.h"

#include <stdlib.h>
#include <string.h>

#define L   LV_ARCH_LLAMA
#define Q2  LV_ARCH_QWEN2
#define Q3  LV_ARCH_QWEN3
#define G3  LV_ARCH_GEMMA3
#define BIG INT64_MAX

/* One row a case, however long. */
/* clang-format off */
const struct bad_file bad_files[] = {
    /* ---- header ---- */
    { "empty", L, CUT, .num = 0, .want = "magic number: 1 of at least 4 bytes are declared, but only 0 bytes are left" },
    { "three bytes", L, CUT, .num = 3, .want = "only 3 bytes are left" },
    { "no version", L, CUT, .num = 4, .want = "version" },
    { "half a header", L, CUT, .num = 20, .want = "key count" },
    { "one key short", L, CUT, .num = 40, .want = "damaged or was not downloaded completely" },
    { "one byte short", L, CUT, .num = -1, .want = "tensor blk.0.ffn_down.weight: its 6528 bytes end at offset" },
    { "no magic", L, MAGIC, .num = 0x12345678, .want = "starts with bytes 78 56 34 12, expected 47 47 55 46" },
    { "lfs pointer", L, MAGIC, .num = 0x73726576, .want = "Git LFS pointer" },
    { "web page", L, MAGIC, .num = 0x4f44213c, .want = "a web page" },
    { "zip", L, MAGIC, .num = 0x04034b50, .want = "PyTorch or zip" },
    { "ggjt", L, MAGIC, .num = 0x67676a74, .want = "an old GGML file" },
    { "version 0", L, VERSION, .num = 0, .want = "GGUF version 0 is not supported, expected 2 or 3" },
    { "version 1", L, VERSION, .num = 1, .want = "GGUF version 1 is not supported, expected 2 or 3; convert" },
    { "version 4", L, VERSION, .num = 4, .want = "GGUF version 4" },
    { "big-endian", L, VERSION, .num = 0x03000000, .want = "big-endian GGUF is not supported" },
    { "too many tensors", L, N_TENSORS, .num = 32769, .want = "32769 tensors, expected at most 32768" },
    { "absurdly many tensors", L, N_TENSORS, .num = BIG, .want = "9223372036854775807 tensors" },
    { "2^64 - 1 tensors", L, N_TENSORS, .num = -2, .want = "18446744073709551614 tensors" },
    { "tensors beyond the file", L, N_TENSORS, .num = 32768, .want = "tensors: 32768 of at least 33 bytes are declared" },
    { "one tensor too many", L, N_TENSORS, .num = 12, .want = "tensors" },
    { "too many keys", L, N_KEYS, .num = 16385, .want = "16385 keys, expected at most 16384" },
    { "absurdly many keys", L, N_KEYS, .num = BIG, .want = "keys, expected at most" },
    { "keys beyond the file", L, N_KEYS, .num = 16384, .want = "keys: 16384 of at least 14 bytes are declared" },
    { "one key too many", L, N_KEYS, .num = 10, .want = "tensors: a name of 2251799813685248 bytes" }, /* its dimension count reads as kind u16 */
    { "no keys", L, N_KEYS, .num = 0, .want = "tensor general.architecture: 8 dimensions, expected 1..4" }, /* the kind is read as that */

    /* ---- keys ---- */
    { "unknown kind", L, KIND, "llama.block_count", 13, .want = "key llama.block_count: value of type 13, expected a type of 0..12" },
    { "kind 2^32 - 1", L, KIND, "llama.block_count", 0xffffffff, .want = "value of type 4294967295" },
    { "number read as string", L, KIND, "tokenizer.ggml.tokens", LV_GGUF_STRING, .want = "key tokenizer.ggml.tokens: " },
    { "key twice", L, AGAIN, "llama.block_count", .want = "key llama.block_count occurs twice" },
    { "key without a name", L, RENAME_KEY, "llama.block_count", .text = "", .want = "a name of 0 bytes, expected 1..1024" },
    { "key with a newline", L, RENAME_KEY, "llama.block_count", .text = "llama\nx", .want = "name \"llama\\nx\" holds byte 0x0a" },
    { "key with a space", L, RENAME_KEY, "llama.block_count", .text = "a b", .want = "holds byte 0x20, expected visible ASCII" },
    { "key with an escape", L, RENAME_KEY, "llama.block_count", .text = "\033[2J", .want = "\"\\x1b[2J\" holds byte 0x1b" },
    { "bool 2", L, BOOL, "x", 2, .want = "key x: bool value is 2, expected 0 or 1" },
    { "string of 2^63", L, STRING_LENGTH, "general.architecture", BIG, .want = "key general.architecture: string: 9223372036854775807 of" },
    { "string of 2^64 - 1", L, STRING_LENGTH, "general.architecture", -1, .want = "string: 18446744073709551615 of" },
    { "array of arrays", L, ARRAY, "x", LV_GGUF_ARRAY, 1, .want = "key x: an array of arrays is not supported" },
    { "array of kind 77", L, ARRAY, "x", 77, 1, .want = "key x: array of values of type 77" },
    { "array of 2^63 numbers", L, ARRAY, "x", LV_GGUF_U64, BIG, .want = "key x: array elements: 9223372036854775807 of at least 8" },
    { "array that wraps", L, ARRAY, "x", LV_GGUF_U64, INT64_C(1) << 61, .want = "array elements: 2305843009213693952 of at least 8" },
    { "array of 2^40 strings", L, ARRAY, "x", LV_GGUF_STRING, INT64_C(1) << 40, .want = "array elements: 1099511627776 of at least 8" },
    { "array of bytes too long", L, ARRAY, "x", LV_GGUF_U8, 60000, .want = "array elements: 60000 of at least 1 bytes" },
    { "alignment 0", L, U32, "general.alignment", 0, .want = "key general.alignment is 0, expected a power of two of 8..65536" },
    { "alignment 4", L, U32, "general.alignment", 4, .want = "general.alignment is 4" },
    { "alignment 48", L, U32, "general.alignment", 48, .want = "general.alignment is 48, expected a power of two" },
    { "alignment 2^31", L, U32, "general.alignment", 0x80000000, .want = "general.alignment is 2147483648" },
    { "alignment text", L, TEXT, "general.alignment", .text = "32", .want = "key general.alignment has type string, expected an integer" },
    { "alignment negative", L, I32, "general.alignment", -32, .want = "general.alignment is -32, expected 0 or more" },
    { "later part", L, U32, "split.no", 1, .want = "split.no is 1 and split.count 1" },
    { "first of two", L, U32, "split.count", 2, .want = "expected a name that ends with -00001-of-00002.gguf" },
    { "split count 2^32", L, U64, "split.count", INT64_C(1) << 32, .want = "split.count 4294967296, expected a part below a count of at most 256" },
    { "split tensors", L, U32, "split.tensors.count", 10, .want = "split.tensors.count is 10, but the parts hold 11 tensors" },

    /* ---- tensors ---- */
    { "tensor type 99", L, TYPE, "blk.0.attn_q.weight", 99, .want = "tensor blk.0.attn_q.weight: type 99 (unknown) is not supported" },
    { "tensor type IQ2_XXS", L, TYPE, "blk.0.attn_q.weight", 16, .want = "tensor blk.0.attn_q.weight: type 16 (IQ2_XXS) is not supported" },
    { "tensor type MXFP4", L, TYPE, "blk.0.attn_q.weight", 39, .want = "type 39 (MXFP4)" },
    { "tensor type TQ1_0", L, TYPE, "blk.0.attn_q.weight", 34, .want = "type 34 (TQ1_0)" },
    { "tensor type Q2_K", L, TYPE, "blk.0.attn_q.weight", 10, .want = "type 10 (Q2_K)" },
    { "tensor type I32", L, TYPE, "output_norm.weight", 26, .want = "type 26 (I32)" },
    { "row below a block", L, TYPE, "blk.0.attn_q.weight", 12, .want = "rows of 64 weights, expected a multiple of 256 for type Q4_K" },
    { "half a block", L, DIM0, "blk.0.attn_q.weight", 48, .want = "rows of 48 weights, expected a multiple of 32 for type Q8_0" },
    { "no dimensions", L, N_DIM, "blk.0.attn_q.weight", 0, .want = "0 dimensions, expected 1..4" },
    { "five dimensions", L, N_DIM, "blk.0.attn_q.weight", 5, .want = "5 dimensions, expected 1..4" },
    { "2^32 - 1 dimensions", L, N_DIM, "blk.0.attn_q.weight", 0xffffffff, .want = "4294967295 dimensions" },
    { "dimension 0", L, DIM0, "blk.0.attn_q.weight", 0, .want = "dimension 0 is 0, expected 1 or more" },
    { "dimension 1 is 0", L, DIM1, "blk.0.attn_q.weight", 0, .want = "dimension 1 is 0, expected 1 or more" },
    { "dimension 2^64 - 32", L, DIM0, "blk.0.attn_q.weight", -32, .want = "dimension 0 is 18446744073709551584" },
    { "product wraps", L, DIM1, "blk.0.attn_q.weight", INT64_C(1) << 58, .want = "dimension 1 is 288230376151711744, expected 1 or more and a product below 2^63" },
    { "bytes wrap", L, DIM1, "output_norm.weight", INT64_C(1) << 56, .want = "tensor output_norm.weight: its size in bytes does not fit" },
    { "end wraps", L, OFFSET, "blk.0.attn_q.weight", -32, .want = "its data end does not fit 64 bits" },
    { "end wraps by size", L, DIM1, "output_norm.weight", (INT64_C(1) << 56) - 1, .want = "tensor output_norm.weight: its data end does not fit 64 bits" },
    { "larger than the file", L, DIM1, "blk.0.ffn_down.weight", 1 << 20, .want = "bytes end at offset" },
    { "behind the file", L, OFFSET, "blk.0.attn_q.weight", 1 << 30, .want = "tensor blk.0.attn_q.weight: its 4352 bytes end at offset 1073" },
    { "not aligned", L, OFFSET, "blk.0.attn_q.weight", 33, .want = "data offset 33 is no multiple of the alignment 32" },
    { "overlap, same place", L, OFFSET, "blk.0.attn_k.weight", 0, .want = "overlaps tensor " },
    { "overlap by a block", L, OFFSET, "output_norm.weight", 512, .want = "tensor output_norm.weight at offset " },
    { "tensor twice", L, TWICE, "blk.0.attn_q.weight", .want = "tensor blk.0.attn_q.weight occurs twice" },
    { "tensor without a name", L, RENAME, "blk.0.attn_q.weight", .text = "", .want = "tensors: a name of 0 bytes, expected 1..127" },
    { "tensor with a long name", L, RENAME, "blk.0.attn_q.weight",
      .text = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
              "aaaaaaaaaaaaaaaa",
      .want = "a name of 128 bytes, expected 1..127" },
    { "tensor with bytes", L, RENAME, "blk.0.attn_q.weight", .text = "a\xff", .want = "name \"a\\xff\" holds byte 0xff" },

    /* ---- schema: keys ---- */
    { "no architecture", L, DROP_KEY, "general.architecture", .want = "key general.architecture is missing" },
    { "architecture number", L, U32, "general.architecture", 3, .want = "key general.architecture has type u32, expected string" },
    { "gemma2", L, TEXT, "general.architecture", .text = "gemma2", .want = "architecture \"gemma2\" is not supported; supported are llama, qwen2" },
    { "prefix of a name", L, TEXT, "general.architecture", .text = "llam", .want = "architecture \"llam\" is not supported" },
    { "qwen3moe", L, TEXT, "general.architecture", .text = "qwen3moe", .want = "architecture \"qwen3moe\" is not supported (mixture of experts)" },
    { "architecture escapes", L, TEXT, "general.architecture", .text = "\033\"x", .want = "architecture \"\\x1b\"x\"" },
    { "other architecture's keys", L, TEXT, "general.architecture", .text = "qwen2", .want = "key qwen2.block_count is missing" },
    { "experts", L, U32, "llama.expert_count", 8, .want = "key llama.expert_count is 8: mixture of experts is not supported" },
    { "no layers", L, U32, "llama.block_count", 0, .want = "key llama.block_count is 0, expected 1..1024" },
    { "too many layers", L, U32, "llama.block_count", 1025, .want = "llama.block_count is 1025, expected 1..1024" },
    { "layers negative", L, I32, "llama.block_count", -1, .want = "key llama.block_count is -1, expected 0 or more" },
    { "layers 2^32 + 1", L, U64, "llama.block_count", (INT64_C(1) << 32) + 1, .want = "llama.block_count is 4294967297" },
    { "layers text", L, TEXT, "llama.block_count", .text = "1", .want = "key llama.block_count has type string, expected an integer" },
    { "layers array", L, ARRAY, "llama.block_count", LV_GGUF_U32, 0, .want = "has type array of u32, expected an integer" },
    { "layers missing", L, DROP_KEY, "llama.block_count", .want = "key llama.block_count is missing" },
    { "embedding missing", L, DROP_KEY, "llama.embedding_length", .want = "key llama.embedding_length is missing" },
    { "embedding 0", L, U32, "llama.embedding_length", 0, .want = "llama.embedding_length is 0, expected 32..131072" },
    { "embedding 65", L, U32, "llama.embedding_length", 65, .want = "llama.embedding_length is 65, expected a multiple of 32" },
    { "embedding other", L, U32, "llama.embedding_length", 128, .want = "tensor token_embd.weight is [64, 8, 1, 1], expected [128, 8]" },
    { "feed-forward missing", L, DROP_KEY, "llama.feed_forward_length", .want = "key llama.feed_forward_length is missing" },
    { "feed-forward 100", L, U32, "llama.feed_forward_length", 100, .want = "feed_forward_length is 100, expected a multiple of 32" },
    { "context 0", L, U32, "llama.context_length", 0, .want = "llama.context_length is 0, expected 1.." },
    { "context missing", L, DROP_KEY, "llama.context_length", .want = "key llama.context_length is missing" },
    { "heads 0", L, U32, "llama.attention.head_count", 0, .want = "llama.attention.head_count is 0, expected 1..1024" },
    { "heads missing", L, DROP_KEY, "llama.attention.head_count", .want = "key llama.attention.head_count is missing" },
    { "heads 3", L, U32, "llama.attention.head_count", 3, .want = "head_count is 3, expected a multiple of attention.head_count_kv, 2" },
    { "heads 6", L, U32, "llama.attention.head_count", 6, .want = "6 heads over an embedding of 64, expected an even head length" },
    { "heads 64", L, U32, "llama.attention.head_count", 64, .want = "64 heads over an embedding of 64" },
    { "key heads 0", L, U32, "llama.attention.head_count_kv", 0, .want = "head_count_kv is 0, expected 1..1024" },
    { "key heads 4", L, U32, "llama.attention.head_count_kv", 4, .want = "1 query heads of length 16 share a key head, expected a product that is a multiple of 32" },
    { "key length 514", L, U32, "llama.attention.key_length", 514, .want = "key_length is 514, expected 2..512" },
    { "key length odd", L, U32, "llama.attention.key_length", 15, .want = "key_length is 15, expected a multiple of 2" },
    { "value length", L, U32, "llama.attention.value_length", 32, .want = "value_length is 32, expected the length of keys, 16" },
    { "rotation 18", L, U32, "llama.rope.dimension_count", 18, .want = "rope.dimension_count is 18, expected at most the head length 16" },
    { "rotation odd", L, U32, "llama.rope.dimension_count", 7, .want = "rope.dimension_count is 7, expected a multiple of 2" },
    { "epsilon 0", L, F32, "llama.attention.layer_norm_rms_epsilon", .f = 0, .want = "layer_norm_rms_epsilon is 0, expected 1e-12..0.1" },
    { "epsilon NaN", L, F32, "llama.attention.layer_norm_rms_epsilon", .f = __builtin_nan(""), .want = "layer_norm_rms_epsilon is nan" },
    { "epsilon missing", L, DROP_KEY, "llama.attention.layer_norm_rms_epsilon", .want = "layer_norm_rms_epsilon is missing" },
    { "epsilon text", L, TEXT, "llama.attention.layer_norm_rms_epsilon", .text = "0", .want = "has type string, expected a number" },
    { "rope base 0", L, F32, "llama.rope.freq_base", .f = 0, .want = "rope.freq_base is 0, expected 1..1e+12" },
    { "rope base infinite", L, F32, "llama.rope.freq_base", .f = __builtin_inf(), .want = "rope.freq_base is inf" },
    { "yarn", L, TEXT, "llama.rope.scaling.type", .text = "yarn", .want = "key llama.rope.scaling.type is \"yarn\": this kind of rope scaling is not supported" },
    { "longrope", L, TEXT, "llama.rope.scaling.type", .text = "longrope", .want = "\"longrope\"" },
    { "su", L, TEXT, "llama.rope.scaling.type", .text = "su", .want = "\"su\"" },
    { "scaling negative", L, F32, "llama.rope.scaling.factor", .f = -2, .want = "rope.scaling.factor is -2, expected 0..65536" },
    { "scaling tiny", L, F32, "llama.rope.scaling.factor", .f = 1e-30, .want = "rope scaling factor of llama is 1e-30" },
    { "scaling of attention", L, F32, "llama.rope.scaling.attn_factor", .f = 1.2, .want = "rope.scaling.attn_factor is 1.2" },
    { "softcapping", G3, F32, "gemma3.attn_logit_softcapping", .f = 50, .want = "attn_logit_softcapping is 50: softcapping of attention scores" },
    { "final softcapping", G3, F32, "gemma3.final_logit_softcapping", .f = 30, .want = "softcapping of logits" },
    { "logit scale NaN", L, F32, "llama.logit_scale", .f = __builtin_nan(""), .want = "a scale of logits" },
    { "not causal", Q2, BOOL, "qwen2.attention.causal", 0, .want = "attention to later tokens is not supported" },
    { "qwen window", Q2, U32, "qwen2.attention.sliding_window", 64, .want = "sliding_window is 64: a sliding window is not supported" },
    { "gemma pattern 0", G3, U32, "gemma3.attention.sliding_window_pattern", 0, .want = "sliding_window_pattern is 0, expected 1..1024" },
    { "tokens are numbers", L, ARRAY, "tokenizer.ggml.tokens", LV_GGUF_U32, 0, .want = "tokenizer.ggml.tokens is an array of other values, expected strings" },
    { "tokens are text", L, TEXT, "tokenizer.ggml.tokens", .text = "a", .want = "key tokenizer.ggml.tokens has type string, expected an array" },
    { "fewer rows than tokens", L, DIM1, "token_embd.weight", 7, .want = "token_embd.weight has 7 rows, expected at least one for each of the 8 tokens" },

    /* ---- schema: tensors ---- */
    { "no embedding", L, DROP, "token_embd.weight", .want = "tensor token_embd.weight is missing" },
    { "no output norm", L, DROP, "output_norm.weight", .want = "tensor output_norm.weight is missing" },
    { "no q", L, DROP, "blk.0.attn_q.weight", .want = "tensor blk.0.attn_q.weight is missing" },
    { "second layer missing", L, U32, "llama.block_count", 2, .want = "tensor blk.1.attn_norm.weight is missing" },
    { "q wrong", L, DIM1, "blk.0.attn_q.weight", 32, .want = "tensor blk.0.attn_q.weight is [64, 32, 1, 1], expected [64, 64]" },
    { "q in three dimensions", L, DIM2, "blk.0.attn_q.weight", 2, .want = "is [64, 64, 2, 1], expected [64, 64]" },
    { "norm in two dimensions", L, DIM1, "output_norm.weight", 2, .want = "is [64, 2, 1, 1], expected [64, 1]" },
    { "norm in F16", L, TYPE, "output_norm.weight", LV_TYPE_F16, .want = "tensor output_norm.weight has type F16, expected F32" },
    { "bias in F16", Q2, TYPE, "blk.0.attn_q.bias", LV_TYPE_F16, .want = "tensor blk.0.attn_q.bias has type F16, expected F32" },
    { "qwen2 without bias", Q2, DROP, "blk.0.attn_v.bias", .want = "tensor blk.0.attn_v.bias is missing" },
    { "qwen3 with bias", Q3, ADD, "blk.0.attn_v.bias", LV_TYPE_F32, 32, .want = "tensor blk.0.attn_v.bias is unknown for architecture qwen3" },
    { "qwen3 without q norm", Q3, DROP, "blk.0.attn_q_norm.weight", .want = "tensor blk.0.attn_q_norm.weight is missing" },
    { "gemma3 without post norm", G3, DROP, "blk.0.post_ffw_norm.weight", .want = "tensor blk.0.post_ffw_norm.weight is missing" },
    { "llama with q norm", L, ADD, "blk.0.attn_q_norm.weight", LV_TYPE_F32, 16, .want = "attn_q_norm.weight is unknown for architecture llama" },
    { "output bias", L, ADD, "blk.0.attn_output.bias", LV_TYPE_F32, 64, .want = "tensor blk.0.attn_output.bias: this bias is not supported" },
    { "ffn bias", L, ADD, "blk.0.ffn_up.bias", LV_TYPE_F32, 96, .want = "tensor blk.0.ffn_up.bias: this part of the feed-forward block is not supported" },
    { "expert tensors", L, ADD, "blk.0.ffn_gate_exps.weight", LV_TYPE_F32, 96, .want = "tensor blk.0.ffn_gate_exps.weight: mixture of experts is not supported" },
    { "longrope factors", L, ADD, "rope_factors_long.weight", LV_TYPE_F32, 8, .want = "longrope scaling is not supported" },
    { "rope factors wrong", L, ADD, "rope_freqs.weight", LV_TYPE_F32, 16, .want = "tensor rope_freqs.weight is [16, 1, 1, 1], expected [8, 1]" },
    { "rope factors of qwen", Q2, ADD, "rope_freqs.weight", LV_TYPE_F32, 8, .want = "rope_freqs.weight is unknown for architecture qwen2" },
    { "unknown tensor", L, ADD, "mystery", LV_TYPE_F32, 8, .want = "tensor mystery is unknown for architecture llama" },
    { "layer behind the last", L, ADD, "blk.1.attn_norm.weight", LV_TYPE_F32, 64, .want = "tensor blk.1.attn_norm.weight belongs to layer 1, but llama.block_count is 1" },
    { "layer 00", L, RENAME, "blk.0.attn_q.weight", .text = "blk.00.attn_q.weight", .want = "tensor blk.00.attn_q.weight is unknown" },
    { "layer 2^32", L, RENAME, "blk.0.attn_q.weight", .text = "blk.4294967296.attn_q.weight", .want = "blk.4294967296.attn_q.weight is unknown" },
    { "layer without a number", L, RENAME, "blk.0.attn_q.weight", .text = "blk..attn_q.weight", .want = "tensor blk..attn_q.weight is unknown" },
    { "only blk", L, RENAME, "blk.0.attn_q.weight", .text = "blk.", .want = "tensor blk. is unknown" },
    { "output wrong", L, ADD, "output.weight", LV_TYPE_F32, 64, .want = "tensor output.weight is [64, 1, 1, 1], expected [64, 8]" },
};
/* clang-format on */
const unsigned n_bad_files = sizeof bad_files / sizeof bad_files[0];

static char *copy(const char *s)
{
    char *d = malloc(strlen(s) + 1);

    return d ? strcpy(d, s) : NULL;
}

static struct gb_key *find_key(struct gb_model *m, const char *name)
{
    for (size_t i = 0; i < m->n_key; i++)
        if (strcmp(m->key[i].name, name) == 0)
            return &m->key[i];
    abort(); /* the table names a key that the model lacks */
}

static void rename_it(char **name, const char *to)
{
    free(*name);
    *name = copy(to);
}

static void change_key(struct gb_model *m, const struct bad_file *b)
{
    const uint64_t u = (uint64_t)b->num;
    const uint8_t byte = (uint8_t)b->num;

    switch (b->change) {
    case U32:
        gb_u32(m, b->at, (uint32_t)u);
        break;
    case I32:
        gb_value(m, b->at, LV_GGUF_I32, &u, 4); /* little-endian: the low half */
        break;
    case U64:
        gb_value(m, b->at, LV_GGUF_U64, &u, 8);
        break;
    case F32:
        gb_f32(m, b->at, (float)b->f);
        break;
    case TEXT:
        gb_str(m, b->at, b->text);
        break;
    case BOOL:
        gb_value(m, b->at, LV_GGUF_BOOL, &byte, 1);
        break;
    case KIND:
        find_key(m, b->at)->kind = (uint32_t)u;
        break;
    case ARRAY:
        gb_array(m, b->at, (uint32_t)u, (uint64_t)b->num2, NULL, 0);
        break;
    case STRING_LENGTH:
        memcpy(find_key(m, b->at)->value.data, &u, 8);
        break;
    case DROP_KEY:
        gb_drop_key(m, b->at);
        break;
    case AGAIN:
        gb_append_key(m, b->at, LV_GGUF_U8, "\1", 1);
        break;
    case RENAME_KEY:
        rename_it(&find_key(m, b->at)->name, b->text);
        break;
    default:
        break;
    }
}

static void change_tensor(struct gb_model *m, const struct bad_file *b)
{
    const uint64_t u = (uint64_t)b->num;
    struct gb_tensor *t = NULL;

    if (b->change == ADD) {
        gb_tensor(m, b->at, (uint32_t)u, (uint64_t)b->num2, 0);
        return;
    }
    if (b->change == DROP) {
        gb_drop_tensor(m, b->at);
        return;
    }
    if (b->change < TYPE)
        return;
    t = gb_find(m, b->at);
    switch (b->change) {
    case TYPE:
        t->type = (uint32_t)u;
        break;
    case DIM0:
        t->dim[0] = u;
        break;
    case DIM1:
        t->dim[1] = u;
        t->n_dim = 2;
        break;
    case DIM2:
        t->dim[2] = u;
        t->n_dim = 3;
        break;
    case N_DIM:
        t->n_dim = u > 5 ? 5 : (uint32_t)u; /* the entry's length; the number itself is patched below */
        break;
    case OFFSET:
        t->off = u;
        break;
    case RENAME:
        rename_it(&t->name, b->text);
        break;
    case TWICE:
        gb_tensor(m, b->at, t->type, t->dim[0], t->dim[1]);
        break;
    default:
        break;
    }
}

/* Overwrites the dimension count behind the tensor's name. */
static void patch_n_dim(struct gb_bytes *bytes, const struct bad_file *b)
{
    const size_t n = strlen(b->at);

    for (size_t i = 0; i + n + 4 <= bytes->n; i++) {
        if (memcmp(bytes->data + i, b->at, n) == 0) {
            const uint32_t v = (uint32_t)b->num;

            memcpy(bytes->data + i + n, &v, 4);
            return;
        }
    }
    abort();
}

struct gb_bytes bad_file_make(const struct bad_file *b)
{
    struct gb_model m;
    struct gb_bytes bytes;

    gb_family(&m, b->arch, 1);
    change_key(&m, b);
    change_tensor(&m, b);
    if (b->change == MAGIC)
        m.magic = (uint32_t)b->num;
    if (b->change == VERSION)
        m.version = (uint32_t)b->num;
    if (b->change == N_TENSORS)
        m.n_tensor_claimed = (uint64_t)b->num;
    if (b->change == N_KEYS)
        m.n_key_claimed = (uint64_t)b->num;
    bytes = gb_make(&m);
    if (b->change == CUT)
        bytes.n = b->num < 0 ? bytes.n - (size_t)-b->num : (size_t)b->num;
    if (b->change == N_DIM)
        patch_n_dim(&bytes, b);
    gb_free(&m);
    return bytes;
}
