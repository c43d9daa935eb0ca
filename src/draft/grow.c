#include "draft/grow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void lv_grow_clear(struct lv_grow *g)
{
    memset(g->node, 0, sizeof g->node);
    g->root = -1;
    g->n = 0;
    g->n_depth = 0;
}

static int32_t free_node(const struct lv_grow *g)
{
    for (int32_t i = 0; g->n < LV_GROW_MAX && i < LV_GROW_MAX; i++)
        if (g->node[i].state == LV_GROW_FREE)
            return i;
    return -1;
}

static void make_node(struct lv_grow *g, int32_t i, int32_t parent, int32_t token, float lp, uint8_t rank)
{
    g->node[i] = (struct lv_grow_node){ .token = token, .parent = parent, .lp = lp, .state = LV_GROW_OPEN, .rank = rank };
    g->n++;
    if (parent >= 0)
        g->node[parent].n_child++;
}

void lv_grow_init(struct lv_grow *g, int32_t token)
{
    lv_grow_clear(g);
    make_node(g, 0, -1, token, 0.0f, 0);
    g->root = 0;
}

static void free_leaf(struct lv_grow *g, int32_t i)
{
    if (g->node[i].parent >= 0)
        g->node[g->node[i].parent].n_child--;
    g->node[i].state = LV_GROW_FREE;
    g->n--;
}

/* The least probable open leaf, or -1. */
static int32_t weakest(const struct lv_grow *g)
{
    int32_t w = -1;

    for (int32_t i = 0; i < LV_GROW_MAX; i++) {
        const struct lv_grow_node *v = &g->node[i];

        if ((v->state == LV_GROW_OPEN || v->state == LV_GROW_EXPANDED) && v->n_child == 0 && i != g->root && !v->spine && !v->doomed &&
            (w < 0 || v->lp < g->node[w].lp))
            w = i;
    }
    return w;
}

static int32_t find_child(const struct lv_grow *g, int32_t parent, int32_t token)
{
    for (int32_t i = 0; g->node[parent].n_child && i < LV_GROW_MAX; i++)
        if (g->node[i].state != LV_GROW_FREE && g->node[i].parent == parent && g->node[i].token == token &&
            !g->node[i].doomed)
            return i;
    return -1;
}

static int32_t add_child(struct lv_grow *g, int32_t parent, int32_t token, float p, uint8_t rank)
{
    const float lp = g->node[parent].lp + logf(p);
    int32_t i = find_child(g, parent, token);

    if (i >= 0)
        return i;
    i = free_node(g);
    if (i < 0) {
        const int32_t w = weakest(g);

        if (w < 0 || g->node[w].lp >= lp || w == parent)
            return -1;
        free_leaf(g, w);
        i = w;
    }
    make_node(g, i, parent, token, lp, rank);
    return i;
}

int32_t lv_grow_add(struct lv_grow *g, int32_t parent, int32_t token, float p, uint8_t rank)
{
    if (g->node[parent].spine || g->node[parent].doomed) /* the root moved on while this batch ran */
        return -1;
    const int32_t i = add_child(g, parent, token, p, rank);

    if (i >= 0 && !g->node[i].depth) {
        const uint32_t depth = lv_grow_depth(g, i);

        g->node[i].depth = depth < UINT8_MAX ? (uint8_t)depth : UINT8_MAX;
    }
    return i;
}

void lv_grow_set_p(struct lv_grow *g, int32_t node, float p)
{
    const float by = g->node[g->node[node].parent].lp + logf(p) - g->node[node].lp;

    for (int32_t i = 0; i < LV_GROW_MAX; i++) {
        int32_t up = i;

        if (g->node[i].state == LV_GROW_FREE)
            continue;
        while (up >= 0 && up != node)
            up = g->node[up].parent;
        if (up == node && i != node)
            g->node[i].lp += by;
    }
    g->node[node].lp += by;
}

void lv_grow_set_all(struct lv_grow *g, const float *p)
{
    float by[LV_GROW_MAX] = { 0.0f };
    bool done[LV_GROW_MAX] = { false };

    for (int32_t i = 0; i < LV_GROW_MAX; i++) {
        int32_t way[LV_GROW_MAX], up = i;
        uint32_t n = 0;

        for (; up >= 0 && g->node[i].state != LV_GROW_FREE && !done[up]; up = g->node[up].parent)
            way[n++] = up;
        while (n-- > 0) { /* from the top: what is above is done, and still as it was */
            const int32_t v = way[n], parent = g->node[v].parent;

            if (parent >= 0)
                by[v] = by[parent] + (p[v] > 0.0f ? g->node[parent].lp - by[parent] + logf(p[v]) - g->node[v].lp : 0.0f);
            g->node[v].lp += by[v];
            done[v] = true;
        }
    }
}

float lv_grow_rest(const struct lv_grow *g, int32_t node)
{
    float rest = 1.0f;

    for (int32_t i = 0; g->node[node].n_child && i < LV_GROW_MAX; i++)
        if (g->node[i].state != LV_GROW_FREE && g->node[i].parent == node && !g->node[i].doomed)
            rest -= expf(g->node[i].lp - g->node[node].lp);
    return rest > 0.0f ? rest : 0.0f;
}

float lv_grow_p(const struct lv_grow *g, int32_t node)
{
    return expf(g->node[node].lp - g->node[g->root].lp);
}

uint32_t lv_grow_depth(const struct lv_grow *g, int32_t node)
{
    uint32_t d = 0;

    for (; node != g->root; node = g->node[node].parent)
        d++;
    return d;
}

uint32_t lv_grow_path(const struct lv_grow *g, int32_t node, int32_t *slot)
{
    uint32_t n = 0;

    for (int32_t i = node; i >= 0; i = g->node[i].parent)
        n++;
    for (uint32_t at = n; at-- > 0; node = g->node[node].parent)
        slot[at] = node;
    return n;
}

/* The most probable node to expand, at least `least`, or -1. Its
 * ancestors are all computed, or on the spine and computed before it: expansion goes downwards. */
static int32_t best_open(const struct lv_grow *g, float least)
{
    int32_t best = -1;

    for (int32_t i = 0; i < LV_GROW_MAX; i++) {
        const struct lv_grow_node *v = &g->node[i];

        if (v->state == LV_GROW_OPEN && !v->spine && !v->doomed && v->lp >= least &&
            (best < 0 || v->lp > g->node[best].lp) &&
            (i == g->root || g->node[v->parent].state == LV_GROW_EXPANDED))
            best = i;
    }
    return best;
}

uint32_t lv_grow_likely(const struct lv_grow *g, int32_t *node, uint32_t cap)
{
    int32_t at = g->root;
    uint32_t n = 0;

    while (n < cap && g->node[at].n_child) {
        int32_t best = -1;

        for (int32_t i = 0; i < LV_GROW_MAX; i++)
            if (g->node[i].state != LV_GROW_FREE && g->node[i].parent == at && !g->node[i].doomed &&
                (best < 0 || g->node[i].lp > g->node[best].lp))
                best = i;
        if (best < 0)
            break;
        node[n++] = at = best;
    }
    return n;
}

uint32_t lv_grow_batch(struct lv_grow *g, uint32_t max_open, float p_min, int32_t *node, uint32_t cap, uint32_t *n_spine)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < g->n_depth && n + max_open < cap; i++)
        if (g->node[g->spine[i]].state == LV_GROW_OPEN)
            node[n++] = g->spine[i];
    *n_spine = n;
    for (uint32_t i = 0; i < n; i++)
        g->node[node[i]].state = LV_GROW_QUEUED;
    const float least = g->node[g->root].lp + logf(p_min);

    for (uint32_t k = 0; k < max_open; k++) {
        const int32_t best = best_open(g, least);

        if (best < 0)
            break;
        g->node[best].state = LV_GROW_QUEUED;
        node[n++] = best;
    }
    if (n == *n_spine) { /* nothing to expand: the spine can wait */
        for (uint32_t i = 0; i < n; i++)
            g->node[node[i]].state = LV_GROW_OPEN;
        *n_spine = 0;
        return 0;
    }
    return n;
}

void lv_grow_batch_done(struct lv_grow *g, const int32_t *node, uint32_t n, bool failed)
{
    for (uint32_t i = 0; i < n; i++) {
        struct lv_grow_node *v = &g->node[node[i]];

        v->state = failed ? LV_GROW_OPEN : LV_GROW_EXPANDED;
    }
    for (uint32_t i = 0; i < n; i++) /* upwards: ancestors that only waited for this one go too */
        for (int32_t v = node[i], up; v >= 0 && g->node[v].state != LV_GROW_FREE && g->node[v].doomed &&
                                      g->node[v].n_child == 0; v = up) {
            up = g->node[v].parent;
            free_leaf(g, v);
        }
}

/* More probable first; at equal probability parents before children, then by index, so that the order is fixed. */
static int by_lp(const void *a, const void *b)
{
    const struct lv_grow_ranked *x = a, *y = b;

    if (x->lp != y->lp)
        return x->lp < y->lp ? 1 : -1;
    if (x->depth != y->depth)
        return x->depth < y->depth ? -1 : 1;
    return (x->node > y->node) - (x->node < y->node);
}

uint32_t lv_grow_rank(const struct lv_grow *g, uint32_t max_depth, struct lv_grow_ranked *r)
{
    uint32_t n = 0;

    for (int32_t i = 0; i < LV_GROW_MAX; i++) {
        if (g->node[i].state == LV_GROW_FREE || g->node[i].spine || g->node[i].doomed)
            continue;
        const uint32_t depth = lv_grow_depth(g, i);

        if (depth <= max_depth)
            r[n++] = (struct lv_grow_ranked){ i, g->node[i].lp - g->node[g->root].lp, (uint16_t)depth };
    }
    qsort(r, n, sizeof *r, by_lp);
    return n;
}

void lv_grow_select(const struct lv_grow *g, uint32_t n_max, uint32_t max_depth, struct lv_tree *t, int32_t *map)
{
    struct lv_grow_ranked r[LV_GROW_MAX];
    int32_t place[LV_GROW_MAX]; /* grow node -> tree node */
    const uint32_t n = lv_grow_rank(g, max_depth, r);

    lv_tree_init(t, g->node[g->root].token);
    map[0] = g->root;
    place[g->root] = 0;
    for (uint32_t i = 1; i < n && t->n < n_max && t->n < LV_TREE_MAX; i++) {
        const int32_t v = lv_tree_add(t, place[g->node[r[i].node].parent], g->node[r[i].node].token);

        map[v] = r[i].node;
        place[r[i].node] = v;
    }
}

uint32_t lv_grow_expected(const struct lv_grow_ranked *r, uint32_t n, float *cumulative, uint32_t cap)
{
    float sum = 0.0f;

    n = n < cap ? n : cap;
    for (uint32_t i = 0; i < n; i++)
        cumulative[i] = sum += expf(r[i].lp);
    return n;
}

static int falling(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x < y) - (x > y);
}

uint32_t lv_grow_expected_ahead(const struct lv_grow *g, const struct lv_grow_ranked *r, uint32_t n, uint32_t max_depth,
                                uint32_t max_open, uint32_t steps, float p_child, float *cumulative, uint32_t cap)
{
    float found[LV_GROW_OPEN_MAX * LV_GROW_STEPS_MAX], left[LV_GROW_MAX], sum = 0.0f;
    uint32_t n_open = 0, n_found = 0, at = 0, n_out = 0;

    max_open = max_open < LV_GROW_OPEN_MAX ? max_open : LV_GROW_OPEN_MAX;
    steps = steps < LV_GROW_STEPS_MAX ? steps : LV_GROW_STEPS_MAX;
    for (uint32_t i = 0; i < n; i++) {
        left[r[i].node] = expf(r[i].lp);
        if (i)
            left[g->node[r[i].node].parent] -= left[r[i].node];
    }
    for (uint32_t i = 0; i < n && n_open < max_open; i++) {
        float p = left[r[i].node];
        const uint8_t state = g->node[r[i].node].state;

        if ((state != LV_GROW_OPEN && state != LV_GROW_QUEUED) || r[i].depth >= max_depth)
            continue;
        n_open++;
        for (uint32_t k = 0; k < steps && r[i].depth + k < max_depth && p > 0.0f; k++)
            found[n_found++] = p *= p_child;
    }
    qsort(found, n_found, sizeof *found, falling);
    for (uint32_t i = 0; n_out < cap && (i < n || at < n_found);) { /* both fall */
        const float p = i < n ? expf(r[i].lp) : -1.0f;

        sum += at < n_found && found[at] > p ? found[at++] : (i++, p);
        cumulative[n_out++] = sum;
    }
    return n_out;
}

/* Frees all but the spine and the subtree of `keep` (-1: nothing). Queued nodes, and those above them, are doomed
 * instead: their slots are in use until the batch ends. */
static void prune(struct lv_grow *g, int32_t keep)
{
    bool changed = true;

    for (int32_t i = 0; i < LV_GROW_MAX; i++) {
        int32_t v = i;

        if (g->node[i].state == LV_GROW_FREE || g->node[i].spine)
            continue;
        while (v >= 0 && v != keep)
            v = g->node[v].parent;
        g->node[i].doomed = g->node[i].doomed || v < 0;
    }
    while (changed) { /* leaves first */
        changed = false;
        for (int32_t i = 0; i < LV_GROW_MAX; i++) {
            const struct lv_grow_node *v = &g->node[i];

            if (v->state != LV_GROW_FREE && v->state != LV_GROW_QUEUED && v->doomed && !v->n_child) {
                free_leaf(g, i);
                changed = true;
            }
        }
    }
}

bool lv_grow_advance(struct lv_grow *g, int32_t token)
{
    const int32_t old = g->root;
    int32_t child = find_child(g, old, token);
    const bool known = child >= 0;

    g->node[old].spine = true;
    g->spine[g->n_depth++] = old;
    prune(g, child);
    if (!known)
        child = add_child(g, old, token, 1.0f, 0);
    g->root = child;
    return known;
}

uint32_t lv_grow_spine_ready(const struct lv_grow *g, int32_t *slot)
{
    uint32_t n = 0;

    while (n < g->n_depth && g->node[g->spine[n]].state == LV_GROW_EXPANDED) {
        slot[n] = g->spine[n];
        n++;
    }
    return n;
}

void lv_grow_drop_spine(struct lv_grow *g, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const int32_t v = g->spine[i];

        /* Its one living child hangs in the air now: the oldest. Doomed ones were freed with their batch. */
        for (int32_t c = 0; c < LV_GROW_MAX; c++)
            if (g->node[c].state != LV_GROW_FREE && g->node[c].parent == v)
                g->node[c].parent = -1;
        g->node[v].n_child = 0;
        g->node[v].spine = false;
        free_leaf(g, v);
    }
    memmove(g->spine, g->spine + n, (g->n_depth - n) * sizeof *g->spine);
    g->n_depth -= n;
}

bool lv_grow_validate(const struct lv_grow *g)
{
    uint16_t n_child[LV_GROW_MAX] = { 0 };
    uint32_t n = 0;

    for (int32_t i = 0; i < LV_GROW_MAX; i++) {
        const struct lv_grow_node *v = &g->node[i];

        if (v->state == LV_GROW_FREE)
            continue;
        n++;
        if (v->parent >= LV_GROW_MAX || (v->parent >= 0 && g->node[v->parent].state == LV_GROW_FREE))
            return false;
        if (v->parent >= 0) {
            n_child[v->parent]++;
            if (v->lp > g->node[v->parent].lp)
                return false;
        }
        int32_t up = i;

        for (uint32_t step = 0; up >= 0 && up != g->root && !v->spine && !v->doomed; up = g->node[up].parent)
            if (step++ > LV_GROW_MAX)
                return false;
        if (!v->spine && !v->doomed && up != g->root)
            return false;
    }
    for (int32_t i = 0; i < LV_GROW_MAX; i++)
        if (g->node[i].state != LV_GROW_FREE && n_child[i] != g->node[i].n_child)
            return false;
    for (uint32_t i = 0; i < g->n_depth; i++)
        if (!g->node[g->spine[i]].spine || g->node[g->spine[i]].parent != (i ? g->spine[i - 1] : -1))
            return false;
    return n == g->n && g->root >= 0 && !g->node[g->root].spine;
}
