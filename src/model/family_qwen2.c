/* qwen2: llama's block with q, k and v biases and rope over halves of a head. */
#include "model/program.h"

void lv_emit_qwen2(struct lv_builder *b)
{
    struct lv_program *p = b->p;

    p->rope_neox = true;
    for (b->layer = 0; b->layer < p->shape.n_layer && b->st >= 0; b->layer++) {
        lv_build_norm(b, LV_NONE, "attn_norm");
        lv_build_qkv(b, false, 0); /* biases are taken where the file has them */
        lv_build_attn(b);
        lv_build_out(b, "attn_output", LV_ACT_ATTN, false);
        lv_build_norm(b, LV_NONE, "ffn_norm");
        lv_build_glu(b, LV_GLU_SILU);
        lv_build_out(b, "ffn_down", LV_ACT_FF, false);
    }
}
