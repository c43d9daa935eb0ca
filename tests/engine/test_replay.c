/* lever_replay against a naive twin: random rounds, walked node by node for every size. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lever/lever.h>

#include "base/rng.h"
#include "check.h"

#define ROUNDS 12
#define NODES 40
#define TEXT 6
#define N_STREAM 2000

static uint64_t seed = 4711;

struct recorded {
    struct lever_replay_round round[ROUNDS];
    struct lever_round_node node[ROUNDS][NODES];
    int32_t next[ROUNDS][TEXT];
};

static double uniform(struct lv_rng *r)
{
    return 0.5 + 0.5 * (double)lv_rng_f32(r);
}

static void random_rounds(struct lv_rng *r, struct recorded *x)
{
    for (int k = 0; k < ROUNDS; k++) {
        struct lever_round *o = &x->round[k].round;
        float p = 1.0f;

        *o = (struct lever_round){ .size = sizeof *o, .node = x->node[k], .n_stair = 3 };
        o->n_node = 1 + lv_rng_below(r, NODES);
        o->n_row = 1 + lv_rng_below(r, o->n_node);
        for (uint32_t i = 0; i < o->n_node; i++) {
            x->node[k][i] = (struct lever_round_node){ (int32_t)lv_rng_below(r, 3), i ? (int32_t)lv_rng_below(r, i) : -1, p, 0 };
            p *= (float)(0.5 + 0.5 * uniform(r));
        }
        o->rate = 5.0 * uniform(r);
        o->spent = 0.1 * uniform(r);
        o->stream = uniform(r);
        o->head = 0.1 * uniform(r);
        o->fixed = 0.1 * uniform(r) - 0.05;
        for (int i = 0; i < 3; i++) {
            o->stair[i].rows = i == 0 ? 1 : i == 1 ? 8 : 32;
            o->stair[i].seconds = 0.2 * (1 + i) * uniform(r) + (i ? o->stair[i - 1].seconds : 0.0);
        }
        o->predicted = uniform(r);
        o->seconds = 0.1 + uniform(r);
        for (int i = 0; i < TEXT; i++)
            x->next[k][i] = (int32_t)lv_rng_below(r, 3);
        x->round[k].next = x->next[k];
        x->round[k].n_next = lv_rng_below(r, TEXT + 1);
    }
}

static double seconds_at(const struct lever_round *o, uint32_t rows)
{
    double t;

    if (rows >= 32)
        t = o->stair[2].seconds * rows / 32;
    else if (rows >= 8)
        t = o->stair[1].seconds + (rows - 8) / 24.0 * (o->stair[2].seconds - o->stair[1].seconds);
    else
        t = o->stair[0].seconds + (rows - 1) / 7.0 * (o->stair[1].seconds - o->stair[0].seconds);
    double pass = 0.0;

    for (int i = 0; i < N_STREAM; i++) /* the stream takes 0.8 to 1.2 of its estimate */
        pass += fmax(t, o->stream * (0.8 + 0.4 * (i + 0.5) / N_STREAM)) / N_STREAM;
    return o->spent + pass + o->head + o->fixed;
}

/* Tokens of a round of the first n nodes; -1 when the text ends inside the candidates. */
static int tokens_at(const struct lever_replay_round *x, uint32_t n)
{
    int32_t at = 0, child;
    int n_token = 0;

    do {
        bool leaf = true;

        child = -1;
        n_token++;
        for (uint32_t i = 0; i < x->round.n_node; i++) {
            if (x->round.node[i].parent != at)
                continue;
            leaf = false;
            if (n_token > (int)x->n_next)
                return -1;
            if (child < 0 && x->round.node[i].token == x->next[n_token - 1])
                child = (int32_t)i;
        }
        if (leaf)
            break;
        at = child;
    } while (child >= 0);
    /* again, but in a smaller tree */
    for (at = 0, n_token = 0; at >= 0 && (uint32_t)at < n; at = child) {
        child = -1;
        n_token++;
        for (uint32_t i = x->round.n_node; i-- > 0;)
            if (x->round.node[i].parent == at && n_token <= (int)x->n_next && x->round.node[i].token == x->next[n_token - 1])
                child = (int32_t)i;
    }
    return n_token;
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-6 * (fabs(a) + fabs(b)) + 1e-12;
}

static uint32_t best_size(const struct lever_round *o)
{
    double best = -HUGE_VAL;
    float tokens = 0.0f; /* as the tree adds up its probabilities */
    uint32_t n = 0;

    for (uint32_t i = 1; i <= o->n_node; i++) {
        tokens += o->node[i - 1].p;
        const double value = (double)tokens - o->rate * seconds_at(o, i);

        if (value > best) {
            best = value;
            n = i;
        }
    }
    return n;
}

static void compare(const struct recorded *x)
{
    struct lever_replay out = { .size = sizeof out };
    struct lever_error err;
    double tokens = 0.0, seconds = 0.0, promised = 0.0, given = 0.0;
    uint64_t n = 0;

    for (int k = 0; k < ROUNDS; k++) {
        const struct lever_replay_round *r = &x->round[k];

        if (tokens_at(r, r->round.n_node) < 0)
            continue;
        const uint32_t size = best_size(&r->round);

        n++;
        tokens += tokens_at(r, size);
        seconds += seconds_at(&r->round, size);
        given += tokens_at(r, r->round.n_row);
        for (uint32_t i = 0; i < r->round.n_row; i++)
            promised += (double)r->round.node[i].p;
    }
    const enum lever_status st = lever_replay(x->round, ROUNDS, &out, &err);

    CHECK((st >= 0) == (n > 0), "status %d with %llu whole rounds", (int)st, (unsigned long long)n);
    if (st < 0 || !n)
        return;
    CHECK(out.n_round == n && near(out.chosen.tok_per_s, tokens / seconds) && near(out.promised, promised / given),
          "%llu rounds, %g tokens/s, %g promised; the twin has %llu, %g, %g", (unsigned long long)out.n_round,
          out.chosen.tok_per_s, out.promised, (unsigned long long)n, tokens / seconds, promised / given);
    CHECK(near(out.taken.tokens_per_round, given / (double)n), "taken: %g tokens a round, the twin has %g",
          out.taken.tokens_per_round, given / (double)n);
    for (uint32_t f = 0; f < out.n_fixed; f++) {
        double t = 0.0, s = 0.0;

        for (int k = 0; k < ROUNDS; k++) {
            const struct lever_replay_round *r = &x->round[k];
            const uint32_t size = out.fixed[f].rows < r->round.n_node ? out.fixed[f].rows : r->round.n_node;

            if (tokens_at(r, r->round.n_node) < 0)
                continue;
            t += tokens_at(r, size);
            s += seconds_at(&r->round, size);
        }
        CHECK(near(out.fixed[f].tok_per_s, t / s) && near(out.fixed[f].tokens_per_round, t / (double)n),
              "%u rows: %g tokens/s, %g a round; the twin has %g, %g", out.fixed[f].rows, out.fixed[f].tok_per_s,
              out.fixed[f].tokens_per_round, t / s, t / (double)n);
        CHECK(out.fixed[f].tok_per_s <= out.fixed[out.best].tok_per_s, "%u rows are better than the best",
              out.fixed[f].rows);
    }
}

static void refused(struct recorded *x, const char *what)
{
    struct lever_replay out = { .size = sizeof out };
    struct lever_error err = { .status = LEVER_OK };

    CHECK(lever_replay(x->round, ROUNDS, &out, &err) == LEVER_E_ARG, "%s: not refused", what);
    CHECK(strstr(err.message, what) != NULL, "\"%s\" does not name %s", err.message, what);
}

static void run_bad(struct lv_rng *r)
{
    static struct recorded x;
    static const struct {
        int kind;
        const char *what;
    } bad[] = { { 0, "nodes or rows" }, { 1, "nodes or rows" }, { 2, "parent" }, { 3, "probability" }, { 4, "staircase" },
                { 5, "a time" },        { 6, "stairs" } };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        random_rounds(r, &x);
        struct lever_round *o = &x.round[3].round;

        switch (bad[i].kind) {
        case 0: o->n_row = o->n_node + 1; break;
        case 1: o->n_node = 0; break;
        case 2: x.node[3][0].parent = 0; break;
        case 3: x.node[3][0].p = NAN; break;
        case 4: o->stair[1].rows = 1; break;
        case 5: o->stream = INFINITY; break;
        default: o->n_stair = LEVER_ROUND_STAIRS + 1; break;
        }
        refused(&x, bad[i].what);
        CHECK(bad[i].kind == 1 || x.round[3].round.n_node > 0, "%s: round 3 has no nodes", bad[i].what);
    }
}

int main(int argc, char **argv)
{
    static struct recorded x;
    struct lv_rng r;

    if (argc > 1)
        seed = strtoull(argv[1], NULL, 10);
    printf("seed %llu\n", (unsigned long long)seed);
    r.state = seed;
    for (int i = 0; i < 2000 && !n_fail; i++) {
        random_rounds(&r, &x);
        compare(&x);
    }
    run_bad(&r);
    printf("%s\n", n_fail ? "failed" : "ok");
    return n_fail != 0;
}
