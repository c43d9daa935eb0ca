/* Raw rates of this machine: memory, arithmetic, flash. What kernels and the stream reach is judged as a share of
 * these, so they are taken in the same run, again and again.
 *
 * A rate is the best of a few short runs: other processes can only make a run slower. Over a run of the
 * whole program the median of such bests is reported, with the lowest and the highest. */
#ifndef LV_ENGINE_PROBE_H
#define LV_ENGINE_PROBE_H

#include "base/pool.h"
#include "engine/stream.h"
#include "io/reader.h"
#include "kern/probe.h"

/* ---- statistics ---- */

#define LV_RATES_MAX 256

struct lv_rates {
    double v[LV_RATES_MAX];
    uint32_t n;
};

void lv_rates_add(struct lv_rates *r, double v); /* beyond LV_RATES_MAX: dropped */
struct lever_rate lv_rates_sum(const struct lv_rates *r);

/* ---- memory and arithmetic ---- */

struct lv_raw {
    struct lv_pool *pool;    /* borrowed */
    struct lv_probe probe;
    const uint8_t *block;    /* [block_bytes], borrowed, touched; a multiple of 1 MiB */
    uint64_t block_bytes;
    struct lv_rates dram, mac, fma;
    uint64_t at;             /* next piece of the block: runs go round it */
};

void lv_raw_init(struct lv_raw *r, struct lv_pool *pool, uint32_t cpu_flags, const uint8_t *block, uint64_t block_bytes);
/* Adds one measurement of each rate; about half a second. */
void lv_raw_take(struct lv_raw *r);
void lv_raw_report(const struct lv_raw *r, struct lever_raw *out);

/* Bytes of a block that is worth cycling through and that this machine can spare: want, or a quarter of what is
 * available; a multiple of 1 MiB. */
uint64_t lv_raw_block_bytes(uint64_t want);

/* ---- flash ---- */

struct lv_flash_job {
    struct lv_reader *reader;        /* as many threads as reads in flight, or more */
    const struct lv_extent *extent;  /* [n_extent], read in this order, round and round */
    uint32_t n_extent, n_flight;     /* n_flight 1..16 */
    uint64_t max_bytes, max_ns;      /* ends after either; 0 = no such end */
};

struct lv_flash_result {
    uint64_t bytes, ns;
    double rate; /* bytes/s of the ranges themselves */
};

enum lever_status lv_flash_read(const struct lv_flash_job *job, struct lv_flash_result *out, struct lever_error *err);

/* Drops the file's pages from the page cache, then reads the first bytes of the ranges twice in a row. True when the second
 * time is so much faster that memory must have answered: "direct" reads are not what they say. *reread: the rate then.
 * path: of the file that the first ranges lie in. */
enum lever_status lv_flash_cached(const struct lv_flash_job *job, const char *path, bool *cached, double *reread,
                                  struct lever_error *err);

#endif
