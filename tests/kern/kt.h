/* Kernel test harness: levels of this machine, guarded buffers, random weights and activations.
 *
 * owns     every buffer given out, until kt_free_all()
 * threads  one
 *
 * Buffers have exact sizes and end at an unreadable page, with another before their first page, so a
 * read or write outside is a crash; cmocka then names the kernel. */
#ifndef LV_TESTS_KT_H
#define LV_TESTS_KT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "kern/kern.h"

#define KT_LEVELS 11
#define KT_EMULATED 3

struct kt {
    uint64_t seed;   /* --seed N, printed */
    bool bench;      /* --bench */
    const char *only_level, *only_type; /* of the bench, lists: --level (else the best), --type q4_k (else all) */
    const char *rows;                   /* --rows 1,4 */
    uint32_t n_thread, n_cols;          /* --threads (0: each), --cols (0: 1536) */
    struct lv_rng rng;
    uint32_t n_level, best;          /* best: the highest one of this CPU */
    struct lv_kern level[KT_LEVELS]; /* level[0] is "ref"; the emulated ones are last */
};
extern struct kt kt;

/* Reads the arguments and finds the levels. Returns false on bad arguments (message printed). */
bool kt_init(int argc, char **argv);
/* Starts one test: the same random numbers whatever ran before. */
void kt_reseed(uint64_t salt);

/* Memory of exact size, filled with random bytes; its end lies `gap` bytes before the guard. */
void *kt_buf(size_t bytes, size_t gap);
/* n floats of one NaN pattern that no kernel makes. */
float *kt_poison(size_t n);
bool kt_is_poison(float f);
void kt_free_all(void);

enum kt_weights {
    KT_W_RANDOM,
    KT_W_ONES,    /* every bit of the quants set, largest scales */
    KT_W_ZERO,    /* scales 0 */
    KT_W_TINY,    /* subnormal scales */
    KT_W_NAN,     /* some scales NaN, some infinite */
    KT_W_COUNT
};
/* n_rows GGUF rows, gap bytes before the guard. */
uint8_t *kt_rows(enum lv_type type, uint32_t n_rows, uint32_t n_cols, enum kt_weights kind, size_t gap);

enum kt_acts {
    KT_X_RANDOM,
    KT_X_EXTREME, /* all 127 or all -127 in a block of 16 */
    KT_X_ZERO,
    KT_X_NAN,     /* some scales NaN or infinite */
    KT_X_COUNT
};
/* Activations with every array exact. Sums agree with q; q and f are unrelated. */
struct lv_act kt_act(uint32_t n_rows, uint32_t n_cols, enum kt_acts kind);

/* Same bits, or both NaN. */
bool kt_same(float a, float b);

/* emulated.c: tables of the levels whose new instructions are emulated; at most KT_EMULATED. Returns how many this CPU
 * can run: the rest of their code needs the level below. */
uint32_t kt_emulated_levels(struct lv_kern *k, uint32_t cpu_flags);

/* emulate/table.c, where SIMDe was found: the AVX-512 level without one instruction of AVX-512. */
void kt_emulate_avx512(struct lv_kern *k);

/* bench_gemm.c */
void kt_bench_gemm(void);

#endif
