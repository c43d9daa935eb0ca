/* In place of uring.c and uring_probe.c when Lever is built without liburing. */
#include <stdio.h>

#include "io/uring.h"

bool lv_uring_probe(char *why, size_t cap_why)
{
    snprintf(why, cap_why, "this build has no io_uring (liburing was missing or switched off)");
    return false;
}

enum lever_status lv_uring_open(struct lv_uring **out, struct lv_reader *r, uint32_t depth, uint32_t n_urgent,
                                struct lever_error *err)
{
    (void)out, (void)r, (void)depth, (void)n_urgent;
    return LV_FAIL(err, LEVER_E_IO, "not built in");
}

void lv_uring_wake(struct lv_uring *u)
{
    (void)u;
}

void lv_uring_close(struct lv_uring *u)
{
    (void)u;
}
