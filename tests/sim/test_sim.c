/* The simulator against a naive twin that moves slots, reads, work and batches event by event, against closed forms, and at
 * its limits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "sim/sim.h"
#include "tree/tree.h"

#define EPS 1e-7
#define LOG_MAX 200000
#define SLOTS_MAX 64

static uint64_t seed = 20264;

static double uniform(struct lv_rng *r, double lo, double hi)
{
    return lo + (hi - lo) * (0.5 + 0.5 * (double)lv_rng_f32(r));
}

/* ---- inputs ---- */

static struct lv_stairs stairs(double one, double slope)
{
    struct lv_stairs s = { .n = 0 };

    for (uint32_t rows = 1; rows <= 256; rows *= 2) {
        s.rows[s.n] = rows;
        s.seconds[s.n++] = one + slope * (rows - 1);
    }
    return s;
}

/* One class: the best token is taken with p, the second with q. */
static struct lever_acceptance simple_table(float p, float q)
{
    struct lever_acceptance t = { .size = sizeof t, .n_class = 1, .n_task = 1 };

    t.cls[0].p[0] = t.cls[0].hit[0] = p;
    t.cls[0].p[1] = t.cls[0].hit[1] = q;
    t.task[0].on[0] = t.task[0].beside[0] = 1.0f;
    return t;
}

static struct lever_acceptance random_table(struct lv_rng *r)
{
    struct lever_acceptance t = { .size = sizeof t, .n_class = 1 + lv_rng_below(r, LEVER_ACCEPT_CLASSES), .n_task = 2 };

    for (uint32_t c = 0; c < t.n_class; c++) {
        float rest = 1.0f, last = 1.0f;

        for (uint32_t k = 0; k < LEVER_ACCEPT_CHILDREN; k++) {
            const float p = fminf(last, rest * (float)uniform(r, 0.2, 0.95));

            t.cls[c].p[k] = last = p;
            t.cls[c].hit[k] = p * (float)uniform(r, 0.7, 1.0);
            rest -= p;
        }
    }
    for (uint32_t i = 0; i < t.n_task; i++)
        for (uint32_t c = 0; c < t.n_class; c++)
            t.task[i].on[c] = t.task[i].beside[c] = 1.0f / (float)t.n_class;
    t.task[0].stay = lv_rng_below(r, 2) ? (float)uniform(r, 0.0, 0.9) : 0.0f;
    t.task[0].found = (float)uniform(r, 0.0, 0.6);
    t.task[0].found_again = (float)uniform(r, 0.5, 1.0);
    memcpy(t.task[0].copied, t.task[0].on, sizeof t.task[0].copied);
    for (uint32_t k = 0; k < LEVER_ACCEPT_MATCHES; k++) {
        t.task[0].right[k] = (float)uniform(r, 0.2, 1.0);
        t.lookup[k] = (float)uniform(r, 0.1, 0.99);
    }
    return t;
}

/* The same where lookup says what comes next, always or never. */
static struct lever_acceptance with_lookup(struct lever_acceptance t, float right)
{
    t.task[0].found = t.task[0].found_again = 1.0f;
    t.task[0].copied[0] = 1.0f;
    for (uint32_t k = 0; k < LEVER_ACCEPT_MATCHES; k++) {
        t.task[0].right[k] = right;
        t.lookup[k] = 0.99f;
    }
    return t;
}

static struct lv_sim_config base(enum lv_sim_mode mode)
{
    return (struct lv_sim_config){ .mode = mode,
                                   .target = stairs(0.05, 0.002),
                                   .draft = stairs(0.01, 0.0005),
                                   .head = stairs(0.004, 0.0002),
                                   .t_fixed = 0.001,
                                   .n_extent = 40,
                                   .n_slot = 6,
                                   .read_seconds = 0.01,
                                   .pinned_share = 0.3,
                                   .max_rows = 64,
                                   .max_depth = 40,
                                   .chain_k = 5,
                                   .n_child = 8,
                                   .n_tokens = 400,
                                   .seed = seed };
}

static struct lv_sim_config random_config(struct lv_rng *r)
{
    struct lv_sim_config c = base((enum lv_sim_mode)lv_rng_below(r, 4));

    c.apart = lv_rng_below(r, 3) == 0;
    c.target = stairs(uniform(r, 0.001, 0.1), uniform(r, 0, 0.01));
    c.draft = stairs(uniform(r, 0.001, 0.05), uniform(r, 0, 0.002));
    if (c.apart)
        c.beside = stairs(uniform(r, 0.001, 0.1), uniform(r, 0, 0.002));
    c.head = stairs(uniform(r, 0, 0.01), uniform(r, 0, 0.002));
    c.t_fixed = uniform(r, 0, 0.01);
    c.n_extent = lv_rng_below(r, 5) ? 1 + lv_rng_below(r, 50) : 0;
    c.n_slot = 1 + lv_rng_below(r, 12);
    c.read_seconds = uniform(r, 0, 0.02);
    c.pinned_share = lv_rng_below(r, 4) ? uniform(r, 0, 1) : 0.0;
    c.rests = lv_rng_below(r, 4) == 0;
    c.max_rows = 1 + lv_rng_below(r, 100);
    c.max_depth = 1 + lv_rng_below(r, 40);
    c.chain_k = 1 + lv_rng_below(r, 12);
    c.n_child = 1 + lv_rng_below(r, 8);
    c.lookup = lv_rng_below(r, 2) && c.mode >= LV_SIM_TREE;
    if (c.lookup && lv_rng_below(r, 4) == 0)
        c.draft.n = 0;
    c.peek_at = uniform(r, 0, 1);
    c.peek_hit = lv_rng_below(r, 2) ? uniform(r, 0, 1) : 0.0;
    c.n_tokens = 60;
    c.seed = lv_rng_u64(r);
    return c;
}

static double speed(const struct lv_sim_result *r)
{
    return (double)r->n_token / r->seconds;
}

static double a_round(const struct lv_sim_result *r, uint64_t n)
{
    return (double)n / (double)r->n_round;
}

static struct lv_sim_result run(const struct lv_sim_config *c, const struct lever_acceptance *t)
{
    struct lever_error err = { .status = LEVER_OK };
    struct lv_sim_result r;

    if (lv_sim_run(&r, c, t, 0, &err) < 0)
        fail_msg("%s", err.message);
    return r;
}

/* ---- the twin ---- */

struct log {
    enum lv_sim_event event[LOG_MAX];
    double x[LOG_MAX];
    size_t n;
};

static void record(void *ctx, enum lv_sim_event event, double x)
{
    struct log *l = ctx;

    assert_true(l->n < LOG_MAX);
    l->event[l->n] = event;
    l->x[l->n++] = x;
}

enum state { FREE, FILLING, READY };

struct twin {
    const struct lv_sim_config *c;
    double now, device_end; /* of the read under way; HUGE_VAL: none */
    enum state state[SLOTS_MAX];
    uint64_t number[SLOTS_MAX], next_read, next_use;
    uint32_t n_slot;
    double batch[LOG_MAX];  /* begun and not ended: what is left of each */
    size_t first, n_batch;
};

static void start_read(struct twin *w)
{
    if (w->device_end < HUGE_VAL)
        return;
    for (uint32_t i = 0; i < w->n_slot; i++) {
        if (w->state[i] != FREE)
            continue;
        w->state[i] = FILLING;
        w->number[i] = w->next_read++;
        w->device_end = w->now + w->c->read_seconds;
        return;
    }
}

static void end_read(struct twin *w)
{
    for (uint32_t i = 0; i < w->n_slot; i++)
        if (w->state[i] == FILLING)
            w->state[i] = READY;
    w->device_end = HUGE_VAL;
    start_read(w);
}

/* Time goes by; in the background batches go on if `draft`. Ends early when `number` is ready. */
static void go(struct twin *w, double until, bool draft, uint64_t number, bool stop_ready)
{
    for (;;) {
        double to = until;

        if (stop_ready)
            for (uint32_t i = 0; i < w->n_slot; i++)
                if (w->state[i] == READY && w->number[i] == number)
                    return;
        to = w->device_end < to ? w->device_end : to;
        if (draft && w->first < w->n_batch && w->now + w->batch[w->first] < to)
            to = w->now + w->batch[w->first];
        if (draft && w->first < w->n_batch) {
            w->batch[w->first] -= to - w->now;
            if (w->batch[w->first] < 1e-12)
                w->first++;
        }
        w->now = to;
        if (w->device_end <= to)
            end_read(w);
        else if (to >= until)
            return;
    }
}

static void twin_init(struct twin *w, const struct lv_sim_config *c)
{
    *w = (struct twin){ .c = c, .device_end = HUGE_VAL, .n_slot = c->n_slot < c->n_extent ? c->n_slot : c->n_extent };
    for (uint32_t i = 0; i < w->n_slot; i++) {
        w->state[i] = READY;
        w->number[i] = w->next_read++;
    }
}

static void twin_pass(struct twin *w, double compute)
{
    const struct lv_sim_config *c = w->c;

    if (c->rests) {
        w->device_end = HUGE_VAL;
        w->next_read = w->next_use;
        for (uint32_t i = 0; i < w->n_slot; i++)
            w->state[i] = FREE;
        start_read(w);
    }
    if (!c->n_extent) {
        go(w, w->now + compute, c->apart, 0, false);
        return;
    }
    for (uint32_t i = 0; i < c->n_extent; i++) {
        const double work = compute / c->n_extent;

        go(w, w->now + c->pinned_share * work, c->apart, 0, false);
        go(w, HUGE_VAL, true, w->next_use, true);
        go(w, w->now + (1.0 - c->pinned_share) * work, c->apart, 0, false);
        for (uint32_t k = 0; k < w->n_slot; k++)
            if (w->state[k] == READY && w->number[k] == w->next_use)
                w->state[k] = FREE;
        w->next_use++;
        start_read(w);
    }
}

/* Reads the log of a run and computes its times anew. */
static size_t follow(const struct log *l, const struct lv_sim_config *c)
{
    struct twin *w = malloc(sizeof *w);
    size_t n_checked = 0;

    assert_non_null(w);
    twin_init(w, c);
    for (size_t i = 0; i < l->n; i++) {
        switch (l->event[i]) {
        case LV_SIM_BATCH: /* of drafting that the round waits for: those of a pass are taken below */
            w->batch[w->n_batch++] = l->x[i];
            break;
        case LV_SIM_DRAFT:
            while (w->first < w->n_batch) {
                const double left = w->batch[w->first++];

                go(w, w->now + left, false, 0, false);
            }
            assert_true(fabs(w->now - l->x[i]) < EPS);
            n_checked++;
            break;
        case LV_SIM_PASS: {
            size_t k = i + 1;

            for (; l->event[k] != LV_SIM_PASS_END; k++) {
                assert_int_equal(l->event[k], LV_SIM_BATCH);
                w->batch[w->n_batch++] = l->x[k];
            }
            twin_pass(w, l->x[i]);
            if (!(fabs(w->now - l->x[k]) < EPS))
                fail_msg("pass ends at %.9f, by the twin at %.9f", l->x[k], w->now);
            assert_true(w->n_batch - w->first <= 1); /* all that began have ended but the last */
            n_checked++;
            i = k;
            break;
        }
        case LV_SIM_PASS_END:
            fail_msg("a pass ends that did not begin");
            break;
        case LV_SIM_HEAD:
            go(w, w->now + l->x[i], false, 0, false);
            break;
        case LV_SIM_ROUND:
            go(w, w->now + c->t_fixed, false, 0, false);
            assert_true(fabs(w->now - l->x[i]) < EPS);
            break;
        }
    }
    free(w);
    return n_checked;
}

static void test_twin(void **state)
{
    (void)state;
    struct lv_rng r = { seed };
    struct log *l = malloc(sizeof *l);
    size_t n = 0, n_beside = 0;

    assert_non_null(l);
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < 300; i++) {
        struct lv_sim_config c = random_config(&r);
        const struct lever_acceptance t = random_table(&r);

        l->n = 0;
        c.observe = record;
        c.ctx = l;
        const struct lv_sim_result x = run(&c, &t);

        n += follow(l, &c);
        n_beside += x.beside > 0.0;
        if (!c.apart) /* every second has one cause */
            assert_true(fabs(x.compute + x.head + x.exposed + x.waited + c.t_fixed * (double)x.n_round - x.seconds) < EPS);
        assert_true(x.n_token >= c.n_tokens && x.n_row >= x.n_round && x.n_row <= x.n_round * c.max_rows);
        assert_true(x.n_token <= x.n_row);
        assert_true(x.device_busy <= x.seconds + (double)c.n_slot * c.read_seconds + EPS);
    }
    print_message("%zu times compared, %zu runs drafted beside passes\n", n, n_beside);
    assert_true(n > 5000 && n_beside > 20);
    free(l);
}

/* ---- closed forms ---- */

static void test_chain_tokens(void **state)
{
    (void)state;
    for (float p = 0.5f; p < 0.95f; p += 0.2f) {
        const struct lever_acceptance t = simple_table(p, 0.0f);
        struct lv_sim_config c = base(LV_SIM_CHAIN);

        c.n_tokens = 20000;
        c.n_child = 1;
        const struct lv_sim_result x = run(&c, &t);
        const double want = (1.0 - pow((double)p, c.chain_k + 1)) / (1.0 - (double)p);
        const double got = (double)x.n_token / (double)x.n_round;

        if (!(fabs(got / want - 1.0) < 0.03))
            fail_msg("p %.1f: %.3f tokens a round, expected %.3f", (double)p, got, want);
    }
}

/* Stretches of one class: its share stays what it is, and one place tells of the next. */
static void test_stretches(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct lever_acceptance t = simple_table(1.0f, 0.0f);
        struct lv_accept a;
        uint32_t n = 0, n_first = 0, n_same = 0, last = 0;

        t.n_class = 2; /* the second class always misses */
        t.task[0].on[0] = 0.7f;
        t.task[0].on[1] = 0.3f;
        t.task[0].stay = k ? 0.8f : 0.0f;
        lv_accept_init(&a, &t, 0, seed, 0);
        for (uint64_t i = 0; i < 40000; i++) {
            const uint32_t c = lv_accept_truth(&a, i) != 0;

            n_first += !c;
            n_same += i > 0 && c == last;
            last = c;
            n++;
        }
        assert_true(fabs((double)n_first / n - 0.7) < 0.02);
        assert_true(fabs((double)n_same / n - (k ? 0.8 + 0.2 * 0.58 : 0.58)) < 0.02);
    }
}

/* Prompt lookup: how often it speaks and is right, and that a match is as long as it has been right. */
static void test_copies(void **state)
{
    (void)state;
    struct lever_acceptance t = with_lookup(simple_table(0.5f, 0.0f), 0.6f);
    struct lv_accept a;
    uint32_t n_found = 0, n_copied = 0, run = 0;
    const uint32_t n = 60000;

    t.task[0].found = 0.3f;
    t.task[0].found_again = 0.8f;
    lv_accept_init(&a, &t, 0, seed, 0);
    for (uint64_t i = 0; i < n; i++) {
        const struct lever_place *p = lv_accept_at(&a, i);

        assert_true(p->match == 0 || p->match == (run < 30 ? 2 + run : 32));
        assert_true(p->match > 0 || !p->copied);
        n_found += p->match > 0;
        n_copied += p->copied;
        run = p->copied ? run + 1 : 0;
    }
    /* found = 0.3 + 0.5 copied, copied = 0.6 found */
    assert_true(fabs((double)n_found / n - 0.3 / 0.7) < 0.01);
    assert_true(fabs((double)n_copied / n - 0.6 * 0.3 / 0.7) < 0.01);
}

/* Without a draft: as far as a continuation goes where it is right, a token a pass where it is not. */
static void test_lookup_alone(void **state)
{
    (void)state;
    const struct lever_acceptance right = with_lookup(simple_table(0.5f, 0.0f), 1.0f), wrong = with_lookup(simple_table(0.5f, 0.0f), 0.0f);

    for (int mode = LV_SIM_TREE; mode <= LV_SIM_LEVER; mode++) {
        struct lv_sim_config c = base((enum lv_sim_mode)mode);

        c.lookup = true;
        c.draft.n = 0;
        c.target = stairs(0.05, 0.0);
        c.n_tokens = 33 * 20;
        assert_int_equal(run(&c, &right).n_round, 20);
        assert_int_equal(run(&c, &wrong).n_round, c.n_tokens);
        c.n_extent = 0;
        assert_int_equal(run(&c, &right).n_round, 20);
    }
}

/* A recorded text: a draft that is right but for every fifth token, whose second choice is the last of them. The first token of a
 * text comes with the prompt: a chain of 9 takes 4, 5, 5 and 5 of the other 19, a tree of two choices goes on to the end. */
static void test_recorded_text(void **state)
{
    (void)state;
    struct lever_acceptance t = simple_table(0.9f, 0.09f);
    struct lv_sim_config c = base(LV_SIM_CHAIN);

    t.task[0].n_text = 20;
    for (uint32_t i = 0; i < 20; i++)
        t.task[0].text[i].truth = i % 5 ? 0 : i == 15 ? 1 : LV_ACCEPT_MISS;
    assert_null(lv_accept_fault(&t));
    c.chain_k = 9;
    c.n_tokens = 20 * 7;
    assert_int_equal(run(&c, &t).n_round, 4 * 7); /* to place 5, 10, 15, and the rest */
    c.text_tokens = 11;                           /* cut before place 11 */
    c.n_tokens = 11 * 7;
    assert_int_equal(run(&c, &t).n_round, 2 * 7);
    c.mode = LV_SIM_TREE;
    c.target = stairs(0.05, 0.0);
    c.text_tokens = 0;
    c.n_tokens = 20 * 7;
    assert_int_equal(run(&c, &t).n_round, 3 * 7); /* the second choice at place 15 is in the tree */
}

/* It adds to what a draft finds, and costs no batch. */
static void test_lookup_adds(void **state)
{
    (void)state;
    struct lever_acceptance t = with_lookup(simple_table(0.7f, 0.1f), 0.9f);
    struct lv_sim_config c = base(LV_SIM_TREE);

    t.task[0].found = 0.3f;
    c.n_extent = 0;
    c.n_tokens = 4000;
    const struct lv_sim_result without = run(&c, &t);

    c.lookup = true;
    const struct lv_sim_result with = run(&c, &t);

    assert_true(speed(&with) > 1.3 * speed(&without));
    assert_true((double)with.n_batch / (double)with.n_token < 0.9 * (double)without.n_batch / (double)without.n_token);
}

static void test_sure_draft(void **state)
{
    (void)state;
    const struct lever_acceptance t = simple_table(1.0f, 0.0f);
    struct lv_sim_config c = base(LV_SIM_CHAIN);

    c.n_tokens = 600;
    const struct lv_sim_result x = run(&c, &t);

    assert_int_equal(x.n_token, x.n_round * (c.chain_k + 1));
    assert_int_equal(x.n_bonus_in_tree, 0);
}

static void test_useless_draft(void **state)
{
    (void)state;
    struct lever_acceptance t = simple_table(0.5f, 0.2f);

    memset(t.cls[0].hit, 0, sizeof t.cls[0].hit);
    for (int mode = LV_SIM_OFF; mode <= LV_SIM_LEVER; mode++) {
        const struct lv_sim_config c = base((enum lv_sim_mode)mode);
        const struct lv_sim_result x = run(&c, &t);

        assert_int_equal(x.n_token, x.n_round);
    }
}

/* One token a pass, resident: the time is a product. */
static void test_off_resident(void **state)
{
    (void)state;
    const struct lever_acceptance t = simple_table(0.9f, 0.0f);
    struct lv_sim_config c = base(LV_SIM_OFF);

    c.n_extent = 0;
    const struct lv_sim_result x = run(&c, &t);

    assert_true(fabs(x.seconds - 400 * (0.05 + 0.004 + 0.001)) < EPS);
    assert_true(x.device_busy == 0.0 && x.exposed == 0.0 && x.beside == 0.0);
}

/* ---- limits ---- */

static void test_infinite_flash(void **state)
{
    (void)state;
    struct lv_rng r = { seed + 1 };

    for (int i = 0; i < 40; i++) {
        const struct lever_acceptance t = random_table(&r);
        struct lv_sim_config c = random_config(&r), d;

        c.read_seconds = 0.0;
        c.apart = false;
        c.peek_hit = 0.0;
        d = c;
        d.n_extent = 0;
        assert_true(fabs(run(&c, &t).seconds / run(&d, &t).seconds - 1.0) < 1e-9);
    }
}

/* Texts that end cut their last round: of 8 tokens one comes with the prompt, and a sure chain of 3 makes 4 and 3. */
static void test_texts(void **state)
{
    (void)state;
    const struct lever_acceptance t = simple_table(1.0f, 0.0f);

    for (int mode = LV_SIM_CHAIN; mode <= LV_SIM_LEVER; mode++)
        for (uint32_t n = 1; n <= 9; n++) {
            struct lv_sim_config c = base((enum lv_sim_mode)mode);

            c.text_tokens = n;
            c.n_tokens = 20 * n;
            c.chain_k = 3;
            const struct lv_sim_result x = run(&c, &t);

            assert_int_equal(x.n_token, 20 * n);
            if (mode == LV_SIM_CHAIN)
                assert_int_equal(x.n_round, 20 * (n > 1 ? (n - 1 + 3) / 4 : 1));
        }
}

/* A draft that may propose nothing deep: one row a pass, like plain decoding but for its first batch. */
static void test_one_row(void **state)
{
    (void)state;
    const struct lever_acceptance t = simple_table(0.9f, 0.05f);
    struct lv_sim_config c = base(LV_SIM_LEVER), off = base(LV_SIM_OFF);

    c.max_rows = off.max_rows = 1;
    c.peek_hit = 0.0;
    c.draft = stairs(0.0, 0.0);
    assert_true(fabs(run(&c, &t).seconds / run(&off, &t).seconds - 1.0) < 1e-9);
}

static void test_monotone(void **state)
{
    (void)state;
    const struct lever_acceptance t = simple_table(0.85f, 0.1f);
    double last = 0.0;

    for (double rate = 1.0; rate <= 64.0; rate *= 2.0) { /* a faster device */
        struct lv_sim_config c = base(LV_SIM_CHAIN);

        c.read_seconds = 0.02 / rate;
        const double now = 1.0 / run(&c, &t).seconds;

        assert_true(now >= last - EPS);
        last = now;
    }
    last = 0.0;
    for (uint32_t slots = 1; slots <= 40; slots *= 2) { /* a larger ring */
        struct lv_sim_config c = base(LV_SIM_CHAIN);

        c.n_slot = slots;
        const double now = 1.0 / run(&c, &t).seconds;

        assert_true(now >= last - EPS);
        last = now;
    }
}

/* Where the pass waits long for the stream, drafting beside it costs nothing; with a look, the next root is known more often. */
static void test_overlap_pays(void **state)
{
    (void)state;
    const struct lever_acceptance t = simple_table(0.7f, 0.15f);
    struct lv_sim_config serial = base(LV_SIM_TREE), lever = base(LV_SIM_LEVER), look;

    serial.n_tokens = lever.n_tokens = 8000;
    look = lever;
    look.peek_at = 0.875;
    look.peek_hit = 0.9;
    const struct lv_sim_result a = run(&serial, &t), b = run(&lever, &t), c = run(&look, &t);

    print_message("tok/s: serial %.2f, beside %.2f, with a look %.2f\n", speed(&a), speed(&b), speed(&c));
    assert_true(a_round(&c, c.n_bonus_in_tree) > a_round(&b, b.n_bonus_in_tree) + 0.1);
    assert_true(speed(&b) > 0.98 * speed(&a) && speed(&c) > 1.02 * speed(&a)); /* 0.94 and 0.81 without nodes under way */
}

static void test_pruning(void **state)
{
    (void)state;
    const struct lever_acceptance t = simple_table(0.8f, 0.1f);
    struct lv_sim_config c = base(LV_SIM_CHAIN), p;

    c.n_extent = 0; /* compute is what counts */
    p = c;
    p.prune_at = 0.5;
    const struct lv_sim_result whole = run(&c, &t), none = run(&p, &t);

    assert_true(whole.seconds == none.seconds);
    p.prune_rows = 0.5; /* 3 of 6 rows for half of the pass */
    const struct lv_sim_result half = run(&p, &t);

    assert_true(fabs(half.compute / (double)half.n_round - 0.5 * (0.06 + 0.054)) < 1e-9);
    assert_int_equal(half.n_token, whole.n_token);
    p.prune_lost = 0.1;
    const struct lv_sim_result lost = run(&p, &t);

    assert_true(a_round(&lost, lost.n_token) < 0.98 * a_round(&whole, whole.n_token));
}

/* What a layer knows, the engine's rules turn into rows: who knows all computes less and loses nothing, who knows nothing
 * drops no more than the price of the rest asks for. */
static void test_pruning_rules(void **state)
{
    (void)state;
    const struct lever_acceptance t = simple_table(0.7f, 0.2f);
    struct lv_sim_config c = base(LV_SIM_TREE), p;

    c.n_extent = 0;
    c.target = stairs(0.1, 0.001); /* large trees */
    c.n_tokens = 4000;
    p = c;
    p.prune_at = 0.5;
    p.prune_knows = 1.0;
    const struct lv_sim_result whole = run(&c, &t), all = run(&p, &t);

    p.prune_knows = 0.01;
    const struct lv_sim_result little = run(&p, &t);

    print_message("compute a token: %.4f, all known %.4f, little %.4f\n", whole.compute / (double)whole.n_token,
                  all.compute / (double)all.n_token, little.compute / (double)little.n_token);
    assert_true(all.compute / (double)all.n_token < 0.97 * whole.compute / (double)whole.n_token);
    assert_true(a_round(&all, all.n_token) > 0.99 * a_round(&whole, whole.n_token));
    assert_true(speed(&little) > 0.99 * speed(&whole));
    p.prune_knows = 0.5;
    const struct lv_sim_result half = run(&p, &t);

    assert_true(speed(&half) > speed(&little) && speed(&half) < speed(&all));
}

/* Beside the text the draft may be less sure of itself; then fewer rows go to waste. */
static void test_beside(void **state)
{
    (void)state;
    struct lever_acceptance same = simple_table(0.6f, 0.35f), unsure;
    struct lv_sim_config c = base(LV_SIM_TREE);

    c.n_tokens = 2000;
    c.max_rows = 24;
    same.n_class = 2;
    unsure = same;
    unsure.task[0].beside[0] = 0.0f; /* its second class promises nothing */
    unsure.task[0].beside[1] = 1.0f;
    const struct lv_sim_result a = run(&c, &same), b = run(&c, &unsure);

    assert_true(a_round(&b, b.n_row) < 0.5 * a_round(&a, a.n_row));
    assert_true(a_round(&b, b.n_token) > 1.03 * a_round(&a, a.n_token));
}

static void test_same_again(void **state)
{
    (void)state;
    struct lv_rng r = { seed + 2 };

    for (int i = 0; i < 20; i++) {
        const struct lv_sim_config c = random_config(&r);
        const struct lever_acceptance t = random_table(&r);
        const struct lv_sim_result a = run(&c, &t), b = run(&c, &t);

        assert_memory_equal(&a, &b, sizeof a);
    }
}

/* ---- what is refused ---- */

static void refused(struct lv_sim_config c)
{
    const struct lever_acceptance t = simple_table(0.5f, 0.1f);
    struct lever_error err = { .status = LEVER_OK };
    struct lv_sim_result r;

    assert_int_equal(lv_sim_run(&r, &c, &t, 0, &err), LEVER_E_ARG);
    assert_non_null(strstr(err.message, "simulation: "));
}

#define REFUSED(field, value)                         \
    do {                                              \
        struct lv_sim_config c_ = base(LV_SIM_CHAIN); \
        c_.field = (value);                           \
        refused(c_);                                  \
    } while (0)

static void test_refusals(void **state)
{
    (void)state;
    const double nan_value = (double)NAN;

    REFUSED(target.n, 0);
    REFUSED(draft.n, 0);
    REFUSED(max_rows, 0);
    REFUSED(max_rows, LV_TREE_MAX + 1);
    REFUSED(max_depth, 0);
    REFUSED(n_tokens, 0);
    REFUSED(n_child, 0);
    REFUSED(n_child, 9);
    REFUSED(chain_k, 0);
    REFUSED(n_slot, 0);
    REFUSED(read_seconds, -1.0);
    REFUSED(read_seconds, nan_value);
    REFUSED(pinned_share, 1.1);
    REFUSED(t_fixed, nan_value);
    REFUSED(prune_rows, 1.0);
    REFUSED(prune_lost, nan_value);
    REFUSED(prune_at, -0.1);
    REFUSED(prune_knows, 1.5);
    REFUSED(peek_hit, 1.1);
}

static void test_tables(void **state)
{
    (void)state;
    struct lever_acceptance good = simple_table(0.5f, 0.1f), t;

    assert_null(lv_accept_fault(&good));
#define BAD(field, value)                  \
    do {                                   \
        t = good;                          \
        t.field = (value);                 \
        assert_non_null(lv_accept_fault(&t)); \
    } while (0)
    BAD(n_class, 0);
    BAD(n_class, LEVER_ACCEPT_CLASSES + 1);
    BAD(n_task, 0);
    BAD(n_task, LEVER_ACCEPT_TASKS + 1);
    BAD(cls[0].p[0], 0.05f);
    BAD(cls[0].p[1], NAN);
    BAD(cls[0].hit[0], -0.1f);
    BAD(cls[0].hit[1], 0.6f);
    BAD(task[0].on[0], 0.5f);
    BAD(task[0].beside[0], NAN);
    BAD(task[0].stay, 1.0f);
    BAD(task[0].stay, NAN);
    BAD(task[0].found, 1.1f);
    BAD(task[0].found, 0.5f); /* and no classes where lookup is right */
    BAD(task[0].found_again, NAN);
    BAD(task[0].copied[0], -0.5f);
    BAD(task[0].right[5], 1.5f);
    BAD(lookup[0], NAN);
    BAD(task[0].n_text, LEVER_ACCEPT_TEXT + 1);
    BAD(task[0].n_text, 1);
    good.task[0].n_text = 2;
    BAD(task[0].text[1].cls, 1);
    BAD(task[0].text[1].truth, LEVER_ACCEPT_CHILDREN + 1);
    BAD(task[0].text[1].match, 1);
    BAD(task[0].text[1].match, 33);
#undef BAD
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twin),          cmocka_unit_test(test_chain_tokens),  cmocka_unit_test(test_sure_draft),
        cmocka_unit_test(test_useless_draft), cmocka_unit_test(test_off_resident),  cmocka_unit_test(test_infinite_flash),
        cmocka_unit_test(test_one_row),       cmocka_unit_test(test_monotone),      cmocka_unit_test(test_overlap_pays),
        cmocka_unit_test(test_pruning),       cmocka_unit_test(test_pruning_rules), cmocka_unit_test(test_beside),
        cmocka_unit_test(test_texts),         cmocka_unit_test(test_stretches),     cmocka_unit_test(test_same_again),
        cmocka_unit_test(test_copies),        cmocka_unit_test(test_lookup_alone),  cmocka_unit_test(test_lookup_adds),
        cmocka_unit_test(test_recorded_text), cmocka_unit_test(test_refusals),      cmocka_unit_test(test_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
