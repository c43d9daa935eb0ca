/* Embedding rows, read from the file on demand through a small cache.
 *
 * The table is as large as the head, and a pass needs a few rows of it: it never becomes
 * resident, unless it is tied to a resident head, from which rows are then gathered.
 *
 * owns     cache index; the cache memory is a piece of the caller's arena, freed after the reader was closed
 * threads  one at a time */
#ifndef LV_ENGINE_EMBED_H
#define LV_ENGINE_EMBED_H

#include <stdatomic.h>

#include "base/event.h"
#include "base/mem.h"
#include "io/reader.h"
#include "model/program.h"

#define LV_EMBED_FLIGHT 32 /* most rows that are read at once */

/* A row that is read. */
struct lv_embed_read {
    struct lv_embed *owner;
    struct lv_read req;
    uint8_t *buf;        /* aligned; the reader's while pending */
    int32_t token;
    bool pending;        /* begun, and not yet in the cache */
    atomic_bool arrived; /* and ended */
};

struct lv_embed {
    const struct lv_program *p;
    struct lv_reader *reader;
    uint64_t row_bytes;
    uint32_t n_entry;
    int32_t *token_of;   /* [n_entry], -1 = empty */
    uint32_t *entry_of;  /* [n_hash] entry + 1, 0 = empty; linear probing */
    uint32_t n_hash;     /* power of two >= 2 * n_entry */
    uint8_t *referenced; /* [n_entry], for the clock */
    uint32_t hand;
    uint8_t *rows;       /* [n_entry][row_bytes] as in the file */
    struct lv_embed_read read[LV_EMBED_FLIGHT]; /* [n_read] */
    uint32_t n_read;
    bool like_head;      /* rows may come from a head that is not tied: lv_embed_try_head */
    struct lv_event event;
    uint64_t wait_ns;    /* time spent on reads so far */
};

/* cache_bytes: room for rows; 0 when rows will come from a tied head that is pinned. Lays out in the arena (which may only be counting); false when it is full. */
bool lv_embed_init(struct lv_embed *m, const struct lv_program *p, struct lv_reader *reader, uint64_t cache_bytes,
                   struct lv_arena *a);

/* For a draft, loaded and idle: where the head has the same weights as the table, quantized on its own, rows come from there
 * from now on. Some are compared. A draft only guesses; a target needs the table's own bits. x, y: [n_embd] scratch. */
enum lever_status lv_embed_try_head(struct lv_embed *m, float *x, float *y, struct lever_error *err);

/* Begins to read rows that will be asked for, as far as reads are free; never waits. */
void lv_embed_want(struct lv_embed *m, const int32_t *token, uint32_t n);

/* x[i * stride .. + n_embd) = scaled embedding of token[i], 0 <= token[i] < n_vocab, i < n. What is missing is read side by
 * side: behind the long reads of a stream each would wait for itself. cancel (may be NULL): given up soon after it is
 * set, also while the device does not answer; m stays usable. */
enum lever_status lv_embed_rows(struct lv_embed *m, const int32_t *token, uint32_t n, float *x, size_t stride,
                                const atomic_bool *cancel, struct lever_error *err);

#endif
