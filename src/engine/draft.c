#include "engine/draft.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"

void lv_draft_init(struct lv_draft *d, struct lv_instance *m)
{
    *d = (struct lv_draft){ .m = m };
    for (int32_t i = 0; i < LV_EXEC_MAX_ROWS; i++)
        d->path[i] = i;
}

/* Keeps what the committed text shares with the cache and the last chain. The last token of the text stays out: its row
 * has to be computed anyway, for its logits. */
static bool keep_common(struct lv_draft *d, const int32_t *text, uint32_t n)
{
    struct lv_kv *kv = &d->m->kv;
    uint32_t same = 0;

    if (kv->n > n - 1) {
        d->n_slot = 0;
        return lv_kv_rewind(kv, n - 1);
    }
    while (same < d->n_slot && kv->n + same < n - 1 && text[kv->n + same] == d->slot_token[same])
        same++;
    lv_kv_commit(kv, d->path, same);
    d->n_slot = 0;
    return true;
}

enum lever_status lv_draft_sync(struct lv_draft *d, const int32_t *text, uint32_t n, uint32_t *row,
                                struct lever_error *err)
{
    struct lv_kv *kv = &d->m->kv;
    uint32_t path_at[LV_EXEC_MAX_ROWS + 1];
    int32_t path[64 * 65 / 2];

    if (!keep_common(d, text, n))
        kv->n = 0; /* a rewind too far for a sliding window: compute it anew */
    while (kv->n < n) {
        const uint32_t max = d->m->exec.max_rows < 64 ? d->m->exec.max_rows : 64;
        const uint32_t n_rows = n - kv->n < max ? n - kv->n : max;

        path_at[0] = 0;
        for (uint32_t r = 0; r < n_rows; r++) {
            memcpy(path + path_at[r], d->path, (r + 1) * sizeof *path);
            path_at[r + 1] = path_at[r] + r + 1;
        }
        const struct lv_pass pass = { .n_rows = n_rows, .slot = d->path, .path_at = path_at, .path = path };

        LV_TRY(lv_instance_forward(d->m, text + kv->n, &pass, err));
        lv_kv_commit(kv, d->path, n_rows);
        *row = n_rows - 1;
    }
    return LEVER_OK;
}

static enum lever_status draft_chain(struct lv_draft *d, int32_t *text, uint32_t n, uint32_t k,
                                     const struct lv_sampler *sampler, float *logits, void *scratch,
                                     bool (*is_end)(void *ctx, int32_t token), void *ctx, struct lv_tree *tree,
                                     struct lever_error *err)
{
    struct lv_exec *x = &d->m->exec;
    const uint32_t n_own = d->m->program->shape.n_vocab;
    const uint32_t n_both = n_own < sampler->n_vocab ? n_own : sampler->n_vocab;
    uint32_t row = 0;
    int32_t node = 0;

    LV_TRY(lv_draft_sync(d, text, n, &row, err));
    for (uint32_t i = 0; i < k; i++) {
        LV_TRY(lv_exec_head(x, &row, 1, err));
        memcpy(logits, lv_exec_row(x, LV_BUF_LOGITS, 0), n_both * sizeof *logits);
        for (uint32_t t = n_both; t < sampler->n_vocab; t++)
            logits[t] = -INFINITY;
        const int32_t token = lv_sampler_draw(sampler, logits, text, n + i, n + i, scratch);

        text[n + i] = token;
        node = lv_tree_add(tree, node, token);
        if (i + 1 == k || is_end(ctx, token) || token >= (int32_t)n_own)
            break;
        const struct lv_pass pass = {
            .n_rows = 1, .slot = d->path + i, .path_at = (uint32_t[]){ 0, i + 1 }, .path = d->path
        };

        LV_TRY(lv_instance_forward(d->m, &token, &pass, err));
        d->slot_token[i] = token;
        d->n_slot = i + 1;
        row = 0;
    }
    return LEVER_OK;
}

enum lever_status lv_draft_chain(struct lv_draft *d, int32_t *text, uint32_t n, uint32_t k,
                                 const struct lv_sampler *sampler, float *logits, void *scratch,
                                 bool (*is_end)(void *ctx, int32_t token), void *ctx, struct lv_tree *tree,
                                 struct lever_error *err)
{
    const uint64_t t0 = lv_now_ns();
    const enum lever_status st = draft_chain(d, text, n, k, sampler, logits, scratch, is_end, ctx, tree, err);

    d->busy_ns += lv_now_ns() - t0;
    return st;
}
