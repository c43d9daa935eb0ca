#include "engine/instance.h"

#include <assert.h>

#include "engine/sidecar.h"

enum lever_status lv_instance_open(struct lv_instance *m, const char *path, struct lever_error *err)
{
    *m = (struct lv_instance){ 0 };
    LV_TRY(lv_gguf_open(&m->gguf, path, err));
    return lv_program_new(&m->program, m->gguf, err);
}

enum lever_status lv_instance_use_sidecar(struct lv_instance *m, const char *path, struct lever_error *err)
{
    char *copy = lv_strdup(path);
    enum lever_status st;

    if (!copy)
        return LV_FAIL(err, LEVER_E_NOMEM, "sidecar: name of the file");
    st = lv_sidecar_attach(m->program, m->gguf, path, &m->sidecar_bytes, err);
    if (st == LEVER_OK)
        m->sidecar = copy;
    else
        lv_free(copy);
    return st;
}

const char *lv_instance_path(const struct lv_instance *m, uint32_t i_file)
{
    return i_file < lv_gguf_n_files(m->gguf) ? lv_gguf_path(m->gguf, i_file) : m->sidecar;
}

/* One layout for counting and for the real thing. */
static bool lay_out(struct lv_instance *m, const struct lv_instance_spec *spec, struct lv_arena *a)
{
    bool ok = lv_kv_init(&m->kv, m->program, spec->n_ctx, spec->n_slot, a);

    ok &= lv_exec_init(&m->exec, m->program, spec->n_worker, spec->max_rows, spec->n_ctx, spec->n_slot,
                       spec->n_ring_slot > 0, a);
    if (spec->peek)
        ok &= lv_exec_init_head(&m->peek, m->program, spec->n_worker, spec->max_rows, a);
    ok &= lv_embed_init(&m->embed, m->program, m->reader, spec->embed_bytes, a);
    return ok;
}

uint64_t lv_instance_arena_bytes(const struct lv_instance *m, const struct lv_instance_spec *spec)
{
    struct lv_instance count = { .program = m->program };
    struct lv_arena a = { 0 };

    lay_out(&count, spec, &a);
    return a.used_bytes;
}

static enum lever_status open_reader(struct lv_instance *m, const struct lv_reader_options *io, struct lever_error *err)
{
    const char *path[LV_GGUF_MAX_FILES + 1];
    uint64_t bytes[LV_GGUF_MAX_FILES + 1];
    uint32_t n = lv_gguf_n_files(m->gguf);

    for (uint32_t i = 0; i < n; i++) {
        path[i] = lv_gguf_path(m->gguf, i);
        bytes[i] = lv_gguf_file_bytes(m->gguf, i);
    }
    if (m->sidecar) {
        path[n] = m->sidecar;
        bytes[n++] = m->sidecar_bytes;
    }
    return lv_reader_open(&m->reader, path, bytes, n, io, err);
}

static uint8_t *ring_start(const struct lv_instance *m)
{
    return (uint8_t *)lv_round_up((uintptr_t)m->ring, LV_IO_ALIGN);
}

/* A stream over the extents of a placement, through the ring that is there. */
static enum lever_status new_stream(struct lv_instance *m, const struct lv_placement *place, struct lv_stream **out,
                                    struct lever_error *err)
{
    const uint64_t fit = (m->ring_bytes - LV_IO_ALIGN) / lv_slot_bytes(place->max_extent);

    if (!fit)
        return LV_FAIL(err, LEVER_E_INTERNAL, "an extent of %u bytes does not fit the ring", place->max_extent);
    return lv_stream_new(out, m->reader, place->extent, place->n_extent, place->max_extent, ring_start(m),
                         fit < place->n_extent ? (uint32_t)fit : place->n_extent, m->exec.event, err);
}

static enum lever_status make_stream(struct lv_instance *m, const struct lv_instance_spec *spec,
                                     struct lever_error *err)
{
    const uint32_t n_slot = spec->n_ring_slot < m->place.n_extent ? spec->n_ring_slot : m->place.n_extent;

    m->ring_bytes = n_slot * lv_slot_bytes(m->place.max_extent) + LV_IO_ALIGN;
    m->ring = lv_region_new(m->ring_bytes, false);
    if (!m->ring)
        return LV_FAIL(err, LEVER_E_NOMEM, "stream ring: %llu bytes", (unsigned long long)m->ring_bytes);
    LV_TRY(new_stream(m, &m->place, &m->stream, err));
    m->exec.src = lv_stream_source(m->stream);
    lv_reader_check_direct(m->reader, m->place.extent[0].i_file, m->place.extent[0].off, ring_start(m));
    return LEVER_OK;
}

enum lever_status lv_instance_load(struct lv_instance *m, const struct lv_instance_spec *spec, const struct lv_kern *k,
                                   struct lv_pool *pool, const struct lv_reader_options *io,
                                   struct lv_load_progress *progress, struct lever_error *err)
{
    LV_TRY(open_reader(m, io, err));
    LV_TRY(lv_place(&m->place, m->program, spec->pin_bytes, spec->stream_head, spec->slot_bytes, err));
    m->stream_head = spec->stream_head;
    m->extent_bytes = spec->slot_bytes;
    if (!lv_arena_init(&m->arena, lv_instance_arena_bytes(m, spec), false))
        return LV_FAIL(err, LEVER_E_NOMEM, "KV cache and buffers: %llu bytes",
                       (unsigned long long)lv_instance_arena_bytes(m, spec));
    const bool fits = lay_out(m, spec, &m->arena);

    assert(fits); /* the same function counted */
    (void)fits;
    m->exec.event = &m->exec.own_event;
    m->exec.k = k;
    m->exec.pool = pool;
    m->peek.event = m->exec.event;
    m->peek.k = k;
    m->peek.pool = pool;

    m->weights_bytes = lv_load_vector_bytes(m->program) + m->place.pinned_bytes;
    m->weights = lv_region_new(m->weights_bytes, true);
    if (!m->weights)
        return LV_FAIL(err, LEVER_E_NOMEM, "resident weights: %llu bytes", (unsigned long long)m->weights_bytes);
    LV_TRY(lv_load(m->program, m->reader, k, pool, m->weights, progress, err));
    LV_TRY(lv_program_seal(m->program, err));
    if (m->place.n_extent)
        LV_TRY(make_stream(m, spec, err));
    return LEVER_OK;
}

/* ---- pinning more ------------------------------------------------------------------ */

/* The segments of a weight as they were. */
struct view {
    struct lv_segment *seg;
    uint32_t n_seg;
};

/* Groups at a weight's start that are pinned, and the segments that hold them. */
static uint32_t count_pinned(const struct lv_segment *seg, uint32_t n_seg, uint32_t *n_pinned_seg)
{
    uint32_t n = 0, s = 0;

    for (; s < n_seg && seg[s].i_extent == LV_NONE; s++)
        n += seg[s].n_groups;
    *n_pinned_seg = s;
    return n;
}

/* Pinned groups keep the memory that they had; *bytes grows by that of the others. */
static enum lever_status keep_pinned(struct lv_weight *w, const struct view *old, uint64_t *bytes, struct lever_error *err)
{
    uint32_t n_old_seg, n_new_seg, n = 0;
    const uint32_t n_old = count_pinned(old->seg, old->n_seg, &n_old_seg), n_new = count_pinned(w->seg, w->n_seg, &n_new_seg);

    if (n_new < n_old)
        return LV_FAIL(err, LEVER_E_INTERNAL, "%s: %u groups pinned, %u before", w->tensor->name, n_new, n_old);
    struct lv_segment *seg = LV_NEW_ARRAY(struct lv_segment, n_old_seg + 1 + w->n_seg - n_new_seg);

    if (!seg)
        return LV_FAIL(err, LEVER_E_NOMEM, "view of %s", w->tensor->name);
    for (; n < n_old_seg; n++)
        seg[n] = old->seg[n];
    if (n_new > n_old)
        seg[n++] = (struct lv_segment){ .first_group = n_old, .n_groups = n_new - n_old, .i_extent = LV_NONE };
    for (uint32_t s = n_new_seg; s < w->n_seg; s++)
        seg[n++] = w->seg[s];
    lv_free(w->seg);
    w->seg = seg;
    w->n_seg = n;
    *bytes += (n_new - n_old) * w->group_bytes;
    return LEVER_OK;
}

static void use_stream(struct lv_instance *m, struct lv_stream *s)
{
    lv_stream_free(m->stream);
    m->stream = s;
    m->exec.src = (struct lv_source){ 0 };
    if (s) {
        m->exec.src = lv_stream_source(s);
        return;
    }
    lv_region_free(m->ring, m->ring_bytes);
    m->ring = NULL;
}

enum lever_status lv_instance_pin_more(struct lv_instance *m, uint64_t bytes, struct lever_error *err)
{
    struct lv_program *p = m->program;
    struct view *old = LV_NEW_ARRAY(struct view, p->n_w);
    struct lv_placement place = { 0 };
    struct lv_stream *stream = NULL;
    uint64_t more_bytes = 0;
    uint8_t *more = NULL;

    if (!old)
        return LV_FAIL(err, LEVER_E_NOMEM, "views of %u weights", p->n_w);
    for (uint32_t i = 0; i < p->n_w; i++) {
        old[i] = (struct view){ p->w[i].seg, p->w[i].n_seg };
        p->w[i].seg = NULL;
        p->w[i].n_seg = 0;
    }
    enum lever_status st = lv_place(&place, p, m->place.pinned_bytes + bytes, m->stream_head, m->extent_bytes, err);

    for (uint32_t i = 0; i < p->n_w && st >= 0; i++)
        st = keep_pinned(&p->w[i], &old[i], &more_bytes, err);
    if (st >= 0 && !more_bytes)
        st = LV_FAIL(err, LEVER_E_BUDGET, "%llu bytes hold nothing more", (unsigned long long)bytes);
    if (st >= 0 && !(more = lv_region_new(more_bytes, true)))
        st = LV_FAIL(err, LEVER_E_NOMEM, "resident weights: %llu bytes", (unsigned long long)more_bytes);
    if (st >= 0)
        st = lv_load(p, m->reader, m->exec.k, m->exec.pool, more, NULL, err);
    if (st >= 0 && place.n_extent)
        st = new_stream(m, &place, &stream, err);
    if (st >= 0)
        st = lv_program_seal(p, err);
    for (uint32_t i = 0; i < p->n_w; i++) { /* one of the two views goes */
        lv_free(st >= 0 ? old[i].seg : p->w[i].seg);
        if (st < 0) {
            p->w[i].seg = old[i].seg;
            p->w[i].n_seg = old[i].n_seg;
        }
    }
    lv_free(old);
    if (st < 0) {
        lv_stream_free(stream);
        lv_region_free(more, more_bytes);
        lv_placement_deinit(&place);
        return st;
    }
    use_stream(m, stream);
    lv_placement_deinit(&m->place);
    m->place = place;
    m->more = more;
    m->more_bytes = more_bytes;
    return LEVER_OK;
}

void lv_instance_unload(struct lv_instance *m)
{
    lv_accel_unload(m->device); /* it uses buffers and weights */
    if (m->stream)
        lv_stream_stop(m->stream);
    lv_reader_close(m->reader); /* no read touches the ring after this */
    lv_stream_free(m->stream);
    lv_region_free(m->ring, m->ring_bytes);
    lv_region_free(m->weights, m->weights_bytes);
    lv_region_free(m->more, m->more_bytes);
    lv_arena_deinit(&m->arena);
    lv_placement_deinit(&m->place);
    *m = (struct lv_instance){ .gguf = m->gguf, .program = m->program, .sidecar = m->sidecar, .sidecar_bytes = m->sidecar_bytes };
}

void lv_instance_close(struct lv_instance *m)
{
    lv_instance_unload(m);
    lv_program_free(m->program);
    lv_free(m->sidecar);
    lv_gguf_close(m->gguf);
    *m = (struct lv_instance){ 0 };
}

/* ---- runs --------------------------------------------------------------------------- */

void lv_instance_use(struct lv_instance *m, struct lv_exec *x, bool head, uint32_t n_rows)
{
    const struct lv_devices *d = m->devices;

    if (!d || d->map.n < 2)
        return;
    const struct lv_map_split s = lv_map_place(&d->map, LV_MAP_ALL, m->first_program + head, n_rows);

    if (x == &m->exec)
        m->used[head] = s;
    if (!s.n)
        return;
    x->k = d->k[s.part[0].device];
    x->k_rest = s.n > 1 ? d->k[s.part[1].device] : NULL;
    x->n_first = s.part[0].rows;
}

void lv_instance_learn(struct lv_instance *m, bool head, uint32_t n_rows, double seconds)
{
    const struct lv_map_split *s = &m->used[head];

    if (m->devices && s->n && s->part[0].rows + (s->n > 1 ? s->part[1].rows : 0) == n_rows)
        lv_map_learn(&m->devices->map, m->first_program + head, s, seconds);
}

enum lever_status lv_instance_forward(struct lv_instance *m, const int32_t *token, const struct lv_pass *pass,
                                      struct lever_error *err)
{
    LV_TRY(lv_embed_rows(&m->embed, token, pass->n_rows, m->exec.buf[LV_BUF_X], m->exec.stride[LV_BUF_X], m->exec.cancel,
                         err));
    lv_instance_use(m, &m->exec, false, pass->n_rows);
    const enum lever_status st = lv_exec_forward(&m->exec, &m->kv, pass, err);

    if (st < 0 && m->stream)
        lv_stream_abandon(m->stream);
    return st;
}

enum lever_status lv_instance_head(struct lv_instance *m, const uint32_t *row, uint32_t n, struct lv_head head,
                                   struct lever_error *err)
{
    lv_instance_use(m, &m->exec, true, n);
    const enum lever_status st = lv_exec_head(&m->exec, row, n, head, err);

    if (st < 0 && m->stream_head)
        lv_stream_abandon(m->stream);
    return st;
}
