/* A draft that is released in the middle of a text: the ids are those of plain decoding, its memory is gone, and more of the
 * target is pinned; whatever fails on the way, decoding goes on.
 *
 * usage: test_release FOLDER [SEED] */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "check.h"
#include "engine/release.h"
#include "ref/tiny.h"

#define N_GEN 40
#define N_PROMPT 70
#define MIB (UINT64_C(1) << 20)

/* Reads fail from the fail_at-th on, while it is not 0. */
static _Atomic uint64_t n_call, fail_at;

static int64_t read_call(void *ctx, int fd, void *buf, uint64_t len, uint64_t off)
{
    const uint64_t at = atomic_load(&fail_at);

    (void)ctx;
    if (at && atomic_fetch_add(&n_call, 1) + 1 >= at) {
        errno = EIO;
        return -1;
    }
    return pread(fd, buf, len, (off_t)off);
}

struct text {
    int32_t ids[N_GEN];
    uint32_t n;
};

struct setup {
    const char *target, *draft;
    bool sampled;
    uint64_t short_by; /* bytes that are missing for all to be resident; 0: no bound */
};

/* The process itself is part of a budget, and with sanitizers it grows and shrinks by megabytes between two calls: it is asked for
 * again before each try, and the tries go to and fro. */
static bool opened(const struct setup *s, lever_engine **e, lever_seq **q)
{
    static const struct lv_io_ops ops = { .pread = read_call };
    struct lever_sampling sampling;
    struct lever_error err = { 0 };

    lever_sampling_default(&sampling, sizeof sampling);
    sampling.ignore_eos = true;
    sampling.temperature = s->sampled ? 0.8f : 0.0f;
    for (uint32_t i = 0; i < 200; i++) {
        struct lever_options opt;
        struct lever_plan_report plan = { .size = sizeof plan };

        lever_options_default(&opt, sizeof opt);
        opt.target_path = s->target;
        opt.draft_path = s->draft;
        opt.n_threads = 2;
        opt.n_ctx = 256;
        opt.speculation = s->draft ? LEVER_SPEC_TREE : LEVER_SPEC_OFF;
        if (s->short_by) {
            opt.memory_bytes = LEVER_MEMORY_UNLIMITED;
            CHECK(lever_plan(&opt, &plan, &err) >= 0, "%s", err.message);
            opt.memory_bytes = plan.total - s->short_by + i % 20 * MIB;
        }
        if (lv_engine_open_hooked(e, &opt, &ops, &err) >= 0) {
            if (!s->draft || ((*e)->uses_draft && (*e)->target.stream))
                break;
            lever_close(*e);
        }
        *e = NULL;
    }
    CHECK(*e, "no budget streams the target beside the draft: %s", err.message);
    CHECK(!*e || lever_seq_new(*e, &sampling, q, &err) >= 0, "%s", err.message);
    return *q != NULL;
}

static bool generate(lever_seq *q, struct text *t, uint32_t n)
{
    struct lever_error err = { 0 };
    size_t got;

    while (t->n < n) {
        if (lever_step(q, t->ids + t->n, n - t->n, &got, &err) < 0) {
            CHECK(false, "after %u tokens: %s", t->n, err.message);
            return false;
        }
        t->n += (uint32_t)got;
    }
    return true;
}

static bool prompt(lever_seq *q, uint64_t seed)
{
    struct lv_rng rng = { .state = seed };
    struct lever_error err = { 0 };
    int32_t ids[N_PROMPT];

    for (unsigned i = 0; i < N_PROMPT; i++)
        ids[i] = (int32_t)lv_rng_below(&rng, 500);
    CHECK(lever_prompt(q, ids, N_PROMPT, &err) >= 0, "%s", err.message);
    return err.status >= 0;
}

/* What may go wrong while the draft is released. */
struct trouble {
    uint64_t read, alloc; /* the n-th fails; 0: none */
};

/* n tokens with the draft, then it goes. Returns whether more was pinned. */
static bool run(const struct setup *s, uint64_t seed, uint32_t n, const struct trouble *t, const struct text *want)
{
    lever_engine *e = NULL;
    lever_seq *q = NULL;
    struct text got = { .n = 0 };
    struct lever_error err = { 0 };
    bool pinned_more = false;

    if (opened(s, &e, &q) && prompt(q, seed) && generate(q, &got, n)) {
        const uint64_t pinned = e->target.place.pinned_bytes, streamed = e->target.place.streamed_bytes;

        atomic_store(&n_call, 0);
        atomic_store(&fail_at, t->read);
        lv_alloc_fail_at(t->alloc, false);
        const enum lever_status st = lv_release_draft(q, &err);

        lv_alloc_fail_at(0, false);
        atomic_store(&fail_at, 0);
        CHECK(st >= 0 || t->read || t->alloc, "%s", err.message);
        pinned_more = e->target.place.pinned_bytes > pinned;
        CHECK(e->target.place.pinned_bytes + e->target.place.streamed_bytes >= pinned + streamed, "weights are missing");
        CHECK(st < 0 || (!e->uses_draft && !e->draft.weights && !e->draft.arena.base && e->draft.program),
              "the draft still holds memory");
        CHECK(pinned_more == (e->target.more != NULL), "more is pinned, but nowhere");
        generate(q, &got, N_GEN);
        CHECK(got.n == want->n && memcmp(got.ids, want->ids, want->n * sizeof *want->ids) == 0,
              "released after %u tokens (short by %llu, read %llu, allocation %llu): other ids", n,
              (unsigned long long)s->short_by, (unsigned long long)t->read, (unsigned long long)t->alloc);
    }
    lever_seq_free(q);
    lever_close(e);
    return pinned_more;
}

/* The rule: a draft goes only after losing for eight rounds in a row. */
static void run_rule(struct setup s, uint64_t seed)
{
    lever_engine *e = NULL;
    lever_seq *q = NULL;
    struct text got = { .n = 0 };

    if (opened(&s, &e, &q) && prompt(q, seed) && generate(q, &got, 8)) {
        e->opt.speculation = LEVER_SPEC_AUTO;
        q->n_losing = 0;
        q->stream_rate = 1e9;
        for (int i = 0; i < 7; i++) {
            q->spec_token_seconds = 1e3;
            lv_release_judge(q);
        }
        CHECK(!lv_release_due(q), "released after 7 rounds");
        q->spec_token_seconds = 1e-9;
        lv_release_judge(q);
        CHECK(q->n_losing == 0, "a round that wins does not count");
        for (int i = 0; i < 8; i++) {
            q->spec_token_seconds = 1e3;
            lv_release_judge(q);
        }
        CHECK(lv_release_due(q), "kept after 8 rounds");
        generate(q, &got, 9);
        CHECK(!e->uses_draft && strstr(lv_engine_no_draft(e), "released") && strcmp(lv_round_mode(e), "tree") != 0,
              "the draft is still in use");
        q->n_losing = 0;
        lv_release_judge(q);
        CHECK(q->n_losing == 0, "there is nothing left to judge");
    }
    lever_seq_free(q);
    lever_close(e);
}

int main(int argc, char **argv)
{
    struct tiny_spec spec = { .arch = LV_ARCH_QWEN2, .n_layer = 12, .n_embd = 256, .n_ff = 2048, .n_head = 8,
                              .n_head_kv = 2, .n_vocab = 512, .type = TINY_ALL(LV_TYPE_Q4_K), .seed = 3 };
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 11;
    struct lever_error err;
    char path[2][600];
    unsigned n_more = 0;

    if (argc < 2)
        return 2;
    printf("SEED=%llu\n", (unsigned long long)seed);
    spec.type[TINY_DOWN] = LV_TYPE_Q6_K;
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/release-%d-%ld.gguf", argv[1], i, (long)getpid());
        spec.jitter = i ? 0.1f : 0.0f;
        CHECK(tiny_write(&spec, path[i], &err) >= 0, "write: %s", err.message);
    }
    for (int sampled = 0; sampled < 2 && !n_fail; sampled++) {
        const struct setup plain = { .target = path[0], .sampled = sampled };
        struct setup s = { .target = path[0], .draft = path[1], .sampled = sampled };
        const struct trouble none = { 0, 0 };
        struct text want = { .n = 0 };
        lever_engine *e = NULL;
        lever_seq *q = NULL;

        if (opened(&plain, &e, &q) && prompt(q, seed))
            generate(q, &want, N_GEN);
        lever_seq_free(q);
        lever_close(e);
        for (uint32_t n = 1; n <= 21; n += 10) {
            s.short_by = n < 20 ? 2 * MIB : 10 * MIB; /* all of the target is pinned afterwards, or some more of it */
            n_more += run(&s, seed, n, &none, &want);
        }
        CHECK(n_more == 3 * (sampled + 1u), "more was pinned in %u of %u runs", n_more, 3 * (sampled + 1u));
        for (uint64_t i = 1; i <= 16 && !sampled; i *= 4)
            run(&s, seed, 9, &(struct trouble){ .read = i }, &want);
        for (uint64_t i = 1; i <= 40 && !sampled; i += i < 8 ? 1 : 4)
            run(&s, seed, 9, &(struct trouble){ .alloc = i }, &want);
        run_rule(s, seed);
    }
    for (int i = 0; i < 2; i++)
        remove(path[i]);
    printf("%d failures\n", n_fail);
    return n_fail ? 1 : 0;
}
