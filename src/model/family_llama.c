/* llama: pre-norm blocks, SwiGLU, rope over neighbouring pairs. Also Mistral and SmolLM2,
 * and Llama 3, whose frequency divisors the file gives as a tensor. */
#include "model/program.h"

void lv_emit_llama(struct lv_builder *b)
{
    struct lv_program *p = b->p;

    p->rope_neox = false;
    p->rope[0].v_freq = lv_build_global_vector(b, "rope_freqs.weight", true);
    for (b->layer = 0; b->layer < p->shape.n_layer && b->st >= 0; b->layer++) {
        p->window[b->layer] = p->shape.n_window; /* Mistral 7B v0.1: every layer */
        lv_build_norm(b, LV_NONE, "attn_norm");
        lv_build_qkv(b, false, 0);
        lv_build_attn(b);
        lv_build_out(b, "attn_output", LV_ACT_ATTN, false);
        lv_build_norm(b, LV_NONE, "ffn_norm");
        lv_build_glu(b, LV_GLU_SILU);
        lv_build_out(b, "ffn_down", LV_ACT_FF, false);
    }
}
