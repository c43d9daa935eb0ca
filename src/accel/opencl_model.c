/* A program on an OpenCL device: its buffers, and one pass through them as a list of kernels.
 *
 * Weights are R32 groups as the host has them. Where device and host share memory the buffers are the host's own pages, so
 * nothing is held twice and falling back to the CPU costs nothing; elsewhere they are copied once. */
#include <stdio.h>
#include <string.h>

#include "accel/opencl.h"

#define ATTN_ROWS 8u /* rows of one launch of attention: bounds its scratch */
#define LAYERS_AHEAD 2u /* layers queued before somebody looks whether the pass is still wanted */
#define MAX_ARGS 24

struct kv_layer {
    lv_cl_handle k, v, tree_k, tree_v;
};

struct act {
    lv_cl_handle q, d, sd, s16;
    uint32_t n_cols;
};

struct opencl_model {
    struct lv_opencl *d;
    const struct lv_program *p;
    const struct lv_kv *kv;
    uint32_t max_rows, stride[LV_BUF_COUNT], score_stride;
    lv_cl_handle *w, *v; /* [n_w] [n_v] */
    struct kv_layer *layer;
    lv_cl_handle buf[LV_BUF_COUNT], norm, attn, rope, ints, score;
    struct act act[LV_ACT_COUNT];
};

static uint32_t padded(uint32_t n)
{
    return (uint32_t)lv_round_up(n, LV_GROUP_ROWS);
}

/* ---- memory --------------------------------------------------------------------------- */

/* Sizes of all buffers of a kind, so that the plan and the load agree. */
struct sizes {
    uint64_t buf[LV_BUF_COUNT], norm, attn, rope, ints, score;
    uint32_t stride[LV_BUF_COUNT], score_stride;
};

static struct sizes sizes_of(const struct lv_program *p, uint32_t max_rows, uint32_t n_ctx, uint32_t cap_ints)
{
    const struct lv_shape *s = &p->shape;
    uint32_t width[LV_BUF_COUNT];

    lv_exec_widths(p, width);
    const uint64_t rows = max_rows < LV_HEAD_ROWS ? LV_HEAD_ROWS : max_rows; /* the head borrows ACT_NORM */
    struct sizes z = { .norm = rows * s->n_embd * sizeof(float),
                       .attn = rows * padded(width[LV_BUF_Q]) * sizeof(float),
                       .rope = (uint64_t)p->n_rope * max_rows * s->n_rot * sizeof(float),
                       .ints = (uint64_t)cap_ints * sizeof(int32_t) };

    for (int i = 0; i < LV_BUF_COUNT; i++) {
        z.stride[i] = padded(width[i]);
        z.buf[i] = (i == LV_BUF_LOGITS ? LV_HEAD_ROWS : rows) * z.stride[i] * sizeof(float);
    }
    z.score_stride = (uint32_t)lv_round_up(n_ctx, LV_KV_BLOCK) + LV_KV_BLOCK;
    z.score = (uint64_t)ATTN_ROWS * s->n_head * z.score_stride * sizeof(float);
    return z;
}

/* int8, two floats and two int16 a block of 32. */
static uint64_t act_bytes(uint64_t rows, uint32_t n_cols)
{
    return rows * (n_cols + n_cols / 32 * 12);
}

uint64_t lv_accel_bytes(const struct lv_program *p, uint32_t max_rows, uint32_t n_ctx, uint32_t n_slot)
{
    const uint32_t rows = lv_accel_bucket(max_rows);
    const struct sizes z = sizes_of(p, rows, n_ctx, rows * (LV_ACCEL_PATH + 3) + 1024);
    const uint64_t n = rows < LV_HEAD_ROWS ? LV_HEAD_ROWS : rows;
    struct lv_arena count = { 0 };
    struct lv_kv kv;
    uint64_t sum = z.norm + z.attn + z.rope + z.ints + z.score;

    lv_kv_init(&kv, p, n_ctx, n_slot, &count); /* the same layout */
    for (int i = 0; i < LV_BUF_COUNT; i++)
        sum += z.buf[i];
    for (uint32_t i = 0; i < p->n_v; i++)
        sum += padded(p->v[i].n) * sizeof(float);
    return sum + count.used_bytes + act_bytes(n, p->shape.n_embd) + act_bytes(n, p->shape.n_head * p->shape.head_dim) +
           act_bytes(n, p->shape.n_ff) + 2 * z.ints;
}

/* A buffer, with data copied or used in place (flags), or zeroed. */
static enum lever_status make(struct opencl_model *m, lv_cl_handle *out, uint64_t bytes, uint64_t flags, const void *data,
                              struct lever_error *err)
{
    struct lv_opencl *d = m->d;
    int32_t rc;

    if (d->max_alloc && bytes > d->max_alloc)
        return LV_FAIL(err, LEVER_E_INTERNAL, "OpenCL (%s): a buffer of %llu bytes is needed, the most it gives is %llu", d->name,
                       (unsigned long long)bytes, (unsigned long long)d->max_alloc);
    *out = lv_cl_made(&d->cl, d->cl.CreateBuffer(d->context, flags, bytes ? bytes : 4, (void *)data, &rc));
    if (!*out)
        return LV_FAIL(err, LEVER_E_INTERNAL, "OpenCL (%s): a buffer of %llu bytes: %s (%d)", d->name,
                       (unsigned long long)bytes, lv_cl_error(rc), rc);
    return LEVER_OK;
}

static enum lever_status write(struct opencl_model *m, lv_cl_handle to, uint64_t at, const void *data, uint64_t bytes,
                               struct lever_error *err)
{
    const int32_t rc = m->d->cl.EnqueueWriteBuffer(m->d->queue, to, 1, at, bytes, data, 0, NULL, NULL);

    return rc == 0 ? LEVER_OK : LV_FAIL(err, LEVER_E_INTERNAL, "OpenCL (%s): copying to the device: %s (%d)", m->d->name,
                                        lv_cl_error(rc), rc);
}

/* Zeroed: rows that fill a bucket are computed too, and shall cost what others cost. */
static enum lever_status make_zero(struct opencl_model *m, lv_cl_handle *out, uint64_t bytes, struct lever_error *err)
{
    static const uint8_t zero[65536];

    LV_TRY(make(m, out, bytes, LV_CL_MEM_READ_WRITE, NULL, err));
    for (uint64_t at = 0; at < bytes; at += sizeof zero)
        LV_TRY(write(m, *out, at, zero, bytes - at < sizeof zero ? bytes - at : sizeof zero, err));
    return LEVER_OK;
}

static enum lever_status load_weight(struct opencl_model *m, lv_cl_handle *out, const struct lv_weight *w,
                                     struct lever_error *err)
{
    const uint64_t own = m->d->unified ? LV_CL_MEM_USE_HOST_PTR : LV_CL_MEM_COPY_HOST_PTR;
    const uint64_t bytes = w->n_groups * w->group_bytes;

    for (uint32_t i = 0; i < w->n_seg; i++)
        if (!w->seg[i].r32)
            return LV_FAIL(err, LEVER_E_INTERNAL, "a device takes models that are wholly resident");
    if (w->n_seg == 1)
        return make(m, out, bytes, LV_CL_MEM_READ_ONLY | own, w->seg[0].r32, err);
    LV_TRY(make(m, out, bytes, LV_CL_MEM_READ_WRITE, NULL, err));
    for (uint32_t i = 0; i < w->n_seg; i++)
        LV_TRY(write(m, *out, w->seg[i].first_group * w->group_bytes, w->seg[i].r32, w->seg[i].n_groups * w->group_bytes, err));
    return LEVER_OK;
}

static enum lever_status load_act(struct opencl_model *m, struct act *a, uint64_t rows, uint32_t n_cols,
                                  struct lever_error *err)
{
    a->n_cols = n_cols;
    LV_TRY(make_zero(m, &a->q, rows * n_cols, err));
    LV_TRY(make_zero(m, &a->d, rows * (n_cols / 32) * 4, err));
    LV_TRY(make_zero(m, &a->sd, rows * (n_cols / 32) * 4, err));
    return make_zero(m, &a->s16, rows * (n_cols / 16) * 2, err);
}

static enum lever_status load_kv(struct opencl_model *m, struct lever_error *err)
{
    const uint64_t row = (uint64_t)m->kv->n_head_kv * m->kv->head_dim * sizeof(uint16_t);

    for (uint32_t i = 0; i < m->p->shape.n_layer; i++) {
        struct kv_layer *l = &m->layer[i];
        const uint32_t cap = m->kv->layer[i].cap;

        LV_TRY(make(m, &l->k, row * cap, LV_CL_MEM_READ_WRITE, NULL, err));
        LV_TRY(make(m, &l->v, row * cap, LV_CL_MEM_READ_WRITE, NULL, err));
        LV_TRY(make(m, &l->tree_k, row * m->kv->n_slot, LV_CL_MEM_READ_WRITE, NULL, err));
        LV_TRY(make(m, &l->tree_v, row * m->kv->n_slot, LV_CL_MEM_READ_WRITE, NULL, err));
    }
    return LEVER_OK;
}

static enum lever_status load_all(struct opencl_model *m, const struct lv_accel_spec *spec, struct lever_error *err)
{
    const struct lv_program *p = m->p;
    const struct sizes z = sizes_of(p, spec->max_rows, m->kv->n_ctx, spec->cap_ints);
    const uint64_t rows = spec->max_rows < LV_HEAD_ROWS ? LV_HEAD_ROWS : spec->max_rows;

    m->w = LV_NEW_ARRAY(lv_cl_handle, p->n_w);
    m->v = LV_NEW_ARRAY(lv_cl_handle, p->n_v);
    m->layer = LV_NEW_ARRAY(struct kv_layer, p->shape.n_layer);
    if (!m->w || !m->v || !m->layer)
        return LV_FAIL(err, LEVER_E_NOMEM, "OpenCL: list of %u buffers", p->n_w + p->n_v);
    memcpy(m->stride, z.stride, sizeof m->stride);
    m->score_stride = z.score_stride;
    for (uint32_t i = 0; i < p->n_w; i++) {
        if (!m->d->gemm[p->w[i].type][0])
            return LV_FAIL(err, LEVER_E_INTERNAL, "OpenCL: no kernels for %s weights were compiled", lv_type_name(p->w[i].type));
        LV_TRY(load_weight(m, &m->w[i], &p->w[i], err));
    }
    for (uint32_t i = 0; i < p->n_v; i++) {
        LV_TRY(make_zero(m, &m->v[i], padded(p->v[i].n) * sizeof(float), err)); /* a bias is added to whole groups */
        LV_TRY(write(m, m->v[i], 0, p->v[i].data, p->v[i].n * sizeof(float), err));
    }
    for (int i = 0; i < LV_BUF_COUNT; i++)
        LV_TRY(make_zero(m, &m->buf[i], z.buf[i], err));
    LV_TRY(make_zero(m, &m->norm, z.norm, err));
    LV_TRY(make_zero(m, &m->attn, z.attn, err));
    LV_TRY(make(m, &m->rope, z.rope, LV_CL_MEM_READ_WRITE, NULL, err));
    LV_TRY(make(m, &m->ints, z.ints, LV_CL_MEM_READ_WRITE, NULL, err));
    LV_TRY(make(m, &m->score, z.score, LV_CL_MEM_READ_WRITE, NULL, err));
    LV_TRY(load_act(m, &m->act[LV_ACT_NORM], rows, p->shape.n_embd, err));
    LV_TRY(load_act(m, &m->act[LV_ACT_ATTN], rows, p->shape.n_head * p->shape.head_dim, err));
    LV_TRY(load_act(m, &m->act[LV_ACT_FF], rows, p->shape.n_ff, err));
    return load_kv(m, err);
}

enum lever_status lv_opencl_load(void **model, void *device, const struct lv_accel_spec *spec, struct lever_error *err)
{
    struct opencl_model *m = LV_NEW(struct opencl_model);

    if (!m)
        return LV_FAIL(err, LEVER_E_NOMEM, "OpenCL: %zu bytes", sizeof *m);
    m->d = device;
    m->p = spec->p;
    m->kv = spec->kv;
    m->max_rows = spec->max_rows;
    const enum lever_status st = load_all(m, spec, err);

    if (st < 0) {
        lv_opencl_unload(m);
        return st;
    }
    *model = m;
    return LEVER_OK;
}

static void drop(struct opencl_model *m, lv_cl_handle *h, uint32_t n)
{
    for (uint32_t i = 0; h && i < n; i++)
        LV_CL_RELEASE(&m->d->cl, MemObject, h[i]);
}

void lv_opencl_unload(void *model)
{
    struct opencl_model *m = model;

    m->d->cl.Finish(m->d->queue);
    drop(m, m->w, m->p->n_w);
    drop(m, m->v, m->p->n_v);
    for (uint32_t i = 0; m->layer && i < m->p->shape.n_layer; i++) {
        drop(m, &m->layer[i].k, 1);
        drop(m, &m->layer[i].v, 1);
        drop(m, &m->layer[i].tree_k, 1);
        drop(m, &m->layer[i].tree_v, 1);
    }
    for (int i = 0; i < LV_ACT_COUNT; i++) {
        drop(m, &m->act[i].q, 1);
        drop(m, &m->act[i].d, 1);
        drop(m, &m->act[i].sd, 1);
        drop(m, &m->act[i].s16, 1);
    }
    drop(m, m->buf, LV_BUF_COUNT);
    drop(m, &m->norm, 1);
    drop(m, &m->attn, 1);
    drop(m, &m->rope, 1);
    drop(m, &m->ints, 1);
    drop(m, &m->score, 1);
    lv_free(m->w);
    lv_free(m->v);
    lv_free(m->layer);
    lv_free(m);
}

/* ---- a pass --------------------------------------------------------------------------- */

struct arg {
    size_t bytes;
    const void *at;
};
#define BUF(h) { sizeof(lv_cl_handle), &(h) }
#define U32(n) { sizeof(uint32_t), &(uint32_t){ (n) } }
#define I32(n) { sizeof(int32_t), &(int32_t){ (n) } }
#define F32(x) { sizeof(float), &(float){ (x) } }

/* One pass: after the first error nothing more is queued. */
struct run {
    struct opencl_model *m;
    const struct lv_accel_job *job;
    int32_t rc;
    const char *what; /* failed */
};

static void note(struct run *r, int32_t rc, const char *what)
{
    if (rc != 0 && r->rc == 0) {
        r->rc = rc;
        r->what = what;
    }
}

/* The hook of tests: the device is gone after so many kernels. */
static bool lost(struct lv_accel_hooks *h)
{
    int64_t left = atomic_load(&h->lose_after);

    while (left > 1 && !atomic_compare_exchange_weak(&h->lose_after, &left, left - 1))
        ;
    return left == 1;
}

static void launch(struct run *r, lv_cl_handle kernel, const struct arg *arg, uint32_t n_arg, const size_t global[3],
                   const size_t local[3], const char *what)
{
    struct lv_opencl *d = r->m->d;

    for (uint32_t i = 0; i < n_arg && r->rc == 0; i++)
        note(r, d->cl.SetKernelArg(kernel, i, arg[i].bytes, arg[i].at), what);
    if (r->rc == 0 && lost(d->cl.hooks))
        note(r, -2, what);
    if (r->rc == 0)
        note(r, d->cl.EnqueueNDRangeKernel(d->queue, kernel, 3, NULL, global, local, 0, NULL, NULL), what);
}
#define LAUNCH(r, kernel, arg, global, local, what) \
    launch((r), (kernel), (arg), sizeof(arg) / sizeof *(arg), (global), (local), (what))

/* Where a vector is absent any buffer stands for it. */
static lv_cl_handle *vector(struct opencl_model *m, uint32_t v)
{
    return v == LV_NONE ? &m->norm : &m->v[v];
}

/* pick: rows of the head's batch are at ints[pick ..]; -1: row r is row r. */
static void run_norm(struct run *r, uint32_t v_post, uint32_t v_pre, uint32_t n_rows, int32_t pick)
{
    struct opencl_model *m = r->m;
    const struct act *a = &m->act[LV_ACT_NORM];
    const struct arg arg[] = { BUF(m->buf[LV_BUF_X]), BUF(m->buf[LV_BUF_T]), U32(m->stride[LV_BUF_X]),
                               BUF(*vector(m, v_post)), U32(v_post != LV_NONE), BUF(*vector(m, v_pre)), U32(v_pre != LV_NONE),
                               F32(m->p->shape.eps), U32(m->p->shape.n_embd), BUF(m->norm), BUF(a->q), BUF(a->d), BUF(a->sd),
                               BUF(a->s16), BUF(m->ints), I32(pick) };

    LAUNCH(r, m->d->kernel[LV_OPENCL_NORM], arg, ((size_t[]){ 16 * n_rows, 1, 1 }), ((size_t[]){ 16, 1, 1 }), "norm");
}

/* n_rows: a bucket. */
static void run_matmul(struct run *r, const struct lv_op *op, uint32_t n_rows)
{
    struct opencl_model *m = r->m;
    const struct act *a = &m->act[op->mm.src];
    const lv_cl_handle *f = op->mm.src == LV_ACT_NORM ? &m->norm : op->mm.src == LV_ACT_ATTN ? &m->attn : &m->buf[LV_BUF_G];
    const uint32_t stride_f = op->mm.src == LV_ACT_NORM   ? m->p->shape.n_embd
                              : op->mm.src == LV_ACT_ATTN ? m->stride[LV_BUF_Q]
                                                          : m->stride[LV_BUF_G];
    const uint32_t tile = n_rows >= 8 ? 2 : n_rows >= 4 ? 1 : 0, tile_rows = tile == 2 ? 8 : tile == 1 ? 4 : 1;

    for (uint32_t i = 0; i < op->mm.n_w; i++) {
        const struct lv_weight *w = &m->p->w[op->mm.w[i]];
        const uint32_t bias = op->mm.v_bias[i];
        const struct arg arg[] = { BUF(m->buf[op->mm.dst[i]]), U32(m->stride[op->mm.dst[i]]), BUF(m->w[op->mm.w[i]]),
                                   BUF(a->q), BUF(a->d), BUF(a->sd), BUF(a->s16), BUF(*f), U32(stride_f), U32(w->n_cols),
                                   BUF(*vector(m, bias)), U32(bias != LV_NONE), U32(op->mm.add) };

        LAUNCH(r, m->d->gemm[w->type][tile], arg, ((size_t[]){ 32 * (size_t)w->n_groups, n_rows / tile_rows, 1 }),
               ((size_t[]){ 32, 1, 1 }), "matrix product");
    }
}

static void run_qkv(struct run *r, const struct lv_op *op)
{
    struct opencl_model *m = r->m;
    const struct lv_shape *s = &m->p->shape;
    struct kv_layer *l = &m->layer[op->layer];
    const uint32_t qn = op->qkv.v_qnorm, kn = op->qkv.v_knorm;
    const struct arg arg[] = { BUF(m->buf[LV_BUF_Q]), U32(m->stride[LV_BUF_Q]), BUF(m->buf[LV_BUF_K]), BUF(m->buf[LV_BUF_V]),
                               U32(m->stride[LV_BUF_K]), BUF(m->rope), U32(op->qkv.rope * r->job->n_rows * s->n_rot),
                               U32(s->n_rot), U32(m->p->rope_neox), BUF(*vector(m, qn)), U32(qn != LV_NONE),
                               BUF(*vector(m, kn)), U32(kn != LV_NONE), F32(s->eps), U32(s->head_dim), U32(s->n_head),
                               BUF(m->ints), BUF(l->tree_k), BUF(l->tree_v), U32(m->kv->n_slot) };

    LAUNCH(r, m->d->kernel[LV_OPENCL_QKV], arg, ((size_t[]){ 16 * (size_t)(s->n_head + s->n_head_kv), r->job->n_rows, 1 }),
           ((size_t[]){ 16, 1, 1 }), "rope");
}

static void run_attention(struct run *r, const struct lv_op *op)
{
    struct opencl_model *m = r->m;
    const struct lv_shape *s = &m->p->shape;
    const struct lv_accel_job *j = r->job;
    struct kv_layer *l = &m->layer[op->layer];
    const struct act *a = &m->act[LV_ACT_ATTN];
    const size_t items = m->d->attn_items;

    for (uint32_t row0 = 0; row0 < j->n_rows; row0 += ATTN_ROWS) {
        const uint32_t n = j->n_rows - row0 < ATTN_ROWS ? j->n_rows - row0 : ATTN_ROWS;
        const struct arg arg[] = { BUF(m->buf[LV_BUF_Q]), U32(m->stride[LV_BUF_Q]), BUF(l->k), BUF(l->v),
                                   U32(m->kv->layer[op->layer].cap), BUF(l->tree_k), BUF(l->tree_v), U32(m->kv->n_slot),
                                   U32(j->n_kv), U32(m->p->window[op->layer]), U32(s->head_dim), U32(s->n_head),
                                   U32(s->n_head / s->n_head_kv), F32(m->p->attn_scale), BUF(m->ints), U32(j->at_path),
                                   U32(j->at_slots), U32(row0), BUF(m->score), U32(m->score_stride), BUF(m->attn) };

        LAUNCH(r, m->d->kernel[LV_OPENCL_ATTENTION], arg, ((size_t[]){ items * s->n_head, n, 1 }),
               ((size_t[]){ items, 1, 1 }), "attention");
    }
    const struct arg arg[] = { BUF(m->attn), U32(m->stride[LV_BUF_Q]), U32(a->n_cols), BUF(a->q), BUF(a->d), BUF(a->sd),
                               BUF(a->s16) };

    LAUNCH(r, m->d->kernel[LV_OPENCL_QUANTIZE], arg, ((size_t[]){ a->n_cols / 32, j->n_rows, 1 }), NULL, "quantize");
}

static void run_glu(struct run *r, const struct lv_op *op)
{
    struct opencl_model *m = r->m;
    const struct act *a = &m->act[LV_ACT_FF];
    const struct arg arg[] = { BUF(m->buf[LV_BUF_G]), BUF(m->buf[LV_BUF_U]), U32(m->stride[LV_BUF_G]), U32(a->n_cols),
                               U32(op->glu.kind == LV_GLU_GELU), BUF(a->q), BUF(a->d), BUF(a->sd), BUF(a->s16) };

    LAUNCH(r, m->d->kernel[LV_OPENCL_GLU], arg, ((size_t[]){ a->n_cols / 32, r->job->n_rows, 1 }), NULL, "glu");
}

static void run_commits(struct run *r)
{
    struct opencl_model *m = r->m;
    const struct lv_accel_job *j = r->job;

    for (uint32_t i = 0; i < m->p->shape.n_layer && j->n_commit; i++) {
        struct kv_layer *l = &m->layer[i];
        const struct arg arg[] = { BUF(l->tree_k), BUF(l->tree_v), U32(m->kv->n_slot), BUF(l->k), BUF(l->v),
                                   U32(m->kv->layer[i].cap), U32(m->kv->head_dim), BUF(m->ints), U32(j->at_commit) };

        LAUNCH(r, m->d->kernel[LV_OPENCL_COMMIT], arg, ((size_t[]){ m->kv->head_dim, m->kv->n_head_kv, j->n_commit }), NULL,
               "commit");
    }
}

static void run_op(struct run *r, const struct lv_op *op)
{
    switch (op->kind) {
    case LV_OP_NORM:
        run_norm(r, op->norm.v_post, op->norm.v_pre, r->job->n_rows, -1);
        break;
    case LV_OP_MATMUL:
        run_matmul(r, op, r->job->bucket);
        break;
    case LV_OP_QKV:
        run_qkv(r, op);
        break;
    case LV_OP_ATTN:
        run_attention(r, op);
        break;
    case LV_OP_GLU:
        run_glu(r, op);
        break;
    case LV_OP_CALL:
        break;
    }
}

static void upload(struct run *r, lv_cl_handle to, const void *data, uint64_t bytes)
{
    if (bytes && r->rc == 0)
        note(r, r->m->d->cl.EnqueueWriteBuffer(r->m->d->queue, to, 0, 0, bytes, data, 0, NULL, NULL), "copy to the device");
}

static void download(struct run *r, void *data, lv_cl_handle from, uint64_t at, uint64_t bytes)
{
    if (r->rc == 0)
        note(r, r->m->d->cl.EnqueueReadBuffer(r->m->d->queue, from, 0, at, bytes, data, 0, NULL, NULL),
             "copy from the device");
}

/* Strides of host and device are the same: both are padded to 32. */
static void run_head(struct run *r)
{
    struct opencl_model *m = r->m;
    const struct lv_accel_job *j = r->job;

    for (uint32_t i = 0; i < j->n_head; i += LV_HEAD_ROWS) {
        const uint32_t n = j->n_head - i < LV_HEAD_ROWS ? j->n_head - i : LV_HEAD_ROWS;
        const uint64_t row = m->stride[LV_BUF_LOGITS];

        run_norm(r, LV_NONE, m->p->v_out_norm, n, (int32_t)(j->at_head + i));
        run_matmul(r, &m->p->head, lv_accel_bucket(n));
        for (uint32_t k = 0; k < n; k++)
            download(r, j->logits + (size_t)(i + k) * j->stride_logits, m->buf[LV_BUF_LOGITS], k * row * sizeof(float),
                     row * sizeof(float));
    }
}

static void finish(struct run *r)
{
    const int32_t rc = r->m->d->cl.Finish(r->m->d->queue); /* after an error too: the host's memory is in use until then */

    note(r, rc, "wait for the device");
}

enum lever_status lv_opencl_run(void *model, const struct lv_accel_job *j, struct lever_error *err)
{
    struct opencl_model *m = model;
    const struct lv_program *p = m->p;
    struct run r = { .m = m, .job = j };
    bool stopped = false;

    upload(&r, m->ints, j->ints, (uint64_t)j->n_ints * sizeof *j->ints);
    run_commits(&r);
    if (j->n_rows) {
        const uint64_t row = m->stride[LV_BUF_X] * sizeof(float);

        upload(&r, m->rope, j->rope, (uint64_t)p->n_rope * j->n_rows * p->shape.n_rot * sizeof(float));
        for (uint32_t k = 0; k < j->n_rows && r.rc == 0; k++)
            note(&r, m->d->cl.EnqueueWriteBuffer(m->d->queue, m->buf[LV_BUF_X], 0, k * row, p->shape.n_embd * sizeof(float),
                                                 j->x + k * j->stride_x, 0, NULL, NULL), "copy to the device");
        for (uint32_t i = 0; i < p->n_op && r.rc == 0 && !stopped; i++) {
            if (i && p->op[i].layer != p->op[i - 1].layer && p->op[i].layer % LAYERS_AHEAD == 0) {
                finish(&r);
                stopped = atomic_load(j->stop);
            }
            run_op(&r, &p->op[i]);
        }
        if (!stopped)
            run_head(&r);
        for (uint32_t k = 0; k < j->n_rows && j->x_out && !stopped; k++)
            download(&r, j->x_out + k * j->stride_x, m->buf[LV_BUF_X], k * row, p->shape.n_embd * sizeof(float));
    }
    finish(&r);
    if (r.rc != 0)
        return LV_FAIL(err, LEVER_E_INTERNAL, "OpenCL (%s): %s: %s (%d)", m->d->name, r.what, lv_cl_error(r.rc), r.rc);
    return stopped ? LV_FAIL(err, LEVER_E_CANCEL, "cancelled") : LEVER_OK;
}
