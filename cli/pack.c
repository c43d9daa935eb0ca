/* lever pack: the weights of a model once more, in kernel layout, beside it. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

static void on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    lv_progress_show(user, what, done, total);
}

static void on_log(void *user, enum lever_log_level level, const char *message)
{
    (void)user;
    lv_say("%s%s", level == LEVER_LOG_WARN ? "warning: " : "", message);
}

static bool on_cancelled(void *user)
{
    (void)user;
    return lv_interrupted();
}

static int print_result(const struct lv_args *a, const char *path, bool written, double seconds)
{
    struct stat sb;
    const uint64_t bytes = stat(path, &sb) == 0 ? (uint64_t)sb.st_size : 0;
    char size[24];

    if (a->json)
        return lv_json_print(json_pack("{s:o, s:o, s:b, s:o}", "file", lv_json_str(path), "bytes", lv_json_uint(bytes),
                                       "written", written, "seconds", lv_json_real(seconds)));
    lv_put_safe(stdout, path, false);
    if (written)
        printf(": %s written in %.1f s\n", lv_size_text(size, bytes), seconds);
    else
        printf(": is there and good (%s); nothing to do\n", lv_size_text(size, bytes));
    return lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
}

int lv_cli_pack(const struct lv_args *a)
{
    const size_t n_path = strlen(a->target) + sizeof ".lvp";
    struct lever_error err = { .status = LEVER_OK };
    struct lever_pack_options opt;
    struct lv_progress progress;
    const double t0 = lv_cli_seconds();
    char *beside = malloc(n_path);
    enum lever_status st;
    int code;

    if (!beside) {
        lv_cli_fail(&err, LEVER_E_NOMEM, "no memory for a file name");
        return lv_report(&err, a->json);
    }
    snprintf(beside, n_path, "%s.lvp", a->target);
    lv_progress_init(&progress, a->json);
    lv_interrupt_init(a->json);
    lv_interrupt_phase(LV_PHASE_FINISH, NULL); /* the first signal is noted: what is half-written must go */
    signal(SIGXFSZ, SIG_IGN);                  /* a file size limit then is an error like a full device */
    lever_pack_options_default(&opt, sizeof opt);
    opt.target_path = a->target;
    opt.out_path = a->out ? a->out : beside;
    opt.force = a->force;
    opt.log = a->verbose ? on_log : NULL;
    opt.progress = on_progress;
    opt.cancelled = on_cancelled;
    opt.user = &progress;
    st = lever_pack(&opt, &err);
    lv_progress_end(&progress);
    code = st < 0 ? lv_report(&err, a->json) : print_result(a, opt.out_path, st == LEVER_OK, lv_cli_seconds() - t0);
    free(beside);
    return code;
}
