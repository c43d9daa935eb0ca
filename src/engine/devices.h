/* The devices of an engine: kernel tables of the CPU's units, their times, and which one a run uses.
 *
 * On a CPU with a matrix unit (AMX, i8mm) the kernel levels with and without it are two devices that share the cores: small
 * batches may be faster without. All levels have the same bits, so the choice changes speed alone. Elsewhere there is one
 * device, nothing is measured and every run uses the one table there is.
 *
 * A draft that runs on an accelerator (engine/device.h) is not among them: its cache is there, so its batches cannot go here and
 * there.
 *
 * owns     the second kernel table
 * threads  lv_devices_measure and the learning while no run is under way that learns too; the rest from any */
#ifndef LV_ENGINE_DEVICES_H
#define LV_ENGINE_DEVICES_H

#include "kern/kern.h"
#include "map/map.h"
#include <lever/lever.h>

struct lever_engine;

/* Staircase of a program on a device, submission and transfer left out. *out with n 0: the device cannot run it. */
typedef enum lever_status lv_device_measure(void *ctx, struct lever_engine *e, uint32_t device, enum lv_map_program p,
                                            struct lv_stairs *out, struct lever_error *err);

/* For tests: a second device on any machine. */
struct lv_devices_hook {
    const char *second_level;   /* kernel level that it uses; NULL: as the machine has it */
    lv_device_measure *measure; /* what times are said to be, of all devices; NULL: as measured */
    void *ctx;
};

struct lv_devices {
    struct lv_map map;
    const struct lv_kern *k[LV_MAP_DEVICES];
    struct lv_kern second;
    struct lv_devices_hook hook;
    bool measured;
};

/* The devices of this CPU. best: the engine's kernel table. forced: a level was asked for by name, which alone is used. */
enum lever_status lv_devices_init(struct lv_devices *d, const struct lv_kern *best, bool forced, struct lever_error *err);
/* There is a draft, and it runs here: not as a whole on a device (engine/device.h) that holds its KV cache too. */
bool lv_devices_run_draft(const struct lever_engine *e);

/* Staircases of all devices and the loaded models' programs: kept ones, else measured. Both instances use the devices from here
 * on. With one device it does nothing unless `also_one`. The KV caches are empty, and stay so. */
enum lever_status lv_devices_measure(struct lever_engine *e, bool also_one, struct lever_error *err);
/* Into e->learned. */
void lv_devices_keep(struct lever_engine *e);
/* The staircases that rounds are chosen by, from the devices' as they are now: a pass of the target, a batch of the draft. */
void lv_devices_stairs(const struct lever_engine *e, struct lv_stairs *target, struct lv_stairs *draft);

#endif
