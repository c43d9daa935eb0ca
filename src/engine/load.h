/* Load: reads what is pinned and brings it into kernel layout. */
#ifndef LV_ENGINE_LOAD_H
#define LV_ENGINE_LOAD_H

#include "base/pool.h"
#include "io/reader.h"
#include "kern/kern.h"
#include "model/program.h"

struct lv_load_progress {
    void (*fn)(void *user, const char *what, uint64_t done, uint64_t total); /* may be NULL */
    void *user;
    uint64_t done, total; /* bytes, over all models */
};

/* Bytes of vectors, padded as the arena pads them. */
uint64_t lv_load_vector_bytes(const struct lv_program *p);
/* Temporary memory a load takes while it runs. */
uint64_t lv_load_buffer_bytes(const struct lv_program *p, unsigned n_worker);

/* Reads vectors and pinned segments, those that have no memory yet, into `memory` (at first lv_load_vector_bytes + pinned bytes,
 * 64-byte aligned). Called from worker 0's thread, which also reports progress. */
enum lever_status lv_load(struct lv_program *p, struct lv_reader *reader, const struct lv_kern *k, struct lv_pool *pool,
                          uint8_t *memory, struct lv_load_progress *progress, struct lever_error *err);

#endif
