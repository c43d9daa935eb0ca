#include "e2e/host.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu/cpu.h"
#include "ref/naive.h"

static bool failed(const struct lever_error *err)
{
    fprintf(stderr, "host: %s\n", err->message);
    return false;
}

bool host_open(struct host *h, const char *path, const struct host_options *opt)
{
    struct lever_error err = { 0 };
    uint32_t flags = lv_cpu_detect();

    memset(h, 0, sizeof *h);
    if (opt->level)
        flags &= lv_cpu_level(opt->level);
    lv_kern_init(&h->kern, flags);
    if (lv_pool_new(&h->pool, opt->n_threads ? opt->n_threads : 1, &err) < 0 ||
        lv_instance_open(&h->m, path, &err) < 0)
        return failed(&err);
    struct lv_instance_spec spec = { .n_worker = lv_pool_n(h->pool),
                                     .max_rows = opt->max_rows ? opt->max_rows : 64,
                                     .n_ctx = opt->n_ctx ? opt->n_ctx : 1024,
                                     .n_slot = opt->max_rows ? opt->max_rows : 64,
                                     .embed_bytes = 1 << 20,
                                     .pin_bytes = UINT64_MAX,
                                     .slot_bytes = opt->slot_bytes ? opt->slot_bytes : 64 * 1024 };

    if (opt->pin_share > 0) {
        const uint64_t least = lv_place_least(h->m.program, false);

        spec.pin_bytes = least + (uint64_t)(opt->pin_share * (double)(lv_program_body_bytes(h->m.program) - least));
        spec.n_ring_slot = opt->n_ring_slot ? opt->n_ring_slot : 4;
    }
    const struct lv_reader_options io = { .n_threads = 2, .direct = true };

    if (lv_instance_load(&h->m, &spec, &h->kern, h->pool, &io, NULL, &err) < 0)
        return failed(&err);
    if (h->m.stream)
        lv_stream_start(h->m.stream);
    return true;
}

void host_close(struct host *h)
{
    lv_instance_close(&h->m);
    lv_pool_free(h->pool);
    memset(h, 0, sizeof *h);
}

double host_logsumexp(const float *x, uint32_t n)
{
    double m = x[0], s = 0;

    for (uint32_t i = 1; i < n; i++)
        m = x[i] > m ? x[i] : m;
    for (uint32_t i = 0; i < n; i++)
        s += exp(x[i] - m);
    return m + log(s);
}

uint32_t host_argmax(const float *x, uint32_t n)
{
    uint32_t b = 0;

    for (uint32_t i = 1; i < n; i++)
        if (x[i] > x[b])
            b = i;
    return b;
}

/* The head that keeps the largest logits against all logits, sorted here one by one. */
static bool same_top(const struct host *h, uint32_t i, const float *logits, uint32_t n_vocab)
{
    const struct lv_exec *x = &h->m.exec;
    struct lv_top top[LV_HEAD_TOP_MAX];
    const uint32_t n = lv_exec_top(x, i, top), expected = x->head.n_top < n_vocab ? x->head.n_top : n_vocab;
    double sum = 0.0;

    if (n != expected) {
        fprintf(stderr, "row %u: %u largest logits, expected %u\n", i, n, expected);
        return false;
    }
    for (uint32_t k = 0; k < n; k++) {
        uint32_t n_before = 0;

        for (uint32_t t = 0; t < n_vocab; t++)
            n_before += logits[t] > logits[top[k].id] || (logits[t] == logits[top[k].id] && t < top[k].id);
        if (top[k].id >= n_vocab || n_before != k || top[k].logit != logits[top[k].id]) {
            fprintf(stderr, "row %u: place %u of %u is token %u (%g), whose place is %u\n", i, k, n, top[k].id,
                    (double)top[k].logit, n_before);
            return false;
        }
    }
    for (uint32_t t = 0; t < n_vocab; t++)
        sum += exp(((double)logits[t] - (double)top[0].logit) * (double)x->head.sharpen);
    if (fabs(lv_exec_mass(x, i) / sum - 1.0) > 1e-4) {
        fprintf(stderr, "row %u: mass %g, expected %g\n", i, lv_exec_mass(x, i), sum);
        return false;
    }
    return true;
}

static bool row_logits(struct host *h, uint32_t n, float *logits)
{
    const uint32_t n_vocab = host_n_vocab(h);
    struct lever_error err = { 0 };

    for (uint32_t r = 0; r < n; r += LV_HEAD_ROWS) {
        uint32_t row[LV_HEAD_ROWS], k = 0;

        for (; k < LV_HEAD_ROWS && r + k < n; k++)
            row[k] = r + k;
        if (lv_exec_head(&h->m.exec, row, k, LV_HEAD_LOGITS, &err) < 0)
            return failed(&err);
        for (uint32_t i = 0; i < k; i++)
            memcpy(logits + (size_t)(r + i) * n_vocab, lv_exec_row(&h->m.exec, LV_BUF_LOGITS, i),
                   n_vocab * sizeof *logits);
        for (uint32_t n_top = 1; n_top <= LV_HEAD_TOP_MAX; n_top += 21) {
            const struct lv_head want = { .n_top = n_top, .n_vocab = n_top > 1 ? n_vocab - 5 : 0, .sharpen = 1.25f };

            if (lv_exec_head(&h->m.exec, row, k, want, &err) < 0)
                return failed(&err);
            for (uint32_t i = 0; i < k; i++)
                if (!same_top(h, i, logits + (size_t)(r + i) * n_vocab, want.n_vocab ? want.n_vocab : n_vocab))
                    return false;
        }
    }
    return true;
}

bool host_tree(struct host *h, const int32_t *token, const int *parent, uint32_t n, float *logits)
{
    static int32_t slot[LV_EXEC_MAX_ROWS], path[LV_EXEC_MAX_ROWS * (LV_EXEC_MAX_ROWS + 1) / 2];
    static uint32_t path_at[LV_EXEC_MAX_ROWS + 1];
    struct lever_error err = { 0 };

    for (uint32_t i = 0; i < n; i++) {
        slot[i] = (int32_t)i;
        path_at[i + 1] = path_at[i] + (uint32_t)ref_tree_path(parent, (int)i, path + path_at[i]);
    }
    const struct lv_pass pass = { .n_rows = n, .slot = slot, .path_at = path_at, .path = path };

    if (lv_instance_forward(&h->m, token, &pass, &err) < 0)
        return failed(&err);
    return !logits || row_logits(h, n, logits);
}

#define MAX_UNITS 40

struct dropping {
    struct host *h;
    uint32_t i_op, *n_done;
    const uint32_t *keep;
    struct lv_pass pass;
    uint32_t i_last, n_unit, n_bad; /* of the call that was put in last */
    _Atomic uint32_t n_ran[MAX_UNITS];
};

static void unit(void *ctx, uint32_t i, unsigned worker)
{
    struct dropping *d = ctx;

    (void)worker;
    atomic_fetch_add(&d->n_ran[i < MAX_UNITS ? i : 0], 1);
}

/* True when it was put in: the op is not yet to begin. */
static bool put_in_call(struct dropping *d, uint32_t i_op)
{
    if (i_op != d->i_last) { /* 0 units now and then: none */
        d->i_last = i_op;
        d->n_unit = i_op % 4 ? 1 + i_op * 7 % MAX_UNITS : 0;
        for (uint32_t i = 0; i < MAX_UNITS; i++)
            atomic_store(&d->n_ran[i], 0);
        if (d->n_unit)
            lv_exec_insert_call(&d->h->m.exec, d->n_unit, unit, d);
        return d->n_unit > 0;
    }
    for (uint32_t i = 0; i < MAX_UNITS; i++)
        d->n_bad += atomic_load(&d->n_ran[i]) != (i < d->n_unit);
    return false;
}

static void drop(void *ctx, uint32_t i_op)
{
    struct dropping *d = ctx;
    struct lv_exec *x = &d->h->m.exec;

    if (put_in_call(d, i_op))
        return;
    if (i_op < d->i_op || x->p->op[i_op].kind != LV_OP_NORM || *d->n_done)
        return;
    ++*d->n_done;
    lv_exec_keep_rows(x, d->keep, &d->pass);
}

bool host_tree_dropping(struct host *h, const int32_t *token, const int *parent, uint32_t n, uint32_t i_op,
                        const uint32_t *keep, uint32_t n_keep, float *logits)
{
    static int32_t slot[LV_EXEC_MAX_ROWS], path[LV_EXEC_MAX_ROWS * (LV_EXEC_MAX_ROWS + 1) / 2];
    static uint32_t path_at[LV_EXEC_MAX_ROWS + 1];
    uint32_t n_done = 0;
    struct dropping d = { .h = h, .i_op = i_op, .n_done = &n_done, .keep = keep };

    for (uint32_t i = 0; i < n_keep; i++) {
        slot[i] = (int32_t)keep[i];
        path_at[i + 1] = path_at[i] + (uint32_t)ref_tree_path(parent, (int)keep[i], path + path_at[i]);
    }
    d.pass = (struct lv_pass){ .n_rows = n_keep, .slot = slot, .path_at = path_at, .path = path };
    h->m.exec.between_ctx = &d;
    h->m.exec.between = drop;
    const bool ok = host_tree(h, token, parent, n, NULL);

    h->m.exec.between = NULL;
    if (d.n_bad)
        printf("FAIL %u units of calls between ops did not run once\n", d.n_bad);
    return ok && !d.n_bad && row_logits(h, n_done ? n_keep : n, logits) && (n_done || n == n_keep);
}

bool host_logits(struct host *h, const int32_t *ids, uint32_t n, uint32_t bucket, float *logits)
{
    int parent[LV_EXEC_MAX_ROWS];
    int32_t slot[LV_EXEC_MAX_ROWS];

    for (uint32_t i = 0; i < LV_EXEC_MAX_ROWS; i++) {
        parent[i] = (int)i - 1;
        slot[i] = (int32_t)i;
    }
    for (uint32_t at = 0; at < n; at += bucket) {
        const uint32_t k = n - at < bucket ? n - at : bucket;

        if (!host_tree(h, ids + at, parent, k, logits ? logits + (size_t)at * host_n_vocab(h) : NULL))
            return false;
        lv_kv_commit(&h->m.kv, slot, k);
    }
    return true;
}

bool host_feed(struct host *h, const int32_t *ids, uint32_t n, uint32_t bucket)
{
    return host_logits(h, ids, n, bucket, NULL);
}

const char *host_model_path(const char *file)
{
    static char path[4][600];
    static unsigned turn;
    char *p = path[turn++ % 4];
    const char *dir = getenv("LEVER_MODELS"), *home = getenv("HOME");

    if (dir)
        snprintf(p, sizeof path[0], "%s/%s", dir, file);
    else
        snprintf(p, sizeof path[0], "%s/.cache/lever/models/%s", home ? home : "", file);
    if (access(p, R_OK) == 0)
        return p;
    printf("skip: no model file %s\n", p);
    return NULL;
}
