/* Inside of the tokenizer: the tables that open fills and encode reads.
 *
 * A token's text is stored as the bytes it stands for: byte-level tokens decoded, U+2581 of
 * SentencePiece as a space, <0x0A> as its byte. So the input is looked up as it is, and decoding is a
 * pointer into the blob.
 *
 * owns     everything it points to, freed by lv_tok_close
 * threads  read-only after open */
#ifndef LV_TOK_VOCAB_H
#define LV_TOK_VOCAB_H

#include "gguf/gguf.h"
#include "tok/pretok.h"
#include "tok/tok.h"

/* tokenizer.ggml.token_type of the GGUF convention. */
enum lv_tok_type {
    LV_TOK_NORMAL = 1, LV_TOK_UNKNOWN, LV_TOK_CONTROL, LV_TOK_USER, LV_TOK_UNUSED, LV_TOK_BYTE
};

enum lv_tok_model { LV_TOK_BPE, LV_TOK_SPM };

/* One row of the merge table of byte-level BPE; its index is its rank. */
struct lv_merge {
    int32_t left, right; /* ids; -1 = cannot apply */
    int32_t id;          /* id of the joined token */
};

/* Special tokens of one length in special[begin..end), sorted by bytes. */
struct lv_special_class {
    uint32_t len, begin, end;
};

struct lv_tok {
    enum lv_tok_model model;
    char kind[48]; /* "gpt2/qwen2" */

    /* vocab.c */
    uint32_t n_vocab;
    char *blob;
    uint32_t *off; /* [n_vocab + 1] into blob */
    uint8_t *type; /* [n_vocab] enum lv_tok_type, LV_TOK_END_FLAG added */
    uint32_t *prio;         /* [n_vocab] SPM: 0 is the best score; NULL for BPE */
    uint32_t *slot;         /* [n_slot] hash of text: id + 1, 0 = free */
    uint32_t n_slot;        /* power of two */
    uint32_t max_len_bytes; /* longest text in slot */
    int32_t byte_id[256];   /* token of a single byte, -1 = none */

    struct lv_merge *merge; /* [n_merge] BPE */
    uint32_t *merge_slot;   /* [n_merge_slot] hash of (left, right): index + 1 */
    uint32_t n_merge, n_merge_slot;

    /* special.c */
    uint32_t *special;                    /* [n_special] ids, longest first */
    struct lv_special_class *class_table; /* [n_class] */
    uint32_t n_special, n_class;
    uint8_t *special_start; /* [65536 / 8] bit per first two bytes */

    /* pretok.c */
    struct lv_pretok pretok; /* BPE */

    int32_t bos, eos, unk; /* -1 = none */
    bool add_bos, add_space_prefix;
    uint64_t heap_bytes;
};

#define LV_TOK_END_FLAG 0x80u

static inline enum lv_tok_type lv_tok_type_of(const struct lv_tok *t, uint32_t id)
{
    return (enum lv_tok_type)(t->type[id] & 0x7fu);
}

static inline const char *lv_tok_text(const struct lv_tok *t, uint32_t id, uint32_t *len)
{
    *len = t->off[id + 1] - t->off[id];
    return t->blob + t->off[id];
}

/* ---- open.c ------------------------------------------------------------- */

/* Zeroed heap memory that counts towards lv_tok_bytes; NULL when refused. */
void *lv_tok_take(struct lv_tok *t, size_t n, size_t size);

/* ---- vocab.c ------------------------------------------------------------ */

enum lever_status lv_tok_load_vocab(struct lv_tok *t, const struct lv_gguf *g, struct lever_error *err);
enum lever_status lv_tok_load_merges(struct lv_tok *t, const struct lv_gguf *g, struct lever_error *err);
/* Id of a text that ordinary text can become (never a control token), or -1. */
int32_t lv_tok_find(const struct lv_tok *t, const char *s, size_t len);
/* Row of the merge of two ids, or NULL. */
const struct lv_merge *lv_tok_find_merge(const struct lv_tok *t, int32_t left, int32_t right);

/* ---- vocab_bytes.c: how the bytes of a token are written in the file ----- */

/* Byte-level BPE writes a byte as a printable character. dst: >= len bytes. False when a
 * character stands for no byte; dst is then undefined. */
bool lv_tok_unmap_bytes(const char *s, size_t len, char *dst, size_t *n);
/* U+2581 to space. dst: >= len bytes, may be s. Returns the new length. */
size_t lv_tok_unmap_spaces(const char *s, size_t len, char *dst);
/* Value of "<0x0A>", or -1. */
int lv_tok_byte_value(const char *s, size_t len);

/* ---- special.c ---------------------------------------------------------- */

struct lv_match {
    size_t off;
    uint32_t len;
    int32_t id;
};

struct lv_matches { /* growing array, zero-initialised; free with lv_tok_matches_deinit */
    struct lv_match *m;
    size_t n, cap;
    uint8_t *covered; /* scratch: bit per byte of the piece */
    size_t *start;    /* scratch: where a match may begin */
    size_t cap_covered, cap_start;
};

enum lever_status lv_tok_load_special(struct lv_tok *t, struct lever_error *err);
/* Id of a special token with exactly this text, or -1. */
int32_t lv_tok_find_special(const struct lv_tok *t, const char *s, size_t len);
/* Appends the matches in s[begin..end), in order of their place; LEVER_E_NOMEM. */
enum lever_status lv_tok_scan_special(const struct lv_tok *t, const char *s, size_t begin, size_t end, bool special,
                                      struct lv_matches *out, struct lever_error *err);
void lv_tok_matches_deinit(struct lv_matches *m);

/* ---- utf8.c ------------------------------------------------------------- */

/* Length of the well-formed character at s; 0 when n bytes are an unfinished
 * one; -1 when no continuation makes it well-formed. n >= 1. */
int lv_utf8_char(const char *s, size_t n);

#endif
