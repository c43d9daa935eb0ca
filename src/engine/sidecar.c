#include "engine/sidecar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "gguf/cursor.h"

#define VERSION 1u

static const uint8_t MAGIC[4] = { 'L', 'V', 'P', 'K' };
static const uint8_t LAYOUT[8] = { 'r', '3', '2' };

/* Places in the header, in a file's record, in a matrix's record. */
enum {
    AT_VERSION = 4, AT_LAYOUT = 8, AT_FILE_BYTES = 16, AT_HEAD_BYTES = 24, AT_N_FILE = 32, AT_N_MATRIX = 36,
    AT_CHECKSUM = 40, FIXED_BYTES = 64,
    FILE_BYTES = 0, FILE_MTIME = 8, FILE_HEAD = 16, FILE_HASH = 24, FILE_RECORD = 32,
    MAT_NAME = 0, MAT_OFF = 128, MAT_BYTES = 136, MAT_HASH = 144, MAT_TYPE = 152, MAT_ROWS = 156, MAT_COLS = 160,
    MAT_RECORD = 168
};

static void put(uint8_t *at, unsigned n_bytes, uint64_t v)
{
    for (unsigned i = 0; i < n_bytes; i++)
        at[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get(const uint8_t *at, unsigned n_bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < n_bytes; i++)
        v |= (uint64_t)at[i] << 8 * i;
    return v;
}

uint64_t lv_sidecar_hash(uint64_t h, const uint8_t *piece, uint64_t n_piece)
{
    uint64_t i = 0, word;

    for (; i + 8 <= n_piece; i += 8) {
        memcpy(&word, piece + i, 8); /* little-endian machines only, as everywhere */
        h = lv_mix64(h ^ word) + UINT64_C(0x9e3779b97f4a7c15);
    }
    if (i < n_piece)
        h = lv_mix64(h ^ get(piece + i, (unsigned)(n_piece - i))) + UINT64_C(0x9e3779b97f4a7c15);
    return h;
}

char *lv_sidecar_path(const char *gguf_path)
{
    const size_t n = strlen(gguf_path);
    char *s = lv_alloc(n + sizeof ".lvp", 1);

    if (s) {
        memcpy(s, gguf_path, n);
        memcpy(s + n, ".lvp", sizeof ".lvp");
    }
    return s;
}

/* ---- the header that a model calls for --------------------------------------------- */

static uint8_t *file_record(const struct lv_sidecar_head *h, uint32_t i)
{
    return h->bytes + FIXED_BYTES + (size_t)i * FILE_RECORD;
}

static uint8_t *matrix_record(const struct lv_sidecar_head *h, uint32_t i)
{
    return h->bytes + FIXED_BYTES + (size_t)h->n_file * FILE_RECORD + (size_t)i * MAT_RECORD;
}

/* Bytes in front of the first tensor of a file. */
static uint64_t gguf_head_bytes(const struct lv_gguf *g, uint32_t i_file)
{
    uint64_t n = lv_gguf_file_bytes(g, i_file);

    for (uint32_t i = 0; i < lv_gguf_n_tensors(g); i++) {
        const struct lv_tensor *t = lv_gguf_tensor(g, i);

        if (t->i_file == i_file && t->off < n)
            n = t->off;
    }
    return n < LV_CURSOR_MAX_BYTES ? n : LV_CURSOR_MAX_BYTES; /* no header is longer */
}

/* Size, time and header of one file of the model as they are now. */
static enum lever_status put_file(uint8_t *at, const struct lv_gguf *g, uint32_t i, struct lever_error *err)
{
    const uint64_t head = gguf_head_bytes(g, i);
    struct lv_cursor c;
    struct stat sb;
    uint8_t piece[4096];
    uint64_t hash = head;

    LV_TRY(lv_cursor_open(&c, lv_gguf_path(g, i), err));
    if (fstat(c.fd, &sb) != 0)
        lv_cursor_fail(&c, LEVER_E_IO, "cannot read its time of modification: %s", strerror(errno));
    else if (c.size_bytes != lv_gguf_file_bytes(g, i))
        lv_cursor_fail(&c, LEVER_E_IO, "the file has %" PRIu64 " bytes now, %" PRIu64 " when its header was read",
                       c.size_bytes, lv_gguf_file_bytes(g, i));
    for (uint64_t left = head; left && c.st >= 0;) {
        const uint64_t n = left < sizeof piece ? left : sizeof piece;

        lv_cursor_read(&c, piece, n, "header");
        hash = lv_sidecar_hash(hash, piece, n);
        left -= n;
    }
    lv_cursor_close(&c);
    if (c.st < 0)
        return c.st;
    put(at + FILE_BYTES, 8, lv_gguf_file_bytes(g, i));
    put(at + FILE_MTIME, 8, (uint64_t)sb.st_mtim.tv_sec * 1000000000u + (uint64_t)sb.st_mtim.tv_nsec);
    put(at + FILE_HEAD, 8, head);
    put(at + FILE_HASH, 8, hash);
    return LEVER_OK;
}

/* off: of its first group; returns the end of its last one. */
static uint64_t put_matrix(uint8_t *at, const struct lv_weight *w, uint64_t off)
{
    const uint64_t bytes = w->n_groups * w->group_bytes;

    memcpy(at + MAT_NAME, w->tensor->name, strlen(w->tensor->name)); /* at most 127: gguf.h */
    put(at + MAT_OFF, 8, off);
    put(at + MAT_BYTES, 8, bytes);
    put(at + MAT_TYPE, 4, w->type);
    put(at + MAT_ROWS, 4, w->n_rows);
    put(at + MAT_COLS, 4, w->n_cols);
    return off + bytes;
}

enum lever_status lv_sidecar_expect(struct lv_sidecar_head *out, const struct lv_program *p, const struct lv_gguf *g,
                                    struct lever_error *err)
{
    struct lv_sidecar_head h = { .n_file = lv_gguf_n_files(g), .n_matrix = p->n_w };
    enum lever_status st = LEVER_OK;

    h.n_bytes = FIXED_BYTES + (uint64_t)h.n_file * FILE_RECORD + (uint64_t)h.n_matrix * MAT_RECORD;
    h.bytes = lv_alloc_zero(h.n_bytes, 1);
    if (!h.bytes)
        return LV_FAIL(err, LEVER_E_NOMEM, "sidecar: header of %" PRIu64 " bytes", h.n_bytes);
    for (uint32_t i = 0; i < h.n_file && st >= 0; i++)
        st = put_file(file_record(&h, i), g, i, err);
    if (st < 0) {
        lv_sidecar_head_deinit(&h);
        return st;
    }
    h.file_bytes = h.n_bytes; /* sums of sizes that the model's files have: no overflow */
    for (uint32_t i = 0; i < h.n_matrix; i++)
        h.file_bytes = put_matrix(matrix_record(&h, i), &p->w[i], lv_round_up(h.file_bytes, LV_SIDECAR_ALIGN));
    memcpy(h.bytes, MAGIC, sizeof MAGIC);
    put(h.bytes + AT_VERSION, 4, VERSION);
    memcpy(h.bytes + AT_LAYOUT, LAYOUT, sizeof LAYOUT);
    put(h.bytes + AT_FILE_BYTES, 8, h.file_bytes);
    put(h.bytes + AT_HEAD_BYTES, 8, h.n_bytes);
    put(h.bytes + AT_N_FILE, 4, h.n_file);
    put(h.bytes + AT_N_MATRIX, 4, h.n_matrix);
    *out = h;
    return LEVER_OK;
}

void lv_sidecar_head_deinit(struct lv_sidecar_head *h)
{
    lv_free(h->bytes);
    *h = (struct lv_sidecar_head){ 0 };
}

uint64_t lv_sidecar_matrix_off(const struct lv_sidecar_head *h, uint32_t i)
{
    return get(matrix_record(h, i) + MAT_OFF, 8);
}

uint64_t lv_sidecar_matrix_hash(const struct lv_sidecar_head *h, uint32_t i)
{
    return get(matrix_record(h, i) + MAT_HASH, 8);
}

void lv_sidecar_set_hash(struct lv_sidecar_head *h, uint32_t i, uint64_t hash)
{
    put(matrix_record(h, i) + MAT_HASH, 8, hash);
}

void lv_sidecar_seal(struct lv_sidecar_head *h)
{
    put(h->bytes + AT_CHECKSUM, 8, 0);
    put(h->bytes + AT_CHECKSUM, 8, lv_sidecar_hash(h->n_bytes, h->bytes, h->n_bytes));
}

/* ---- reading one ------------------------------------------------------------------------ */

/* The first 64 bytes: is this a sidecar of ours, whole, and one for a model of this shape? */
static void check_fixed(struct lv_cursor *c, const uint8_t *b, const struct lv_sidecar_head *want)
{
    if (memcmp(b, MAGIC, sizeof MAGIC) != 0)
        lv_cursor_fail(c, LEVER_E_MODEL, "found no magic number, expected \"LVPK\": not a file of lever pack");
    else if (get(b + AT_VERSION, 4) != VERSION)
        lv_cursor_fail(c, LEVER_E_MODEL, "format version is %" PRIu64 ", this build reads %u", get(b + AT_VERSION, 4),
                       VERSION);
    else if (memcmp(b + AT_LAYOUT, LAYOUT, sizeof LAYOUT) != 0)
        lv_cursor_fail(c, LEVER_E_MODEL, "its groups are not in the layout r32 that this build uses");
    else if (get(b + AT_FILE_BYTES, 8) != c->size_bytes)
        lv_cursor_fail(c, LEVER_E_MODEL, "the file has %" PRIu64 " bytes, its header says %" PRIu64, c->size_bytes,
                       get(b + AT_FILE_BYTES, 8));
    else if (get(b + AT_HEAD_BYTES, 8) != want->n_bytes || get(b + AT_N_FILE, 4) != want->n_file ||
             get(b + AT_N_MATRIX, 4) != want->n_matrix || c->size_bytes != want->file_bytes)
        lv_cursor_fail(c, LEVER_E_MODEL,
                       "it was made for another model: %" PRIu64 " matrices of %" PRIu64 " files in %" PRIu64
                       " bytes, expected %" PRIu32 " of %" PRIu32 " in %" PRIu64,
                       get(b + AT_N_MATRIX, 4), get(b + AT_N_FILE, 4), c->size_bytes, want->n_matrix, want->n_file,
                       want->file_bytes);
}

/* All of the header against what the model calls for. */
static void check_records(struct lv_cursor *c, const struct lv_sidecar_head *got, const struct lv_sidecar_head *want,
                          const struct lv_gguf *g)
{
    for (uint32_t i = 0; i < want->n_file; i++) {
        const uint8_t *a = file_record(got, i), *b = file_record(want, i);

        if (memcmp(a, b, FILE_RECORD) == 0)
            continue;
        lv_cursor_fail(c, LEVER_E_MODEL, "%s has changed since this was made: its %s", lv_path_tail(lv_gguf_path(g, i)),
                       get(a + FILE_BYTES, 8) != get(b + FILE_BYTES, 8)   ? "size differs"
                       : get(a + FILE_MTIME, 8) != get(b + FILE_MTIME, 8) ? "time of modification differs"
                                                                          : "header differs");
        return;
    }
    for (uint32_t i = 0; i < want->n_matrix; i++) {
        uint8_t *a = matrix_record(got, i), *b = matrix_record(want, i);

        memcpy(b + MAT_HASH, a + MAT_HASH, 8); /* of the data: checked by lever pack */
        if (memcmp(a, b, MAT_RECORD) != 0) {
            lv_cursor_fail(c, LEVER_E_MODEL, "entry %" PRIu32 " is not that of %s", i, (const char *)b + MAT_NAME);
            return;
        }
    }
    memcpy(want->bytes + AT_CHECKSUM, got->bytes + AT_CHECKSUM, 8);
    if (memcmp(got->bytes, want->bytes, FIXED_BYTES) != 0)
        lv_cursor_fail(c, LEVER_E_MODEL, "bytes 48 to 63 are not zero");
}

/* Checks the file against *want and takes its checksums over. */
static enum lever_status read_head(struct lv_sidecar_head *want, const struct lv_gguf *g, const char *path,
                                   struct lever_error *err)
{
    struct lv_sidecar_head got = *want;
    struct lv_cursor c;

    LV_TRY(lv_cursor_open(&c, path, err));
    got.bytes = lv_alloc_zero(want->n_bytes, 1);
    if (!got.bytes)
        lv_cursor_fail(&c, LEVER_E_NOMEM, "no memory for a header of %" PRIu64 " bytes", want->n_bytes);
    if (got.bytes && lv_cursor_read(&c, got.bytes, FIXED_BYTES, "header"))
        check_fixed(&c, got.bytes, want);
    if (c.st >= 0 && lv_cursor_read(&c, got.bytes + FIXED_BYTES, want->n_bytes - FIXED_BYTES, "tables")) {
        const uint64_t sum = get(got.bytes + AT_CHECKSUM, 8);

        lv_sidecar_seal(&got);
        if (get(got.bytes + AT_CHECKSUM, 8) != sum)
            lv_cursor_fail(&c, LEVER_E_MODEL, "the header's checksum is wrong: the file is damaged");
        else
            check_records(&c, &got, want, g);
    }
    lv_free(got.bytes);
    lv_cursor_close(&c);
    return c.st;
}

enum lever_status lv_sidecar_read(struct lv_sidecar_head *out, const struct lv_program *p, const struct lv_gguf *g,
                                  const char *path, struct lever_error *err)
{
    struct lv_sidecar_head h;

    if (access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return LEVER_DONE;
    LV_TRY(lv_sidecar_expect(&h, p, g, err));
    const enum lever_status st = read_head(&h, g, path, err);

    if (st < 0)
        lv_sidecar_head_deinit(&h);
    else
        *out = h;
    return st;
}

enum lever_status lv_sidecar_attach(struct lv_program *p, const struct lv_gguf *g, const char *path,
                                    uint64_t *file_bytes, struct lever_error *err)
{
    struct lv_sidecar_head h;
    const enum lever_status st = lv_sidecar_read(&h, p, g, path, err);

    if (st != LEVER_OK)
        return st;
    for (uint32_t i = 0; i < p->n_w; i++) {
        struct lv_weight *w = &p->w[i];

        w->i_file = h.n_file;
        w->off = lv_sidecar_matrix_off(&h, i);
        w->bytes = w->n_groups * w->group_bytes;
        w->packed = true;
    }
    *file_bytes = h.file_bytes;
    lv_sidecar_head_deinit(&h);
    return LEVER_OK;
}
