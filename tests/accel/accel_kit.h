/* What tests of devices share. */
#ifndef ACCEL_KIT_H
#define ACCEL_KIT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "accel/accel.h"

/* Opens the OpenCL device. Returns 0, or what the test exits with: 77 when there is none, 1 when there is one that does not work. */
static inline int kit_open(struct lv_accel **a, uint64_t types, struct lv_accel_hooks *hooks)
{
    struct lever_error err = { 0 };

    if (lv_accel_open(a, "opencl", types, hooks, &err) >= 0)
        return 0;
    if (strncmp(err.message, "OpenCL", 6) == 0) { /* it names the device */
        printf("FAIL %s\n", err.message);
        return 1;
    }
    printf("skip: no OpenCL device to test with: %s\n", err.message);
    return 77;
}

/* Of a test that is called with FOLDER [SEED]: reads and prints the seed, if a device is there. Returns 0, or what the test exits
 * with: 2 without a folder, else as kit_open. */
static inline int kit_begin(int argc, char **argv, uint64_t *seed)
{
    struct lv_accel *a;

    if (argc < 2)
        return 2;
    if (argc > 2)
        *seed = strtoull(argv[2], NULL, 10);
    const int rc = kit_open(&a, 0, NULL);

    if (rc)
        return rc;
    lv_accel_close(a);
    printf("SEED=%llu\n", (unsigned long long)*seed);
    return 0;
}

#endif
