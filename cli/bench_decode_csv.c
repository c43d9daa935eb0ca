/* Rows of lever bench decode --csv: a line for each memory size, mode and task, each saying how it came about. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench_decode.h"
#include "report.h"

#define MAX_FILE_BYTES ((size_t)64 << 20)

static const char heading[] =
    "date,version,commit,cpu,threads,device_bytes_per_s,target,draft,memory,mode,k,task,n,prompts,repeat,tok_per_s,slowest,"
    "fastest,tokens_per_round,bytes_per_token,peak_rss,equal,command\n";

/* A field: in quotes where it needs them; line breaks become spaces. */
static void put_field(struct lv_markup *m, const char *text, bool last)
{
    const bool quoted = strpbrk(text, ",\"\r\n") != NULL;
    char c[2] = "";

    lv_put(m, quoted ? "\"" : "");
    for (; *text; text++) {
        c[0] = *text == '\n' || *text == '\r' ? ' ' : *text;
        lv_put(m, *text == '"' ? "\"\"" : c);
    }
    lv_put(m, quoted ? "\"" : "");
    lv_put(m, last ? "\n" : ",");
}

static void put_value(struct lv_markup *m, const json_t *v, bool last)
{
    char text[40] = "";

    if (json_is_string(v)) {
        put_field(m, json_string_value(v), last);
        return;
    }
    if (json_is_integer(v))
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (json_is_number(v))
        snprintf(text, sizeof text, "%.6g", json_number_value(v));
    else if (json_is_boolean(v))
        snprintf(text, sizeof text, "%s", json_is_true(v) ? "yes" : "no");
    put_field(m, text, last);
}

static void put_values(struct lv_markup *m, const json_t *o, const char *const *name)
{
    for (; *name; name++)
        put_value(m, json_object_get(o, *name), false);
}

static void put_row(struct lv_markup *m, const struct lv_report *r, size_t i, const char *mode, const char *task, const json_t *o)
{
    static const char *const about[] = { "date", "version", "commit", "cpu", "threads", NULL };
    static const char *const models[] = { "target", "draft", NULL };
    static const char *const rest[] = { "tokens_per_round", "bytes_per_token", "peak_rss", "equal", NULL };
    const json_t *spread = json_object_get(o, "spread");
    const bool off = !strcmp(mode, "off") || !strcmp(mode, "mmap");

    put_values(m, r->o, about);
    put_value(m, json_object_get(r->size[i], "raw"), false);
    put_values(m, r->o, models);
    put_field(m, r->tick[i], false);
    put_field(m, mode, false);
    put_value(m, json_object_get(o, "k"), false);
    put_field(m, task, false);
    put_value(m, json_object_get(r->o, off ? "n_off" : "n"), false);
    put_value(m, json_object_get(o, "prompts"), false);
    put_value(m, json_object_get(r->o, "repeat"), false);
    put_value(m, json_object_get(o, "tok_per_s"), false);
    put_value(m, json_array_get(spread, 0), false);
    put_value(m, json_array_get(spread, 1), false);
    put_values(m, o, rest);
    put_value(m, json_object_get(r->o, "command"), true);
}

static void put_rows(struct lv_markup *m, const struct lv_report *r)
{
    for (size_t i = 0; i < r->n_size; i++) {
        for (size_t k = 0; k < LV_RIVALS; k++) {
            json_t *o = json_object_get(json_object_get(r->size[i], lv_rivals[k].group), lv_rivals[k].key), *sum;
            const bool peer = !strcmp(lv_rivals[k].group, "peers");
            const char *task;
            char mode[48];

            snprintf(mode, sizeof mode, "%s%s", peer ? "llama.cpp " : "", lv_rivals[k].key);
            json_object_foreach(o, task, sum) {
                if (json_number_value(json_object_get(sum, "tok_per_s")) > 0)
                    put_row(m, r, i, mode, task, sum);
            }
        }
    }
}

enum lever_status lv_bench_csv(const char *path, const json_t *report, struct lever_error *err)
{
    struct lv_markup m = { .text = NULL };
    enum lever_status st = LEVER_OK;
    struct lv_report r;
    struct stat sb;
    char *old = NULL;
    size_t n = 0;

    lv_report_init(&r, report);
    if (stat(path, &sb) == 0 && (st = lv_read_file(path, MAX_FILE_BYTES, &old, &n, err)) < 0)
        return st;
    if (n && strncmp(old, heading, sizeof heading - 1) != 0) {
        st = lv_cli_fail(err, LEVER_E_ARG, "%s: the first line is not the heading of these rows, so nothing was added; name a new "
                         "file", path);
        goto out;
    }
    lv_put(&m, n ? old : heading);
    if (n && old[n - 1] != '\n')
        lv_put(&m, "\n");
    put_rows(&m, &r);
    st = m.failed ? lv_cli_fail(err, LEVER_E_NOMEM, "%s: no memory for the rows", path)
                  : lv_file_replace(path, m.text, m.n, err);
out:
    lv_markup_deinit(&m);
    free(old);
    return st;
}
