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
    uint8_t *bounce;     /* aligned read buffer, the reader's while a read is pending */
    struct lv_read read;
    bool pending;        /* a read was begun; it may have been given up by a cancel */
    atomic_bool arrived; /* and has ended */
    struct lv_event event;
    uint64_t wait_ns;    /* time spent on reads so far */
};

/* cache_bytes: room for rows; 0 when rows will come from a tied head that is pinned. Lays out in the arena (which may only be counting); false when it is full. */
bool lv_embed_init(struct lv_embed *m, const struct lv_program *p, struct lv_reader *reader, uint64_t cache_bytes,
                   struct lv_arena *a);

/* x[n_embd] = scaled embedding of the token, 0 <= token < n_vocab. cancel (may be NULL): given up soon after it is set,
 * also while the device does not answer; m stays usable. */
enum lever_status lv_embed_row(struct lv_embed *m, int32_t token, float *x, const atomic_bool *cancel,
                               struct lever_error *err);

#endif
