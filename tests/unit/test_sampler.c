/* The sampler against a naive twin, against softmax (chi-square), and its refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log_math.h"
#include "base/mem.h"
#include "base/rng.h"
#include "engine/sampler.h"

#define VOCAB_MAX 400

static struct lever_sampling plain(float temperature)
{
    return (struct lever_sampling){
        .size = sizeof(struct lever_sampling),
        .temperature = temperature,
        .top_p = 1.0f,
        .repeat_penalty = 1.0f,
        .penalty_last_n = 64,
    };
}

static struct lv_sampler *make(const struct lever_sampling *f, uint32_t n_vocab, const int32_t *end, uint32_t n_end)
{
    struct lever_error err = { 0 };
    struct lv_sampler *s = malloc(sizeof *s);

    if (lv_sampler_init(s, f, n_vocab, end, n_end, &err) != LEVER_OK)
        fail_msg("init: %s", err.message);
    return s;
}

static void destroy(struct lv_sampler *s)
{
    lv_sampler_deinit(s);
    free(s);
}

static bool before(struct lv_top a, struct lv_top b)
{
    if (isnan(a.logit) || isnan(b.logit))
        return isnan(b.logit) && (!isnan(a.logit) || a.id < b.id);
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* The largest logits, best first, as the head keeps them. */
static uint32_t select_top(const float *logits, uint32_t n_vocab, uint32_t n_top, struct lv_top *top)
{
    uint32_t n = 0;

    for (uint32_t id = 0; id < n_vocab; id++) {
        const struct lv_top t = { logits[id] > FLT_MAX ? FLT_MAX : logits[id], id };
        uint32_t i = n < n_top ? n++ : n_top - 1;

        if (i == n_top - 1 && n == n_top && id >= n_top && !before(t, top[i]))
            continue;
        for (; i > 0 && before(t, top[i - 1]); i--)
            top[i] = top[i - 1];
        top[i] = t;
    }
    return n;
}

static uint32_t n_top_draws; /* draws that the largest logits alone were enough for */

/* Draws from a copy of exactly n_vocab logits and a scratch of exactly the size asked for, so that sanitizers see
 * every step too far; the scratch starts as rubbish. */
static int32_t draw(const struct lv_sampler *s, const float *logits, const int32_t *history, uint64_t n_history,
                    uint64_t position)
{
    float *copy = malloc(s->n_vocab * sizeof *copy);
    const size_t scratch_bytes = (size_t)lv_sampler_scratch_bytes(s);
    void *scratch = malloc(scratch_bytes);

    memcpy(copy, logits, s->n_vocab * sizeof *copy);
    memset(scratch, 0xa5, scratch_bytes);
    const int32_t id = lv_sampler_draw(s, copy, history, n_history, position, scratch);
    if (lv_sampler_n_top(s)) {
        struct lv_top top[LV_HEAD_TOP_MAX];
        const uint32_t n = select_top(logits, s->n_vocab, lv_sampler_n_top(s), top);

        memset(scratch, 0xa5, scratch_bytes);
        assert_int_equal(lv_sampler_draw_top(s, top, n, position, scratch), id);
        n_top_draws++;
    }
    free(copy);
    free(scratch);
    return id;
}

/* ---- the twin ------------------------------------------------------------ */

struct twin_token {
    float logit;
    int32_t id;
};

static int twin_order(const void *a, const void *b)
{
    const struct twin_token *x = a, *y = b;

    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* The definition in the header, word for word: sort, cut, look at every token. libm's exp and log. */
static int32_t twin_draw(const struct lever_sampling *f, uint32_t n_vocab, const int32_t *end, uint32_t n_end,
                         const float *logits, const int32_t *history, uint64_t n_history, uint64_t position)
{
    struct twin_token *t = malloc(n_vocab * sizeof *t);
    int32_t *count = calloc(n_vocab, sizeof *count);
    bool *banned = calloc(n_vocab, sizeof *banned);
    uint32_t n = 0;

    for (uint64_t i = 0; i < n_history; i++)
        if ((f->penalty_last_n < 0 || n_history - i <= (uint64_t)f->penalty_last_n) && history[i] >= 0 &&
            (uint32_t)history[i] < n_vocab)
            count[history[i]]++;
    for (uint32_t id = 0; id < n_vocab; id++) {
        float x = logits[id], b = 0.0f;

        for (size_t i = 0; i < f->n_logit_bias; i++)
            if (f->logit_bias[i].token == (int32_t)id)
                b += f->logit_bias[i].bias;
        for (uint32_t i = 0; i < n_end && f->ignore_eos; i++)
            if (end[i] == (int32_t)id)
                b = -INFINITY;
        banned[id] = b == -INFINITY;
        x += b;
        if (count[id] > 0) {
            x = x > 0.0f ? x / f->repeat_penalty : x * f->repeat_penalty;
            x -= (float)count[id] * f->frequency_penalty + f->presence_penalty;
        }
        if (x > FLT_MAX)
            x = FLT_MAX;
        if (x >= -FLT_MAX)
            t[n++] = (struct twin_token){ x, (int32_t)id };
    }
    int32_t best = 0;

    if (n == 0) {
        while (banned[best])
            best++;
        goto out;
    }
    qsort(t, n, sizeof *t, twin_order);
    best = t[0].id;
    if (f->temperature == 0.0f)
        goto out;
    if (f->top_k > 0 && (uint32_t)f->top_k < n)
        n = (uint32_t)f->top_k;
    const double max = (double)t[0].logit;

    if (f->top_p < 1.0f) {
        double total = 0, sum = 0;
        uint32_t keep = 0;

        for (uint32_t i = 0; i < n; i++)
            total += exp((double)t[i].logit - max);
        while (keep < n && (keep == 0 || sum < (double)f->top_p * total))
            sum += exp((double)t[keep++].logit - max);
        n = keep;
    }
    if (f->min_p > 0.0f)
        while (!((double)t[n - 1].logit - max >= log((double)f->min_p)))
            n--;
    double best_score = -INFINITY;

    for (uint32_t i = 0; i < n; i++) {
        const double score = (double)t[i].logit * (1.0 / (double)f->temperature) +
                             (double)lv_sampler_gumbel(f->seed, position, t[i].id);

        if (score > best_score || (score == best_score && t[i].id < best)) {
            best_score = score;
            best = t[i].id;
        }
    }
out:
    free(t);
    free(count);
    free(banned);
    return best;
}

static void random_logits(struct lv_rng *r, float *logits, uint32_t n)
{
    const uint32_t kind = lv_rng_below(r, 6);
    const float scale = (float[]){ 0.01f, 1.0f, 4.0f, 30.0f }[lv_rng_below(r, 4)];

    for (uint32_t i = 0; i < n; i++) {
        logits[i] = lv_rng_f32(r) * scale;
        if (kind == 1) /* ties */
            logits[i] = (float)(int)(lv_rng_f32(r) * 3.0f);
        if (kind == 2) /* all alike, zeros of both signs */
            logits[i] = lv_rng_below(r, 2) ? 0.0f : -0.0f;
        if (kind == 3 && lv_rng_below(r, 3) == 0)
            logits[i] = -INFINITY;
        if (kind == 4) {
            static const float odd[] = { NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, FLT_MIN, 1e-42f };
            const uint32_t k = lv_rng_below(r, 20);

            if (k < 7)
                logits[i] = odd[k];
        }
        if (kind == 5 && lv_rng_below(r, 50) > 0) /* almost nothing left */
            logits[i] = lv_rng_below(r, 2) ? NAN : -INFINITY;
    }
}

static void random_fields(struct lv_rng *r, struct lever_sampling *f, struct lever_logit_bias *bias, uint32_t n_vocab)
{
    static const float temperatures[] = { 0.0f, 0.2f, 0.7f, 1.0f, 1.5f, 20.0f, 1e-30f, 1e-45f, FLT_MAX };
    const uint32_t on = (uint32_t)lv_rng_u64(r); /* each field on or off by itself */

    *f = plain(temperatures[lv_rng_below(r, 9)]);
    f->seed = lv_rng_u64(r);
    if (on & 1)
        f->top_k = 1 + (int32_t)lv_rng_below(r, n_vocab + 5);
    if (on & 2)
        f->top_p = (float[]){ 0.5f, 0.9f, 0.95f, 0.3f, 1e-30f, 0.99999994f }[lv_rng_below(r, 6)];
    if (on & 4)
        f->min_p = (float[]){ 0.05f, 0.5f, 0.99f, 1e-10f, 1e-44f }[lv_rng_below(r, 5)];
    if (on & 8)
        f->repeat_penalty = (float[]){ 1.1f, 2.0f, 0.5f, FLT_MAX, 1e-40f }[lv_rng_below(r, 5)];
    if (on & 16)
        f->presence_penalty = lv_rng_f32(r) * 2.0f;
    if (on & 32)
        f->frequency_penalty = lv_rng_below(r, 8) ? lv_rng_f32(r) * 2.0f : -FLT_MAX;
    if (on & 64)
        f->penalty_last_n = (int32_t)lv_rng_below(r, 30) - 1;
    f->ignore_eos = on & 128;
    if (on & 256) {
        f->logit_bias = bias;
        f->n_logit_bias = lv_rng_below(r, 2 * n_vocab < 40 ? 2 * n_vocab : 40);
        for (size_t i = 0; i < f->n_logit_bias; i++) {
            /* token 0 is never banned, so that one is left */
            bias[i].token = (int32_t)lv_rng_below(r, n_vocab);
            bias[i].bias = lv_rng_below(r, 4) || bias[i].token == 0 ? (float)(int)(lv_rng_f32(r) * 8.0f) : -INFINITY;
        }
    }
}

static void test_equals_twin(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 15000; seed++) {
        struct lv_rng r = { seed };
        float logits[VOCAB_MAX];
        int32_t history[100];
        struct lever_logit_bias bias[40];
        struct lever_sampling f;
        const uint32_t n_vocab = 1 + lv_rng_below(&r, lv_rng_below(&r, 4) ? 12 : VOCAB_MAX);
        const uint32_t n_history = lv_rng_below(&r, 101);
        const int32_t end[] = { (int32_t)n_vocab - 1, (int32_t)n_vocab / 2, -1, (int32_t)n_vocab + 3 };
        const uint32_t n_end = n_vocab > 1 ? lv_rng_below(&r, 5) : 0;
        const uint64_t position = lv_rng_below(&r, 2) ? lv_rng_below(&r, 5000) : lv_rng_u64(&r);

        random_logits(&r, logits, n_vocab);
        for (uint32_t i = 0; i < n_history; i++) /* now and then an id that is none */
            history[i] = (int32_t)lv_rng_below(&r, n_vocab + 2) - (lv_rng_below(&r, 50) == 0);
        random_fields(&r, &f, bias, n_vocab);
        if (n_vocab == 2 && f.ignore_eos) /* both ends may be token 0 and 1 */
            f.ignore_eos = false;

        struct lv_sampler *s = make(&f, n_vocab, end, n_end);
        const int32_t got = draw(s, logits, history, n_history, position);
        const int32_t want = twin_draw(&f, n_vocab, end, n_end, logits, history, n_history, position);

        if (got != want)
            fail_msg("seed %llu: token %d, twin %d (T %g, k %d, p %g, min-p %g, %u tokens)",
                     (unsigned long long)seed, got, want, (double)f.temperature, f.top_k, (double)f.top_p,
                     (double)f.min_p, n_vocab);
        destroy(s);
    }
}

/* Sizes of real vocabularies, where the bounds pass over nearly every token. */
static void test_equals_twin_large(void **state)
{
    const uint32_t n_vocab = 151936;
    float *logits = malloc(n_vocab * sizeof *logits);

    (void)state;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        struct lv_rng r = { seed };
        struct lever_sampling f = plain((float[]){ 0.3f, 1.0f, 3.0f }[seed % 3]);

        for (uint32_t i = 0; i < n_vocab; i++) {
            const float a = lv_rng_f32(&r), b = lv_rng_f32(&r);
            logits[i] = (a + b + lv_rng_f32(&r) * a * b) * (seed % 4 == 0 ? 0.5f : 8.0f);
        }
        f.seed = lv_rng_u64(&r);
        if (seed % 2)
            f.top_p = 0.95f;
        if (seed % 5 == 1)
            f.top_k = seed % 10 == 1 ? 40 : 100000;
        if (seed % 5 == 2)
            f.min_p = 0.02f;
        struct lv_sampler *s = make(&f, n_vocab, NULL, 0);
        const int32_t got = draw(s, logits, NULL, 0, seed);
        const int32_t want = twin_draw(&f, n_vocab, NULL, 0, logits, NULL, 0, seed);

        if (got != want)
            fail_msg("seed %llu: token %d, twin %d", (unsigned long long)seed, got, want);
        destroy(s);
    }
    free(logits);
}

/* ---- distribution -------------------------------------------------------- */

/* Wilson and Hilferty 1931: how many standard deviations chi-square with k degrees lies above its mean. */
static double chi_deviations(double chi, double k)
{
    return (cbrt(chi / k) - (1.0 - 2.0 / (9.0 * k))) / sqrt(2.0 / (9.0 * k));
}

static void check_counts(const char *what, const uint32_t *count, const double *p, uint32_t n_cell, uint32_t n_draw)
{
    double chi = 0, rest_p = 0, rest = 0;
    uint32_t n = 0;

    for (uint32_t i = 0; i < n_cell; i++) {
        const double expected = p[i] * (double)n_draw;

        if (p[i] == 0.0)
            assert_int_equal(count[i], 0);
        if (expected < 10.0) { /* chi-square needs well-filled cells */
            rest_p += p[i];
            rest += count[i];
            continue;
        }
        chi += (count[i] - expected) * (count[i] - expected) / expected;
        n++;
    }
    if (rest_p * (double)n_draw >= 10.0) {
        const double expected = rest_p * (double)n_draw;
        chi += (rest - expected) * (rest - expected) / expected;
        n++;
    }
    assert_true(n >= 2);
    const double z = chi_deviations(chi, (double)(n - 1));

    print_message("%s: chi-square %.1f, %u cells, %.2f deviations\n", what, chi, n, z);
    if (!(z < 3.09 && z > -3.09)) /* p = 0.001 on either side: too even is wrong too */
        fail_msg("%s: the draws do not follow softmax", what);
}

/* n_draw draws over positions (or seeds) against softmax(logit / T) on the first n_kept of falling logits. */
static void check_distribution(const char *what, const float *logits, uint32_t n_vocab,
                               const struct lever_sampling *fields, uint32_t n_kept, bool over_seeds)
{
    enum { N_DRAW = 1000000 };
    struct lever_sampling f = *fields;
    uint32_t count[VOCAB_MAX] = { 0 };
    double p[VOCAB_MAX] = { 0 }, total = 0;
    float copy[VOCAB_MAX];
    struct lv_sampler *s = make(&f, n_vocab, NULL, 0);
    void *scratch = malloc((size_t)lv_sampler_scratch_bytes(s));

    for (uint32_t i = 0; i < n_kept; i++)
        total += p[i] = exp((double)logits[i] / (double)f.temperature);
    for (uint32_t i = 0; i < n_kept; i++)
        p[i] /= total;
    for (uint32_t i = 0; i < N_DRAW; i++) {
        memcpy(copy, logits, n_vocab * sizeof *copy);
        if (over_seeds)
            s->seed = i;
        count[lv_sampler_draw(s, copy, NULL, 0, over_seeds ? 7 : i, scratch)]++;
    }
    check_counts(what, count, p, n_vocab, N_DRAW);
    free(scratch);
    destroy(s);
}

static void test_distribution(void **state)
{
    float falling[30], flat[16] = { 0 }, peaked[8] = { 9.0f, 3.0f, 2.0f, 1.0f, 0.0f, -1.0f, -2.0f, -3.0f };
    struct lever_sampling f = plain(1.0f);

    (void)state;
    for (int i = 0; i < 30; i++)
        falling[i] = 4.0f - 0.25f * (float)i;
    f.seed = 1;
    check_distribution("falling", falling, 30, &f, 30, false);
    check_distribution("flat", flat, 16, &f, 16, false);
    check_distribution("peaked", peaked, 8, &f, 8, false);
    check_distribution("over seeds", falling, 30, &f, 30, true);
    f.temperature = 0.6f;
    f.top_k = 5;
    check_distribution("top-k 5, T 0.6", falling, 30, &f, 5, false);
}

/* Draws at neighbouring positions, and at one position under neighbouring seeds, know nothing of each other. */
static void test_independent(void **state)
{
    enum { N = 5, N_PAIR = 500000 };
    const float logits[N] = { 1.0f, 0.5f, 0.0f, -0.5f, 0.25f };
    struct lever_sampling f = plain(1.0f);
    struct lv_sampler *s = make(&f, N, NULL, 0);
    void *scratch = malloc((size_t)lv_sampler_scratch_bytes(s));
    double p[N * N], total = 0;

    (void)state;
    for (int i = 0; i < N; i++)
        total += exp((double)logits[i]);
    for (int i = 0; i < N * N; i++)
        p[i] = exp((double)logits[i / N]) * exp((double)logits[i % N]) / total / total;
    for (int way = 0; way < 2; way++) {
        uint32_t count[N * N] = { 0 };

        for (uint32_t i = 0; i < N_PAIR; i++) {
            int32_t id[2];

            for (uint32_t j = 0; j < 2; j++) {
                float copy[N];

                memcpy(copy, logits, sizeof copy);
                s->seed = way == 0 ? 3 : 2 * i + j;
                id[j] = lv_sampler_draw(s, copy, NULL, 0, way == 0 ? 2 * i + j : 11, scratch);
            }
            count[id[0] * N + id[1]]++;
        }
        check_counts(way == 0 ? "pairs of positions" : "pairs of seeds", count, p, N * N, N_PAIR);
    }
    free(scratch);
    destroy(s);
}

static void test_gumbel_range(void **state)
{
    double sum = 0;

    (void)state;
    for (int32_t t = 0; t < 1000000; t++) {
        const float g = lv_sampler_gumbel(5, 6, t);

        assert_true(g > -3.62f && g < 36.75f);
        sum += (double)g;
    }
    /* Euler's constant, deviation pi / sqrt(6) / 1000 */
    assert_true(fabs(sum * 1e-6 - 0.5772157) < 4 * 0.00128);
}

/* ---- properties ---------------------------------------------------------- */

/* Fields the properties run under: every filter alone and all together. */
static const struct {
    float temperature, top_p, min_p;
    int32_t top_k;
} settings[] = { { 0.0f, 1.0f, 0.0f, 0 },  { 1.0f, 1.0f, 0.0f, 0 }, { 1.0f, 1.0f, 0.0f, 4 },
                 { 1.0f, 0.8f, 0.0f, 0 },  { 1.0f, 1.0f, 0.1f, 0 }, { 0.5f, 0.9f, 0.05f, 6 },
                 { 0.0f, 0.5f, 0.5f, 3 } };
#define N_SETTING (sizeof settings / sizeof settings[0])

static struct lever_sampling setting(size_t i, uint64_t seed)
{
    struct lever_sampling f = plain(settings[i].temperature);

    f.top_p = settings[i].top_p;
    f.min_p = settings[i].min_p;
    f.top_k = settings[i].top_k;
    f.seed = seed;
    return f;
}

/* A token that cannot be drawn changes nothing, however it is said. */
static void test_banned_is_absent(void **state)
{
    enum { N = 20, N_MORE = 33 };
    const int32_t end[] = { 3, 17, -1, 99 };
    const struct lever_logit_bias bias[] = { { 17, -INFINITY }, { 3, 2.0f }, { 3, -INFINITY } };
    const struct lever_logit_bias bias_turned[] = { { 3, -INFINITY }, { 3, 2.0f }, { 17, -INFINITY } };
    uint32_t n_differ = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct lv_rng r = { seed };
        float logits[N_MORE], without[N_MORE], with_nan[N_MORE];

        for (int i = 0; i < N_MORE; i++)
            logits[i] = i < N ? lv_rng_f32(&r) * 3.0f : -INFINITY;
        memcpy(without, logits, sizeof without);
        memcpy(with_nan, logits, sizeof without);
        without[3] = without[17] = -INFINITY;
        with_nan[3] = with_nan[17] = NAN;
        for (size_t i = 0; i < N_SETTING; i++) {
            struct lever_sampling f = setting(i, seed);
            struct lv_sampler *s = make(&f, N, end, 4), *longer = make(&f, N_MORE, end, 4);
            const int32_t want = draw(s, without, NULL, 0, seed);

            assert_int_not_equal(want, 3);
            assert_int_not_equal(want, 17);
            assert_int_equal(draw(s, with_nan, NULL, 0, seed), want);
            assert_int_equal(draw(longer, without, NULL, 0, seed), want);
            n_differ += draw(s, logits, NULL, 0, seed) != want;
            destroy(s);
            destroy(longer);

            f.ignore_eos = true;
            s = make(&f, N, end, 4);
            assert_int_equal(draw(s, logits, NULL, 0, seed), want);
            destroy(s);

            f.ignore_eos = false;
            f.logit_bias = bias;
            f.n_logit_bias = 3;
            s = make(&f, N, NULL, 0);
            assert_int_equal(draw(s, logits, NULL, 0, seed), want);
            destroy(s);
            f.logit_bias = bias_turned;
            s = make(&f, N, NULL, 0);
            assert_int_equal(draw(s, logits, NULL, 0, seed), want);
            destroy(s);
        }
    }
    assert_true(n_differ > 100); /* the two tokens did matter */
}

static void test_greedy(void **state)
{
    struct lever_sampling f = plain(0.0f);
    struct lv_sampler *s = make(&f, 10, NULL, 0);
    const float tie[10] = { 1, NAN, 5, 2, 5, -INFINITY, 5, 0, -1, NAN };
    const float infinite[10] = { 1, FLT_MAX, INFINITY, 0, 0, 0, 0, 0, 0, 0 };
    const float none[10] = { NAN, NAN, -INFINITY, NAN, NAN, NAN, NAN, NAN, NAN, -INFINITY };
    const float zeros[10] = { -1, -0.0f, 0.0f, -1, -1, -1, -1, -1, -1, -1 };

    (void)state;
    assert_int_equal(draw(s, tie, NULL, 0, 0), 2);
    assert_int_equal(draw(s, infinite, NULL, 0, 0), 1);
    assert_int_equal(draw(s, none, NULL, 0, 0), 0);
    assert_int_equal(draw(s, zeros, NULL, 0, 0), 1);
    destroy(s);

    const struct lever_logit_bias bias[] = { { 1, -INFINITY }, { 0, -INFINITY }, { 3, -INFINITY } };
    f.logit_bias = bias;
    f.n_logit_bias = 3;
    for (int i = 0; i < 2; i++) {
        f.temperature = (float)i;
        s = make(&f, 10, NULL, 0);
        assert_int_equal(draw(s, none, NULL, 0, 0), 2);
        destroy(s);
    }
}

/* Only the window counts, and only tokens that are in it. */
static void test_penalties(void **state)
{
    const float logits[4] = { 3.0f, 2.9f, -1.0f, 2.0f };
    const int32_t history[] = { 1, 1, 0, 0, 0 };
    struct lever_sampling f = plain(0.0f);
    struct lv_sampler *s;

    (void)state;
    f.penalty_last_n = 3; /* three times 0 */
    f.presence_penalty = 0.2f;
    s = make(&f, 4, NULL, 0);
    assert_int_equal(draw(s, logits, history, 5, 5), 1);
    assert_int_equal(draw(s, logits, history, 2, 2), 0);
    assert_int_equal(draw(s, logits, NULL, 0, 0), 0);
    destroy(s);
    f.penalty_last_n = 0;
    s = make(&f, 4, NULL, 0);
    assert_int_equal(draw(s, logits, history, 5, 5), 0);
    destroy(s);
    f.penalty_last_n = -1; /* both tokens get the same */
    s = make(&f, 4, NULL, 0);
    assert_int_equal(draw(s, logits, history, 5, 5), 0);
    destroy(s);
    f.presence_penalty = 0.0f;
    f.frequency_penalty = 0.2f; /* 3 - 0.6 against 2.9 - 0.4 */
    s = make(&f, 4, NULL, 0);
    assert_int_equal(draw(s, logits, history, 5, 5), 1);
    destroy(s);
    f.frequency_penalty = 0.0f;
    f.repeat_penalty = 2.0f; /* once, not by count: 1.5, 1.45 */
    s = make(&f, 4, NULL, 0);
    assert_int_equal(draw(s, logits, history, 5, 5), 3);
    destroy(s);

    const float below[2] = { -1.0f, -1.5f }; /* a negative logit gets smaller, not larger */
    s = make(&f, 2, NULL, 0);
    assert_int_equal(draw(s, below, history + 2, 3, 3), 1);
    destroy(s);
}

/* ---- refusals ------------------------------------------------------------ */

static void refuse(const char *name, const struct lever_sampling *f, uint32_t n_vocab)
{
    struct lv_sampler s;
    struct lever_error err = { 0 };

    memset(&s, 0x5a, sizeof s);
    const struct lv_sampler before = s;

    if (lv_sampler_init(&s, f, n_vocab, NULL, 0, &err) != LEVER_E_ARG)
        fail_msg("%s: not refused", name);
    assert_int_equal(err.status, LEVER_E_ARG);
    if (!strstr(err.message, name))
        fail_msg("\"%s\" does not name %s", err.message, name);
    assert_memory_equal(&s, &before, sizeof s);
    assert_int_equal(lv_sampler_init(&s, f, n_vocab, NULL, 0, NULL), LEVER_E_ARG);
}

#define REFUSE(field, ...)                                                        \
    do {                                                                          \
        const float bad[] = { __VA_ARGS__ };                                      \
        for (size_t i_bad = 0; i_bad < sizeof bad / sizeof bad[0]; i_bad++) {     \
            struct lever_sampling f_bad = plain(1.0f);                            \
            f_bad.field = (__typeof__(f_bad.field))bad[i_bad];                    \
            refuse(#field, &f_bad, 100);                                          \
        }                                                                         \
    } while (0)

static void test_refusals(void **state)
{
    struct lever_sampling f = plain(1.0f);
    struct lever_logit_bias b[3] = { { 0, 1.0f }, { 1, 0.0f }, { 2, -1.0f } };

    (void)state;
    REFUSE(temperature, -0.1f, NAN, INFINITY, -INFINITY);
    REFUSE(top_k, -1.0f, -1e9f);
    REFUSE(top_p, 0.0f, -0.5f, 1.0001f, NAN, INFINITY);
    REFUSE(min_p, -0.1f, 1.0f, NAN, INFINITY);
    REFUSE(repeat_penalty, 0.0f, -1.0f, NAN, INFINITY);
    REFUSE(presence_penalty, NAN, INFINITY, -INFINITY);
    REFUSE(frequency_penalty, NAN, INFINITY, -INFINITY);
    REFUSE(penalty_last_n, -2.0f, -1e9f);
    refuse("vocabulary", &f, 0);
    refuse("vocabulary", &f, LV_SAMPLER_VOCAB_MAX + 1);
    f.n_logit_bias = 3;
    refuse("logit_bias", &f, 100);
    f.logit_bias = b;
    f.n_logit_bias = SIZE_MAX;
    refuse("n_logit_bias", &f, 100);
    f.n_logit_bias = 3;
    b[1].token = -1;
    refuse("logit_bias[1]", &f, 100);
    b[1].token = 100;
    refuse("logit_bias[1]", &f, 100);
    b[1].token = 1;
    b[2].bias = NAN;
    refuse("logit_bias[2]", &f, 100);
    b[2].bias = INFINITY;
    refuse("logit_bias[2]", &f, 100);
    for (int i = 0; i < 3; i++)
        b[i].bias = -INFINITY;
    refuse("banned", &f, 3);

    struct lv_sampler *s = make(&f, 4, NULL, 0);
    destroy(s);
    lv_alloc_fail_at(1, false);
    struct lever_error err;
    struct lv_sampler none;
    assert_int_equal(lv_sampler_init(&none, &f, 4, NULL, 0, &err), LEVER_E_NOMEM);
    lv_alloc_fail_at(0, false);
}

/* ---- own logarithm and exponential --------------------------------------- */

static double ulps(double got, double want)
{
    int e;

    frexp(want, &e);
    return fabs(got - want) / ldexp(1.0, e - 53 < -1074 ? -1074 : e - 53);
}

static void test_log_exp(void **state)
{
    struct lv_rng r = { 1 };
    double worst_log = 0, worst_exp = 0;

    (void)state;
    for (int i = 0; i < 1000000; i++) {
        double x = lv_f64_from_bits(lv_rng_u64(&r) >> 1);

        if (i % 4 == 1) /* about 1, where a sloppy one loses everything */
            x = 1.0 + (double)lv_rng_f32(&r) * ldexp(1.0, -(int)lv_rng_below(&r, 52));
        if (i % 4 == 2)
            x = (double)(lv_rng_u64(&r) >> 12) * 0x1p-52;
        if (x > 0.0 && isfinite(x) && x != 1.0)
            worst_log = fmax(worst_log, ulps(lv_log_f64(x), log(x)));
        const double y = (double)lv_rng_f32(&r) * (i % 2 ? 744.0 : 2.0);
        if (y < 709.0)
            worst_exp = fmax(worst_exp, ulps(lv_exp_f64(y), exp(y)));
    }
    print_message("worst log %.2f ulp, worst exp %.2f ulp\n", worst_log, worst_exp);
    assert_true(worst_log < 2.0);
    assert_true(worst_exp < 2.0);
    assert_true(lv_log_f64(1.0) == 0.0);
    assert_true(lv_log_f64(0.0) == -INFINITY && lv_log_f64(INFINITY) == INFINITY);
    assert_true(isnan(lv_log_f64(-1.0)) && isnan(lv_log_f64(NAN)) && isnan(lv_log_f64(-INFINITY)));
    assert_true(ulps(lv_log_f64(0x1p-1074), log(0x1p-1074)) < 2.0);
    assert_true(lv_exp_f64(0.0) == 1.0 && lv_exp_f64(-0.0) == 1.0);
    assert_true(lv_exp_f64(-INFINITY) == 0.0 && lv_exp_f64(-800.0) == 0.0);
    assert_true(lv_exp_f64(INFINITY) == INFINITY && lv_exp_f64(710.0) == INFINITY && isnan(lv_exp_f64(NAN)));
    assert_true(ulps(lv_exp_f64(709.78), exp(709.78)) < 2.0);
}

/* Bits that must be the same on every machine and in every version: a change makes old seeds draw other tokens. */
static void test_fixed_bits(void **state)
{
    (void)state;
    assert_true(lv_sampler_gumbel(0, 0, 0) == 0x1.38529cp+1f);
    assert_true(lv_sampler_gumbel(42, 1000, 151935) == -0x1.8353c4p-2f);
    assert_true(lv_log_f64(0.3) == -0x1.34378fcbda721p+0);
    assert_true(lv_exp_f64(-3.3) == 0x1.2e259bb85be84p-5);
}

/* Last: every draw above was made from the largest logits too, where they are enough. */
static void test_top_took_part(void **state)
{
    (void)state;
    assert_true(n_top_draws > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_exp),         cmocka_unit_test(test_fixed_bits),
        cmocka_unit_test(test_gumbel_range),    cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_equals_twin),     cmocka_unit_test(test_equals_twin_large),
        cmocka_unit_test(test_banned_is_absent), cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_refusals),        cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_independent),     cmocka_unit_test(test_top_took_part),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
