/* JSON descriptions: read from a file, or built in by name (profiles/). */
#include "data_builtin.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define MAX_FILE_BYTES ((size_t)1 << 20)

static const char *const kind_names[] = { "device", "model", "acceptance" };

static const struct lv_builtin *find_builtin(enum lv_data kind, const char *name)
{
    for (size_t i = 0; i < lv_n_builtin; i++)
        if (lv_builtin[i].kind == (unsigned)kind && !strcmp(lv_builtin[i].name, name))
            return &lv_builtin[i];
    return NULL;
}

static enum lever_status no_builtin(enum lv_data kind, const char *name, struct lever_error *err)
{
    char list[400] = "";

    for (size_t i = 0; i < lv_n_builtin; i++) {
        const size_t at = strlen(list);

        if (lv_builtin[i].kind == (unsigned)kind)
            snprintf(list + at, sizeof list - at, "%s%s", at ? ", " : "", lv_builtin[i].name);
    }
    return lv_cli_fail(err, LEVER_E_ARG, "there is no built-in %s \"%s\"; there are: %s; a file's name ends in .json or has a slash",
                       kind_names[kind], name, list);
}

enum lever_status lv_data_read(enum lv_data kind, const char *name, const char *make, json_t **o, struct lever_error *err)
{
    const struct lv_builtin *b = find_builtin(kind, name);
    json_error_t je;
    char *text = NULL;
    size_t len;
    json_t *x;

    if (b) {
        x = json_loadb(b->text, b->len, JSON_REJECT_DUPLICATES, &je);
    } else {
        const enum lever_status st = lv_read_file(name, MAX_FILE_BYTES, &text, &len, err);

        if (st == LEVER_E_IO && !strchr(name, '/') && (strlen(name) < 5 || strcmp(name + strlen(name) - 5, ".json") != 0))
            return no_builtin(kind, name, err);
        if (st < 0)
            return st;
        x = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
        free(text);
    }
    if (!x)
        return lv_cli_fail(err, LEVER_E_ARG, "%s: line %d: %s; %s", name, je.line, je.text, make);
    *o = x;
    return LEVER_OK;
}

enum lever_status lv_data_number(const char *path, const json_t *o, const char *key, double min, double max, double absent,
                                 double *out, struct lever_error *err)
{
    const json_t *v = json_object_get(o, key);

    *out = absent;
    if ((!v || json_is_null(v)) && !isnan(absent))
        return LEVER_OK;
    *out = json_number_value(v);
    if (!json_is_number(v) || !(*out >= min && *out <= max))
        return lv_cli_fail(err, LEVER_E_ARG, "%s: \"%s\" is not a number of %g..%g", path, key, min, max);
    return LEVER_OK;
}
