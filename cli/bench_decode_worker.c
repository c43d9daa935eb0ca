/* A process of the own program, its JSON, its errors; Ctrl-C ends it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench_decode.h"

extern char **environ;

#define MAX_ERROR_BYTES 4000u

/* A signal handler knows no arguments. running: the worker to kill, 0 between two. */
static atomic_int running;
static atomic_bool interrupted;
static char last_warning[240]; /* each worker would say the same */

static void on_signal(int sig)
{
    const int pid = atomic_load(&running);

    (void)sig;
    atomic_store(&interrupted, true);
    if (pid > 0)
        kill(pid, SIGKILL); /* it has nothing to lose, and may be in the middle of a long load */
}

void lv_worker_signals(void)
{
    struct sigaction sa;

    memset(&sa, 0, sizeof sa);
    sa.sa_handler = on_signal;
    sa.sa_flags = SA_RESTART;
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

/* ---- arguments ---- */

void lv_worker_add(struct lv_worker *w, const char *arg)
{
    if (w->n_arg + 1 < LV_WORKER_CAP_ARG) /* the list of options is fixed: it is far shorter */
        w->arg[w->n_arg++] = arg;
}

void lv_worker_addf(struct lv_worker *w, const char *name, const char *fmt, ...)
{
    char *text = w->text[w->n_text];
    va_list ap;

    if (w->n_text == sizeof w->text / sizeof w->text[0])
        return;
    w->n_text++;
    va_start(ap, fmt);
    vsnprintf(text, sizeof w->text[0], fmt, ap);
    va_end(ap);
    lv_worker_add(w, name);
    lv_worker_add(w, text);
}

void lv_worker_init(struct lv_worker *w, const char *command, const struct lv_args *a)
{
    static const char *const readers[] = { "pread", "uring", "buffered" };

    memset(w, 0, sizeof *w);
    lv_worker_add(w, "lever");
    lv_worker_add(w, command);
    if (!strcmp(command, "bench"))
        lv_worker_add(w, "stream");
    lv_worker_add(w, "--json");
    if (a->n_threads)
        lv_worker_addf(w, "-t", "%" PRIu32, a->n_threads);
    if (a->cpu_level) {
        lv_worker_add(w, "--cpu");
        lv_worker_add(w, a->cpu_level);
    }
    if (a->device && !strcmp(command, "run")) {
        lv_worker_add(w, "--device");
        lv_worker_add(w, lv_device_names[a->device]);
    }
    if (a->sidecar) {
        lv_worker_add(w, "--sidecar");
        lv_worker_add(w, a->sidecar);
    }
    lv_worker_addf(w, "--reader", "%s", readers[a->reader]);
}

/* ---- what it says ---- */

/* f from its start, NUL-terminated; "" when it cannot be read. */
static void read_start(FILE *f, char buf[MAX_ERROR_BYTES])
{
    size_t n;

    rewind(f);
    n = fread(buf, 1, MAX_ERROR_BYTES - 1, f);
    buf[n] = '\0';
}

static void pass_warnings(char *text)
{
    static const char mark[] = "lever: warning: ";
    char *rest = NULL;

    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, mark, sizeof mark - 1) != 0 || !strncmp(line, last_warning, sizeof last_warning - 1))
            continue;
        snprintf(last_warning, sizeof last_warning, "%s", line);
        lv_say("%s", line + sizeof "lever: " - 1);
    }
}

static enum lever_status status_of(int exit_code)
{
    switch (exit_code) {
    case LV_EXIT_USAGE:
        return LEVER_E_ARG;
    case LV_EXIT_MODEL:
        return LEVER_E_MODEL;
    case LV_EXIT_BUDGET:
        return LEVER_E_BUDGET;
    case LV_EXIT_IO:
        return LEVER_E_IO;
    case LV_EXIT_INTERRUPTED:
        return LEVER_E_CANCEL;
    default:
        return LEVER_E_INTERNAL;
    }
}

/* Its own words: from the JSON, else from standard error. */
static enum lever_status failed(int status, const json_t *o, char *text, struct lever_error *err)
{
    const json_t *e = json_object_get(o, "error");
    const char *said = json_string_value(json_object_get(e, "message")), *colon;
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;

    if (WIFSIGNALED(status))
        return lv_cli_fail(err, LEVER_E_INTERNAL, "the worker was ended by signal %d%s", WTERMSIG(status),
                           WTERMSIG(status) == SIGKILL ? "; was memory short?" : "");
    if (!said && *text) {
        text[strcspn(text, "\n")] = '\0';
        colon = strstr(text, "error: ");
        said = colon ? colon + 7 : text;
    }
    if (code == 0)
        return lv_cli_fail(err, LEVER_E_INTERNAL, "the worker ended without a result: %.700s",
                           said ? said : "no message");
    lv_cli_fail(err, status_of(code), "%.800s", said ? said : lever_status_text(status_of(code)));
    err->least_memory = (uint64_t)json_integer_value(json_object_get(e, "least_memory"));
    return err->status;
}

/* ---- running ---- */

/* Starts it with its output in out[1], its messages in log. Returns 0 or an errno. */
static int start(struct lv_worker *w, FILE *trace, FILE *log, const int out[2], pid_t *pid)
{
    posix_spawn_file_actions_t fa;
    int e = posix_spawn_file_actions_init(&fa);

    if (e)
        return e;
    e = posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    if (!e)
        e = posix_spawn_file_actions_adddup2(&fa, out[1], 1);
    if (!e)
        e = posix_spawn_file_actions_adddup2(&fa, fileno(log), 2);
    if (!e && trace)
        e = posix_spawn_file_actions_adddup2(&fa, fileno(trace), 3);
    if (!e)
        e = posix_spawn(pid, "/proc/self/exe", &fa, NULL, (char *const *)w->arg, environ);
    posix_spawn_file_actions_destroy(&fa);
    return e;
}

/* ---- children of other kinds ---- */

void lv_worker_adopt(pid_t pid)
{
    atomic_store(&running, (int)pid);
    if (atomic_load(&interrupted))
        kill(pid, SIGKILL); /* the signal came before the handler knew whom to end */
}

bool lv_worker_interrupted(void)
{
    return atomic_load(&interrupted);
}

/* True once pid has ended, within max_seconds; it is not reaped. */
static bool ended(pid_t pid, double max_seconds)
{
    const double until = lv_cli_seconds() + max_seconds;
    const struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
    siginfo_t info = { .si_pid = 0 };

    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | WNOHANG) < 0 || info.si_pid == 0) {
        if (lv_cli_seconds() > until)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/* Waits without reaping first: the handler must not kill a stranger that was given the same number. */
int lv_worker_reap(pid_t pid, double max_seconds, bool *late)
{
    siginfo_t info;
    int status = 0;

    *late = max_seconds > 0 && !ended(pid, max_seconds);
    if (*late)
        kill(pid, SIGKILL);
    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    atomic_store(&running, 0);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

enum lever_status lv_worker_run(struct lv_worker *w, FILE *trace, json_t **out, struct lever_error *err)
{
    FILE *log = tmpfile(), *in = NULL;
    char text[MAX_ERROR_BYTES];
    int pair[2] = { -1, -1 }, e, status;
    bool late;
    enum lever_status st = LEVER_OK;
    json_error_t je;
    pid_t pid;

    *out = NULL;
    w->arg[w->n_arg] = NULL;
    if (!log || pipe(pair) < 0 || !(in = fdopen(pair[0], "r"))) {
        st = lv_cli_fail(err, LEVER_E_IO, "cannot start a worker: %s", strerror(errno));
        goto out;
    }
    fcntl(pair[0], F_SETFD, FD_CLOEXEC); /* or a worker would keep its own pipe open */
    fcntl(pair[1], F_SETFD, FD_CLOEXEC);
    if ((e = start(w, trace, log, pair, &pid)) != 0) {
        st = lv_cli_fail(err, LEVER_E_IO, "cannot start a worker: %s", strerror(e));
        goto out;
    }
    lv_worker_adopt(pid);
    close(pair[1]);
    pair[1] = -1;
    *out = json_loadf(in, JSON_REJECT_DUPLICATES, &je);
    status = lv_worker_reap(pid, 0, &late);
    read_start(log, text);
    if (atomic_load(&interrupted))
        st = lv_cli_fail(err, LEVER_E_CANCEL, "interrupted");
    else if (status != 0 || !*out)
        st = failed(status, *out, text, err);
    else
        pass_warnings(text);
    if (st < 0) {
        json_decref(*out);
        *out = NULL;
    }
out:
    if (pair[1] >= 0)
        close(pair[1]);
    if (in)
        fclose(in);
    else if (pair[0] >= 0)
        close(pair[0]);
    if (log)
        fclose(log);
    return st;
}
