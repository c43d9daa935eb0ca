/* Pre-tokenizers: the pattern that cuts a text into words before byte-level BPE.
 *
 * owns     the compiled pattern
 * threads  read-only after open; each thread has its own lv_pretok_run */
#ifndef LV_TOK_PRETOK_H
#define LV_TOK_PRETOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct lv_pretok {
    void *code;         /* pcre2_code, NULL before open */
    uint64_t heap_bytes; /* of the code, JIT included */
    bool ignore_merges; /* a word that is a token is taken as it is */
    bool add_bos;       /* default of tokenizer.ggml.add_bos_token */
};

/* name: tokenizer.ggml.pre. LEVER_E_MODEL names the known ones. */
enum lever_status lv_pretok_open(struct lv_pretok *p, const char *name, size_t len, struct lever_error *err);
void lv_pretok_close(struct lv_pretok *p);

struct lv_pretok_run { /* zero-initialised */
    void *match, *context, *stack;
};

enum lever_status lv_pretok_begin(struct lv_pretok_run *r, const struct lv_pretok *p, size_t len, struct lever_error *err);
/* Length (>= 1) of the word that begins at s[off]; s is well-formed UTF-8. */
enum lever_status lv_pretok_next(struct lv_pretok_run *r, const struct lv_pretok *p, const char *s, size_t len,
                                 size_t off, size_t *word_len, struct lever_error *err);
void lv_pretok_end(struct lv_pretok_run *r);

#endif
