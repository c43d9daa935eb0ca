#include "model/kv.h"

#include <assert.h>
#include <string.h>

bool lv_kv_init(struct lv_kv *kv, const struct lv_program *p, uint32_t n_ctx, uint32_t n_slot, struct lv_arena *a)
{
    const struct lv_shape *s = &p->shape;
    bool ok = true;

    *kv = (struct lv_kv){ .n_ctx = n_ctx,
                          .n_slot = (uint32_t)lv_round_up(n_slot, LV_KV_BLOCK),
                          .n_layer = s->n_layer,
                          .n_head_kv = s->n_head_kv,
                          .head_dim = s->head_dim };
    kv->layer = lv_arena_take(a, s->n_layer, sizeof *kv->layer);
    for (uint32_t il = 0; il < s->n_layer; il++) {
        struct lv_kv_layer l = { .cap = (uint32_t)lv_round_up(n_ctx, LV_KV_BLOCK) };

        if (p->window[il]) {
            const uint32_t ring = (uint32_t)lv_round_up((uint64_t)p->window[il] + LV_KV_SLACK, LV_KV_BLOCK);

            l.cap = ring < l.cap ? ring : l.cap;
        }
        const uint64_t row = (uint64_t)s->n_head_kv * s->head_dim;

        l.k = lv_arena_take(a, row * l.cap, sizeof *l.k);
        l.v = lv_arena_take(a, row * l.cap, sizeof *l.v);
        l.tree_k = lv_arena_take(a, row * kv->n_slot, sizeof *l.tree_k);
        l.tree_v = lv_arena_take(a, row * kv->n_slot, sizeof *l.tree_v);
        ok = ok && kv->layer && l.k && l.v && l.tree_k && l.tree_v;
        if (ok)
            kv->layer[il] = l;
    }
    return ok;
}

static void commit_one(struct lv_kv *kv, const struct lv_kv_layer *l, uint32_t head, uint32_t slot, uint32_t pos)
{
    const uint32_t dim = kv->head_dim, at = pos % l->cap;
    uint16_t *k = l->k + ((size_t)head * l->cap + lv_round_down(at, 16)) * dim + at % 16;
    const uint16_t *tk = lv_kv_tree_k(kv, l, head) + lv_round_down(slot, 16) * dim + slot % 16;

    for (uint32_t d = 0; d < dim; d++)
        k[d * 16] = tk[d * 16];
    memcpy(l->v + ((size_t)head * l->cap + at) * dim, lv_kv_tree_v(kv, l, head) + (size_t)slot * dim,
           dim * sizeof *l->v);
}

void lv_kv_commit(struct lv_kv *kv, const int32_t *slot, uint32_t n)
{
    assert(kv->n + n <= kv->n_ctx);
    for (uint32_t il = 0; il < kv->n_layer; il++)
        for (uint32_t h = 0; h < kv->n_head_kv; h++)
            for (uint32_t i = 0; i < n; i++)
                commit_one(kv, &kv->layer[il], h, (uint32_t)slot[i], kv->n + i);
    lv_kv_advance(kv, n);
}

void lv_kv_advance(struct lv_kv *kv, uint32_t n)
{
    kv->n += n;
    if (kv->n > kv->n_written)
        kv->n_written = kv->n;
}

void lv_kv_clear(struct lv_kv *kv)
{
    kv->n = kv->n_written = 0;
}

bool lv_kv_rewind(struct lv_kv *kv, uint32_t n)
{
    assert(n <= kv->n);
    for (uint32_t il = 0; il < kv->n_layer; il++)
        if (n > 0 && kv->n_written > kv->layer[il].cap && kv->n_written - n > LV_KV_SLACK)
            return false;
    kv->n = n;
    if (n == 0)
        lv_kv_clear(kv);
    return true;
}
