/* How fast a file can be read: a fixed number of reads in flight, each new one submitted by the thread that
 * has finished one, through the same reader as the weight stream. */
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/probe.h"

#define FLIGHT_MAX 16
#define REREAD_BYTES (32u << 20)
#define REREAD_FACTOR 1.8 /* a disk varies by a quarter; memory is several times faster than a disk */

struct lane {
    struct lv_read req;
    struct run *run;
};

struct run {
    const struct lv_flash_job *job;
    uint64_t end_ns;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t over;
    uint64_t next;        /* number of the next read */
    uint64_t planned;     /* bytes of reads that have begun */
    uint64_t bytes;       /* of those that have come */
    uint64_t last_ns;
    uint32_t n_open;      /* lanes with a read in flight */
    struct lane lane[FLIGHT_MAX];
};

static void read_done(struct lv_read *req, void *user);

/* Begins the lane's next read. False when the run is over. Lock held. */
static bool submit(struct lane *l)
{
    struct run *run = l->run;
    const struct lv_flash_job *job = run->job;

    const bool late = job->max_ns && run->next >= job->n_flight && lv_now_ns() >= run->end_ns; /* each lane reads once */

    if (late || (job->max_bytes && run->planned >= job->max_bytes))
        return false;
    const struct lv_extent *x = &job->extent[run->next++ % job->n_extent];

    run->planned += x->len;
    l->req.i_file = x->i_file;
    l->req.off = x->off;
    l->req.len = x->len;
    l->req.done = read_done;
    l->req.user = l;
    lv_reader_submit(job->reader, &l->req, false);
    return true;
}

static void read_done(struct lv_read *req, void *user)
{
    struct lane *l = user;
    struct run *run = l->run;

    pthread_mutex_lock(&run->lock);
    if (req->status >= 0) {
        run->bytes += req->len;
        run->last_ns = lv_now_ns();
    }
    if ((req->status < 0 || !submit(l)) && --run->n_open == 0)
        pthread_cond_signal(&run->over);
    pthread_mutex_unlock(&run->lock);
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
    run->last_ns = t0;
    pthread_mutex_init(&run->lock, NULL);
    pthread_cond_init(&run->over, NULL);
    pthread_mutex_lock(&run->lock);
    for (uint32_t i = 0; i < job->n_flight; i++) {
        struct lane *l = &run->lane[i];

        l->run = run;
        l->req.buf = (uint8_t *)lv_round_up((uintptr_t)region, LV_IO_ALIGN) + i * buf_bytes;
        run->n_open += submit(l);
    }
    while (run->n_open)
        pthread_cond_wait(&run->over, &run->lock);
    pthread_mutex_unlock(&run->lock);
    pthread_cond_destroy(&run->over);
    pthread_mutex_destroy(&run->lock);
    for (uint32_t i = 0; i < job->n_flight && st >= 0; i++) {
        if (run->lane[i].req.status < 0) {
            st = run->lane[i].req.status;
            if (err)
                *err = run->lane[i].req.err;
        }
    }
    out->bytes = run->bytes;
    out->ns = run->last_ns - t0;
    out->rate = out->ns ? (double)out->bytes / lv_seconds(out->ns) : 0;
out:
    lv_region_free(region, region_bytes);
    lv_free(run);
    return st;
}

/* Best effort: where the system does not do it, only the test below gets weaker. */
static void drop_cached(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

enum lever_status lv_flash_cached(const struct lv_flash_job *job, const char *path, bool *cached, double *reread,
                                  struct lever_error *err)
{
    struct lv_flash_job j = *job;
    struct lv_flash_result first, again = { 0 };
    uint64_t bytes = 0;

    for (j.n_extent = 0; j.n_extent < job->n_extent && bytes < REREAD_BYTES; j.n_extent++)
        bytes += job->extent[j.n_extent].len;
    j.max_ns = 0;
    j.max_bytes = bytes;
    drop_cached(path);
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
