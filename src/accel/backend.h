/* What a kind of device implements. accel.c does the rest: threads, order, rewinds. */
#ifndef LV_ACCEL_BACKEND_H
#define LV_ACCEL_BACKEND_H

#include "accel/accel.h"

/* One pass as a backend gets it. All of it stays until run() returns. */
struct lv_accel_job {
    uint32_t n_rows, bucket, n_kv;
    uint32_t longest;      /* path */
    const float *x;        /* [n_rows][stride_x] */
    size_t stride_x;
    float *x_out;          /* or NULL */
    const float *rope;     /* [program's rope tables][n_rows][n_rot] */
    const int32_t *ints;   /* [n_ints]: slots [n_rows], path offsets [n_rows + 1], paths, head rows, pairs (slot, position) */
    uint32_t n_ints, at_path, at_slots, at_head, at_commit;
    uint32_t n_head, n_commit; /* n_rows may be 0: commits alone */
    float *logits;
    size_t stride_logits;
    const atomic_bool *stop; /* set: return soon */
};

struct lv_accel_spec {
    const struct lv_program *p;
    const struct lv_kv *kv;
    uint32_t max_rows; /* a bucket */
    uint32_t cap_ints;
};

struct lv_accel_ops {
    enum lever_status (*load)(void **model, void *device, const struct lv_accel_spec *spec, struct lever_error *err);
    void (*unload)(void *model);
    /* Called by one thread at a time, which need not be the one that loaded. Returns when all is done. */
    enum lever_status (*run)(void *model, const struct lv_accel_job *job, struct lever_error *err);
    void (*close)(void *device);
};

/* A backend's open: fills device, operations and capabilities (bit_equal is set later). */
enum lever_status lv_opencl_open(void **device, const struct lv_accel_ops **ops, struct lv_accel_caps *caps, uint64_t types,
                                 struct lv_accel_hooks *hooks, struct lever_error *err);

/* Largest difference, relative to the largest value, of a device that only rounds differently: one rounding may move an int8
 * activation by a step, which the next products spread (unfused multiply-adds: 0.015). A wrong operation gives far more (a window
 * that is off by one: 0.5). */
#define LV_ACCEL_WRONG 0.1

/* Runs a small random program with weights of one type in `n_rows` rows on the device and on the reference kernels. n_diff: values
 * with other bits. worst: largest difference, relative to the largest value. */
enum lever_status lv_accel_compare(struct lv_accel *a, enum lv_type type, uint32_t n_rows, uint64_t seed, uint64_t *n_diff,
                                   double *worst, struct lever_error *err);

#endif
