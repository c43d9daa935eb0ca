/* Plans, raw rates and benches on a small model: what they count is checked against independent sums,
 * what they time only for being there.
 *
 * usage: test_measure FOLDER */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "cpu/cpu.h"
#include "engine/bench_kernels.h"
#include "engine/plan.h"
#include "engine/plan_kit.h"
#include "engine/probe.h"

static char model[600], draft[600], vocabulary[600];
static const char *folder;

static const struct tiny_spec spec = { .arch = LV_ARCH_LLAMA, .n_layer = 6, .n_embd = 512, .n_ff = 1536, .n_head = 8,
                                       .n_vocab = 320, .type = TINY_ALL(LV_TYPE_Q8_0), .seed = 3 };
#define MACS_PER_ROW (6u * (4u * 512 * 512 + 3u * 512 * 1536))
#define HEAD_BYTES (320u * 512 / 32 * 34)
#define MATRIX_BYTES ((uint64_t)MACS_PER_ROW / 32 * 34 + HEAD_BYTES)

static int setup(void **state)
{
    struct tiny_spec d = spec;

    (void)state;
    snprintf(model, sizeof model, "%s/measure.gguf", folder);
    snprintf(draft, sizeof draft, "%s/measure_draft.gguf", folder);
    snprintf(vocabulary, sizeof vocabulary, "%s/measure_small.gguf", folder);
    d.n_layer = 1;
    return kit_write(&spec, model) < 0 ? -1 : kit_write(&d, draft);
}

static int teardown(void **state)
{
    (void)state;
    unlink(model);
    unlink(draft);
    return 0;
}

static struct lever_options options(uint64_t memory)
{
    return kit_options(model, memory);
}

static struct lever_plan_report plan_ok(const struct lever_options *o)
{
    struct lever_plan_report r = { .size = sizeof r };
    struct lever_error err = { 0 };
    uint64_t sum = 0;

    if (lever_plan(o, &r, &err) < 0)
        fail_msg("%s", err.message);
    for (uint32_t i = 0; i < r.n_item; i++) {
        assert_non_null(r.item[i].name);
        sum += r.item[i].bytes;
    }
    assert_int_equal(sum, r.total);
    return r;
}

static uint64_t least(const struct lever_options *opt)
{
    struct lever_plan_report r = { .size = sizeof r };
    struct lever_options o = *opt;
    struct lever_error err = { 0 };

    o.memory_bytes = MIB;
    assert_int_equal(lever_plan(&o, &r, &err), LEVER_E_BUDGET);
    assert_true(err.least_memory > MIB && err.least_memory % MIB == 0);
    assert_int_equal(r.n_item, 0); /* untouched */
    return err.least_memory;
}

/* ---- plans ---- */

static void test_plan_resident(void **state)
{
    struct lever_options o = options(LEVER_MEMORY_UNLIMITED);

    (void)state;
    o.draft_path = draft;
    const struct lever_plan_report r = plan_ok(&o);

    assert_int_equal(r.streamed_bytes, 0);
    assert_int_equal(r.n_slot, 0);
    assert_int_equal(r.pinned_bytes, MATRIX_BYTES);
    assert_int_equal(r.macs_per_row, MACS_PER_ROW);
    assert_int_equal(r.head_bytes, HEAD_BYTES);
    assert_int_equal(r.draft_bytes, MACS_PER_ROW / 6 / 32 * 34 + HEAD_BYTES);
    assert_true(r.uses_draft && r.n_draft > 0);
    assert_int_equal(r.n_ctx, 256);
    assert_int_equal(r.n_threads, 2);
    assert_int_equal(r.least, 0);
}

/* Less memory streams more, never less; nothing is lost on the way; the plan stays within the budget. */
static void test_plan_budgets(void **state)
{
    struct lever_options o = options(MIB);
    const uint64_t first = least(&o);
    uint64_t before = UINT64_MAX;
    bool streamed = false, resident = false;

    (void)state;
    for (uint64_t m = first + 2 * MIB; m < first + 64 * MIB; m += 5 * MIB) {
        o.memory_bytes = m;
        const struct lever_plan_report r = plan_ok(&o);

        assert_int_equal(r.pinned_bytes + r.streamed_bytes, MATRIX_BYTES);
        assert_true(r.streamed_bytes <= before);
        assert_true(r.total <= m);
        assert_true(r.least <= m && r.least + 4 * MIB > first);
        assert_int_equal(r.streamed_bytes > 0, r.n_slot > 0);
        if (r.streamed_bytes)
            assert_true(r.n_slot >= 1 && r.ring_bytes >= r.n_slot * (uint64_t)64 * 1024);
        streamed = streamed || r.streamed_bytes;
        resident = resident || !r.streamed_bytes;
        before = r.streamed_bytes;
    }
    assert_true(streamed && resident);
}

static double token_seconds(const struct lv_plan *p, double tokens, double draft_bytes)
{
    const double drafting = (tokens - 1.0) * draft_bytes / 30e9; /* half of it is exposed */

    return (fmax((double)p->streamed_bytes / 1.5e9, (double)MATRIX_BYTES / 30e9 + drafting / 2) + drafting / 2) / tokens;
}

/* With auto a draft has to be worth its memory by the rates of plan.c; asked for by name it is taken if it fits. */
static void test_plan_draft(void **state)
{
    struct lv_instance t = { 0 }, d = { 0 };
    struct lever_error err = { 0 };
    const double draft_bytes = (double)MACS_PER_ROW / 6 / 32 * 34 + HEAD_BYTES;
    unsigned kept = 0, dropped = 0;

    (void)state;
    assert_true(lv_instance_open(&t, model, &err) >= 0 && lv_instance_open(&d, draft, &err) >= 0);
    for (uint64_t m = 20 * MIB; m < 120 * MIB; m += MIB / 4) {
        struct lv_plan_input in = { .target = &t, .budget = m, .base_bytes = 4 * MIB, .n_worker = 2, .n_ctx = 256,
                                    .ring_bytes = MIB, .slot_bytes = 128 * 1024 };
        struct lv_plan alone, tree, chosen;

        if (lv_plan(&alone, &in, &err) < 0)
            continue;
        in.draft = &d;
        assert_true(lv_plan(&tree, &in, &err) >= 0);
        in.draft_must_win = true;
        assert_true(lv_plan(&chosen, &in, &err) >= 0);
        const bool wins = !tree.streamed_bytes || token_seconds(&tree, 5.0, draft_bytes) <= token_seconds(&alone, 1.0, 0.0);

        assert_int_equal(chosen.use_draft, tree.use_draft && wins);
        assert_int_equal(chosen.draft_loses, tree.use_draft && !wins);
        assert_true(chosen.total <= m && chosen.streamed_bytes == (wins ? tree : alone).streamed_bytes);
        kept += chosen.use_draft && tree.streamed_bytes;
        dropped += chosen.draft_loses;
    }
    lv_instance_close(&d);
    lv_instance_close(&t);
    print_message("draft kept in %u plans, left out of %u\n", kept, dropped);
    assert_true(kept && dropped);
}

/* What was planned is what lever_open does. The process grows a little in between, so budgets differ by that. */
static void test_plan_is_what_opens(void **state)
{
    struct lever_options o = options(MIB);
    struct lever_stats s = { .size = sizeof s };
    struct lever_error err = { 0 };
    lever_engine *e = NULL;

    (void)state;
    o.memory_bytes = least(&o) + 6 * MIB;
    const struct lever_plan_report r = plan_ok(&o);

    assert_true(r.streamed_bytes > 0);
    if (lever_open(&e, &o, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(lever_stats(e, NULL, &s), LEVER_OK);
    assert_int_equal(s.pinned_bytes + s.streamed_bytes_per_pass, r.pinned_bytes + r.streamed_bytes);
    assert_true(llabs((long long)s.streamed_bytes_per_pass - (long long)r.streamed_bytes) < (long long)(2 * MIB));
    assert_true(llabs((long long)s.memory_planned - (long long)r.total) < (long long)(2 * MIB));
    lever_close(e);
}

static void test_plan_allocates_little(void **state)
{
    const struct lever_options o = options(LEVER_MEMORY_UNLIMITED);

    (void)state;
    plan_ok(&o);
    const uint64_t peak = lv_peak_rss();

    for (int i = 0; i < 3; i++)
        plan_ok(&o);
    assert_true(lv_peak_rss() < peak + 4 * MIB); /* the weights alone are 21 */
}

static void test_plan_bad_calls(void **state)
{
    struct lever_options o = options(LEVER_MEMORY_UNLIMITED);
    struct lever_plan_report r = { .size = sizeof r };
    struct lever_error err = { 0 };

    (void)state;
    assert_int_equal(lever_plan(NULL, &r, &err), LEVER_E_ARG);
    assert_int_equal(lever_plan(&o, NULL, &err), LEVER_E_ARG);
    r.size = 0;
    assert_int_equal(lever_plan(&o, &r, &err), LEVER_E_ARG);
    r.size = sizeof r;
    o.target_path = "/nonexistent.gguf";
    assert_int_equal(lever_plan(&o, &r, &err), LEVER_E_IO);
    o = options(LEVER_MEMORY_UNLIMITED);
    o.cpu_level = "abacus";
    assert_int_equal(lever_plan(&o, &r, &err), LEVER_E_ARG);
}

/* ---- raw rates ---- */

static void test_rates(void **state)
{
    static const double v[] = { 5, 1, 9, 3 };
    struct lv_rates r = { .n = 0 };
    struct lever_rate s = lv_rates_sum(&r);

    (void)state;
    assert_int_equal(s.n, 0);
    for (int i = 0; i < 4; i++)
        lv_rates_add(&r, v[i]);
    s = lv_rates_sum(&r);
    assert_true(s.median == 4 && s.low == 1 && s.high == 9 && s.n == 4);
    lv_rates_add(&r, 2);
    s = lv_rates_sum(&r);
    assert_true(s.median == 3);
    for (int i = 0; i < 2 * LV_RATES_MAX; i++)
        lv_rates_add(&r, 7);
    assert_int_equal(r.n, LV_RATES_MAX);
}

/* Reading really reads: one bit anywhere changes what comes out. */
static void check_read(const struct lv_probe *p)
{
    struct lv_rng rng = { 5 };
    uint8_t *b = lv_alloc_zero(1, 64 * 100);

    assert_non_null(b);
    assert_int_equal(p->read(b, 64 * 100, 0), 0);
    for (int i = 0; i < 200; i++) {
        const uint64_t n = 64 * (uint64_t)(1 + lv_rng_below(&rng, 100)), at = lv_rng_below(&rng, (uint32_t)n);

        b[at] = 1;
        assert_true(p->read(b, n, i % 2 ? 1024 : 0) != 0);
        assert_int_equal(p->read(b, at / 64 * 64, 0), 0); /* and not beyond its end */
        b[at] = 0;
    }
    lv_free(b);
}

/* The x86 loops add 5 * 3 in each place and return the 32-bit sums added as pairs, so how many multiply-adds ran can be
 * read off: the rate counts exactly those. */
static void check_mac(const struct lv_probe *p, const char *level)
{
    for (uint64_t n = 1; n <= 9; n++) {
        const uint64_t pairs = p->mac_per_round / 2 * 15 * n;

        if (p->mac(n) - p->mac(0) != pairs + (pairs << 32))
            fail_msg("%s: %u multiply-adds a round are claimed, others were done", level, p->mac_per_round);
    }
}

static void test_probe_loops(void **state)
{
    const uint32_t have = lv_cpu_detect();
    const char *level;

    (void)state;
    for (unsigned i = 0; (level = lv_cpu_level_name(have, i)); i++) {
        struct lv_probe p;

        lv_probe_init(&p, have & lv_cpu_level(level));
        assert_non_null(p.mac_name);
        assert_non_null(p.fma_name);
        check_read(&p);
#if defined(__x86_64__)
        if (strcmp(level, "ref") != 0)
            check_mac(&p, level);
#endif
        assert_int_equal(p.fma(1000), p.fma(1000));
    }
}

static void test_raw(void **state)
{
    struct lv_raw *r = LV_NEW(struct lv_raw);
    struct lever_raw sum = { .size = sizeof sum };
    uint8_t *block = lv_region_new(4 * MIB, false);
    struct lv_pool *pool = NULL;
    struct lever_error err;

    (void)state;
    assert_non_null(block);
    memset(block, 1, 4 * MIB);
    assert_int_equal(lv_pool_new(&pool, 2, &err), LEVER_OK);
    lv_raw_init(r, pool, lv_cpu_detect(), block, 4 * MIB);
    lv_raw_take(r);
    lv_raw_take(r);
    lv_raw_report(r, &sum);
    assert_true(sum.dram.n == 2 && sum.peak_mac.n == 2 && sum.fma.n == 2);
    assert_true(sum.dram.low > 0 && sum.peak_mac.low > 0 && sum.fma.low > 0);
    assert_true(sum.n_threads == 2 && sum.block_bytes == 4 * MIB);
    assert_true(lv_raw_block_bytes(3 * MIB + 5) <= 3 * MIB && lv_raw_block_bytes(5) == MIB);
    lv_pool_free(pool);
    lv_region_free(block, 4 * MIB);
    lv_free(r);
}

/* ---- flash ---- */

static _Atomic int64_t left_good = INT64_MAX; /* reads that succeed; all behind them fail */
static _Atomic uint64_t n_bytes;

static int64_t counting_pread(void *ctx, int fd, void *buf, uint64_t len, uint64_t off)
{
    (void)ctx;
    if (atomic_fetch_sub(&left_good, 1) <= 0) {
        errno = EIO;
        return -1;
    }
    atomic_fetch_add(&n_bytes, len);
    return pread(fd, buf, len, (off_t)off);
}

static void test_flash(void **state)
{
    const struct lv_reader_options io = { .n_threads = 3, .ops = { .pread = counting_pread } };
    const char *path = model;
    struct lv_extent x[16];
    struct lv_reader *reader = NULL;
    struct lever_error err = { 0 };
    struct lv_flash_result r;
    FILE *f = fopen(model, "rb");
    bool cached;
    double reread;

    (void)state;
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    const uint64_t size = (uint64_t)ftell(f);

    fclose(f);
    for (uint32_t i = 0; i < 16; i++)
        x[i] = (struct lv_extent){ .off = i * 10 * (uint64_t)LV_IO_ALIGN, .len = 4 * LV_IO_ALIGN, .n_seg = 1 };
    assert_int_equal(lv_reader_open(&reader, &path, &size, 1, &io, &err), LEVER_OK);
    struct lv_flash_job job = { .reader = reader, .extent = x, .n_extent = 16, .n_flight = 3, .max_bytes = 40 * 4 * LV_IO_ALIGN };

    /* exactly the bytes asked for, more than once round the list */
    assert_int_equal(lv_flash_read(&job, &r, &err), LEVER_OK);
    assert_int_equal(r.bytes, job.max_bytes);
    assert_int_equal(atomic_load(&n_bytes), job.max_bytes);
    assert_true(r.rate > 0 && r.ns > 0);
    job.max_bytes = 0;
    job.max_ns = 2000000;
    assert_int_equal(lv_flash_read(&job, &r, &err), LEVER_OK);
    assert_true(r.bytes >= 3 * 4 * LV_IO_ALIGN);
    assert_int_equal(lv_flash_cached(&job, model, &cached, &reread, &err), LEVER_OK);
    assert_true(reread > 0);
    job.max_ns = 0;
    for (int k = 0; k < 8; k++) { /* any read may fail: an error, no hang, and the next run is whole again */
        atomic_store(&left_good, k);
        job.max_bytes = 10 * 4 * LV_IO_ALIGN;
        assert_int_equal(lv_flash_read(&job, &r, &err), LEVER_E_IO);
        assert_non_null(strstr(err.message, "measure.gguf"));
        atomic_store(&left_good, INT64_MAX);
        assert_int_equal(lv_flash_read(&job, &r, &err), LEVER_OK);
    }
    job.n_flight = 17;
    assert_int_equal(lv_flash_read(&job, &r, &err), LEVER_E_ARG);
    lv_reader_close(reader);
}

static void test_probe(void **state)
{
    struct lever_profile d = { .size = sizeof d };
    struct lever_error err = { 0 };
    FILE *f = fopen(vocabulary, "wb");

    (void)state;
    assert_int_equal(lever_probe(model, LEVER_PROBE_QUICK_FLASH, 2, NULL, &d, NULL, NULL, &err), LEVER_OK);
    assert_int_equal(d.n_flash, 1);
    assert_true(d.flash_rate > 0 && d.flash_rate == d.flash[0].rate && d.n_threads == 2 && !d.n_stair);
    assert_int_equal(lever_probe("/nonexistent", LEVER_PROBE_FLASH, 2, NULL, &d, NULL, NULL, &err), LEVER_E_IO);
    assert_non_null(f);
    fputs("small", f);
    fclose(f);
    assert_int_equal(lever_probe(vocabulary, LEVER_PROBE_FLASH, 2, NULL, &d, NULL, NULL, &err), LEVER_E_ARG);
    assert_non_null(strstr(err.message, "5 bytes"));
    unlink(vocabulary);
    assert_int_equal(lever_probe(NULL, LEVER_PROBE_FLASH, 2, NULL, &d, NULL, NULL, &err), LEVER_E_ARG);
    assert_int_equal(lever_probe(model, LEVER_PROBE_FLASH, 2, "abacus", &d, NULL, NULL, &err), LEVER_E_ARG);
}

/* ---- benches ---- */

struct cases {
    struct lever_kernel_case c[64];
    uint32_t n;
};

static void on_case(void *user, const struct lever_kernel_case *c)
{
    struct cases *all = user;

    assert_true(all->n < 64);
    all->c[all->n++] = *c;
}

static void near(double got, double want)
{
    if (!(fabs(got - want) <= 1e-9 * fabs(want)))
        fail_msg("found %g, expected %g", got, want);
}

static void test_bench_kernels(void **state)
{
    static const char *const type[] = { "q4_k", "F16" };
    static const uint32_t rows[] = { 1, 5 }, shape[][2] = { { 64, 256 }, { 96, 512 } };
    struct lever_bench_kernels_options o;
    struct lever_raw raw = { .size = sizeof raw };
    struct lever_error err = { 0 };
    struct cases all = { .n = 0 };

    (void)state;
    lever_bench_kernels_default(&o, sizeof o);
    o.type = type;
    o.n_type = 2;
    o.rows = rows;
    o.n_rows = 2;
    o.shape = shape;
    o.n_shape = 2;
    o.n_threads = 2;
    o.block_bytes = 2 * MIB;
    o.run_seconds = 0.001;
    o.on_case = on_case;
    o.user = &all;
    if (lever_bench_kernels(&o, &raw, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(all.n, 2 * 2 * 2 + 2 + 2 * 2);
    assert_int_equal(raw.dram.n, 1 + 4 + 1 + 2);
    for (uint32_t i = 0; i < all.n; i++) {
        const struct lever_kernel_case *c = &all.c[i];
        const double peak = c->op == LEVER_KERNEL_MATMUL && !strcmp(c->type, "q4_k") ? raw.peak_mac.median : raw.fma.median;

        assert_true(c->seconds > 0 && isfinite(c->seconds));
        near(c->share_dram, c->bytes_per_s / raw.dram.median);
        near(c->share_peak, c->mac_per_s / peak);
        if (c->op == LEVER_KERNEL_PACK) {
            assert_true(c->bytes_per_s > 0 && c->mac_per_s == 0);
            continue;
        }
        near(c->mac_per_s * c->seconds, (double)c->rows * c->n_out * c->n_in);
        if (c->op == LEVER_KERNEL_MATMUL)
            near(c->bytes_per_s * c->seconds, c->n_out * (!strcmp(c->type, "q4_k") ? c->n_in / 256 * 144.0 : c->n_in * 2.0));
    }
    assert_true(all.c[1].rows == 5 && all.c[2].n_out == 96 && !strcmp(all.c[4].type, "f16"));
}

static void test_bench_kernels_bad(void **state)
{
    static const char *const good[] = { "q4_k" }, *const bad[] = { "q9" };
    uint32_t rows[] = { 1 }, shape[][2] = { { 64, 256 } };
    struct lever_bench_kernels_options o;
    struct lever_raw raw = { .size = sizeof raw };
    struct lever_error err = { 0 };

    (void)state;
    lever_bench_kernels_default(&o, sizeof o);
    o.type = bad;
    o.n_type = 1;
    o.rows = rows;
    o.n_rows = 1;
    o.shape = (const uint32_t (*)[2])shape;
    o.n_shape = 1;
    o.block_bytes = MIB;
    o.run_seconds = 0.001;
    assert_int_equal(lever_bench_kernels(&o, &raw, &err), LEVER_E_ARG);
    assert_non_null(strstr(err.message, "q9"));
    assert_non_null(strstr(err.message, "q4_k, "));
    o.type = good;
    for (unsigned k = 0; k < 6; k++) {
        static const uint32_t v[][3] = { { 0, 64, 256 }, { 257, 64, 256 }, { 1, 65, 256 }, { 1, 64, 128 }, { 1, 0, 256 },
                                         { 1, 1u << 20, 1u << 20 } };

        rows[0] = v[k][0];
        shape[0][0] = v[k][1];
        shape[0][1] = v[k][2];
        assert_int_equal(lever_bench_kernels(&o, &raw, &err), LEVER_E_ARG);
    }
    rows[0] = 1;
    shape[0][0] = 64;
    shape[0][1] = 256;
    o.cpu_level = "abacus";
    assert_int_equal(lever_bench_kernels(&o, &raw, &err), LEVER_E_ARG);
}

static void test_bench_stream(void **state)
{
    struct lever_options o = options(MIB);
    struct lever_stream_report r = { .size = sizeof r };
    struct lever_error err = { 0 };

    (void)state;
    o.memory_bytes = least(&o) + 6 * MIB;
    const struct lever_plan_report plan = plan_ok(&o);

    for (int compute = 0; compute <= 1; compute++) {
        if (lever_bench_stream(&o, compute, 3, 2, &r, &err) < 0)
            fail_msg("%s", err.message);
        assert_int_equal(r.n_pass, 2);
        assert_int_equal(r.rows, compute ? 3 : 0);
        assert_true(llabs((long long)r.bytes_per_pass - (long long)plan.streamed_bytes) < (long long)(2 * MIB));
        near(r.rate, (double)r.bytes_per_pass * 2 / r.seconds);
        assert_true(r.raw > 0 && r.raw_before > 0 && r.raw_after > 0);
        near(r.share, r.rate / r.raw);
        near(r.cpu_share + 1, r.cpu_reader + r.cpu_pack + 1);
        assert_true(r.idle_share >= 0 && r.idle_share <= 1 && r.cpu_reader >= 0);
        assert_true(compute ? r.cpu_pack > 0 : r.cpu_pack == 0);
        assert_true(!strcmp(r.reader, "direct") || !strcmp(r.reader, "buffered"));
    }
    assert_int_equal(lever_bench_stream(&o, true, 1000, 2, &r, &err), LEVER_E_ARG);
    o.memory_bytes = LEVER_MEMORY_UNLIMITED;
    assert_int_equal(lever_bench_stream(&o, true, 1, 2, &r, &err), LEVER_E_ARG);
    assert_non_null(strstr(err.message, "nothing is streamed"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_resident),
        cmocka_unit_test(test_plan_budgets),
        cmocka_unit_test(test_plan_draft),
        cmocka_unit_test(test_plan_is_what_opens),
        cmocka_unit_test(test_plan_allocates_little),
        cmocka_unit_test(test_plan_bad_calls),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_probe_loops),
        cmocka_unit_test(test_raw),
        cmocka_unit_test(test_flash),
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_bench_kernels),
        cmocka_unit_test(test_bench_kernels_bad),
        cmocka_unit_test(test_bench_stream),
    };

    if (argc < 2)
        return 2;
    folder = argv[1];
    return cmocka_run_group_tests(tests, setup, teardown);
}
