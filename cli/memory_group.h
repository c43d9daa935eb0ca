/* A control group that bounds the memory of other programs, page cache included: version 1 or 2, whichever the system has.
 *
 * owns     a directory below /sys/fs/cgroup that lv_memory_group_remove takes away again
 * threads  lv_memory_group_enter is for a forked child; it calls nothing that a signal handler may not */
#ifndef LV_CLI_MEMORY_GROUP_H
#define LV_CLI_MEMORY_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include <lever/lever.h>

struct lv_memory_group {
    char path[1024];  /* of the directory; empty: none */
    char procs[1100]; /* its list of processes */
};

/* An empty group of at most limit_bytes. LEVER_E_ARG when none can be made: err says what would help. */
enum lever_status lv_memory_group_make(struct lv_memory_group *g, uint64_t limit_bytes, struct lever_error *err);
/* The calling process joins. False: it could not. */
bool lv_memory_group_enter(const struct lv_memory_group *g);
/* Its processes must have ended. Accepts a group that was never made. */
void lv_memory_group_remove(struct lv_memory_group *g);

#endif
