/* Event: a counter that threads wait on until somebody bumps it.
 *
 *   seen = lv_event_seen(ev);          before looking for work
 *   if (no work)
 *       lv_event_wait(ev, seen);       returns at once if it was bumped since
 *
 * A waiter spins briefly, then sleeps on a futex: pure spinning collapses when another process
 * wants the core. Wakes up at least every LV_EVENT_NAP_NS, so flags set from
 * signal handlers are seen. threads: any. */
#ifndef LV_BASE_EVENT_H
#define LV_BASE_EVENT_H

#include <stdatomic.h>
#include <stdint.h>

#define LV_EVENT_NAP_NS 50000000u

struct lv_event {
    _Atomic uint32_t seq;
    _Atomic uint32_t n_asleep;
};

static inline uint32_t lv_event_seen(struct lv_event *ev)
{
    return atomic_load_explicit(&ev->seq, memory_order_acquire);
}

void lv_event_bump(struct lv_event *ev);
void lv_event_wait(struct lv_event *ev, uint32_t seen);

#endif
