#include "ref/naive.h"

static int n_children(const int *parent, int n, int node)
{
    int count = 0;

    for (int i = 0; i < n; i++)
        count += parent[i] == node;
    return count;
}

void ref_random_tree(struct lv_rng *r, int n, int max_children, int *parent)
{
    /* How often a node hangs on the newest one instead of on any: 0 is a bush, 8 a chain. */
    const uint32_t chain_in_8 = lv_rng_below(r, 9);

    parent[0] = -1;
    for (int i = 1; i < n; i++) {
        int p = i - 1;

        if (lv_rng_below(r, 8) >= chain_in_8)
            p = (int)lv_rng_below(r, (uint32_t)i);
        while (n_children(parent, i, p) >= max_children) /* ends: the newest node has none */
            p = p == i - 1 ? 0 : p + 1;
        parent[i] = p;
    }
}

int ref_tree_depth(const int *parent, int node)
{
    int depth = 0;

    while (parent[node] >= 0) {
        node = parent[node];
        depth++;
    }
    return depth;
}

int ref_tree_path(const int *parent, int node, int *path)
{
    const int n = ref_tree_depth(parent, node) + 1;

    for (int i = n - 1; i >= 0; i--) {
        path[i] = node;
        node = parent[node];
    }
    return n;
}

bool ref_tree_sees(const int *parent, int i, int j)
{
    for (; i >= 0; i = parent[i])
        if (i == j)
            return true;
    return false;
}

void ref_tree_mask(const int *parent, int n, bool *mask)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            mask[i * n + j] = ref_tree_sees(parent, i, j);
}

int ref_tree_child(const int *parent, const int *token, int n, int node, int token_wanted)
{
    for (int i = 0; i < n; i++)
        if (parent[i] == node && token[i] == token_wanted)
            return i;
    return -1;
}
