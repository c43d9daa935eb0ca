/* Timeline: the target's passes and the ring that feeds them, in virtual time.
 *
 * The device reads one extent after another, in execution order, for ever: read a begins when read a - 1 has ended and the
 * slot of read a - n_slot was given back. So the ring fills while nothing computes, and wraps into the next pass. A pass
 * computes extent by extent: the pinned share of the work needs no wait, the rest waits for its extent; a wait
 * is offered to background work. (engine/stream.h and model/exec.h are what this stands for.)
 *
 * owns     free_at; times in seconds. Pure: no I/O, clock or threads */
#ifndef LV_SIM_TIMELINE_H
#define LV_SIM_TIMELINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

struct lv_timeline {
    uint32_t n_extent, n_slot; /* of a pass, of the ring; n_extent 0: all is resident */
    double read_seconds;       /* of one extent */
    double pinned_share;       /* of a pass's compute: needs no extent */

    double now;
    uint64_t next;             /* number of the next extent to be used */
    uint64_t full;             /* extents below are there already */
    double read_end;           /* of the read before it */
    double *free_at;           /* [n_slot] when the slot of read a, a % n_slot, was given back */
    double busy;               /* device: seconds of the reads that were used */
    double waited;             /* workers: seconds without an extent, background work included */
};

/* A pass. Its rows may become fewer on the way: compute_all[1] is what a pass of those that are left takes. */
struct lv_timeline_pass {
    double compute_all[2];
    double drop_at;            /* share of the pass after which [1] counts; 1: never */
    bool apart;                /* background work has a processor of its own: all of the pass is offered, not only waits */
    double look_at;            /* share of the pass before which `look` is called; 1 or no look: never */
    void (*look)(void *ctx);
    void (*idle)(void *ctx, double seconds); /* NULL: no background work */
    void *ctx;
};

/* At 0 the ring is full, as a prompt leaves it. n_slot is cut to n_extent. */
enum lever_status lv_timeline_init(struct lv_timeline *t, uint32_t n_extent, uint32_t n_slot, double read_seconds,
                                   double pinned_share, struct lever_error *err);
void lv_timeline_deinit(struct lv_timeline *t);

/* The device has rested until now and the ring is empty: an engine that does not read ahead. */
void lv_timeline_rest(struct lv_timeline *t);

/* Runs one pass; returns its seconds of compute. */
double lv_timeline_pass(struct lv_timeline *t, const struct lv_timeline_pass *p);

#endif
