/* Prompt lookup: how the text went on where its last tokens stood before.
 *
 * One table for each n-gram length gives the last place where an n-gram ended, and a link from every place leads to
 * the one before it with the same n-gram. Links are exact, so a query never walks over foreign places, and the
 * longest match is found at once. What the text took back (rewind) is undone in reverse order, which leaves the
 * tables as if those tokens had never been.
 *
 *   memory  | token [n_ctx] | then for n = 2..8: head [n_slot] | before [n_ctx + 1] |   all 4 bytes
 *
 * Places are ends: the number of tokens up to and with the n-gram's last, so 0 stands for none.
 *
 * Pure: no I/O, clock or threads. borrows its memory; one thread at a time. The same text gives the same answers, no
 * matter by which appends and rewinds it came about. */
#ifndef LV_DRAFT_LOOKUP_H
#define LV_DRAFT_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#define LV_LOOKUP_MIN       2  /* shortest n-gram that counts as a match */
#define LV_LOOKUP_MAX       8  /* longest n-gram with a table of its own */
#define LV_LOOKUP_MATCH_MAX 32 /* longer matches count as this long */
#define LV_LOOKUP_STEPS     32 /* places seen for each n-gram length, the latest first */
#define LV_LOOKUP_DEPTH_MAX 32 /* tokens of a continuation */
#define LV_LOOKUP_TABLES    (LV_LOOKUP_MAX - LV_LOOKUP_MIN + 1)
#define LV_LOOKUP_CTX_MAX   131072 /* tokens of text */

struct lv_lookup {
    int32_t *token;                     /* [n_ctx], borrowed like all below */
    uint32_t *head[LV_LOOKUP_TABLES];   /* [n_slot] last place with the n-gram; open addressing */
    uint32_t *before[LV_LOOKUP_TABLES]; /* [n_ctx + 1] the place before with the same n-gram */
    uint32_t n, n_ctx, n_slot;
};

struct lv_lookup_hit {
    int32_t token[LV_LOOKUP_DEPTH_MAX]; /* [n] */
    uint16_t n;
    uint16_t match;  /* tokens that agree before it, LV_LOOKUP_MIN..LV_LOOKUP_MATCH_MAX */
    uint16_t n_seen; /* places with this match (from LV_LOOKUP_MAX on: at least that) that went on with token[0] .. */
    uint16_t n_of;   /* .. among so many seen */
    uint32_t at;     /* where token[0] stands in text + path */
};

/* Memory for a text of n_ctx tokens; about 90 to 150 bytes a token. n_ctx <= LV_LOOKUP_CTX_MAX. */
uint64_t lv_lookup_bytes(uint32_t n_ctx);
/* No text. memory: lv_lookup_bytes(n_ctx) bytes aligned to 4, lent until the last use of *l; written throughout. */
void lv_lookup_init(struct lv_lookup *l, void *memory, uint32_t n_ctx);
/* Appends a token, in constant time. False, and nothing changes, when n_ctx are there. */
bool lv_lookup_append(struct lv_lookup *l, int32_t token);
/* Keeps the first n tokens, n <= l->n; time in proportion to what goes. */
void lv_lookup_rewind(struct lv_lookup *l, uint32_t n);

/* Continuations of text + path, up to k of them with different first tokens.
 *
 * path   [n_path] speculative tokens after the text, borrowed; may be NULL when n_path is 0. Matches may end in
 *        them, but places are looked for in the text.
 * depth  tokens a continuation, 1..LV_LOOKUP_DEPTH_MAX. One that reaches the end of text + path goes on into itself:
 *        a text that repeats is continued as repeating.
 * hit    [k], caller's.
 *
 * Best first: longer match, then more often seen, then later in the text. Tokens are copied from the place with the
 * longest match, the latest of these. Returns their count. Allocates nothing; at most LV_LOOKUP_STEPS places for
 * each n-gram length. */
uint32_t lv_lookup_find(const struct lv_lookup *l, const int32_t *path, uint32_t n_path, uint32_t depth,
                        struct lv_lookup_hit *hit, uint32_t k);

#endif
