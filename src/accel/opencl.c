/* Opening an OpenCL device: the library, the device, its limits, the kernels. */
#include "accel/opencl.h"

#include <stdio.h>
#include <string.h>

#include "kern/r32.h"

#define MAX_PLATFORMS 8
#define MAX_DEVICES 8
#define LOCAL_NEEDED 1024 /* bytes of local memory of the attention kernel, rounded up */
#define LANES 16          /* work-items that share a row: rows.cl */
#define GROUP_ITEMS 32    /* work-items of a matrix product: a group's rows */

static enum lever_status failed(const struct lv_opencl *d, int32_t code, const char *what, struct lever_error *err)
{
    return LV_FAIL(err, LEVER_E_INTERNAL, "OpenCL (%s): %s: %s (%d)", d->name[0] ? d->name : "no device yet", what,
                   lv_cl_error(code), code);
}

/* A number of a device; 0 when it does not say. */
static uint64_t info(const struct lv_opencl *d, uint32_t what)
{
    uint64_t v = 0; /* little-endian host: narrower numbers land in the low bytes */

    return d->cl.GetDeviceInfo(d->device, what, sizeof v, &v, NULL) == 0 ? v : 0;
}

static bool usable(const struct lv_opencl *d)
{
    return (uint32_t)info(d, LV_CL_DEVICE_AVAILABLE) && (uint32_t)info(d, LV_CL_DEVICE_COMPILER_AVAILABLE) &&
           (uint32_t)info(d, LV_CL_DEVICE_ENDIAN_LITTLE) && info(d, LV_CL_DEVICE_MAX_WORK_GROUP_SIZE) >= GROUP_ITEMS &&
           info(d, LV_CL_DEVICE_LOCAL_MEM_SIZE) >= LOCAL_NEEDED;
}

/* A GPU if there is one, else another accelerator, else what else answers (a CPU through PoCL). */
static enum lever_status find_device(struct lv_opencl *d, struct lever_error *err)
{
    lv_cl_handle platform[MAX_PLATFORMS], device[MAX_DEVICES], best = NULL;
    uint32_t n_platform = 0, best_rank = 0, n_seen = 0;
    const int32_t rc = d->cl.GetPlatformIDs(MAX_PLATFORMS, platform, &n_platform);

    if (rc != 0 || !n_platform)
        return LV_FAIL(err, LEVER_E_INTERNAL, "the OpenCL library finds no driver (platform): install the one of your device");
    for (uint32_t i = 0; i < n_platform && i < MAX_PLATFORMS; i++) {
        uint32_t n = 0;

        if (d->cl.GetDeviceIDs(platform[i], UINT32_MAX, MAX_DEVICES, device, &n) != 0)
            continue;
        for (uint32_t k = 0; k < n && k < MAX_DEVICES; k++) {
            d->device = device[k];
            const uint64_t type = info(d, LV_CL_DEVICE_TYPE);
            const uint32_t rank = type & LV_CL_TYPE_GPU ? 3 : type & LV_CL_TYPE_ACCELERATOR ? 2 : 1;

            n_seen++;
            if (rank > best_rank && usable(d)) {
                best = device[k];
                best_rank = rank;
            }
        }
    }
    d->device = best;
    if (!best)
        return LV_FAIL(err, LEVER_E_INTERNAL, "none of %u OpenCL devices can be used: one that compiles kernels, with work-groups "
                       "of %d and %d bytes of local memory, is needed", n_seen, GROUP_ITEMS, LOCAL_NEEDED);
    if (d->cl.GetDeviceInfo(best, LV_CL_DEVICE_NAME, sizeof d->name - 1, d->name, NULL) != 0)
        snprintf(d->name, sizeof d->name, "unnamed device");
    return LEVER_OK;
}

static enum lever_status build(struct lv_opencl *d, lv_cl_handle *program, const char *source, const char *options,
                               struct lever_error *err)
{
    int32_t rc;

    *program = lv_cl_made(&d->cl, d->cl.CreateProgramWithSource(d->context, 1, &source, NULL, &rc));
    if (!*program)
        return failed(d, rc, "kernels", err);
    rc = d->cl.BuildProgram(*program, 1, &d->device, options, NULL, NULL);
    if (rc == 0)
        return LEVER_OK;
    char log[512] = "";
    size_t n = 0;

    if (d->cl.GetProgramBuildInfo(*program, d->device, LV_CL_PROGRAM_BUILD_LOG, 0, NULL, &n) == 0 && n) {
        char *all = lv_alloc(n + 1, 1);

        if (all && d->cl.GetProgramBuildInfo(*program, d->device, LV_CL_PROGRAM_BUILD_LOG, n, all, NULL) == 0) {
            all[n] = '\0';
            snprintf(log, sizeof log, "%s", all);
        }
        lv_free(all);
    }
    return LV_FAIL(err, LEVER_E_INTERNAL, "OpenCL (%s): the kernels do not compile (%d): %.400s", d->name, rc, log);
}

static enum lever_status get_kernel(struct lv_opencl *d, lv_cl_handle program, const char *name, size_t items,
                                    lv_cl_handle *kernel, struct lever_error *err)
{
    int32_t rc;
    size_t most = 0;

    *kernel = lv_cl_made(&d->cl, d->cl.CreateKernel(program, name, &rc));
    if (!*kernel)
        return failed(d, rc, name, err);
    /* Registers may bound a kernel's work-groups below the device's limit. */
    if (d->cl.GetKernelWorkGroupInfo(*kernel, d->device, LV_CL_KERNEL_WORK_GROUP_SIZE, sizeof most, &most, NULL) == 0 &&
        most < items)
        return LV_FAIL(err, LEVER_E_INTERNAL, "OpenCL (%s): kernel %s runs in work-groups of %zu, %zu are needed", d->name, name,
                       most, items);
    return LEVER_OK;
}

/* How quants lie: FORM of gemm.cl. */
static int form_of(enum lv_type type)
{
    switch (type) {
    case LV_TYPE_Q8_0: return 1;
    case LV_TYPE_Q4_K:
    case LV_TYPE_Q5_K: return 2;
    case LV_TYPE_Q6_K: return 3;
    case LV_TYPE_F32: return 4;
    case LV_TYPE_F16: return 5;
    case LV_TYPE_BF16: return 6;
    default: return 0;
    }
}

static enum lever_status build_gemm(struct lv_opencl *d, enum lv_type type, const char *base, struct lever_error *err)
{
    static const char *const name[LV_OPENCL_TILES] = { "gemm_1", "gemm_4", "gemm_8" };
    char options[512];

    snprintf(options, sizeof options, "%s -DFORM=%d -DLEN=%u -DBYTES=%u -DQS=%u -DQH=%u -DOFFSET=%d -DMIN=%d", base,
             form_of(type), lv_r32_block_len(type), LV_GROUP_ROWS * lv_r32_block_bytes(type), lv_r32_off_qs(type),
             lv_r32_off_qh(type), lv_r32_offset(type), lv_r32_has_min(type));
    LV_TRY(build(d, &d->gemm_program[type], lv_opencl_gemm_source, options, err));
    for (int i = 0; i < LV_OPENCL_TILES; i++)
        LV_TRY(get_kernel(d, d->gemm_program[type], name[i], GROUP_ITEMS, &d->gemm[type][i], err));
    return LEVER_OK;
}

static enum lever_status build_all(struct lv_opencl *d, uint64_t types, struct lever_error *err)
{
    static const char *const name[LV_OPENCL_KERNELS] = { "norm", "qkv", "attention", "quantize", "glu", "commit" };
    const char *more = d->cl.hooks->build_options;
    char base[256];

    /* Nothing that loosens arithmetic. Division and root are correctly rounded where the device can do it; where not, the
     * self-test finds out. */
    snprintf(base, sizeof base, "-cl-std=CL1.2%s %.160s",
             info(d, LV_CL_DEVICE_SINGLE_FP_CONFIG) & LV_CL_FP_CORRECT_DIVIDE_SQRT ? " -cl-fp32-correctly-rounded-divide-sqrt"
                                                                                   : "",
             more ? more : "");
    LV_TRY(build(d, &d->program, lv_opencl_rows_source, base, err));
    for (int i = 0; i < LV_OPENCL_KERNELS; i++)
        LV_TRY(get_kernel(d, d->program, name[i], i == LV_OPENCL_ATTENTION ? d->attn_items : i < 2 ? LANES : 1,
                          &d->kernel[i], err));
    for (uint32_t t = 0; t < LV_TYPE_MAX; t++)
        if (types >> t & 1)
            LV_TRY(build_gemm(d, (enum lv_type)t, base, err));
    return LEVER_OK;
}

static void close_device(void *device)
{
    struct lv_opencl *d = device;

    for (int t = 0; t < LV_TYPE_MAX; t++) {
        for (int i = 0; i < LV_OPENCL_TILES; i++)
            LV_CL_RELEASE(&d->cl, Kernel, d->gemm[t][i]);
        LV_CL_RELEASE(&d->cl, Program, d->gemm_program[t]);
    }
    for (int i = 0; i < LV_OPENCL_KERNELS; i++)
        LV_CL_RELEASE(&d->cl, Kernel, d->kernel[i]);
    LV_CL_RELEASE(&d->cl, Program, d->program);
    LV_CL_RELEASE(&d->cl, CommandQueue, d->queue);
    LV_CL_RELEASE(&d->cl, Context, d->context);
    lv_cl_close(&d->cl);
    lv_free(d);
}

static enum lever_status open_device(struct lv_opencl *d, uint64_t types, struct lv_accel_hooks *hooks,
                                     struct lever_error *err)
{
    int32_t rc;

    LV_TRY(lv_cl_open(&d->cl, hooks, err));
    LV_TRY(find_device(d, err));
    d->max_alloc = info(d, LV_CL_DEVICE_MAX_MEM_ALLOC_SIZE);
    d->unified = (uint32_t)info(d, LV_CL_DEVICE_HOST_UNIFIED_MEMORY) != 0;
    d->attn_items = info(d, LV_CL_DEVICE_MAX_WORK_GROUP_SIZE) >= 64 ? 64 : 32;
    d->context = lv_cl_made(&d->cl, d->cl.CreateContext(NULL, 1, &d->device, NULL, NULL, &rc));
    if (!d->context)
        return failed(d, rc, "context", err);
    d->queue = lv_cl_made(&d->cl, d->cl.CreateCommandQueue(d->context, d->device, 0, &rc));
    if (!d->queue)
        return failed(d, rc, "queue", err);
    return build_all(d, types, err);
}

enum lever_status lv_opencl_open(void **device, const struct lv_accel_ops **ops, struct lv_accel_caps *caps, uint64_t types,
                                 struct lv_accel_hooks *hooks, struct lever_error *err)
{
    static const struct lv_accel_ops opencl = { lv_opencl_load, lv_opencl_unload, lv_opencl_run, close_device };
    struct lv_opencl *d = LV_NEW(struct lv_opencl);

    if (!d)
        return LV_FAIL(err, LEVER_E_NOMEM, "OpenCL: %zu bytes", sizeof *d);
    const enum lever_status st = open_device(d, types, hooks, err);

    if (st < 0) {
        close_device(d);
        return st;
    }
    snprintf(caps->name, sizeof caps->name, "OpenCL: %.100s", d->name);
    caps->unified = d->unified;
    caps->memory_bytes = info(d, LV_CL_DEVICE_GLOBAL_MEM_SIZE);
    caps->max_alloc_bytes = d->max_alloc;
    *device = d;
    *ops = &opencl;
    return LEVER_OK;
}
