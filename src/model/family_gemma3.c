/* gemma3: a norm before and after each half of a block, GeGLU, q and k norms, embeddings
 * scaled by sqrt(width); five sliding-window layers to one that sees everything. Sliding
 * layers rotate with their own base and without position scaling. */
#include <math.h>

#include "model/program.h"

void lv_emit_gemma3(struct lv_builder *b)
{
    struct lv_program *p = b->p;
    const struct lv_shape *s = &p->shape;

    p->rope_neox = true;
    p->embd_scale = sqrtf((float)s->n_embd);
    if (s->n_layer == 62) /* the 27B alone scales by its width, and no key says so */
        p->attn_scale = 1.0f / sqrtf((float)s->n_embd / (float)s->n_head);
    p->rope[1] = (struct lv_rope){ .base = s->rope_base_local, .factor = 1.0, .v_freq = LV_NONE };
    p->n_rope = 2;
    uint32_t v_ffw = LV_NONE; /* the post norm of a feed-forward half is fused into the norm op that follows */

    for (b->layer = 0; b->layer < s->n_layer && b->st >= 0; b->layer++) {
        const bool sliding = s->n_window && s->window_pattern && b->layer % s->window_pattern != s->window_pattern - 1;

        p->window[b->layer] = sliding ? s->n_window : 0;
        lv_build_norm(b, v_ffw, "attn_norm");
        lv_build_qkv(b, true, sliding ? 1 : 0);
        lv_build_attn(b);
        lv_build_out(b, "attn_output", LV_ACT_ATTN, true);
        lv_build_norm(b, lv_build_vector(b, "post_attention_norm", "weight", false), "ffn_norm");
        lv_build_glu(b, LV_GLU_GELU);
        lv_build_out(b, "ffn_down", LV_ACT_FF, true);
        v_ffw = lv_build_vector(b, "post_ffw_norm", "weight", false);
    }
    lv_build_norm(b, v_ffw, NULL);
}
