#include "engine/place.h"

#include <string.h>

#include "engine/sidecar.h"

static uint64_t resident_bytes(const struct lv_weight *w) /* with the padding of the last group */
{
    return w->n_groups * w->group_bytes;
}

static bool must_pin(const struct lv_program *p, uint32_t i, bool stream_head)
{
    return p->w[i].must_pin && !(stream_head && i == p->w_head);
}

uint64_t lv_place_least(const struct lv_program *p, bool stream_head)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < p->n_w; i++)
        if (must_pin(p, i, stream_head))
            n += resident_bytes(&p->w[i]);
    return n;
}

static bool is_attention(const struct lv_weight *w)
{
    return strstr(w->tensor->name, ".attn_") != NULL;
}

/* Adds a streamed piece of w: to the last extent when it continues it in the file, else as a new one. */
static enum lever_status add_piece(struct lv_placement *pl, const struct lv_weight *w, struct lv_segment *seg,
                                   uint64_t extent_bytes, struct lever_error *err)
{
    const uint64_t off = w->off + seg->first_group * w->group_bytes;
    const uint64_t begin = seg->first_group * w->group_bytes, whole = seg->n_groups * w->group_bytes;
    const uint32_t len = (uint32_t)(begin + whole > w->bytes ? w->bytes - begin : whole);
    struct lv_extent *last = pl->n_extent ? &pl->extent[pl->n_extent - 1] : NULL;

    /* Matrices of a sidecar have some padding between them, which is cheaper to read than another request. */
    const uint64_t gap = last && last->i_file == w->i_file && off >= last->off + last->len ? off - last->off - last->len
                                                                                           : UINT64_MAX;

    if (gap > (w->packed ? LV_SIDECAR_ALIGN : 0) || last->len + gap + len > extent_bytes) {
        if (pl->n_extent == pl->cap_extent) {
            const uint32_t cap = pl->cap_extent ? pl->cap_extent * 2 : 256;
            struct lv_extent *e = lv_realloc(pl->extent, cap, sizeof *e);

            if (!e)
                return LV_FAIL(err, LEVER_E_NOMEM, "stream: list of %u extents", cap);
            pl->extent = e;
            pl->cap_extent = cap;
        }
        last = &pl->extent[pl->n_extent++];
        *last = (struct lv_extent){ .i_file = w->i_file, .off = off };
    }
    seg->i_extent = pl->n_extent - 1;
    seg->off = (uint32_t)(off - last->off);
    last->len = seg->off + len;
    last->n_seg++;
    pl->max_extent = last->len > pl->max_extent ? last->len : pl->max_extent;
    return LEVER_OK;
}

/* Splits w: the first n_pin groups pinned, the rest in pieces that fit an extent. */
static enum lever_status split(struct lv_placement *pl, struct lv_weight *w, uint32_t n_pin, uint64_t extent_bytes,
                               struct lever_error *err)
{
    const uint32_t per_piece = (uint32_t)(extent_bytes / w->group_bytes);
    const uint32_t n_stream = w->n_groups - n_pin;

    if (n_stream && !per_piece)
        return LV_FAIL(err, LEVER_E_ARG, "slot of %llu bytes is too small: 32 rows of %s take %llu; use a larger --slot",
                       (unsigned long long)extent_bytes, w->tensor->name, (unsigned long long)w->group_bytes);
    lv_free(w->seg);
    w->n_seg = 0;
    w->seg = LV_NEW_ARRAY(struct lv_segment, (n_pin ? 1 : 0) + (n_stream ? (n_stream - 1) / per_piece + 1 : 0));
    if (!w->seg)
        return LV_FAIL(err, LEVER_E_NOMEM, "view of %s", w->tensor->name);
    if (n_pin)
        w->seg[w->n_seg++] = (struct lv_segment){ .first_group = 0, .n_groups = n_pin, .i_extent = LV_NONE };
    for (uint32_t g = n_pin; g < w->n_groups; g += per_piece) {
        struct lv_segment *s = &w->seg[w->n_seg++];

        *s = (struct lv_segment){ .first_group = g,
                                  .n_groups = w->n_groups - g < per_piece ? w->n_groups - g : per_piece };
        LV_TRY(add_piece(pl, w, s, extent_bytes, err));
    }
    pl->pinned_bytes += n_pin * w->group_bytes;
    pl->streamed_bytes += n_stream ? w->bytes - n_pin * w->group_bytes : 0;
    return LEVER_OK;
}

enum lever_status lv_place(struct lv_placement *out, struct lv_program *p, uint64_t pin_bytes, bool stream_head,
                           uint64_t extent_bytes, struct lever_error *err)
{
    uint64_t attn = 0, ffn = 0, left = pin_bytes - lv_place_least(p, stream_head);
    enum lever_status st = LEVER_OK;

    *out = (struct lv_placement){ 0 };
    for (uint32_t i = 0; i < p->n_w; i++)
        if (!p->w[i].must_pin)
            *(is_attention(&p->w[i]) ? &attn : &ffn) += resident_bytes(&p->w[i]);
    const double attn_share = left >= attn ? 1.0 : (double)left / (double)attn;

    left -= left >= attn ? attn : left;
    const double ffn_share = left >= ffn ? 1.0 : (double)left / (double)ffn;

    for (uint32_t i = 0; i < p->n_w && st >= 0; i++) {
        struct lv_weight *w = &p->w[i];
        const bool head = i == p->w_head && stream_head;
        const double share = head ? 0.0 : w->must_pin ? 1.0 : is_attention(w) ? attn_share : ffn_share;
        const uint32_t n_pin = share >= 1.0 ? w->n_groups : (uint32_t)(share * w->n_groups);

        st = split(out, w, n_pin, extent_bytes, err);
    }
    if (st < 0)
        lv_placement_deinit(out);
    return st;
}

void lv_placement_deinit(struct lv_placement *pl)
{
    lv_free(pl->extent);
    *pl = (struct lv_placement){ 0 };
}
