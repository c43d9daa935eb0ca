/* A program of nothing but copies of one matmul, for the executor that runs real models. */
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "engine/bench_kernels.h"
#include "model/exec.h"

#define RUNS 5
#define WARM_SECONDS 0.01 /* of the run that only finds out how long one matmul takes */
#define MAX_COPIES 65536u

struct lv_bench_matmul {
    struct lv_program program;
    struct lv_arena arena;
    struct lv_kv kv;        /* no layers: a matmul looks at none */
    struct lv_exec exec;
    struct lv_op *op;       /* [n_copy] */
    struct lv_segment *seg; /* [n_copy] */
    uint32_t n_copy, at;    /* at: the copy that was used longest ago */
};

enum lv_type lv_bench_type(const char *name)
{
    for (uint32_t i = 0; i < LV_TYPE_MAX; i++)
        if (lv_type_traits(i) && !strcasecmp(lv_type_traits(i)->name, name))
            return (enum lv_type)i;
    return (enum lv_type)LV_TYPE_MAX;
}

const char *lv_bench_type_name(enum lv_type type)
{
    switch (type) {
    case LV_TYPE_F32: return "f32";
    case LV_TYPE_F16: return "f16";
    case LV_TYPE_BF16: return "bf16";
    case LV_TYPE_Q4_0: return "q4_0";
    case LV_TYPE_Q4_1: return "q4_1";
    case LV_TYPE_Q5_0: return "q5_0";
    case LV_TYPE_Q5_1: return "q5_1";
    case LV_TYPE_Q8_0: return "q8_0";
    case LV_TYPE_Q4_K: return "q4_k";
    case LV_TYPE_Q5_K: return "q5_k";
    case LV_TYPE_Q6_K: return "q6_k";
    }
    return "unknown";
}

/* Weights, views and ops: copy i lies at i * matrix bytes of the block. */
static enum lever_status build(struct lv_bench_matmul *m, enum lv_type type, uint32_t n_out, uint32_t n_in,
                               const uint8_t *block, uint64_t matrix_bytes, struct lever_error *err)
{
    struct lv_program *p = &m->program;

    /* The least that the executor lays buffers out for: the input is ACT_NORM, the output buffer G. */
    p->shape = (struct lv_shape){ .n_layer = 1, .n_embd = n_in, .n_ff = n_out, .n_head = 1, .n_head_kv = 1,
                                  .head_dim = 32, .n_rot = 2, .n_vocab = 32 };
    p->w = LV_NEW_ARRAY(struct lv_weight, m->n_copy);
    p->op = m->op = LV_NEW_ARRAY(struct lv_op, m->n_copy);
    m->seg = LV_NEW_ARRAY(struct lv_segment, m->n_copy);
    if (!p->w || !p->op || !m->seg)
        return LV_FAIL(err, LEVER_E_NOMEM, "bench: %u copies of a matrix", m->n_copy);
    p->n_w = p->n_op = m->n_copy;
    for (uint32_t i = 0; i < m->n_copy; i++) {
        const uint32_t n_groups = n_out / LV_GROUP_ROWS;

        m->seg[i] = (struct lv_segment){ .n_groups = n_groups, .r32 = block + i * matrix_bytes, .i_extent = LV_NONE };
        p->w[i] = (struct lv_weight){ .type = type, .n_rows = n_out, .n_cols = n_in, .n_groups = n_groups,
                                      .row_bytes = lv_row_bytes(type, n_in), .group_bytes = lv_group_bytes(type, n_in),
                                      .seg = &m->seg[i], .n_seg = 1 };
        p->op[i] = (struct lv_op){ .kind = LV_OP_MATMUL,
                                   .mm = { .src = LV_ACT_NORM, .n_w = 1, .w = { i }, .dst = { LV_BUF_G },
                                           .v_bias = { LV_NONE } } };
    }
    return lv_program_seal(p, err);
}

static enum lever_status lay_out(struct lv_bench_matmul *m, const struct lv_kern *k, struct lv_pool *pool,
                                 uint32_t max_rows, struct lever_error *err)
{
    struct lv_arena count = { 0 };
    struct lv_exec x;

    lv_exec_init(&x, &m->program, lv_pool_n(pool), max_rows, 64, max_rows, false, &count);
    if (!lv_arena_init(&m->arena, count.used_bytes, false) ||
        !lv_exec_init(&m->exec, &m->program, lv_pool_n(pool), max_rows, 64, max_rows, false, &m->arena))
        return LV_FAIL(err, LEVER_E_NOMEM, "bench: buffers of %llu bytes", (unsigned long long)count.used_bytes);
    m->exec.k = k;
    m->exec.pool = pool;
    m->exec.event = &m->exec.own_event;
    m->kv = (struct lv_kv){ .n_ctx = 64, .head_dim = 32, .n_head_kv = 1 };
    for (uint64_t i = 0; i < (uint64_t)max_rows * m->program.shape.n_embd; i++)
        m->exec.norm[i] = (float)((i * 37) % 255) / 127.0f - 1.0f;
    k->quantize(&m->exec.act[LV_ACT_NORM], 0, max_rows, 0, m->program.shape.n_embd);
    return LEVER_OK;
}

enum lever_status lv_bench_matmul_new(struct lv_bench_matmul **out, const struct lv_kern *k, struct lv_pool *pool,
                                      enum lv_type type, uint32_t n_out, uint32_t n_in, uint32_t max_rows,
                                      const uint8_t *block, uint64_t block_bytes, struct lever_error *err)
{
    const struct lv_type_traits *t = lv_type_traits(type);
    const uint32_t step = t->block_len > 32 ? t->block_len : 32;

    if (!n_out || n_out % LV_GROUP_ROWS || !n_in || n_in % step)
        return LV_FAIL(err, LEVER_E_ARG, "shape %u x %u does not suit %s: rows must be a multiple of %d, columns of %u", n_out,
                       n_in, t->name, LV_GROUP_ROWS, step);
    const uint64_t matrix_bytes = (uint64_t)n_out * lv_row_bytes(type, n_in);

    if (matrix_bytes > block_bytes)
        return LV_FAIL(err, LEVER_E_ARG, "a %s matrix of %u x %u takes %llu bytes, the block to cycle through has %llu; use a "
                       "smaller --shape", t->name, n_out, n_in, (unsigned long long)matrix_bytes,
                       (unsigned long long)block_bytes);
    struct lv_bench_matmul *m = LV_NEW(struct lv_bench_matmul);
    enum lever_status st;

    if (!m)
        return LV_FAIL(err, LEVER_E_NOMEM, "bench: %zu bytes", sizeof *m);
    m->n_copy = block_bytes / matrix_bytes > MAX_COPIES ? MAX_COPIES : (uint32_t)(block_bytes / matrix_bytes);
    st = build(m, type, n_out, n_in, block, matrix_bytes, err);
    if (st >= 0)
        st = lay_out(m, k, pool, max_rows, err);
    if (st < 0) {
        lv_bench_matmul_free(m);
        return st;
    }
    *out = m;
    return LEVER_OK;
}

void lv_bench_matmul_free(struct lv_bench_matmul *m)
{
    if (!m)
        return;
    lv_arena_deinit(&m->arena);
    lv_free(m->program.part);
    lv_free(m->program.w);
    lv_free(m->op);
    lv_free(m->seg);
    lv_free(m);
}

/* Runs the next n copies; *seconds of them all. */
static enum lever_status run(struct lv_bench_matmul *m, uint32_t n_rows, uint32_t n, double *seconds,
                             struct lever_error *err)
{
    int32_t slot[LV_EXEC_MAX_ROWS];
    uint32_t path_at[LV_EXEC_MAX_ROWS + 1];
    uint64_t ns = 0;

    for (uint32_t i = 0; i <= n_rows; i++) {
        path_at[i] = i;
        if (i < n_rows)
            slot[i] = (int32_t)i;
    }
    const struct lv_pass pass = { .n_rows = n_rows, .slot = slot, .path_at = path_at, .path = slot };

    while (n) { /* a part that would run over the end goes on at the beginning */
        const uint32_t part = n < m->n_copy - m->at ? n : m->n_copy - m->at;

        m->program.op = m->op + m->at;
        m->program.n_op = part;
        const uint64_t t0 = lv_now_ns();

        LV_TRY(lv_exec_forward(&m->exec, &m->kv, &pass, err));
        ns += lv_now_ns() - t0;
        m->at = (m->at + part) % m->n_copy;
        n -= part;
    }
    *seconds = lv_seconds(ns + 1);
    return LEVER_OK;
}

enum lever_status lv_bench_matmul_time(struct lv_bench_matmul *m, uint32_t n_rows, double run_seconds, double *seconds,
                                       struct lever_error *err)
{
    double one, best = 0;
    uint32_t n = 1;

    for (;; n *= 2) { /* also brings the code and the threads to speed */
        LV_TRY(run(m, n_rows, n, &one, err));
        if (one >= WARM_SECONDS || one >= run_seconds || n >= 1u << 20)
            break;
    }
    one /= n;
    n = run_seconds / one < 1 ? 1 : (uint32_t)(run_seconds / one);
    for (int i = 0; i < RUNS; i++) {
        double s;

        LV_TRY(run(m, n_rows, n, &s, err));
        s /= n;
        best = i == 0 || s < best ? s : best;
    }
    *seconds = best;
    return LEVER_OK;
}
