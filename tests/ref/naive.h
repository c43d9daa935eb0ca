/* Naive twins for the engine's tests: token trees as plain parent arrays.
 *
 * A tree is parent[n]: parent[0] = -1, every parent comes before its children. Deliberately
 * slow and obvious. owns nothing; any thread. */
#ifndef REF_NAIVE_H
#define REF_NAIVE_H

#include <stdbool.h>

#include "base/rng.h"

/* A random tree of n >= 1 nodes, none with more than max_children >= 1 children. Over seeds it
 * gives everything from a chain to a bush. */
void ref_random_tree(struct lv_rng *r, int n, int max_children, int *parent);

/* Writes the nodes from the root to node, both included, to path[<= node + 1]; returns their number. */
int ref_tree_path(const int *parent, int node, int *path);

/* Depth of a node, the root's is 0. */
int ref_tree_depth(const int *parent, int node);

/* May node i attend to node j: is j an ancestor of i, or i itself? By walking parents. */
bool ref_tree_sees(const int *parent, int i, int j);

/* mask[i * n + j] = ref_tree_sees(i, j) */
void ref_tree_mask(const int *parent, int n, bool *mask);

/* The child of node whose token is `token`, the lowest index first; -1 if none. */
int ref_tree_child(const int *parent, const int *token, int n, int node, int token_wanted);

#endif
