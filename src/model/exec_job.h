/* Counters of the op that an executor runs. For exec.c, which counts, and exec_init.c, which lays them out. */
#ifndef LV_MODEL_EXEC_JOB_H
#define LV_MODEL_EXEC_JOB_H

#include "model/exec.h"

/* Work units of the op that runs: a 32-row group in matmuls, else a row or a piece of one.
 *
 * Every counter carries the serial number of its op in the upper half, and so does `at`, which
 * names the op: a worker that was held up can never take a unit of a later op. All other
 * fields keep still while a worker is inside. */
#define CLOSED UINT32_MAX /* as the index in `at`: the next run is being set up */
#define INSERTED (UINT32_C(1) << 30) /* with the index of an op: a call that runs before it */

struct lv_exec_job {
    _Atomic uint64_t at;     /* serial << 32 | index of the op */
    _Atomic uint32_t n_inside; /* workers that look at this job: begin() waits for them */
    _Atomic uint32_t n_done; /* units of this op */
    _Atomic bool stop;       /* cancelled or failed */
    _Atomic uint64_t *next;  /* [n_part][n_worker] serial << 32 | next unit; a lane each */
    _Atomic uint32_t *n_used; /* [n_part] finished units of a streamed segment */

    const struct lv_op *op; /* [n_op] */
    uint32_t n_op;
    _Atomic uint32_t n_call; /* units of a call */
    _Atomic uint32_t n_rows; /* changes between ops: who is late may look, but finds that its op is over */
    uint32_t attn_rows, glu_cols;
    uint64_t began_ns;
    struct lv_kv *kv;
    const struct lv_pass *pass;
};

#endif
