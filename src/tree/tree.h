/* Token tree: a root and candidate continuations, parents before children.
 *
 * Pure: no I/O, clock or threads. owns its arrays; one thread at a time. */
#ifndef LV_TREE_TREE_H
#define LV_TREE_TREE_H

#include <stdbool.h>
#include <stdint.h>

#define LV_TREE_MAX 256 /* nodes of one verify pass */

struct lv_tree {
    uint32_t n;                    /* nodes; 0 is the root */
    int32_t token[LV_TREE_MAX];
    int32_t parent[LV_TREE_MAX];   /* index below the node's own; -1 for the root */
    uint16_t depth[LV_TREE_MAX];   /* root 0 */
};

/* A tree of just the root. */
void lv_tree_init(struct lv_tree *t, int32_t root_token);
/* Adds a child; returns its index, or -1 when the tree is full. parent < t->n. */
int32_t lv_tree_add(struct lv_tree *t, int32_t parent, int32_t token);
/* The child of `node` that holds `token` (lowest index), or -1. */
int32_t lv_tree_child(const struct lv_tree *t, int32_t node, int32_t token);
/* Writes the nodes from the root to `node`, both included; returns their count (depth + 1). */
uint32_t lv_tree_path(const struct lv_tree *t, int32_t node, int32_t *path);
/* `node` and below it always the first child (the likeliest, where nodes were added so): up to cap nodes. Returns their count. */
uint32_t lv_tree_first_path(const struct lv_tree *t, int32_t node, uint32_t cap, uint32_t *path);
/* True when every parent index is valid and depths agree. */
bool lv_tree_validate(const struct lv_tree *t);

#endif
