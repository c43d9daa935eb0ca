/* Text <-> tokens.
 *
 * Two kinds, by the file's tokenizer.ggml.model: "gpt2", byte-level BPE whose
 * pre-tokenizer (tokenizer.ggml.pre) is a PCRE2 pattern from one table; and
 * "llama", SentencePiece-style BPE by score with byte fallback. Others are refused by name.
 *
 * owns     its compact tables (offsets into one blob, hash tables); nothing of the gguf
 * threads  read-only after open; encode and decode from any thread */
#ifndef LV_TOK_TOK_H
#define LV_TOK_TOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct lv_gguf;
struct lv_tok;

enum lever_status lv_tok_open(struct lv_tok **out, const struct lv_gguf *g, struct lever_error *err);
void lv_tok_close(struct lv_tok *t); /* accepts NULL */

uint32_t lv_tok_n_vocab(const struct lv_tok *t);
const char *lv_tok_kind(const struct lv_tok *t); /* "gpt2/qwen2", "llama" */
uint64_t lv_tok_bytes(const struct lv_tok *t);   /* heap bytes held */

/* A piece of text. Neighbouring pieces are one text to the tokenizer; control tokens are
 * recognised only inside a piece with `special` (a match never crosses pieces). User-defined tokens are
 * recognised in every piece. Text without `special` never becomes a control token. */
struct lv_tok_span {
    const char *s;
    size_t len;
    bool special;
};

struct lv_tok_ids { /* growing array; zero-initialise, free with lv_free(ids) */
    int32_t *ids;
    size_t n, cap;
};

/* Appends the ids. add_bos: first the beginning token, if the model has one.
 * SentencePiece-style models get a space before plain text, at the start and after each special token,
 * when the file says so.
 * Ill-formed UTF-8 never fails: bad bytes become U+FFFD (byte-level BPE) or byte tokens.
 * LEVER_E_NOMEM, LEVER_E_INTERNAL (a PCRE2 limit) are the only errors. Time is O(n log n), no recursion on input. */
enum lever_status lv_tok_encode(const struct lv_tok *t, const struct lv_tok_span *span, size_t n_span, bool add_bos,
                                struct lv_tok_ids *out, struct lever_error *err);

/* The bytes a token stands for, U+2581 of SentencePiece as a space; possibly part of a character. len 0 for
 * control tokens unless special.
 * Borrowed until close. buf (>= 256 bytes) is not needed now: texts are stored decoded. */
const char *lv_tok_bytes_of(const struct lv_tok *t, int32_t id, bool special, char *buf, size_t *len);

/* eos, eot, eom and known end texts (<|im_end|>, <|eot_id|>, <end_of_turn>, <|endoftext|>, ...). */
bool lv_tok_is_end(const struct lv_tok *t, int32_t id);
bool lv_tok_is_control(const struct lv_tok *t, int32_t id);
int32_t lv_tok_bos(const struct lv_tok *t); /* -1 = none */
int32_t lv_tok_eos(const struct lv_tok *t);
bool lv_tok_adds_bos(const struct lv_tok *t);

/* First id whose bytes or kind differ, over the smaller vocabulary; -1 if none.
 * Padding tokens beyond the shorter vocabulary do not count. */
int32_t lv_tok_first_difference(const struct lv_tok *a, const struct lv_tok *b);

/* ---- detokenizer: bytes arrive token by token, whole characters leave ------- */
struct lv_utf8 {
    unsigned char tail[4];
    unsigned n_tail;
};
/* Feeds len bytes; writes to out (cap >= len + 4) only whole well-formed or definitely
 * ill-formed sequences; an unfinished character is held back. Returns bytes written. */
size_t lv_utf8_feed(struct lv_utf8 *u, const char *s, size_t len, char *out);
/* The held-back bytes at the end of the text. */
size_t lv_utf8_flush(struct lv_utf8 *u, char *out);

#endif
