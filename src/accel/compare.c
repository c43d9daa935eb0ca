/* A device against the reference kernels: a small random program with weights of one type, all ops in all their forms, run on
 * both. */
#include <math.h>
#include <string.h>

#include "accel/backend.h"
#include "base/half.h"
#include "base/rng.h"
#include "kern/r32.h"

enum { EMBD = 256, FF = 512, HEADS = 4, KV_HEADS = 2, DIM = 64, VOCAB = 320, CTX = 64, SLOTS = 256, LAYERS = 2, PREFIX = 21 };
enum { W_LAYER = 7, V_LAYER = 8, N_W = LAYERS * W_LAYER + 1, N_V = LAYERS * V_LAYER + 1, MAX_OPS = 32 };

_Static_assert(SLOTS >= LV_ACCEL_MAX_ROWS, "a slot for each row");

struct mini {
    struct lv_program p;
    struct lv_op op[MAX_OPS];
    struct lv_weight w[N_W];
    struct lv_segment seg[N_W];
    struct lv_vector v[N_V];
    uint32_t window[LAYERS];
    struct lv_kern k;
    struct lv_exec x;
    struct lv_kv kv;
    struct lv_arena arena;   /* buffers */
    struct lv_arena weights; /* groups and vectors */
    struct lv_rng rng;
    /* a pass */
    int32_t slot[LV_ACCEL_MAX_ROWS], path[LV_ACCEL_MAX_ROWS * CTX];
    uint32_t path_at[LV_ACCEL_MAX_ROWS + 1];
    float *x0, *x1, *logits; /* input; output and logits of the device */
};

/* ---- the program ---------------------------------------------------------------------- */

/* Any bytes are good quants; scales must be numbers. */
static void random_group(struct mini *m, enum lv_type type, uint8_t *group, uint32_t n_cols)
{
    const uint32_t len = lv_r32_block_len(type), bytes = LV_GROUP_ROWS * lv_r32_block_bytes(type);

    for (uint32_t b = 0; b < n_cols / len; b++) {
        uint8_t *kb = group + (size_t)b * bytes;

        for (uint32_t i = 0; i < bytes; i += 4) {
            const uint32_t r = (uint32_t)lv_rng_u64(&m->rng);

            memcpy(kb + i, &r, 4);
        }
        if (lv_r32_is_float(type)) {
            for (uint32_t r = 0; r < LV_GROUP_ROWS; r++) {
                const float f = 0.1f * lv_rng_f32(&m->rng);
                const uint32_t u = lv_f32_bits(f);
                const uint16_t h = type == LV_TYPE_F16 ? lv_f16_from_f32(f) : (uint16_t)(u >> 16);

                if (type == LV_TYPE_F32)
                    memcpy(kb + 4 * r, &u, 4);
                else
                    memcpy(kb + 2 * r, &h, 2);
            }
            continue;
        }
        const uint32_t n_half = lv_r32_has_min(type) ? 64 : 32;
        const float scale = type == LV_TYPE_Q8_0 ? 0.001f : len == 32 ? 0.01f : 0.0005f;

        for (uint32_t i = 0; i < n_half; i++) {
            const uint16_t h = lv_f16_from_f32(scale * lv_rng_f32(&m->rng));

            memcpy(kb + 2 * i, &h, 2);
        }
    }
}

static bool add_weight(struct mini *m, enum lv_type type, uint32_t i, uint32_t n_rows, uint32_t n_cols)
{
    const uint64_t group = lv_group_bytes(type, n_cols);
    const uint32_t n_groups = (n_rows + LV_GROUP_ROWS - 1) / LV_GROUP_ROWS;
    uint8_t *r32 = lv_arena_take(&m->weights, n_groups, group);

    for (uint32_t g = 0; r32 && g < n_groups; g++)
        random_group(m, type, r32 + g * group, n_cols);
    m->seg[i] = (struct lv_segment){ .n_groups = n_groups, .r32 = r32 };
    m->w[i] = (struct lv_weight){ .type = type, .file_type = type, .n_rows = n_rows, .n_cols = n_cols, .n_groups = n_groups,
                                  .group_bytes = group, .seg = &m->seg[i], .n_seg = 1 };
    return r32 != NULL;
}

static bool add_vector(struct mini *m, uint32_t i, uint32_t n, float middle)
{
    float *f = lv_arena_take(&m->weights, lv_round_up(n, LV_GROUP_ROWS), sizeof *f);

    for (uint32_t k = 0; f && k < n; k++)
        f[k] = middle + 0.3f * lv_rng_f32(&m->rng);
    m->v[i] = (struct lv_vector){ .n = n, .data = f };
    return f != NULL;
}

static void add_op(struct mini *m, struct lv_op op, uint32_t layer)
{
    op.layer = layer;
    m->op[m->p.n_op++] = op;
}

static struct lv_op matmul(enum lv_acts src, bool add, uint32_t w, enum lv_buf dst)
{
    return (struct lv_op){ .kind = LV_OP_MATMUL, .mm = { .src = src, .add = add, .n_w = 1, .w = { w }, .dst = { dst },
                                                        .v_bias = { LV_NONE, LV_NONE, LV_NONE } } };
}

/* The first layer as in llama or qwen2, the second as in gemma3. */
static void add_layer(struct mini *m, uint32_t il)
{
    const uint32_t w = il * W_LAYER, v = il * V_LAYER;
    struct lv_op qkv = matmul(LV_ACT_NORM, false, w, LV_BUF_Q), up = matmul(LV_ACT_NORM, false, w + 4, LV_BUF_G);

    add_op(m, (struct lv_op){ .kind = LV_OP_NORM, .norm = { .v_post = il ? 7 : LV_NONE, .v_pre = v } }, il);
    qkv.mm.n_w = 3;
    for (uint32_t i = 0; i < 3; i++) {
        qkv.mm.w[i] = w + i;
        qkv.mm.dst[i] = (enum lv_buf)(LV_BUF_Q + i);
        qkv.mm.v_bias[i] = il ? LV_NONE : v + 1 + i;
    }
    add_op(m, qkv, il);
    add_op(m, (struct lv_op){ .kind = LV_OP_QKV, .qkv = { .v_qnorm = il ? v + 4 : LV_NONE, .v_knorm = il ? v + 5 : LV_NONE,
                                                          .rope = il } }, il);
    add_op(m, (struct lv_op){ .kind = LV_OP_ATTN }, il);
    add_op(m, matmul(LV_ACT_ATTN, !il, w + 3, il ? LV_BUF_T : LV_BUF_X), il);
    add_op(m, (struct lv_op){ .kind = LV_OP_NORM, .norm = { .v_post = il ? v + 6 : LV_NONE, .v_pre = v + 7 } }, il);
    up.mm.n_w = 2;
    up.mm.w[1] = w + 5;
    up.mm.dst[1] = LV_BUF_U;
    add_op(m, up, il);
    add_op(m, (struct lv_op){ .kind = LV_OP_GLU, .glu = { .kind = il ? LV_GLU_GELU : LV_GLU_SILU } }, il);
    add_op(m, matmul(LV_ACT_FF, false, w + 6, LV_BUF_T), il);
}

static bool make_weights(struct mini *m, enum lv_type type)
{
    bool ok = true;

    for (uint32_t il = 0; il < LAYERS; il++) {
        const uint32_t w = il * W_LAYER, v = il * V_LAYER;
        const uint32_t n[W_LAYER] = { HEADS * DIM, KV_HEADS * DIM, KV_HEADS * DIM, EMBD, FF, FF, EMBD };
        const uint32_t len[V_LAYER] = { EMBD, HEADS * DIM, KV_HEADS * DIM, KV_HEADS * DIM, DIM, DIM, EMBD, EMBD };

        for (uint32_t i = 0; i < W_LAYER; i++)
            ok &= add_weight(m, type, w + i, n[i], i == 3 ? HEADS * DIM : i == 6 ? FF : EMBD);
        for (uint32_t i = 0; i < V_LAYER; i++)
            ok &= add_vector(m, v + i, len[i], i >= 1 && i <= 3 ? 0.0f : 1.0f);
    }
    return ok & add_weight(m, type, N_W - 1, VOCAB, EMBD) & add_vector(m, N_V - 1, EMBD, 1.0f);
}

static bool lay_out(struct mini *m, struct lv_arena *a)
{
    const bool ok = lv_kv_init(&m->kv, &m->p, CTX, SLOTS, a);
    const size_t rows = LV_ACCEL_MAX_ROWS;

    m->x0 = lv_arena_take(a, rows * EMBD, sizeof *m->x0);
    m->x1 = lv_arena_take(a, rows * EMBD, sizeof *m->x1);
    m->logits = lv_arena_take(a, rows * VOCAB, sizeof *m->logits);
    return lv_exec_init(&m->x, &m->p, 1, LV_ACCEL_MAX_ROWS, CTX, SLOTS, false, a) && ok && m->x0 && m->x1 && m->logits;
}

static enum lever_status make(struct mini *m, enum lv_type type, uint64_t seed, struct lever_error *err)
{
    m->rng.state = seed;
    m->window[1] = 12;
    m->p = (struct lv_program){ .shape = { .n_layer = LAYERS, .n_embd = EMBD, .n_ff = FF, .n_head = HEADS, .n_head_kv = KV_HEADS,
                                           .head_dim = DIM, .n_rot = DIM, .n_vocab = VOCAB, .n_ctx_train = CTX, .eps = 1e-6f },
                                .op = m->op, .w = m->w, .n_w = N_W, .v = m->v, .n_v = N_V,
                                .rope = { { 10000.0, 1.0, LV_NONE }, { 1000000.0, 2.0, LV_NONE } }, .n_rope = 2,
                                .rope_neox = seed & 1, .attn_scale = 0.125f, .window = m->window, .v_out_norm = N_V - 1,
                                .w_head = N_W - 1, .head = matmul(LV_ACT_NORM, false, N_W - 1, LV_BUF_LOGITS) };
    for (uint32_t il = 0; il < LAYERS; il++)
        add_layer(m, il);
    add_op(m, (struct lv_op){ .kind = LV_OP_NORM, .norm = { .v_post = V_LAYER + 7, .v_pre = LV_NONE } }, LAYERS - 1);
    const uint64_t most = N_W * lv_group_bytes(LV_TYPE_F32, FF) * (FF / LV_GROUP_ROWS);

    if (!lv_arena_init(&m->weights, most, false) || !make_weights(m, type))
        return LV_FAIL(err, LEVER_E_NOMEM, "self-test of a device: weights");
    struct lv_arena count = { 0 };

    lay_out(m, &count);
    if (!lv_arena_init(&m->arena, count.used_bytes, false) || !lay_out(m, &m->arena))
        return LV_FAIL(err, LEVER_E_NOMEM, "self-test of a device: buffers");
    lv_kern_init(&m->k, 0); /* the reference */
    m->x.k = &m->k;
    m->x.event = &m->x.own_event;
    return lv_program_seal(&m->p, err);
}

/* ---- passes ---------------------------------------------------------------------------- */

/* A pass on both: after it x1 and logits are the device's, the executor's buffers have its own. */
static enum lever_status run_both(struct mini *m, struct lv_accel_model *dm, const struct lv_pass *pass, bool head,
                                  struct lever_error *err)
{
    const uint32_t n = pass->n_rows;
    uint32_t row[LV_ACCEL_MAX_ROWS];

    for (uint32_t i = 0; i < n * EMBD; i++)
        m->x0[i] = lv_rng_f32(&m->rng);
    for (uint32_t i = 0; i < n; i++)
        row[i] = n - 1 - i;
    const struct lv_accel_pass dp = { .pass = pass, .n_kv = m->kv.n, .x = m->x0, .stride_x = EMBD, .head_row = row,
                                      .n_head = head ? n : 0, .logits = m->logits, .stride_logits = VOCAB, .x_out = m->x1 };

    LV_TRY(lv_accel_score(dm, &dp, err));
    memcpy(m->x.buf[LV_BUF_X], m->x0, (size_t)n * EMBD * sizeof *m->x0);
    lv_exec_begin_forward(&m->x, &m->kv, pass);
    while (lv_exec_work(&m->x, 0) != LV_WORK_END)
        ;
    return LEVER_OK;
}

static void count(const float *got, const float *want, uint32_t n, uint64_t *n_diff, double *worst)
{
    double most = 0.0, diff = 0.0;

    for (uint32_t i = 0; i < n; i++) {
        const double d = fabs((double)got[i] - (double)want[i]);

        *n_diff += memcmp(&got[i], &want[i], sizeof *got) != 0;
        diff = d <= diff ? diff : d; /* NaN counts as the largest */
        most = fabs((double)want[i]) > most ? fabs((double)want[i]) : most;
    }
    diff = most > 0.0 ? diff / most : diff;
    *worst = diff <= *worst ? *worst : diff;
}

/* Logits row by row on the reference kernels, and the residual stream. */
static void compare_rows(struct mini *m, uint32_t n, uint64_t *n_diff, double *worst)
{
    count(m->x1, m->x.buf[LV_BUF_X], n * EMBD, n_diff, worst);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t row = n - 1 - i;

        lv_exec_begin_head(&m->x, &row, 1, LV_HEAD_LOGITS);
        while (lv_exec_work(&m->x, 0) != LV_WORK_END)
            ;
        count(m->logits + (size_t)i * VOCAB, m->x.buf[LV_BUF_LOGITS], VOCAB, n_diff, worst);
    }
}

/* A committed prefix, then a random tree with its rows anywhere in the slots. */
static enum lever_status compare(struct mini *m, struct lv_accel *a, uint32_t n_rows, uint64_t *n_diff, double *worst,
                                 struct lever_error *err)
{
    struct lv_accel_model *dm = NULL;
    enum lever_status st;

    LV_TRY(lv_accel_load(&dm, a, &m->p, &m->kv, n_rows > PREFIX ? n_rows : PREFIX, err));
    for (uint32_t r = 0; r < PREFIX; r++) {
        m->slot[r] = (int32_t)(SLOTS - 1 - r);
        memcpy(m->path + m->path_at[r], m->slot, (r + 1) * sizeof *m->path);
        m->path_at[r + 1] = m->path_at[r] + r + 1;
    }
    struct lv_pass pass = { .n_rows = PREFIX, .slot = m->slot, .path_at = m->path_at, .path = m->path };

    if ((st = run_both(m, dm, &pass, false, err)) < 0)
        goto out;
    lv_kv_commit(&m->kv, m->slot, PREFIX);
    if ((st = lv_accel_commit(dm, m->slot, PREFIX, 0, err)) < 0)
        goto out;
    for (uint32_t r = 0; r < n_rows; r++) {
        const uint32_t drawn = lv_rng_below(&m->rng, r + 1), most = CTX - PREFIX - 2;
        const uint32_t parent = drawn && m->path_at[drawn] - m->path_at[drawn - 1] < most ? drawn : 0; /* 0: the prefix */
        const uint32_t len = parent ? m->path_at[parent] - m->path_at[parent - 1] : 0;

        m->slot[r] = (int32_t)(r * 37 % SLOTS); /* each once: rows of a pass share none */
        if (len)
            memcpy(m->path + m->path_at[r], m->path + m->path_at[parent - 1], len * sizeof *m->path);
        m->path[m->path_at[r] + len] = m->slot[r];
        m->path_at[r + 1] = m->path_at[r] + len + 1;
    }
    pass.n_rows = n_rows;
    if ((st = run_both(m, dm, &pass, true, err)) >= 0)
        compare_rows(m, n_rows, n_diff, worst);
out:
    lv_accel_unload(dm);
    return st;
}

enum lever_status lv_accel_compare(struct lv_accel *a, enum lv_type type, uint32_t n_rows, uint64_t seed, uint64_t *n_diff,
                                   double *worst, struct lever_error *err)
{
    struct mini *m = LV_NEW(struct mini);
    enum lever_status st;

    *n_diff = 0;
    *worst = 0.0;
    if (!m)
        return LV_FAIL(err, LEVER_E_NOMEM, "self-test of a device: %zu bytes", sizeof *m);
    st = make(m, type, seed, err);
    if (st >= 0)
        st = compare(m, a, n_rows, n_diff, worst, err);
    lv_free(m->p.part);
    lv_arena_deinit(&m->arena);
    lv_arena_deinit(&m->weights);
    lv_free(m);
    return st;
}
