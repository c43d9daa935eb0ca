#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/rng.h"
#include "tok/vocab.h"

#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_TYPES "tokenizer.ggml.token_type"
#define KEY_SCORES "tokenizer.ggml.scores"
#define KEY_MERGES "tokenizer.ggml.merges"

/* Tables stay two thirds full at most: runs of more than 100 taken slots do not happen by chance,
 * but a file made for it would turn opening into quadratic work. */
#define MAX_PROBE 1000

static uint32_t table_size(uint64_t n)
{
    uint32_t size = 16;

    while (size < n + n / 2)
        size *= 2;
    return size;
}

static uint64_t hash_text(const char *s, size_t len)
{
    uint64_t h = len * UINT64_C(0x9e3779b97f4a7c15), w;

    for (; len >= 8; s += 8, len -= 8) {
        memcpy(&w, s, 8);
        h = lv_mix64(h ^ w);
    }
    w = 0;
    memcpy(&w, s, len);
    return lv_mix64(h ^ w);
}

static uint64_t hash_pair(int32_t left, int32_t right)
{
    return lv_mix64((uint64_t)(uint32_t)left << 32 | (uint32_t)right);
}

/* ---- tokens --------------------------------------------------------------- */

int32_t lv_tok_find(const struct lv_tok *t, const char *s, size_t len)
{
    const uint32_t mask = t->n_slot - 1;

    if (len > t->max_len_bytes)
        return -1;
    for (uint32_t i = (uint32_t)hash_text(s, len) & mask; t->slot[i]; i = (i + 1) & mask) {
        uint32_t len_have;
        const char *have = lv_tok_text(t, t->slot[i] - 1, &len_have);

        if (len_have == len && memcmp(have, s, len) == 0)
            return (int32_t)(t->slot[i] - 1);
    }
    return -1;
}

/* Of equal texts the last one counts, as in the reference. */
static enum lever_status insert(struct lv_tok *t, uint32_t id, struct lever_error *err)
{
    const uint32_t mask = t->n_slot - 1;
    uint32_t len, i;
    const char *s = lv_tok_text(t, id, &len);

    i = (uint32_t)hash_text(s, len) & mask;
    for (int n_probe = 0; t->slot[i]; i = (i + 1) & mask) {
        uint32_t len_have;
        const char *have = lv_tok_text(t, t->slot[i] - 1, &len_have);

        if (len_have == len && memcmp(have, s, len) == 0)
            break;
        if (++n_probe > MAX_PROBE)
            return LV_FAIL(err, LEVER_E_MODEL,
                           "%s: token %u shares its hash with over %d others; the file is not a real model",
                           KEY_TOKENS, id, MAX_PROBE);
    }
    t->slot[i] = id + 1;
    if (len > t->max_len_bytes)
        t->max_len_bytes = len;
    return LEVER_OK;
}

/* Array key with n_want elements. LEVER_DONE: absent. */
static enum lever_status check_array(const struct lv_gguf *g, const char *key, bool strings, uint64_t n_want,
                                     struct lever_error *err)
{
    enum lv_gguf_kind kind;
    uint64_t n;
    const enum lever_status st = lv_gguf_get_array(g, key, &kind, &n, err);

    if (st != LEVER_OK)
        return st;
    if ((kind == LV_GGUF_STRING) != strings || kind == LV_GGUF_ARRAY)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: the array holds values of kind %d, expected %s", key, (int)kind,
                       strings ? "strings (8)" : "numbers");
    if (n != n_want)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: %llu elements, expected one for each of %llu tokens", key,
                       (unsigned long long)n, (unsigned long long)n_want);
    return LEVER_OK;
}

static enum lever_status load_types(struct lv_tok *t, const struct lv_gguf *g, struct lever_error *err)
{
    const enum lever_status st = check_array(g, KEY_TYPES, false, t->n_vocab, err);

    if (st < 0)
        return st;
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        const double type = st == LEVER_OK ? lv_gguf_array_num(g, KEY_TYPES, id) : LV_TOK_NORMAL;

        /* 0 is "undefined" in the convention. */
        if (!(type >= 0 && type <= LV_TOK_BYTE))
            return LV_FAIL(err, LEVER_E_MODEL, "%s: token %u has type %g, expected 1..%d", KEY_TYPES, id, type, LV_TOK_BYTE);
        t->type[id] = (uint8_t)(type < 1 ? LV_TOK_NORMAL : (int)type);
    }
    return LEVER_OK;
}


/* The order of floats as an integer, best (largest) score smallest. */
static enum lever_status load_scores(struct lv_tok *t, const struct lv_gguf *g, struct lever_error *err)
{
    const enum lever_status st = check_array(g, KEY_SCORES, false, t->n_vocab, err);

    if (st < 0)
        return st;
    if (st == LEVER_DONE)
        return LV_FAIL(err, LEVER_E_MODEL, "key %s is absent; a \"llama\" vocabulary merges by score", KEY_SCORES);
    t->prio = lv_tok_take(t, t->n_vocab, sizeof *t->prio);
    if (!t->prio)
        return LV_FAIL(err, LEVER_E_NOMEM, "tokenizer: no memory for %u scores", t->n_vocab);
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        const float score = (float)lv_gguf_array_num(g, KEY_SCORES, id) + 0.0f; /* -0 becomes 0 */
        const uint32_t bits = lv_f32_bits(score);

        if (!isfinite(score))
            return LV_FAIL(err, LEVER_E_MODEL, "%s: the score of token %u is not finite", KEY_SCORES, id);
        t->prio[id] = bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
    }
    return LEVER_OK;
}

/* Texts that end a turn or a document. Some files mark them as ordinary tokens; like the
 * reference, we take them as control tokens all the same. The last three are what code models print
 * to go on to another file. */
static const char *const end_table[] = {
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>", "<|return|>",
    "<end_of_turn>", "<end_of_utterance>", "</s>", ("<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"),
    "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
};

static bool is_end_text(struct lv_str s)
{
    for (size_t i = 0; i < sizeof end_table / sizeof end_table[0]; i++)
        if (strlen(end_table[i]) == s.len && memcmp(end_table[i], s.s, s.len) == 0)
            return true;
    return false;
}

/* Stores the text of a token as the bytes it stands for. reachable: ordinary text can become it. */
static uint32_t store(struct lv_tok *t, uint32_t id, struct lv_str raw, bool *reachable)
{
    enum lv_tok_type type;
    char *dst = t->blob + t->off[id];
    size_t n = raw.len;
    int byte;

    if (raw.len > 2 && raw.len < 32 && raw.s[0] == '<' && is_end_text(raw))
        t->type[id] = LV_TOK_CONTROL | LV_TOK_END_FLAG;
    type = lv_tok_type_of(t, id);
    *reachable = type != LV_TOK_CONTROL && type != LV_TOK_UNKNOWN && raw.len > 0;
    if (t->model == LV_TOK_BPE) {
        if (type == LV_TOK_NORMAL && lv_tok_unmap_bytes(raw.s, raw.len, dst, &n)) {
            if (n == 1)
                t->byte_id[(unsigned char)dst[0]] = (int32_t)id;
            return (uint32_t)n;
        }
        if (type == LV_TOK_NORMAL) /* not written in the byte-level alphabet: no word looks like it */
            *reachable = false;
    } else {
        if (type == LV_TOK_BYTE && (byte = lv_tok_byte_value(raw.s, raw.len)) >= 0) {
            t->byte_id[byte] = (int32_t)id;
            *dst = (char)byte;
            *reachable = false;
            return 1;
        }
        /* A plain space is only found by the scan for special tokens, as text has U+2581. */
        if (raw.len && memchr(raw.s, ' ', raw.len))
            *reachable = false;
        else if (type != LV_TOK_CONTROL)
            return (uint32_t)lv_tok_unmap_spaces(raw.s, raw.len, dst);
    }
    if (n)
        memcpy(dst, raw.s, n);
    return (uint32_t)n;
}

enum lever_status lv_tok_load_vocab(struct lv_tok *t, const struct lv_gguf *g, struct lever_error *err)
{
    enum lv_gguf_kind kind;
    uint64_t n, bytes = 0;
    const enum lever_status st = lv_gguf_get_array(g, KEY_TOKENS, &kind, &n, err);

    if (st < 0)
        return st;
    if (st == LEVER_DONE || kind != LV_GGUF_STRING || n == 0 || n > INT32_MAX / 2)
        return LV_FAIL(err, LEVER_E_MODEL, "key %s is %s, expected an array of 1..%d strings", KEY_TOKENS,
                       st == LEVER_DONE ? "absent"
                       : kind != LV_GGUF_STRING ? "an array of another kind"
                       : n ? "too long" : "empty",
                       INT32_MAX / 2);
    for (uint64_t i = 0; i < n; i++)
        bytes += lv_gguf_array_str(g, KEY_TOKENS, i).len; /* bounded by the file */
    if (bytes > UINT32_MAX)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: %llu bytes of text, at most 2^32 - 1 are supported", KEY_TOKENS,
                       (unsigned long long)bytes);
    t->n_vocab = (uint32_t)n;
    t->n_slot = table_size(n);
    t->blob = lv_tok_take(t, bytes + 1, 1);
    t->off = lv_tok_take(t, n + 1, sizeof *t->off);
    t->type = lv_tok_take(t, n, 1);
    t->slot = lv_tok_take(t, t->n_slot, sizeof *t->slot);
    if (!t->blob || !t->off || !t->type || !t->slot)
        return LV_FAIL(err, LEVER_E_NOMEM, "tokenizer: no memory for %u tokens, %llu bytes of text", t->n_vocab,
                       (unsigned long long)bytes);
    LV_TRY(load_types(t, g, err));
    if (t->model == LV_TOK_SPM)
        LV_TRY(load_scores(t, g, err));
    memset(t->byte_id, 0xff, sizeof t->byte_id);
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        bool reachable;

        t->off[id + 1] = t->off[id] + store(t, id, lv_gguf_array_str(g, KEY_TOKENS, id), &reachable);
        if (reachable)
            LV_TRY(insert(t, id, err));
    }
    return LEVER_OK;
}

/* ---- merges ----------------------------------------------------------------- */

const struct lv_merge *lv_tok_find_merge(const struct lv_tok *t, int32_t left, int32_t right)
{
    const uint32_t mask = t->n_merge_slot - 1;

    if (left < 0 || right < 0)
        return NULL;
    for (uint32_t i = (uint32_t)hash_pair(left, right) & mask; t->merge_slot[i]; i = (i + 1) & mask) {
        const struct lv_merge *m = &t->merge[t->merge_slot[i] - 1];

        if (m->left == left && m->right == right)
            return m;
    }
    return NULL;
}

/* Id of half a merge, -1 for a control token, -2 when there is no such token. */
static int32_t find_part(const struct lv_tok *t, const char *s, size_t len)
{
    const int32_t id = lv_tok_find(t, s, len);

    if (id >= 0)
        return id;
    return lv_tok_find_special(t, s, len) >= 0 ? -1 : -2;
}

/* "left right" to ids. buf: scratch of cap bytes. */
static enum lever_status read_merge(const struct lv_tok *t, struct lv_str text, struct lv_merge *m, uint32_t i, char *buf,
                                    size_t cap, struct lever_error *err)
{
    /* The first half may begin with a space only in a broken file, but is never empty. */
    const char *space = text.len > 2 ? memchr(text.s + 1, ' ', text.len - 1) : NULL;
    size_t n_left, n_right;

    if (!space || (size_t)(space - text.s) + 1 == text.len)
        return LV_FAIL(err, LEVER_E_MODEL, "%s: merge %u is not two texts with a space between", KEY_MERGES, i);
    if (text.len > cap || !lv_tok_unmap_bytes(text.s, (size_t)(space - text.s), buf, &n_left) ||
        !lv_tok_unmap_bytes(space + 1, text.len - 1 - (size_t)(space - text.s), buf + n_left, &n_right))
        goto unknown;
    m->left = find_part(t, buf, n_left);
    m->right = find_part(t, buf + n_left, n_right);
    m->id = find_part(t, buf, n_left + n_right);
    if (m->left == -2 || m->right == -2 || m->id == -2)
        goto unknown;
    if (m->id < 0)
        m->left = -1; /* text must not become a control token */
    return LEVER_OK;
unknown:
    return LV_FAIL(err, LEVER_E_MODEL, "%s: merge %u is of texts that are not both, and joined, in %s", KEY_MERGES, i,
                   KEY_TOKENS);
}

/* Of equal merges the first one counts. */
static enum lever_status insert_merge(struct lv_tok *t, uint32_t i_merge, struct lever_error *err)
{
    const struct lv_merge *m = &t->merge[i_merge];
    const uint32_t mask = t->n_merge_slot - 1;
    uint32_t i = (uint32_t)hash_pair(m->left, m->right) & mask;

    if (m->left < 0 || m->right < 0)
        return LEVER_OK;
    for (int n_probe = 0; t->merge_slot[i]; i = (i + 1) & mask) {
        const struct lv_merge *have = &t->merge[t->merge_slot[i] - 1];

        if (have->left == m->left && have->right == m->right)
            return LEVER_OK;
        if (++n_probe > MAX_PROBE)
            return LV_FAIL(err, LEVER_E_MODEL,
                           "%s: merge %u shares its hash with over %d others; the file is not a real model",
                           KEY_MERGES, i_merge, MAX_PROBE);
    }
    t->merge_slot[i] = i_merge + 1;
    return LEVER_OK;
}

enum lever_status lv_tok_load_merges(struct lv_tok *t, const struct lv_gguf *g, struct lever_error *err)
{
    enum lever_status st;
    enum lv_gguf_kind kind;
    uint64_t n;
    size_t cap = (size_t)t->max_len_bytes * 2 + 8; /* a byte is written as two at most */
    char *buf;

    if ((st = lv_gguf_get_array(g, KEY_MERGES, &kind, &n, err)) < 0)
        return st;
    if (st == LEVER_DONE || kind != LV_GGUF_STRING || n > INT32_MAX / 2)
        return LV_FAIL(err, LEVER_E_MODEL, "key %s is %s, expected an array of strings", KEY_MERGES,
                       st == LEVER_DONE ? "absent" : kind != LV_GGUF_STRING ? "an array of another kind" : "too long");
    t->n_merge = (uint32_t)n;
    t->n_merge_slot = table_size(n);
    t->merge = lv_tok_take(t, n + 1, sizeof *t->merge);
    t->merge_slot = lv_tok_take(t, t->n_merge_slot, sizeof *t->merge_slot);
    buf = lv_alloc(cap, 1);
    st = LEVER_OK;
    if (!t->merge || !t->merge_slot || !buf)
        st = LV_FAIL(err, LEVER_E_NOMEM, "tokenizer: no memory for %u merges", t->n_merge);
    for (uint32_t i = 0; i < t->n_merge && st == LEVER_OK; i++) {
        st = read_merge(t, lv_gguf_array_str(g, KEY_MERGES, i), &t->merge[i], i, buf, cap, err);
        if (st == LEVER_OK)
            st = insert_merge(t, i, err);
    }
    lv_free(buf);
    return st;
}
