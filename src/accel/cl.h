/* The calls of OpenCL 1.2 that Lever makes, found at run time: no header and no library of it is needed to build.
 * Names and numbers are those of the Khronos specification; calls keep its order of arguments.
 *
 * owns     the library's handle; objects are counted in the hooks, so that a test sees what is not given back
 * threads  as OpenCL: kernels' arguments from one thread at a time, the rest from any */
#ifndef LV_ACCEL_CL_H
#define LV_ACCEL_CL_H

#include "accel/accel.h"

typedef struct lv_cl_object *lv_cl_handle; /* platform, device, context, queue, buffer, program or kernel */

enum {
    LV_CL_DEVICE_ALL_KINDS = -1,
    LV_CL_TYPE_GPU = 1 << 2,
    LV_CL_TYPE_ACCELERATOR = 1 << 3,

    LV_CL_DEVICE_TYPE = 0x1000,
    LV_CL_DEVICE_MAX_WORK_GROUP_SIZE = 0x1004,
    LV_CL_DEVICE_MAX_MEM_ALLOC_SIZE = 0x1010,
    LV_CL_DEVICE_SINGLE_FP_CONFIG = 0x101B,
    LV_CL_DEVICE_GLOBAL_MEM_SIZE = 0x101F,
    LV_CL_DEVICE_LOCAL_MEM_SIZE = 0x1023,
    LV_CL_DEVICE_ENDIAN_LITTLE = 0x1026,
    LV_CL_DEVICE_AVAILABLE = 0x1027,
    LV_CL_DEVICE_COMPILER_AVAILABLE = 0x1028,
    LV_CL_DEVICE_NAME = 0x102B,
    LV_CL_DEVICE_HOST_UNIFIED_MEMORY = 0x1035,
    LV_CL_PROGRAM_BUILD_LOG = 0x1183,
    LV_CL_KERNEL_WORK_GROUP_SIZE = 0x11B0,

    LV_CL_FP_CORRECT_DIVIDE_SQRT = 1 << 7,
    LV_CL_MEM_READ_WRITE = 1 << 0,
    LV_CL_MEM_READ_ONLY = 1 << 2,
    LV_CL_MEM_USE_HOST_PTR = 1 << 3,
    LV_CL_MEM_COPY_HOST_PTR = 1 << 5
};

/* name, result, arguments */
#define LV_CL_CALLS(X)                                                                                                     \
    X(GetPlatformIDs, int32_t, (uint32_t, lv_cl_handle *, uint32_t *))                                                      \
    X(GetDeviceIDs, int32_t, (lv_cl_handle, uint64_t, uint32_t, lv_cl_handle *, uint32_t *))                                \
    X(GetDeviceInfo, int32_t, (lv_cl_handle, uint32_t, size_t, void *, size_t *))                                           \
    X(CreateContext, lv_cl_handle, (const intptr_t *, uint32_t, const lv_cl_handle *, void *, void *, int32_t *))           \
    X(ReleaseContext, int32_t, (lv_cl_handle))                                                                              \
    X(CreateCommandQueue, lv_cl_handle, (lv_cl_handle, lv_cl_handle, uint64_t, int32_t *))                                  \
    X(ReleaseCommandQueue, int32_t, (lv_cl_handle))                                                                         \
    X(CreateBuffer, lv_cl_handle, (lv_cl_handle, uint64_t, size_t, void *, int32_t *))                                      \
    X(ReleaseMemObject, int32_t, (lv_cl_handle))                                                                            \
    X(CreateProgramWithSource, lv_cl_handle, (lv_cl_handle, uint32_t, const char **, const size_t *, int32_t *))            \
    X(BuildProgram, int32_t, (lv_cl_handle, uint32_t, const lv_cl_handle *, const char *, void *, void *))                  \
    X(GetProgramBuildInfo, int32_t, (lv_cl_handle, lv_cl_handle, uint32_t, size_t, void *, size_t *))                       \
    X(ReleaseProgram, int32_t, (lv_cl_handle))                                                                              \
    X(CreateKernel, lv_cl_handle, (lv_cl_handle, const char *, int32_t *))                                                  \
    X(ReleaseKernel, int32_t, (lv_cl_handle))                                                                               \
    X(GetKernelWorkGroupInfo, int32_t, (lv_cl_handle, lv_cl_handle, uint32_t, size_t, void *, size_t *))                    \
    X(SetKernelArg, int32_t, (lv_cl_handle, uint32_t, size_t, const void *))                                                \
    X(EnqueueNDRangeKernel, int32_t, (lv_cl_handle, lv_cl_handle, uint32_t, const size_t *, const size_t *, const size_t *, \
                                      uint32_t, const lv_cl_handle *, lv_cl_handle *))                                      \
    X(EnqueueWriteBuffer, int32_t, (lv_cl_handle, lv_cl_handle, uint32_t, size_t, size_t, const void *, uint32_t,           \
                                    const lv_cl_handle *, lv_cl_handle *))                                                  \
    X(EnqueueReadBuffer, int32_t, (lv_cl_handle, lv_cl_handle, uint32_t, size_t, size_t, void *, uint32_t,                  \
                                   const lv_cl_handle *, lv_cl_handle *))                                                   \
    X(Finish, int32_t, (lv_cl_handle))

struct lv_cl {
    void *library;
    struct lv_accel_hooks *hooks, no_hooks; /* hooks: never NULL */
#define LV_X(name, result, args) result(*name) args;
    LV_CL_CALLS(LV_X)
#undef LV_X
};

/* Loads the library and finds all calls. The error names what is missing. */
enum lever_status lv_cl_open(struct lv_cl *cl, struct lv_accel_hooks *hooks, struct lever_error *err);
void lv_cl_close(struct lv_cl *cl);

/* Objects that are counted: use `made` on the result of each Create call, `LV_CL_RELEASE` for the release. */
lv_cl_handle lv_cl_made(struct lv_cl *cl, lv_cl_handle h);
#define LV_CL_RELEASE(cl, kind, h)                          \
    do {                                                    \
        if (h) {                                            \
            (cl)->Release##kind(h);                         \
            atomic_fetch_sub(&(cl)->hooks->n_live, 1);      \
            (h) = NULL;                                     \
        }                                                   \
    } while (0)

/* Name of an OpenCL error code. */
const char *lv_cl_error(int32_t code);

#endif
