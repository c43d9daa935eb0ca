/* Equality matrix: through lever.h, every way to run gives the ids of plain resident decoding.
 *
 * usage: test_equal FOLDER [SEED]
 *
 * A generated target of a few MiB, with drafts that agree with it often, sometimes and hardly ever. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lever/lever.h>

#include "base/rng.h"
#include "e2e/random_lens.h"
#include "engine/seq.h"
#include "ref/tiny.h"

#define N_GEN 48
#define N_PROMPT 70

static uint64_t seed = 7;

struct cell {
    const char *draft; /* NULL = none */
    uint32_t k;
    unsigned threads;
    uint64_t memory, ring, slot;
    enum lever_reader reader;
    enum lever_speculation mode;
    bool no_overlap, no_peek, slow;
    enum lever_prune prune;
    const char *lens;
    uint32_t tree_rows, draft_head;
    size_t cap; /* tokens a step may hand out */
};

struct run {
    int32_t ids[N_GEN];
    uint32_t n;
    struct lever_stats stats;
    uint64_t n_looks; /* at rows in a late layer */
    uint64_t n_seen;  /* layers that pruning looked at */
};

static bool fail(const char *what, const struct lever_error *err)
{
    printf("FAIL %s: %s\n", what, err->message);
    return false;
}

/* A device slow enough that workers have time for background work. */
static int64_t slow_pread(void *ctx, int fd, void *buf, uint64_t len, uint64_t off)
{
    const ssize_t n = pread(fd, buf, len, (off_t)off);

    (void)ctx;
    usleep(500);
    return n;
}

static bool generate(const char *target, const struct cell *c, const struct lever_sampling *s, const int32_t *prompt,
                     struct run *out)
{
    struct lever_options opt;
    struct lever_error err = { 0 };
    lever_engine *e = NULL;
    lever_seq *q = NULL;
    bool ok;

    lever_options_default(&opt, sizeof opt);
    opt.target_path = target;
    opt.draft_path = c->draft;
    opt.n_threads = c->threads;
    opt.n_ctx = 256;
    opt.memory_bytes = c->memory;
    opt.ring_bytes = c->ring;
    opt.slot_bytes = c->slot;
    opt.reader = c->reader;
    opt.spec_draft_n_max = c->k;
    opt.speculation = c->mode;
    opt.no_overlap = c->no_overlap;
    opt.no_peek = c->no_peek;
    opt.prune = c->prune;
    opt.lens = c->lens;
    opt.tree_rows = c->tree_rows;
    opt.draft_head = c->draft_head;
    *out = (struct run){ .stats = { .size = sizeof out->stats } };
    const struct lv_io_ops slow = { .pread = slow_pread };

    enum lever_status st = lv_engine_open_hooked(&e, &opt, c->slow ? &slow : NULL, &err);

    for (int i = 0; i < 8 && st == LEVER_E_BUDGET; i++) { /* the process has grown since, with sanitizers by megabytes */
        opt.memory_bytes = err.least_memory + (1 << 20);
        st = lv_engine_open_hooked(&e, &opt, c->slow ? &slow : NULL, &err);
    }
    if (st < 0 || lever_seq_new(e, s, &q, &err) < 0)
        ok = fail("open", &err);
    else
        ok = lever_prompt(q, prompt, N_PROMPT, &err) >= 0 || fail("prompt", &err);
    while (ok && out->n < N_GEN) {
        size_t n, room = N_GEN - out->n;

        st = lever_step(q, out->ids + out->n, room < c->cap ? room : c->cap, &n, &err);
        ok = st >= 0 || fail("step", &err);
        out->n += (uint32_t)n;
        if (st == LEVER_DONE)
            break;
    }
    if (ok)
        lever_stats(e, q, &out->stats);
    out->n_looks = ok ? q->peek.n_looks : 0;
    out->n_seen = ok ? q->prune.n_looks : 0;
    lever_seq_free(q);
    lever_close(e);
    return ok;
}

static bool same(const struct run *a, const struct run *b, const char *what)
{
    for (uint32_t i = 0; i < a->n || i < b->n; i++) {
        if (i >= a->n || i >= b->n || a->ids[i] != b->ids[i]) {
            printf("FAIL %s: id %u is %d, plain decoding gives %d (SEED=%llu)\n", what, i, i < a->n ? a->ids[i] : -1,
                   i < b->n ? b->ids[i] : -1, (unsigned long long)seed);
            return false;
        }
    }
    return true;
}

static void random_sampling(struct lv_rng *r, unsigned i, struct lever_sampling *s)
{
    lever_sampling_default(s, sizeof *s);
    s->ignore_eos = i % 4 != 3;
    if (i == 0)
        return;
    s->temperature = 0.8f;
    s->seed = i;
    s->top_k = i % 2 ? (int32_t)(5 + lv_rng_below(r, 60)) : 0;
    s->top_p = i % 3 ? 0.9f : 1.0f;
    s->min_p = i % 3 == 2 ? 0.02f : 0.0f;
    s->repeat_penalty = i == 1 ? 1.1f : 1.0f;
    s->presence_penalty = i == 4 ? 0.3f : 0.0f;
}

/* The smallest budget for a cell, as the library states it, and a little for a heap that has grown since. */
static uint64_t least_memory(const char *target, const struct cell *c)
{
    struct lever_options opt;
    struct lever_error err = { 0 };
    lever_engine *e = NULL;

    lever_options_default(&opt, sizeof opt);
    opt.target_path = target;
    opt.memory_bytes = 1 << 20;
    opt.n_ctx = 256;
    opt.n_threads = c->threads;
    opt.ring_bytes = c->ring;
    opt.slot_bytes = c->slot;
    if (lever_open(&e, &opt, &err) != LEVER_E_BUDGET) {
        lever_close(e);
        return 0;
    }
    return err.least_memory + (1 << 20);
}

/* What target and draft take together when all is resident. */
static uint64_t whole_memory(const char *target, const struct cell *c)
{
    struct lever_options opt;
    struct lever_error err = { 0 };
    struct lever_plan_report report = { .size = sizeof report };

    lever_options_default(&opt, sizeof opt);
    opt.target_path = target;
    opt.draft_path = c->draft;
    opt.speculation = LEVER_SPEC_TREE;
    opt.draft_head = c->draft_head;
    opt.n_ctx = 256;
    opt.n_threads = c->threads;
    return lever_plan(&opt, &report, &err) >= 0 ? report.total : 0;
}

int main(int argc, char **argv)
{
    struct tiny_spec target = { .arch = LV_ARCH_QWEN2, .n_layer = 12, .n_embd = 256, .n_ff = 1024, .n_head = 8,
                                .n_head_kv = 2, .n_vocab = 512, .type = TINY_ALL(LV_TYPE_Q4_K), .seed = 3 };
    static const float jitter[] = { 0.02f, 0.1f, 0.4f };
    char path[4][600];
    struct lever_error err;
    int32_t prompt[N_PROMPT];
    unsigned n_cell = 0, n_bad = 0, n_streamed = 0, n_accepted = 0, n_rejected = 0,
             n_lookup = 0, n_pruned = 0, n_looks = 0, n_seen = 0, n_streamed_pruned = 0;

    if (argc < 2)
        return 2;
    if (argc > 2)
        seed = strtoull(argv[2], NULL, 10);
    printf("SEED=%llu\n", (unsigned long long)seed);
    struct lv_rng rng = { .state = seed };

    target.type[TINY_DOWN] = LV_TYPE_Q6_K;
    target.type[TINY_HEAD] = LV_TYPE_Q8_0;
    for (unsigned i = 0; i < 4; i++) {
        struct tiny_spec s = target;

        snprintf(path[i], sizeof path[i], "%s/equal-%u-%d.gguf", argv[1], i, (int)getpid());
        s.jitter = i ? jitter[i - 1] : 0;
        if (tiny_write(&s, path[i], &err) < 0)
            return fail("write", &err) ? 0 : 1;
    }
    static const uint32_t depths[3][3] = { { 3, 6, 9 }, { 1, 2, 11 }, { 7, 8, 10 } };
    static char lens[3][600];

    for (unsigned i = 0; i < 3; i++) {
        snprintf(lens[i], sizeof lens[i], "%s/equal-%u-%d.lens", argv[1], i, (int)getpid());
        if (!random_lens(path[0], lens[i], depths[i], 3, &rng))
            return 1;
    }
    for (unsigned i = 0; i < N_PROMPT; i++)
        prompt[i] = (int32_t)lv_rng_below(&rng, 500);

    for (unsigned is = 0; is < 6; is++) {
        struct lever_sampling sampling;
        struct run want, got;
        const struct cell plain = { .threads = 1, .cap = 1 };

        random_sampling(&rng, is, &sampling);
        if (!generate(path[0], &plain, &sampling, prompt, &want))
            return 1;
        for (unsigned i = 0; i < 23; i++, n_cell++) {
            static const uint32_t ks[] = { 1, 3, 8, 20, 63 };
            static const uint32_t head[] = { LEVER_HEAD_AUTO, LEVER_HEAD_FULL, LEVER_HEAD_Q4, 100 };
            const unsigned d = lv_rng_below(&rng, 4);
            struct cell c = { .draft = d ? path[d] : NULL,
                              .k = ks[lv_rng_below(&rng, 5)],
                              .threads = 1 + lv_rng_below(&rng, 3),
                              .reader = (enum lever_reader)lv_rng_below(&rng, 3),
                              .mode = (enum lever_speculation)lv_rng_below(&rng, 4),
                              .no_overlap = lv_rng_below(&rng, 3) == 0,
                              .no_peek = lv_rng_below(&rng, 4) == 0,
                              .prune = (enum lever_prune)lv_rng_below(&rng, 3),
                              .lens = lv_rng_below(&rng, 4) ? lens[lv_rng_below(&rng, 3)] : NULL,
                              .slow = lv_rng_below(&rng, 4) == 0,
                              .tree_rows = lv_rng_below(&rng, 2) ? 0 : 2 + lv_rng_below(&rng, 254),
                              .draft_head = head[lv_rng_below(&rng, 4)],
                              .cap = 1 + lv_rng_below(&rng, 40) };
            char what[300];

            if (lv_rng_below(&rng, 4)) {
                c.slot = (uint64_t)65536 << lv_rng_below(&rng, 4);
                c.ring = c.slot * (2 + lv_rng_below(&rng, 6));
                c.memory = least_memory(path[0], &c) + ((uint64_t)lv_rng_below(&rng, 8) << 20);
            }
            if (i >= 20) { /* always reached: drafting and looking ahead beside a slow stream */
                c.mode = LEVER_SPEC_TREE;
                c.no_overlap = c.no_peek = false;
                c.slow = true;
                c.prune = LEVER_PRUNE_ON;
                c.lens = lens[i % 3];
                c.draft = path[1 + i % 2];
                c.slot = 65536;
                c.ring = 4 * c.slot;
            }
            if (i >= 20 || (c.memory && d && lv_rng_below(&rng, 2))) /* both, and a stream */
                c.memory = whole_memory(path[0], &c) - ((uint64_t)(1 + lv_rng_below(&rng, 3)) << 20);
            snprintf(what, sizeof what, "sampling %u, mode %d, overlap %d, peek %d, prune %d, rows %u, draft %u, k %u, %u threads, memory %llu, ring %llu, slot %llu, cap %zu",
                     is, c.mode, !c.no_overlap, !c.no_peek, c.prune, c.tree_rows, d, c.k, c.threads, (unsigned long long)c.memory, (unsigned long long)c.ring,
                     (unsigned long long)c.slot, c.cap);
            if (!generate(path[0], &c, &sampling, prompt, &got) || !same(&got, &want, what)) {
                printf("     in cell: %s\n", what);
                n_bad++;
            }
            n_streamed += got.stats.streamed_bytes > 0;
            n_accepted += (unsigned)got.stats.n_accepted;
            n_pruned += (unsigned)got.stats.n_pruned;
            n_streamed_pruned += got.stats.streamed_bytes ? (unsigned)got.stats.n_pruned : 0;
            n_looks += (unsigned)got.n_looks;
            n_seen += (unsigned)got.n_seen;
            n_lookup += (unsigned)got.stats.n_lookup_accepted;
            n_rejected += (unsigned)(got.stats.n_drafted - got.stats.n_accepted);
        }
    }
    for (unsigned i = 0; i < 4; i++)
        remove(path[i]);
    for (unsigned i = 0; i < 3; i++)
        remove(lens[i]);
    printf("%u cells, %u failures; %u streamed, %u tokens accepted, %u of them from lookup alone, %u rejected, %u looks, %u layers seen, %u pruned (%u streamed)\n",
           n_cell, n_bad, n_streamed, n_accepted, n_lookup, n_rejected, n_looks, n_seen, n_pruned, n_streamed_pruned);
    if (!n_streamed || !n_accepted || !n_lookup || !n_rejected || !n_looks || !n_seen || !n_pruned) {
        printf("FAIL the matrix does not reach streaming, acceptance, lookup, rejection, looks at late layers and pruning\n");
        return 1;
    }
    return n_bad ? 1 : 0;
}
