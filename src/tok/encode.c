#include <string.h>

#include "base/mem.h"
#include "tok/merge.h"

/* What one call of encode holds. */
struct run {
    const struct lv_tok *t;
    struct lv_tok_ids *out;
    struct lv_merger merger;
    struct lv_matches matches;
    struct lv_pretok_run pretok;
    char *buf; /* repaired copy of a stretch */
    size_t cap_buf;
};

static enum lever_status fail_text(size_t len, struct lever_error *err)
{
    return LV_FAIL(err, LEVER_E_NOMEM, "tokenizer: no memory for a text of %zu bytes", len);
}

static enum lever_status reserve_buf(struct run *r, size_t n, struct lever_error *err)
{
    if (n <= r->cap_buf)
        return LEVER_OK;
    lv_free(r->buf);
    r->buf = lv_alloc(n, 1);
    r->cap_buf = r->buf ? n : 0;
    return r->buf ? LEVER_OK : fail_text(n, err);
}

/* *s = a copy with U+FFFD for each byte that belongs to no character, if there is any. */
static enum lever_status repair_utf8(struct run *r, const char **s, size_t *len, struct lever_error *err)
{
    size_t n_bad = 0, n = 0;
    int n_char;

    for (size_t i = 0; i < *len; i += n_char > 0 ? (size_t)n_char : 1)
        n_bad += (n_char = lv_utf8_char(*s + i, *len - i)) < 1;
    if (!n_bad)
        return LEVER_OK;
    LV_TRY(reserve_buf(r, *len + 2 * n_bad, err));
    for (size_t i = 0; i < *len;) {
        n_char = lv_utf8_char(*s + i, *len - i);
        if (n_char < 1) {
            memcpy(r->buf + n, "\xef\xbf\xbd", 3);
            n += 3;
            i++;
            continue;
        }
        memcpy(r->buf + n, *s + i, (size_t)n_char);
        n += (size_t)n_char;
        i += (size_t)n_char;
    }
    *s = r->buf;
    *len = n;
    return LEVER_OK;
}

static enum lever_status encode_bpe(struct run *r, const char *s, size_t len, struct lever_error *err)
{
    const struct lv_tok *t = r->t;

    LV_TRY(repair_utf8(r, &s, &len, err));
    for (size_t off = 0, n; off < len; off += n) {
        int32_t id;

        LV_TRY(lv_pretok_next(&r->pretok, &t->pretok, s, len, off, &n, err));
        if (t->pretok.ignore_merges && (id = lv_tok_find(t, s + off, n)) >= 0)
            LV_TRY(lv_tok_push(r->out, id, err));
        else
            LV_TRY(lv_merge_word(&r->merger, t, s + off, n, r->out, err));
    }
    return LEVER_OK;
}

/* The whole stretch is one word. A stretch begins at the start or after a special token: both get the
 * space that the file asks for. */
static enum lever_status encode_spm(struct run *r, const char *s, size_t len, struct lever_error *err)
{
    const bool prefix = r->t->add_space_prefix;
    bool has_mark = false;

    for (const char *p = s; !has_mark && (p = memchr(p, '\xe2', len - (size_t)(p - s))) != NULL; p++)
        has_mark = len - (size_t)(p - s) >= 3 && memcmp(p, "\xe2\x96\x81", 3) == 0;
    if (prefix || has_mark) { /* U+2581 in a text cannot be told from a space */
        LV_TRY(reserve_buf(r, len + 1, err));
        r->buf[0] = ' ';
        len = prefix + lv_tok_unmap_spaces(s, len, r->buf + prefix);
        s = r->buf;
    }
    return lv_merge_word(&r->merger, r->t, s, len, r->out, err);
}

static enum lever_status encode_plain(struct run *r, const char *s, size_t len, struct lever_error *err)
{
    if (len == 0)
        return LEVER_OK;
    return r->t->model == LV_TOK_BPE ? encode_bpe(r, s, len, err) : encode_spm(r, s, len, err);
}

static enum lever_status encode_text(struct run *r, const char *s, size_t len, const struct lv_tok_span *span,
                                     size_t n_span, struct lever_error *err)
{
    size_t off = 0;

    for (size_t i = 0; i < n_span; off += span[i++].len)
        LV_TRY(lv_tok_scan_special(r->t, s, off, off + span[i].len, span[i].special, &r->matches, err));
    off = 0;
    for (size_t i = 0; i < r->matches.n; i++) {
        const struct lv_match *m = &r->matches.m[i];

        LV_TRY(encode_plain(r, s + off, m->off - off, err));
        LV_TRY(lv_tok_push(r->out, m->id, err));
        off = m->off + m->len;
    }
    return encode_plain(r, s + off, len - off, err);
}

enum lever_status lv_tok_encode(const struct lv_tok *t, const struct lv_tok_span *span, size_t n_span, bool add_bos,
                                struct lv_tok_ids *out, struct lever_error *err)
{
    const size_t n_before = out->n;
    struct run r = { .t = t, .out = out };
    enum lever_status st = LEVER_OK;
    uint64_t len = 0;
    char *joined = NULL;
    const char *s = n_span ? span[0].s : NULL;

    for (size_t i = 0; i < n_span; i++)
        if (!lv_add_u64(len, span[i].len, &len) || len > SIZE_MAX / 8)
            return fail_text(SIZE_MAX, err);
    if (n_span > 1) {
        size_t off = 0;

        if (!(joined = lv_alloc(len + 1, 1)))
            return fail_text(len, err);
        for (size_t i = 0; i < n_span; off += span[i++].len)
            if (span[i].len)
                memcpy(joined + off, span[i].s, span[i].len);
        s = joined;
    }
    if (add_bos && t->bos >= 0)
        st = lv_tok_push(out, t->bos, err);
    if (st == LEVER_OK && len && t->model == LV_TOK_BPE)
        st = lv_pretok_begin(&r.pretok, &t->pretok, len, err);
    if (st == LEVER_OK && len)
        st = encode_text(&r, s, len, span, n_span, err);
    if (st < 0)
        out->n = n_before;
    lv_pretok_end(&r.pretok);
    lv_merger_deinit(&r.merger);
    lv_tok_matches_deinit(&r.matches);
    lv_free(r.buf);
    lv_free(joined);
    return st;
}
