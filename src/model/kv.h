/* KV cache of one sequence: a committed region by logical position, and a tree region of slots
 * for rows that are being verified.
 *
 * Per layer and KV head, all f16:
 *   committed  K [cap / 16][head_dim][16], V [cap][head_dim]; position p at p % cap
 *   tree       K [n_slot / 16][head_dim][16], V [n_slot][head_dim]
 * cap is the context rounded up to 16, or less in sliding-window layers: a ring that
 * keeps window + LV_KV_SLACK positions and overwrites only at commit.
 *
 * owns     nothing: memory is a piece of the caller's arena
 * threads  commit and rewind by one thread while no pass runs; a pass's workers write
 *          only the slots of their own rows */
#ifndef LV_MODEL_KV_H
#define LV_MODEL_KV_H

#include "base/mem.h"
#include "model/program.h"

#define LV_KV_MAX_SLOTS 1024 /* tree slots */
#define LV_KV_SLACK 288 /* positions of a sliding layer beyond its window: the most a rewind may drop */

struct lv_kv_layer {
    uint16_t *k, *v;           /* committed, [n_head_kv] x the layouts above */
    uint16_t *tree_k, *tree_v;
    uint32_t cap;              /* positions, multiple of 16 */
};

struct lv_kv {
    uint32_t n;        /* committed positions 0 .. n - 1 */
    uint32_t n_written; /* most there have been since it was empty: rings hold the last cap of these */
    uint32_t n_ctx;    /* most */
    uint32_t n_slot;   /* tree slots, multiple of 16 */
    uint32_t n_layer, n_head_kv, head_dim;
    struct lv_kv_layer *layer; /* [n_layer] */
};

/* Lays the cache out in the arena (which may only be counting). False when it is full. */
bool lv_kv_init(struct lv_kv *kv, const struct lv_program *p, uint32_t n_ctx, uint32_t n_slot, struct lv_arena *a);

/* Appends n positions from the tree slots given, in order. kv->n + n <= n_ctx. */
void lv_kv_commit(struct lv_kv *kv, const int32_t *slot, uint32_t n);
/* The same for a cache whose contents lie elsewhere, on a device: counts only. */
void lv_kv_advance(struct lv_kv *kv, uint32_t n);
void lv_kv_clear(struct lv_kv *kv);
/* Keeps the first n positions. False (nothing changed) when a sliding layer no longer holds what that needs. */
bool lv_kv_rewind(struct lv_kv *kv, uint32_t n);

/* K block that holds positions 16b .. 16b + 15, of one head. */
static inline const uint16_t *lv_kv_k_block(const struct lv_kv *kv, const struct lv_kv_layer *l, uint32_t head,
                                            uint32_t block)
{
    return l->k + ((size_t)head * l->cap + (size_t)(block % (l->cap / 16)) * 16) * kv->head_dim;
}

static inline const uint16_t *lv_kv_v_row(const struct lv_kv *kv, const struct lv_kv_layer *l, uint32_t head,
                                          uint32_t pos)
{
    return l->v + ((size_t)head * l->cap + pos % l->cap) * kv->head_dim;
}

static inline uint16_t *lv_kv_tree_k(const struct lv_kv *kv, const struct lv_kv_layer *l, uint32_t head)
{
    return l->tree_k + (size_t)head * kv->n_slot * kv->head_dim;
}

static inline uint16_t *lv_kv_tree_v(const struct lv_kv *kv, const struct lv_kv_layer *l, uint32_t head)
{
    return l->tree_v + (size_t)head * kv->n_slot * kv->head_dim;
}

#endif
