/* The head's product kept small: the largest logits of each row and the sum of their exponentials, group by group while
 * the products are in the cache, so that no row of a vocabulary's length is written and read again. */
#include <math.h>
#include <string.h>

#include "base/log_math.h"
#include "model/exec.h"

/* a before b: larger, or as large and of a lower token. NaN comes last. */
static bool before(struct lv_top a, struct lv_top b)
{
    if (isnan(a.logit) || isnan(b.logit))
        return isnan(b.logit) && (!isnan(a.logit) || a.id < b.id);
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* Tokens that count. */
static uint32_t n_counted(const struct lv_exec *x)
{
    const uint32_t n = x->p->w[x->p->w_head].n_rows;

    return x->head.n_vocab && x->head.n_vocab < n ? x->head.n_vocab : n;
}

/* Puts t into its place of an ordered list of up to x->head.n_top. */
static void insert(const struct lv_exec *x, struct lv_top *list, uint32_t *n, struct lv_top t)
{
    uint32_t i = *n;

    if (i == x->head.n_top) {
        if (!before(t, list[i - 1]))
            return;
        i--;
    } else {
        ++*n;
    }
    for (; i > 0 && before(t, list[i - 1]); i--)
        list[i] = list[i - 1];
    list[i] = t;
}

/* LV_BUF_LOGITS is free when only the top is wanted: for each group its largest logit and 1 / sum. */
static float *mass_of(const struct lv_exec *x, uint32_t r, uint32_t group)
{
    return lv_exec_row(x, LV_BUF_LOGITS, r) + 2 * (size_t)group;
}

void lv_head_add(struct lv_exec *x, unsigned worker, uint32_t r, float *logit, uint32_t id0)
{
    const size_t at = (size_t)worker * LV_HEAD_ROWS + r;
    struct lv_top *list = x->top + at * LV_HEAD_TOP_MAX, best;

    if (id0 >= n_counted(x))
        return;
    const uint32_t left = n_counted(x) - id0, n = left < LV_GROUP_ROWS ? left : LV_GROUP_ROWS;

    best.id = id0 + x->k->argmax(logit, n, &best.logit);
    if (x->head.n_top == 1)
        insert(x, list, &x->n_top[at], best);
    else if (x->n_top[at] < x->head.n_top || before(best, list[x->n_top[at] - 1]))
        for (uint32_t i = 0; i < n; i++)
            insert(x, list, &x->n_top[at], (struct lv_top){ logit[i], id0 + i });
    if (!(x->head.sharpen > 0.0f))
        return;
    float *mass = mass_of(x, r, id0 / LV_GROUP_ROWS);

    for (uint32_t i = n; i < LV_GROUP_ROWS; i++)
        logit[i] = -INFINITY;
    x->k->scale(logit, x->head.sharpen, LV_GROUP_ROWS);
    mass[0] = best.logit;
    mass[1] = x->k->softmax(logit, LV_GROUP_ROWS);
}

void lv_exec_give_head(struct lv_exec *x, struct lv_head head)
{
    x->head = head;
    memset(x->n_top, 0, (size_t)x->n_worker * LV_HEAD_ROWS * sizeof *x->n_top);
}

void lv_exec_give_logits(struct lv_exec *x, unsigned worker, uint32_t i)
{
    float group[LV_GROUP_ROWS];

    if (!x->head.n_top)
        return; /* the logits themselves are wanted */
    for (uint32_t g = 0; g < x->p->w[x->p->w_head].n_groups; g++) {
        /* A copy: what is kept of a group takes the place of logits that were read before. */
        memcpy(group, lv_exec_row(x, LV_BUF_LOGITS, i) + (size_t)g * LV_GROUP_ROWS, sizeof group);
        lv_head_add(x, worker, i, group, g * LV_GROUP_ROWS);
    }
}

uint32_t lv_exec_top(const struct lv_exec *x, uint32_t i, struct lv_top *top)
{
    uint32_t n = 0;

    for (uint32_t w = 0; w < x->n_worker; w++) {
        const size_t at = (size_t)w * LV_HEAD_ROWS + i;

        for (uint32_t k = 0; k < x->n_top[at]; k++)
            insert(x, top, &n, x->top[at * LV_HEAD_TOP_MAX + k]);
    }
    return n;
}

double lv_exec_mass(const struct lv_exec *x, uint32_t i)
{
    const uint32_t n_group = (n_counted(x) + LV_GROUP_ROWS - 1) / LV_GROUP_ROWS;
    float max = -INFINITY;
    double sum = 0.0;

    for (uint32_t g = 0; g < n_group; g++)
        max = mass_of(x, i, g)[0] > max ? mass_of(x, i, g)[0] : max;
    for (uint32_t g = 0; g < n_group; g++) {
        const float *m = mass_of(x, i, g);
        const double d = ((double)m[0] - (double)max) * (double)x->head.sharpen;

        if (d > -28.0 && !isnan(m[1])) /* less weighs nothing */
            sum += lv_exp_f64(d) / (double)m[1];
    }
    return sum;
}
