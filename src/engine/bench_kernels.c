/* lever_bench_kernels: matmuls, packing and attention, with raw rates taken all the while. */
#include "engine/bench_kernels.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cpu/cpu.h"
#include "engine/engine.h"
#include "engine/probe.h"
#include "kern/gemm_list.h"
#include "kern/r32.h"
#include "model/exec.h"

#define BLOCK_BYTES (UINT64_C(1) << 30)
#define RUN_SECONDS 0.06
#define RUNS 5
#define N_POS 1024u    /* attention: positions of a head */
#define HEAD_DIM 128u
#define CACHE_BYTES (UINT64_C(32) << 20) /* K or V of a model of this size at that context */

static const enum lv_type all_types[] = {
#define LV_X(TYPE, name) LV_TYPE_##TYPE,
    LV_KERN_TYPES(LV_X)
#undef LV_X
};
#define N_TYPES (sizeof all_types / sizeof all_types[0])

static const uint32_t default_rows[] = { 1, 4, 8, 16, 32, 64 };
static const uint32_t default_shape[][2] = { { 8960, 1536 }, { 1536, 8960 } };

struct bench {
    struct lever_bench_kernels_options opt; /* defaults filled in */
    enum lv_type type[N_TYPES];
    size_t n_type;
    struct lv_kern kern;
    struct lv_pool *pool;
    uint8_t *block;
    uint64_t block_bytes;
    struct lv_raw raw;
    struct lever_kernel_case *c; /* [n_case], owned */
    size_t n_case, cap_case;
    uint64_t n_done, n_step;     /* for progress */
};

void lever_bench_kernels_default(struct lever_bench_kernels_options *opt, size_t size)
{
    const struct lever_bench_kernels_options d = { .size = sizeof d };

    memset(opt, 0, size);
    memcpy(opt, &d, size < sizeof d ? size : sizeof d);
    opt->size = size;
}

static enum lever_status take_options(struct bench *b, const struct lever_bench_kernels_options *opt,
                                      struct lever_error *err)
{
    struct lever_bench_kernels_options *o = &b->opt;

    lever_bench_kernels_default(o, sizeof *o);
    memcpy(o, opt, opt->size < sizeof *o ? opt->size : sizeof *o);
    if (!o->n_rows) {
        o->rows = default_rows;
        o->n_rows = sizeof default_rows / sizeof default_rows[0];
    }
    if (!o->n_shape) {
        o->shape = default_shape;
        o->n_shape = sizeof default_shape / sizeof default_shape[0];
    }
    o->block_bytes = o->block_bytes ? o->block_bytes : BLOCK_BYTES;
    o->run_seconds = o->run_seconds > 0 ? o->run_seconds : RUN_SECONDS;
    for (size_t i = 0; i < o->n_rows; i++)
        if (!o->rows[i] || o->rows[i] > LV_EXEC_MAX_ROWS)
            return LV_FAIL(err, LEVER_E_ARG, "rows: found %u, expected 1..%d", o->rows[i], LV_EXEC_MAX_ROWS);
    for (size_t i = 0; i < o->n_shape; i++)
        if (o->shape[i][0] > 1u << 20 || o->shape[i][1] > 1u << 20)
            return LV_FAIL(err, LEVER_E_ARG, "shape: found %u x %u, expected at most 1048576 each", o->shape[i][0],
                           o->shape[i][1]);
    if (o->n_type > N_TYPES)
        return LV_FAIL(err, LEVER_E_ARG, "types: %zu named, there are %zu", o->n_type, N_TYPES);
    for (size_t i = 0; i < o->n_type; i++) {
        char list[128] = "";

        b->type[i] = lv_bench_type(o->type[i]);
        if (b->type[i] != (enum lv_type)LV_TYPE_MAX)
            continue;
        for (size_t k = 0; k < N_TYPES; k++)
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", k ? ", " : "", lv_bench_type_name(all_types[k]));
        return LV_FAIL(err, LEVER_E_ARG, "types: found \"%.40s\", expected some of %s", o->type[i], list);
    }
    b->n_type = o->n_type;
    if (!b->n_type) {
        memcpy(b->type, all_types, sizeof all_types);
        b->n_type = N_TYPES;
    }
    return LEVER_OK;
}

static void step(struct bench *b, const char *what)
{
    if (b->opt.progress)
        b->opt.progress(b->opt.user, what, ++b->n_done, b->n_step);
}

static void add_case(struct bench *b, struct lever_kernel_case c)
{
    c.size = sizeof c;
    c.level = b->kern.level;
    if (b->n_case < b->cap_case)
        b->c[b->n_case++] = c;
}

/* ---- matmul ---- */

static enum lever_status bench_matmul(struct bench *b, enum lv_type type, const uint32_t shape[2], struct lever_error *err)
{
    const double weights = (double)shape[0] * shape[1];
    struct lv_bench_matmul *m = NULL;
    enum lever_status st = LEVER_OK;
    uint32_t max_rows = 0;

    for (size_t i = 0; i < b->opt.n_rows; i++)
        max_rows = b->opt.rows[i] > max_rows ? b->opt.rows[i] : max_rows;
    LV_TRY(lv_bench_matmul_new(&m, &b->kern, b->pool, type, shape[0], shape[1], max_rows, b->block, b->block_bytes, err));
    for (size_t i = 0; i < b->opt.n_rows && st >= 0; i++) {
        double s;

        st = lv_bench_matmul_time(m, b->opt.rows[i], b->opt.run_seconds, &s, err);
        if (st >= 0)
            add_case(b, (struct lever_kernel_case){ .op = LEVER_KERNEL_MATMUL,
                                                    .type = lv_bench_type_name(type),
                                                    .rows = b->opt.rows[i],
                                                    .n_out = shape[0],
                                                    .n_in = shape[1],
                                                    .seconds = s,
                                                    .bytes_per_s = (double)shape[0] * (double)lv_row_bytes(type, shape[1]) / s,
                                                    .mac_per_s = weights * b->opt.rows[i] / s });
        step(b, "matmul");
    }
    lv_bench_matmul_free(m);
    return st;
}

/* ---- packing ---- */

/* Packs groups one after the other out of the block into one tile, as a worker does with a ring slot. */
double lv_bench_pack_time(const struct lv_kern *k, enum lv_type type, uint32_t n_in, const uint8_t *block,
                          uint64_t block_bytes, double run_seconds)
{
    const uint64_t group = lv_group_bytes(type, n_in), n_block = block_bytes / group;
    uint8_t *tile = n_block ? lv_region_new(group, false) : NULL;
    uint64_t at = 0, n = 1;
    double best = 0;

    if (!tile)
        return 0;
    for (int run = -1; run < RUNS;) {
        const uint64_t t0 = lv_now_ns();

        for (uint64_t i = 0; i < n; i++, at = (at + 1) % n_block)
            k->pack[type](tile, block + at * group, LV_GROUP_ROWS, n_in);
        const double s = lv_seconds(lv_now_ns() - t0 + 1);

        if (run < 0 && s < run_seconds) {
            n *= 2;
            continue;
        }
        best = run <= 0 || s / (double)n < best ? s / (double)n : best;
        run++;
    }
    lv_region_free(tile, group);
    return best;
}

static enum lever_status bench_pack(struct bench *b, enum lv_type type, const uint32_t shape[2], struct lever_error *err)
{
    const double s = lv_bench_pack_time(&b->kern, type, shape[1], b->block, b->block_bytes, b->opt.run_seconds);

    if (!(s > 0))
        return LV_FAIL(err, LEVER_E_NOMEM, "bench: a tile of 32 x %u", shape[1]);
    add_case(b, (struct lever_kernel_case){ .op = LEVER_KERNEL_PACK,
                                            .type = lv_bench_type_name(type),
                                            .n_out = shape[0],
                                            .n_in = shape[1],
                                            .seconds = s * shape[0] / LV_GROUP_ROWS,
                                            .bytes_per_s = (double)lv_group_bytes(type, shape[1]) / s });
    return LEVER_OK;
}

/* ---- attention ---- */

/* Heads of a KV cache, taken by whoever is free. */
struct attention {
    const struct bench *b;
    bool pv;
    uint32_t n_q;
    float *in, *out; /* [worker][n_q][N_POS or HEAD_DIM] */
    uint64_t n_head, first;
    _Atomic uint64_t next;
};

#define HEAD_BYTES ((uint64_t)N_POS * HEAD_DIM * sizeof(uint16_t))

static void attention_main(void *arg, unsigned worker)
{
    struct attention *a = arg;
    const struct lv_kern *k = &a->b->kern;
    const uint64_t room = a->b->block_bytes < CACHE_BYTES ? a->b->block_bytes : CACHE_BYTES, n_cache = room / HEAD_BYTES;
    float *in = a->in + (size_t)worker * a->n_q * N_POS, *out = a->out + (size_t)worker * a->n_q * N_POS;
    uint64_t i;

    while ((i = atomic_fetch_add(&a->next, 1)) < a->n_head) {
        const uint16_t *kv = (const uint16_t *)(const void *)(a->b->block + (a->first + i) % n_cache * HEAD_BYTES);

        if (a->pv)
            k->attn_pv(out, HEAD_DIM, in, N_POS, a->n_q, kv, HEAD_DIM, HEAD_DIM, N_POS);
        else
            k->attn_qk(out, N_POS, in, HEAD_DIM, a->n_q, kv, HEAD_DIM, N_POS / LV_KV_BLOCK, 0.088388348f);
    }
}

static enum lever_status bench_attention(struct bench *b, bool pv, uint32_t n_q, struct lever_error *err)
{
    const uint64_t floats = (uint64_t)lv_pool_n(b->pool) * n_q * N_POS, bytes = 2 * floats * sizeof(float);
    float *memory = lv_region_new(bytes, false);
    struct attention a = { .b = b, .pv = pv, .n_q = n_q, .n_head = lv_pool_n(b->pool), .in = memory };
    double best = 0, s;

    if (!memory)
        return LV_FAIL(err, LEVER_E_NOMEM, "bench: scores of %llu bytes", (unsigned long long)bytes);
    a.out = memory + floats;
    for (uint64_t i = 0; i < floats; i++)
        a.in[i] = 1e-3f;
    for (int run = -1; run < RUNS;) {
        const uint64_t t0 = lv_now_ns();

        atomic_store(&a.next, 0);
        lv_pool_run(b->pool, attention_main, &a);
        a.first += a.n_head;
        s = lv_seconds(lv_now_ns() - t0 + 1);
        if (run < 0 && s < b->opt.run_seconds) {
            a.n_head *= 2;
            continue;
        }
        s /= (double)a.n_head;
        best = run <= 0 || s < best ? s : best;
        run++;
    }
    lv_region_free(memory, bytes);
    add_case(b, (struct lever_kernel_case){ .op = pv ? LEVER_KERNEL_PV : LEVER_KERNEL_QK,
                                            .type = "f16",
                                            .rows = n_q,
                                            .n_out = N_POS,
                                            .n_in = HEAD_DIM,
                                            .seconds = best,
                                            .bytes_per_s = (double)HEAD_BYTES / best,
                                            .mac_per_s = (double)n_q * N_POS * HEAD_DIM / best });
    return LEVER_OK;
}

/* ---- all of it ---- */

static enum lever_status run_cases(struct bench *b, struct lever_error *err)
{
    lv_raw_take(&b->raw);
    for (size_t t = 0; t < b->n_type; t++) {
        for (size_t s = 0; s < b->opt.n_shape; s++) {
            LV_TRY(bench_matmul(b, b->type[t], b->opt.shape[s], err));
            lv_raw_take(&b->raw);
        }
    }
    for (size_t t = 0; t < b->n_type; t++) {
        LV_TRY(bench_pack(b, b->type[t], b->opt.shape[0], err));
        step(b, "pack");
    }
    lv_raw_take(&b->raw);
    for (int pv = 0; pv <= 1; pv++) {
        for (size_t i = 0; i < b->opt.n_rows; i++) {
            LV_TRY(bench_attention(b, pv, b->opt.rows[i], err));
            step(b, "attention");
        }
        lv_raw_take(&b->raw);
    }
    return LEVER_OK;
}

static void hand_out(struct bench *b, const struct lever_raw *raw)
{
    for (size_t i = 0; i < b->n_case; i++) {
        struct lever_kernel_case *c = &b->c[i];
        const bool in_float = c->op != LEVER_KERNEL_MATMUL || lv_r32_is_float(lv_bench_type(c->type));

        c->share_dram = c->bytes_per_s / raw->dram.median;
        c->share_peak = c->mac_per_s / (in_float ? raw->fma.median : raw->peak_mac.median);
        if (b->opt.on_case)
            b->opt.on_case(b->opt.user, c);
    }
}

enum lever_status lever_bench_kernels(const struct lever_bench_kernels_options *opt, struct lever_raw *raw,
                                      struct lever_error *err)
{
    if (!opt || !raw || raw->size < sizeof raw->size)
        return LV_FAIL(err, LEVER_E_ARG, "lever_bench_kernels: opt (made by lever_bench_kernels_default) and raw, with its size "
                       "set, are required");
    struct bench *b = LV_NEW(struct bench);
    enum lever_status st;

    if (!b)
        return LV_FAIL(err, LEVER_E_NOMEM, "bench: %zu bytes", sizeof *b);
    if ((st = take_options(b, opt, err)) < 0 || (st = lv_engine_kernels(&b->kern, b->opt.cpu_level, err)) < 0 ||
        (st = lv_pool_new(&b->pool, b->opt.n_threads, err)) < 0)
        goto out;
    b->n_step = b->n_type * b->opt.n_shape * b->opt.n_rows + b->n_type + 2 * b->opt.n_rows;
    b->cap_case = b->n_step;
    b->c = LV_NEW_ARRAY(struct lever_kernel_case, b->cap_case);
    b->block_bytes = lv_raw_block_bytes(b->opt.block_bytes);
    b->block = lv_region_new(b->block_bytes, true);
    if (!b->c || !b->block) {
        st = LV_FAIL(err, LEVER_E_NOMEM, "bench: a block of %llu bytes to cycle through",
                     (unsigned long long)b->block_bytes);
        goto out;
    }
    memset(b->block, LV_BENCH_FILL, b->block_bytes);
    /* The peak is the machine's, whatever level of kernels is asked for. */
    lv_raw_init(&b->raw, b->pool, lv_cpu_detect(), b->block, b->block_bytes);
    if ((st = run_cases(b, err)) < 0)
        goto out;
    struct lever_raw r = { 0 };
    const size_t size = raw->size < sizeof r ? raw->size : sizeof r;

    lv_raw_report(&b->raw, &r);
    r.size = raw->size;
    memcpy(raw, &r, size);
    hand_out(b, &r);
out:
    lv_pool_free(b->pool);
    lv_region_free(b->block, b->block_bytes);
    lv_free(b->c);
    lv_free(b);
    return st;
}
