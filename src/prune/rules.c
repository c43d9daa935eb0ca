#include "prune/rules.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>

#define NEAR_DEPTH 1 /* children of the root .. */
#define NEAR_MOST 2  /* .. of which two stay */
#define LEAST 3      /* rows that must be left */

void lv_rules_path(const int32_t *parent, const float *p, uint32_t n, float *path)
{
    path[0] = 1.0f;
    for (uint32_t i = 1; i < n; i++) {
        const float own = p[i] > 0.0f ? p[i] < 1.0f ? p[i] : 1.0f : 0.0f; /* NaN becomes 0 */

        path[i] = path[parent[i]] * own;
    }
}

void lv_rules_ancestors(const int32_t *parent, uint32_t n, bool *keep)
{
    for (uint32_t i = n; i-- > 1;) /* parents come before their children */
        if (keep[i])
            keep[parent[i]] = true;
}

/* The child of largest path among those not yet kept (or of all), or -1. */
static int32_t best_child(const int32_t *parent, const float *path, uint32_t n, int32_t node, const bool *but)
{
    int32_t best = -1;

    for (uint32_t i = (uint32_t)node + 1; i < n; i++)
        if (parent[i] == node && !(but && but[i]) && (best < 0 || path[i] > path[best]))
            best = (int32_t)i;
    return best;
}

void lv_rules_trusted(const int32_t *parent, const float *path, uint32_t n, bool *keep)
{
    for (int32_t node = 0; node >= 0; node = best_child(parent, path, n, node, NULL))
        keep[node] = true;
}

void lv_rules_near_root(const int32_t *parent, const float *path, uint32_t n, uint32_t max_depth, uint32_t most, bool *keep)
{
    uint32_t depth[LV_RULES_MAX] = { 0 };

    assert(n <= LV_RULES_MAX);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t have = 0;

        depth[i] = i ? depth[parent[i]] + 1 : 0;
        if (!keep[i] || depth[i] >= max_depth)
            continue;
        for (uint32_t c = i + 1; c < n; c++)
            have += parent[c] == (int32_t)i && keep[c];
        for (int32_t c; have < most && (c = best_child(parent, path, n, (int32_t)i, keep)) >= 0; have++)
            keep[c] = true;
    }
}

bool lv_rules_enough(const bool *keep, uint32_t n, uint32_t least)
{
    uint32_t have = 0;

    for (uint32_t i = 0; i < n; i++)
        have += keep[i];
    return have >= least;
}

/* Nodes in the order in which they are kept: what the rules want, then by path; a parent comes before its children, as it
 * is as probable at least and has the lower index. */
static uint32_t order(const float *path, uint32_t n, const bool *forced, uint32_t *out)
{
    uint32_t n_forced = 0, at;

    for (uint32_t i = 0; i < n; i++)
        if (forced[i])
            out[n_forced++] = i;
    at = n_forced;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = at;

        if (forced[i])
            continue;
        for (; k > n_forced && path[out[k - 1]] < path[i]; k--)
            out[k] = out[k - 1];
        out[k] = i;
        at++;
    }
    return n_forced;
}

uint32_t lv_rules_select(const int32_t *parent, const float *path, uint32_t n, const struct lv_rules_price *price, bool *keep,
                         double *gain)
{
    uint32_t row[LV_RULES_MAX], best = n;
    double sum[LV_RULES_MAX + 1] = { 0.0 }, best_gain = 0.0;
    bool forced[LV_RULES_MAX] = { true };

    assert(n >= 1 && n <= LV_RULES_MAX);
    lv_rules_trusted(parent, path, n, forced);
    lv_rules_near_root(parent, path, n, NEAR_DEPTH, NEAR_MOST, forced);
    lv_rules_ancestors(parent, n, forced);
    const uint32_t n_forced = order(path, n, forced, row);

    for (uint32_t i = 0; i < n; i++)
        sum[i + 1] = sum[i] + (double)path[row[i]];
    for (uint32_t e = 0; e < price->n_edge; e++) {
        const uint32_t k = price->edge[e];

        if (k < n_forced || k >= n)
            continue;
        const double saved = price->seconds_all - price->seconds[e] - price->seconds_cut;
        const double better = price->rate * saved - (sum[n] - sum[k]);

        if (better > best_gain) {
            best_gain = better;
            best = k;
        }
    }
    for (uint32_t i = 0; i < n; i++)
        keep[row[i]] = i < best;
    if (!lv_rules_enough(keep, n, LEAST)) {
        for (uint32_t i = 0; i < n; i++)
            keep[i] = true;
        best = n;
        best_gain = 0.0;
    }
    *gain = best_gain;
    return best;
}
