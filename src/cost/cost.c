#include "cost/cost.h"

#include <math.h>

#define LEARN_KEEP 0.9 /* of a pass's weight is left a pass later */
#define PRIOR 0.2      /* weight of each of the two made-up passes */
#define SPREAD 0.2     /* the stream takes t_stream (1 - SPREAD) to (1 + SPREAD) */
#define RUN_KEEP 0.95  /* share of a round's weight in a run that is left a round later */
#define RUN_ROUNDS 4   /* rounds before a run has a rate */
#define CHAIN_MAX 32 /* rows that lv_cost_chain_rate tries */

double lv_stairs_at(const struct lv_stairs *s, uint32_t rows)
{
    uint32_t i = 0;

    if (!s->n)
        return 0.0;
    while (i < s->n && s->rows[i] < rows)
        i++;
    if (i == s->n)
        return s->seconds[s->n - 1] * rows / s->rows[s->n - 1];
    if (i == 0 || s->rows[i] == rows)
        return s->seconds[i];
    const double share = (double)(rows - s->rows[i - 1]) / (double)(s->rows[i] - s->rows[i - 1]);

    return s->seconds[i - 1] + share * (s->seconds[i] - s->seconds[i - 1]);
}

double lv_cost_compute(const struct lv_cost *c, uint32_t rows)
{
    const double x = lv_stairs_at(&c->target, rows);

    if (!(c->fit.n > 0.0) || !c->target.n)
        return x;
    /* At both ends of the staircase a pass is made up that took what the staircase says: the prior. */
    const double u0 = 1.0 / c->target.seconds[0], u1 = 1.0 / c->target.seconds[c->target.n - 1];
    const double n = c->fit.n + 2.0 * PRIOR, u = c->fit.u + PRIOR * (u0 + u1);
    const double uu = c->fit.uu + PRIOR * (u0 * u0 + u1 * u1), r = c->fit.r + 2.0 * PRIOR, ru = c->fit.ru + PRIOR * (u0 + u1);
    const double det = n * uu - u * u;
    double a = det > 1e-9 * n * uu ? (n * ru - u * r) / det : 0.0, b = (r - a * u) / n;

    if (a < 0.0) {
        a = 0.0;
        b = r / n;
    } else if (b < 0.0) {
        a = ru / uu;
        b = 0.0;
    }
    return a + b * x;
}

double lv_cost_pass(const struct lv_cost *c, uint32_t rows)
{
    const double t = lv_cost_compute(c, rows), lo = (1.0 - SPREAD) * c->t_stream, hi = (1.0 + SPREAD) * c->t_stream;

    if (t <= lo)
        return c->t_stream;
    if (t >= hi)
        return t;
    return (t * (t - lo) + 0.5 * (hi * hi - t * t)) / (hi - lo);
}

double lv_cost_round(const struct lv_cost *c, uint32_t rows)
{
    return lv_cost_pass(c, rows) + c->t_head + c->t_fixed;
}

double lv_cost_cut(const struct lv_cost *c, uint32_t all, uint32_t rows, double left)
{
    const double compute = (1.0 - left) * lv_cost_compute(c, all) + left * lv_cost_compute(c, rows);

    return compute > c->t_stream ? compute : c->t_stream;
}

void lv_cost_learn(struct lv_cost *c, uint32_t rows, double seconds)
{
    const double x = lv_stairs_at(&c->target, rows);

    if (!(x > 0.0) || !(seconds > 0.0))
        return;
    const double u = 1.0 / x, r = seconds / x;

    c->fit.n = LEARN_KEEP * c->fit.n + 1.0;
    c->fit.u = LEARN_KEEP * c->fit.u + u;
    c->fit.uu = LEARN_KEEP * c->fit.uu + u * u;
    c->fit.r = LEARN_KEEP * c->fit.r + r;
    c->fit.ru = LEARN_KEEP * c->fit.ru + r * u;
}

double lv_cost_chain_rate(const struct lv_cost *c, double p, double t_draft)
{
    double best = 0.0, tokens = 0.0, path = 1.0;

    for (uint32_t rows = 1; rows <= CHAIN_MAX; rows++) {
        tokens += path;
        path *= p;
        const double rate = tokens / ((rows - 1) * t_draft + lv_cost_round(c, rows));

        best = rate > best ? rate : best;
    }
    return best;
}

void lv_run_add(struct lv_run *r, double tokens, double seconds)
{
    r->tokens = RUN_KEEP * r->tokens + tokens;
    r->seconds = RUN_KEEP * r->seconds + seconds;
    r->n_round++;
}

double lv_run_rate(const struct lv_run *r, double promise)
{
    const double rate = r->n_round >= RUN_ROUNDS ? r->tokens / r->seconds : 0.0;

    return rate > promise ? rate : promise;
}

uint32_t lv_cost_choose(const struct lv_cost *c, const float *expected, uint32_t n, double t_spent, double rate,
                        double *value)
{
    uint32_t best = 1;
    double best_value = -HUGE_VAL;

    for (uint32_t i = 1; i <= n; i++) {
        const double v = (double)expected[i - 1] - rate * (t_spent + lv_cost_round(c, i));

        if (v > best_value) {
            best_value = v;
            best = i;
        }
    }
    if (value)
        *value = best_value;
    return best;
}
