/* Recorded rounds decided again, beside fixed sizes. (lever_replay) */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "base/mem.h"
#include "cost/cost.h"
#include "tree/tree.h"

static const uint32_t sizes[] = { 1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 160, 192, 256 };
#define N_SIZE (sizeof sizes / sizeof *sizes)

_Static_assert(N_SIZE <= LEVER_REPLAY_SIZES, "room for all sizes");
_Static_assert(LV_STAIRS_MAX <= LEVER_ROUND_STAIRS, "room for a staircase");

/* NaN is not. */
static bool is_time(double x)
{
    return x >= 0.0 && x < 1e9;
}

static const char *contradiction(const struct lever_round *r)
{
    if (r->n_node < 1 || r->n_node > LV_TREE_MAX || r->n_row < 1 || r->n_row > r->n_node)
        return "the number of nodes or rows";
    if (r->n_stair < 1 || r->n_stair > LV_STAIRS_MAX || !is_time(r->rate) || !is_time(r->spent) || !is_time(r->stream) ||
        !is_time(r->head) || !(fabs(r->fixed) < 1e9) || !is_time(r->predicted) || !is_time(r->seconds))
        return "a time, the rate or the number of stairs";
    for (uint32_t i = 0; i < r->n_stair; i++)
        if (!is_time(r->stair[i].seconds) || r->stair[i].rows <= (i ? r->stair[i - 1].rows : 0))
            return "the staircase";
    for (uint32_t i = 0; i < r->n_node; i++) {
        const int32_t parent = r->node[i].parent;

        if (i == 0 ? parent != -1 : parent < 0 || (uint32_t)parent >= i)
            return "a node's parent";
        if (!(r->node[i].p >= 0.0f && r->node[i].p <= 1.001f))
            return "a node's probability";
    }
    return NULL;
}

static struct lv_cost cost_of(const struct lever_round *r)
{
    struct lv_cost c = { .t_stream = r->stream, .t_head = r->head, .t_fixed = r->fixed };

    c.target.n = r->n_stair;
    for (uint32_t i = 0; i < r->n_stair; i++) {
        c.target.rows[i] = r->stair[i].rows;
        c.target.seconds[i] = r->stair[i].seconds;
    }
    return c;
}

/* The nodes that the text took, from the root on. Returns their count; 0 if the text ends before it leaves the tree. */
static uint32_t true_path(const struct lever_replay_round *x, uint32_t *path)
{
    const struct lever_round *r = &x->round;
    uint32_t n = 0, at = 0, i;

    path[n++] = 0;
    for (;;) {
        for (i = at + 1; i < r->n_node && r->node[i].parent != (int32_t)at; i++)
            ;
        if (i == r->n_node)
            return n; /* a leaf: whatever follows, it is not in the tree */
        if (n > x->n_next)
            return 0;
        for (; i < r->n_node; i++)
            if (r->node[i].parent == (int32_t)at && r->node[i].token == x->next[n - 1])
                break;
        if (i == r->n_node)
            return n;
        path[n++] = at = i;
    }
}

struct sum {
    double tokens, rows, seconds;
};

/* A round of n rows. */
static void add(struct sum *s, const struct lever_round *r, const struct lv_cost *c, const uint32_t *path, uint32_t n_path,
                uint32_t n)
{
    n = n < r->n_node ? n : r->n_node;
    for (uint32_t i = 0; i < n_path && path[i] < n; i++)
        s->tokens += 1.0;
    s->rows += n;
    s->seconds += r->spent + lv_cost_round(c, n);
}

static struct lever_replay_size mean(const struct sum *s, uint64_t n_round, uint32_t rows)
{
    const double n = (double)n_round;

    return (struct lever_replay_size){ .rows = rows,
                                       .tokens_per_round = s->tokens / n,
                                       .rows_per_round = s->rows / n,
                                       .seconds_per_round = s->seconds / n,
                                       .tok_per_s = s->seconds > 0.0 ? s->tokens / s->seconds : 0.0 };
}

static int rising(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static uint32_t choose(const struct lever_round *r, const struct lv_cost *c)
{
    float expected[LV_TREE_MAX], sum = 0.0f;

    for (uint32_t i = 0; i < r->n_node; i++)
        expected[i] = sum += r->node[i].p;
    return lv_cost_choose(c, expected, r->n_node, r->spent, r->rate, NULL);
}

enum lever_status lever_replay(const struct lever_replay_round *round, size_t n, struct lever_replay *out,
                               struct lever_error *err)
{
    struct lever_replay o = { .n_fixed = 0 };
    struct sum fixed[N_SIZE] = { { 0 } }, taken = { 0 }, chosen = { 0 };
    double promised = 0.0;
    uint32_t largest = 0;

    if (!out || out->size < sizeof out->size || (!round && n))
        return LV_FAIL(err, LEVER_E_ARG, "lever_replay: rounds and a place for the answer are required");
    double *ratio = LV_NEW_ARRAY(double, n ? n : 1);

    if (!ratio)
        return LV_FAIL(err, LEVER_E_NOMEM, "replay of %zu rounds", n);
    for (size_t k = 0; k < n; k++) {
        const struct lever_round *r = &round[k].round;
        const char *what = contradiction(r);
        uint32_t path[LV_TREE_MAX];

        if (what) {
            lv_free(ratio);
            return LV_FAIL(err, LEVER_E_ARG, "round %zu cannot be right: %s", k, what);
        }
        const uint32_t n_path = true_path(&round[k], path);
        const struct lv_cost c = cost_of(r);

        if (!n_path)
            continue;
        for (size_t i = 0; i < N_SIZE; i++)
            add(&fixed[i], r, &c, path, n_path, sizes[i]);
        add(&taken, r, &c, path, n_path, r->n_row);
        add(&chosen, r, &c, path, n_path, choose(r, &c));
        for (uint32_t i = 0; i < r->n_row; i++)
            promised += (double)r->node[i].p;
        largest = r->n_node > largest ? r->n_node : largest;
        ratio[o.n_round++] = r->seconds > 0.0 ? r->predicted / r->seconds : 0.0;
    }
    if (!o.n_round) {
        lv_free(ratio);
        return LV_FAIL(err, LEVER_E_ARG, "no round can be counted: none chose among candidates, or the text ends too soon");
    }
    qsort(ratio, o.n_round, sizeof *ratio, rising);
    o.predicted = ratio[o.n_round / 2];
    lv_free(ratio);
    o.taken = mean(&taken, o.n_round, 0);
    o.chosen = mean(&chosen, o.n_round, 0);
    for (size_t i = 0; i < N_SIZE && (i == 0 || sizes[i - 1] < largest); i++) {
        o.fixed[o.n_fixed++] = mean(&fixed[i], o.n_round, sizes[i]);
        o.best = o.fixed[i].tok_per_s > o.fixed[o.best].tok_per_s ? (uint32_t)i : o.best;
    }
    o.promised = promised / taken.tokens;
    o.size = out->size;
    memcpy(out, &o, out->size < sizeof o ? out->size : sizeof o);
    return LEVER_OK;
}
