/* Prompts of lever bench decode: JSON lines with id, task and either messages (one user turn) or prompt (raw text). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench_decode.h"

#define MAX_FILE_BYTES ((size_t)64 << 20)
#define MAX_PROMPT_BYTES 100000u /* Linux takes 128 KiB in one argument of a process */

/* True if name is an item of "a,b,c". */
static bool listed(const char *list, const char *name)
{
    const size_t n = strlen(name);

    for (const char *s = list; *s; s += strcspn(s, ","), s += *s == ',')
        if (strcspn(s, ",") == n && !strncmp(s, name, n))
            return true;
    return false;
}

/* The one user turn of a chat; NULL if it is anything else. */
static const char *user_turn(const json_t *messages)
{
    const json_t *m = json_array_get(messages, 0);
    const char *role = json_string_value(json_object_get(m, "role"));

    if (json_array_size(messages) != 1 || !role || strcmp(role, "user") != 0)
        return NULL;
    return json_string_value(json_object_get(m, "content"));
}

/* The task's index, added if it is new. */
static enum lever_status find_task(struct lv_bench_prompts *out, const char *name, uint32_t *i, struct lever_error *err)
{
    for (*i = 0; *i < out->n_task; ++*i)
        if (!strcmp(out->task[*i], name))
            return LEVER_OK;
    if (out->n_task == LV_BENCH_CAP_TASK)
        return lv_cli_fail(err, LEVER_E_ARG, "more than %d tasks", LV_BENCH_CAP_TASK);
    out->task[out->n_task++] = name;
    return LEVER_OK;
}

/* Adds the prompt in o, unless it is not wanted; the message lacks file and line. */
static enum lever_status add(struct lv_bench_prompts *out, const json_t *o, const char *tasks, uint32_t count,
                             struct lever_error *err)
{
    struct lv_bench_prompt p = { .id = json_string_value(json_object_get(o, "id")) };
    const char *task = json_string_value(json_object_get(o, "task"));
    const json_t *messages = json_object_get(o, "messages");
    uint32_t n = 0;

    if (!json_is_object(o))
        return lv_cli_fail(err, LEVER_E_ARG, "not a JSON object");
    if (!p.id || !task || !*task)
        return lv_cli_fail(err, LEVER_E_ARG, "\"%s\" is not a text, expected one", p.id ? "task" : "id");
    if (!strcmp(task, "all"))
        return lv_cli_fail(err, LEVER_E_ARG, "\"task\" is \"all\", the report's name for the mean; use another");
    p.chat = messages != NULL;
    p.text = messages ? user_turn(messages) : json_string_value(json_object_get(o, "prompt"));
    if (!p.text || !*p.text)
        return lv_cli_fail(err, LEVER_E_ARG, "%s",
                           messages ? "\"messages\" is not one message with the role \"user\" and a text"
                                    : "neither \"messages\" nor \"prompt\" has a text");
    if (strlen(p.text) > MAX_PROMPT_BYTES)
        return lv_cli_fail(err, LEVER_E_ARG, "the prompt has %zu bytes, at most %u go", strlen(p.text),
                           MAX_PROMPT_BYTES);
    if (tasks && !listed(tasks, task))
        return LEVER_OK;
    if (find_task(out, task, &p.i_task, err) < 0)
        return err->status;
    for (size_t i = 0; i < out->n; i++)
        n += out->prompt[i].i_task == p.i_task;
    if (n < count)
        out->prompt[out->n++] = p;
    return LEVER_OK;
}

/* A typing error in --tasks would go unnoticed: each name must have a prompt. */
static enum lever_status check_tasks(const char *path, const char *tasks, const struct lv_bench_prompts *p,
                                     struct lever_error *err)
{
    char known[400] = "";
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(p->lines) && n < sizeof known - 64; i++) {
        const char *task = json_string_value(json_object_get(json_array_get(p->lines, i), "task"));

        if (!listed(known, task) && strlen(task) < 60)
            n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? "," : "", task);
    }
    for (const char *s = tasks;; s++) {
        const size_t len = strcspn(s, ",");
        bool found = false;

        for (uint32_t i = 0; i < p->n_task; i++)
            found = found || (strlen(p->task[i]) == len && !strncmp(p->task[i], s, len));
        if (!found)
            return lv_cli_fail(err, LEVER_E_ARG, "--tasks: found \"%.*s\", %s has %s", (int)len, s, path, known);
        s += len;
        if (!*s)
            return LEVER_OK;
    }
}

/* One line of the file, cut at its end; blank ones are skipped. */
static enum lever_status parse_line(struct lv_bench_prompts *out, const char *line, const char *tasks, uint32_t count,
                                    struct lever_error *err)
{
    json_error_t je;
    json_t *o;

    if (!line[strspn(line, " \t\r")])
        return LEVER_OK;
    if (!(o = json_loads(line, JSON_REJECT_DUPLICATES, &je)))
        return lv_cli_fail(err, LEVER_E_ARG, "not JSON: %s, at column %d", je.text, je.column);
    if (json_array_append_new(out->lines, o) < 0)
        return lv_cli_fail(err, LEVER_E_NOMEM, "no memory for the prompts");
    return add(out, o, tasks, count, err);
}

enum lever_status lv_bench_prompts_read(const char *path, const char *tasks, uint32_t count,
                                        struct lv_bench_prompts *out, struct lever_error *err)
{
    enum lever_status st;
    size_t len, n_line = 1;
    char *text = NULL;

    memset(out, 0, sizeof *out);
    if ((st = lv_read_file(path, MAX_FILE_BYTES, &text, &len, err)) < 0)
        return st;
    for (size_t i = 0; i < len; i++)
        n_line += text[i] == '\n';
    out->lines = json_array();
    out->prompt = calloc(n_line, sizeof *out->prompt);
    if (!out->lines || !out->prompt) {
        st = lv_cli_fail(err, LEVER_E_NOMEM, "%s: no memory for %zu prompts", path, n_line);
        goto out;
    }
    n_line = 1;
    for (char *line = text, *next; line; line = next, n_line++) {
        if ((next = strchr(line, '\n')))
            *next++ = '\0';
        if ((st = parse_line(out, line, tasks, count, err)) < 0) {
            const struct lever_error why = *err;

            lv_cli_fail(err, st, "%s, line %zu: %.800s", path, n_line, why.message);
            goto out;
        }
    }
    if (tasks)
        st = check_tasks(path, tasks, out, err);
    else if (!out->n)
        st = lv_cli_fail(err, LEVER_E_ARG, "%s: no prompt in it; a line is {\"id\": .., \"task\": .., \"prompt\": ..}",
                         path);
out:
    free(text);
    return st;
}

void lv_bench_prompts_deinit(struct lv_bench_prompts *p)
{
    json_decref(p->lines);
    free(p->prompt);
    memset(p, 0, sizeof *p);
}
