#include "engine/stairs.h"

#include <string.h>

#include "base/clock.h"

static const uint32_t row_counts[] = { 1, 2, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256 };

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
