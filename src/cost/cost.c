#include "cost/cost.h"

#include <math.h>

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

double lv_cost_pass(const struct lv_cost *c, uint32_t rows)
{
    const double t = lv_stairs_at(&c->target, rows) * c->correction;

    return t > c->t_stream ? t : c->t_stream;
}

double lv_cost_round(const struct lv_cost *c, uint32_t rows)
{
    return lv_cost_pass(c, rows) + c->t_head + c->t_fixed;
}

void lv_cost_learn(struct lv_cost *c, uint32_t rows, double seconds, double waited)
{
    const double predicted = lv_stairs_at(&c->target, rows);

    /* A pass that waited much says nothing about compute. */
    if (!(predicted > 0.0) || !(waited < 0.05 * seconds))
        return;
    c->correction += 0.2 * ((seconds - waited) / predicted - c->correction);
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
