/* Special tokens in a text: control and user-defined ones, which no merge makes. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tok/vocab.h"

static bool is_special(const struct lv_tok *t, uint32_t id)
{
    const enum lv_tok_type type = lv_tok_type_of(t, id);

    return (type == LV_TOK_CONTROL || type == LV_TOK_USER || type == LV_TOK_UNKNOWN) && t->off[id + 1] > t->off[id];
}

struct entry {
    const char *s;
    uint32_t len, id;
};

static int compare_entry(const void *pa, const void *pb)
{
    const struct entry *a = pa, *b = pb;
    int c;

    if (a->len != b->len)
        return a->len > b->len ? -1 : 1;
    c = memcmp(a->s, b->s, a->len);
    return c ? c : (a->id > b->id) - (a->id < b->id);
}

static void mark_start(struct lv_tok *t, unsigned char c, unsigned char next)
{
    const unsigned i = (unsigned)c << 8 | next;

    t->special_start[i / 8] |= (uint8_t)(1u << i % 8);
}

static bool may_start(const struct lv_tok *t, const char *s)
{
    const unsigned i = (unsigned)(unsigned char)s[0] << 8 | (unsigned char)s[1];

    return t->special_start[i / 8] >> i % 8 & 1u;
}

/* Longest first, then by bytes, and the classes of equal length. */
static void sort_special(struct lv_tok *t, struct entry *e)
{
    uint32_t n = 0;

    for (uint32_t id = 0; id < t->n_vocab; id++) {
        if (!is_special(t, id))
            continue;
        e[n].s = lv_tok_text(t, id, &e[n].len);
        e[n++].id = id;
    }
    qsort(e, n, sizeof *e, compare_entry);
    for (uint32_t i = 0; i < n; i++) {
        t->special[i] = e[i].id;
        if (i == 0 || e[i].len != e[i - 1].len)
            t->class_table[t->n_class++] = (struct lv_special_class){ e[i].len, i, i };
        t->class_table[t->n_class - 1].end = i + 1;
        if (e[i].len > 1)
            mark_start(t, (unsigned char)e[i].s[0], (unsigned char)e[i].s[1]);
        for (unsigned c = 0; e[i].len == 1 && c < 256; c++)
            mark_start(t, (unsigned char)e[i].s[0], (unsigned char)c);
    }
}

enum lever_status lv_tok_load_special(struct lv_tok *t, struct lever_error *err)
{
    struct entry *e;

    for (uint32_t id = 0; id < t->n_vocab; id++)
        t->n_special += is_special(t, id);
    t->special = lv_tok_take(t, t->n_special + 1u, sizeof *t->special);
    t->class_table = lv_tok_take(t, t->n_special + 1u, sizeof *t->class_table);
    t->special_start = lv_tok_take(t, 65536 / 8, 1);
    e = lv_alloc(t->n_special + 1u, sizeof *e);
    if (!t->special || !t->class_table || !t->special_start || !e) {
        lv_free(e);
        return LV_FAIL(err, LEVER_E_NOMEM, "tokenizer: no memory for %u special tokens", t->n_special);
    }
    sort_special(t, e);
    lv_free(e);
    return LEVER_OK;
}

static int32_t find_in_class(const struct lv_tok *t, const struct lv_special_class *c, const char *s)
{
    uint32_t lo = c->begin, hi = c->end;

    while (lo < hi) {
        const uint32_t mid = lo + (hi - lo) / 2;
        const int order = memcmp(t->blob + t->off[t->special[mid]], s, c->len);

        if (order == 0)
            return (int32_t)t->special[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1;
}

int32_t lv_tok_find_special(const struct lv_tok *t, const char *s, size_t len)
{
    for (uint32_t i = 0; i < t->n_class; i++)
        if (t->class_table[i].len == len)
            return find_in_class(t, &t->class_table[i], s);
    return -1;
}

/* Places where a special token may begin, by its first two bytes. */
static enum lever_status find_starts(const struct lv_tok *t, const char *s, size_t begin, size_t end, struct lv_matches *out,
                                     size_t *n_start, struct lever_error *err)
{
    *n_start = 0;
    for (size_t i = begin; i < end; i++) {
        const char last[2] = { s[i], 0 };

        if (!may_start(t, i + 1 < end ? s + i : last))
            continue;
        if (*n_start == out->cap_start) {
            const size_t cap = out->cap_start ? out->cap_start * 2 : 256;
            size_t *start = lv_realloc(out->start, cap, sizeof *start);

            if (!start)
                return LV_FAIL(err, LEVER_E_NOMEM, "tokenizer: no memory to scan %zu bytes for special tokens", end - begin);
            out->start = start;
            out->cap_start = cap;
        }
        out->start[(*n_start)++] = i;
    }
    return LEVER_OK;
}

static enum lever_status add_match(struct lv_matches *out, struct lv_match m, struct lever_error *err)
{
    if (out->n == out->cap) {
        const size_t cap = out->cap ? out->cap * 2 : 64;
        struct lv_match *p = lv_realloc(out->m, cap, sizeof *p);

        if (!p)
            return LV_FAIL(err, LEVER_E_NOMEM, "tokenizer: no memory for %zu special tokens of a text", cap);
        out->m = p;
        out->cap = cap;
    }
    out->m[out->n++] = m;
    return LEVER_OK;
}

static int compare_match(const void *pa, const void *pb)
{
    const struct lv_match *a = pa, *b = pb;

    return (a->off > b->off) - (a->off < b->off);
}

static bool is_covered(const struct lv_matches *m, size_t i)
{
    return m->covered[i / 8] >> i % 8 & 1u;
}

/* The reference looks for the longest token in the whole text first, then for shorter ones in
 * what is left. So one pass per length; as a match taken earlier is at least as long, it is
 * enough to look at the two ends of a new one. */
enum lever_status lv_tok_scan_special(const struct lv_tok *t, const char *s, size_t begin, size_t end, bool special,
                                      struct lv_matches *out, struct lever_error *err)
{
    const size_t n_covered = (end - begin) / 8 + 1, n_before = out->n;
    size_t n_start;

    LV_TRY(find_starts(t, s, begin, end, out, &n_start, err));
    if (n_start == 0)
        return LEVER_OK;
    if (n_covered > out->cap_covered) {
        lv_free(out->covered);
        out->covered = lv_alloc(n_covered, 1);
        out->cap_covered = out->covered ? n_covered : 0;
        if (!out->covered)
            return LV_FAIL(err, LEVER_E_NOMEM, "tokenizer: no memory to scan %zu bytes for special tokens", end - begin);
    }
    memset(out->covered, 0, n_covered);
    for (uint32_t c = 0; c < t->n_class && n_start; c++) {
        const struct lv_special_class *class = &t->class_table[c];
        size_t n_kept = 0;

        for (size_t i = 0; i < n_start; i++) {
            const size_t at = out->start[i];
            int32_t id;

            if (is_covered(out, at - begin))
                continue; /* for good */
            out->start[n_kept++] = at;
            if (class->len > end - at || is_covered(out, at - begin + class->len - 1))
                continue;
            id = find_in_class(t, class, s + at);
            if (id < 0 || (!special && lv_tok_type_of(t, (uint32_t)id) != LV_TOK_USER))
                continue;
            LV_TRY(add_match(out, (struct lv_match){ at, class->len, id }, err));
            for (size_t k = at - begin; k < at - begin + class->len; k++)
                out->covered[k / 8] |= (uint8_t)(1u << k % 8);
        }
        n_start = n_kept;
    }
    if (out->n > n_before + 1)
        qsort(out->m + n_before, out->n - n_before, sizeof *out->m, compare_match);
    return LEVER_OK;
}

void lv_tok_matches_deinit(struct lv_matches *m)
{
    lv_free(m->m);
    lv_free(m->covered);
    lv_free(m->start);
    *m = (struct lv_matches){ 0 };
}
