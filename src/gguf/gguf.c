/* The file format, versions 2 and 3, little-endian:
 *
 *   bytes  0  "GGUF"
 *          4  u32 version
 *          8  u64 tensors, u64 keys
 *         24  keys:    string name, u32 type, value
 *             tensors: string name, u32 n_dim, u64 dim[n_dim], u32 type, u64 offset
 *             padding to general.alignment (32 unless the key says otherwise)
 *             data: each tensor at its offset from here
 *
 *   string: u64 length, bytes.  array: u32 element type, u64 length, elements.
 *
 * A split model has the same header in every part; its keys are those of the first part,
 * its tensors those of all. */
#include "gguf/gguf.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "gguf/cursor.h"
#include "gguf/keys.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "weights are used as they lie in the file");

#define MAX_TENSORS      32768u /* of a model; the largest dense ones have about 1,500 */
#define MAX_TENSOR_NAME  127u
#define MIN_TENSOR_BYTES (8 + 1 + 4 + 8 + 4 + 8) /* of its entry in the header */
#define MIN_ALIGN        8u
#define MAX_ALIGN        65536u
#define DEFAULT_ALIGN    32u
#define PART_SUFFIX_LEN  20 /* -00001-of-00003.gguf */

struct lv_gguf {
    struct lv_keys keys;              /* of the first file */
    struct lv_strings strings;        /* tensor names */
    struct lv_tensor *tensor;         /* [n_tensor] */
    const struct lv_tensor **by_name; /* [n_tensor], sorted */
    uint32_t n_tensor, n_file;
    struct {
        char *path;
        uint64_t bytes;
    } file[LV_GGUF_MAX_FILES];
};

/* ---- header ---------------------------------------------------------------------- */

/* What a file that is no GGUF seems to be. */
static const char *guess(const uint8_t *b)
{
    if (memcmp(b, "vers", 4) == 0)
        return " (a Git LFS pointer? fetch the file itself)";
    if (memcmp(b, "<!do", 4) == 0 || memcmp(b, "<!DO", 4) == 0 || memcmp(b, "<htm", 4) == 0)
        return " (a web page? the download went wrong)";
    if (memcmp(b, "PK\3\4", 4) == 0)
        return " (a PyTorch or zip file; convert it to GGUF)";
    if (memcmp(b, "lmgg", 4) == 0 || memcmp(b, "tjgg", 4) == 0 || memcmp(b, "fmgg", 4) == 0)
        return " (an old GGML file; convert the original model to GGUF)";
    return "";
}

static enum lever_status read_counts(struct lv_cursor *c, uint64_t *n_tensor, uint64_t *n_key)
{
    uint8_t magic[4];
    uint32_t version;

    c->kind = "file header";
    lv_cursor_read(c, magic, sizeof magic, "magic number");
    if (c->st < 0)
        return c->st;
    if (memcmp(magic, "GGUF", 4) != 0)
        return lv_cursor_fail(c, LEVER_E_MODEL,
                              "starts with bytes %02x %02x %02x %02x, expected 47 47 55 46 (\"GGUF\")%s", magic[0],
                              magic[1], magic[2], magic[3], guess(magic));
    version = (uint32_t)lv_cursor_uint(c, 4, "version");
    if (c->st < 0)
        return c->st;
    if (version > 0 && (version & 0xffffu) == 0)
        return lv_cursor_fail(c, LEVER_E_MODEL,
                              "big-endian GGUF is not supported; convert the model for little-endian");
    if (version != 2 && version != 3)
        return lv_cursor_fail(c, LEVER_E_MODEL, "GGUF version %" PRIu32 " is not supported, expected 2 or 3%s", version,
                              version == 1 ? "; convert the model again" : "");
    *n_tensor = lv_cursor_uint(c, 8, "tensor count");
    *n_key = lv_cursor_uint(c, 8, "key count");
    return c->st;
}

static enum lever_status read_align(const struct lv_keys *keys, uint64_t *out, struct lever_error *err)
{
    uint64_t align = DEFAULT_ALIGN;

    LV_TRY(lv_keys_u64(keys, "general.alignment", &align, err));
    if (align < MIN_ALIGN || align > MAX_ALIGN || (align & (align - 1)) != 0)
        return LV_FAIL(err, LEVER_E_MODEL,
                       "%s: key general.alignment is %" PRIu64 ", expected a power of two of %u..%u",
                       lv_path_tail(keys->path), align, MIN_ALIGN, MAX_ALIGN);
    *out = align;
    return LEVER_OK;
}

/* ---- tensors ----------------------------------------------------------------------- */

/* Reads one entry; t->off is still relative to the data section. */
static enum lever_status read_tensor(struct lv_strings *strings, struct lv_cursor *c, uint64_t align,
                                     struct lv_tensor *t)
{
    const struct lv_type_traits *traits;
    uint64_t n_dim, n = 1, type;

    c->kind = "tensors";
    c->name = NULL;
    if (!(t->name = lv_name_read(c, strings, MAX_TENSOR_NAME)))
        return c->st;
    c->kind = "tensor";
    c->name = t->name;
    n_dim = lv_cursor_uint(c, 4, "number of dimensions");
    if (c->st >= 0 && (n_dim < 1 || n_dim > 4))
        return lv_cursor_fail(c, LEVER_E_MODEL, "%" PRIu64 " dimensions, expected 1..4", n_dim);
    t->n_dim = (uint32_t)n_dim;
    for (uint32_t i = 0; i < 4; i++) {
        t->dim[i] = i < n_dim ? lv_cursor_uint(c, 8, "dimension") : 1;
        if (c->st >= 0 && (t->dim[i] < 1 || !lv_mul_u64(n, t->dim[i], &n) || n > INT64_MAX))
            return lv_cursor_fail(c, LEVER_E_MODEL,
                                  "dimension %" PRIu32 " is %" PRIu64 ", expected 1 or more and a product below 2^63",
                                  i, t->dim[i]);
    }
    type = lv_cursor_uint(c, 4, "type");
    t->off = lv_cursor_uint(c, 8, "offset");
    if (c->st < 0)
        return c->st;
    if (!(traits = lv_type_traits((uint32_t)type)))
        return lv_cursor_fail(c, LEVER_E_MODEL,
                              "type %" PRIu64
                              " (%s) is not supported; supported are F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 "
                              "Q4_K Q5_K Q6_K",
                              type, lv_type_name((uint32_t)type));
    t->type = (enum lv_type)type;
    if (t->dim[0] % traits->block_len != 0)
        return lv_cursor_fail(c, LEVER_E_MODEL, "rows of %" PRIu64 " weights, expected a multiple of %u for type %s",
                              t->dim[0], traits->block_len, traits->name);
    if (!lv_mul_u64(n / traits->block_len, traits->block_bytes, &t->bytes))
        return lv_cursor_fail(c, LEVER_E_MODEL, "its size in bytes does not fit 64 bits");
    if (t->off % align != 0)
        return lv_cursor_fail(c, LEVER_E_MODEL, "data offset %" PRIu64 " is no multiple of the alignment %" PRIu64,
                              t->off, align);
    return LEVER_OK;
}

/* Makes off absolute; the tensor must end within the file. */
static enum lever_status place_tensor(struct lv_cursor *c, uint64_t off_data, struct lv_tensor *t)
{
    uint64_t end;

    c->kind = "tensor";
    c->name = t->name;
    if (!lv_add_u64(off_data, t->off, &t->off) || !lv_add_u64(t->off, t->bytes, &end))
        return lv_cursor_fail(c, LEVER_E_MODEL, "its data end does not fit 64 bits");
    if (end > c->size_bytes)
        return lv_cursor_fail(c, LEVER_E_MODEL,
                              "its %" PRIu64 " bytes end at offset %" PRIu64 ", but the file has %" PRIu64
                              " bytes; it is damaged or was not downloaded completely",
                              t->bytes, end, c->size_bytes);
    return LEVER_OK;
}

/* Appends the file's tensors. Room is made for exactly the declared number, which the
 * bytes left in the file have to justify. */
static enum lever_status read_tensors(struct lv_gguf *g, struct lv_cursor *c, uint32_t i_file, uint64_t n,
                                      uint64_t align)
{
    const uint32_t n_old = g->n_tensor;
    struct lv_tensor *t;
    uint64_t off_data;

    c->kind = "tensors";
    if (n > MAX_TENSORS - n_old)
        return lv_cursor_fail(c, LEVER_E_MODEL, "%" PRIu64 " tensors, expected at most %u", n, MAX_TENSORS - n_old);
    if (!lv_cursor_need(c, n, MIN_TENSOR_BYTES, "tensors"))
        return c->st;
    if (!(t = lv_realloc(g->tensor, n_old + n, sizeof *t)))
        return lv_cursor_fail(c, LEVER_E_NOMEM, "no memory for %" PRIu64 " tensors", n_old + n);
    g->tensor = t;
    for (uint64_t i = n_old; i < n_old + n; i++) {
        t[i] = (struct lv_tensor){ .i_file = i_file };
        LV_TRY(read_tensor(&g->strings, c, align, &t[i]));
    }
    off_data = lv_round_up(c->off, align);
    for (uint64_t i = n_old; i < n_old + n; i++)
        LV_TRY(place_tensor(c, off_data, &t[i]));
    g->n_tensor = n_old + (uint32_t)n;
    c->kind = c->name = NULL;
    return c->st;
}

static int compare_places(const void *a, const void *b)
{
    const struct lv_tensor *x = *(const struct lv_tensor *const *)a, *y = *(const struct lv_tensor *const *)b;

    if (x->i_file != y->i_file)
        return x->i_file < y->i_file ? -1 : 1;
    return x->off < y->off ? -1 : x->off > y->off;
}

static int compare_names(const void *a, const void *b)
{
    const struct lv_tensor *x = *(const struct lv_tensor *const *)a, *y = *(const struct lv_tensor *const *)b;

    return strcmp(x->name, y->name);
}

/* Sorts by place to find overlaps, then by name: duplicates are found, and lookups take log n steps
 * whatever names a hostile file chooses. */
static enum lever_status index_tensors(struct lv_gguf *g, struct lever_error *err)
{
    const uint32_t n = g->n_tensor;
    const struct lv_tensor **by;

    if (!(by = g->by_name = lv_alloc(n, sizeof *g->by_name)))
        return LV_FAIL(err, LEVER_E_NOMEM, "%s: no memory for an index of %" PRIu32 " tensors",
                       lv_path_tail(g->file[0].path), n);
    for (uint32_t i = 0; i < n; i++)
        by[i] = &g->tensor[i];
    if (n > 0)
        qsort(by, n, sizeof *by, compare_places);
    for (uint32_t i = 1; i < n; i++)
        if (by[i - 1]->i_file == by[i]->i_file && by[i]->off - by[i - 1]->off < by[i - 1]->bytes)
            return LV_FAIL(err, LEVER_E_MODEL,
                           "%s: tensor %s at offset %" PRIu64 " overlaps tensor %s at offset %" PRIu64 " of %" PRIu64
                           " bytes",
                           lv_path_tail(g->file[by[i]->i_file].path), by[i]->name, by[i]->off, by[i - 1]->name,
                           by[i - 1]->off, by[i - 1]->bytes);
    if (n > 0)
        qsort(by, n, sizeof *by, compare_names);
    for (uint32_t i = 1; i < n; i++)
        if (strcmp(by[i - 1]->name, by[i]->name) == 0)
            return LV_FAIL(err, LEVER_E_MODEL, "%s: tensor %s occurs twice", lv_path_tail(g->file[by[i]->i_file].path),
                           by[i]->name);
    return LEVER_OK;
}

/* ---- split models -------------------------------------------------------------------- */

/* The "-00001-of-00003.gguf" at the end of path, with its numbers; NULL if there is none. */
static char *part_suffix(char *path, uint32_t *no, uint32_t *count)
{
    const size_t len = strlen(path);
    char *s;

    if (len < PART_SUFFIX_LEN)
        return NULL;
    s = path + (len - PART_SUFFIX_LEN);
    if (s[0] != '-' || memcmp(s + 6, "-of-", 4) != 0 || strcmp(s + 15, ".gguf") != 0)
        return NULL;
    *no = *count = 0;
    for (int i = 0; i < 5; i++) {
        if (!isdigit((unsigned char)s[1 + i]) || !isdigit((unsigned char)s[10 + i]))
            return NULL;
        *no = *no * 10 + (uint32_t)(s[1 + i] - '0');
        *count = *count * 10 + (uint32_t)(s[10 + i] - '0');
    }
    return s;
}

/* The path with its part number replaced: only five digits change, so the folder cannot. Owned by the caller. */
static char *part_path(const char *path, uint32_t no)
{
    uint32_t unused_no, unused_count;
    char *p = lv_strdup(path), *s = p ? part_suffix(p, &unused_no, &unused_count) : NULL;

    if (s)
        for (int i = 5; i > 0; i--, no /= 10)
            s[i] = (char)('0' + no % 10);
    return p;
}

struct split {
    uint64_t no, count; /* from 0; 1 for a model of one file */
    uint64_t n_tensor;  /* of all parts; UINT64_MAX when the file does not say */
};

static enum lever_status read_split(const struct lv_keys *keys, struct split *s, struct lever_error *err)
{
    *s = (struct split){ 0, 1, UINT64_MAX };
    LV_TRY(lv_keys_u64(keys, "split.no", &s->no, err));
    LV_TRY(lv_keys_u64(keys, "split.count", &s->count, err));
    LV_TRY(lv_keys_u64(keys, "split.tensors.count", &s->n_tensor, err));
    if (s->count == 0) /* written by some tools for an unsplit model */
        s->count = 1;
    if (s->count > LV_GGUF_MAX_FILES || s->no >= s->count)
        return LV_FAIL(err, LEVER_E_MODEL,
                       "%s: split.no is %" PRIu64 " and split.count %" PRIu64
                       ", expected a part below a count of at most %d",
                       lv_path_tail(keys->path), s->no, s->count, LV_GGUF_MAX_FILES);
    return LEVER_OK;
}

/* Checks the first file's split keys against its name. */
static enum lever_status check_first(const char *path, const struct split *s, struct lever_error *err)
{
    char *copy = lv_strdup(path), *first = NULL;
    uint32_t no = 0, count = 0;
    enum lever_status st = LEVER_OK;
    bool named;

    if (!copy)
        return LV_FAIL(err, LEVER_E_NOMEM, "%s: no memory", lv_path_tail(path));
    named = part_suffix(copy, &no, &count) != NULL;
    if (s->no != 0) {
        first = named ? part_path(path, 1) : NULL;
        st = LV_FAIL(err, LEVER_E_MODEL,
                     "%s: is part %" PRIu64 " of a split model of %" PRIu64 "; open the first part%s%s",
                     lv_path_tail(path), s->no + 1, s->count, first ? ", " : "", first ? lv_path_tail(first) : "");
    } else if (!named || no != 1 || count != s->count) {
        st = LV_FAIL(err, LEVER_E_MODEL,
                     "%s: is the first part of a split model of %" PRIu64
                     ", expected a name that ends with -00001-of-%05" PRIu64 ".gguf; rename the parts",
                     lv_path_tail(path), s->count, s->count);
    }
    lv_free(first);
    lv_free(copy);
    return st;
}

/* ---- open and close -------------------------------------------------------------------- */

/* Reads one file. keys: zeroed; the caller frees it, also after an error. */
static enum lever_status read_file(struct lv_gguf *g, uint32_t i_file, struct lv_keys *keys, struct split *split,
                                   const struct split *expected, struct lever_error *err)
{
    struct lv_cursor c;
    uint64_t n_tensor = 0, n_key = 0, align = 0;
    enum lever_status st;

    LV_TRY(lv_cursor_open(&c, g->file[i_file].path, err));
    g->file[i_file].bytes = c.size_bytes;
    if ((st = read_counts(&c, &n_tensor, &n_key)) < 0 || (st = lv_keys_read(keys, &c, n_key)) < 0 ||
        (st = read_align(keys, &align, err)) < 0 || (st = read_split(keys, split, err)) < 0)
        goto out;
    if (!expected && (split->count > 1 || split->no > 0)) {
        if ((st = check_first(c.path, split, err)) < 0)
            goto out;
    } else if (expected && (split->no != i_file || split->count != expected->count)) {
        st = LV_FAIL(err, LEVER_E_MODEL,
                     "%s: says it is part %" PRIu64 " of %" PRIu64 ", expected part %" PRIu32 " of %" PRIu64
                     "; the parts belong to different models or were renamed",
                     lv_path_tail(c.path), split->no + 1, split->count, i_file + 1, expected->count);
        goto out;
    }
    st = read_tensors(g, &c, i_file, n_tensor, align);
out:
    lv_cursor_close(&c);
    return st;
}

static enum lever_status open_files(struct lv_gguf *g, const char *path, struct lever_error *err)
{
    struct split first, part;

    g->n_file = 1;
    if (!(g->file[0].path = lv_strdup(path)))
        return LV_FAIL(err, LEVER_E_NOMEM, "%s: no memory", lv_path_tail(path));
    LV_TRY(read_file(g, 0, &g->keys, &first, NULL, err));
    for (uint32_t i = 1; i < first.count; i++) {
        struct lv_keys keys = { 0 };
        enum lever_status st;

        g->n_file = i + 1;
        if (!(g->file[i].path = part_path(path, i + 1)))
            return LV_FAIL(err, LEVER_E_NOMEM, "%s: no memory", lv_path_tail(path));
        st = read_file(g, i, &keys, &part, &first, err);
        lv_keys_deinit(&keys);
        if (st < 0)
            return st;
    }
    if (first.n_tensor != UINT64_MAX && first.n_tensor != g->n_tensor)
        return LV_FAIL(err, LEVER_E_MODEL,
                       "%s: split.tensors.count is %" PRIu64 ", but the parts hold %" PRIu32 " tensors",
                       lv_path_tail(path), first.n_tensor, g->n_tensor);
    return index_tensors(g, err);
}

enum lever_status lv_gguf_open(struct lv_gguf **out, const char *path, struct lever_error *err)
{
    struct lv_gguf *g = LV_NEW(struct lv_gguf);
    enum lever_status st;

    if (!g)
        return LV_FAIL(err, LEVER_E_NOMEM, "%s: no memory", lv_path_tail(path));
    if ((st = open_files(g, path, err)) < 0) {
        lv_gguf_close(g);
        return st;
    }
    *out = g;
    return LEVER_OK;
}

void lv_gguf_close(struct lv_gguf *g)
{
    if (!g)
        return;
    for (uint32_t i = 0; i < g->n_file; i++)
        lv_free(g->file[i].path);
    lv_free(g->tensor);
    lv_free(g->by_name);
    lv_strings_deinit(&g->strings);
    lv_keys_deinit(&g->keys);
    lv_free(g);
}

/* ---- access ------------------------------------------------------------------------------ */

uint32_t lv_gguf_n_files(const struct lv_gguf *g)
{
    return g->n_file;
}

const char *lv_gguf_path(const struct lv_gguf *g, uint32_t i_file)
{
    return g->file[i_file].path;
}

uint64_t lv_gguf_file_bytes(const struct lv_gguf *g, uint32_t i_file)
{
    return g->file[i_file].bytes;
}

uint32_t lv_gguf_n_tensors(const struct lv_gguf *g)
{
    return g->n_tensor;
}

const struct lv_tensor *lv_gguf_tensor(const struct lv_gguf *g, uint32_t i)
{
    return &g->tensor[i];
}

const struct lv_tensor *lv_gguf_find_tensor(const struct lv_gguf *g, const char *name)
{
    uint32_t lo = 0, hi = g->n_tensor;

    while (lo < hi) {
        const uint32_t mid = lo + (hi - lo) / 2;
        const int c = strcmp(name, g->by_name[mid]->name);

        if (c == 0)
            return g->by_name[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

uint32_t lv_gguf_n_keys(const struct lv_gguf *g)
{
    return g->keys.n;
}

void lv_gguf_key(struct lv_gguf *g, uint32_t i, const char **key, const char **type, const char **value)
{
    *key = g->keys.kv[i].key;
    *type = lv_kind_name(&g->keys.kv[i]);
    *value = lv_keys_text(&g->keys, i);
}

enum lever_status lv_gguf_get_u64(const struct lv_gguf *g, const char *key, uint64_t *out, struct lever_error *err)
{
    return lv_keys_u64(&g->keys, key, out, err);
}

enum lever_status lv_gguf_get_f64(const struct lv_gguf *g, const char *key, double *out, struct lever_error *err)
{
    return lv_keys_f64(&g->keys, key, out, err);
}

enum lever_status lv_gguf_get_bool(const struct lv_gguf *g, const char *key, bool *out, struct lever_error *err)
{
    return lv_keys_bool(&g->keys, key, out, err);
}

enum lever_status lv_gguf_get_str(const struct lv_gguf *g, const char *key, struct lv_str *out, struct lever_error *err)
{
    return lv_keys_str(&g->keys, key, out, err);
}

enum lever_status lv_gguf_get_array(const struct lv_gguf *g, const char *key, enum lv_gguf_kind *elem, uint64_t *n,
                                    struct lever_error *err)
{
    return lv_keys_array(&g->keys, key, elem, n, err);
}

struct lv_str lv_gguf_array_str(const struct lv_gguf *g, const char *key, uint64_t i)
{
    const struct lv_kv *kv = lv_keys_find(&g->keys, key);

    return kv && kv->kind == LV_GGUF_ARRAY ? lv_array_str(&kv->v.array, i) : (struct lv_str){ "", 0 };
}

double lv_gguf_array_num(const struct lv_gguf *g, const char *key, uint64_t i)
{
    const struct lv_kv *kv = lv_keys_find(&g->keys, key);

    return kv && kv->kind == LV_GGUF_ARRAY ? lv_array_num(&kv->v.array, i) : 0;
}

void lv_gguf_drop_arrays(struct lv_gguf *g)
{
    lv_keys_drop_arrays(&g->keys);
}
