/* The time line of a round: what is kept and cut against a twin that keeps everything, and what a streamed round says.
 *
 * usage: test_spans FOLDER */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "engine/engine.h"
#include "engine/spans.h"
#include "ref/tiny.h"

#define MIB (UINT64_C(1) << 20)
#define N_ADDED 1500u

static const char *folder;

/* Twin: all that were ever added; the last LV_SPANS of them that touch the time, cut by plain arithmetic. */
static void copy(void **state)
{
    static struct lv_spans s;
    static uint64_t all[N_ADDED][2];
    static struct lever_span out[LV_SPANS];
    struct lv_rng rng = { 11 };

    (void)state;
    printf("seed 11\n");
    for (uint32_t n = 0; n < N_ADDED; n++) {
        all[n][0] = 1000 + n * 100 + lv_rng_below(&rng, 300);
        all[n][1] = all[n][0] + 1 + lv_rng_below(&rng, 500);
        lv_spans_add(&s, all[n][0], all[n][1]);
        if (n % 7)
            continue;
        const uint64_t from = n * 100 - (n ? lv_rng_below(&rng, n * 100) : 0), to = from + lv_rng_below(&rng, 60000);
        const size_t cap = n % 3 ? LV_SPANS : lv_rng_below(&rng, LV_SPANS), got = lv_spans_copy(&s, from, to, out, cap);
        size_t k = 0;

        for (uint32_t i = n + 1 > LV_SPANS ? n + 1 - LV_SPANS : 0; i <= n && k < cap; i++) {
            if (all[i][1] <= from || all[i][0] >= to)
                continue;
            const double a = all[i][0] < from ? 0 : (double)(all[i][0] - from) * 1e-9;
            const double b = (double)((all[i][1] > to ? to : all[i][1]) - from) * 1e-9;

            assert_true(k < got);
            assert_true(out[k].begin - a < 1e-12 && a - out[k].begin < 1e-12);
            assert_true(out[k].end - b < 1e-12 && b - out[k].end < 1e-12);
            k++;
        }
        assert_int_equal(k, got);
    }
}

static void assert_inside(const struct lever_span *x, size_t n, double end)
{
    for (size_t i = 0; i < n; i++) {
        assert_true(x[i].begin >= 0 && x[i].begin <= x[i].end && x[i].end <= end);
        assert_true(i == 0 || x[i].end >= x[i - 1].end);
    }
}

/* Every byte that a round had to wait for was read in some span; nothing lies outside the round. */
static void rounds(void **state)
{
    const struct tiny_spec spec = { .arch = LV_ARCH_LLAMA, .n_layer = 6, .n_embd = 512, .n_ff = 1536, .n_head = 8, .n_vocab = 320,
                                    .type = TINY_ALL(LV_TYPE_Q8_0), .seed = 3 };
    struct tiny_spec small = spec;
    char model[600], draft[600];
    struct lever_error err = { 0 };
    struct lever_options o;
    lever_engine *e = NULL;
    lever_seq *q = NULL;
    const int32_t prompt[] = { 5, 6, 7, 8 };
    unsigned n_round = 0, n_reads = 0, n_drafts = 0;

    (void)state;
    small.n_layer = 1;
    snprintf(model, sizeof model, "%s/spans.gguf", folder);
    snprintf(draft, sizeof draft, "%s/spans_draft.gguf", folder);
    assert_true(tiny_write(&spec, model, &err) >= 0 && tiny_write(&small, draft, &err) >= 0);
    lever_options_default(&o, sizeof o);
    o.target_path = model;
    o.draft_path = draft;
    o.n_ctx = 256;
    o.n_threads = 2;
    o.slot_bytes = 128 * 1024;
    o.ring_bytes = MIB;
    o.speculation = LEVER_SPEC_TREE;
    /* Room for the draft, and something streams: a little less than all of it takes. The process grows until the engine opens, with
     * sanitizers by megabytes, so each try asks anew. */
    for (uint64_t i = 1; i <= 40 && !(e && e->uses_draft && e->target.stream); i++) {
        struct lever_plan_report r = { .size = sizeof r };

        lever_close(e);
        e = NULL;
        o.memory_bytes = LEVER_MEMORY_UNLIMITED;
        assert_true(lever_plan(&o, &r, &err) >= 0);
        o.memory_bytes = r.total - MIB / 4 * i;
        lever_open(&e, &o, &err);
    }
    assert_true(e && e->uses_draft && e->target.stream);
    assert_true(lever_seq_new(e, NULL, &q, &err) >= 0);
    struct lever_spans s = { .size = sizeof s };

    assert_int_equal(lever_last_spans(NULL, &s), LEVER_E_ARG);
    assert_int_equal(lever_last_spans(q, NULL), LEVER_E_ARG);
    assert_int_equal(lever_last_spans(q, &s), LEVER_OK);
    assert_true(s.end <= 0 && s.n_read == 0 && s.n_draft == 0);
    assert_true(lever_prompt(q, prompt, 4, &err) >= 0);
    for (int i = 0; i < 30; i++) {
        int32_t out[64];
        size_t n;

        if (lever_step(q, out, 64, &n, &err) != LEVER_OK)
            break;
        assert_int_equal(lever_last_spans(q, &s), LEVER_OK);
        if (i == 0) { /* comes with the prompt */
            assert_true(s.end <= 0);
            continue;
        }
        struct lever_stats now = { .size = sizeof now };

        assert_true(lever_stats(e, q, &now) >= 0);
        assert_true(s.pass >= 0 && s.pass <= s.head && s.head <= s.end && s.end <= now.seconds_decode);
        assert_true(s.wait >= 0 && s.background >= 0 && s.wait + s.background <= 1.2 * (s.head - s.pass) + 1e-3);
        assert_inside(s.read, s.n_read, s.end);
        assert_inside(s.draft, s.n_draft, s.end);
        n_round++;
        n_reads += s.n_read > 0;
        n_drafts += s.n_draft > 0;
    }
    printf("%u rounds, %u with reads, %u with drafting, budget %.0f MiB\n", n_round, n_reads, n_drafts,
           (double)o.memory_bytes / (double)MIB);
    assert_true(n_round >= 5 && n_reads == n_round && n_drafts > 0);
    lever_seq_free(q);
    lever_close(e);
    unlink(model);
    unlink(draft);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(copy), cmocka_unit_test(rounds) };

    folder = argc > 1 ? argv[1] : "/tmp";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
