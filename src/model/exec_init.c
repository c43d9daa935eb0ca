/* Buffers of an executor. */
#include "model/exec_job.h"

static uint32_t padded(uint32_t n)
{
    return (uint32_t)lv_round_up(n, LV_GROUP_ROWS);
}

static bool act_init(struct lv_act *a, uint32_t n_rows, uint32_t n_cols, const float *f, size_t stride_f,
                     struct lv_arena *arena)
{
    *a = (struct lv_act){ .f = f, .stride_f = stride_f, .n_cols = n_cols };
    a->q = lv_arena_take(arena, (uint64_t)n_rows * n_cols, 1);
    a->d = lv_arena_take(arena, (uint64_t)n_rows * (n_cols / 32), sizeof *a->d);
    a->sd = lv_arena_take(arena, (uint64_t)n_rows * (n_cols / 32), sizeof *a->sd);
    a->s16 = lv_arena_take(arena, (uint64_t)n_rows * (n_cols / 16), sizeof *a->s16);
    return a->q && a->d && a->sd && a->s16;
}

static uint64_t max_group_bytes(const struct lv_program *p)
{
    uint64_t m = 0;

    for (uint32_t i = 0; i < p->n_w; i++)
        if (p->w[i].group_bytes > m)
            m = p->w[i].group_bytes;
    return m;
}

/* What every run needs: counters, and for each worker scratch and the largest logits it has seen. */
static bool init_workers(struct lv_exec *x, uint64_t scratch_bytes, struct lv_arena *a)
{
    bool ok = true;

    x->job = lv_arena_take(a, 1, sizeof *x->job);
    _Atomic uint64_t *next = lv_arena_take(a, (uint64_t)LV_EXEC_MAX_PARTS * x->n_worker, sizeof *next);
    _Atomic uint32_t *n_used = lv_arena_take(a, LV_EXEC_MAX_PARTS, sizeof *n_used);

    x->scratch = lv_arena_take(a, x->n_worker, sizeof *x->scratch);
    x->top = lv_arena_take(a, (uint64_t)x->n_worker * LV_HEAD_ROWS * LV_HEAD_TOP_MAX, sizeof *x->top);
    x->n_top = lv_arena_take(a, (uint64_t)x->n_worker * LV_HEAD_ROWS, sizeof *x->n_top);
    x->scratch_bytes = scratch_bytes;
    for (uint32_t i = 0; i < x->n_worker; i++) {
        uint8_t *m = lv_arena_take(a, x->scratch_bytes, 1);

        ok = ok && m && x->scratch;
        if (ok)
            x->scratch[i] = m;
    }
    if (!ok || !x->job || !next || !n_used || !x->top || !x->n_top)
        return false;
    x->job->next = next;
    x->job->n_used = n_used;
    return true;
}

void lv_exec_widths(const struct lv_program *p, uint32_t width[LV_BUF_COUNT])
{
    const struct lv_shape *s = &p->shape;

    width[LV_BUF_X] = s->n_embd;
    width[LV_BUF_T] = s->n_embd;
    width[LV_BUF_Q] = s->n_head * s->head_dim;
    width[LV_BUF_K] = s->n_head_kv * s->head_dim;
    width[LV_BUF_V] = s->n_head_kv * s->head_dim;
    width[LV_BUF_G] = s->n_ff;
    width[LV_BUF_U] = s->n_ff;
    width[LV_BUF_LOGITS] = p->w[p->w_head].n_rows;
}

bool lv_exec_init(struct lv_exec *x, const struct lv_program *p, uint32_t n_worker, uint32_t max_rows, uint32_t n_ctx,
                  uint32_t n_slot, bool streamed, struct lv_arena *a)
{
    const struct lv_shape *s = &p->shape;
    uint32_t width[LV_BUF_COUNT];
    bool ok = true;

    *x = (struct lv_exec){ .p = p, .max_rows = max_rows, .n_ctx = n_ctx, .n_worker = n_worker };
    lv_exec_widths(p, width);
    for (int i = 0; i < LV_BUF_COUNT; i++) {
        x->stride[i] = padded(width[i]);
        x->buf[i] = lv_arena_take(a, (uint64_t)(i == LV_BUF_LOGITS ? LV_HEAD_ROWS : max_rows) * x->stride[i],
                                  sizeof(float));
        ok = ok && x->buf[i];
    }
    const uint32_t n_act = max_rows > LV_HEAD_ROWS ? max_rows : LV_HEAD_ROWS; /* the head borrows ACT_NORM */
    const uint32_t n_attn = width[LV_BUF_Q];

    x->norm = lv_arena_take(a, (uint64_t)n_act * s->n_embd, sizeof(float));
    x->attn = lv_arena_take(a, (uint64_t)max_rows * n_attn, sizeof(float));
    ok &= act_init(&x->act[LV_ACT_NORM], n_act, s->n_embd, x->norm, s->n_embd, a);
    ok &= act_init(&x->act[LV_ACT_ATTN], max_rows, n_attn, x->attn, n_attn, a);
    ok &= act_init(&x->act[LV_ACT_FF], max_rows, s->n_ff, x->buf[LV_BUF_G], x->stride[LV_BUF_G], a);
    for (uint32_t i = 0; i < p->n_rope; i++) {
        x->rope_cs[i] = lv_arena_take(a, (uint64_t)max_rows * s->n_rot, sizeof(float));
        ok = ok && x->rope_cs[i];
    }
    /* A worker repacks a group, holds its products (32 of each row), or holds attention scores; never two at once. */
    const uint64_t products = (uint64_t)n_act * LV_GROUP_ROWS * sizeof(float);
    const uint64_t repack = products + (streamed ? max_group_bytes(p) : 0);
    const uint64_t scores = lv_attn_scratch_bytes(p, n_ctx, n_slot);

    ok &= init_workers(x, repack > scores ? repack : scores, a);
    return ok;
}

bool lv_exec_init_head(struct lv_exec *x, const struct lv_program *p, uint32_t n_worker, uint32_t max_rows,
                       struct lv_arena *a)
{
    const uint32_t n_embd = p->shape.n_embd;
    bool ok;

    *x = (struct lv_exec){ .p = p, .max_rows = max_rows, .n_worker = n_worker };
    x->stride[LV_BUF_X] = padded(n_embd);
    x->stride[LV_BUF_LOGITS] = padded(2 * p->w[p->w_head].n_groups); /* of each group largest and sum */
    x->buf[LV_BUF_X] = lv_arena_take(a, (uint64_t)max_rows * x->stride[LV_BUF_X], sizeof(float));
    x->buf[LV_BUF_LOGITS] = lv_arena_take(a, (uint64_t)LV_HEAD_ROWS * x->stride[LV_BUF_LOGITS], sizeof(float));
    x->norm = lv_arena_take(a, (uint64_t)LV_HEAD_ROWS * n_embd, sizeof(float));
    ok = x->buf[LV_BUF_X] && x->buf[LV_BUF_LOGITS] && x->norm;
    ok &= act_init(&x->act[LV_ACT_NORM], LV_HEAD_ROWS, n_embd, x->norm, n_embd, a);
    ok &= init_workers(x, (uint64_t)LV_HEAD_ROWS * LV_GROUP_ROWS * sizeof(float), a);
    return ok;
}
