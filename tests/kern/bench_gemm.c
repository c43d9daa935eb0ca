/* --bench of the matmul and packing kernels: rows of K = 1536 (--cols), cycling through a block of memory far larger
 * than the caches of a core, each figure beside raw ones of the same round: bytes read, copied, int8 products.
 *
 * --level NAME,NAME compares levels, --type q4_k,q6_k picks types, --threads N, --rows N,N the tokens. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cpu/cpu.h"
#include "kern/gemm_list.h"
#include "kern/kt.h"
#include "kern/probe.h"

#define MAX_COLS 16384u
#define MAX_TOK 128u
#define MAX_THREAD 2u
#define BLOCK_BYTES (UINT64_C(384) << 20)
#define PIECE_BYTES (UINT64_C(12) << 20) /* one call of run */
#define SLICE_NS 25000000u
#define N_ROUND 7 /* every case once a round; medians */
#define CAP_TOK 8u
#define CAP_CASE 64u

struct job {
    void (*run)(struct job *j);
    uint8_t *mem;           /* this thread's share */
    uint64_t bytes;         /* of the share */
    uint64_t ns, round;
    double done;            /* bytes, or products */
    const struct lv_kern *k;
    enum lv_type type;
    const struct lv_act *x;
    uint32_t n_tok;
    const struct lv_probe *probe;
    volatile uint64_t sink;
};

static void run_read(struct job *j)
{
    j->sink += j->probe->read(j->mem, j->bytes, 3072);
    j->done += (double)j->bytes;
}

static void run_peak(struct job *j)
{
    j->sink += j->probe->mac(100000);
    j->done += 100000.0 * j->probe->mac_per_round;
}

static void run_gemm(struct job *j)
{
    const uint64_t g = lv_group_bytes(j->type, j->x->n_cols);
    static _Thread_local float y[MAX_TOK * LV_GROUP_ROWS];

    for (uint64_t i = 0; i + g <= j->bytes; i += g) {
        j->k->gemm[j->type](y, LV_GROUP_ROWS, j->mem + i, j->x, 0, j->n_tok);
        j->done += (double)g;
    }
}

static uint8_t *out_of(void)
{
    static _Thread_local uint8_t out[MAX_COLS * 4 * LV_GROUP_ROWS];

    return out;
}

static void run_pack(struct job *j)
{
    const uint64_t g = lv_group_bytes(j->type, j->x->n_cols);

    for (uint64_t i = 0; i + g <= j->bytes; i += g) {
        j->k->pack[j->type](out_of(), j->mem + i, LV_GROUP_ROWS, j->x->n_cols);
        j->done += (double)g;
    }
}

static void run_copy(struct job *j)
{
    const uint64_t g = lv_group_bytes(j->type, j->x->n_cols);

    for (uint64_t i = 0; i + g <= j->bytes; i += g) {
        memcpy(out_of(), j->mem + i, g);
        __asm__ volatile("" : : "r"(out_of()) : "memory");
        j->done += (double)g;
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

/* Work a second of all threads together. */
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
        sum += j[i].done / lv_seconds(j[i].ns);
    }
    return sum;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Median over the rounds of a, divided by b if given. */
static double median(const double a[N_ROUND], const double b[N_ROUND])
{
    double v[N_ROUND];

    for (uint32_t i = 0; i < N_ROUND; i++)
        v[i] = b ? a[i] / b[i] : a[i];
    qsort(v, N_ROUND, sizeof v[0], by_value);
    return v[N_ROUND / 2];
}

/* name is in the comma-separated list, or there is no list. */
static bool listed(const char *list, const char *name)
{
    const size_t n = strlen(name);

    for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (!strncmp(p, name, n) && (p[n] == ',' || !p[n]))
            return true;
    return !list;
}

static void bench_type(enum lv_type type, uint8_t *mem, const struct lv_act *x, const struct lv_probe *probe,
                       const uint32_t *toks, uint32_t n_tok, uint32_t th)
{
    static double r[CAP_CASE][N_ROUND], raw[3][N_ROUND]; /* read, copy, peak */
    const double mac_per_byte = (double)x->n_cols / (double)lv_row_bytes(type, x->n_cols);
    const uint32_t n_case = n_tok + 1; /* of a level: the last is packing */

    for (uint32_t round = 0; round < N_ROUND; round++) {
        struct job j = { .type = type, .x = x, .round = round, .probe = probe };
        void (*const runs[3])(struct job *) = { run_read, run_copy, run_peak };

        for (uint32_t i = 0; i < 3; i++) {
            j.run = runs[i];
            raw[i][round] = rate(&j, mem, th);
        }
        for (uint32_t i = 0; i < n_case; i++) /* levels beside each other */
            for (uint32_t l = 0; l < kt.n_level; l++) {
                if (kt.only_level ? !listed(kt.only_level, kt.level[l].level) : l != kt.best)
                    continue;
                j.k = &kt.level[l];
                j.run = i < n_tok ? run_gemm : run_pack;
                j.n_tok = i < n_tok ? toks[i] : 0;
                r[l * n_case + i][round] = rate(&j, mem, th);
            }
    }
    printf("%s, %u columns, %u threads: read %.1f GB/s, copy %.1f GB/s, %s %.0f GMAC/s\n", lv_type_name(type), x->n_cols,
           th, median(raw[0], NULL) * 1e-9, median(raw[1], NULL) * 1e-9, probe->mac_name, median(raw[2], NULL) * 1e-9);
    for (uint32_t l = 0; l < kt.n_level; l++) {
        const double (*c)[N_ROUND] = (const double (*)[N_ROUND])r + l * n_case;

        if (kt.only_level ? !listed(kt.only_level, kt.level[l].level) : l != kt.best)
            continue;
        printf("  %-10s", kt.level[l].level);
        for (uint32_t i = 0; i < n_tok; i++)
            printf(" | %u: %.2f time, %.2f read, %.0f GMAC/s, %.2f peak", toks[i], median(c[0], c[i]),
                   median(c[i], raw[0]), median(c[i], NULL) * mac_per_byte * toks[i] * 1e-9,
                   median(c[i], raw[2]) * mac_per_byte * toks[i]);
        printf(" | pack %.1f GB/s, %.2f copy\n", median(c[n_tok], NULL) * 1e-9, median(c[n_tok], raw[1]));
    }
    fflush(stdout);
}

void kt_bench_gemm(void)
{
    uint8_t *mem = lv_region_new(BLOCK_BYTES, true);
    uint32_t toks[CAP_TOK], n_tok = 0;
    struct lv_probe probe;

    if (!mem) {
        printf("no memory for %" PRIu64 " bytes\n", BLOCK_BYTES);
        return;
    }
    for (const char *p = kt.rows ? kt.rows : "1,4,8,16,32,64"; p && n_tok < CAP_TOK;) {
        const unsigned long v = strtoul(p, NULL, 10);

        toks[n_tok++] = v < 1 ? 1 : v > MAX_TOK ? MAX_TOK : (uint32_t)v;
        p = strchr(p, ',');
        p = p ? p + 1 : NULL;
    }
    lv_probe_init(&probe, lv_cpu_detect());
    memset(mem, 0x11, BLOCK_BYTES); /* a scale of 6e-4 in f16, small in f32 and bf16: no NaN, no subnormals */
    kt_reseed(0);
    const uint32_t n_cols = kt.n_cols >= 256 && kt.n_cols <= MAX_COLS ? kt.n_cols / 256 * 256 : 1536;
    const struct lv_act x = kt_act(MAX_TOK, n_cols, KT_X_RANDOM);

#define LV_X(TYPE, name)                                                                          \
    for (uint32_t th = 1; th <= MAX_THREAD && listed(kt.only_type, #name); th++)                  \
        if (!kt.n_thread || kt.n_thread == th)                                                    \
            bench_type(LV_TYPE_##TYPE, mem, &x, &probe, toks, n_tok, th);
    LV_KERN_TYPES(LV_X)
#undef LV_X
    kt_free_all();
    lv_region_free(mem, BLOCK_BYTES);
}
