/* The heart: a row of a batch has the same bits as the same token decoded alone.
 *
 * usage: test_rows FOLDER [SEED]
 *
 * Random trees over a random prefix, for every weight type and CPU level, 1 to 4 threads, resident and
 * streamed. The naive twin computes each node alone: its path, one token a pass, on the level's kernels and,
 * once per model, on the reference kernels with everything resident. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "e2e/host.h"
#include "ref/naive.h"
#include "ref/tiny.h"

#define MAX_NODES 64

static uint64_t seed = 20250917;

/* Logits of the prefix's last token and of every node, by plain decoding along each path. */
static bool alone(const char *path, const char *level, const int32_t *prefix, uint32_t n_prefix, const int32_t *token,
                  const int *parent, uint32_t n, float *logits)
{
    struct host h;
    bool ok = host_open(&h, path, &(struct host_options){ .level = level });

    for (uint32_t i = 0; i < n && ok; i++) {
        int way[MAX_NODES];
        const int len = ref_tree_path(parent, (int)i, way);

        h.m.kv.n = 0;
        ok = host_feed(&h, prefix, n_prefix, 1);
        for (int k = 0; k < len && ok; k++)
            ok = host_logits(&h, &token[way[k]], 1, 1, logits + (size_t)i * host_n_vocab(&h));
    }
    host_close(&h);
    return ok;
}

static bool same(const float *a, const float *b, size_t n, uint32_t n_vocab, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) != 0) {
            printf("FAIL %s: node %zu, logit %zu: %.9g, alone %.9g (SEED=%llu)\n", what, i / n_vocab, i % n_vocab,
                   (double)a[i], (double)b[i], (unsigned long long)seed);
            return false;
        }
    }
    return true;
}

/* Rows dropped in the middle of a pass leave the others as they were. */
static bool check_dropping(struct host *h, const int32_t *token, const int *parent, uint32_t n, struct lv_rng *rng,
                           const float *want, float *got, const char *what)
{
    const uint32_t n_vocab = host_n_vocab(h), n_op = h->m.program->n_op;
    uint32_t keep[MAX_NODES], n_keep = 0, last_norm = 0;
    bool kept[MAX_NODES];

    for (uint32_t i = 0; i < n_op; i++)
        last_norm = h->m.program->op[i].kind == LV_OP_NORM ? i : last_norm;
    for (uint32_t i = 0; i < n; i++) {
        kept[i] = i == 0 || ((parent[i] < 0 || kept[parent[i]]) && lv_rng_below(rng, 3) > 0);
        if (kept[i])
            keep[n_keep++] = i;
    }
    if (!host_tree_dropping(h, token, parent, n, 1 + lv_rng_below(rng, last_norm), keep, n_keep, got))
        return false;
    for (uint32_t i = 0; i < n_keep; i++)
        if (!same(got + (size_t)i * n_vocab, want + (size_t)keep[i] * n_vocab, n_vocab, n_vocab, what)) {
            printf("     row %u of %u kept, of %u\n", i, n_keep, n);
            return false;
        }
    return true;
}

/* One model, one tree, all ways to run it. */
static bool check_model(const char *preset, const char *path, struct lv_rng *rng)
{
    static const double pin[] = { 0, 0.01, 0.5 };
    const uint32_t n_vocab = tiny_preset(preset)->n_vocab ? tiny_preset(preset)->n_vocab : 320;
    const uint32_t n = 1 + lv_rng_below(rng, MAX_NODES), n_prefix = 1 + lv_rng_below(rng, 40);
    int32_t prefix[40], token[MAX_NODES];
    int parent[MAX_NODES];
    float *want = malloc((size_t)n * n_vocab * sizeof *want), *got = malloc((size_t)n * n_vocab * sizeof *got);
    char what[200];
    const char *level;
    bool ok = want && got;

    for (uint32_t i = 0; i < n_prefix; i++)
        prefix[i] = (int32_t)lv_rng_below(rng, n_vocab);
    for (uint32_t i = 0; i < n; i++)
        token[i] = (int32_t)lv_rng_below(rng, n_vocab);
    ref_random_tree(rng, (int)n, 1 + (int)lv_rng_below(rng, 5), parent);
    ok = ok && alone(path, "ref", prefix, n_prefix, token, parent, n, want);
    for (unsigned i = 0; ok && (level = lv_cpu_level_name(lv_cpu_detect(), i)); i++) {
        for (unsigned k = 0; ok && k < sizeof pin / sizeof *pin; k++) {
            const unsigned threads = 1 + lv_rng_below(rng, 4);
            struct host h;

            ok = host_open(&h, path,
                           &(struct host_options){ .level = level, .n_threads = threads, .pin_share = pin[k] });
            ok = ok && host_feed(&h, prefix, n_prefix, 1 + lv_rng_below(rng, 40));
            ok = ok && host_tree(&h, token, parent, n, got);
            snprintf(what, sizeof what, "%s, %s, %u threads, pinned share %g, %u nodes, prefix %u", preset, level, threads,
                     pin[k], n, n_prefix);
            ok = ok && same(got, want, (size_t)n * n_vocab, n_vocab, what);
            ok = ok && check_dropping(&h, token, parent, n, rng, want, got, what);
            host_close(&h);
        }
    }
    free(want);
    free(got);
    return ok;
}

int main(int argc, char **argv)
{
    char path[600];
    const char *preset;
    unsigned n_bad = 0, n_model = 0;

    if (argc < 2)
        return 2;
    if (argc > 2)
        seed = strtoull(argv[2], NULL, 10);
    printf("SEED=%llu\n", (unsigned long long)seed);
    struct lv_rng rng = { .state = seed };

    for (unsigned i = 0; (preset = tiny_preset_name(i)); i++, n_model++) {
        struct lever_error err;

        snprintf(path, sizeof path, "%s/rows-%s.gguf", argv[1], preset);
        if (tiny_write(tiny_preset(preset), path, &err) < 0) {
            printf("FAIL %s: %s\n", preset, err.message);
            return 1;
        }
        n_bad += !check_model(preset, path, &rng);
        remove(path);
    }
    printf("%u models, %u failures\n", n_model, n_bad);
    return n_bad ? 1 : 0;
}
