/* Harness of the vector kernel tests: CPU levels, buffers between unreadable pages, poison, seeds.
 * owns: a fixed set of buffers, lent by vt_take until vt_release.  threads: one. */
#ifndef LV_TESTS_KERN_VEC_HARNESS_H
#define LV_TESTS_KERN_VEC_HARNESS_H

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "kern/kern.h"

/* The kernels under test beside the reference, lowest level first: those this CPU has. */
struct vt_level {
    const char *name;
    struct lv_kern kern;
};
unsigned vt_levels(const struct vt_level **levels);
/* The reference kernels. */
const struct lv_kern *vt_ref(void);

/* Generator of a test: the seed of the program (--seed N, printed when a check fails) and the test's name. */
struct lv_rng vt_rng(const char *test);
extern uint64_t vt_seed;

/* n * size bytes that end at an unreadable page, 64 canary bytes before; poisoned. Aborts when out of buffers. */
void *vt_take(size_t n, size_t size);
/* cmocka setup: forgets what a failed test still held. */
int vt_setup(void **state);
/* Takes all back; fails the test if a canary was overwritten. */
void vt_release(void);
/* A copy in a buffer of its own. */
void *vt_copy(const void *src, size_t n, size_t size);

enum vt_kind {
    VT_PLAIN,    /* uniform in [-1, 1) */
    VT_WIDE,     /* every exponent, both signs */
    VT_ODD,      /* plain, with zeros of both signs, subnormals, largest values */
    VT_INFINITE, /* odd, with infinities */
    VT_NAN,      /* odd, with one NaN */
    VT_ZERO,
    VT_N_KIND
};
void vt_fill(struct lv_rng *rng, float *x, size_t n, enum vt_kind kind);
/* Halves: finite ones, with zeros, subnormals and the largest among them; with_nan puts one NaN and one infinity. */
void vt_fill_f16(struct lv_rng *rng, uint16_t *h, size_t n, bool with_nan);

/* Fails the test unless all are the same bits or both NaN; a printf format names the case. */
void vt_same_f32(const float *got, const float *want, size_t n, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Fails the test unless all bytes are equal. */
void vt_same_bytes(const void *got, const void *want, size_t n_bytes, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* --bench: speeds of every level to stdout. */
void vt_bench(void);

#endif
