/* jansson with the contract's conventions: numbers in SI units, text always valid UTF-8. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "text.h"

json_t *lv_json_text(const char *bytes, size_t len)
{
    size_t n;
    char *clean = lv_utf8_clean(bytes, len, &n);
    json_t *s = clean ? json_stringn(clean, n) : NULL;

    free(clean);
    return s;
}

json_t *lv_json_str(const char *s)
{
    return s ? lv_json_text(s, strlen(s)) : json_null(); /* json_pack's "o" refuses NULL */
}

json_t *lv_json_uint(uint64_t n)
{
    return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n); /* JSON of jansson ends there */
}

json_t *lv_json_real(double x)
{
    return json_real(isfinite(x) ? x : 0);
}

json_t *lv_json_ids(const int32_t *ids, size_t n)
{
    json_t *a = json_array();

    for (size_t i = 0; i < n; i++) {
        if (json_array_append_new(a, json_integer(ids[i])) < 0) {
            json_decref(a);
            return NULL;
        }
    }
    return a;
}

json_t *lv_json_error(const struct lever_error *err)
{
    json_t *o = json_pack("{s:o, s:o, s:i}", "message", lv_json_str(err->message), "status",
                          lv_json_str(lever_status_text(err->status)), "exit_code", lv_exit_code(err->status));

    if (o && err->least_memory)
        json_object_set_new(o, "least_memory", lv_json_uint(err->least_memory));
    return o;
}

bool lv_json_write(FILE *f, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;

    json_decref(object);
    if (!text)
        return false;
    fputs(text, f);
    fputc('\n', f);
    free(text);
    return true;
}

int lv_json_print(json_t *object)
{
    if (!lv_json_write(stdout, object)) {
        lv_error("no memory for the JSON output");
        return LV_EXIT_OTHER;
    }
    return lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
}
