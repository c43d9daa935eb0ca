#include "e2e/host.h"

#include <math.h>
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
        if (lv_exec_head(&h->m.exec, row, k, LV_HEAD_TOP, &err) < 0)
            return failed(&err);
        for (uint32_t i = 0; i < k; i++) {
            const float *l = logits + (size_t)(r + i) * n_vocab;
            const struct lv_top top = lv_exec_top(&h->m.exec, i);
            const uint32_t best = host_argmax(l, n_vocab);

            if (top.id != best || top.logit != l[best]) {
                fprintf(stderr, "row %u: top is token %u (%g), expected %u (%g)\n", r + i, top.id, (double)top.logit,
                        best, (double)l[best]);
                return false;
            }
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
