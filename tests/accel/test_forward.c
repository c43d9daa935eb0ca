/* Generated models of every family on the device against the executor: a prefix in passes of any size, a rewind, then random
 * trees. Logits have the same bits where the device is bit-equal. This is also scoring of a target: nothing tells the two apart.
 *
 * usage: test_forward FOLDER [SEED] */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "accel/accel_kit.h"
#include "base/rng.h"
#include "e2e/host.h"
#include "ref/naive.h"
#include "ref/tiny.h"

#define MAX_NODES 64
#define MAX_PREFIX 90

static uint64_t seed = 5;

struct pair {
    struct host h;
    struct lv_accel_model *m;
    uint32_t n; /* committed on the device */
    float *x;   /* [MAX_NODES][stride] */
};

static bool failed(const struct lever_error *err)
{
    printf("FAIL %s\n", err->message);
    return false;
}

/* A tree on the device, node i in slot[i]; logits [n][stride], NULL: none. */
static bool device_tree(struct pair *p, const int32_t *token, const int *parent, uint32_t n, const int32_t *slot,
                        float *logits)
{
    const struct lv_exec *x = &p->h.m.exec;
    int32_t path[MAX_NODES * MAX_NODES];
    uint32_t path_at[MAX_NODES + 1] = { 0 }, row[MAX_NODES];
    struct lever_error err = { 0 };

    for (uint32_t i = 0; i < n; i++) {
        int way[MAX_NODES];
        const int len = ref_tree_path(parent, (int)i, way);

        for (int k = 0; k < len; k++)
            path[path_at[i] + (uint32_t)k] = slot[way[k]];
        path_at[i + 1] = path_at[i] + (uint32_t)len;
        row[i] = i;
    }
    const struct lv_pass pass = { .n_rows = n, .slot = slot, .path_at = path_at, .path = path };
    const struct lv_accel_pass in = { .pass = &pass, .n_kv = p->n, .x = p->x, .stride_x = x->stride[LV_BUF_X], .head_row = row,
                                      .n_head = logits ? n : 0, .logits = logits, .stride_logits = x->stride[LV_BUF_LOGITS] };

    if (lv_embed_rows(&p->h.m.embed, token, n, p->x, x->stride[LV_BUF_X], NULL, &err) < 0 ||
        lv_accel_score(p->m, &in, &err) < 0)
        return failed(&err);
    return true;
}

/* Commits the tokens on the device as chains of up to `bucket` rows in random slots. */
static bool device_feed(struct pair *p, const int32_t *ids, uint32_t n, uint32_t bucket, struct lv_rng *rng)
{
    int parent[MAX_NODES];
    int32_t slot[MAX_NODES];
    struct lever_error err = { 0 };

    for (uint32_t at = 0; at < n; at += bucket) {
        const uint32_t k = n - at < bucket ? n - at : bucket, turn = lv_rng_below(rng, MAX_NODES);

        for (uint32_t i = 0; i < k; i++) {
            parent[i] = (int)i - 1;
            slot[i] = (int32_t)((i * 5 + turn) % MAX_NODES);
        }
        if (!device_tree(p, ids + at, parent, k, slot, NULL))
            return false;
        if (lv_accel_commit(p->m, slot, k, p->n, &err) < 0)
            return failed(&err);
        p->n += k;
    }
    return true;
}

static bool same(const struct lv_accel *a, const float *got, const float *want, uint32_t n_vocab, const char *what, uint32_t row)
{
    double worst = 0.0, most = 0.0;
    bool bits = memcmp(got, want, n_vocab * sizeof *got) == 0;

    for (uint32_t i = 0; i < n_vocab; i++) {
        worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
        most = fmax(most, fabs((double)want[i]));
    }
    if (bits || (!lv_accel_caps(a)->bit_equal && worst <= 1e-2 * most))
        return true;
    printf("FAIL %s: logits of row %u differ by up to %g of %g (SEED=%llu)\n", what, row, worst, most,
           (unsigned long long)seed);
    return false;
}

static bool check(struct lv_accel *a, struct pair *p, const char *preset, struct lv_rng *rng)
{
    const uint32_t n_vocab = host_n_vocab(&p->h), stride = p->h.m.exec.stride[LV_BUF_LOGITS];
    const uint32_t n = 1 + lv_rng_below(rng, MAX_NODES), n_prefix = 1 + lv_rng_below(rng, MAX_PREFIX);
    int32_t prefix[MAX_PREFIX], token[MAX_NODES], slot[MAX_NODES];
    int parent[MAX_NODES];
    float *want = malloc((size_t)n * n_vocab * sizeof *want), *got = malloc((size_t)n * stride * sizeof *got);
    bool ok = want && got;

    for (uint32_t i = 0; i < n_prefix; i++)
        prefix[i] = (int32_t)lv_rng_below(rng, n_vocab);
    for (uint32_t i = 0; i < n; i++) {
        token[i] = (int32_t)lv_rng_below(rng, n_vocab);
        slot[i] = (int32_t)((i * 11 + 3) % MAX_NODES);
    }
    ref_random_tree(rng, (int)n, 1 + (int)lv_rng_below(rng, 5), parent);
    /* Something else first, of which all but a part is taken back: a rewind is a smaller n. */
    p->n = p->h.m.kv.n = 0;
    const uint32_t keep = lv_rng_below(rng, n_prefix);

    ok = ok && device_feed(p, prefix, keep, 1 + lv_rng_below(rng, MAX_NODES), rng);
    ok = ok && device_feed(p, token, n < 20 ? n : 20, 7, rng);
    p->n = keep;
    ok = ok && device_feed(p, prefix + keep, n_prefix - keep, 1 + lv_rng_below(rng, MAX_NODES), rng);
    ok = ok && device_tree(p, token, parent, n, slot, got);
    ok = ok && host_feed(&p->h, prefix, n_prefix, 40) && host_tree(&p->h, token, parent, n, want);
    for (uint32_t i = 0; ok && i < n; i++)
        ok = same(a, got + (size_t)i * stride, want + (size_t)i * n_vocab, n_vocab, preset, i);
    free(want);
    free(got);
    return ok;
}

static bool check_model(const char *preset, const char *path, struct lv_rng *rng)
{
    struct pair p = { 0 };
    struct lv_accel *a = NULL;
    struct lever_error err = { 0 };
    bool ok = host_open(&p.h, path, &(struct host_options){ .n_ctx = 256 });

    if (ok && (lv_accel_open(&a, "opencl", lv_accel_types(p.h.m.program), NULL, &err) < 0 ||
               lv_accel_load(&p.m, a, p.h.m.program, &p.h.m.kv, MAX_NODES, &err) < 0))
        ok = failed(&err);
    p.x = ok ? malloc((size_t)MAX_NODES * p.h.m.exec.stride[LV_BUF_X] * sizeof *p.x) : NULL;
    for (int i = 0; i < 3 && ok; i++)
        ok = check(a, &p, preset, rng);
    free(p.x);
    lv_accel_unload(p.m);
    lv_accel_close(a);
    host_close(&p.h);
    return ok;
}

int main(int argc, char **argv)
{
    char path[600];
    const char *preset;
    unsigned n_bad = 0, n_model = 0;
    const int rc = kit_begin(argc, argv, &seed);

    if (rc)
        return rc;
    struct lv_rng rng = { .state = seed };

    for (unsigned i = 0; (preset = tiny_preset_name(i)); i++, n_model++) {
        struct lever_error err;

        snprintf(path, sizeof path, "%s/forward-%s.gguf", argv[1], preset);
        if (tiny_write(tiny_preset(preset), path, &err) < 0)
            return failed(&err) ? 0 : 1;
        n_bad += !check_model(preset, path, &rng);
        remove(path);
    }
    printf("%u models, %u failures\n", n_model, n_bad);
    return n_bad ? 1 : 0;
}
