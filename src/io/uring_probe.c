/* Does io_uring work here? Asked in a child process, as a seccomp filter may answer with SIGSYS. */
#define _GNU_SOURCE
#include "io/uring.h"

#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHILD_MAX_MS 2000

/* Below all of it is what the child runs: system calls and liburing, which allocates nothing here. Another thread of
 * the parent may have held any lock when the child was made. */

/* A read through a ring: 0, or an errno. */
static int try_ring(void)
{
    struct io_uring ring;
    struct io_uring_cqe *c = NULL;
    uint64_t value = 0;
    const int fd = eventfd(7, EFD_CLOEXEC);
    int e = io_uring_queue_init(2, &ring, 0);

    if (fd < 0)
        return errno;
    if (e < 0)
        return -e;
    struct io_uring_sqe *s = io_uring_get_sqe(&ring);

    if (!s)
        return ENOSPC;
    io_uring_prep_read(s, fd, &value, sizeof value, 0);
    if ((e = io_uring_submit(&ring)) < 0 || (e = io_uring_wait_cqe(&ring, &c)) < 0)
        return -e;
    if (c->res < 0)
        return -c->res; /* EINVAL before Linux 5.6: no such operation */
    return c->res == sizeof value && value == 7 ? 0 : EIO;
}

static void child(void)
{
    const struct rlimit no_core = { 0, 0 };
    const struct sigaction by_default = { .sa_handler = SIG_DFL };

    setrlimit(RLIMIT_CORE, &no_core);
    sigaction(SIGSYS, &by_default, NULL); /* the program may have a handler that reports a crash */
    const int e = try_ring();

    syscall(SYS_exit_group, e > 0 && e < 255 ? e : e ? 255 : 0); /* nothing of the program's may run or be flushed */
}

/* ---- the parent ---- */

static bool is_android(void)
{
    return access("/system/build.prop", F_OK) == 0 || access("/apex/com.android.runtime", F_OK) == 0;
}

/* Waits for the child, at most CHILD_MAX_MS. False when it did not end. */
static bool wait_for(pid_t pid, int *status)
{
    for (int ms = 0; ms < CHILD_MAX_MS; ms++) {
        const pid_t got = waitpid(pid, status, WNOHANG | __WALL);

        if (got == pid)
            return true;
        if (got < 0 && errno != EINTR)
            return false;
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
    kill(pid, SIGKILL);
    return false;
}

bool lv_uring_probe(char *why, size_t cap_why)
{
    int status = 0;

    if (is_android()) {
        snprintf(why, cap_why, "Android does not let apps use it");
        return false;
    }
    /* fork without an exit signal: no SIGCHLD reaches the program, and its own wait() does not see this child. */
    const long pid = syscall(SYS_clone, 0UL, NULL, NULL, NULL, NULL);

    if (pid == 0)
        child();
    if (pid < 0) {
        snprintf(why, cap_why, "no child process to try it in (%s)", strerror(errno));
        return false;
    }
    if (!wait_for((pid_t)pid, &status)) {
        snprintf(why, cap_why, "a trial did not end");
        waitpid((pid_t)pid, &status, __WALL);
        return false;
    }
    if (WIFSIGNALED(status))
        snprintf(why, cap_why, "a trial was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == 255)
        snprintf(why, cap_why, "a trial failed");
    else if (WEXITSTATUS(status))
        snprintf(why, cap_why, "the system refuses it (%s)", strerror(WEXITSTATUS(status)));
    return !WIFSIGNALED(status) && WEXITSTATUS(status) == 0;
}
