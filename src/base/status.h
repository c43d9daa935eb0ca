/* Errors: made once at the origin, passed on unchanged.
 *
 *   if (bad)
 *       return LV_FAIL(err, LEVER_E_MODEL, "%s: key %s is %u, expected 1..%u", ...);
 *   LV_TRY(lv_gguf_open(&g, path, err));      where nothing needs cleanup
 *
 * A message says what, where, found, expected and, where it helps, the next step. */
#ifndef LV_BASE_STATUS_H
#define LV_BASE_STATUS_H

#include <lever/lever.h>

/* Fills *err (may be NULL) and returns st. */
__attribute__((format(printf, 3, 4))) enum lever_status
lv_fail(struct lever_error *err, enum lever_status st, const char *fmt, ...);

#define LV_FAIL(err, st, ...) lv_fail((err), (st), __VA_ARGS__)

#define LV_TRY(expr)                      \
    do {                                  \
        enum lever_status lv_st_ = (expr); \
        if (lv_st_ < 0)                   \
            return lv_st_;                \
    } while (0)

#endif
