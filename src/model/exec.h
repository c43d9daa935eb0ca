/* Executor: runs a program over the rows of a pass with all workers of a pool.
 *
 * Workers take chunks of the current op; whoever finishes its last chunk begins the next op.
 * There is no other barrier, and the state of a run is (op, chunk counters): a worker that finds
 * nothing to do waits for an event, which a finished op or an arriving segment bumps.
 *
 * A row's result depends on its token, its position and the rows on its path only, bit for bit:
 * matmuls split output rows, everything else splits rows or heads, no sum is ever split.
 *
 * owns     nothing: buffers are pieces of the caller's arena
 * borrows  kernels, pool, program
 * threads  one run at a time */
#ifndef LV_MODEL_EXEC_H
#define LV_MODEL_EXEC_H

#include <stdatomic.h>

#include "base/event.h"
#include "base/mem.h"
#include "base/pool.h"
#include "kern/kern.h"
#include "model/kv.h"
#include "model/program.h"

#define LV_HEAD_ROWS 8    /* rows of one head batch: up to here they cost about one */
#define LV_HEAD_TOP_MAX 64
#define LV_EXEC_MAX_ROWS 256
#define LV_EXEC_MAX_PARTS 1024 /* segments of one op: 3 matrices in 4 MiB extents stay far below */

/* What one call of lv_exec_work came to. */
enum lv_work {
    LV_WORK_CHUNK,  /* a chunk was done */
    LV_WORK_NONE,   /* others hold what is left of the op */
    LV_WORK_STREAM, /* the rest of the op waits for the stream */
    LV_WORK_END     /* the run is over (done, cancelled or failed) */
};

/* Where streamed segments come from. take() returns the extent's data (bytes of the file) when it has arrived, else NULL;
 * never blocks. give() says that a segment of the extent has been used up.
 * The source bumps the executor's event when an extent arrives or fails. */
struct lv_source {
    const uint8_t *(*take)(void *ctx, uint32_t i_extent);
    void (*give)(void *ctx, uint32_t i_extent);
    enum lever_status (*error)(void *ctx, struct lever_error *err); /* < 0 once a read has failed */
    void *ctx;
};

/* Rows to verify. Each row has a cache slot for its own K and V and a path: the slots of its uncommitted
 * ancestors, oldest first, ending with its own. Its logical position is kv->n + path length - 1. */
struct lv_pass {
    uint32_t n_rows;
    const int32_t *slot;     /* [n_rows] */
    const uint32_t *path_at; /* [n_rows + 1] offsets into path */
    const int32_t *path;     /* slots */
};

/* What of the head's product is wanted. */
struct lv_head {
    uint32_t n_top;   /* 0: all of it, in LV_BUF_LOGITS. Else, up to LV_HEAD_TOP_MAX: the largest logits of each row:
                       * lv_exec_top; LV_BUF_LOGITS then holds no logits */
    uint32_t n_vocab; /* with n_top: tokens from here on do not count; 0: all do */
    float sharpen;    /* with n_top, > 0: also the sum over the tokens: lv_exec_mass */
};
#define LV_HEAD_LOGITS ((struct lv_head){ 0 })
#define LV_HEAD_BEST   ((struct lv_head){ .n_top = 1 })

struct lv_top {
    float logit;
    uint32_t id;
};

struct lv_exec_job; /* counters of the op that runs */

struct lv_exec {
    const struct lv_kern *k;
    const struct lv_kern *k_rest; /* matmuls of rows n_first on use this one; NULL: k for all. Set between runs, as k */
    uint32_t n_first;
    struct lv_pool *pool;
    const struct lv_program *p;
    struct lv_source src;
    struct lv_event own_event, *event; /* shared by executors whose workers wait together */
    const atomic_bool *cancel; /* borrowed; may be NULL */
    /* Called by a worker whose op waits for the stream: background work, at most a chunk of it. False: none. */
    bool (*idle)(void *ctx, unsigned worker);
    void *idle_ctx;
    /* Called before op i_op of a forward, i_op > 0, while no worker holds a part of the run: rows may be looked at, and
     * dropped by lv_exec_keep_rows, or a call put in by lv_exec_insert_call. NULL: none. */
    void (*between)(void *ctx, uint32_t i_op);
    void *between_ctx;

    uint32_t max_rows, n_ctx;
    float *buf[LV_BUF_COUNT];       /* [max_rows][stride] */
    uint32_t stride[LV_BUF_COUNT];  /* floats, padded to 32 */
    struct lv_act act[LV_ACT_COUNT];
    float *norm, *attn;             /* f32 inputs of ACT_NORM and ACT_ATTN */
    float *rope_cs[2];              /* [max_rows][n_rot] */
    uint32_t n_worker;
    uint8_t **scratch;              /* [n_worker] repacked group, or attention scores */
    uint64_t scratch_bytes;

    struct lv_head head;            /* of the run */
    struct lv_top *top;             /* [n_worker][LV_HEAD_ROWS][LV_HEAD_TOP_MAX] largest each worker has seen, in order */
    uint32_t *n_top;                /* [n_worker][LV_HEAD_ROWS] */

    struct lv_exec_job *job;
    void (*call)(void *ctx, uint32_t i, unsigned worker); /* of the call that runs */
    void *call_ctx;
    _Atomic uint64_t stream_wait_ns; /* of all workers together: nothing to do but wait for the stream */
    _Atomic uint64_t idle_ns;        /* of all workers together: in `idle` while the stream was waited for */
    uint64_t busy_ns;               /* time in forward and head so far */
};

/* Floats of a row of each buffer, without padding. */
void lv_exec_widths(const struct lv_program *p, uint32_t width[LV_BUF_COUNT]);

/* Lays the buffers out in the arena (which may only be counting). False when it is full.
 * n_slot: tree slots of the KV cache it will be used with;  streamed: some weights will not be pinned, so workers need room to repack a group. */
bool lv_exec_init(struct lv_exec *x, const struct lv_program *p, uint32_t n_worker, uint32_t max_rows, uint32_t n_ctx,
                  uint32_t n_slot, bool streamed, struct lv_arena *a);

/* The same for heads alone, of rows that someone puts into LV_BUF_X, with n_top only. x->event, k, pool and cancel are to
 * be set as for the other. */
bool lv_exec_init_head(struct lv_exec *x, const struct lv_program *p, uint32_t n_worker, uint32_t max_rows,
                       struct lv_arena *a);

/* In `between`, before an op of kind LV_OP_NORM: the rest of the run is over rows keep[0] < keep[1] < .. alone, which
 * become rows 0 .. n - 1. pass: the same for them; it and keep's rows' slots stay until the run ends. */
void lv_exec_keep_rows(struct lv_exec *x, const uint32_t *keep, const struct lv_pass *pass);

/* In `between`, before op i_op: first fn(ctx, i, worker) for i = 0 .. n - 1 is run, n >= 1, by all workers together; then
 * `between` is called for i_op again, when it cannot put in another. */
void lv_exec_insert_call(struct lv_exec *x, uint32_t n, void (*fn)(void *ctx, uint32_t i, unsigned worker), void *ctx);

/* Runs the body of the program over the pass. Before: rows of LV_BUF_X hold the scaled embeddings.
 * After LEVER_OK: LV_BUF_X holds the residual stream of every row, the slots hold their K and V.
 * LEVER_E_CANCEL, LEVER_E_IO: the slots' contents are undefined, the committed cache is untouched. */
enum lever_status lv_exec_forward(struct lv_exec *x, struct lv_kv *kv, const struct lv_pass *pass,
                                  struct lever_error *err);

/* Final norm and head for n <= LV_HEAD_ROWS rows of the last forward. */
enum lever_status lv_exec_head(struct lv_exec *x, const uint32_t *row, uint32_t n, struct lv_head head,
                               struct lever_error *err);

/* After a head with n_top: the largest logits of its row i, best first, of equal ones the lower token; NaN comes last.
 * top: [n_top]. Returns their count: n_top, or all there are. */
uint32_t lv_exec_top(const struct lv_exec *x, uint32_t i, struct lv_top *top);
/* After a head with sharpen: the sum over its row i of exp((logit - largest) * sharpen), NaN left out. The same
 * whatever the number of threads. */
double lv_exec_mass(const struct lv_exec *x, uint32_t i);

/* A head whose logits came from elsewhere: after lv_exec_give_head and, for each row i in LV_BUF_LOGITS, lv_exec_give_logits by
 * some worker, what a head with n_top gives can be asked for. The logits of the rows are overwritten then. */
void lv_exec_give_head(struct lv_exec *x, struct lv_head head);
void lv_exec_give_logits(struct lv_exec *x, unsigned worker, uint32_t i);

/* The same in pieces, so that another executor's workers can run it: begin, then lv_exec_work by any
 * workers until LV_WORK_END, then lv_exec_result. The pass must stay until then. */
void lv_exec_begin_forward(struct lv_exec *x, struct lv_kv *kv, const struct lv_pass *pass);
void lv_exec_begin_head(struct lv_exec *x, const uint32_t *row, uint32_t n, struct lv_head head);
/* fn(ctx, i, worker) for i = 0 .. n - 1. */
void lv_exec_begin_call(struct lv_exec *x, uint32_t n, void (*fn)(void *ctx, uint32_t i, unsigned worker), void *ctx);
enum lv_work lv_exec_work(struct lv_exec *x, unsigned worker);
enum lever_status lv_exec_result(struct lv_exec *x, struct lever_error *err);

static inline float *lv_exec_row(const struct lv_exec *x, enum lv_buf b, uint32_t row)
{
    return x->buf[b] + (size_t)row * x->stride[b];
}

/* ---- head.c, row_ops.c, attention.c: chunks of single ops, called by the executor's workers ---- */

/* logit: of row r, for the tokens of the group that begins at id0; overwritten. */
void lv_head_add(struct lv_exec *x, unsigned worker, uint32_t r, float *logit, uint32_t id0);

void lv_rope_angles(const struct lv_program *p, uint32_t i_rope, uint32_t pos, float *cs);
void lv_row_norm(struct lv_exec *x, const struct lv_op *op, uint32_t row);
void lv_row_qkv(struct lv_exec *x, struct lv_kv *kv, const struct lv_pass *pass, const struct lv_op *op, uint32_t row);
void lv_row_glu(struct lv_exec *x, const struct lv_op *op, uint32_t row, uint32_t c0, uint32_t n_c);

uint64_t lv_attn_scratch_bytes(const struct lv_program *p, uint32_t n_ctx, uint32_t n_slot);
/* Rows an attention chunk handles at the cache's present length. */
uint32_t lv_attn_rows_per_chunk(const struct lv_exec *x, const struct lv_kv *kv, const struct lv_pass *pass);
void lv_attn_chunk(struct lv_exec *x, const struct lv_kv *kv, const struct lv_pass *pass, const struct lv_op *op,
                   uint32_t head, uint32_t row0, uint32_t n_rows, uint8_t *scratch);

#endif
