#include "engine/embed.h"

#include <string.h>

#include "base/clock.h"
#include "base/rng.h"

/* The head's groups hold the rows of a tied table once they are pinned; all of them, unless a draft's head was cut. */
static bool from_head(const struct lv_program *p, int32_t token)
{
    const struct lv_weight *h = &p->w[p->w_head];

    return p->shape.tied && h->n_seg == 1 && h->seg[0].r32 && (uint32_t)token < h->n_rows;
}

bool lv_embed_init(struct lv_embed *m, const struct lv_program *p, struct lv_reader *reader, uint64_t cache_bytes,
                   struct lv_arena *a)
{
    *m = (struct lv_embed){ .p = p, .reader = reader };
    m->row_bytes = lv_row_bytes(p->embd->type, p->shape.n_embd);
    const uint64_t fit = cache_bytes / m->row_bytes;

    m->n_entry = fit < 16 ? 16 : fit > p->shape.n_vocab ? p->shape.n_vocab : (uint32_t)fit;
    for (m->n_hash = 32; m->n_hash < 2 * m->n_entry; m->n_hash *= 2)
        ;
    m->token_of = lv_arena_take(a, m->n_entry, sizeof *m->token_of);
    m->entry_of = lv_arena_take(a, m->n_hash, sizeof *m->entry_of);
    m->referenced = lv_arena_take(a, m->n_entry, 1);
    m->rows = lv_arena_take(a, m->n_entry, m->row_bytes);
    m->bounce = lv_arena_take(a, lv_round_up(m->row_bytes, LV_IO_ALIGN) + 2 * LV_IO_ALIGN, 1);
    if (!m->token_of || !m->entry_of || !m->referenced || !m->rows || !m->bounce)
        return false;
    m->bounce = (uint8_t *)lv_round_up((uintptr_t)m->bounce, LV_IO_ALIGN);
    memset(m->token_of, 0xff, m->n_entry * sizeof *m->token_of);
    return true;
}

static uint32_t home(const struct lv_embed *m, int32_t token)
{
    return (uint32_t)lv_mix64((uint64_t)token) & (m->n_hash - 1);
}

/* Entry of a token, or LV_NONE. */
static uint32_t find(const struct lv_embed *m, int32_t token)
{
    for (uint32_t h = home(m, token); m->entry_of[h]; h = (h + 1) & (m->n_hash - 1))
        if (m->token_of[m->entry_of[h] - 1] == token)
            return m->entry_of[h] - 1;
    return LV_NONE;
}

static void insert(struct lv_embed *m, int32_t token, uint32_t entry)
{
    uint32_t h = home(m, token);

    while (m->entry_of[h])
        h = (h + 1) & (m->n_hash - 1);
    m->entry_of[h] = entry + 1;
    m->token_of[entry] = token;
}

/* Takes the entry's token out of the table; later members of its run move up. */
static void evict(struct lv_embed *m, uint32_t entry)
{
    const uint32_t mask = m->n_hash - 1;
    uint32_t hole = home(m, m->token_of[entry]);

    while (m->entry_of[hole] != entry + 1)
        hole = (hole + 1) & mask;
    m->entry_of[hole] = 0;
    for (uint32_t i = (hole + 1) & mask; m->entry_of[i]; i = (i + 1) & mask) {
        const uint32_t want = home(m, m->token_of[m->entry_of[i] - 1]);

        if (((i - want) & mask) < ((i - hole) & mask))
            continue; /* it sits between its home and here */
        m->entry_of[hole] = m->entry_of[i];
        m->entry_of[i] = 0;
        hole = i;
    }
    m->token_of[entry] = -1;
}

/* An entry to overwrite: the first one not used since the hand last passed (clock). */
static uint32_t victim(struct lv_embed *m)
{
    for (;;) {
        const uint32_t e = m->hand;

        m->hand = (m->hand + 1) % m->n_entry;
        if (m->token_of[e] < 0)
            return e;
        if (!m->referenced[e]) {
            evict(m, e);
            return e;
        }
        m->referenced[e] = 0;
    }
}

static void read_done(struct lv_read *read, void *user)
{
    struct lv_embed *m = user;

    (void)read;
    atomic_store(&m->arrived, true);
    lv_event_bump(&m->event);
}

/* The pending read has ended, or LEVER_E_CANCEL. */
static enum lever_status wait_read(struct lv_embed *m, const atomic_bool *cancel, struct lever_error *err)
{
    while (m->pending) {
        const uint32_t seen = lv_event_seen(&m->event);

        if (atomic_load(&m->arrived))
            m->pending = false;
        else if (cancel && atomic_load(cancel))
            return LV_FAIL(err, LEVER_E_CANCEL, "cancelled");
        else
            lv_event_wait(&m->event, seen);
    }
    return LEVER_OK;
}

/* The token's row into the bounce buffer. A thread of the reader reads, so that a cancel need not wait for the device. */
static enum lever_status fetch(struct lv_embed *m, int32_t token, const atomic_bool *cancel, struct lever_error *err)
{
    LV_TRY(wait_read(m, cancel, err)); /* of a row that was given up: it still fills the buffer */
    m->read = (struct lv_read){ .i_file = m->p->embd->i_file,
                                .off = m->p->embd->off + (uint64_t)token * m->row_bytes,
                                .len = m->row_bytes,
                                .buf = m->bounce,
                                .done = read_done,
                                .user = m };
    m->pending = true;
    atomic_store(&m->arrived, false);
    lv_reader_submit(m->reader, &m->read, true);
    LV_TRY(wait_read(m, cancel, err));
    if (m->read.status < 0 && err)
        *err = m->read.err;
    return m->read.status;
}

enum lever_status lv_embed_row(struct lv_embed *m, int32_t token, float *x, const atomic_bool *cancel,
                               struct lever_error *err)
{
    const struct lv_program *p = m->p;
    const uint32_t n = p->shape.n_embd;

    if (from_head(p, token)) {
        const struct lv_weight *h = &p->w[p->w_head];

        lv_r32_dequant_row(h->type, h->seg[0].r32 + (uint64_t)token / LV_GROUP_ROWS * h->group_bytes,
                           (uint32_t)token % LV_GROUP_ROWS, n, x);
    } else {
        uint32_t e = find(m, token);

        if (e == LV_NONE) {
            const uint64_t t0 = lv_now_ns();

            LV_TRY(fetch(m, token, cancel, err));
            e = victim(m);
            memcpy(m->rows + e * m->row_bytes, m->bounce + lv_read_shift(m->read.off), m->row_bytes);
            insert(m, token, e);
            m->wait_ns += lv_now_ns() - t0;
        }
        m->referenced[e] = 1;
        lv_dequant_row(p->embd->type, m->rows + e * m->row_bytes, x, n);
    }
    for (uint32_t i = 0; p->embd_scale != 1.0f && i < n; i++)
        x[i] *= p->embd_scale;
    return LEVER_OK;
}
