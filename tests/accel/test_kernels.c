/* Kernels of a device against the reference: every weight type in every row bucket, on a small random program with all ops.
 *
 * usage: test_kernels [SEED [TYPE]]    TYPE: the number of one type alone */
#include <stdio.h>
#include <stdlib.h>

#include "accel/backend.h"
#include "accel/accel_kit.h"

int main(int argc, char **argv)
{
    static const uint32_t rows[] = { 1, 2, 4, 5, 8, 13, 16, 31, 32, 64, 100, 256 };
    const uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 11;
    struct lever_error err = { 0 };
    struct lv_accel *a;
    unsigned n_bad = 0, n_run = 0;
    uint64_t all = 0;

#define LV_X(name, num, len, bytes) all |= UINT64_C(1) << num;
    LV_TYPE_LIST(LV_X)
#undef LV_X
    if (argc > 2)
        all = UINT64_C(1) << (strtoul(argv[2], NULL, 10) % LV_TYPE_MAX);
    printf("SEED=%llu\n", (unsigned long long)seed);
    const int rc = kit_open(&a, all, NULL);

    if (rc)
        return rc;
    printf("%s: bit-equal: %s\n", lv_accel_caps(a)->name, lv_accel_caps(a)->bit_equal ? "yes" : "no");
    for (uint32_t t = 0; t < LV_TYPE_MAX; t++)
        for (unsigned i = 0; all >> t & 1 && i < sizeof rows / sizeof *rows; i++, n_run++) {
            uint64_t n_diff = 0;
            double worst = 0.0;

            if (lv_accel_compare(a, (enum lv_type)t, rows[i], seed + 100 * t + i, &n_diff, &worst, &err) < 0) {
                printf("FAIL %s, %u rows: %s\n", lv_type_name(t), rows[i], err.message);
                n_bad++;
            } else if (!(worst < LV_ACCEL_WRONG) || (lv_accel_caps(a)->bit_equal && n_diff)) {
                printf("FAIL %s, %u rows: %llu values differ, by up to %g of the largest\n", lv_type_name(t), rows[i],
                       (unsigned long long)n_diff, worst);
                n_bad++;
            }
        }
    lv_accel_close(a);
    printf("%u programs, %u failures\n", n_run, n_bad);
    return n_bad ? 1 : 0;
}
