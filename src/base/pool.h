/* Worker pool: n threads that run one function together. The caller is worker 0.
 *
 * owns     n - 1 threads, asleep between runs
 * threads  lv_pool_run by one thread at a time */
#ifndef LV_BASE_POOL_H
#define LV_BASE_POOL_H

#include "base/status.h"

#define LV_POOL_MAX 64

struct lv_pool;

/* n_threads 1..LV_POOL_MAX; 0 = one per core this process may use. */
enum lever_status lv_pool_new(struct lv_pool **out, unsigned n_threads, struct lever_error *err);
void lv_pool_free(struct lv_pool *p); /* accepts NULL */
unsigned lv_pool_n(const struct lv_pool *p);

/* Calls fn(arg, worker) once on each worker, worker = 0 .. n - 1, and returns when all have returned. */
void lv_pool_run(struct lv_pool *p, void (*fn)(void *arg, unsigned worker), void *arg);

#endif
