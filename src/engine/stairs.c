#include "engine/stairs.h"

#include <string.h>

#include "base/clock.h"
#include "tree/tree.h"

static const uint32_t row_counts[] = { 1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256 };

/* Seconds of one group of w for n rows: the best of three. */
static double time_group(const struct lv_exec *x, const struct lv_weight *w, uint32_t n)
{
    float *y = (float *)x->scratch[0];
    const uint8_t *group = NULL;
    uint64_t best = UINT64_MAX;

    for (uint32_t s = 0; s < w->n_seg && !group; s++)
        group = w->seg[s].r32;
    if (!group) /* streamed from end to end: any bytes will do, they are as fast */
        group = x->scratch[0] + (x->scratch_bytes - w->group_bytes) / 64 * 64;
    for (int i = 0; i < 3; i++) {
        const uint64_t t0 = lv_now_ns();

        x->k->gemm[w->type](y, LV_GROUP_ROWS, group, &x->act[w->n_cols == x->p->shape.n_ff ? LV_ACT_FF : LV_ACT_NORM], 0, n);
        const uint64_t t = lv_now_ns() - t0;

        best = t < best ? t : best;
    }
    return lv_seconds(best);
}

void lv_stairs_measure(struct lv_stairs *out, const struct lv_exec *x, uint32_t n_worker)
{
    const struct lv_program *p = x->p;

    *out = (struct lv_stairs){ 0 };
    for (uint32_t i = 0; i < sizeof row_counts / sizeof *row_counts && row_counts[i] <= x->max_rows; i++) {
        double per_type[LV_TYPE_MAX][2] = { { 0 } }, sum = 0.0;

        for (uint32_t k = 0; k < p->n_w; k++) {
            const struct lv_weight *w = &p->w[k];
            const int wide = w->n_cols == p->shape.n_ff;
            double *t = &per_type[w->type][wide];

            /* Matrices with another input width are counted by their columns. */
            if (k == p->w_head || (!wide && w->n_cols != p->shape.n_embd))
                continue;
            if (*t == 0.0)
                *t = time_group(x, w, row_counts[i]);
            sum += *t * w->n_groups;
        }
        out->rows[out->n] = row_counts[i];
        out->seconds[out->n++] = sum / n_worker;
    }
}

#define RUN_NS 150000000u /* no further row count after this */

/* A device that fails is found out by the first who needs its result. */
static enum lever_status run_on_device(struct lv_instance *m, const int32_t *token, const struct lv_pass *pass,
                                       const uint32_t *row, bool with_head, struct lever_error *err)
{
    struct lv_exec *x = &m->exec;
    const uint32_t n = pass->n_rows;

    lv_accel_wait(m->device, NULL); /* the last sequence's batch */
    LV_TRY(lv_embed_rows(&m->embed, token, n, x->buf[LV_BUF_X], x->stride[LV_BUF_X], x->cancel, err));
    const struct lv_accel_pass dp = { .pass = pass,
                                      .n_kv = m->kv.n,
                                      .x = x->buf[LV_BUF_X],
                                      .stride_x = x->stride[LV_BUF_X],
                                      .head_row = row,
                                      .n_head = !with_head ? 0 : n < LV_HEAD_ROWS ? n : LV_HEAD_ROWS,
                                      .logits = x->buf[LV_BUF_LOGITS],
                                      .stride_logits = x->stride[LV_BUF_LOGITS] };

    lv_accel_score(m->device, &dp, NULL);
    return LEVER_OK;
}

static enum lever_status run_rows(struct lv_instance *m, uint32_t n, bool with_head, struct lever_error *err)
{
    int32_t slot[LV_TREE_MAX], token[LV_TREE_MAX] = { 0 };
    uint32_t path_at[LV_TREE_MAX + 1], row[LV_HEAD_ROWS];

    for (uint32_t i = 0; i < n; i++)
        slot[i] = (int32_t)i;
    for (uint32_t i = 0; i <= n; i++)
        path_at[i] = i;
    for (uint32_t i = 0; i < LV_HEAD_ROWS; i++)
        row[i] = i;
    const struct lv_pass pass = { .n_rows = n, .slot = slot, .path_at = path_at, .path = slot };

    if (m->device)
        return run_on_device(m, token, &pass, row, with_head, err);
    LV_TRY(lv_instance_forward(m, token, &pass, err));
    if (!with_head)
        return LEVER_OK;
    return lv_instance_head(m, row, n < LV_HEAD_ROWS ? n : LV_HEAD_ROWS, (struct lv_head){ .n_top = 1 }, err);
}

enum lever_status lv_stairs_time(double *seconds, struct lv_instance *m, uint32_t n, struct lever_error *err)
{
    uint64_t best = UINT64_MAX;

    for (int i = 0; i < 4; i++) {
        const uint64_t t0 = lv_now_ns();

        LV_TRY(run_rows(m, n, true, err));
        const uint64_t t = lv_now_ns() - t0;

        best = i && t < best ? t : best; /* the first one touches the memory */
    }
    *seconds = lv_seconds(best);
    return LEVER_OK;
}

enum lever_status lv_stairs_run(struct lv_stairs *out, struct lv_instance *m, bool with_head, struct lever_error *err)
{
    const uint64_t begin = lv_now_ns();
    double last = 0.0, factor = 1.0;

    lv_stairs_measure(out, &m->exec, lv_pool_n(m->exec.pool));
    LV_TRY(run_rows(m, 1, with_head, err)); /* first touches */
    for (uint32_t i = 0; i < out->n; i++) {
        const uint64_t t0 = lv_now_ns();
        double t = out->seconds[i] * factor;

        if (out->rows[i] <= LV_TREE_MAX && t0 - begin < RUN_NS) {
            LV_TRY(run_rows(m, out->rows[i], with_head, err));
            t = lv_seconds(lv_now_ns() - t0);
            factor = t / out->seconds[i];
        }
        last = t > last ? t : last; /* more rows never take less: what seems so is noise */
        out->seconds[i] = last;
    }
    return LEVER_OK;
}

/* A head over rows of the last forward, or of whatever lies there: floats are as fast as others. */
enum lever_status lv_stairs_head(struct lv_stairs *out, struct lv_instance *m, struct lever_error *err)
{
    const struct lv_weight *w = &m->program->w[m->program->w_head];
    uint32_t row[LV_HEAD_ROWS];
    double last = 0.0;

    for (uint32_t i = 0; i < LV_HEAD_ROWS; i++)
        row[i] = i;
    *out = (struct lv_stairs){ 0 };
    for (uint32_t i = 0; row_counts[i] <= LV_HEAD_ROWS && row_counts[i] <= m->exec.max_rows; i++) {
        double best = 1e9;

        for (int turn = 0; turn < 3 && !m->stream_head; turn++) {
            const uint64_t t0 = lv_now_ns();

            LV_TRY(lv_exec_head(&m->exec, row, row_counts[i], LV_HEAD_BEST, err));
            const double t = lv_seconds(lv_now_ns() - t0);

            best = turn && t < best ? t : best; /* the first one touches things */
        }
        if (m->stream_head)
            best = time_group(&m->exec, w, row_counts[i]) * w->n_groups / m->exec.n_worker;
        last = best > last ? best : last;
        out->rows[out->n] = row_counts[i];
        out->seconds[out->n++] = last;
    }
    return LEVER_OK;
}
