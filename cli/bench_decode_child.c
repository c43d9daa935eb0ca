#include "bench_decode_child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory_group.h"

#define PIN_SECONDS 60 /* until everything is read and locked */

extern char **environ;

/* ---- the child's side: nothing here may allocate ---- */

/* Ends with this process, so that nothing is left behind when it is killed. */
static void follow_parent(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
}

static void fail_child(const char *why)
{
    const ssize_t n = write(2, why, strlen(why));

    (void)n;
    _exit(127);
}

static void become(const struct lv_child *c, int input, pid_t parent)
{
    const int null = open("/dev/null", O_RDONLY);

    follow_parent(parent);
    dup2(null, 0);
    dup2(fileno(c->log), 1);
    dup2(fileno(c->log), 2);
    if (input >= 0 && dup2(input, 3) < 0)
        fail_child("cannot pass the prompt on\n");
    if (c->group && !lv_memory_group_enter(c->group))
        fail_child("cannot join the control group\n");
    execve(c->arg[0], (char *const *)c->arg, environ);
    fail_child("cannot be started\n");
}

/* Locks the start of a file and sleeps until it is killed. */
static void pin(const struct lv_child *c, int ready, pid_t parent)
{
    const int fd = open(c->pin_path, O_RDONLY);
    void *at;

    follow_parent(parent);
    if (c->group && !lv_memory_group_enter(c->group))
        _exit(1);
    at = fd >= 0 ? mmap(NULL, c->pin_bytes, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (at == MAP_FAILED || mlock(at, c->pin_bytes) < 0 || write(ready, "1", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

/* ---- the parent's side ---- */

/* *pid: of the process that holds the pages. */
static enum lever_status start_pin(const struct lv_child *c, pid_t *pid, struct lever_error *err)
{
    const pid_t parent = getpid();
    int pair[2], got = 0;
    char byte;

    *pid = 0;
    if (pipe(pair) < 0 || (*pid = fork()) < 0) {
        *pid = 0;
        return lv_cli_fail(err, LEVER_E_IO, "cannot start a process that pins: %s", strerror(errno));
    }
    if (*pid == 0) {
        close(pair[0]);
        pin(c, pair[1], parent);
    }
    close(pair[1]);
    struct pollfd wait = { .fd = pair[0], .events = POLLIN };

    if (poll(&wait, 1, PIN_SECONDS * 1000) == 1)
        got = read(pair[0], &byte, 1) == 1;
    close(pair[0]);
    return got ? LEVER_OK : lv_cli_fail(err, LEVER_E_IO, "%llu MiB of the target cannot be pinned (mlock)",
                                        (unsigned long long)(c->pin_bytes >> 20));
}

static void end_pin(pid_t pid)
{
    int status;

    if (pid <= 0)
        return;
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
}

/* A file that holds text; NULL when there is no room. */
static FILE *file_of(const char *text)
{
    FILE *f = tmpfile();

    if (f && (fputs(text, f) < 0 || fflush(f) != 0)) {
        fclose(f);
        f = NULL;
    }
    if (f)
        rewind(f);
    return f;
}

enum lever_status lv_child_run(struct lv_child *c, struct lever_error *err)
{
    FILE *input = c->input ? file_of(c->input) : NULL;
    const pid_t parent = getpid();
    enum lever_status st = LEVER_OK;
    pid_t pid = 0, holder = 0;
    int status;

    c->log = tmpfile();
    if (!c->log || (c->input && !input)) {
        st = lv_cli_fail(err, LEVER_E_IO, "no temporary file: %s", strerror(errno));
        goto out;
    }
    if (c->pin_bytes && (st = start_pin(c, &holder, err)) < 0)
        goto out;
    fflush(NULL); /* or the child would print what waits here too */
    if ((pid = fork()) < 0) {
        st = lv_cli_fail(err, LEVER_E_IO, "%s: cannot be started: %s", c->arg[0], strerror(errno));
        goto out;
    }
    if (pid == 0)
        become(c, input ? fileno(input) : -1, parent);
    lv_worker_adopt(pid);
    status = lv_worker_reap(pid, c->max_seconds, &c->late);
    c->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    c->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (lv_worker_interrupted())
        st = lv_cli_fail(err, LEVER_E_CANCEL, "interrupted");
out:
    end_pin(holder);
    if (input)
        fclose(input);
    return st;
}

void lv_child_read(struct lv_child *c, char *text, size_t cap)
{
    size_t n = 0, kept = 0;
    long size;

    text[0] = '\0';
    if (!c->log || fseek(c->log, 0, SEEK_END) != 0 || (size = ftell(c->log)) < 0)
        return;
    fseek(c->log, (size_t)size < cap ? 0 : size - (long)(cap - 1), SEEK_SET);
    n = fread(text, 1, cap - 1, c->log);
    for (size_t i = 0; i < n; i++)
        if (text[i])
            text[kept++] = text[i];
    text[kept] = '\0';
}

void lv_child_deinit(struct lv_child *c)
{
    if (c->log)
        fclose(c->log);
    c->log = NULL;
}

/* ---- files and prompts ---- */

void lv_child_forget(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

uint64_t lv_child_file_bytes(const char *path)
{
    struct stat sb;

    return path && stat(path, &sb) == 0 ? (uint64_t)sb.st_size : 0;
}

/* A user's turn as the text that the target reads, control tokens included. NULL with *err filled. */
static char *turn_text(const lever_engine *e, const char *user, struct lever_error *err)
{
    const struct lever_message message = { "user", user };
    const size_t cap = strlen(user) + 1024; /* a token is a byte at least; the rest is the template's own */
    int32_t *ids = calloc(cap, sizeof *ids);
    struct lv_markup text = { .text = NULL };
    size_t n = 0;

    if (!ids) {
        lv_cli_fail(err, LEVER_E_NOMEM, "no memory for %zu tokens", cap);
        return NULL;
    }
    if (lever_chat_tokenize(e, &message, 1, ids, cap, &n, err) < 0)
        n = 0;
    for (size_t i = 0; i < n; i++) {
        const char *bytes;
        char piece[1024];
        size_t len;

        if (lever_token_bytes(e, ids[i], true, &bytes, &len) < 0 || len >= sizeof piece)
            continue;
        memcpy(piece, bytes, len);
        piece[len] = '\0';
        lv_put(&text, piece);
    }
    free(ids);
    if (n && text.failed)
        lv_cli_fail(err, LEVER_E_NOMEM, "no memory for a prompt");
    if (!n || text.failed) {
        lv_markup_deinit(&text);
        return NULL;
    }
    return text.text;
}

enum lever_status lv_child_prompts(const struct lv_bench *b, char ***out, size_t *n, struct lever_error *err)
{
    enum lever_status st = LEVER_OK;
    lever_engine *e = NULL;

    *n = b->prompts.n;
    if (!(*out = calloc(*n ? *n : 1, sizeof **out)))
        return lv_cli_fail(err, LEVER_E_NOMEM, "no memory for %zu prompts", *n);
    if ((st = lv_session_vocab(b->a, &e, err)) < 0)
        return st;
    for (size_t i = 0; i < *n && st >= 0; i++) {
        const struct lv_bench_prompt *p = &b->prompts.prompt[i];

        if (p->chat)
            (*out)[i] = turn_text(e, p->text, err);
        else if (!((*out)[i] = strdup(p->text)))
            lv_cli_fail(err, LEVER_E_NOMEM, "no memory for a prompt");
        if (!(*out)[i])
            st = err->status;
    }
    lever_close(e);
    return st;
}
