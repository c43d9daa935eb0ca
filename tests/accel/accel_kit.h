/* What tests of devices share. */
#ifndef ACCEL_KIT_H
#define ACCEL_KIT_H

#include <stdio.h>

#include "accel/accel.h"

/* Opens the OpenCL device; false, with the reason printed for ctest, when there is none. */
static inline bool kit_open(struct lv_accel **a, uint64_t types, struct lv_accel_hooks *hooks)
{
    struct lever_error err = { 0 };

    if (lv_accel_open(a, "opencl", types, hooks, &err) >= 0)
        return true;
    printf("skip: no OpenCL device to test with: %s\n", err.message);
    return false;
}

#endif
