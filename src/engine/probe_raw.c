#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/plan.h"
#include "engine/probe.h"

#define MIB (UINT64_C(1) << 20)
#define PIECE_BYTES (256 * 1024u) /* what a thread reads at once: few enough streams for the prefetchers */
#define RUN_BYTES (256 * MIB)     /* of one run, at most */
#define TRIES 5
#define RUN_NS 25000000u          /* of a run of arithmetic, */
#define RUN_PIECES 64u            /* in so many pieces a thread: short ones, so that threads end together */

/* ---- statistics ---- */

void lv_rates_add(struct lv_rates *r, double v)
{
    if (r->n < LV_RATES_MAX)
        r->v[r->n++] = v;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct lever_rate lv_rates_sum(const struct lv_rates *r)
{
    struct lv_rates s = *r;

    if (!s.n)
        return (struct lever_rate){ 0 };
    qsort(s.v, s.n, sizeof s.v[0], by_size);
    return (struct lever_rate){ .median = (s.v[(s.n - 1) / 2] + s.v[s.n / 2]) / 2,
                                .low = s.v[0],
                                .high = s.v[s.n - 1],
                                .n = s.n };
}

/* ---- runs on all threads ---- */

/* Threads take pieces until none is left. */
struct run {
    const struct lv_raw *r;
    uint64_t (*loop)(uint64_t n); /* arithmetic; NULL: memory */
    uint64_t rounds;              /* of a piece */
    uint64_t first, n_piece, ahead;
    _Atomic uint64_t next, sink;  /* sink: keeps the loops' results in use */
};

static void worker_main(void *arg, unsigned worker)
{
    struct run *run = arg;
    const uint64_t n_block = run->r->block_bytes / PIECE_BYTES;
    uint64_t i, sum = 0;

    (void)worker;
    while ((i = atomic_fetch_add(&run->next, 1)) < run->n_piece)
        sum += run->loop ? run->loop(run->rounds)
                         : run->r->probe.read(run->r->block + (run->first + i) % n_block * PIECE_BYTES, PIECE_BYTES,
                                              run->ahead);
    atomic_fetch_add(&run->sink, sum);
}

static double seconds_of(struct lv_raw *r, struct run *run)
{
    const uint64_t t0 = lv_now_ns();

    run->r = r;
    atomic_store(&run->next, 0);
    lv_pool_run(r->pool, worker_main, run);
    return lv_seconds(lv_now_ns() - t0 + 1);
}

static double dram_rate(struct lv_raw *r)
{
    static const uint64_t ahead[] = { 0, 1024, 4096 }; /* which one wins differs between machines */
    const uint64_t n = (r->block_bytes < RUN_BYTES ? r->block_bytes : RUN_BYTES) / PIECE_BYTES;
    double best = 0;

    for (int t = 0; t < TRIES; t++) {
        for (unsigned i = 0; i < sizeof ahead / sizeof ahead[0]; i++) {
            struct run run = { .first = r->at, .n_piece = n, .ahead = ahead[i] };
            const double rate = (double)(n * PIECE_BYTES) / seconds_of(r, &run);

            r->at = (r->at + n) % (r->block_bytes / PIECE_BYTES);
            best = rate > best ? rate : best;
        }
    }
    return best;
}

/* Rounds a second of a loop, all threads together. */
static double loop_rate(struct lv_raw *r, uint64_t (*loop)(uint64_t n))
{
    struct run run = { .loop = loop, .rounds = 16, .n_piece = RUN_PIECES * lv_pool_n(r->pool) };
    double best = 0;

    /* Whole runs, not single pieces: waking the threads takes as long as many a piece. */
    while (seconds_of(r, &run) < RUN_NS * 1e-9 && run.rounds < UINT64_C(1) << 40)
        run.rounds *= 2;
    for (int t = 0; t < TRIES; t++) {
        const double rate = (double)run.n_piece * (double)run.rounds / seconds_of(r, &run);

        best = rate > best ? rate : best;
    }
    return best;
}

/* ---- the measurement ---- */

uint64_t lv_raw_block_bytes(uint64_t want)
{
    const uint64_t have = lv_memory_available();

    if (have != LEVER_MEMORY_UNLIMITED && want > have / 4)
        want = have / 4;
    want = lv_round_down(want, MIB);
    return want ? want : MIB;
}

void lv_raw_init(struct lv_raw *r, struct lv_pool *pool, uint32_t cpu_flags, const uint8_t *block, uint64_t block_bytes)
{
    memset(r, 0, sizeof *r);
    r->pool = pool;
    r->block = block;
    r->block_bytes = block_bytes;
    lv_probe_init(&r->probe, cpu_flags);
}

void lv_raw_take(struct lv_raw *r)
{
    lv_rates_add(&r->dram, dram_rate(r));
    lv_rates_add(&r->mac, loop_rate(r, r->probe.mac) * r->probe.mac_per_round);
    lv_rates_add(&r->fma, loop_rate(r, r->probe.fma) * r->probe.fma_per_round);
}

void lv_raw_report(const struct lv_raw *r, struct lever_raw *out)
{
    out->dram = lv_rates_sum(&r->dram);
    out->peak_mac = lv_rates_sum(&r->mac);
    out->fma = lv_rates_sum(&r->fma);
    out->mac_instruction = r->probe.mac_name;
    out->fma_instruction = r->probe.fma_name;
    out->block_bytes = r->block_bytes;
    out->n_threads = lv_pool_n(r->pool);
}
