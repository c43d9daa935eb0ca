/* Models and acceptance tables that are only described, as JSON. */
#include <math.h>
#include <string.h>

#include "cli.h"

#define SCHEMA 1
#define SHAPE_MAKE "profiles/models/ has examples"
#define ACCEPT_MAKE "make a table with tools/fit_acceptance.py"

static enum lever_status wrong_schema(const char *name, const json_t *o, const char *make, struct lever_error *err)
{
    double schema;

    if (!json_is_object(o))
        return lv_cli_fail(err, LEVER_E_ARG, "%s: not a JSON object; %s", name, make);
    if (lv_data_number(name, o, "schema", 1, 1e6, (double)NAN, &schema, err) < 0)
        return err->status;
    if (schema > SCHEMA)
        return lv_cli_fail(err, LEVER_E_ARG, "%s: \"schema\" is %.0f, this build reads %d; %s", name, schema, SCHEMA, make);
    return LEVER_OK;
}

/* A text of o; absent and not needed: *out NULL. */
static enum lever_status get_text(const char *name, const json_t *o, const char *key, bool needed, char buf[LV_SHAPE_TEXT],
                                  const char **out, struct lever_error *err)
{
    const json_t *v = json_object_get(o, key);

    *out = NULL;
    if (!v && !needed)
        return LEVER_OK;
    if (!json_is_string(v) || json_string_length(v) >= LV_SHAPE_TEXT || !json_string_length(v))
        return lv_cli_fail(err, LEVER_E_ARG, "%s: \"%s\" is not a text of 1 to %d characters; " SHAPE_MAKE, name, key,
                           LV_SHAPE_TEXT - 1);
    strcpy(buf, json_string_value(v));
    *out = buf;
    return LEVER_OK;
}

static enum lever_status get_count(const char *name, const json_t *o, const char *key, uint32_t *out, struct lever_error *err)
{
    double x;

    if (lv_data_number(name, o, key, 1, 1 << 24, (double)NAN, &x, err) < 0)
        return err->status;
    *out = (uint32_t)x;
    return LEVER_OK;
}

static enum lever_status read_shape(const char *name, const json_t *o, struct lv_shape_file *f, struct lever_error *err)
{
    struct lever_model_shape *s = &f->shape;
    const struct {
        const char *key;
        uint32_t *at;
    } counts[] = {
        { "layers", &s->n_layer }, { "embedding", &s->n_embd },   { "feed_forward", &s->n_ff },
        { "heads", &s->n_head },   { "kv_heads", &s->n_head_kv }, { "head_dim", &s->head_dim },
        { "vocabulary", &s->n_vocab }, { "context", &s->n_ctx_train },
    };

    if (wrong_schema(name, o, SHAPE_MAKE, err) < 0 || get_text(name, o, "name", true, f->name, &s->name, err) < 0 ||
        get_text(name, o, "arch", true, f->arch, &s->arch, err) < 0 ||
        get_text(name, o, "type", true, f->type[0], &s->type, err) < 0 ||
        get_text(name, o, "head_type", false, f->type[1], &s->head_type, err) < 0 ||
        get_text(name, o, "down_type", false, f->type[2], &s->down_type, err) < 0)
        return err->status;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (get_count(name, o, counts[i].key, counts[i].at, err) < 0)
            return err->status;
    s->tied = json_is_true(json_object_get(o, "tied"));
    return LEVER_OK;
}

enum lever_status lv_shape_file_read(const char *name, struct lv_shape_file *out, struct lever_error *err)
{
    json_t *o = NULL;
    enum lever_status st;

    memset(out, 0, sizeof *out);
    out->shape.size = sizeof out->shape;
    st = lv_data_read(LV_DATA_MODEL, name, SHAPE_MAKE, &o, err);
    if (st >= 0)
        st = read_shape(name, o, out, err);
    json_decref(o);
    return st;
}

/* ---- acceptance ---- */

/* A list of n numbers of 0..1. */
static enum lever_status get_shares(const char *name, const json_t *o, const char *key, uint32_t n, float *out,
                                    struct lever_error *err)
{
    const json_t *list = json_object_get(o, key), *v;
    size_t i;

    if (json_array_size(list) != n)
        return lv_cli_fail(err, LEVER_E_ARG, "%s: \"%s\" has %zu numbers, expected %u; " ACCEPT_MAKE, name, key,
                           json_array_size(list), (unsigned)n);
    json_array_foreach(list, i, v) {
        if (!json_is_number(v) || !(json_number_value(v) >= 0 && json_number_value(v) <= 1))
            return lv_cli_fail(err, LEVER_E_ARG, "%s: \"%s\" has something that is not a number of 0..1; " ACCEPT_MAKE, name, key);
        out[i] = (float)json_number_value(v);
    }
    return LEVER_OK;
}

/* Of the task that is read: what prompt lookup does in it. Its places are then of two kinds. */
static enum lever_status read_lookup(const char *name, const json_t *task, struct lever_acceptance *t, struct lever_error *err)
{
    const json_t *o = json_object_get(task, "lookup");
    double found, again;

    if (get_shares(name, o, "right", LEVER_ACCEPT_MATCHES, t->task[t->n_task].right, err) < 0 ||
        get_shares(name, o, "copied", t->n_class, t->task[t->n_task].copied, err) < 0 ||
        get_shares(name, o, "other", t->n_class, t->task[t->n_task].on, err) < 0 ||
        lv_data_number(name, o, "found", 0, 1, NAN, &found, err) < 0 ||
        lv_data_number(name, o, "found_again", 0, 1, NAN, &again, err) < 0)
        return err->status;
    t->task[t->n_task].found = (float)found;
    t->task[t->n_task].found_again = (float)again;
    return LEVER_OK;
}

/* Of the task that is read: a recorded text, [class, rank of the token, match, whether lookup is right] for each place. */
static enum lever_status read_text(const char *name, const json_t *list, struct lever_acceptance *t, struct lever_error *err)
{
    const json_t *v;
    size_t i;

    if (json_array_size(list) < 2 || json_array_size(list) > LEVER_ACCEPT_TEXT)
        return lv_cli_fail(err, LEVER_E_ARG, "%s: \"text\" has %zu places, expected 2 to %d; " ACCEPT_MAKE, name, json_array_size(list),
                           LEVER_ACCEPT_TEXT);
    json_array_foreach(list, i, v) {
        uint8_t n[4];

        for (size_t k = 0; k < 4; k++) {
            const json_int_t x = json_integer_value(json_array_get(v, k));

            if (json_array_size(v) != 4 || !json_is_integer(json_array_get(v, k)) || x < 0 || x > UINT8_MAX)
                return lv_cli_fail(err, LEVER_E_ARG, "%s: \"text\": place %zu is not four whole numbers of 0..255; " ACCEPT_MAKE, name, i);
            n[k] = (uint8_t)x;
        }
        t->task[t->n_task].text[i] = (struct lever_place){ .cls = n[0], .truth = n[1], .match = n[2], .copied = n[3] != 0 };
    }
    t->task[t->n_task].n_text = (uint32_t)json_array_size(list);
    return LEVER_OK;
}

static enum lever_status read_acceptance(const char *name, const json_t *o, struct lever_acceptance *t, struct lever_error *err)
{
    const json_t *classes = json_object_get(o, "classes"), *tasks = json_object_get(o, "tasks"), *v;
    const char *task;
    double stay;
    size_t i;

    if (wrong_schema(name, o, ACCEPT_MAKE, err) < 0)
        return err->status;
    if (!json_array_size(classes) || json_array_size(classes) > LEVER_ACCEPT_CLASSES || !json_object_size(tasks) ||
        json_object_size(tasks) > LEVER_ACCEPT_TASKS)
        return lv_cli_fail(err, LEVER_E_ARG, "%s: 1 to %d \"classes\" and 1 to %d \"tasks\" are expected; " ACCEPT_MAKE, name,
                           LEVER_ACCEPT_CLASSES, LEVER_ACCEPT_TASKS);
    t->n_class = (uint32_t)json_array_size(classes);
    if (json_object_get(o, "lookup") && get_shares(name, o, "lookup", LEVER_ACCEPT_MATCHES, t->lookup, err) < 0)
        return err->status;
    json_array_foreach(classes, i, v)
        if (get_shares(name, v, "p", LEVER_ACCEPT_CHILDREN, t->cls[i].p, err) < 0 ||
            get_shares(name, v, "hit", LEVER_ACCEPT_CHILDREN, t->cls[i].hit, err) < 0)
            return err->status;
    json_object_foreach((json_t *)(uintptr_t)tasks, task, v) { /* reads only; jansson's iterators take no const */
        if (strlen(task) >= sizeof t->task[0].name)
            return lv_cli_fail(err, LEVER_E_ARG, "%s: the name of a task is longer than %zu bytes; " ACCEPT_MAKE, name,
                               sizeof t->task[0].name - 1);
        strcpy(t->task[t->n_task].name, task);
        if (get_shares(name, v, "on", t->n_class, t->task[t->n_task].on, err) < 0 ||
            get_shares(name, v, "beside", t->n_class, t->task[t->n_task].beside, err) < 0 ||
            lv_data_number(name, v, "stay", 0, 0.999, 0, &stay, err) < 0)
            return err->status;
        t->task[t->n_task].stay = (float)stay;
        if (json_object_get(v, "text") && read_text(name, json_object_get(v, "text"), t, err) < 0)
            return err->status;
        if (json_object_get(o, "lookup") && read_lookup(name, v, t, err) < 0)
            return err->status;
        t->n_task++;
    }
    return LEVER_OK;
}

enum lever_status lv_acceptance_read(const char *name, struct lever_acceptance *out, struct lever_error *err)
{
    json_t *o = NULL;
    enum lever_status st;

    name = name ? name : "coder-1.5b-0.5b";
    memset(out, 0, sizeof *out);
    out->size = sizeof *out;
    st = lv_data_read(LV_DATA_ACCEPTANCE, name, ACCEPT_MAKE, &o, err);
    if (st >= 0)
        st = read_acceptance(name, o, out, err);
    json_decref(o);
    return st;
}
