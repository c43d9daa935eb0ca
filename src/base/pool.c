#define _GNU_SOURCE
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "base/event.h"
#include "base/mem.h"

#define STACK_BYTES (256u * 1024)

struct lv_pool {
    unsigned n;         /* workers, the caller included */
    unsigned n_started; /* threads running */
    struct lv_event begin, end;
    atomic_bool quit;
    _Atomic unsigned n_busy;
    void (*fn)(void *arg, unsigned worker); /* published by begin */
    void *arg;
    struct start {
        struct lv_pool *pool;
        unsigned worker;
        pthread_t thread;
    } start[LV_POOL_MAX];
};

static void *thread_main(void *arg)
{
    const struct start *st = arg;
    struct lv_pool *p = st->pool;
    uint32_t seen = 0; /* runs begin at 0 and each adds one: a missed wake-up is caught up */

    for (;;) {
        while (lv_event_seen(&p->begin) == seen)
            lv_event_wait(&p->begin, seen);
        seen++;
        if (atomic_load(&p->quit))
            return NULL;
        p->fn(p->arg, st->worker);
        if (atomic_fetch_sub(&p->n_busy, 1) == 1)
            lv_event_bump(&p->end);
    }
}

static unsigned usable_cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    const int n = CPU_COUNT(&set);

    return n < 1 ? 1 : n > LV_POOL_MAX ? LV_POOL_MAX : (unsigned)n;
}

enum lever_status lv_pool_new(struct lv_pool **out, unsigned n_threads, struct lever_error *err)
{
    if (n_threads > LV_POOL_MAX)
        return LV_FAIL(err, LEVER_E_ARG, "%u threads asked for, at most %d are supported", n_threads, LV_POOL_MAX);
    struct lv_pool *p = LV_NEW(struct lv_pool);
    pthread_attr_t attr;

    if (!p)
        return LV_FAIL(err, LEVER_E_NOMEM, "worker pool: %zu bytes", sizeof *p);
    p->n = n_threads ? n_threads : usable_cores();
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    for (unsigned i = 1; i < p->n; i++) {
        struct start *st = &p->start[i];

        *st = (struct start){ .pool = p, .worker = i };
        const int rc = pthread_create(&st->thread, &attr, thread_main, st);

        if (rc) {
            pthread_attr_destroy(&attr);
            lv_pool_free(p);
            return LV_FAIL(err, LEVER_E_NOMEM, "worker thread %u of %u: %s; try fewer threads (-t)", i, n_threads,
                           strerror(rc));
        }
        p->n_started++;
    }
    pthread_attr_destroy(&attr);
    *out = p;
    return LEVER_OK;
}

void lv_pool_free(struct lv_pool *p)
{
    if (!p)
        return;
    atomic_store(&p->quit, true);
    lv_event_bump(&p->begin);
    for (unsigned i = 1; i <= p->n_started; i++)
        pthread_join(p->start[i].thread, NULL);
    lv_free(p);
}

unsigned lv_pool_n(const struct lv_pool *p)
{
    return p->n;
}

void lv_pool_run(struct lv_pool *p, void (*fn)(void *arg, unsigned worker), void *arg)
{
    if (p->n_started) {
        p->fn = fn;
        p->arg = arg;
        atomic_store(&p->n_busy, p->n_started);
        lv_event_bump(&p->begin);
    }
    fn(arg, 0);
    while (p->n_started && atomic_load(&p->n_busy)) {
        const uint32_t seen = lv_event_seen(&p->end);

        if (atomic_load(&p->n_busy))
            lv_event_wait(&p->end, seen);
    }
}
