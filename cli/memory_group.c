#include "memory_group.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

/* Where a hierarchy that can bound memory is mounted. */
static bool find_mount(char buf[600], bool *v1)
{
    FILE *f = fopen("/proc/self/mounts", "r");
    char line[2048], where[512], type[64], opts[1024];
    bool found = false;

    *v1 = false;
    while (f && !(found && *v1) && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%*s %511s %63s %1023s", where, type, opts) != 3)
            continue;
        const bool first = !strcmp(type, "cgroup") && strstr(opts, "memory");

        if (first || (!strcmp(type, "cgroup2") && !found)) { /* where both are mounted, version 1 has the controller */
            snprintf(buf, 600, "%s", where);
            *v1 = first;
            found = true;
        }
    }
    if (f)
        fclose(f);
    return found;
}

/* The process's own group in that hierarchy, as "/a/b"; "" when it is the root or unknown. */
static void find_own(char buf[600], bool v1)
{
    FILE *f = fopen("/proc/self/cgroup", "r");
    char line[1024];

    buf[0] = '\0';
    while (f && fgets(line, sizeof line, f)) {
        const char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;

        line[strcspn(line, "\n")] = '\0';
        if (path && strcmp(path + 1, "/") != 0 && (v1 ? strstr(names, "memory:") != NULL : !strncmp(line, "0::", 3)))
            snprintf(buf, 600, "%.599s", path + 1);
    }
    if (f)
        fclose(f);
}

/* 0 or an errno. */
static int write_file(const char *folder, const char *name, const char *text)
{
    char path[1200];
    int fd, e = 0;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    if ((fd = open(path, O_WRONLY | O_CLOEXEC)) < 0)
        return errno;
    if (write(fd, text, strlen(text)) < 0)
        e = errno;
    close(fd);
    return e;
}

/* A group below `parent`. 0 or an errno, of making it or of setting its limit. */
static int try_make(struct lv_memory_group *g, const char *parent, bool v1, uint64_t limit_bytes)
{
    char text[32];
    int e;

    snprintf(g->path, sizeof g->path, "%.900s/lever-bench-%ld", parent, (long)getpid());
    snprintf(g->procs, sizeof g->procs, "%s/cgroup.procs", g->path);
    snprintf(text, sizeof text, "%" PRIu64, limit_bytes);
    if (!v1)
        write_file(parent, "cgroup.subtree_control", "+memory"); /* it may be on already, or not be ours to switch */
    if (mkdir(g->path, 0755) < 0 && errno != EEXIST) {
        e = errno;
        g->path[0] = '\0';
        return e;
    }
    if ((e = write_file(g->path, v1 ? "memory.limit_in_bytes" : "memory.max", text)) != 0) {
        lv_memory_group_remove(g);
        return e;
    }
    /* a limit that swap evades is none; where there is no swap these files are missing */
    write_file(g->path, v1 ? "memory.memsw.limit_in_bytes" : "memory.swap.max", v1 ? text : "0");
    return 0;
}

enum lever_status lv_memory_group_make(struct lv_memory_group *g, uint64_t limit_bytes, struct lever_error *err)
{
    char mount[600], own[600], parent[1300];
    bool v1;
    int e, first;

    memset(g, 0, sizeof *g);
    if (!find_mount(mount, &v1))
        return lv_cli_fail(err, LEVER_E_ARG, "no control group hierarchy with a memory controller is mounted, so other "
                           "programs cannot be held to a limit; leave --peers out, or use --memory unlimited");
    if ((first = try_make(g, mount, v1, limit_bytes)) == 0)
        return LEVER_OK;
    find_own(own, v1);
    for (char *slash = own + strlen(own); own[0]; slash = strrchr(own, '/')) { /* our own group, then those above it */
        if (!slash)
            break;
        *slash = '\0';
        snprintf(parent, sizeof parent, "%s%s", mount, own);
        if (own[0] && (e = try_make(g, parent, v1, limit_bytes)) == 0)
            return LEVER_OK;
    }
    return lv_cli_fail(err, LEVER_E_ARG, "no control group can be made below %.300s: %s; run as root, or leave --peers out",
                       mount, strerror(first));
}

bool lv_memory_group_enter(const struct lv_memory_group *g)
{
    const int fd = open(g->procs, O_WRONLY | O_CLOEXEC);
    const bool good = fd >= 0 && write(fd, "0", 1) == 1; /* 0: whoever writes */

    if (fd >= 0)
        close(fd);
    return good;
}

void lv_memory_group_remove(struct lv_memory_group *g)
{
    const struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };

    /* a process that was just reaped may be counted for a moment more */
    for (int i = 0; g->path[0] && i < 100 && rmdir(g->path) < 0 && errno == EBUSY; i++)
        nanosleep(&pause, NULL);
    g->path[0] = '\0';
}
