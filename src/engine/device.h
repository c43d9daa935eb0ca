/* Which device the draft runs on: the one place that decides it. */
#ifndef LV_ENGINE_DEVICE_H
#define LV_ENGINE_DEVICE_H

#include "engine/engine.h"

/* Before memory is planned: opens the device that is asked for, if there is a draft for it. One that cannot be used is no
 * error: it is said, once, and the CPU drafts. LEVER_E_ARG: there is no such kind. */
enum lever_status lv_device_open(struct lever_engine *e, struct lever_error *err);
/* Both models are loaded: puts the draft on the device. "auto" leaves it to the mapper, which compares a round of usual size
 * with it here and there. */
enum lever_status lv_device_load(struct lever_engine *e, struct lever_error *err);
/* The device failed while it worked (of struct lv_draft: on_lost). ctx: the engine. */
void lv_device_lost(void *ctx, const char *why);
/* Takes the draft off the device and closes it. Any time no worker runs. */
void lv_device_close(struct lever_engine *e);

#endif
