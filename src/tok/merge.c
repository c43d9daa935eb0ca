#include "tok/merge.h"

#include "base/mem.h"

enum lever_status lv_tok_push(struct lv_tok_ids *out, int32_t id, struct lever_error *err)
{
    if (out->n == out->cap) {
        const size_t cap = out->cap ? out->cap * 2 : 64;
        int32_t *ids = lv_realloc(out->ids, cap, sizeof *ids);

        if (!ids)
            return LV_FAIL(err, LEVER_E_NOMEM, "tokenizer: no memory for %zu token ids", cap);
        out->ids = ids;
        out->cap = cap;
    }
    out->ids[out->n++] = id;
    return LEVER_OK;
}

void lv_merger_deinit(struct lv_merger *m)
{
    lv_free(m->sym);
    lv_free(m->heap);
    *m = (struct lv_merger){ 0 };
}

/* Symbols, and pairs to come: n - 1 at first, then each merge takes one away and adds up
 * to two, so 2 n is enough. */
static enum lever_status reserve(struct lv_merger *m, size_t n, struct lever_error *err)
{
    if (n > m->cap_sym) {
        lv_free(m->sym);
        lv_free(m->heap);
        m->cap_sym = m->cap_heap = 0;
        m->sym = lv_alloc(n, sizeof *m->sym);
        m->heap = lv_alloc(n, 2 * sizeof *m->heap);
        if (!m->sym || !m->heap)
            return LV_FAIL(err, LEVER_E_NOMEM, "tokenizer: no memory to merge a word of %zu symbols", n);
        m->cap_sym = n;
        m->cap_heap = 2 * n;
    }
    m->n_heap = 0;
    return LEVER_OK;
}

static void heap_push(struct lv_merger *m, struct lv_pair p)
{
    size_t i = m->n_heap++;

    while (i > 0) {
        const size_t up = (i - 1) / 2;

        if (m->heap[up].key <= p.key)
            break;
        m->heap[i] = m->heap[up];
        i = up;
    }
    m->heap[i] = p;
}

static struct lv_pair heap_pop(struct lv_merger *m)
{
    const struct lv_pair top = m->heap[0], last = m->heap[--m->n_heap];
    const size_t n = m->n_heap;
    size_t i = 0, down;

    while ((down = 2 * i + 1) < n) {
        if (down + 1 < n && m->heap[down + 1].key < m->heap[down].key)
            down++;
        if (last.key <= m->heap[down].key)
            break;
        m->heap[i] = m->heap[down];
        i = down;
    }
    m->heap[i] = last;
    return top;
}

/* Offers the pair of symbol i and its right neighbour, if the vocabulary joins them. */
static void offer(struct lv_merger *m, const struct lv_tok *t, const char *s, int32_t i)
{
    const struct lv_sym *a = &m->sym[i], *b;
    uint32_t prio, len;
    int32_t id;

    if (a->next < 0)
        return;
    b = &m->sym[a->next];
    len = a->len + b->len;
    if (t->model == LV_TOK_BPE) {
        const struct lv_merge *merge = lv_tok_find_merge(t, a->id, b->id);

        if (!merge)
            return;
        prio = (uint32_t)(merge - t->merge);
        id = merge->id;
    } else {
        id = lv_tok_find(t, s + a->off, len);
        if (id < 0)
            return;
        prio = t->prio[id];
    }
    heap_push(m, (struct lv_pair){ (uint64_t)prio << 32 | (uint32_t)i, len, id });
}

/* Cuts the word into its first symbols; returns their number. */
static int32_t cut(struct lv_merger *m, const struct lv_tok *t, const char *s, size_t len)
{
    int32_t n = 0;

    for (size_t off = 0; off < len;) {
        struct lv_sym *sym = &m->sym[n];
        int n_char = 1;

        if (t->model == LV_TOK_SPM && (n_char = lv_utf8_char(s + off, len - off)) < 1)
            n_char = 1;
        *sym = (struct lv_sym){ n - 1, n + 1, (uint32_t)off, (uint32_t)n_char, 0 };
        sym->id = t->model == LV_TOK_BPE ? t->byte_id[(unsigned char)s[off]] : lv_tok_find(t, s + off, (size_t)n_char);
        off += (size_t)n_char;
        n++;
    }
    m->sym[n - 1].next = -1;
    return n;
}

/* The token of one symbol, or of its bytes where it has none. */
static enum lever_status emit(const struct lv_tok *t, const struct lv_sym *sym, const char *s, struct lv_tok_ids *out,
                              struct lever_error *err)
{
    if (sym->id >= 0)
        return lv_tok_push(out, sym->id, err);
    if (t->model == LV_TOK_BPE) /* a byte that the vocabulary lacks is left out: such models never saw it */
        return LEVER_OK;
    for (uint32_t i = 0; i < sym->len; i++) {
        const int32_t id = t->byte_id[(unsigned char)s[sym->off + i]];

        LV_TRY(lv_tok_push(out, id >= 0 ? id : t->unk, err)); /* open has made sure of one of them */
    }
    return LEVER_OK;
}

enum lever_status lv_merge_word(struct lv_merger *m, const struct lv_tok *t, const char *s, size_t len,
                                struct lv_tok_ids *out, struct lever_error *err)
{
    int32_t n;

    if (len == 0)
        return LEVER_OK;
    if (len > LV_MERGE_MAX_BYTES)
        return LV_FAIL(err, LEVER_E_INTERNAL, "tokenizer: a stretch of %zu bytes, at most %zu are supported", len,
                       LV_MERGE_MAX_BYTES);
    LV_TRY(reserve(m, len, err));
    n = cut(m, t, s, len);
    for (int32_t i = 0; i < n; i++)
        offer(m, t, s, i);
    while (m->n_heap) {
        const struct lv_pair p = heap_pop(m);
        const int32_t i_left = (int32_t)(uint32_t)p.key;
        struct lv_sym *left = &m->sym[i_left], *right;

        if (left->len == 0 || left->next < 0)
            continue;
        right = &m->sym[left->next];
        if (left->len + right->len != p.len)
            continue;
        left->len = p.len;
        left->id = p.id;
        left->next = right->next;
        right->len = 0;
        if (left->next >= 0)
            m->sym[left->next].prev = i_left;
        if (left->prev >= 0)
            offer(m, t, s, left->prev);
        offer(m, t, s, i_left);
    }
    for (int32_t i = 0; i >= 0; i = m->sym[i].next)
        LV_TRY(emit(t, &m->sym[i], s, out, err));
    return LEVER_OK;
}
