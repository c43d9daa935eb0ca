/* Prompt lookup against a naive twin that compares every place of the text.
 *
 * usage: test_lookup [SEED]
 *
 * Small alphabets (many matches, periods), appends and rewinds, suffixes that end in speculative tokens. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "draft/lookup.h"

#define CAP    600
#define MAX_K  40
#define N_PATH 12

static uint64_t seed = 7;

/* Text and path in one array. */
struct twin {
    int32_t v[CAP + N_PATH];
    uint32_t n_text, len;
};

/* Tokens that agree before `at` and before the end. */
static uint32_t agree(const struct twin *t, uint32_t at)
{
    uint32_t n = 0;

    while (n < at && n < LV_LOOKUP_MATCH_MAX && t->v[at - 1 - n] == t->v[t->len - 1 - n])
        n++;
    return n;
}

static int order(const void *pa, const void *pb)
{
    const struct lv_lookup_hit *a = pa, *b = pb;

    if (a->match != b->match)
        return a->match > b->match ? -1 : 1;
    if (a->n_seen != b->n_seen)
        return a->n_seen > b->n_seen ? -1 : 1;
    return a->at > b->at ? -1 : 1;
}

/* All hits, by definition: for every first token the longest n-gram that it followed, what was counted there, and
 * the best place. */
static uint32_t twin_find(const struct twin *t, uint32_t depth, struct lv_lookup_hit *hit)
{
    uint32_t n_hit = 0;

    for (uint32_t n = LV_LOOKUP_MAX; n >= LV_LOOKUP_MIN; n--) {
        const uint32_t n_old = n_hit;
        uint16_t seen = 0;

        for (uint32_t at = t->n_text + 1; at-- > 1 && seen < LV_LOOKUP_STEPS;) {
            const uint32_t a = agree(t, at);
            uint32_t h = 0;

            if (at == t->len || a < n)
                continue;
            seen++;
            while (h < n_hit && hit[h].token[0] != t->v[at])
                h++;
            if (h < n_old)
                continue;
            if (h == n_hit)
                hit[n_hit++] = (struct lv_lookup_hit){ .token = { t->v[at] }, .n = (uint16_t)depth };
            hit[h].n_seen++;
            if (a > hit[h].match) {
                hit[h].match = (uint16_t)a;
                hit[h].at = at;
            }
        }
        for (uint32_t h = n_old; h < n_hit; h++)
            hit[h].n_of = seen;
    }
    for (uint32_t h = 0; h < n_hit; h++) {
        int32_t whole[CAP + N_PATH + LV_LOOKUP_DEPTH_MAX];

        memcpy(whole, t->v, t->len * sizeof *whole);
        for (uint32_t i = 0; i < depth; i++)
            whole[t->len + i] = hit[h].token[i] = whole[hit[h].at + i];
    }
    qsort(hit, n_hit, sizeof *hit, order);
    return n_hit;
}

static void *memory_for(uint32_t n_ctx)
{
    void *m = lv_alloc(1, lv_lookup_bytes(n_ctx));

    assert_non_null(m);
    memset(m, 0xa5, lv_lookup_bytes(n_ctx)); /* init may not count on zeros */
    return m;
}

static void compare(const struct lv_lookup *l, struct twin *t, struct lv_rng *r, uint32_t alphabet, int step)
{
    static struct lv_lookup_hit a[MAX_K], b[LV_LOOKUP_TABLES * LV_LOOKUP_STEPS];
    const uint32_t depth = 1 + lv_rng_below(r, LV_LOOKUP_DEPTH_MAX), k = lv_rng_below(r, MAX_K);
    const uint32_t n_path = lv_rng_below(r, 2) ? lv_rng_below(r, N_PATH) : 0;

    /* Half of the paths are copied from the text: random tokens seldom match. */
    const uint32_t from = l->n > n_path ? lv_rng_below(r, l->n - n_path) : 0;
    const bool copy = lv_rng_below(r, 2) && l->n > n_path;

    t->n_text = l->n;
    t->len = l->n + n_path;
    for (uint32_t i = 0; i < n_path; i++)
        t->v[l->n + i] = copy ? t->v[from + i] : (int32_t)lv_rng_below(r, alphabet);
    memset(a, 0, sizeof a);
    const uint32_t n_all = twin_find(t, depth, b), want = n_all < k ? n_all : k;
    const uint32_t n = lv_lookup_find(l, n_path ? t->v + l->n : NULL, n_path, depth, a, k);

    if (n != want || memcmp(a, b, n * sizeof *a) != 0) {
        print_error("SEED=%llu step %d: %u tokens, path of %u, depth %u: %u hits, expected %u of %u\n",
                    (unsigned long long)seed, step, l->n, n_path, depth, n, want, n_all);
        for (uint32_t i = 0; i < n && i < want; i++)
            print_error("  token %d %d, match %u %u, seen %u %u of %u %u, at %u %u\n", a[i].token[0], b[i].token[0],
                        a[i].match, b[i].match, a[i].n_seen, b[i].n_seen, a[i].n_of, b[i].n_of, a[i].at, b[i].at);
        fail();
    }
}

static void test_twin(void **state)
{
    struct lv_rng r = { .state = seed };
    uint64_t n_query = 0;

    (void)state;
    print_message("SEED=%llu\n", (unsigned long long)seed);
    for (int run = 0; run < 40; run++) {
        const uint32_t alphabet = 1 + lv_rng_below(&r, run % 4 == 0 ? 40 : 4);
        const uint32_t cap = 1 + lv_rng_below(&r, CAP);
        void *memory = memory_for(cap);
        static struct twin t;
        struct lv_lookup l;

        lv_lookup_init(&l, memory, cap);
        for (int step = 0; step < 900; step++) {
            const uint32_t what = lv_rng_below(&r, 40);

            if (what == 0) {
                lv_lookup_rewind(&l, l.n - lv_rng_below(&r, l.n + 1) / (lv_rng_below(&r, 2) ? 1 : 8));
            } else if (what == 1 && l.n > 0) { /* a span again: long matches */
                uint32_t from = lv_rng_below(&r, l.n), n = lv_rng_below(&r, 50);

                for (; n > 0 && l.n < cap; n--, from++) {
                    t.v[l.n] = t.v[from];
                    assert_true(lv_lookup_append(&l, t.v[from]));
                }
            } else if (l.n < cap) {
                t.v[l.n] = (int32_t)lv_rng_below(&r, alphabet) - (alphabet > 30 ? 15 : 0);
                assert_true(lv_lookup_append(&l, t.v[l.n]));
            } else {
                assert_false(lv_lookup_append(&l, 0));
                assert_int_equal(l.n, cap);
            }
            if (step % 3 == 0) {
                compare(&l, &t, &r, alphabet, step);
                n_query++;
            }
        }
        lv_free(memory);
    }
    print_message("%llu queries\n", (unsigned long long)n_query);
}

/* After rewinds the tables are those of a text that never was longer. */
static void test_no_history(void **state)
{
    enum { N = 300 };
    struct lv_rng r = { .state = seed + 1 };
    void *ma = memory_for(N), *mb = memory_for(N);
    struct lv_lookup a, b;

    (void)state;
    lv_lookup_init(&a, ma, N);
    for (int run = 0; run < 200; run++) {
        const uint32_t n = lv_rng_below(&r, N + 1), keep = lv_rng_below(&r, a.n + 1);

        lv_lookup_rewind(&a, keep);
        while (a.n < n)
            lv_lookup_append(&a, (int32_t)lv_rng_below(&r, 3));
        lv_lookup_init(&b, mb, N);
        for (uint32_t i = 0; i < a.n; i++)
            lv_lookup_append(&b, a.token[i]);
        for (uint32_t t = 0; t < LV_LOOKUP_TABLES; t++) {
            assert_memory_equal(a.head[t], b.head[t], a.n_slot * sizeof *a.head[t]);
            if (a.n >= t + LV_LOOKUP_MIN)
                assert_memory_equal(a.before[t] + t + LV_LOOKUP_MIN, b.before[t] + t + LV_LOOKUP_MIN,
                                    (a.n - t - 1) * sizeof *a.before[t]);
        }
    }
    lv_free(ma);
    lv_free(mb);
}

static void append_all(struct lv_lookup *l, const int32_t *token, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        assert_true(lv_lookup_append(l, token[i]));
}

/* Worked by hand. */
static void test_examples(void **state)
{
    static const int32_t text[] = { 1, 2, 3, 7, 1, 2, 3, 8, 9, 2, 3, 5, 2, 3, 5, 1, 2, 3 };
    void *memory = memory_for(64);
    struct lv_lookup_hit h[8];
    struct lv_lookup l;

    (void)state;
    lv_lookup_init(&l, memory, 64);
    assert_int_equal(lv_lookup_find(&l, NULL, 0, 4, h, 8), 0); /* no text */
    append_all(&l, text, 2);
    assert_int_equal(lv_lookup_find(&l, NULL, 0, 4, h, 8), 0); /* only itself */
    append_all(&l, text + 2, 16);

    /* 1 2 3 was followed by 8, and before that by 7; 2 3 alone twice by 5, among four places. */
    assert_int_equal(lv_lookup_find(&l, NULL, 0, 3, h, 8), 3);
    assert_true(h[0].token[0] == 8 && h[0].token[1] == 9 && h[0].token[2] == 2 && h[0].n == 3);
    assert_true(h[0].match == 3 && h[0].n_seen == 1 && h[0].n_of == 2 && h[0].at == 7);
    assert_true(h[1].token[0] == 7 && h[1].match == 3 && h[1].n_seen == 1 && h[1].n_of == 2);
    assert_true(h[2].token[0] == 5 && h[2].token[1] == 1 && h[2].match == 2 && h[2].n_seen == 2 && h[2].n_of == 4);

    /* The path 8 9 makes the match longer and its one continuation certain. */
    assert_int_equal(lv_lookup_find(&l, (const int32_t[]){ 8, 9 }, 2, 2, h, 8), 1);
    assert_true(h[0].token[0] == 2 && h[0].token[1] == 3 && h[0].match == 5);

    /* A period goes on beyond the end of what is there. */
    lv_lookup_rewind(&l, 0);
    append_all(&l, (const int32_t[]){ 4, 5, 6, 4, 5, 6, 4, 5 }, 8);
    assert_int_equal(lv_lookup_find(&l, NULL, 0, 7, h, 8), 1);
    assert_memory_equal(h[0].token, ((const int32_t[]){ 6, 4, 5, 6, 4, 5, 6 }), 7 * sizeof(int32_t));
    assert_int_equal(h[0].match, 5);

    /* The same period half in the path. */
    lv_lookup_rewind(&l, 5);
    assert_int_equal(lv_lookup_find(&l, (const int32_t[]){ 6, 4, 5 }, 3, 4, h, 8), 1);
    assert_memory_equal(h[0].token, ((const int32_t[]){ 6, 4, 5, 6 }), 4 * sizeof(int32_t));
    lv_free(memory);
}

/* The largest text: fits its memory, is undone to nothing, and one token over and over costs no more. */
static void test_large(void **state)
{
    const uint32_t n = LV_LOOKUP_CTX_MAX;
    struct lv_rng r = { .state = seed + 2 };
    void *memory = memory_for(n);
    struct lv_lookup_hit h[4];
    struct lv_lookup l;

    (void)state;
    assert_in_range(lv_lookup_bytes(n), 1, UINT64_C(160) * n);
    lv_lookup_init(&l, memory, n);
    for (uint32_t i = 0; i < n; i++)
        assert_true(lv_lookup_append(&l, (int32_t)(lv_rng_below(&r, 400) * lv_rng_below(&r, 400))));
    assert_false(lv_lookup_append(&l, 1));
    lv_lookup_find(&l, l.token + 1000, 12, 8, h, 4);
    assert_true(h[0].match >= 12 && h[0].token[0] == l.token[1012] && h[0].token[7] == l.token[1019]);
    lv_lookup_rewind(&l, 0);
    for (uint32_t t = 0; t < LV_LOOKUP_TABLES; t++)
        for (uint32_t s = 0; s < l.n_slot; s++)
            assert_int_equal(l.head[t][s], 0);
    for (uint32_t i = 0; i < n; i++)
        lv_lookup_append(&l, 3);
    for (uint32_t i = 0; i < 20000; i++) /* minutes if a query walked all places */
        assert_int_equal(lv_lookup_find(&l, NULL, 0, 8, h, 4), 1);
    assert_true(h[0].match == LV_LOOKUP_MATCH_MAX && h[0].n_of == LV_LOOKUP_STEPS && h[0].n_seen == LV_LOOKUP_STEPS);
    lv_free(memory);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twin),
        cmocka_unit_test(test_no_history),
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_large),
    };

    if (argc > 1)
        seed = strtoull(argv[1], NULL, 10);
    return cmocka_run_group_tests_name("lookup", tests, NULL, NULL);
}
