/* Speed of the kernels as the executor uses them. */
#ifndef LV_ENGINE_BENCH_KERNELS_H
#define LV_ENGINE_BENCH_KERNELS_H

#include "base/pool.h"
#include "kern/kern.h"

/* A matrix [n_out, n_in] in many copies that fill a block of memory, run one after the other by the real executor: so each
 * run finds its weights in memory, not in a cache. */
struct lv_bench_matmul;

/* block  [block_bytes], 64-byte aligned, touched, borrowed; what it holds does not matter, unless it makes NaN
 * LEVER_E_ARG when the block holds no copy, or the shape does not suit the type. */
enum lever_status lv_bench_matmul_new(struct lv_bench_matmul **out, const struct lv_kern *k, struct lv_pool *pool,
                                      enum lv_type type, uint32_t n_out, uint32_t n_in, uint32_t max_rows,
                                      const uint8_t *block, uint64_t block_bytes, struct lever_error *err);
void lv_bench_matmul_free(struct lv_bench_matmul *m); /* accepts NULL */

/* Seconds of one matmul with n_rows tokens: best of a few runs of about run_seconds each. */
enum lever_status lv_bench_matmul_time(struct lv_bench_matmul *m, uint32_t n_rows, double run_seconds, double *seconds,
                                       struct lever_error *err);

/* Seconds to pack one group, one thread, the rows out of a block of memory: best of a few runs. 0: no memory. */
double lv_bench_pack_time(const struct lv_kern *k, enum lv_type type, uint32_t n_in, const uint8_t *block,
                          uint64_t block_bytes, double run_seconds);

/* "q4_k" or "Q4_K"; LV_TYPE_MAX for an unknown name. */
enum lv_type lv_bench_type(const char *name);
/* "q4_k"; static text. */
const char *lv_bench_type_name(enum lv_type type);
/* What a block is filled with: small positive numbers in every type. */
#define LV_BENCH_FILL 0x11

#endif
