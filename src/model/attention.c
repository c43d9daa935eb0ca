/* Attention of a few rows over one KV head.
 *
 * Each (row, query head) gets one dense array of scores by logical position: first the
 * committed positions it sees, then the rows of its own path. Scores, softmax and the sum over V
 * run over that array in position order, so nothing tells a row in a tree from a row decoded alone. */
#include <math.h>
#include <string.h>

#include "model/exec.h"

#define SCRATCH_TARGET (256u * 1024) /* keeps the scores of a chunk in L2 */
#define MAX_ROWS 16                  /* rows of a chunk */
#define MAX_TREE_BLOCKS (LV_KV_MAX_SLOTS / LV_KV_BLOCK)

/* Scores of a query: positions from a multiple of 16 below the first visible one. */
static uint32_t score_stride(const struct lv_kv *kv, const struct lv_pass *pass)
{
    uint32_t longest = 0;

    for (uint32_t r = 0; r < pass->n_rows; r++) {
        const uint32_t n = pass->path_at[r + 1] - pass->path_at[r];

        longest = n > longest ? n : longest;
    }
    return (uint32_t)lv_round_up((uint64_t)kv->n + longest, LV_KV_BLOCK) + LV_KV_BLOCK;
}

/* Blocks of 16 tree slots that rows row0 .. row0 + n_rows - 1 can see: lists them, in order, and says for each block
 * where it stands in the list. Returns their count. */
static uint32_t tree_blocks(const struct lv_pass *pass, uint32_t row0, uint32_t n_rows, uint8_t block[MAX_TREE_BLOCKS],
                            uint8_t place[MAX_TREE_BLOCKS])
{
    bool used[MAX_TREE_BLOCKS] = { false };
    uint32_t n = 0;

    for (uint32_t i = pass->path_at[row0]; i < pass->path_at[row0 + n_rows]; i++)
        used[pass->path[i] / LV_KV_BLOCK] = true;
    for (uint32_t b = 0; b < MAX_TREE_BLOCKS; b++) {
        if (!used[b])
            continue;
        place[b] = (uint8_t)n;
        block[n++] = (uint8_t)b;
    }
    return n;
}

uint64_t lv_attn_scratch_bytes(const struct lv_program *p, uint32_t n_ctx, uint32_t n_slot)
{
    const uint64_t group = p->shape.n_head / p->shape.n_head_kv;
    const uint64_t stride = lv_round_up(n_ctx, LV_KV_BLOCK) + 2 * LV_KV_BLOCK;
    const uint64_t one_row =
        group * (stride + lv_round_up(n_slot, LV_KV_BLOCK) + 2 * LV_KV_BLOCK + p->shape.head_dim) * sizeof(float);

    return one_row > SCRATCH_TARGET ? one_row : SCRATCH_TARGET;
}

uint32_t lv_attn_rows_per_chunk(const struct lv_exec *x, const struct lv_kv *kv, const struct lv_pass *pass)
{
    const struct lv_shape *s = &x->p->shape;
    const uint64_t group = s->n_head / s->n_head_kv;
    uint8_t block[MAX_TREE_BLOCKS], place[MAX_TREE_BLOCKS];
    const uint32_t n_slot = tree_blocks(pass, 0, pass->n_rows, block, place) * LV_KV_BLOCK;
    const uint64_t row_bytes = group * ((uint64_t)score_stride(kv, pass) + n_slot + s->head_dim) * sizeof(float);
    uint64_t n = x->scratch_bytes / row_bytes;
    const uint64_t share = (pass->n_rows * s->n_head_kv + x->n_worker - 1) / x->n_worker; /* work for everybody */

    n = n > MAX_ROWS ? MAX_ROWS : n;
    n = n > share ? share : n;
    return n ? (uint32_t)n : 1;
}

/* Scores of committed positions from16 (multiple of 16) on, for n_q queries. A ring's blocks may wrap. */
static void prefix_scores(struct lv_exec *x, const struct lv_kv *kv, const struct lv_kv_layer *l, uint32_t head,
                          uint32_t from16, const float *q, size_t stride_q, uint32_t n_q, float *s, size_t stride_s)
{
    const uint32_t n_ring = l->cap / LV_KV_BLOCK;
    const uint32_t end = (kv->n + LV_KV_BLOCK - 1) / LV_KV_BLOCK;

    for (uint32_t b = from16 / LV_KV_BLOCK; b < end;) {
        const uint32_t to_wrap = n_ring - b % n_ring;
        const uint32_t n = end - b < to_wrap ? end - b : to_wrap;

        x->k->attn_qk(s + (size_t)b * LV_KV_BLOCK - from16, stride_s, q, stride_q, n_q,
                      lv_kv_k_block(kv, l, head, b), kv->head_dim, n, x->p->attn_scale);
        b += n;
    }
}

/* out += sum over committed positions from .. kv->n - 1 of p * V, for n_q queries. */
static void prefix_values(struct lv_exec *x, const struct lv_kv *kv, const struct lv_kv_layer *l, uint32_t head,
                          uint32_t from, float *out, size_t stride_out, const float *s, size_t stride_s, uint32_t n_q)
{
    for (uint32_t pos = from; pos < kv->n;) {
        const uint32_t to_wrap = l->cap - pos % l->cap;
        const uint32_t n = kv->n - pos < to_wrap ? kv->n - pos : to_wrap;

        x->k->attn_pv(out, stride_out, s + (pos - from), stride_s, n_q, lv_kv_v_row(kv, l, head, pos), kv->head_dim,
                      kv->head_dim, n);
        pos += n;
    }
}

/* out += sum over the row's path of p * V: neighbouring slots in one call. */
static void path_values(struct lv_exec *x, const struct lv_kv *kv, const struct lv_kv_layer *l, uint32_t head,
                        const int32_t *path, uint32_t n_path, float *out, const float *s, size_t stride_s,
                        uint32_t n_q)
{
    const uint16_t *v = lv_kv_tree_v(kv, l, head);

    for (uint32_t i = 0; i < n_path;) {
        uint32_t n = 1;

        while (i + n < n_path && path[i + n] == path[i] + (int32_t)n)
            n++;
        x->k->attn_pv(out, kv->head_dim, s + i, stride_s, n_q, v + (size_t)path[i] * kv->head_dim, kv->head_dim,
                      kv->head_dim, n);
        i += n;
    }
}

/* First position a query at `pos` sees. */
static uint32_t first_visible(uint32_t window, uint32_t pos)
{
    return window && pos + 1 > window ? pos + 1 - window : 0;
}

void lv_attn_chunk(struct lv_exec *x, const struct lv_kv *kv, const struct lv_pass *pass, const struct lv_op *op,
                   uint32_t head, uint32_t row0, uint32_t n_rows, uint8_t *scratch)
{
    const struct lv_shape *sh = &x->p->shape;
    const struct lv_kv_layer *l = &kv->layer[op->layer];
    const uint32_t group = sh->n_head / sh->n_head_kv, dim = sh->head_dim, n_q = n_rows * group;
    const uint32_t window = x->p->window[op->layer];
    const size_t stride = score_stride(kv, pass), col0 = (size_t)head * group * dim;
    uint8_t block[MAX_TREE_BLOCKS], place[MAX_TREE_BLOCKS];
    const uint32_t n_block = tree_blocks(pass, row0, n_rows, block, place), n_slot = n_block * LV_KV_BLOCK;
    uint32_t min_pos = UINT32_MAX;
    float *score = (float *)scratch;             /* [n_q][stride] */
    float *tree = score + n_q * stride;          /* [n_q][n_slot], blocks as listed */
    float *head_rows = tree + (size_t)n_q * n_slot; /* [n_q][dim] queries, later results */

    for (uint32_t r = 0; r < n_rows; r++) {
        const uint32_t pos = kv->n + (pass->path_at[row0 + r + 1] - pass->path_at[row0 + r]) - 1;

        min_pos = pos < min_pos ? pos : min_pos;
        memcpy(head_rows + (size_t)r * group * dim, lv_exec_row(x, LV_BUF_Q, row0 + r) + col0,
               (size_t)group * dim * sizeof *head_rows);
    }
    /* Position of score[0]: a multiple of 16, so that a position keeps its lane. */
    const uint32_t from16 = first_visible(window, min_pos) / LV_KV_BLOCK * LV_KV_BLOCK;

    prefix_scores(x, kv, l, head, from16, head_rows, dim, n_q, score, stride);
    for (uint32_t b = 0, n; b < n_block; b += n) { /* neighbours in one call */
        for (n = 1; b + n < n_block && block[b + n] == block[b] + n; n++)
            ;
        x->k->attn_qk(tree + (size_t)b * LV_KV_BLOCK, n_slot, head_rows, dim, n_q,
                      lv_kv_tree_k(kv, l, head) + (size_t)block[b] * LV_KV_BLOCK * dim, dim, n, x->p->attn_scale);
    }
    memset(head_rows, 0, (size_t)n_q * dim * sizeof *head_rows);

    for (uint32_t r = 0; r < n_rows; r++) {
        const int32_t *path = pass->path + pass->path_at[row0 + r];
        const uint32_t n_path = pass->path_at[row0 + r + 1] - pass->path_at[row0 + r];
        const uint32_t pos = kv->n + n_path - 1, from = first_visible(window, pos);
        const uint32_t n16 = (uint32_t)lv_round_up(pos + 1 - from16, LV_KV_BLOCK);
        const uint32_t skip = from > kv->n ? from - kv->n : 0; /* path rows that fell out of the window */
        float *out = head_rows + (size_t)r * group * dim;
        float *s = score + (size_t)r * group * stride;

        for (uint32_t g = 0; g < group; g++) {
            float *sg = s + g * stride;
            const float *t = tree + ((size_t)r * group + g) * n_slot;

            for (uint32_t i = from16 > kv->n ? from16 - kv->n : 0; i < n_path; i++)
                sg[kv->n + i - from16] = t[place[path[i] / LV_KV_BLOCK] * LV_KV_BLOCK + path[i] % LV_KV_BLOCK];
            for (uint32_t i = from16; i < from; i++)
                sg[i - from16] = -INFINITY;
            for (uint32_t i = pos + 1 - from16; i < n16; i++)
                sg[i] = -INFINITY;
            sg[stride - 1] = x->k->softmax(sg, n16); /* the array's last place is never a score */
        }
        prefix_values(x, kv, l, head, from, out, dim, s + (from - from16), stride, group);
        path_values(x, kv, l, head, path + skip, n_path - skip, out, s + (kv->n + skip - from16), stride, group);
        for (uint32_t g = 0; g < group; g++) {
            x->k->scale(out + (size_t)g * dim, s[g * stride + stride - 1], dim);
        }
        memcpy(x->attn + (size_t)(row0 + r) * sh->n_head * dim + col0, out, (size_t)group * dim * sizeof *out);
    }
    x->k->quantize(&x->act[LV_ACT_ATTN], row0, n_rows, (uint32_t)col0, group * dim);
}
