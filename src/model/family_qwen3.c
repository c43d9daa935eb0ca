/* qwen3: qwen2 without biases, with a norm on every q and k head before the rotation. */
#include "model/program.h"

void lv_emit_qwen3(struct lv_builder *b)
{
    struct lv_program *p = b->p;

    p->rope_neox = true;
    for (b->layer = 0; b->layer < p->shape.n_layer && b->st >= 0; b->layer++) {
        lv_build_norm(b, LV_NONE, "attn_norm");
        lv_build_qkv(b, true, 0);
        lv_build_attn(b);
        lv_build_out(b, "attn_output", LV_ACT_ATTN, false);
        lv_build_norm(b, LV_NONE, "ffn_norm");
        lv_build_glu(b, LV_GLU_SILU);
        lv_build_out(b, "ffn_down", LV_ACT_FF, false);
    }
}
