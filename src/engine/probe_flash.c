/* How fast a file can be read: a fixed number of reads in flight, each new one submitted by the thread that
 * has finished one, through the same reader as the weight stream. */
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/probe.h"

#define FLIGHT_MAX 16
#define REREAD_BYTES (32u << 20)
#define REREAD_FACTOR 1.8 /* a disk varies by a quarter; memory is several times faster than a disk */

struct lane {
    struct lv_read req;
    struct run *run;
    uint32_t len;
};

struct run {
    const struct lv_flash_job *job;
    uint64_t end_ns;
    _Atomic uint64_t next;    /* number of the next read */
    _Atomic uint64_t planned; /* bytes of reads that have begun */
    _Atomic uint64_t bytes;   /* of those that have come */
    _Atomic uint64_t last_ns;
    _Atomic uint32_t n_open;
    struct lv_event event;
    struct lane lane[FLIGHT_MAX];
};

static void read_done(struct lv_read *req, void *user);

/* Begins the lane's next read. False when the run is over. */
static bool submit(struct lane *l)
{
    struct run *run = l->run;
    const struct lv_flash_job *job = run->job;

    if ((job->max_ns && lv_now_ns() >= run->end_ns) ||
        (job->max_bytes && atomic_load(&run->planned) >= job->max_bytes))
        return false;
    const struct lv_extent *x = &job->extent[atomic_fetch_add(&run->next, 1) % job->n_extent];

    atomic_fetch_add(&run->planned, x->len);
    l->len = x->len;
    l->req.i_file = x->i_file;
    l->req.off = x->off;
    l->req.len = x->len;
    l->req.done = read_done;
    l->req.user = l;
    lv_reader_submit(job->reader, &l->req, false);
    return true;
}

static void lane_ends(struct run *run)
{
    /* The last touch of `run` by this thread but for the event, which the waiter outlives: see lv_flash_read. */
    if (atomic_fetch_sub(&run->n_open, 1) == 1)
        lv_event_bump(&run->event);
}

static void read_done(struct lv_read *req, void *user)
{
    struct lane *l = user;
    struct run *run = l->run;

    if (req->status >= 0) {
        atomic_fetch_add(&run->bytes, l->len);
        atomic_store(&run->last_ns, lv_now_ns());
        if (submit(l))
            return;
    }
    lane_ends(run);
}

enum lever_status lv_flash_read(const struct lv_flash_job *job, struct lv_flash_result *out, struct lever_error *err)
{
    enum lever_status st = LEVER_OK;
    uint64_t buf_bytes = 0, region_bytes, t0;
    uint8_t *region;

    *out = (struct lv_flash_result){ 0 };
    if (!job->n_extent || !job->n_flight || job->n_flight > FLIGHT_MAX || !(job->max_bytes || job->max_ns))
        return LV_FAIL(err, LEVER_E_ARG, "flash rate: %u ranges with %u reads in flight", job->n_extent, job->n_flight);
    for (uint32_t i = 0; i < job->n_extent; i++)
        if (lv_slot_bytes(job->extent[i].len) > buf_bytes)
            buf_bytes = lv_slot_bytes(job->extent[i].len);
    region_bytes = job->n_flight * buf_bytes + LV_IO_ALIGN;
    region = lv_region_new(region_bytes, false);
    struct run *run = LV_NEW(struct run);

    if (!region || !run) {
        st = LV_FAIL(err, LEVER_E_NOMEM, "flash rate: buffers of %llu bytes", (unsigned long long)region_bytes);
        goto out;
    }
    memset(region, 1, region_bytes); /* page faults are not the disk's */
    run->job = job;
    t0 = lv_now_ns();
    run->end_ns = t0 + job->max_ns;
    atomic_store(&run->last_ns, t0);
    atomic_store(&run->n_open, job->n_flight + 1); /* one for this thread: nothing ends before all began */
    for (uint32_t i = 0; i < job->n_flight; i++) {
        struct lane *l = &run->lane[i];

        l->run = run;
        l->req.buf = (uint8_t *)lv_round_up((uintptr_t)region, LV_IO_ALIGN) + i * buf_bytes;
        if (!submit(l))
            lane_ends(run);
    }
    lane_ends(run);
    for (;;) {
        const uint32_t seen = lv_event_seen(&run->event);

        /* Only the bump says that no thread will touch `run` again. */
        if (seen)
            break;
        lv_event_wait(&run->event, seen);
    }
    for (uint32_t i = 0; i < job->n_flight && st >= 0; i++) {
        if (run->lane[i].req.status < 0) {
            st = run->lane[i].req.status;
            if (err)
                *err = run->lane[i].req.err;
        }
    }
    out->bytes = atomic_load(&run->bytes);
    out->ns = atomic_load(&run->last_ns) - t0;
    out->rate = out->ns ? (double)out->bytes / lv_seconds(out->ns) : 0;
out:
    lv_region_free(region, region_bytes);
    lv_free(run);
    return st;
}

enum lever_status lv_flash_cached(const struct lv_flash_job *job, bool *cached, double *reread, struct lever_error *err)
{
    struct lv_flash_job j = *job;
    struct lv_flash_result first, again = { 0 };
    uint64_t bytes = 0;

    for (j.n_extent = 0; j.n_extent < job->n_extent && bytes < REREAD_BYTES; j.n_extent++)
        bytes += job->extent[j.n_extent].len;
    j.max_ns = 0;
    j.max_bytes = bytes;
    LV_TRY(lv_flash_read(&j, &first, err));
    for (int i = 0; i < 2; i++) {
        struct lv_flash_result r;

        LV_TRY(lv_flash_read(&j, &r, err));
        again = r.rate > again.rate ? r : again;
    }
    *reread = again.rate;
    *cached = again.rate > REREAD_FACTOR * first.rate;
    return LEVER_OK;
}
