#include "engine/embed.h"

#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "engine/stream.h"

#define SAMPLES 16
#define ALIKE 0.02       /* of its square, that a table may differ from a head of the same weights: quantized twice */
#define READ_SHARE (UINT64_C(128) << 10) /* bytes of cache for each row that may be read at once */

/* The head's groups hold the rows of a tied table once they are pinned; all of them, unless a draft's head was cut. */
static bool from_head(const struct lv_embed *m, int32_t token)
{
    const struct lv_weight *h = &m->p->w[m->p->w_head];

    return (m->p->shape.tied || m->like_head) && h->n_seg == 1 && h->seg[0].r32 && (uint32_t)token < h->n_rows;
}

static void head_row(const struct lv_embed *m, int32_t token, float *x)
{
    const struct lv_weight *h = &m->p->w[m->p->w_head];

    lv_r32_dequant_row(h->type, h->seg[0].r32 + (uint64_t)token / LV_GROUP_ROWS * h->group_bytes,
                       (uint32_t)token % LV_GROUP_ROWS, m->p->shape.n_embd, x);
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
    const uint64_t n_read = cache_bytes / READ_SHARE, buf_bytes = lv_slot_bytes(m->row_bytes);

    m->n_read = n_read < 1 ? 1 : n_read > LV_EMBED_FLIGHT ? LV_EMBED_FLIGHT : (uint32_t)n_read;
    uint8_t *buf = lv_arena_take(a, m->n_read * buf_bytes + LV_IO_ALIGN, 1);

    if (!m->token_of || !m->entry_of || !m->referenced || !m->rows || !buf)
        return false;
    for (uint32_t k = 0; k < m->n_read; k++) {
        m->read[k].owner = m;
        m->read[k].buf = (uint8_t *)lv_round_up((uintptr_t)buf, LV_IO_ALIGN) + k * buf_bytes;
    }
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

static void read_done(struct lv_read *req, void *user)
{
    struct lv_embed_read *r = user;

    (void)req;
    atomic_store(&r->arrived, true);
    lv_event_bump(&r->owner->event);
}

/* The read has ended, or LEVER_E_CANCEL. */
static enum lever_status wait_read(struct lv_embed_read *r, const atomic_bool *cancel, struct lever_error *err)
{
    struct lv_embed *m = r->owner;

    for (;;) {
        const uint32_t seen = lv_event_seen(&m->event);

        if (!r->pending || atomic_load(&r->arrived))
            return LEVER_OK;
        if (cancel && atomic_load(cancel))
            return LV_FAIL(err, LEVER_E_CANCEL, "cancelled");
        lv_event_wait(&m->event, seen);
    }
}

/* A read that has ended: its row into the cache. The read's error otherwise. */
static enum lever_status absorb(struct lv_embed_read *r, struct lever_error *err)
{
    struct lv_embed *m = r->owner;

    r->pending = false;
    if (r->req.status < 0) {
        if (err)
            *err = r->req.err;
        return r->req.status;
    }
    const uint32_t e = victim(m);

    memcpy(m->rows + e * m->row_bytes, r->buf + lv_read_shift(r->req.off), m->row_bytes);
    insert(m, r->token, e);
    m->referenced[e] = 1;
    return LEVER_OK;
}

/* A thread of the reader reads, so that a cancel need not wait for the device. */
static void begin_read(struct lv_embed *m, struct lv_embed_read *r, int32_t token)
{
    r->token = token;
    r->req = (struct lv_read){ .i_file = m->p->embd->i_file,
                               .off = m->p->embd->off + (uint64_t)token * m->row_bytes,
                               .len = m->row_bytes,
                               .buf = r->buf,
                               .done = read_done,
                               .user = r };
    r->pending = true;
    atomic_store(&r->arrived, false);
    lv_reader_submit(m->reader, &r->req, true);
}

/* Begins to read a row that is neither at hand nor on its way. False: no read is free. */
static bool want(struct lv_embed *m, int32_t token)
{
    struct lv_embed_read *idle = NULL;

    if (from_head(m, token) || find(m, token) != LV_NONE)
        return true;
    for (uint32_t k = 0; k < m->n_read; k++) {
        if (m->read[k].pending && m->read[k].token == token)
            return true;
        if (!m->read[k].pending && !idle)
            idle = &m->read[k];
    }
    if (idle)
        begin_read(m, idle, token);
    return idle != NULL;
}

void lv_embed_want(struct lv_embed *m, const int32_t *token, uint32_t n)
{
    for (uint32_t k = 0; k < m->n_read; k++)
        if (m->read[k].pending && atomic_load(&m->read[k].arrived))
            absorb(&m->read[k], NULL); /* one that failed is read again when it is asked for, and then told */
    for (uint32_t i = 0; i < n && want(m, token[i]); i++)
        ;
}

static void put_row(const struct lv_embed *m, int32_t token, float *x)
{
    const struct lv_program *p = m->p;
    const uint32_t n = p->shape.n_embd;

    if (from_head(m, token)) {
        head_row(m, token, x);
    } else {
        const uint32_t e = find(m, token);

        m->referenced[e] = 1;
        lv_dequant_row(p->embd->type, m->rows + e * m->row_bytes, x, n);
    }
    for (uint32_t i = 0; p->embd_scale != 1.0f && i < n; i++)
        x[i] *= p->embd_scale;
}

enum lever_status lv_embed_rows(struct lv_embed *m, const int32_t *token, uint32_t n, float *x, size_t stride,
                                const atomic_bool *cancel, struct lever_error *err)
{
    const uint64_t t0 = lv_now_ns();
    bool waited = false;

    for (uint32_t i = 0; i < n; i++) {
        if (!from_head(m, token[i]) && find(m, token[i]) == LV_NONE) {
            lv_embed_want(m, token + i, n - i);
            while (find(m, token[i]) == LV_NONE) { /* a read for another token may push it out again */
                uint32_t k = 0;

                waited = true;
                while (k < m->n_read && !(m->read[k].pending && m->read[k].token == token[i]))
                    k++;
                if (k == m->n_read) { /* all reads are taken: by rows that come later, or were given up */
                    LV_TRY(wait_read(&m->read[0], cancel, err));
                    lv_embed_want(m, token + i, n - i);
                    continue;
                }
                LV_TRY(wait_read(&m->read[k], cancel, err));
                LV_TRY(absorb(&m->read[k], err));
            }
        }
        put_row(m, token[i], x + i * stride);
    }
    if (waited)
        m->wait_ns += lv_now_ns() - t0;
    return LEVER_OK;
}

enum lever_status lv_embed_try_head(struct lv_embed *m, float *x, float *y, struct lever_error *err)
{
    const struct lv_weight *h = &m->p->w[m->p->w_head];
    double off = 0.0, all = 0.0;

    if (m->p->shape.tied || h->n_seg != 1 || !h->seg[0].r32)
        return LEVER_OK;
    for (uint32_t i = 0; i < SAMPLES; i++) {
        const int32_t token = (int32_t)((uint64_t)h->n_rows * (2 * i + 1) / (2 * SAMPLES));

        LV_TRY(lv_embed_rows(m, &token, 1, x, 0, NULL, err));
        head_row(m, token, y);
        for (uint32_t c = 0; c < m->p->shape.n_embd; c++) {
            const double a = (double)x[c], b = (double)y[c] * (double)m->p->embd_scale;

            off += (a - b) * (a - b);
            all += a * a;
        }
    }
    m->like_head = off < ALIKE * all;
    return LEVER_OK;
}
