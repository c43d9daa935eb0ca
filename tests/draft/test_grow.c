/* The growing tree against a naive twin that keeps every path as a list of tokens.
 *
 * usage: test_grow [SEED]
 *
 * Random growth, batches that end late or fail, roots that move to known and unknown tokens. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "check.h"
#include "draft/grow.h"

#define MAX_PATHS 4096
#define MAX_LEN 40

static uint64_t seed = 99;

/* The twin: tokens of a path below the root, and its probability. */
struct path {
    int32_t token[MAX_LEN];
    uint32_t len;
    double p;
};

static struct path twin[MAX_PATHS];
static uint32_t n_twin;

static int find(const int32_t *token, uint32_t len)
{
    for (uint32_t i = 0; i < n_twin; i++)
        if (twin[i].len == len && memcmp(twin[i].token, token, len * sizeof *token) == 0)
            return (int)i;
    return -1;
}

/* Tokens from the root to a node. */
static uint32_t tokens_of(const struct lv_grow *g, int32_t node, int32_t *token)
{
    const uint32_t n = lv_grow_depth(g, node);

    for (uint32_t i = n; i-- > 0; node = g->node[node].parent)
        token[i] = g->node[node].token;
    return n;
}

/* The root moves in the twin: paths that begin with the token lose it, the others go. */
static void twin_advance(int32_t token, double p)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < n_twin; i++) {
        if (twin[i].len == 0 || twin[i].token[0] != token)
            continue;
        struct path t = twin[i];

        memmove(t.token, t.token + 1, --t.len * sizeof *t.token);
        t.p /= p;
        twin[n++] = t;
    }
    n_twin = n;
}

static uint32_t largest(const double *p, uint32_t n)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < n; i++)
        if (p[i] > p[best])
            best = i;
    return best;
}

static double take_largest(double *p, uint32_t n)
{
    const uint32_t best = largest(p, n);
    const double x = p[best];

    p[best] = -1.0;
    return x;
}

/* What is left to open nodes gets a chain each, then all is sorted anew. */
static void check_ahead(const struct lv_grow *g, uint32_t max_open, uint32_t steps, float p_child)
{
    static double all[2 * LV_GROW_MAX], open[LV_GROW_MAX], left[LV_GROW_MAX];
    static float ahead[2 * LV_GROW_MAX];
    static struct lv_grow_ranked r[LV_GROW_MAX];
    const uint32_t n_ranked = lv_grow_rank(g, UINT32_MAX, r);
    uint32_t n = 0, n_open = 0;
    double sum = 0.0;

    for (int32_t i = 0; i < LV_GROW_MAX; i++) {
        const struct lv_grow_node *v = &g->node[i];

        if (v->state == LV_GROW_FREE || v->spine || v->doomed)
            continue;
        all[n++] = (double)lv_grow_p(g, i);
        if (v->state != LV_GROW_OPEN && v->state != LV_GROW_QUEUED)
            continue;
        left[n_open] = (double)lv_grow_p(g, i) * (double)lv_grow_rest(g, i);
        open[n_open++] = (double)lv_grow_p(g, i);
    }
    const uint32_t n_child = n_open < max_open ? n_open : max_open;

    for (uint32_t k = 0; k < n_child; k++) {
        double p = left[largest(open, n_open)];

        take_largest(open, n_open);
        for (uint32_t s = 0; s < steps; s++)
            all[n++] = p *= (double)p_child;
    }
    const uint32_t n_ahead = lv_grow_expected_ahead(g, r, n_ranked, UINT32_MAX, max_open, steps, p_child, ahead, 2 * LV_GROW_MAX);

    CHECK_OR_RETURN(n_ahead == n, "%u nodes ahead, the twin has %u", n_ahead, n);
    for (uint32_t i = 0; i < n; i++) {
        sum += take_largest(all, n);
        CHECK_OR_RETURN(fabs((double)ahead[i] - sum) < 1e-3 * (1 + sum), "%u nodes ahead: %g, the twin's %g", i + 1,
                        (double)ahead[i], sum);
    }
}

/* Each node of the likely way is as probable as the best of the twin's paths that go on from the one before; the last has none. */
static void check_likely(const struct lv_grow *g)
{
    int32_t node[MAX_LEN + 1], token[LV_GROW_MAX];
    const uint32_t n = lv_grow_likely(g, node, MAX_LEN + 1);

    for (uint32_t k = 0; k <= n; k++) {
        const uint32_t len = k ? tokens_of(g, node[k - 1], token) : 0;
        double best = -1.0;

        CHECK_OR_RETURN(len == k, "step %u is at depth %u", k, len);
        for (uint32_t i = 0; i < n_twin; i++)
            if (twin[i].len == k + 1 && memcmp(twin[i].token, token, k * sizeof *token) == 0 && twin[i].p > best)
                best = twin[i].p;
        if (k == n)
            CHECK_OR_RETURN(best < 0.0, "the way ends at step %u of more", n);
        else
            CHECK_OR_RETURN(fabs((double)lv_grow_p(g, node[k]) - best) <= 1e-3 * best, "step %u: %g, the twin's best %g", k,
                            (double)lv_grow_p(g, node[k]), best);
    }
    CHECK_OR_RETURN(lv_grow_likely(g, node, n / 2) == n / 2, "a way longer than asked for");
}

static void check_same(const struct lv_grow *g)
{
    struct lv_tree t;
    int32_t map[LV_TREE_MAX], token[LV_GROW_MAX];
    float expected[LV_GROW_MAX];
    double sum = 0.0, last = 2.0;

    CHECK_OR_RETURN(lv_grow_validate(g), "the tree is inconsistent");
    struct lv_grow_ranked r[LV_GROW_MAX];
    const uint32_t n = lv_grow_expected(r, lv_grow_rank(g, UINT32_MAX, r), expected, LV_GROW_MAX);

    CHECK_OR_RETURN(n == n_twin + 1, "%u nodes, the twin has %u paths", n, n_twin);
    for (uint32_t i = 0; i < n_twin; i++)
        sum += twin[i].p;
    CHECK_OR_RETURN(fabs(expected[n - 1] - 1.0 - sum) < 1e-3 * (1 + sum), "expected tokens %g, the twin's %g",
                    (double)expected[n - 1], 1 + sum);
    check_ahead(g, 1 + n % LV_GROW_OPEN_MAX, 1 + n % LV_GROW_STEPS_MAX, 0.1f + 0.1f * (float)(n % 9));
    check_likely(g);
    lv_grow_select(g, LV_TREE_MAX, 1000, &t, map);
    CHECK_OR_RETURN(lv_tree_validate(&t), "the snapshot is no tree");
    for (uint32_t i = 1; i < t.n; i++) {
        const int k = find(token, tokens_of(g, map[i], token));
        const double p = (double)lv_grow_p(g, map[i]);

        CHECK_OR_RETURN(k >= 0, "node %d is not in the twin", map[i]);
        CHECK_OR_RETURN(fabs(p - twin[k].p) <= 1e-3 * twin[k].p, "probability %g, the twin's %g", p, twin[k].p);
        CHECK_OR_RETURN(p <= last * 1.0001, "the snapshot is not in order");
        last = p;
    }
}

static void grow_some(struct lv_grow *g, struct lv_rng *r, const int32_t *node, uint32_t n, uint32_t n_spine)
{
    for (uint32_t i = n_spine; i < n; i++) {
        int32_t token[LV_GROW_MAX];
        float left = lv_grow_rest(g, node[i]); /* by what lookup put there */

        if (g->node[node[i]].doomed || g->node[node[i]].spine) { /* the root moved on meanwhile */
            CHECK_OR_RETURN(lv_grow_add(g, node[i], 1, 0.5f, 0) < 0, "a child where none can be");
            continue;
        }
        const uint32_t len = tokens_of(g, node[i], token);
        const int up = len ? find(token, len) : -1;

        CHECK_OR_RETURN(len == 0 || up >= 0, "an expanded node is not in the twin");
        for (uint8_t k = 0; k < 3 && len < MAX_LEN - 1; k++) {
            const float p = left * (0.3f + 0.6f * (lv_rng_f32(r) * 0.5f + 0.5f));

            left -= p;
            token[len] = (int32_t)lv_rng_below(r, 50) * 3 + k;
            if (find(token, len + 1) >= 0 || lv_grow_add(g, node[i], token[len], p, k) < 0)
                continue;
            memcpy(twin[n_twin].token, token, (len + 1) * sizeof *token);
            twin[n_twin].len = len + 1;
            twin[n_twin++].p = p * (up >= 0 ? twin[up].p : 1.0);
        }
    }
}

/* Lookup puts children below nodes that the draft has not seen. */
static void look_up(struct lv_grow *g, struct lv_rng *r)
{
    for (int32_t i = 0; i < LV_GROW_MAX; i++) {
        int32_t token[LV_GROW_MAX];

        if (g->node[i].state != LV_GROW_OPEN || g->node[i].spine || lv_rng_below(r, 8))
            continue;
        const uint32_t len = tokens_of(g, i, token);
        const int up = len ? find(token, len) : -1;
        const float p = lv_grow_rest(g, i) * (0.2f + 0.7f * (lv_rng_f32(r) * 0.5f + 0.5f));

        CHECK_OR_RETURN(len == 0 || up >= 0, "an open node is not in the twin");
        token[len] = (int32_t)lv_rng_below(r, 50) * 3;
        if (len >= MAX_LEN - 1 || find(token, len + 1) >= 0 || lv_grow_add(g, i, token[len], p, 0) < 0)
            continue;
        memcpy(twin[n_twin].token, token, (len + 1) * sizeof *token);
        twin[n_twin].len = len + 1;
        twin[n_twin++].p = p * (up >= 0 ? twin[up].p : 1.0);
    }
}

static void run(struct lv_rng *r)
{
    static struct lv_grow g;
    int32_t batch[80], slot[LV_GROW_MAX];
    uint32_t n_batch = 0, n_spine = 0, text_len = 0, committed = 0;

    lv_grow_init(&g, 7);
    n_twin = 0;
    for (int step = 0; step < 120; step++) {
        switch (lv_rng_below(r, 4)) {
        case 0:
        case 1: /* a batch, if none is under way; the tree stays small enough not to evict */
            if (n_twin < 600 && lv_rng_below(r, 4) == 0)
                look_up(&g, r);
            if (n_batch == 0 && n_twin < 600)
                n_batch = lv_grow_batch(&g, 1 + lv_rng_below(r, 8), 1e-6f, batch, 80, &n_spine);
            for (uint32_t i = 0; i < n_batch; i++) {
                const uint32_t n = lv_grow_path(&g, batch[i], slot);

                CHECK_OR_RETURN(n >= 1 && slot[n - 1] == batch[i], "a path does not end in its node");
                for (uint32_t k = 0; k + 1 < n; k++) { /* every ancestor is computed, or in the batch before it */
                    bool ok = g.node[slot[k]].state == LV_GROW_EXPANDED;

                    for (uint32_t b = 0; b < i; b++)
                        ok = ok || batch[b] == slot[k];
                    CHECK_OR_RETURN(ok, "a row's ancestor has no K and V");
                }
            }
            if (lv_rng_below(r, 3) == 0)
                continue; /* it goes on while other things happen */
            break;
        case 2: { /* the root moves */
            const uint32_t n_known = n_twin;
            int32_t token = 100000 + step;
            double p = 1.0;

            if (n_known && lv_rng_below(r, 3)) { /* to a child */
                for (uint32_t i = 0; i < n_known; i++) {
                    if (twin[i].len == 1) {
                        token = twin[i].token[0];
                        p = twin[i].p;
                        break;
                    }
                }
            }
            const bool known = lv_grow_advance(&g, token);

            CHECK_OR_RETURN(known == (token < 100000), "known is %d", known);
            /* The root itself is no path; its children become paths of length 1. */
            for (uint32_t i = 0; i < n_twin; i++)
                if (twin[i].len == 1 && twin[i].token[0] == token)
                    twin[i--] = twin[--n_twin];
            twin_advance(token, p);
            text_len++;
            check_same(&g);
            continue;
        }
        default: /* commit, when no batch is under way */
            if (n_batch == 0) {
                const uint32_t n = lv_grow_spine_ready(&g, slot);

                lv_grow_drop_spine(&g, n);
                committed += n;
                CHECK_OR_RETURN(committed + g.n_depth == text_len, "the spine lost text");
            }
            continue;
        }
        if (n_batch) { /* the batch ends */
            const bool failed = lv_rng_below(r, 8) == 0;

            if (!failed)
                grow_some(&g, r, batch, n_batch, n_spine);
            lv_grow_batch_done(&g, batch, n_batch, failed);
            n_batch = 0;
        }
        check_same(&g);
        if (n_fail)
            return;
    }
}

/* Full trees give up the least probable leaves. */
static void run_full(struct lv_rng *r)
{
    static struct lv_grow g;
    int32_t node[8];
    uint32_t n_spine;

    lv_grow_init(&g, 1);
    for (int i = 0; i < 400; i++) {
        const uint32_t n = lv_grow_batch(&g, 8, 1e-30f, node, 8 + LV_GROW_MAX, &n_spine);

        lv_grow_batch_done(&g, node, n, false);
        for (uint32_t k = 0; k < n; k++)
            for (uint8_t c = 0; c < 8; c++)
                lv_grow_add(&g, node[k], (int32_t)lv_rng_below(r, 100000), 0.05f + 0.05f * (float)c, c);
        CHECK_OR_RETURN(lv_grow_validate(&g), "inconsistent when full");
        CHECK_OR_RETURN(g.n <= LV_GROW_MAX, "%u nodes", g.n);
    }
    CHECK_OR_RETURN(g.n > LV_GROW_MAX - 8, "only %u nodes", g.n);
}

/* Many probabilities at once are as one after the other, from the root on. */
static void run_set_all(struct lv_rng *r)
{
    static struct lv_grow a, b;
    float p[LV_GROW_MAX] = { 0 };
    int32_t node[8];
    uint32_t n_spine;

    lv_grow_init(&a, 1);
    for (int i = 0; i < 20; i++) {
        const uint32_t n = lv_grow_batch(&a, 8, 1e-30f, node, 8 + LV_GROW_MAX, &n_spine);

        lv_grow_batch_done(&a, node, n, false);
        for (uint32_t k = 0; k < n; k++)
            for (uint8_t c = 0; c < 4; c++)
                lv_grow_add(&a, node[k], (int32_t)lv_rng_below(r, 100000), 0.05f + 0.05f * (float)c, c);
        if (i % 7 == 6 && a.node[a.root].n_child)
            for (int32_t c = 0; c < LV_GROW_MAX; c++)
                if (a.node[c].state != LV_GROW_FREE && a.node[c].parent == a.root) {
                    lv_grow_advance(&a, a.node[c].token);
                    break;
                }
    }
    b = a;
    for (uint32_t depth = 1; depth < 100; depth++)
        for (int32_t i = 0; i < LV_GROW_MAX; i++)
            if (a.node[i].state != LV_GROW_FREE && !a.node[i].spine && i != a.root && lv_grow_depth(&a, i) == depth &&
                lv_rng_below(r, 2)) {
                p[i] = 0.01f + 0.2f * (float)lv_rng_below(r, 4);
                lv_grow_set_p(&b, i, p[i]);
            }
    lv_grow_set_all(&a, p);
    for (int32_t i = 0; i < LV_GROW_MAX; i++)
        if (a.node[i].state != LV_GROW_FREE && fabsf(a.node[i].lp - b.node[i].lp) > 1e-3f)
            CHECK_OR_RETURN(false, "node %d: %g, one after the other %g", i, (double)a.node[i].lp,
                            (double)b.node[i].lp);
    CHECK_OR_RETURN(lv_grow_validate(&a), "inconsistent when many were set");
}

int main(int argc, char **argv)
{
    if (argc > 1)
        seed = strtoull(argv[1], NULL, 10);
    printf("SEED=%llu\n", (unsigned long long)seed);
    struct lv_rng r = { .state = seed };

    for (int i = 0; i < 60 && !n_fail; i++)
        run(&r);
    run_full(&r);
    for (int i = 0; i < 10 && !n_fail; i++)
        run_set_all(&r);
    printf("%d failures\n", n_fail);
    return n_fail ? 1 : 0;
}
