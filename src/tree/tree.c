#include "tree/tree.h"

void lv_tree_init(struct lv_tree *t, int32_t root_token)
{
    t->n = 1;
    t->token[0] = root_token;
    t->parent[0] = -1;
    t->depth[0] = 0;
}

int32_t lv_tree_add(struct lv_tree *t, int32_t parent, int32_t token)
{
    const uint32_t i = t->n;

    if (i >= LV_TREE_MAX)
        return -1;
    t->token[i] = token;
    t->parent[i] = parent;
    t->depth[i] = (uint16_t)(t->depth[parent] + 1);
    t->n = i + 1;
    return (int32_t)i;
}

int32_t lv_tree_child(const struct lv_tree *t, int32_t node, int32_t token)
{
    for (uint32_t i = (uint32_t)node + 1; i < t->n; i++)
        if (t->parent[i] == node && t->token[i] == token)
            return (int32_t)i;
    return -1;
}

uint32_t lv_tree_path(const struct lv_tree *t, int32_t node, int32_t *path)
{
    const uint32_t n = (uint32_t)t->depth[node] + 1;

    for (uint32_t i = n; i-- > 0; node = t->parent[node])
        path[i] = node;
    return n;
}

uint32_t lv_tree_first_path(const struct lv_tree *t, int32_t node, uint32_t cap, uint32_t *path)
{
    uint32_t n = 0;

    while (node >= 0 && n < cap) {
        int32_t child = -1;

        path[n++] = (uint32_t)node;
        for (uint32_t i = (uint32_t)node + 1; i < t->n && child < 0; i++)
            if (t->parent[i] == node)
                child = (int32_t)i;
        node = child;
    }
    return n;
}

bool lv_tree_validate(const struct lv_tree *t)
{
    if (t->n < 1 || t->n > LV_TREE_MAX || t->parent[0] != -1 || t->depth[0] != 0)
        return false;
    for (uint32_t i = 1; i < t->n; i++) {
        const int32_t p = t->parent[i];

        if (p < 0 || (uint32_t)p >= i || t->depth[i] != t->depth[p] + 1)
            return false;
    }
    return true;
}
