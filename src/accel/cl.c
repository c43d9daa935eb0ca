#include "accel/cl.h"

#include <dlfcn.h>
#include <string.h>

#define LIBRARY "libOpenCL.so.1"
/* Vendors' Android libraries and development systems have only this one. */
#define LIBRARY_2 "libOpenCL.so"

enum lever_status lv_cl_open(struct lv_cl *cl, struct lv_accel_hooks *hooks, struct lever_error *err)
{
    static const struct {
        const char *name;
        size_t at;
    } call[] = {
#define LV_X(name, result, args) { "cl" #name, offsetof(struct lv_cl, name) },
        LV_CL_CALLS(LV_X)
#undef LV_X
    };
    const char *name = hooks && hooks->library ? hooks->library : LIBRARY;

    memset(cl, 0, sizeof *cl);
    cl->hooks = hooks ? hooks : &cl->no_hooks;
    /* Drivers start threads and register exit handlers: none survives being unmapped, so the library stays. */
    cl->library = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!cl->library && name == (const char *)LIBRARY)
        cl->library = dlopen(LIBRARY_2, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!cl->library)
        return LV_FAIL(err, LEVER_E_INTERNAL, "no OpenCL on this system: %s cannot be loaded", name);
    for (size_t i = 0; i < sizeof call / sizeof *call; i++) {
        void *f = dlsym(cl->library, call[i].name);

        if (!f) {
            lv_cl_close(cl);
            return LV_FAIL(err, LEVER_E_INTERNAL, "%s has no %s", name, call[i].name);
        }
        memcpy((char *)cl + call[i].at, &f, sizeof f);
    }
    return LEVER_OK;
}

void lv_cl_close(struct lv_cl *cl)
{
    if (cl->library)
        dlclose(cl->library);
    cl->library = NULL;
}

lv_cl_handle lv_cl_made(struct lv_cl *cl, lv_cl_handle h)
{
    if (h) {
        atomic_fetch_add(&cl->hooks->n_live, 1);
        atomic_fetch_add(&cl->hooks->n_made, 1);
    }
    return h;
}

const char *lv_cl_error(int32_t code)
{
    switch (code) {
    case -1: return "device not found";
    case -2: return "device not available";
    case -3: return "compiler not available";
    case -4: return "allocation of device memory failed";
    case -5: return "out of resources";
    case -6: return "out of host memory";
    case -11: return "build failed";
    case -36: return "invalid command queue";
    case -54: return "invalid work-group size";
    case -61: return "invalid buffer size";
    default: return "error";
    }
}
