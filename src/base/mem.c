#define _GNU_SOURCE
#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define LV_ARENA_ALIGN 64
#define ARENA_MAX (UINT64_C(1) << 62)

static atomic_uint_fast64_t alloc_count, alloc_fail_at;
static atomic_bool alloc_fail_for_good;

/* True when a test asked for this allocation to fail. */
static bool must_fail(void)
{
    const uint64_t n = atomic_fetch_add(&alloc_count, 1) + 1;
    const uint64_t at = atomic_load(&alloc_fail_at);

    if (at == 0)
        return false;
    return n == at || (n > at && atomic_load(&alloc_fail_for_good));
}

void lv_alloc_fail_at(uint64_t nth, bool for_good)
{
    atomic_store(&alloc_fail_for_good, for_good);
    atomic_store(&alloc_fail_at, nth ? atomic_load(&alloc_count) + nth : 0);
}

uint64_t lv_alloc_count(void)
{
    return atomic_load(&alloc_count);
}

void *lv_alloc(size_t n, size_t size)
{
    uint64_t bytes;

    if (!lv_mul_u64(n, size, &bytes) || must_fail())
        return NULL;
    return malloc(bytes ? bytes : 1);
}

void *lv_alloc_zero(size_t n, size_t size)
{
    uint64_t bytes;

    if (!lv_mul_u64(n, size, &bytes) || must_fail())
        return NULL;
    return calloc(bytes ? bytes : 1, 1);
}

void *lv_realloc(void *p, size_t n, size_t size)
{
    uint64_t bytes;

    if (!lv_mul_u64(n, size, &bytes) || must_fail())
        return NULL;
    return realloc(p, bytes ? bytes : 1);
}

char *lv_strdup(const char *s)
{
    const size_t n = strlen(s) + 1;
    char *d = lv_alloc(n, 1);

    return d ? memcpy(d, s, n) : NULL;
}

void lv_free(void *p)
{
    free(p);
}

void *lv_region_new(uint64_t bytes, bool huge)
{
    if (must_fail())
        return NULL;
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    /* Without huge pages ask for small ones: a 2 MiB page at each end would break the plan. */
    madvise(p, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return p;
}

void lv_region_free(void *p, uint64_t bytes)
{
    if (p)
        munmap(p, bytes ? bytes : 1);
}

bool lv_arena_init(struct lv_arena *a, uint64_t cap_bytes, bool huge)
{
    *a = (struct lv_arena){ .cap_bytes = cap_bytes };
    a->base = lv_region_new(cap_bytes, huge);
    return a->base != NULL;
}

void lv_arena_deinit(struct lv_arena *a)
{
    lv_region_free(a->base, a->cap_bytes);
    *a = (struct lv_arena){ 0 };
}

void *lv_arena_take(struct lv_arena *a, uint64_t n, uint64_t size)
{
    const uint64_t at = a->used_bytes;
    uint64_t bytes;

    if (!lv_mul_u64(n, size, &bytes) || bytes > ARENA_MAX || at + lv_round_up(bytes, LV_ARENA_ALIGN) > ARENA_MAX) {
        a->used_bytes = ARENA_MAX; /* no arena is that large: the plan refuses */
        return NULL;
    }
    a->used_bytes = at + lv_round_up(bytes, LV_ARENA_ALIGN);
    if (!a->base || a->used_bytes > a->cap_bytes)
        return NULL;
    return a->base + at;
}

uint64_t lv_peak_rss(void)
{
    struct rusage u;

    if (getrusage(RUSAGE_SELF, &u) != 0)
        return 0;
    return (uint64_t)u.ru_maxrss * 1024;
}
