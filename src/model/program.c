#include "model/program.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "model/exec.h"

static void (*const emitters[LV_ARCH_COUNT])(struct lv_builder *b) = {
    [LV_ARCH_LLAMA] = lv_emit_llama,
    [LV_ARCH_QWEN2] = lv_emit_qwen2,
    [LV_ARCH_QWEN3] = lv_emit_qwen3,
    [LV_ARCH_GEMMA3] = lv_emit_gemma3,
};

/* Makes room for one more element; false (and the builder's error set) when memory is refused. */
static bool grow(struct lv_builder *b, void **array, uint32_t n, uint32_t *cap, size_t size)
{
    if (b->st < 0)
        return false;
    if (n < *cap)
        return true;
    const uint32_t c = *cap ? *cap * 2 : 64;
    void *p = lv_realloc(*array, c, size);

    if (!p) {
        b->st = LV_FAIL(b->err, LEVER_E_NOMEM, "program: %zu bytes", c * size);
        return false;
    }
    *array = p;
    *cap = c;
    return true;
}

void lv_build_op(struct lv_builder *b, const struct lv_op *op)
{
    struct lv_program *p = b->p;

    if (!grow(b, (void **)&p->op, p->n_op, &p->cap_op, sizeof *p->op))
        return;
    p->op[p->n_op] = *op;
    p->op[p->n_op].layer = b->layer;
    p->n_op++;
}

static uint32_t add_weight(struct lv_builder *b, const struct lv_tensor *t, bool must_pin)
{
    struct lv_program *p = b->p;

    if (!grow(b, (void **)&p->w, p->n_w, &p->cap_w, sizeof *p->w))
        return LV_NONE;
    const uint32_t n_cols = (uint32_t)t->dim[0], n_rows = (uint32_t)t->dim[1];

    p->w[p->n_w] = (struct lv_weight){
        .tensor = t,
        .type = t->type,
        .file_type = t->type,
        .n_rows = n_rows,
        .n_cols = n_cols,
        .n_groups = (n_rows + LV_GROUP_ROWS - 1) / LV_GROUP_ROWS,
        .row_bytes = lv_row_bytes(t->type, n_cols),
        .group_bytes = lv_group_bytes(t->type, n_cols),
        .file_group_bytes = lv_group_bytes(t->type, n_cols),
        .i_file = t->i_file,
        .off = t->off,
        .bytes = t->bytes,
        .must_pin = must_pin,
    };
    return p->n_w++;
}

static uint32_t add_vector(struct lv_builder *b, const char *name, bool optional)
{
    struct lv_program *p = b->p;
    const struct lv_tensor *t = b->st < 0 ? NULL : lv_gguf_find_tensor(b->g, name);

    if (!t) {
        if (!optional && b->st >= 0)
            b->st = LV_FAIL(b->err, LEVER_E_MODEL, "%s: tensor %s is missing", lv_gguf_path(b->g, 0), name);
        return LV_NONE;
    }
    if (!grow(b, (void **)&p->v, p->n_v, &p->cap_v, sizeof *p->v))
        return LV_NONE;
    p->v[p->n_v] = (struct lv_vector){ .tensor = t, .n = (uint32_t)t->dim[0] };
    return p->n_v++;
}

uint32_t lv_build_weight(struct lv_builder *b, const char *name, bool must_pin)
{
    char full[96];

    snprintf(full, sizeof full, "blk.%u.%s.weight", b->layer, name);
    const struct lv_tensor *t = lv_gguf_find_tensor(b->g, full);

    if (!t) {
        if (b->st >= 0)
            b->st = LV_FAIL(b->err, LEVER_E_MODEL, "%s: tensor %s is missing", lv_gguf_path(b->g, 0), full);
        return LV_NONE;
    }
    return add_weight(b, t, must_pin);
}

uint32_t lv_build_vector(struct lv_builder *b, const char *name, const char *suffix, bool optional)
{
    char full[96];

    snprintf(full, sizeof full, "blk.%u.%s.%s", b->layer, name, suffix);
    return add_vector(b, full, optional);
}

uint32_t lv_build_global_vector(struct lv_builder *b, const char *name, bool optional)
{
    return add_vector(b, name, optional);
}

void lv_build_norm(struct lv_builder *b, uint32_t v_post, const char *pre)
{
    struct lv_op op = { .kind = LV_OP_NORM, .norm = { .v_post = v_post, .v_pre = LV_NONE } };

    if (pre)
        op.norm.v_pre = lv_build_vector(b, pre, "weight", false);
    lv_build_op(b, &op);
}

void lv_build_qkv(struct lv_builder *b, bool qk_norm, uint32_t rope)
{
    struct lv_op mm = { .kind = LV_OP_MATMUL, .mm = { .src = LV_ACT_NORM, .n_w = 3 } };
    static const char *const name[3] = { "attn_q", "attn_k", "attn_v" };
    static const enum lv_buf dst[3] = { LV_BUF_Q, LV_BUF_K, LV_BUF_V };

    for (int i = 0; i < 3; i++) {
        mm.mm.w[i] = lv_build_weight(b, name[i], i > 0);
        mm.mm.dst[i] = dst[i];
        mm.mm.v_bias[i] = lv_build_vector(b, name[i], "bias", true);
    }
    lv_build_op(b, &mm);

    struct lv_op op = { .kind = LV_OP_QKV, .qkv = { .v_qnorm = LV_NONE, .v_knorm = LV_NONE, .rope = rope } };

    if (qk_norm) {
        op.qkv.v_qnorm = lv_build_vector(b, "attn_q_norm", "weight", false);
        op.qkv.v_knorm = lv_build_vector(b, "attn_k_norm", "weight", false);
    }
    lv_build_op(b, &op);
}

void lv_build_attn(struct lv_builder *b)
{
    lv_build_op(b, &(struct lv_op){ .kind = LV_OP_ATTN });
}

void lv_build_out(struct lv_builder *b, const char *name, enum lv_acts src, bool post_norm)
{
    struct lv_op mm = { .kind = LV_OP_MATMUL, .mm = { .src = src, .n_w = 1, .add = !post_norm } };

    mm.mm.w[0] = lv_build_weight(b, name, false);
    mm.mm.dst[0] = post_norm ? LV_BUF_T : LV_BUF_X;
    mm.mm.v_bias[0] = LV_NONE;
    lv_build_op(b, &mm);
}

void lv_build_glu(struct lv_builder *b, enum lv_glu kind)
{
    struct lv_op mm = { .kind = LV_OP_MATMUL,
                        .mm = { .src = LV_ACT_NORM,
                                .n_w = 2,
                                .dst = { LV_BUF_G, LV_BUF_U },
                                .v_bias = { LV_NONE, LV_NONE } } };

    mm.mm.w[0] = lv_build_weight(b, "ffn_gate", false);
    mm.mm.w[1] = lv_build_weight(b, "ffn_up", false);
    lv_build_op(b, &mm);
    lv_build_op(b, &(struct lv_op){ .kind = LV_OP_GLU, .glu = { .kind = kind } });
}

/* Embedding, final norm and head: the same in every family. */
static void build_ends(struct lv_builder *b)
{
    struct lv_program *p = b->p;
    const struct lv_tensor *head = lv_gguf_find_tensor(b->g, "output.weight");

    p->embd = lv_gguf_find_tensor(b->g, "token_embd.weight");
    if (!p->embd) {
        b->st = LV_FAIL(b->err, LEVER_E_MODEL, "%s: tensor token_embd.weight is missing", lv_gguf_path(b->g, 0));
        return;
    }
    p->v_out_norm = lv_build_global_vector(b, "output_norm.weight", false);
    p->w_head = add_weight(b, head ? head : p->embd, true);
    p->head = (struct lv_op){ .kind = LV_OP_MATMUL,
                              .mm = { .src = LV_ACT_NORM,
                                      .n_w = 1,
                                      .w = { p->w_head },
                                      .dst = { LV_BUF_LOGITS },
                                      .v_bias = { LV_NONE } } };
}

enum lever_status lv_program_new(struct lv_program **out, const struct lv_gguf *g, struct lever_error *err)
{
    struct lv_program *p = LV_NEW(struct lv_program);
    struct lv_builder b = { .p = p, .g = g, .err = err };

    if (!p)
        return LV_FAIL(err, LEVER_E_NOMEM, "program: %zu bytes", sizeof *p);
    b.st = lv_shape_read(&p->shape, g, err);
    if (b.st >= 0) {
        p->attn_scale = (float)(1.0 / sqrt((double)p->shape.head_dim));
        p->embd_scale = 1.0f;
        p->rope[0] = (struct lv_rope){ .base = p->shape.rope_base, .factor = p->shape.rope_factor, .v_freq = LV_NONE };
        p->n_rope = 1;
        p->window = LV_NEW_ARRAY(uint32_t, p->shape.n_layer);
        if (!p->window)
            b.st = LV_FAIL(err, LEVER_E_NOMEM, "program: windows of %u layers", p->shape.n_layer);
    }
    if (b.st >= 0)
        emitters[p->shape.arch](&b);
    if (b.st >= 0)
        build_ends(&b);
    if (b.st < 0) {
        lv_program_free(p);
        return b.st;
    }
    *out = p;
    return LEVER_OK;
}

void lv_program_free(struct lv_program *p)
{
    if (!p)
        return;
    for (uint32_t i = 0; i < p->n_w; i++)
        lv_free(p->w[i].seg);
    lv_free(p->part);
    lv_free(p->w);
    lv_free(p->v);
    lv_free(p->op);
    lv_free(p->window);
    lv_free(p);
}

/* Lists the op's segments, streamed ones first: a ring slot is waiting to be free. */
static void list_parts(struct lv_program *p, struct lv_op *op)
{
    op->mm.part = p->n_part;
    for (int pinned = 0; pinned <= 1; pinned++) {
        for (uint32_t i = 0; i < op->mm.n_w; i++) {
            const struct lv_weight *w = &p->w[op->mm.w[i]];

            for (uint32_t s = 0; s < w->n_seg; s++)
                if ((w->seg[s].r32 != NULL) == pinned)
                    p->part[p->n_part++] = (struct lv_part){ .seg = &w->seg[s], .i_w = i };
        }
    }
    op->mm.n_part = p->n_part - op->mm.part;
}

static enum lever_status check_parts(const struct lv_program *p, const struct lv_op *op, struct lever_error *err)
{
    uint32_t n = 0;

    for (uint32_t i = 0; op->kind == LV_OP_MATMUL && i < op->mm.n_w; i++)
        n += p->w[op->mm.w[i]].n_seg;
    return n <= LV_EXEC_MAX_PARTS
               ? LEVER_OK
               : LV_FAIL(err, LEVER_E_INTERNAL, "an op has %u weight segments, at most %d are supported; use a larger --slot", n,
                         LV_EXEC_MAX_PARTS);
}

enum lever_status lv_program_seal(struct lv_program *p, struct lever_error *err)
{
    size_t n = 0;

    for (uint32_t i = 0; i < p->n_w; i++)
        n += p->w[i].n_seg;
    for (uint32_t i = 0; i < p->n_op; i++)
        LV_TRY(check_parts(p, &p->op[i], err));
    LV_TRY(check_parts(p, &p->head, err));
    struct lv_part *part = LV_NEW_ARRAY(struct lv_part, n);

    if (!part)
        return LV_FAIL(err, LEVER_E_NOMEM, "program: list of %zu weight segments", n);
    lv_free(p->part);
    p->part = part;
    p->n_part = 0;
    for (uint32_t i = 0; i < p->n_op; i++)
        if (p->op[i].kind == LV_OP_MATMUL)
            list_parts(p, &p->op[i]);
    list_parts(p, &p->head);
    return LEVER_OK;
}

void lv_program_cut_head(struct lv_program *p, uint32_t n_tokens)
{
    struct lv_weight *w = &p->w[p->w_head];

    /* Whole groups only: a last one that is short ends the file's tensor, there is nothing to cut. */
    const uint32_t n_groups = (n_tokens + LV_GROUP_ROWS - 1) / LV_GROUP_ROWS;

    if (!n_tokens || n_groups >= w->n_groups)
        return;
    w->n_groups = n_groups;
    w->n_rows = w->n_groups * LV_GROUP_ROWS;
    w->bytes = w->n_groups * w->file_group_bytes;
}

void lv_program_head_q4(struct lv_program *p)
{
    struct lv_weight *w = &p->w[p->w_head];

    if (lv_group_bytes(LV_TYPE_Q4_0, w->n_cols) >= w->group_bytes)
        return;
    w->type = LV_TYPE_Q4_0;
    w->row_bytes = lv_row_bytes(w->type, w->n_cols);
    w->group_bytes = lv_group_bytes(w->type, w->n_cols);
}

uint64_t lv_program_body_bytes(const struct lv_program *p)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < p->n_w; i++)
        if (i != p->w_head)
            n += p->w[i].tensor->bytes;
    return n;
}
