#define _GNU_SOURCE
#include "base/event.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* Longer than the gap between two ops of a small model, shorter than a scheduler tick. */
#define SPIN_NS 30000u

static void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void lv_event_bump(struct lv_event *ev)
{
    atomic_fetch_add(&ev->seq, 1);
    if (atomic_load(&ev->n_asleep))
        syscall(SYS_futex, &ev->seq, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void lv_event_wait(struct lv_event *ev, uint32_t seen)
{
    const uint64_t until = lv_now_ns() + SPIN_NS;

    do {
        for (int i = 0; i < 32; i++) {
            if (lv_event_seen(ev) != seen)
                return;
            cpu_relax();
        }
    } while (lv_now_ns() < until);

    const struct timespec nap = { .tv_nsec = LV_EVENT_NAP_NS };

    atomic_fetch_add(&ev->n_asleep, 1); /* before the kernel compares seq: no bump can be missed */
    syscall(SYS_futex, &ev->seq, FUTEX_WAIT_PRIVATE, seen, &nap, NULL, 0);
    atomic_fetch_sub(&ev->n_asleep, 1);
}
