/* OpenCL device: context, queue, compiled kernels. Shared by opencl.c, which opens it, and opencl_model.c, which runs passes. */
#ifndef LV_ACCEL_OPENCL_H
#define LV_ACCEL_OPENCL_H

#include "accel/backend.h"
#include "accel/cl.h"

#define LV_OPENCL_TILES 3 /* of rows: 1, 4, 8 */

enum lv_opencl_kernel { /* of rows.cl */
    LV_OPENCL_NORM,
    LV_OPENCL_QKV,
    LV_OPENCL_ATTENTION,
    LV_OPENCL_QUANTIZE,
    LV_OPENCL_GLU,
    LV_OPENCL_COMMIT,
    LV_OPENCL_KERNELS
};

struct lv_opencl {
    struct lv_cl cl;
    lv_cl_handle device, context, queue; /* device is not counted: it is not ours */
    lv_cl_handle program, kernel[LV_OPENCL_KERNELS];
    lv_cl_handle gemm_program[LV_TYPE_MAX], gemm[LV_TYPE_MAX][LV_OPENCL_TILES];
    uint64_t max_alloc;
    bool unified;
    uint32_t attn_items; /* work-items that share a head in attention: a multiple of 16, at most 64 */
    char name[128];
};

/* The model's side: opencl_model.c. */
enum lever_status lv_opencl_load(void **model, void *device, const struct lv_accel_spec *spec, struct lever_error *err);
void lv_opencl_unload(void *model);
enum lever_status lv_opencl_run(void *model, const struct lv_accel_job *job, struct lever_error *err);

/* Sources, embedded when Lever is built; NUL-terminated. */
extern const char lv_opencl_gemm_source[], lv_opencl_rows_source[];

#endif
