/* A batch of drafting that a round waits for is computed by all workers, however long its beginning takes one of them.
 *
 * usage: test_draft_workers FOLDER
 *
 * Kernels that sleep: whoever takes part in a batch computes a group of it. */
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "engine/seq.h"
#include "ref/tiny.h"

#define TYPE LV_TYPE_Q8_0
#define N_PROMPT 40
#define N_BATCH 60
#define N_WORKER 2

static lv_gemm_fn *real_gemm;
static atomic_uint n_by[N_WORKER]; /* groups that each thread computed */
static atomic_uint n_thread;
static _Thread_local unsigned me = N_WORKER;

static void slow_gemm(float *y, size_t stride_y, const uint8_t *group, const struct lv_act *x, uint32_t t0, uint32_t n_tok)
{
    const struct timespec pause = { .tv_nsec = 100000 };

    if (me == N_WORKER)
        me = atomic_fetch_add(&n_thread, 1) % N_WORKER;
    atomic_fetch_add(&n_by[me], 1);
    nanosleep(&pause, NULL);
    real_gemm(y, stride_y, group, x, t0, n_tok);
}

/* Batches of a tree over a text, each text's tokens read anew. */
static void run(lever_engine *e, lever_seq *q)
{
    struct lv_draft *d = &q->draft;
    int32_t text[N_PROMPT];
    struct lever_error err = { 0 };
    unsigned n_alone = 0;

    for (unsigned i = 0; i < N_BATCH; i++) {
        for (unsigned k = 0; k < N_PROMPT; k++)
            text[k] = (int32_t)((i * 7 + k) % 500);
        CHECK_OR_RETURN(lv_draft_sync(d, text, N_PROMPT, &err) >= 0, "%s", err.message);
        d->n_open = LV_DRAFT_OPEN;
        CHECK_OR_RETURN(lv_draft_run(d, 1, &err) >= 0, "%s", err.message);
        for (unsigned w = 0; w < N_WORKER; w++)
            atomic_store(&n_by[w], 0);
        CHECK_OR_RETURN(lv_draft_run(d, 1, &err) >= 0, "%s", err.message);
        CHECK_OR_RETURN(n_by[0] + n_by[1] > 10, "a batch of %u groups", n_by[0] + n_by[1]);
        n_alone += !n_by[0] || !n_by[1];
    }
    CHECK(n_alone == 0, "%u of %u batches were computed by one of %u workers", n_alone, N_BATCH, lv_pool_n(e->pool));
}

int main(int argc, char **argv)
{
    struct tiny_spec spec = { .arch = LV_ARCH_QWEN2, .n_layer = 2, .n_embd = 256, .n_ff = 512, .n_head = 4,
                              .n_head_kv = 2, .n_vocab = 512, .type = TINY_ALL(TYPE), .seed = 5 };
    struct lever_options opt;
    struct lever_error err;
    struct lv_kern slow;
    lever_engine *e = NULL;
    lever_seq *q = NULL;
    char path[2][600];

    if (argc < 2)
        return 2;
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/workers-%d-%ld.gguf", argv[1], i, (long)getpid());
        spec.jitter = i ? 0.1f : 0.0f;
        CHECK(tiny_write(&spec, path[i], &err) >= 0, "write: %s", err.message);
    }
    lever_options_default(&opt, sizeof opt);
    opt.target_path = path[0];
    opt.draft_path = path[1];
    opt.n_threads = N_WORKER;
    opt.n_ctx = 256;
    opt.speculation = LEVER_SPEC_TREE;
    CHECK(lever_open(&e, &opt, &err) >= 0 && lever_seq_new(e, NULL, &q, &err) >= 0, "%s", err.message);
    if (q) {
        slow = *e->draft.exec.k;
        real_gemm = slow.gemm[TYPE];
        slow.gemm[TYPE] = slow_gemm;
        e->draft.exec.k = &slow;
        run(e, q);
    }
    lever_seq_free(q);
    lever_close(e);
    for (int i = 0; i < 2; i++)
        remove(path[i]);
    printf("%d failures\n", n_fail);
    return n_fail ? 1 : 0;
}
