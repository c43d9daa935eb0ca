#include "engine/devices.h"

#include <stdio.h>
#include <string.h>

#include "cpu/cpu.h"
#include "engine/engine.h"
#include "engine/stairs.h"

/* Rows that a matrix unit's kernels take at once: where a batch may be cut. */
#define MATRIX_TILE 16

static void add_table(struct lv_devices *d, const struct lv_kern *k, enum lv_map_kind kind)
{
    const struct lv_map_device m = { .name = k->level,
                                     .kind = kind,
                                     .bit_equal = true, /* every level is: kern/kern.h */
                                     .shares_cores = true,
                                     .tile = kind == LV_MAP_MATRIX || d->hook.second_level ? MATRIX_TILE : 0 };
    const int i = lv_map_add(&d->map, &m);

    if (i >= 0)
        d->k[i] = k;
}

static bool has_matrix_unit(const struct lv_kern *k)
{
    return strcmp(k->level, "amx") == 0 || strcmp(k->level, "i8mm") == 0;
}

enum lever_status lv_devices_init(struct lv_devices *d, const struct lv_kern *best, bool forced, struct lever_error *err)
{
    add_table(d, best, has_matrix_unit(best) ? LV_MAP_MATRIX : LV_MAP_VECTOR);
    if (d->hook.second_level) {
        LV_TRY(lv_engine_kernels(&d->second, d->hook.second_level, err));
        add_table(d, &d->second, LV_MAP_VECTOR);
    } else if (has_matrix_unit(best) && !forced) {
        lv_kern_init(&d->second, lv_cpu_detect() & ~(uint32_t)(LV_CPU_AMX_INT8 | LV_CPU_I8MM));
        add_table(d, &d->second, LV_MAP_VECTOR);
    }
    return LEVER_OK;
}

bool lv_devices_run_draft(const struct lever_engine *e)
{
    return e->uses_draft && !e->draft.device;
}

/* ---- measuring --------------------------------------------------------------------------- */

static struct lv_instance *instance_of(struct lever_engine *e, enum lv_map_program p)
{
    if (p == LV_MAP_TARGET_BODY || p == LV_MAP_TARGET_HEAD)
        return &e->target;
    return lv_devices_run_draft(e) ? &e->draft : NULL;
}

/* By the executor, with a device's kernels. */
static enum lever_status run_program(struct lever_engine *e, uint32_t device, enum lv_map_program p, struct lv_stairs *out,
                                     struct lever_error *err)
{
    struct lv_instance *m = instance_of(e, p);
    const struct lv_kern *own = m->exec.k;
    enum lever_status st = LEVER_OK;

    m->exec.k = e->devices.k[device];
    if (p == LV_MAP_DRAFT_HEAD || p == LV_MAP_TARGET_HEAD)
        st = lv_stairs_head(out, m, err);
    else if (m->stream) /* a pass waits for flash: what counts is its compute */
        lv_stairs_measure(out, &m->exec, m->exec.n_worker);
    else
        st = lv_stairs_run(out, m, false, err);
    m->exec.k = own;
    return st;
}

/* Which of the two that are kept: an instance's program is another one when it streams, or its head is cut. */
static struct lv_learned_pass *kept_pass(struct lever_engine *e, struct lv_learned_device *kept, enum lv_map_program p)
{
    if (p == LV_MAP_TARGET_BODY || p == LV_MAP_TARGET_HEAD)
        return &kept->pass[p][e->target.stream != NULL];
    return &kept->pass[p][lv_engine_draft_head_shrunk(e)];
}

/* Where a device's times are kept: under its name, else the first free place. NULL: there is none. */
static struct lv_learned_device *kept_device(struct lv_learned *l, const char *name)
{
    for (int i = 0; i < LV_MAP_DEVICES; i++) {
        if (!l->device[i].name[0])
            snprintf(l->device[i].name, sizeof l->device[i].name, "%s", name);
        if (strncmp(l->device[i].name, name, sizeof l->device[i].name - 1) == 0)
            return &l->device[i];
    }
    return NULL;
}

static enum lever_status measure_program(struct lever_engine *e, uint32_t i, enum lv_map_program p, struct lever_error *err)
{
    struct lv_devices *d = &e->devices;
    struct lv_learned_device *kept = kept_device(&e->learned, d->map.device[i].name);
    const struct lv_learned_pass *pass = kept ? kept_pass(e, kept, p) : NULL;
    struct lv_stairs s = { 0 };

    if (pass && pass->stairs.n) {
        lv_map_set_stairs(&d->map, i, p, &pass->stairs);
        d->map.seen[i][p].fit = pass->fit;
        return LEVER_OK;
    }
    if (d->hook.measure)
        LV_TRY(d->hook.measure(d->hook.ctx, e, i, p, &s, err));
    else
        LV_TRY(run_program(e, i, p, &s, err));
    for (uint32_t k = 1; k < s.n; k++) /* more rows never take less: what seems so is noise */
        s.seconds[k] = s.seconds[k] > s.seconds[k - 1] ? s.seconds[k] : s.seconds[k - 1];
    lv_map_set_stairs(&d->map, i, p, &s);
    return LEVER_OK;
}

enum lever_status lv_devices_measure(struct lever_engine *e, bool also_one, struct lever_error *err)
{
    struct lv_devices *d = &e->devices;

    if (d->measured || (d->map.n < 2 && !also_one))
        return LEVER_OK;
    for (int p = 0; p < LV_MAP_PROGRAMS; p++)
        for (uint32_t i = 0; i < d->map.n; i++)
            if (instance_of(e, p))
                LV_TRY(measure_program(e, i, p, err));
    d->measured = true;
    e->target.devices = d;
    e->target.first_program = LV_MAP_TARGET_BODY;
    e->draft.devices = d;
    e->draft.first_program = LV_MAP_DRAFT_BODY;
    return LEVER_OK;
}

void lv_devices_keep(struct lever_engine *e)
{
    const struct lv_map *m = &e->devices.map;

    if (!e->devices.measured || m->n < 2)
        return;
    for (uint32_t i = 0; i < m->n; i++) {
        struct lv_learned_device *kept = kept_device(&e->learned, m->device[i].name);

        for (int p = 0; kept && p < LV_MAP_PROGRAMS; p++)
            if (instance_of(e, p))
                *kept_pass(e, kept, p) = (struct lv_learned_pass){ m->device[i].stairs[p], m->seen[i][p].fit };
    }
}

void lv_devices_stairs(const struct lever_engine *e, struct lv_stairs *target, struct lv_stairs *draft)
{
    const struct lv_map *m = &e->devices.map;

    lv_map_stairs(m, LV_MAP_ALL, LV_MAP_TARGET_BODY, target);
    *draft = (struct lv_stairs){ 0 };
    if (!lv_devices_run_draft(e))
        return;
    lv_map_stairs(m, LV_MAP_ALL, LV_MAP_DRAFT_BODY, draft);
    for (uint32_t i = 0; i < draft->n; i++)
        draft->seconds[i] +=
            lv_map_place(m, LV_MAP_ALL, LV_MAP_DRAFT_HEAD, draft->rows[i] < LV_HEAD_ROWS ? draft->rows[i] : LV_HEAD_ROWS).seconds;
}
