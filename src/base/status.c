#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

enum lever_status lv_fail(struct lever_error *err, enum lever_status st, const char *fmt, ...)
{
    if (err) {
        va_list ap;

        err->status = st;
        err->least_memory = 0;
        va_start(ap, fmt);
        vsnprintf(err->message, sizeof err->message, fmt, ap);
        va_end(ap);
    }
    return st;
}

const char *lever_status_text(enum lever_status st)
{
    switch (st) {
#define LEVER_X(name, code, text) \
    case name:                    \
        return text;
        LEVER_STATUS_LIST(LEVER_X)
#undef LEVER_X
    }
    return "unknown status";
}
