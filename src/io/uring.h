/* The io_uring reader: one thread that keeps several reads of the queue in flight through a ring.
 *
 * owns     the ring, its thread, an event descriptor; borrows the reader, which outlives it
 * threads  lv_uring_wake from any; the ring itself is touched by its thread only
 *
 * Optional at build time (liburing) and at run time: app sandboxes answer the system call with SIGSYS, containers with
 * EPERM or ENOSYS, administrators switch it off. So it is tried in a child process first. */
#ifndef LV_IO_URING_H
#define LV_IO_URING_H

#include "io/reader_state.h"

/* True when a ring can be made and read with here; else why says what is missing. Costs a fork: ask before the process
 * is large. Never true on Android, where asking is not safe either. */
bool lv_uring_probe(char *why, size_t cap_why);

/* depth: reads of the normal queue in flight, n_urgent: urgent reads beyond that. On an error (no
 * ring, no thread) the caller falls back to the pool. */
enum lever_status lv_uring_open(struct lv_uring **out, struct lv_reader *r, uint32_t depth, uint32_t n_urgent,
                                struct lever_error *err);
/* Looks at the queues again, or, once r->closing is set, ends. */
void lv_uring_wake(struct lv_uring *u);
/* Waits for what is in flight. r->closing must be set. Accepts NULL. */
void lv_uring_close(struct lv_uring *u);

#endif
