#include "engine/load.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "engine/requant.h"

#define PIECE_BYTES (4u << 20) /* large enough for full disk speed with one read a worker */

/* A pinned segment is read in pieces of whole groups by whoever is free. */
struct piece {
    const struct lv_weight *w;
    uint32_t first_group, n_groups;
    uint8_t *dst;
};

struct job {
    struct lv_reader *reader;
    const struct lv_kern *k;
    struct piece *piece;
    uint32_t n_piece;
    _Atomic uint32_t next;
    _Atomic uint64_t n_bytes;
    atomic_bool failed;
    pthread_mutex_t lock;
    enum lever_status st;   /* under lock */
    struct lever_error err; /* under lock */
    uint8_t *buffer[LV_POOL_MAX];
    uint64_t piece_room; /* of a buffer; scratch for requantizing follows */
    struct lv_load_progress *progress;
    uint64_t done_before;
};

uint64_t lv_load_vector_bytes(const struct lv_program *p)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < p->n_v; i++)
        n += lv_round_up(p->v[i].n * sizeof(float), 64);
    return n;
}

/* Room for the longest piece, PIECE_BYTES or one group of a very wide matrix; and for requantizing a group. */
static uint64_t piece_room(const struct lv_program *p)
{
    uint64_t n = PIECE_BYTES;

    for (uint32_t i = 0; i < p->n_w; i++)
        n = p->w[i].file_group_bytes > n ? p->w[i].file_group_bytes : n;
    return lv_round_up(n, LV_IO_ALIGN) + LV_IO_ALIGN;
}

static uint64_t worker_buffer_bytes(const struct lv_program *p)
{
    const struct lv_weight *head = &p->w[p->w_head];

    return piece_room(p) + (head->type != head->file_type ? lv_round_up(lv_requant_scratch_bytes(head), LV_IO_ALIGN) : 0);
}

uint64_t lv_load_buffer_bytes(const struct lv_program *p, unsigned n_worker)
{
    return n_worker * worker_buffer_bytes(p) + LV_IO_ALIGN;
}

static enum lever_status load_piece(struct job *j, const struct piece *c, uint8_t *buf, struct lever_error *err)
{
    const struct lv_weight *w = c->w;
    const uint64_t off = w->off + c->first_group * w->file_group_bytes;
    const uint64_t end = w->off + w->bytes; /* the last group may be short */
    uint64_t len = c->n_groups * w->file_group_bytes;

    len = off + len > end ? end - off : len;
    LV_TRY(lv_reader_read(j->reader, w->i_file, off, len, buf, err));
    const uint8_t *src = buf + lv_read_shift(off);
    const bool as_it_is = w->packed && w->type == w->file_type;

    if (as_it_is)
        memcpy(c->dst, src, len);
    for (uint32_t i = 0; i < c->n_groups && !as_it_is; i++) {
        const uint32_t left = w->n_rows - (c->first_group + i) * LV_GROUP_ROWS;
        const uint32_t n_rows = left < LV_GROUP_ROWS ? left : LV_GROUP_ROWS;
        const uint8_t *group = src + i * w->file_group_bytes;

        if (w->type != w->file_type)
            group = lv_requant_group(w, group, n_rows, buf + j->piece_room);
        j->k->pack[w->type](c->dst + i * w->group_bytes, group, n_rows, w->n_cols);
    }
    atomic_fetch_add(&j->n_bytes, len);
    return LEVER_OK;
}

static void load_worker(void *arg, unsigned worker)
{
    struct job *j = arg;
    struct lever_error err = { 0 };

    while (!atomic_load(&j->failed)) {
        const uint32_t i = atomic_fetch_add(&j->next, 1);

        if (i >= j->n_piece)
            return;
        const enum lever_status st = load_piece(j, &j->piece[i], j->buffer[worker], &err);

        if (st < 0) {
            pthread_mutex_lock(&j->lock);
            if (!atomic_exchange(&j->failed, true)) {
                j->st = st;
                j->err = err;
            }
            pthread_mutex_unlock(&j->lock);
        }
        if (worker == 0 && j->progress && j->progress->fn)
            j->progress->fn(j->progress->user, "load", j->done_before + atomic_load(&j->n_bytes), j->progress->total);
    }
}

/* Pieces of all pinned segments without memory, which they are given; with piece NULL only counts. */
static uint32_t list_pieces(struct lv_program *p, uint8_t *memory, struct piece *piece)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->n_w; i++) {
        struct lv_weight *w = &p->w[i];
        const uint32_t fit = (uint32_t)(PIECE_BYTES / w->file_group_bytes);
        const uint32_t step = fit ? fit : 1;

        for (uint32_t s = 0; s < w->n_seg; s++) {
            struct lv_segment *seg = &w->seg[s];

            if (seg->i_extent != LV_NONE || seg->r32)
                continue;
            if (piece)
                seg->r32 = memory;
            for (uint32_t g = 0; g < seg->n_groups; g += step, n++)
                if (piece)
                    piece[n] = (struct piece){ .w = w,
                                               .first_group = seg->first_group + g,
                                               .n_groups = seg->n_groups - g < step ? seg->n_groups - g : step,
                                               .dst = memory + g * w->group_bytes };
            memory += seg->n_groups * w->group_bytes;
        }
    }
    return n;
}

static enum lever_status load_vectors(struct lv_program *p, struct job *j, uint8_t **memory, struct lever_error *err)
{
    for (uint32_t i = 0; i < p->n_v; i++) {
        struct lv_vector *v = &p->v[i];
        const uint64_t bytes = v->n * sizeof(float);

        if (v->data)
            continue;
        if (bytes > PIECE_BYTES)
            return LV_FAIL(err, LEVER_E_MODEL, "tensor %s: vector of %u values, at most %zu expected", v->tensor->name,
                           v->n, PIECE_BYTES / sizeof(float));
        LV_TRY(lv_reader_read(j->reader, v->tensor->i_file, v->tensor->off, bytes, j->buffer[0], err));
        memcpy(*memory, j->buffer[0] + lv_read_shift(v->tensor->off), bytes);
        v->data = (const float *)*memory;
        *memory += lv_round_up(bytes, 64);
    }
    return LEVER_OK;
}

enum lever_status lv_load(struct lv_program *p, struct lv_reader *reader, const struct lv_kern *k, struct lv_pool *pool,
                          uint8_t *memory, struct lv_load_progress *progress, struct lever_error *err)
{
    struct job j = { .reader = reader,
                     .k = k,
                     .piece_room = piece_room(p),
                     .progress = progress,
                     .done_before = progress ? progress->done : 0 };
    const uint64_t buffer_bytes = lv_load_buffer_bytes(p, lv_pool_n(pool));
    uint8_t *buffers = lv_region_new(buffer_bytes, false);
    enum lever_status st;

    pthread_mutex_init(&j.lock, NULL);
    if (!buffers) {
        st = LV_FAIL(err, LEVER_E_NOMEM, "load buffers: %llu bytes", (unsigned long long)buffer_bytes);
        goto out;
    }
    for (unsigned i = 0; i < lv_pool_n(pool); i++) /* page-aligned at least; reads want LV_IO_ALIGN */
        j.buffer[i] = (uint8_t *)lv_round_up((uintptr_t)buffers, LV_IO_ALIGN) + i * worker_buffer_bytes(p);
    if ((st = load_vectors(p, &j, &memory, err)) < 0)
        goto out;
    j.n_piece = list_pieces(p, memory, NULL);
    j.piece = LV_NEW_ARRAY(struct piece, j.n_piece);
    if (!j.piece) {
        st = LV_FAIL(err, LEVER_E_NOMEM, "load: list of %u pieces", j.n_piece);
        goto out;
    }
    list_pieces(p, memory, j.piece);
    lv_pool_run(pool, load_worker, &j);
    st = LEVER_OK;
    if (atomic_load(&j.failed)) {
        st = j.st;
        if (err)
            *err = j.err;
    }
    if (progress)
        progress->done += atomic_load(&j.n_bytes);
out:
    pthread_mutex_destroy(&j.lock);
    lv_region_free(buffers, buffer_bytes);
    lv_free(j.piece);
    return st;
}
