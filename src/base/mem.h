/* Memory: heap blocks, large regions, and arenas that hand out pieces of one block.
 *
 * Every size is checked before it is multiplied. The heap functions go through
 * one hook that tests use to fail the Nth allocation (lv_alloc_fail_at).
 * threads: the heap functions from any; an arena by one thread at a time. */
#ifndef LV_BASE_MEM_H
#define LV_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* *out = a * b or a + b; false (and *out untouched) on overflow. */
static inline bool lv_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

static inline bool lv_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

static inline uint64_t lv_round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

static inline uint64_t lv_round_down(uint64_t n, uint64_t to)
{
    return n / to * to;
}

/* Heap. n * size is checked; NULL on overflow or when the system refuses. Freed by lv_free. */
void *lv_alloc(size_t n, size_t size);
void *lv_alloc_zero(size_t n, size_t size);
void *lv_realloc(void *p, size_t n, size_t size); /* NULL leaves p as it was */
char *lv_strdup(const char *s);
void lv_free(void *p); /* accepts NULL */

#define LV_NEW(type) ((type *)lv_alloc_zero(1, sizeof(type)))
#define LV_NEW_ARRAY(type, n) ((type *)lv_alloc_zero((n), sizeof(type)))

/* Fails the nth heap allocation or region from now on (1 = the next), once or, with
 * for_good, that one and all after it. 0 turns it off. Tests only; not for use
 * while other threads allocate. */
void lv_alloc_fail_at(uint64_t nth, bool for_good);
/* Heap allocations and regions asked for since the start. */
uint64_t lv_alloc_count(void);

/* A large block straight from the system, zeroed, page-aligned (64 bytes at least),
 * untouched pages cost nothing. huge: ask for 2 MiB pages. NULL when refused. */
void *lv_region_new(uint64_t bytes, bool huge);
void lv_region_free(void *p, uint64_t bytes); /* accepts NULL */

/* Arena: pieces are given in order from one region, each aligned to 64 bytes, and
 * go back all at once. With base NULL an arena only counts: that is how the
 * plan measures what open will need. */
struct lv_arena {
    uint8_t *base; /* owned; NULL = counting only */
    uint64_t cap_bytes, used_bytes;
};

bool lv_arena_init(struct lv_arena *a, uint64_t cap_bytes, bool huge);
void lv_arena_deinit(struct lv_arena *a);
/* n * size bytes, or NULL when counting or full (used_bytes then says how much is needed). */
void *lv_arena_take(struct lv_arena *a, uint64_t n, uint64_t size);

/* Peak resident set of this process in bytes, 0 if the system does not tell. */
uint64_t lv_peak_rss(void);

#endif
