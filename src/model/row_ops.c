/* Ops that treat each row by itself. */
#include <math.h>

#include "model/exec.h"

void lv_rope_angles(const struct lv_program *p, uint32_t i_rope, uint32_t pos, float *cs)
{
    const struct lv_rope *r = &p->rope[i_rope];
    const uint32_t half = p->shape.n_rot / 2;
    const float *div = r->v_freq == LV_NONE ? NULL : p->v[r->v_freq].data;

    for (uint32_t i = 0; i < half; i++) {
        const double freq = pow(r->base, -2.0 * i / p->shape.n_rot) / (div ? (double)div[i] : 1.0);
        const double angle = (double)pos / r->factor * freq;

        cs[i] = (float)cos(angle);
        cs[half + i] = (float)sin(angle);
    }
}

void lv_row_norm(struct lv_exec *x, const struct lv_op *op, uint32_t row)
{
    const struct lv_program *p = x->p;
    const uint32_t n = p->shape.n_embd;
    float *h = lv_exec_row(x, LV_BUF_X, row);

    if (op->norm.v_post != LV_NONE) {
        float *t = lv_exec_row(x, LV_BUF_T, row);

        x->k->rms_norm(t, t, p->v[op->norm.v_post].data, p->shape.eps, n);
        x->k->add(h, h, t, n);
    }
    if (op->norm.v_pre != LV_NONE) {
        x->k->rms_norm(x->norm + (size_t)row * n, h, p->v[op->norm.v_pre].data, p->shape.eps, n);
        x->k->quantize(&x->act[LV_ACT_NORM], row, 1, 0, n);
    }
}

void lv_row_qkv(struct lv_exec *x, struct lv_kv *kv, const struct lv_pass *pass, const struct lv_op *op, uint32_t row)
{
    const struct lv_program *p = x->p;
    const struct lv_shape *s = &p->shape;
    const struct lv_kv_layer *l = &kv->layer[op->layer];
    const float *cs = x->rope_cs[op->qkv.rope] + (size_t)row * s->n_rot;
    const uint32_t dim = s->head_dim, slot = (uint32_t)pass->slot[row];
    uint16_t half[512]; /* head_dim <= 512: gguf/schema.c */

    for (uint32_t h = 0; h < s->n_head; h++) {
        float *q = lv_exec_row(x, LV_BUF_Q, row) + (size_t)h * dim;

        if (op->qkv.v_qnorm != LV_NONE)
            x->k->rms_norm(q, q, p->v[op->qkv.v_qnorm].data, s->eps, dim);
        x->k->rope(q, cs, s->n_rot, p->rope_neox);
    }
    for (uint32_t h = 0; h < s->n_head_kv; h++) {
        float *k = lv_exec_row(x, LV_BUF_K, row) + (size_t)h * dim;
        const float *v = lv_exec_row(x, LV_BUF_V, row) + (size_t)h * dim;
        uint16_t *tk = lv_kv_tree_k(kv, l, h) + (size_t)(slot / 16 * 16) * dim + slot % 16;

        if (op->qkv.v_knorm != LV_NONE)
            x->k->rms_norm(k, k, p->v[op->qkv.v_knorm].data, s->eps, dim);
        x->k->rope(k, cs, s->n_rot, p->rope_neox);
        x->k->f16_from_f32(half, k, dim);
        for (uint32_t d = 0; d < dim; d++)
            tk[(size_t)d * 16] = half[d];
        x->k->f16_from_f32(lv_kv_tree_v(kv, l, h) + (size_t)slot * dim, v, dim);
    }
}

void lv_row_glu(struct lv_exec *x, const struct lv_op *op, uint32_t row, uint32_t c0, uint32_t n_c)
{
    float *g = lv_exec_row(x, LV_BUF_G, row) + c0;

    x->k->glu(g, g, lv_exec_row(x, LV_BUF_U, row) + c0, n_c, op->glu.kind);
    x->k->quantize(&x->act[LV_ACT_FF], row, 1, c0, n_c);
}
