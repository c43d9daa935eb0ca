#include "heap.h"

#include <malloc.h>
#include <stddef.h>

/* Single-threaded tests: plain counters. */
static uint64_t live, peak;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

static void *count(void *p)
{
    if (p)
        live += malloc_usable_size(p);
    if (live > peak)
        peak = live;
    return p;
}

void *__wrap_malloc(size_t n)
{
    return count(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return count(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n)
{
    const size_t old = p ? malloc_usable_size(p) : 0;
    void *q = __real_realloc(p, n);

    if (!q)
        return NULL;
    live += malloc_usable_size(q); /* both exist while the bytes are copied */
    if (live > peak)
        peak = live;
    live -= old;
    return q;
}

void __wrap_free(void *p)
{
    if (p)
        live -= malloc_usable_size(p);
    __real_free(p);
}

uint64_t heap_live_bytes(void)
{
    return live;
}

uint64_t heap_peak_bytes(void)
{
    return peak;
}

void heap_reset_peak(void)
{
    peak = live;
}
