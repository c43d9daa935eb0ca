/* The part that all devices share: order of commits and passes, and the thread that waits for a device so that no worker
 * has to. */
#include <pthread.h>
#include <string.h>

#include "accel/backend.h"

#define MAX_PENDING 256u /* commits that wait for the next pass; fewer than any ring of a sliding layer holds */

struct lv_accel {
    struct lv_accel_caps caps;
    const struct lv_accel_ops *ops;
    void *device;
};

struct lv_accel_model {
    struct lv_accel *a;
    void *model;
    const struct lv_program *p;
    uint32_t max_rows;
    int32_t *ints;   /* [cap_ints] */
    float *rope;     /* [n_rope][max_rows][n_rot] */
    uint32_t cap_ints;
    int32_t pending[2 * MAX_PENDING]; /* (slot, position), positions rise by one */
    uint32_t n_pending;

    pthread_t thread;
    bool has_thread, has_lock;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool quit, go;            /* under lock */
    _Atomic bool busy;
    atomic_bool stop;
    struct lv_accel_job job;
    struct lv_event *event;
    enum lever_status st;
    struct lever_error err;
};

/* ---- devices ---------------------------------------------------------------------- */

const struct lv_accel_caps *lv_accel_caps(const struct lv_accel *a)
{
    return &a->caps;
}

uint32_t lv_accel_bucket(uint32_t n)
{
    static const uint32_t bucket[] = { 1, 4, 8, 16, 32, 64, 128 };

    for (uint32_t i = 0; i < sizeof bucket / sizeof *bucket; i++)
        if (n <= bucket[i])
            return bucket[i];
    return LV_ACCEL_MAX_ROWS;
}

uint64_t lv_accel_types(const struct lv_program *p)
{
    uint64_t t = 0;

    for (uint32_t i = 0; i < p->n_w; i++)
        t |= UINT64_C(1) << p->w[i].type;
    return t;
}

/* Each type in a row count of its own, so that every tile is seen. */
static enum lever_status self_test(struct lv_accel *a, uint64_t types, struct lever_error *err)
{
    static const uint32_t rows[] = { 9, 1, 3 };
    uint64_t n_diff = 0;
    uint32_t k = 0;

    for (uint32_t t = 0; t < LV_TYPE_MAX; t++) {
        if (!(types >> t & 1))
            continue;
        for (uint32_t i = 0; i < 3; i++, k++) {
            uint64_t n;
            double worst;

            LV_TRY(lv_accel_compare(a, (enum lv_type)t, rows[i], t * 3 + i, &n, &worst, err));
            if (!(worst < LV_ACCEL_WRONG))
                return LV_FAIL(err, LEVER_E_INTERNAL, "%s computes %s weights wrongly: a difference of %g of the largest value",
                               a->caps.name, lv_type_name((enum lv_type)t), worst);
            n_diff += n;
        }
    }
    a->caps.bit_equal = n_diff == 0;
    return LEVER_OK;
}

enum lever_status lv_accel_open(struct lv_accel **out, const char *kind, uint64_t types, struct lv_accel_hooks *hooks,
                                struct lever_error *err)
{
    const struct lv_accel_ops *ops;
    struct lv_accel_caps caps = { .kind = "opencl" };
    struct lv_accel *a = NULL;
    void *device;

    if (strcmp(kind, "opencl") != 0)
        return LV_FAIL(err, LEVER_E_ARG, "device \"%s\" is unknown: cpu, opencl or auto is expected", kind);
    LV_TRY(lv_opencl_open(&device, &ops, &caps, types, hooks, err));
    if (!(a = LV_NEW(struct lv_accel))) {
        ops->close(device);
        return LV_FAIL(err, LEVER_E_NOMEM, "device: %zu bytes", sizeof *a);
    }
    *a = (struct lv_accel){ .caps = caps, .ops = ops, .device = device };
    const enum lever_status st = self_test(a, types, err);

    if (st < 0) {
        lv_accel_close(a);
        return st;
    }
    *out = a;
    return LEVER_OK;
}

void lv_accel_close(struct lv_accel *a)
{
    if (!a)
        return;
    a->ops->close(a->device);
    lv_free(a);
}

/* ---- models ------------------------------------------------------------------------- */

static uint32_t ints_needed(uint32_t max_rows)
{
    return max_rows * (LV_ACCEL_PATH + 3) + 1 + 2 * MAX_PENDING;
}

static void *device_thread(void *arg)
{
    struct lv_accel_model *m = arg;

    pthread_mutex_lock(&m->lock);
    for (;;) {
        while (!m->go && !m->quit)
            pthread_cond_wait(&m->cond, &m->lock);
        if (!m->go)
            break;
        m->go = false;
        pthread_mutex_unlock(&m->lock);
        struct lv_event *event = m->event;
        const enum lever_status st = m->a->ops->run(m->model, &m->job, &m->err);

        pthread_mutex_lock(&m->lock);
        m->st = st;
        atomic_store(&m->busy, false);
        pthread_cond_broadcast(&m->cond);
        if (event)
            lv_event_bump(event);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

enum lever_status lv_accel_load(struct lv_accel_model **out, struct lv_accel *a, const struct lv_program *p,
                                const struct lv_kv *kv, uint32_t max_rows, struct lever_error *err)
{
    struct lv_accel_model *m = LV_NEW(struct lv_accel_model);
    enum lever_status st = LEVER_OK;

    if (!m)
        return LV_FAIL(err, LEVER_E_NOMEM, "model on a device: %zu bytes", sizeof *m);
    m->a = a;
    m->p = p;
    m->max_rows = lv_accel_bucket(max_rows);
    m->cap_ints = ints_needed(m->max_rows);
    m->ints = LV_NEW_ARRAY(int32_t, m->cap_ints);
    m->rope = LV_NEW_ARRAY(float, (size_t)(p->n_rope ? p->n_rope : 1) * m->max_rows * p->shape.n_rot + 1);
    if (!m->ints || !m->rope)
        st = LV_FAIL(err, LEVER_E_NOMEM, "model on a device: tables of %u rows", m->max_rows);
    const struct lv_accel_spec spec = { .p = p, .kv = kv, .max_rows = m->max_rows, .cap_ints = m->cap_ints };

    if (st >= 0)
        st = a->ops->load(&m->model, a->device, &spec, err);
    if (st >= 0) {
        m->has_lock = pthread_mutex_init(&m->lock, NULL) == 0 && pthread_cond_init(&m->cond, NULL) == 0;
        m->has_thread = m->has_lock && pthread_create(&m->thread, NULL, device_thread, m) == 0;
        if (!m->has_thread)
            st = LV_FAIL(err, LEVER_E_NOMEM, "the system refuses a thread for the device");
    }
    if (st < 0) {
        lv_accel_unload(m);
        return st;
    }
    *out = m;
    return LEVER_OK;
}

void lv_accel_unload(struct lv_accel_model *m)
{
    if (!m)
        return;
    if (m->has_thread) {
        lv_accel_abandon(m);
        pthread_mutex_lock(&m->lock);
        m->quit = true;
        pthread_cond_broadcast(&m->cond);
        pthread_mutex_unlock(&m->lock);
        pthread_join(m->thread, NULL);
    }
    if (m->has_lock) {
        pthread_mutex_destroy(&m->lock);
        pthread_cond_destroy(&m->cond);
    }
    if (m->model)
        m->a->ops->unload(m->model);
    lv_free(m->ints);
    lv_free(m->rope);
    lv_free(m);
}

/* ---- passes --------------------------------------------------------------------------- */

bool lv_accel_poll(const struct lv_accel_model *m)
{
    return !atomic_load(&m->busy);
}

void lv_accel_abandon(struct lv_accel_model *m)
{
    atomic_store(&m->stop, true);
}

enum lever_status lv_accel_wait(struct lv_accel_model *m, struct lever_error *err)
{
    pthread_mutex_lock(&m->lock);
    while (atomic_load(&m->busy))
        pthread_cond_wait(&m->cond, &m->lock);
    pthread_mutex_unlock(&m->lock);
    if (m->st < 0 && err)
        *err = m->err;
    return m->st;
}

/* Hands the job to the thread. */
static void start(struct lv_accel_model *m, struct lv_event *event)
{
    atomic_store(&m->stop, false);
    m->job.stop = &m->stop;
    m->event = event;
    m->n_pending = 0;
    pthread_mutex_lock(&m->lock);
    atomic_store(&m->busy, true);
    m->go = true;
    pthread_cond_broadcast(&m->cond);
    pthread_mutex_unlock(&m->lock);
}

static void put(struct lv_accel_model *m, const void *ints, uint32_t n)
{
    if (n)
        memcpy(m->ints + m->job.n_ints, ints, n * sizeof *m->ints);
    m->job.n_ints += n;
}

static void put_commits(struct lv_accel_model *m)
{
    m->job.ints = m->ints;
    m->job.at_commit = m->job.n_ints;
    m->job.n_commit = m->n_pending;
    put(m, m->pending, 2 * m->n_pending);
}

enum lever_status lv_accel_submit(struct lv_accel_model *m, const struct lv_accel_pass *in, struct lever_error *err)
{
    const struct lv_pass *pass = in->pass;
    const struct lv_shape *s = &m->p->shape;
    const uint32_t n = pass->n_rows, n_path = pass->path_at[n] - pass->path_at[0];

    if (lv_accel_wait(m, err) == LEVER_E_INTERNAL)
        return LEVER_E_INTERNAL;
    if (n < 1 || n > m->max_rows || in->n_head > n || n_path > m->max_rows * LV_ACCEL_PATH)
        return LV_FAIL(err, LEVER_E_ARG, "a pass of %u rows, %u of them with logits, and paths of %u; the device was set up for "
                       "%u rows", n, in->n_head, n_path, m->max_rows);
    m->job = (struct lv_accel_job){ .n_rows = n, .bucket = lv_accel_bucket(n), .n_kv = in->n_kv, .x = in->x,
                                    .stride_x = in->stride_x, .x_out = in->x_out, .rope = m->rope, .n_head = in->n_head,
                                    .logits = in->logits, .stride_logits = in->stride_logits };
    put(m, pass->slot, n);
    m->job.at_path = m->job.n_ints;
    for (uint32_t r = 0; r <= n; r++)
        m->ints[m->job.n_ints++] = (int32_t)(pass->path_at[r] - pass->path_at[0]);
    m->job.at_slots = m->job.n_ints;
    put(m, pass->path + pass->path_at[0], n_path);
    m->job.at_head = m->job.n_ints;
    put(m, in->head_row, in->n_head);
    put_commits(m);
    for (uint32_t r = 0; r < n; r++) {
        const uint32_t len = pass->path_at[r + 1] - pass->path_at[r];

        m->job.longest = len > m->job.longest ? len : m->job.longest;
        for (uint32_t i = 0; i < m->p->n_rope; i++)
            lv_rope_angles(m->p, i, in->n_kv + len - 1, m->rope + ((size_t)i * n + r) * s->n_rot);
    }
    start(m, in->event);
    return LEVER_OK;
}

enum lever_status lv_accel_commit(struct lv_accel_model *m, const int32_t *slot, uint32_t n, uint32_t at,
                                  struct lever_error *err)
{
    /* What was committed from here on, and not yet done, was taken back since. */
    while (m->n_pending && (uint32_t)m->pending[2 * m->n_pending - 1] >= at)
        m->n_pending--;
    for (uint32_t i = 0; i < n; i++) {
        if (m->n_pending == MAX_PENDING) {
            if (lv_accel_wait(m, err) == LEVER_E_INTERNAL)
                return LEVER_E_INTERNAL;
            m->job = (struct lv_accel_job){ 0 };
            put_commits(m);
            start(m, NULL);
            LV_TRY(lv_accel_wait(m, err));
        }
        m->pending[2 * m->n_pending] = slot[i];
        m->pending[2 * m->n_pending + 1] = (int32_t)(at + i);
        m->n_pending++;
    }
    return LEVER_OK;
}

enum lever_status lv_accel_score(struct lv_accel_model *m, const struct lv_accel_pass *pass, struct lever_error *err)
{
    LV_TRY(lv_accel_submit(m, pass, err));
    return lv_accel_wait(m, err);
}
