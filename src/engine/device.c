#include "engine/device.h"

#include <stdio.h>
#include <string.h>

#include "engine/stairs.h"

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

/* Seconds of a batch of usual size here and there. */
static enum lever_status faster(struct lever_engine *e, bool *out, struct lever_error *err)
{
    struct lv_accel_model *device = e->draft.device;
    double here, there;
    char line[200];

    LV_TRY(lv_stairs_time(&there, &e->draft, LV_DRAFT_OPEN, err));
    e->draft.device = NULL;
    const enum lever_status st = lv_stairs_time(&here, &e->draft, LV_DRAFT_OPEN, err);

    e->draft.device = device;
    LV_TRY(st);
    snprintf(line, sizeof line, "a draft batch of %d rows takes %.1f ms on the CPU, %.1f ms on the device", LV_DRAFT_OPEN,
             here * 1e3, there * 1e3);
    say(e, LEVER_LOG_INFO, "%s", line);
    *out = there < here;
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
        LV_TRY(faster(e, &keep, err));
    if (!keep)
        do_without(e, "that is faster");
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
