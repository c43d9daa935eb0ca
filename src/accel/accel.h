/* Devices: a program's forward pass, and heads of its rows, on something that is not this CPU. Chosen at run time.
 *
 * A device keeps weights, row buffers and KV cache of a program; the host keeps the counters (how much is committed)
 * and hands them in with each pass. A pass is submitted and polled: nobody waits for a device unless he asks to.
 * A pass of n rows runs in the smallest row bucket that holds them, as matrix units compute full tiles and graphs of some
 * devices have fixed shapes.
 *
 * What a device computes may be used to draft and to score. It must not decide a target's token unless caps.bit_equal, and nothing
 * in Lever lets it: a lost or wrong device costs time, never text.
 *
 * threads  a device and its models belong to one thread at a time, but for lv_accel_poll: any */
#ifndef LV_ACCEL_ACCEL_H
#define LV_ACCEL_ACCEL_H

#include <stdatomic.h>

#include "base/event.h"
#include "base/status.h"
#include "model/exec.h"

#define LV_ACCEL_MAX_ROWS LV_EXEC_MAX_ROWS
#define LV_ACCEL_PATH 128 /* slots of a pass's paths, a row on average */

struct lv_accel;       /* an open device */
struct lv_accel_model; /* a program on it */

struct lv_accel_caps {
    char name[128];        /* "OpenCL: NVIDIA ..." */
    const char *kind;      /* "opencl" */
    bool bit_equal;        /* the self-test gave the bits of the reference kernels */
    bool unified;          /* its memory is the host's: weights lie there once */
    uint64_t memory_bytes, max_alloc_bytes;
};

/* What tests change. */
struct lv_accel_hooks {
    const char *library;        /* instead of libOpenCL.so.1 */
    const char *build_options;  /* added to those of the compiler */
    _Atomic int64_t lose_after; /* kernels until the device is lost; 0: never */
    _Atomic int64_t n_live;     /* objects of the device's library that exist: counted up and down */
    _Atomic int64_t n_made;
};

/* Opens the first usable device of a kind ("opencl"), compiles its kernels and compares them with the reference.
 *   types  bits 1 << enum lv_type: of which weights there will be
 *   hooks  borrowed until close; NULL = none
 * LEVER_E_INTERNAL when there is none that works, with the reason. Takes a second or so where kernels are compiled. */
enum lever_status lv_accel_open(struct lv_accel **out, const char *kind, uint64_t types, struct lv_accel_hooks *hooks,
                                struct lever_error *err);
void lv_accel_close(struct lv_accel *a); /* accepts NULL; its models are unloaded before */
const struct lv_accel_caps *lv_accel_caps(const struct lv_accel *a);

/* Bits of the types of a program's matrices. */
uint64_t lv_accel_types(const struct lv_program *p);
/* The smallest of 1, 4, 8, 16, 32, 64, 128, 256 that holds n rows, 1 <= n <= 256. */
uint32_t lv_accel_bucket(uint32_t n);

/* Device memory beside the weights: KV cache and buffers. Where caps.unified that is all of it. */
uint64_t lv_accel_bytes(const struct lv_program *p, uint32_t max_rows, uint32_t n_ctx, uint32_t n_slot);

/* Puts a program on the device: all its segments are resident and, like p and kv, stay until the unload. kv: for its layout;
 * what it holds is not taken over. The device's cache has nothing committed. */
enum lever_status lv_accel_load(struct lv_accel_model **out, struct lv_accel *a, const struct lv_program *p,
                                const struct lv_kv *kv, uint32_t max_rows, struct lever_error *err);
/* Waits for what is under way. Accepts NULL. */
void lv_accel_unload(struct lv_accel_model *m);

struct lv_accel_pass {
    const struct lv_pass *pass;   /* copied */
    uint32_t n_kv;                /* committed positions before it: kv->n */
    const float *x;               /* [n_rows] of stride_x: scaled embeddings; stay until the pass is over, as do ... */
    size_t stride_x;
    const uint32_t *head_row;     /* [n_head] rows of which logits are wanted; copied */
    uint32_t n_head;              /* 0 .. n_rows */
    float *logits;                /* ... [n_head] of stride_logits, written */
    size_t stride_logits;         /* >= the head's rows rounded up to 32 */
    float *x_out;                 /* ... [n_rows] of stride_x: the residual stream afterwards; NULL = not wanted */
    struct lv_event *event;       /* bumped when it is over; may be NULL */
};

/* Begins a pass; waits for one that was abandoned. One at a time. An error: nothing began. */
enum lever_status lv_accel_submit(struct lv_accel_model *m, const struct lv_accel_pass *pass, struct lever_error *err);
/* True when no pass is under way. */
bool lv_accel_poll(const struct lv_accel_model *m);
/* Waits for the pass and says how it ended. LEVER_E_CANCEL: abandoned. LEVER_E_INTERNAL: the device is lost, for good. */
enum lever_status lv_accel_wait(struct lv_accel_model *m, struct lever_error *err);
/* The pass shall end soon, whatever it wrote is void. Does not wait. */
void lv_accel_abandon(struct lv_accel_model *m);

/* Positions at .. at + n - 1 become committed from tree slots, before the next pass. Positions that were committed before may be
 * overwritten: a rewind needs no call. No pass under way. */
enum lever_status lv_accel_commit(struct lv_accel_model *m, const int32_t *slot, uint32_t n, uint32_t at,
                                  struct lever_error *err);

/* Submit and wait: scores of rows for one who does not let them decide. */
enum lever_status lv_accel_score(struct lv_accel_model *m, const struct lv_accel_pass *pass, struct lever_error *err);

#endif
