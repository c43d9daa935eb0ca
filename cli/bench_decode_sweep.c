/* lever bench decode over its memory sizes, and what becomes of the result: JSON, table, report, rows. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench_decode.h"
#include "commit.h"

/* ---- what a report says of itself ---- */

/* The processor's name as the system gives it; "" when it does not. */
static void cpu_name(char buf[160])
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256];

    buf[0] = '\0';
    while (f && !buf[0] && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');

        line[strcspn(line, "\n")] = '\0';
        if (colon && (!strncmp(line, "model name", 10) || !strncmp(line, "Hardware", 8)))
            snprintf(buf, 160, "%.150s", colon + 1 + strspn(colon + 1, " "));
    }
    if (f)
        fclose(f);
}

/* The command as it was typed, but for the user's own folder: that is nobody's business, and ~ is shorter. */
static json_t *command_json(const struct lv_args *a)
{
    const char *home = getenv("HOME");
    const size_t n = home ? strlen(home) : 0;
    struct lv_markup m = { .text = NULL };
    json_t *o;

    for (int i = 0; i < a->argc; i++) {
        const char *arg = i ? a->argv[i] : "lever";
        const bool in_home = n > 1 && !strncmp(arg, home, n) && arg[n] == '/';

        arg += in_home ? n : 0;
        const bool odd = !*arg || arg[strcspn(arg, " \t\n\"'\\$`*?&|;<>(){}[]!#~")];

        lv_putf(&m, "%s%s%s", i ? " " : "", in_home ? "~" : "", odd ? "'" : "");
        lv_put(&m, arg); /* a quote inside stays as it is: this is for reading */
        lv_put(&m, odd ? "'" : "");
    }
    o = lv_json_str(m.failed ? NULL : m.text);
    lv_markup_deinit(&m);
    return o;
}

static const char *base_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;

    return slash ? slash + 1 : path;
}

static json_t *sampling_json(const struct lv_args *a)
{
    const struct lever_sampling *s = &a->sampling;

    return json_pack("{s:o, s:i, s:o, s:o, s:o, s:b}", "temp", lv_json_real((double)s->temperature), "top_k", (int)s->top_k,
                     "top_p", lv_json_real((double)s->top_p), "min_p", lv_json_real((double)s->min_p), "seed",
                     lv_json_uint(s->seed), "ignore_eos", (int)s->ignore_eos);
}

static json_t *tasks_json(const struct lv_bench_prompts *p)
{
    json_t *tasks = json_array();

    for (uint32_t i = 0; i < p->n_task; i++)
        json_array_append_new(tasks, lv_json_str(p->task[i]));
    return tasks;
}

/* What holds for all sizes. */
static json_t *about_json(const struct lv_bench *b)
{
    const struct lv_args *a = b->a;
    const time_t now = time(NULL);
    char date[32] = "", cpu[160];
    struct tm tm;

    if (gmtime_r(&now, &tm))
        strftime(date, sizeof date, "%Y-%m-%d", &tm);
    cpu_name(cpu);
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "version", lever_version(),
                     "commit", LV_COMMIT,
                     "date", date,
                     "command", command_json(a),
                     "cpu", lv_json_str(cpu),
                     "threads", lv_json_uint(a->n_threads ? a->n_threads : (uint64_t)sysconf(_SC_NPROCESSORS_ONLN)),
                     "target", lv_json_str(base_name(a->target)),
                     "draft", lv_json_str(base_name(a->draft)),
                     "tasks", tasks_json(&b->prompts),
                     "prompts", lv_json_uint(b->prompts.n),
                     "repeat", lv_json_uint(a->repeat),
                     "n", lv_json_uint(b->n),
                     "n_off", lv_json_uint(b->n_off),
                     "sampling", sampling_json(a));
}

/* ---- one size, all sizes ---- */

static json_t *memory_json(uint64_t memory)
{
    return memory == LEVER_MEMORY_AUTO ? json_string("auto") : lv_json_uint(memory);
}

/* The object of one size: measured, or why it was not. Of several sizes one that does not work is told and passed by. */
static enum lever_status one_size(struct lv_bench *b, json_t **out, struct lever_error *err)
{
    enum lever_status st;

    if (b->detail)
        lv_bench_detail_close(b->detail);
    if (b->peers)
        lv_bench_peers_reset(b->peers);
    st = b->detail ? lv_bench_detail_open(b->detail, err) : LEVER_OK;
    if (st >= 0)
        st = lv_bench_measure(b, err);
    if (st < 0) {
        *out = json_pack("{s:o, s:o}", "memory", memory_json(b->a->memory_bytes), "error", lv_json_error(err));
        return st;
    }
    *out = lv_bench_json(&b->r, &b->prompts, b->a);
    if (b->detail)
        json_object_set_new(*out, "detail", lv_bench_detail_json(b->detail, &b->prompts));
    if (b->peers)
        json_object_set_new(*out, "peers", lv_bench_peers_json(b->peers, &b->prompts));
    return LEVER_OK;
}

static void say_size(const struct lv_bench *b)
{
    char size[24];

    if (b->a->memory_bytes == LEVER_MEMORY_UNLIMITED || b->a->memory_bytes == LEVER_MEMORY_AUTO)
        snprintf(size, sizeof size, "%s", b->a->memory_bytes == LEVER_MEMORY_AUTO ? "auto" : "unlimited");
    else
        lv_size_text(size, b->a->memory_bytes);
    lv_say("memory: %s", size);
    if (!b->a->json)
        printf("memory %s\n", size);
}

/* *out: the report of all sizes. Fails as the first size did when none could be measured. */
static enum lever_status sweep(struct lv_bench *b, json_t **out, struct lever_error *err)
{
    const struct lv_args *given = b->a;
    struct lv_args a = *given;
    json_t *sizes = json_array();
    struct lever_error first = { .status = LEVER_OK };
    enum lever_status st = LEVER_OK;
    bool any = false;

    for (uint32_t i = 0; i < a.n_memory && st != LEVER_E_CANCEL; i++) {
        json_t *size;

        a.memory_bytes = a.memory[i];
        b->a = &a;
        if (a.n_memory > 1)
            say_size(b);
        if ((st = one_size(b, &size, err)) < 0) {
            if (first.status >= 0)
                first = *err;
            if (a.n_memory > 1 && st != LEVER_E_CANCEL)
                lv_error("%s", err->message);
        } else {
            any = true;
            if (!a.json)
                lv_bench_put(&b->r, &b->prompts);
        }
        json_array_append_new(sizes, size);
    }
    b->a = given;
    if (st == LEVER_E_CANCEL || !any) {
        *err = st == LEVER_E_CANCEL ? *err : first;
        json_decref(sizes);
        return err->status;
    }
    *out = about_json(b);
    if (b->peers)
        json_object_set_new(*out, "peer_programs",
                            json_pack("{s:o, s:o}", "version", lv_json_str(b->peers->version), "missing",
                                      lv_json_str(b->peers->missing)));
    if (a.n_memory > 1)
        json_object_set(*out, "sizes", sizes);
    else
        json_object_update(*out, json_array_get(sizes, 0)); /* the fields of the one size, as they always were */
    json_decref(sizes);
    return *out ? LEVER_OK : lv_cli_fail(err, LEVER_E_NOMEM, "no memory for the report");
}

/* ---- what becomes of it ---- */

static enum lever_status write_html(const char *path, const json_t *report, struct lever_error *err)
{
    struct lv_markup m = { .text = NULL };
    enum lever_status st;

    if (lv_report_html(&m, report))
        st = lv_file_replace(path, m.text, m.n, err);
    else
        st = lv_cli_fail(err, LEVER_E_NOMEM, "%s: no memory for the report", path);
    lv_markup_deinit(&m);
    return st;
}

/* The measurement is printed whatever happens to the files: it took long. Returns an exit code. */
static int deliver(const struct lv_args *a, json_t *report)
{
    struct lever_error err = { .status = LEVER_OK };
    int code = LV_EXIT_OK;

    if (a->html && write_html(a->html, report, &err) < 0) {
        lv_error("%s", err.message);
        code = lv_exit_code(err.status);
    }
    if (a->csv && lv_bench_csv(a->csv, report, &err) < 0) {
        lv_error("%s", err.message);
        code = lv_exit_code(err.status);
    }
    if (a->json) {
        const int printed = lv_json_print(report);

        return printed != LV_EXIT_OK ? printed : code;
    }
    json_decref(report);
    return lv_stdout_done() ? code : LV_EXIT_IO;
}

static enum lever_status measure(struct lv_bench *b, json_t **report, struct lever_error *err)
{
    if (lv_bench_init(b, err) < 0)
        return err->status;
    if (b->peers && lv_bench_peers_init(b->peers, b, b->a->peers, err) < 0)
        return err->status;
    return sweep(b, report, err);
}

int lv_cli_bench_decode(const struct lv_args *a)
{
    struct lever_error err = { .status = LEVER_OK };
    struct lv_bench *b = calloc(1, sizeof *b); /* the series are too large for a stack */
    struct lv_bench_detail *detail = calloc(1, sizeof *detail);
    struct lv_bench_peers *peers = calloc(1, sizeof *peers);
    json_t *report = NULL;
    int code;

    lv_worker_signals();
    if (!b || !detail || !peers) {
        lv_cli_fail(&err, LEVER_E_NOMEM, "no memory for the sums");
        code = lv_report(&err, a->json);
        goto out;
    }
    b->a = a;
    b->detail = a->html ? detail : NULL;
    b->peers = a->peers ? peers : NULL;
    code = measure(b, &report, &err) < 0 ? lv_report(&err, a->json) : deliver(a, report);
    if (code == LV_EXIT_OK && b->differs)
        code = LV_EXIT_OTHER;
    lv_bench_deinit(b);
    lv_bench_detail_close(detail);
    lv_bench_peers_deinit(peers);
out:
    free(peers);
    free(detail);
    free(b);
    return code;
}
