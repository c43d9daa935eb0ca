/* Merging of neighbours by priority, for both kinds of BPE: doubly linked symbols and a binary heap of
 * candidate pairs. O(n log n) for n symbols, nothing recursive.
 *
 * owns     its two arrays, reused from word to word
 * threads  one thread at a time */
#ifndef LV_TOK_MERGE_H
#define LV_TOK_MERGE_H

#include "tok/vocab.h"

struct lv_sym {
    int32_t prev, next; /* -1 = none */
    uint32_t off, len;  /* bytes of the word; len 0 = merged away */
    int32_t id;         /* -1 = not in the vocabulary */
};

struct lv_pair {
    uint64_t key; /* priority << 32 | index of the left symbol: the smallest first, leftmost on ties */
    uint32_t len; /* of both; a pair whose symbols have grown since is stale */
    int32_t id;   /* of the joined token */
};

struct lv_merger { /* zero-initialised; free with lv_merger_deinit */
    struct lv_sym *sym;
    struct lv_pair *heap;
    size_t cap_sym, n_heap, cap_heap;
};

/* Longest word; larger ones are refused. */
#define LV_MERGE_MAX_BYTES ((size_t)1 << 30)

/* Appends the ids of one word. BPE: starts at bytes; SPM: at characters. */
enum lever_status lv_merge_word(struct lv_merger *m, const struct lv_tok *t, const char *s, size_t len,
                                struct lv_tok_ids *out, struct lever_error *err);
void lv_merger_deinit(struct lv_merger *m);

enum lever_status lv_tok_push(struct lv_tok_ids *out, int32_t id, struct lever_error *err);

#endif
