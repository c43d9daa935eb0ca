/* The growing draft tree: candidate continuations of the text, with the draft's own probabilities.
 *
 * One tree lives as long as the text: verification takes the best nodes as a snapshot, then the root moves to the
 * accepted token and what grew below it stays. (arXiv 2406.17276: the n nodes of largest path probability
 * always form a tree.)
 *
 * Node i has slot i of the draft's KV cache. Above the root lies the spine: text that is certain but not
 * yet in the committed region of that cache; it is committed when no draft run is under way.
 *
 * Pure: no I/O, clock or threads. owns its arrays; one thread at a time. */
#ifndef LV_DRAFT_GROW_H
#define LV_DRAFT_GROW_H

#include <stdbool.h>
#include <stdint.h>

#include "tree/tree.h"

#define LV_GROW_MAX 1024 /* nodes, spine included */

enum lv_grow_state {
    LV_GROW_FREE,
    LV_GROW_OPEN,     /* candidate: not computed by the draft */
    LV_GROW_QUEUED,   /* in the draft's current batch */
    LV_GROW_EXPANDED, /* computed: has K and V in its slot, and children */
};

struct lv_grow_node {
    int32_t token, parent; /* parent: node index; -1 for the oldest of the spine */
    float lp;              /* log of the path probability since the tree began */
    float draft_p;         /* the draft's own probability given the parent; 0: it did not propose this */
    float lookup_p;        /* what prompt lookup promised; 0: not from there */
    float peek_p;          /* what a late layer of the target promised; 0: not from there */
    uint16_t n_child;
    uint8_t state;         /* enum lv_grow_state */
    uint8_t rank;          /* among what the draft proposed below the parent, 0 = best */
    uint8_t match;         /* of lookup: tokens that agreed */
    uint8_t depth;         /* below the root when it was found */
    bool peeked;           /* its children have their probabilities from such a layer */
    bool doomed;           /* cut off while queued: freed when the batch ends */
    bool spine;
};

struct lv_grow {
    struct lv_grow_node node[LV_GROW_MAX];
    int32_t root;          /* -1: no tree */
    uint32_t n;            /* nodes that are not free */
    uint32_t n_depth;      /* of the root below the committed cache: length of the spine */
    int32_t spine[LV_GROW_MAX]; /* [n_depth] oldest first */
};

/* No tree. */
void lv_grow_clear(struct lv_grow *g);
/* A new tree of just this root; no node may be queued. */
void lv_grow_init(struct lv_grow *g, int32_t token);
/* Adds a candidate; p = its probability given the parent, (0, 1]. When full the least probable leaf gives way. Returns the
 * node, or -1 when there is no place for one so improbable, or the parent is no longer at or below the root. A child with the same token is returned as it is. */
int32_t lv_grow_add(struct lv_grow *g, int32_t parent, int32_t token, float p, uint8_t rank);
/* Another probability given the parent, (0, 1]: what is below moves along. */
void lv_grow_set_p(struct lv_grow *g, int32_t node, float p);
/* The same for many nodes at once: p[LV_GROW_MAX], 0: as it is. */
void lv_grow_set_all(struct lv_grow *g, const float *p);
/* What a node's living children leave of its probability, [0, 1]. */
float lv_grow_rest(const struct lv_grow *g, int32_t node);
/* Probability of a node's path from the present root. */
float lv_grow_p(const struct lv_grow *g, int32_t node);
/* Depth below the present root. */
uint32_t lv_grow_depth(const struct lv_grow *g, int32_t node);
/* Slots of spine and path down to the node, oldest first, the node's own last; returns their count. */
uint32_t lv_grow_path(const struct lv_grow *g, int32_t node, int32_t *slot);

/* The likeliest way down from the root, at each node its likeliest child that is to stay; at most cap nodes, the root not among
 * them. Returns the count. */
uint32_t lv_grow_likely(const struct lv_grow *g, int32_t *node, uint32_t cap);

/* The next rows for the draft, marked queued: first spine nodes without K and V (n_spine of them, in order), then up to
 * max_open open nodes of largest path probability, at least p_min. Returns the count of all; cap >= max_open + n_depth. */
uint32_t lv_grow_batch(struct lv_grow *g, uint32_t max_open, float p_min, int32_t *node, uint32_t cap, uint32_t *n_spine);
/* The batch ended: its nodes are expanded, or (failed) open again. Doomed ones are freed. */
void lv_grow_batch_done(struct lv_grow *g, const int32_t *node, uint32_t n, bool failed);

/* Snapshot of the up to n_max most probable nodes for verification, root first, at most max_depth below it. map: tree
 * node -> grow node. Depends on the tree only. */
void lv_grow_select(const struct lv_grow *g, uint32_t n_max, uint32_t max_depth, struct lv_tree *t, int32_t *map);

/* Root and all nodes at most max_depth below it, the most probable first: the order of lv_grow_select. r: LV_GROW_MAX
 * entries. Returns the count. */
struct lv_grow_ranked {
    int32_t node;
    float lp; /* log of the path probability from the root */
    uint16_t depth;
};
uint32_t lv_grow_rank(const struct lv_grow *g, uint32_t max_depth, struct lv_grow_ranked *r);

/* cumulative[i] = expected tokens of a round that verifies the best i + 1 nodes of a ranking (the root alone: 1). Returns
 * the number of entries, at most cap. */
uint32_t lv_grow_expected(const struct lv_grow_ranked *r, uint32_t n, float *cumulative, uint32_t cap);

/* The same as it may be expected `steps` batches later: below each of the up to max_open best nodes that are open, or in the
 * batch under way, a chain has grown from what its children leave, whose every token is right with probability p_child if
 * those before it are. What lookup put below a node, expanding that node does not find again. At most LV_GROW_OPEN_MAX nodes,
 * LV_GROW_STEPS_MAX steps. cap of LV_TREE_MAX does for all. */
#define LV_GROW_OPEN_MAX 16
#define LV_GROW_STEPS_MAX 16
uint32_t lv_grow_expected_ahead(const struct lv_grow *g, const struct lv_grow_ranked *r, uint32_t n, uint32_t max_depth,
                                uint32_t max_open, uint32_t steps, float p_child, float *cumulative, uint32_t cap);

/* The text went on with `token`: the root moves to that child (made if it was not there), its siblings and their
 * subtrees go. Returns true when it was in the tree. */
bool lv_grow_advance(struct lv_grow *g, int32_t token);
/* The oldest spine nodes that have K and V, in order; they are to be committed. Returns the count. The caller then calls
 * lv_grow_drop_spine with it. No node may be queued. */
uint32_t lv_grow_spine_ready(const struct lv_grow *g, int32_t *slot);
void lv_grow_drop_spine(struct lv_grow *g, uint32_t n);

/* True when links, counts and probabilities agree; for tests. */
bool lv_grow_validate(const struct lv_grow *g);

#endif
