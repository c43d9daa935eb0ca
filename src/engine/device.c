#include "engine/device.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "engine/draft.h"
#include "engine/stairs.h"
#include "map/round.h"

/* A round of usual size, that where to draft is decided by. */
#define RESIDENT_BATCHES 3   /* all waited for */
#define RESIDENT_ROWS 6
#define STREAMED_EXPOSED 2   /* after a surprise */
#define STREAMED_BESIDE 8    /* while the pass waits for flash */
#define STREAMED_ROWS 32

static void say(const struct lever_engine *e, enum lever_log_level level, const char *fmt, const char *what)
{
    char line[1200];

    if (!e->opt.log)
        return;
    snprintf(line, sizeof line, fmt, what);
    e->opt.log(e->opt.user, level, line);
}

static bool is_auto(const struct lever_engine *e)
{
    return strcmp(e->opt.device, "auto") == 0;
}

/* Who asked for a device is told why he does not get it; who left the choice to Lever can look it up. */
static void do_without(struct lever_engine *e, const char *why)
{
    say(e, is_auto(e) ? LEVER_LOG_INFO : LEVER_LOG_WARN, "the draft runs on the CPU: %.1000s", why);
    lv_device_close(e);
}

enum lever_status lv_device_open(struct lever_engine *e, struct lever_error *err)
{
    struct lever_error why = { 0 };

    if (!e->opt.device || strcmp(e->opt.device, "cpu") == 0)
        return LEVER_OK;
    if (strcmp(e->opt.device, "opencl") != 0 && !is_auto(e))
        return LV_FAIL(err, LEVER_E_ARG, "device \"%.60s\" is unknown: cpu, opencl or auto is expected", e->opt.device);
    if (!e->has_draft || e->opt.speculation == LEVER_SPEC_OFF) {
        say(e, LEVER_LOG_INFO, "device %s: there is no draft to run on it", e->opt.device);
        return LEVER_OK;
    }
    if (lv_accel_open(&e->accel, "opencl", lv_accel_types(e->draft.program), e->accel_hooks, &why) < 0)
        do_without(e, why.message);
    return LEVER_OK;
}

/* Staircase of a draft's batch, head included, where it runs now. */
static enum lever_status batch_stairs(struct lever_engine *e, struct lv_stairs *out, struct lever_error *err)
{
    *out = (struct lv_stairs){ .n = 2, .rows = { 1, LV_DRAFT_OPEN } };
    for (uint32_t i = 0; i < out->n; i++)
        LV_TRY(lv_stairs_time(&out->seconds[i], &e->draft, out->rows[i], err));
    if (out->seconds[1] < out->seconds[0])
        out->seconds[1] = out->seconds[0];
    return LEVER_OK;
}

/* Of a pass, as far as loading has shown what the device gives; 0 where nothing is streamed. */
static double stream_seconds(const struct lever_engine *e)
{
    struct lv_reader_stats io;

    lv_reader_get_stats(e->target.reader, &io);
    if (!io.full_ns || !io.full_bytes)
        return 0.0;
    return (double)e->target.place.streamed_bytes / ((double)io.full_bytes / lv_seconds(io.full_ns));
}

/* Device 0: the CPU's kernels; 1: the accelerator. */
static enum lever_status measure(struct lever_engine *e, struct lv_map *m, struct lever_error *err)
{
    struct lv_map_device cpu = { .name = "CPU", .kind = LV_MAP_VECTOR, .bit_equal = true, .shares_cores = true };
    struct lv_map_device there = { .name = lv_accel_caps(e->accel)->name, .kind = LV_MAP_ACCELERATOR };
    struct lv_accel_model *device = e->draft.device;

    LV_TRY(batch_stairs(e, &there.stairs[LV_MAP_DRAFT_BODY], err));
    e->draft.device = NULL;
    const enum lever_status st = batch_stairs(e, &cpu.stairs[LV_MAP_DRAFT_BODY], err);

    e->draft.device = device;
    LV_TRY(st);
    lv_stairs_measure(&cpu.stairs[LV_MAP_TARGET_BODY], &e->target.exec, lv_pool_n(e->pool));
    lv_map_add(m, &cpu);
    lv_map_add(m, &there);
    return LEVER_OK;
}

/* True if a round is over sooner with the draft on the device: by shorter batches, or as the cores have the target to do
 * meanwhile. */
static enum lever_status pays(struct lever_engine *e, bool *out, struct lever_error *err)
{
    struct lv_map m = { .n = 0 };
    double round[LV_MAP_DEVICES];
    char line[240];

    LV_TRY(measure(e, &m, err));
    const struct lv_map_round resident = { .draft_rows = 1, .n_exposed = RESIDENT_BATCHES, .target_rows = RESIDENT_ROWS };
    const struct lv_map_round streamed = { .draft_rows = LV_DRAFT_OPEN,
                                           .n_exposed = STREAMED_EXPOSED,
                                           .n_beside = STREAMED_BESIDE,
                                           .target_rows = STREAMED_ROWS,
                                           .t_stream = stream_seconds(e) };

    *out = lv_map_home(&m, e->target.stream ? &streamed : &resident, round) == 1;
    snprintf(line, sizeof line,
             "a round is thought to take %.1f ms with the draft on the CPU, %.1f ms with it on the device (a batch of %d "
             "rows: %.1f, %.1f ms)",
             1e3 * round[0], 1e3 * round[1], LV_DRAFT_OPEN, 1e3 * m.device[0].stairs[LV_MAP_DRAFT_BODY].seconds[1],
             1e3 * m.device[1].stairs[LV_MAP_DRAFT_BODY].seconds[1]);
    say(e, LEVER_LOG_INFO, "%s", line);
    return LEVER_OK;
}

enum lever_status lv_device_load(struct lever_engine *e, struct lever_error *err)
{
    struct lever_error why = { 0 };
    bool keep = true;

    if (!e->accel)
        return LEVER_OK;
    if (!e->uses_draft) {
        lv_device_close(e);
        return LEVER_OK;
    }
    if (lv_accel_load(&e->draft.device, e->accel, e->draft.program, &e->draft.kv, e->draft.exec.max_rows, &why) < 0) {
        do_without(e, why.message);
        return LEVER_OK;
    }
    if (is_auto(e))
        LV_TRY(pays(e, &keep, err));
    if (!keep)
        do_without(e, "a round is over sooner");
    else
        say(e, LEVER_LOG_INFO, "the draft runs on %s", lv_accel_caps(e->accel)->name);
    return LEVER_OK;
}

void lv_device_lost(void *ctx, const char *why)
{
    say(ctx, LEVER_LOG_WARN, "the draft goes on on the CPU: %.1000s", why);
}

void lv_device_close(struct lever_engine *e)
{
    lv_accel_unload(e->draft.device);
    e->draft.device = NULL;
    lv_accel_close(e->accel);
    e->accel = NULL;
}
