#include "prune/lens.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"

#define HEAD_BYTES 40
#define ENTRY_BYTES 64
#define EMBD_MAX 65536u

/* ---- bytes ---------------------------------------------------------------------- */

uint32_t lv_crc32(const uint8_t *data, uint64_t n)
{
    uint32_t table[16], c = UINT32_MAX;

    for (uint32_t i = 0; i < 16; i++) {
        table[i] = i;
        for (int bit = 0; bit < 4; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? UINT32_C(0xedb88320) : 0);
    }
    for (uint64_t i = 0; i < n; i++) {
        c ^= data[i];
        c = c >> 4 ^ table[c & 15];
        c = c >> 4 ^ table[c & 15];
    }
    return ~c;
}

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static float f32_at(const uint8_t *p)
{
    return lv_f32_from_bits(u32_at(p));
}

static uint64_t v_bytes(uint32_t rank, uint32_t n_embd)
{
    return rank * lv_row_bytes(LV_TYPE_Q8_0, n_embd);
}

static uint64_t u_bytes(uint32_t rank, uint32_t n_embd)
{
    return n_embd * lv_row_bytes(LV_TYPE_Q8_0, rank);
}

/* ---- checks --------------------------------------------------------------------- */

static bool finite_within(float x, float most)
{
    return x >= -most && x <= most; /* NaN is not */
}

static enum lever_status check_entry(const struct lv_lens *l, uint32_t i, const char *name, struct lever_error *err)
{
    const struct lv_lens_layer *e = &l->layer[i];

    if (e->depth < 1 || e->depth >= l->n_layer || (i && e->depth <= l->layer[i - 1].depth))
        return LV_FAIL(err, LEVER_E_MODEL, "%s: entry %u is for depth %u; expected one above the entry before and below %u",
                       name, i, e->depth, l->n_layer);
    if (e->rank > LV_LENS_RANK_MAX || e->rank % 32)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: entry %u has rank %u; expected a multiple of 32 up to %d", name, i, e->rank,
                       LV_LENS_RANK_MAX);
    if (!finite_within(e->gain, 1e4f))
        return LV_FAIL(err, LEVER_E_MODEL, "%s: entry %u: its gain is no number within 10000", name, i);
    for (uint32_t k = 0; k < LV_PREDICT_WEIGHTS; k++)
        if (!finite_within(e->weight[k], 1e3f))
            return LV_FAIL(err, LEVER_E_MODEL, "%s: entry %u: weight %u is no number within 1000", name, i, k);
    return LEVER_OK;
}

/* All but the matrices. *end: where they end. */
static enum lever_status parse_head(struct lv_lens *l, const uint8_t *d, uint64_t bytes, const char *name,
                                    struct lever_error *err)
{
    if (bytes < HEAD_BYTES + 4 || memcmp(d, "LVLENS01", 8) != 0)
        return LV_FAIL(err, LEVER_E_MODEL, "%s is no lens file: it does not begin with LVLENS01", name);
    if (u32_at(d + 8) != LV_LENS_VERSION)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: version %u of the format, expected %u; fit it again", name, u32_at(d + 8),
                       LV_LENS_VERSION);
    if (u32_at(d + 12) != bytes)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: %llu bytes, but it says it has %u: it was cut or grew", name,
                       (unsigned long long)bytes, u32_at(d + 12));
    if (u32_at(d + bytes - 4) != lv_crc32(d, bytes - 4))
        return LV_FAIL(err, LEVER_E_MODEL, "%s: damaged: its checksum is not that of its contents", name);
    *l = (struct lv_lens){ .fingerprint = u32_at(d + 16) | (uint64_t)u32_at(d + 20) << 32,
                           .n_embd = u32_at(d + 24),
                           .n_layer = u32_at(d + 28),
                           .n = u32_at(d + 32) };
    if (l->n_embd < 32 || l->n_embd > EMBD_MAX || l->n_embd % 32 || l->n < 1 || l->n > LV_LENS_MAX)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: %u values a row and %u depths; expected a multiple of 32 and 1 to %d", name,
                       l->n_embd, l->n, LV_LENS_MAX);
    uint64_t at = HEAD_BYTES + (uint64_t)l->n * ENTRY_BYTES;

    if (at + 4 > bytes)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: it ends within its list of depths", name);
    for (uint32_t i = 0; i < l->n; i++) {
        const uint8_t *e = d + HEAD_BYTES + (uint64_t)i * ENTRY_BYTES;

        l->layer[i] = (struct lv_lens_layer){ .depth = u32_at(e), .rank = u32_at(e + 4), .gain = f32_at(e + 8) };
        for (uint32_t k = 0; k < LV_PREDICT_WEIGHTS; k++)
            l->layer[i].weight[k] = f32_at(e + 12 + 4 * k);
        LV_TRY(check_entry(l, i, name, err));
        at += v_bytes(l->layer[i].rank, l->n_embd) + u_bytes(l->layer[i].rank, l->n_embd) + 2ull * l->n_embd;
    }
    if (at + 4 != bytes)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: its matrices take %llu bytes, expected %llu", name,
                       (unsigned long long)bytes - 4, (unsigned long long)at);
    return LEVER_OK;
}

/* Scales must be numbers: NaN would reach every score. */
static bool sound_rows(const uint8_t *d, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i += 34)
        if (!isfinite(lv_f32_from_f16((uint16_t)(d[i] | d[i + 1] << 8))))
            return false;
    return true;
}

/* ---- reading -------------------------------------------------------------------- */

static void pack_rows(const struct lv_kern *k, uint8_t *out, const uint8_t *rows, uint32_t n_rows, uint32_t n_cols)
{
    for (uint32_t r = 0; r < n_rows; r += LV_GROUP_ROWS) {
        k->pack[LV_TYPE_Q8_0](out, rows, LV_GROUP_ROWS, n_cols);
        out += lv_group_bytes(LV_TYPE_Q8_0, n_cols);
        rows += lv_group_bytes(LV_TYPE_Q8_0, n_cols);
    }
}

enum lever_status lv_lens_parse(struct lv_lens *out, const uint8_t *data, uint64_t bytes, const char *name,
                                const struct lv_kern *k, struct lever_error *err)
{
    struct lv_lens l = { 0 };

    LV_TRY(parse_head(&l, data, bytes, name, err));
    /* The matrices keep their size when they are packed; b doubles. */
    uint8_t *at = l.memory = lv_alloc(bytes + 2ull * l.n * l.n_embd + 64, 1);
    const uint8_t *from = data + HEAD_BYTES + (uint64_t)l.n * ENTRY_BYTES;

    if (!at)
        return LV_FAIL(err, LEVER_E_NOMEM, "%s: %llu bytes", name, (unsigned long long)bytes);
    for (uint32_t i = 0; i < l.n; i++) { /* b first: it wants alignment */
        l.layer[i].b = (float *)(void *)at;
        at += l.n_embd * sizeof(float);
    }
    for (uint32_t i = 0; i < l.n; i++) {
        struct lv_lens_layer *e = &l.layer[i];
        const uint64_t nv = v_bytes(e->rank, l.n_embd), nu = u_bytes(e->rank, l.n_embd);
        float *b = (float *)e->b;
        bool sound = sound_rows(from, nv + nu);

        pack_rows(k, at, from, e->rank, l.n_embd);
        e->v = at;
        if (e->rank)
            pack_rows(k, at + nv, from + nv, l.n_embd, e->rank);
        e->u = at + nv;
        at += nv + nu;
        from += nv + nu;
        for (uint32_t c = 0; c < l.n_embd; c++, from += 2) {
            b[c] = lv_f32_from_f16((uint16_t)(from[0] | from[1] << 8));
            sound = sound && isfinite(b[c]);
        }
        if (!sound) {
            lv_lens_close(&l);
            return LV_FAIL(err, LEVER_E_MODEL, "%s: entry %u holds values that are no numbers", name, i);
        }
    }
    *out = l;
    return LEVER_OK;
}

enum lever_status lv_lens_open(struct lv_lens *out, const char *path, const struct lv_kern *k, struct lever_error *err)
{
    FILE *f = fopen(path, "rbe");
    enum lever_status st;

    if (!f && errno == ENOENT)
        return LEVER_DONE;
    if (!f)
        return LV_FAIL(err, LEVER_E_IO, "%s: cannot be opened: %s", path, strerror(errno));
    uint8_t *data = lv_alloc(LV_LENS_BYTES_MAX, 1);
    const size_t n = data ? fread(data, 1, LV_LENS_BYTES_MAX, f) : 0;

    if (!data)
        st = LV_FAIL(err, LEVER_E_NOMEM, "%s: %u bytes", path, LV_LENS_BYTES_MAX);
    else if (ferror(f))
        st = LV_FAIL(err, LEVER_E_IO, "%s: reading failed", path);
    else if (n == LV_LENS_BYTES_MAX)
        st = LV_FAIL(err, LEVER_E_MODEL, "%s is no lens file: it has %u bytes or more", path, LV_LENS_BYTES_MAX);
    else
        st = lv_lens_parse(out, data, n, path, k, err);
    lv_free(data);
    fclose(f);
    return st;
}

enum lever_status lv_lens_check(const struct lv_lens *l, uint64_t fingerprint, uint32_t n_embd, uint32_t n_layer,
                                struct lever_error *err)
{
    if (l->fingerprint != fingerprint || l->n_embd != n_embd || l->n_layer != n_layer)
        return LV_FAIL(err, LEVER_E_MODEL,
                       "the lens is of another target: fingerprint %016llx, %u layers of %u values, expected %016llx, %u of %u",
                       (unsigned long long)l->fingerprint, l->n_layer, l->n_embd, (unsigned long long)fingerprint, n_layer,
                       n_embd);
    return LEVER_OK;
}

void lv_lens_close(struct lv_lens *l)
{
    lv_free(l->memory);
    *l = (struct lv_lens){ 0 };
}

/* ---- applying ------------------------------------------------------------------- */

static uint8_t *piece(uint8_t **at, uint64_t bytes)
{
    uint8_t *p = *at;

    *at += lv_round_up(bytes, 64);
    return p;
}

static void lay_out_act(struct lv_act *a, float *f, uint32_t n_cols, uint8_t **at)
{
    *a = (struct lv_act){ .f = f, .stride_f = n_cols, .n_cols = n_cols };
    a->q = (int8_t *)piece(at, n_cols);
    a->d = (float *)(void *)piece(at, n_cols / 32 * sizeof(float));
    a->sd = (float *)(void *)piece(at, n_cols / 32 * sizeof(float));
    a->s16 = (int16_t *)(void *)piece(at, n_cols / 16 * sizeof(int16_t));
}

static void lay_out(struct lv_lens_scratch *s, uint32_t n_embd, uint8_t **at)
{
    s->h = (float *)(void *)piece(at, n_embd * sizeof(float));
    s->norm = (float *)(void *)piece(at, n_embd * sizeof(float));
    s->narrow_f = (float *)(void *)piece(at, LV_LENS_RANK_MAX * sizeof(float));
    lay_out_act(&s->wide, s->norm, n_embd, at);
    lay_out_act(&s->narrow, s->narrow_f, LV_LENS_RANK_MAX, at);
}

uint64_t lv_lens_scratch_bytes(uint32_t n_embd)
{
    const uint64_t act = 64 * 4 + n_embd * 2ull + LV_LENS_RANK_MAX * 2ull; /* q, d, sd, s16: 1.375 bytes a value */

    return 12 * 64 + (2ull * n_embd + LV_LENS_RANK_MAX) * sizeof(float) + act;
}

void lv_lens_scratch_init(struct lv_lens_scratch *s, uint32_t n_embd, void *memory)
{
    uint8_t *const begin = (uint8_t *)lv_round_up((uintptr_t)memory, 64), *at = begin;

    lay_out(s, n_embd, &at);
    assert((uint64_t)(at - begin) + 64 <= lv_lens_scratch_bytes(n_embd));
}

void lv_lens_apply(const struct lv_lens_layer *l, const struct lv_kern *k, uint32_t n_embd, const float *h,
                   struct lv_lens_scratch *s)
{
    memcpy(s->h, h, n_embd * sizeof *h);
    k->scale(s->h, l->gain, n_embd);
    if (l->b)
        k->add(s->h, s->h, l->b, n_embd);
    if (!l->rank)
        return;
    memcpy(s->norm, h, n_embd * sizeof *h);
    k->quantize(&s->wide, 0, 1, 0, n_embd);
    for (uint32_t r = 0; r < l->rank; r += LV_GROUP_ROWS)
        k->gemm[LV_TYPE_Q8_0](s->narrow_f + r, LV_LENS_RANK_MAX,
                              l->v + r / LV_GROUP_ROWS * lv_group_bytes(LV_TYPE_Q8_0, n_embd), &s->wide, 0, 1);
    struct lv_act narrow = s->narrow; /* of this rank */

    narrow.n_cols = l->rank;
    k->quantize(&narrow, 0, 1, 0, l->rank);
    for (uint32_t c = 0; c < n_embd; c += LV_GROUP_ROWS) {
        float y[LV_GROUP_ROWS];

        k->gemm[LV_TYPE_Q8_0](y, LV_GROUP_ROWS, l->u + c / LV_GROUP_ROWS * lv_group_bytes(LV_TYPE_Q8_0, l->rank), &narrow, 0,
                              1);
        k->add(s->h + c, s->h + c, y, LV_GROUP_ROWS);
    }
}
