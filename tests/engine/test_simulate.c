/* Plans of models that are only described against plans of files; simulated rounds of a plan against sums by hand.
 *
 * usage: test_simulate FOLDER */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/plan_kit.h"

static char file[600];
static const char *folder;

static const struct tiny_spec spec = { .arch = LV_ARCH_QWEN3, .n_layer = 6, .n_embd = 512, .n_ff = 1536, .n_head = 8,
                                       .n_head_kv = 4, .n_vocab = 1024, .type = TINY_ALL(LV_TYPE_Q4_0), .seed = 3 };

static struct lever_model_shape shape(void)
{
    return (struct lever_model_shape){ .size = sizeof(struct lever_model_shape),
                                       .name = "twin",
                                       .arch = "qwen3",
                                       .n_layer = 6,
                                       .n_embd = 512,
                                       .n_ff = 1536,
                                       .n_head = 8,
                                       .n_head_kv = 4,
                                       .head_dim = 64,
                                       .n_vocab = 1024,
                                       .n_ctx_train = 2048,
                                       .type = "q4_0" };
}

static int setup(void **state)
{
    (void)state;
    snprintf(file, sizeof file, "%s/simulate.gguf", folder);
    return kit_write(&spec, file);
}

static int teardown(void **state)
{
    (void)state;
    unlink(file);
    return 0;
}

static struct lever_options options(uint64_t memory)
{
    return kit_options(file, memory);
}

static struct lever_plan_report plan_shape(const struct lever_options *o, const struct lever_model_shape *t,
                                           const struct lever_model_shape *d)
{
    struct lever_plan_report r = { .size = sizeof r };
    struct lever_error err = { 0 };

    if (lever_plan_shape(o, t, d, &r, &err) < 0)
        fail_msg("%s", err.message);
    return r;
}

/* ---- described models ---- */

static void test_shape_is_file(void **state)
{
    const struct lever_options o = options(LEVER_MEMORY_UNLIMITED);
    const struct lever_model_shape s = shape();
    struct lever_plan_report a = { .size = sizeof a };
    struct lever_error err = { 0 };

    (void)state;
    assert_int_equal(lever_plan(&o, &a, &err), LEVER_OK);
    const struct lever_plan_report b = plan_shape(&o, &s, NULL);

    assert_int_equal(a.pinned_bytes, b.pinned_bytes);
    assert_int_equal(a.head_bytes, b.head_bytes);
    assert_int_equal(a.macs_per_row, b.macs_per_row);
    assert_int_equal(a.head_macs, b.head_macs);
    assert_int_equal(a.attn_macs, b.attn_macs);
    assert_int_equal(a.n_op, b.n_op);
    assert_int_equal(a.n_item, b.n_item);
    for (uint32_t i = 1; i < a.n_item; i++) /* the first is what this process holds */
        assert_int_equal(a.item[i].bytes, b.item[i].bytes);
    assert_int_equal(b.macs_per_row, 6u * (2 * 512 * 512 + 2 * 512 * 256 + 3 * 512 * 1536));
    assert_int_equal(b.attn_macs, 2 * 6 * 512);
}

static void test_shape_streams(void **state)
{
    const struct lever_model_shape s = shape();
    struct lever_options o = options(MIB);
    struct lever_plan_report r = { .size = sizeof r };
    struct lever_error err = { 0 };

    (void)state;
    assert_int_equal(lever_plan_shape(&o, &s, NULL, &r, &err), LEVER_E_BUDGET);
    o.memory_bytes = err.least_memory + 2 * MIB;
    r = plan_shape(&o, &s, NULL);
    assert_true(r.streamed_bytes > 0 && r.n_extent > 0 && r.n_slot > 0 && r.total <= o.memory_bytes);
}

static void refused(struct lever_model_shape s, const char *says)
{
    const struct lever_options o = options(LEVER_MEMORY_UNLIMITED);
    struct lever_plan_report r = { .size = sizeof r };
    struct lever_error err = { 0 };

    assert_true(lever_plan_shape(&o, &s, NULL, &r, &err) < 0);
    if (!strstr(err.message, says))
        fail_msg("\"%s\" does not say \"%s\"", err.message, says);
}

#define REFUSED(field, value, says)           \
    do {                                      \
        struct lever_model_shape s_ = shape(); \
        s_.field = (value);                   \
        refused(s_, says);                    \
    } while (0)

static void test_shape_refusals(void **state)
{
    struct lever_plan_report r = { .size = sizeof r };
    const struct lever_options o = options(LEVER_MEMORY_UNLIMITED);
    struct lever_error err = { 0 };

    (void)state;
    assert_int_equal(lever_plan_shape(&o, NULL, NULL, &r, &err), LEVER_E_ARG);
    REFUSED(arch, "gpt", "gpt");
    REFUSED(arch, NULL, "arch");
    REFUSED(type, "q9", "type");
    REFUSED(head_type, "", "type");
    REFUSED(n_embd, 500, "block");
    REFUSED(n_ff, 1000, "block");
    REFUSED(n_layer, 0, "block_count");
    REFUSED(n_layer, 2000, "range");
    REFUSED(n_head_kv, 3, "head_count");
    REFUSED(head_dim, 513, "");
    REFUSED(size, 3, "size");
}

/* ---- simulated rounds ---- */

static struct lever_acceptance table(void)
{
    struct lever_acceptance t = { .size = sizeof t, .n_class = 1, .n_task = 2 };

    t.cls[0].p[0] = t.cls[0].hit[0] = 0.8f;
    t.cls[0].p[1] = t.cls[0].hit[1] = 0.1f;
    for (int i = 0; i < 2; i++) {
        snprintf(t.task[i].name, sizeof t.task[i].name, "task %d", i);
        t.task[i].on[0] = t.task[i].beside[0] = 1.0f;
    }
    return t;
}

/* A device whose times are round: a weight takes 1e-9 s for up to four rows. */
static struct lever_profile device(void)
{
    struct lever_profile d = { .size = sizeof d, .flash_rate = 1e8, .dram = 1e15, .fma = 1e18, .pack = 1e15, .n_threads = 2 };

    d.n_stair = 2;
    d.stair[0].rows = 4;
    d.stair[0].seconds = 1e-9;
    d.stair[1].rows = 8;
    d.stair[1].seconds = 2e-9;
    return d;
}

static struct lever_plan_report plan(void)
{
    return (struct lever_plan_report){ .size = sizeof(struct lever_plan_report),
                                       .pinned_bytes = 40000000,
                                       .streamed_bytes = 60000000,
                                       .head_bytes = 10000000,
                                       .draft_bytes = 10000000,
                                       .macs_per_row = 100000000,
                                       .head_macs = 10000000,
                                       .draft_macs = 20000000,
                                       .attn_macs = 1000,
                                       .draft_attn_macs = 100,
                                       .n_extent = 60,
                                       .n_slot = 8,
                                       .max_rows = 64,
                                       .n_ctx = 256,
                                       .uses_draft = true };
}

static struct lever_simulation simulate(const struct lever_plan_report *p, const struct lever_profile *d,
                                        enum lever_simulation_mode mode, uint32_t chain)
{
    const struct lever_acceptance t = table();
    struct lever_simulation_options o;
    struct lever_simulation r = { .size = sizeof r };
    struct lever_error err = { 0 };

    lever_simulation_options_default(&o, sizeof o);
    o.mode = mode;
    o.chain = chain;
    if (lever_simulate(p, d, &t, &o, &r, &err) < 0)
        fail_msg("%s", err.message);
    return r;
}

static void close_to(double got, double want, double within)
{
    if (!(fabs(got - want) <= within * want))
        fail_msg("found %.9g, expected %.9g", got, want);
}

static void test_off(void **state)
{
    struct lever_plan_report p = plan();
    struct lever_profile d = device();

    (void)state;
    /* The stream, 0.6 s, is longer than compute, 0.1 s. The head's 0.01 s and more is covered by the ring. */
    close_to(simulate(&p, &d, LEVER_SIM_OFF, 0).all.round_seconds, 0.6, 0.02);
    d.flash_rate = 1e15; /* compute is what counts: 0.1 s, head 0.01 s */
    close_to(simulate(&p, &d, LEVER_SIM_OFF, 0).all.round_seconds, 0.11, 0.01);
    p.streamed_bytes = 0;
    p.pinned_bytes = 100000000;
    p.n_extent = p.n_slot = 0;
    d.flash_rate = 0;
    close_to(simulate(&p, &d, LEVER_SIM_OFF, 0).all.round_seconds, 0.11, 0.01);
    d.dram = 2e8; /* memory is what counts: 90 MB at 5 ns, the head's 10 MB */
    close_to(simulate(&p, &d, LEVER_SIM_OFF, 0).all.round_seconds, 0.5, 0.01);
    p.streamed_bytes = 60000000; /* streamed bytes cross it twice */
    p.pinned_bytes = 40000000;
    p.n_extent = 60;
    p.n_slot = 8;
    d.flash_rate = 1e15;
    close_to(simulate(&p, &d, LEVER_SIM_OFF, 0).all.round_seconds, 0.05 + 0.15 + 0.6, 0.01);
}

static void test_chain(void **state)
{
    struct lever_plan_report p = plan();
    const struct lever_profile d = device();
    const struct lever_simulation three = simulate(&p, &d, LEVER_SIM_CHAIN, 3);

    (void)state;
    close_to(three.all.tokens_per_round, 1 + 0.8 + 0.64 + 0.512, 0.06);
    assert_true(three.all.rows_per_round == 4.0 && three.chain == 3);
    close_to(three.all.exposed_seconds, 3 * 0.02, 0.01);
    /* The best of the lengths is at least as fast as any. */
    const struct lever_simulation best = simulate(&p, &d, LEVER_SIM_CHAIN, 0);

    for (uint32_t k = 3; k <= 31; k += 4)
        assert_true(best.all.tok_per_s >= 0.999 * simulate(&p, &d, LEVER_SIM_CHAIN, k).all.tok_per_s || (k != 3 && k != 7 && k != 11 && k != 15 && k != 23 && k != 31));
    assert_true(simulate(&p, &d, LEVER_SIM_LEVER, 0).all.tok_per_s > best.all.tok_per_s);
}

/* An accelerator takes what it does faster; the draft works beside it. */
static void test_accelerator(void **state)
{
    const struct lever_plan_report p = plan();
    struct lever_profile d = device();
    const struct lever_simulation cpu = simulate(&p, &d, LEVER_SIM_LEVER, 0);

    (void)state;
    d.n_accel = 1;
    d.accel[0].rows = 64;
    d.accel[0].seconds = 1e-9;
    const struct lever_simulation both = simulate(&p, &d, LEVER_SIM_LEVER, 0);

    assert_true(both.all.rows_per_round > cpu.all.rows_per_round && both.all.tok_per_s > cpu.all.tok_per_s);
    assert_true(both.all.target_seconds < 0.11);
    d.accel[0].seconds = 1e-3; /* one that is slower changes nothing */
    assert_true(simulate(&p, &d, LEVER_SIM_LEVER, 0).all.tok_per_s == cpu.all.tok_per_s);
}

static void test_bad_calls(void **state)
{
    struct lever_plan_report p = plan();
    struct lever_profile d = device();
    struct lever_acceptance t = table();
    struct lever_simulation_options o;
    struct lever_simulation r = { .size = sizeof r };
    struct lever_error err = { 0 };

    (void)state;
    lever_simulation_options_default(&o, sizeof o);
    assert_int_equal(lever_simulate(NULL, &d, &t, &o, &r, &err), LEVER_E_ARG);
    d.flash_rate = 0;
    assert_int_equal(lever_simulate(&p, &d, &t, &o, &r, &err), LEVER_E_ARG);
    assert_non_null(strstr(err.message, "flash_rate"));
    d = device();
    d.dram = NAN;
    assert_int_equal(lever_simulate(&p, &d, &t, &o, &r, &err), LEVER_E_ARG);
    assert_non_null(strstr(err.message, "dram"));
    d = device();
    t.n_task = 0;
    assert_int_equal(lever_simulate(&p, &d, &t, &o, &r, &err), LEVER_E_ARG);
    assert_non_null(strstr(err.message, "acceptance"));
    t = table();
    p.uses_draft = false;
    o.mode = LEVER_SIM_CHAIN;
    assert_int_equal(lever_simulate(&p, &d, &t, &o, &r, &err), LEVER_E_ARG);
    assert_non_null(strstr(err.message, "no draft"));
    o.mode = LEVER_SIM_LEVER; /* what lookup finds: here nothing */
    assert_int_equal(lever_simulate(&p, &d, &t, &o, &r, &err), LEVER_OK);
    assert_true(r.all.tokens_per_round == 1.0);
    o.mode = (enum lever_simulation_mode)9;
    assert_int_equal(lever_simulate(&p, &d, &t, &o, &r, &err), LEVER_E_ARG);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape_is_file), cmocka_unit_test(test_shape_streams), cmocka_unit_test(test_shape_refusals),
        cmocka_unit_test(test_off),           cmocka_unit_test(test_chain),         cmocka_unit_test(test_accelerator),
        cmocka_unit_test(test_bad_calls),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 1;
    }
    folder = argv[1];
    return cmocka_run_group_tests(tests, setup, teardown);
}
