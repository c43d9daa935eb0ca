/* The presets: one for each family and option that changes the forward pass, in float types so that
 * the tolerance can be tight; then one for each quantized type, spread over the families. Seeds are picked for
 * varied greedy text of 32 tokens without near ties; type-q4_k ends early, at an end token. */
#include <string.h>

#include "ref/tiny.h"

struct preset {
    const char *name;
    struct tiny_spec spec;
};

/* Sizes that let rows be whole blocks of 256: embedding, heads and feed-forward of 256 columns. */
#define WIDE .n_embd = 256, .n_ff = 256, .n_head = 4, .n_head_kv = 2

static const struct preset preset_list[] = {
    { "qwen3-tied",
      { .arch = LV_ARCH_QWEN3, .n_layer = 4, .n_head_kv = 2, .head_dim = 32, .tied = true, .rope_base = 1e6f,
        .chat_template = tiny_chatml, .seed = 1 } },
    { "qwen3-untied",
      { .arch = LV_ARCH_QWEN3, .n_layer = 3, .n_embd = 96, .n_head_kv = 1, .head_dim = 16, .rope_base = 1e6f,
        .type = TINY_ALL(LV_TYPE_F16), .seed = 2 } },
    { "llama3",
      { .arch = LV_ARCH_LLAMA, .n_layer = 4, .n_head = 2, .n_head_kv = 1, .tied = true, .rope_base = 500000.0f,
        .rope_factors = true, .add_bos = true, .eps = 1e-5f, .seed = 3 } },
    { "llama-untied",
      { .arch = LV_ARCH_LLAMA, .n_layer = 3, .n_embd = 96, .n_ff = 160, .n_head = 3, .type = TINY_ALL(LV_TYPE_BF16),
        .eps = 1e-5f, .seed = 66 } },
    { "llama-linear",
      { .arch = LV_ARCH_LLAMA, .n_layer = 3, .n_head_kv = 2, .rope_factor = 4.0f, .seed = 5 } },
    { "qwen2-bias",
      { .arch = LV_ARCH_QWEN2, .n_layer = 4, .n_head_kv = 2, .tied = true, .rope_base = 1e6f,
        .chat_template = tiny_chatml, .seed = 51 } },
    { "gemma3-window",
      { .arch = LV_ARCH_GEMMA3, .n_layer = 8, .n_head_kv = 1, .head_dim = 32, .n_window = 16, .rope_base = 1e6f,
        .rope_factor = 8.0f, .type = TINY_ALL(LV_TYPE_F16), .add_bos = true, .seed = 48 } },
    { "type-q4_0",
      { .arch = LV_ARCH_LLAMA, .n_head_kv = 2, .type = TINY_ALL(LV_TYPE_Q4_0), .seed = 8 } },
    { "type-q4_1",
      { .arch = LV_ARCH_LLAMA, .n_head_kv = 2, .tied = true, .type = TINY_ALL(LV_TYPE_Q4_1), .seed = 68 } },
    { "type-q5_0",
      { .arch = LV_ARCH_QWEN2, .n_head_kv = 2, .tied = true, .type = TINY_ALL(LV_TYPE_Q5_0), .seed = 43 } },
    { "type-q5_1",
      { .arch = LV_ARCH_QWEN3, .n_head_kv = 2, .type = TINY_ALL(LV_TYPE_Q5_1), .seed = 57 } },
    { "type-q8_0",
      { .arch = LV_ARCH_GEMMA3, .n_layer = 7, .n_head_kv = 2, .head_dim = 32, .type = TINY_ALL(LV_TYPE_Q8_0),
        .seed = 61 } },
    { "type-q4_k", { .arch = LV_ARCH_QWEN2, WIDE, .type = TINY_ALL(LV_TYPE_Q4_K), .seed = 13 } },
    { "type-q5_k", { .arch = LV_ARCH_LLAMA, WIDE, .tied = true, .type = TINY_ALL(LV_TYPE_Q5_K), .seed = 14 } },
    { "type-q6_k", { .arch = LV_ARCH_QWEN3, WIDE, .tied = true, .type = TINY_ALL(LV_TYPE_Q6_K), .seed = 15 } },
    /* As llama-quantize mixes them: Q4_K_M, and what it falls back to for rows that are no multiple of 256. */
    { "mix-q4_k_m",
      { .arch = LV_ARCH_LLAMA, WIDE, .n_layer = 3,
        .type = { LV_TYPE_Q4_K, LV_TYPE_Q6_K, LV_TYPE_Q4_K, LV_TYPE_Q4_K, LV_TYPE_Q6_K, LV_TYPE_Q4_K, LV_TYPE_Q4_K,
                  LV_TYPE_Q4_K, LV_TYPE_Q6_K },
        .seed = 39 } },
    { "mix-fallback",
      { .arch = LV_ARCH_QWEN2, .n_layer = 3, .n_embd = 96, .n_ff = 256, .n_head = 3, .n_head_kv = 1, .tied = true,
        .type = { LV_TYPE_Q8_0, LV_TYPE_Q8_0, LV_TYPE_Q5_0, LV_TYPE_Q5_0, LV_TYPE_Q8_0, LV_TYPE_Q5_0, LV_TYPE_Q5_0,
                  LV_TYPE_Q5_0, LV_TYPE_Q6_K },
        .seed = 44 } },
};

const char *tiny_preset_name(unsigned i)
{
    return i < sizeof preset_list / sizeof preset_list[0] ? preset_list[i].name : NULL;
}

const struct tiny_spec *tiny_preset(const char *name)
{
    for (size_t i = 0; i < sizeof preset_list / sizeof preset_list[0]; i++)
        if (strcmp(preset_list[i].name, name) == 0)
            return &preset_list[i].spec;
    return NULL;
}
