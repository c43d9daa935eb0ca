/* What tests of plans share: a small model in the test's folder, and options that hold it in small slots. */
#ifndef ENGINE_PLAN_KIT_H
#define ENGINE_PLAN_KIT_H

#include <stdio.h>

#include <lever/lever.h>

#include "ref/tiny.h"

#define MIB (UINT64_C(1) << 20)

/* Returns 0, or what a setup returns when it failed; the reason is printed. */
static inline int kit_write(const struct tiny_spec *spec, const char *path)
{
    struct lever_error err = { 0 };

    if (tiny_write(spec, path, &err) >= 0)
        return 0;
    fprintf(stderr, "%s\n", err.message);
    return -1;
}

/* Borrows the path. */
static inline struct lever_options kit_options(const char *target_path, uint64_t memory_bytes)
{
    struct lever_options o;

    lever_options_default(&o, sizeof o);
    o.target_path = target_path;
    o.memory_bytes = memory_bytes;
    o.n_ctx = 256;
    o.n_threads = 2;
    o.slot_bytes = 128 * 1024;
    o.ring_bytes = MIB;
    return o;
}

#endif
