/* --bench of the matmul and packing kernels: N = 8960 rows of K = 1536, cycling through a block of memory far larger
 * than the caches of a core, each figure beside the raw read rate of the same run. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "kern/gemm_list.h"
#include "kern/kt.h"

#define N_COLS 1536u
#define MAX_TOK 32u
#define MAX_THREAD 2u
#define BLOCK_BYTES (UINT64_C(384) << 20)
#define PIECE_BYTES (UINT64_C(12) << 20) /* one call of run */
#define SLICE_NS 40000000u
#define N_ROUND 5 /* every case once a round, the best counts: other work on the machine only slows */

struct job {
    void (*run)(struct job *j);
    uint8_t *mem;               /* this thread's share */
    uint64_t bytes;             /* of the share */
    uint64_t done_bytes, ns, round;
    lv_gemm_fn *gemm;
    lv_pack_fn *pack;
    enum lv_type type;
    const struct lv_act *x;
    uint32_t n_tok;
    volatile uint64_t sink;
};

static void run_read(struct job *j)
{
    const uint64_t *p = (const uint64_t *)(const void *)j->mem;
    uint64_t s[4] = { 0 };

    for (uint64_t i = 0; i + 8 <= j->bytes / 8; i += 8) {
        __builtin_prefetch(p + i + 384);
        for (uint32_t k = 0; k < 4; k++)
            s[k] += p[i + k] ^ p[i + 4 + k];
    }
    j->sink = s[0] + s[1] + s[2] + s[3];
    j->done_bytes += j->bytes;
}

static void run_gemm(struct job *j)
{
    const uint64_t g = lv_group_bytes(j->type, N_COLS);
    static _Thread_local float y[MAX_TOK * LV_GROUP_ROWS];

    for (uint64_t i = 0; i + g <= j->bytes; i += g) {
        j->gemm(y, LV_GROUP_ROWS, j->mem + i, j->x, 0, j->n_tok);
        j->done_bytes += g;
    }
}

static void run_pack(struct job *j)
{
    const uint64_t g = lv_group_bytes(j->type, N_COLS);
    static _Thread_local uint8_t out[N_COLS * 4 * LV_GROUP_ROWS];

    for (uint64_t i = 0; i + g <= j->bytes; i += g) {
        j->pack(out, j->mem + i, LV_GROUP_ROWS, N_COLS);
        j->done_bytes += g;
    }
}

static void *thread_main(void *arg)
{
    struct job *j = arg;
    uint8_t *share = j->mem;
    const uint64_t n_piece = j->bytes / PIECE_BYTES, t0 = lv_now_ns();

    j->bytes = PIECE_BYTES;
    for (uint64_t i = j->round * 7; j->ns < SLICE_NS; i++) {
        j->mem = share + i % n_piece * PIECE_BYTES;
        j->run(j);
        j->ns = lv_now_ns() - t0;
    }
    return NULL;
}

/* Bytes a second of all threads together. */
static double rate(const struct job *tmpl, uint8_t *mem, uint32_t n_thread)
{
    struct job j[MAX_THREAD];
    pthread_t th[MAX_THREAD];
    double sum = 0;

    for (uint32_t i = 0; i < n_thread; i++) {
        j[i] = *tmpl;
        j[i].bytes = BLOCK_BYTES / n_thread;
        j[i].mem = mem + j[i].bytes * i;
        if (pthread_create(&th[i], NULL, thread_main, &j[i])) {
            fprintf(stderr, "bench: no thread\n");
            abort();
        }
    }
    for (uint32_t i = 0; i < n_thread; i++) {
        pthread_join(th[i], NULL);
        sum += (double)j[i].done_bytes / lv_seconds(j[i].ns);
    }
    return sum;
}

static void bench_type(const struct lv_kern *k, enum lv_type type, uint8_t *mem, const struct lv_act *x)
{
    static const uint32_t toks[] = { 1, 4, 8, 16, 32 };
    const double row_bytes = (double)lv_row_bytes(type, N_COLS);

    for (uint32_t th = 1; th <= MAX_THREAD; th++) {
        double best[7] = { 0 };

        for (uint32_t round = 0; round < N_ROUND; round++)
            for (uint32_t i = 0; i < 7; i++) {
                struct job j = { .type = type, .x = x, .round = round };
                double r;

                if (i < 5) {
                    j.run = run_gemm;
                    j.gemm = k->gemm[type];
                    j.n_tok = toks[i];
                } else {
                    j.run = i == 5 ? run_pack : run_read;
                    j.pack = k->pack[type];
                }
                r = rate(&j, mem, th);
                best[i] = r > best[i] ? r : best[i];
            }
        printf("%-10s %-5s %u thr, raw %5.2f GB/s: 1 row %5.2f GB/s, %.2f of raw;", k->level, lv_type_name(type), th,
               best[6] * 1e-9, best[0] * 1e-9, best[0] / best[6]);
        for (uint32_t i = 1; i < 5; i++)
            printf(" %u: %.2f x time, %.0f GMAC/s;", toks[i], best[0] / best[i],
                   best[i] / row_bytes * N_COLS * toks[i] * 1e-9);
        printf(" pack %5.2f GB/s\n", best[5] * 1e-9);
        fflush(stdout);
    }
}

void kt_bench_gemm(void)
{
    uint8_t *mem = lv_region_new(BLOCK_BYTES, true);

    if (!mem) {
        printf("no memory for %" PRIu64 " bytes\n", BLOCK_BYTES);
        return;
    }
    memset(mem, 0x11, BLOCK_BYTES); /* a scale of 6e-4 in f16, small in f32 and bf16: no NaN, no subnormals */
    kt_reseed(0);
    const struct lv_act x = kt_act(MAX_TOK, N_COLS, KT_X_RANDOM);

    for (uint32_t l = 0; l < kt.n_level; l++) {
        if (kt.only_level ? strcmp(kt.only_level, kt.level[l].level) != 0 : l + 1 < kt.n_level)
            continue;
#define LV_X(TYPE, name)                                     \
    if (!kt.only_type || !strcmp(kt.only_type, #name))       \
        bench_type(&kt.level[l], LV_TYPE_##TYPE, mem, &x);
        LV_KERN_TYPES(LV_X)
#undef LV_X
    }
    kt_free_all();
    lv_region_free(mem, BLOCK_BYTES);
}
