/* lever_probe_models: what each device takes for a pair of models' programs, and where the mapper puts them. */
#include <stddef.h>
#include <string.h>

#include "engine/engine.h"

static const uint32_t buckets[] = { 1, 4, 8, 16, 32, 64, 128, 256 };
static const char *const kinds[] = { [LV_MAP_VECTOR] = "vector", [LV_MAP_MATRIX] = "matrix", [LV_MAP_ACCELERATOR] = "accelerator" };
static const char *const programs[] = { [LV_MAP_DRAFT_BODY] = "draft body",
                                        [LV_MAP_DRAFT_HEAD] = "draft head",
                                        [LV_MAP_TARGET_BODY] = "target body",
                                        [LV_MAP_TARGET_HEAD] = "target head" };

_Static_assert(LV_MAP_DEVICES == LEVER_MAP_DEVICES && sizeof buckets / sizeof *buckets * LV_MAP_PROGRAMS <= LEVER_MAP_CELLS,
               "the report has another size");

/* Rows that a run of this program may have. */
static uint32_t most_rows(const struct lever_engine *e, enum lv_map_program p)
{
    const struct lv_instance *m = p == LV_MAP_DRAFT_BODY || p == LV_MAP_DRAFT_HEAD ? &e->draft : &e->target;

    return p == LV_MAP_DRAFT_HEAD || p == LV_MAP_TARGET_HEAD ? LV_HEAD_ROWS : m->exec.max_rows;
}

static void report_cell(const struct lv_map *map, enum lv_map_program p, uint32_t rows, struct lever_mapping *out)
{
    struct lever_map_cell *c = &out->cell[out->n_cell++];
    const struct lv_map_split s = lv_map_place(map, LV_MAP_ALL, p, rows);

    *c = (struct lever_map_cell){ .program = programs[p], .rows = rows, .n_part = s.n, .seconds = s.seconds };
    for (uint32_t d = 0; d < map->n; d++)
        c->device_seconds[d] = lv_map_may(map, d, p) ? lv_map_seconds(map, d, p, rows) : 0.0;
    for (uint32_t i = 0; i < s.n; i++) {
        c->part[i].device = s.part[i].device;
        c->part[i].rows = s.part[i].rows;
    }
}

static void report(const struct lever_engine *e, struct lever_mapping *out)
{
    const struct lv_map *map = &e->devices.map;

    for (uint32_t d = 0; d < map->n; d++) {
        out->device[d].name = map->device[d].name; /* of a kernel level: static text */
        out->device[d].kind = kinds[map->device[d].kind];
        out->device[d].exact = map->device[d].bit_equal;
        out->device[d].shares_cores = map->device[d].shares_cores;
    }
    out->n_device = map->n;
    for (int p = 0; p < LV_MAP_PROGRAMS; p++)
        for (size_t i = 0; i < sizeof buckets / sizeof *buckets; i++)
            if ((e->uses_draft || p >= LV_MAP_TARGET_BODY) && buckets[i] <= most_rows(e, p))
                report_cell(map, p, buckets[i], out);
    out->streamed = e->target.stream != NULL;
    out->n_threads = lv_pool_n(e->pool);
}

enum lever_status lever_probe_models(const struct lever_options *opt, struct lever_mapping *out, struct lever_error *err)
{
    struct lever_mapping r = { 0 };
    struct lever_options o;
    lever_engine *e = NULL;

    if (!out || out->size < sizeof out->size || !lv_engine_take_options(&o, opt))
        return LV_FAIL(err, LEVER_E_ARG, "lever_probe_models: opt (made by lever_options_default) and out, with its size set, are "
                       "required");
    o.vocab_only = false;
    o.learned_dir = NULL; /* measured now */
    LV_TRY(lever_open(&e, &o, err));
    const enum lever_status st = lv_devices_measure(e, true, err);

    if (st >= 0)
        report(e, &r);
    lever_close(e);
    if (st < 0)
        return st;
    r.size = out->size;
    memcpy(out, &r, out->size < sizeof r ? out->size : sizeof r);
    return LEVER_OK;
}
