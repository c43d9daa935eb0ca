/* lever probe: a device profile of this machine. */
#include <inttypes.h>

#include "cli.h"

static void put_profile(const struct lever_profile *d)
{
    char size[24];

    if (d->n_flash)
        printf("flash    %.2f GB/s with enough in flight, %s reads\n", d->flash_rate * 1e-9, d->reader);
    for (uint32_t i = 0; i < d->n_flash; i++)
        printf("         %8s, %" PRIu32 " in flight  %6.2f GB/s\n", lv_size_text(size, d->flash[i].read_bytes),
               d->flash[i].lanes, d->flash[i].rate * 1e-9);
    printf("memory   %.1f GB/s, %s available\n", d->dram * 1e-9, lv_size_text(size, d->memory_available));
    printf("int8     %.0f GMAC/s (%s), f32 %.0f GFMA/s, %" PRIu32 " threads\n", d->peak_mac * 1e-9, d->mac_instruction,
           d->fma * 1e-9, d->n_threads);
    printf("matmul   q4_k, %s kernels\n", d->kernels);
    for (uint32_t i = 0; i < d->n_stair; i++)
        printf("         %3" PRIu32 " rows  %5.0f GMAC/s, %.2f x the time of one row\n", d->stair[i].rows,
               d->stair[i].rows / d->stair[i].seconds * 1e-9, d->stair[i].seconds / d->stair[0].seconds);
}

/* A line a row count: each device's milliseconds, the choice behind them. */
static void put_mapping(const struct lever_mapping *m)
{
    printf("devices ");
    for (uint32_t d = 0; d < m->n_device; d++)
        printf("%s %s (%s%s)", d ? "," : "", m->device[d].name, m->device[d].kind, m->device[d].exact ? "" : ", inexact");
    printf(", %" PRIu32 " threads\n", m->n_threads);
    for (uint32_t i = 0; i < m->n_cell; i++) {
        const struct lever_map_cell *c = &m->cell[i];
        const bool first = !i || c->program != m->cell[i - 1].program;

        if (first)
            printf("%-11s", c->program);
        else
            printf("%11s", "");
        printf(" %3" PRIu32 " rows ", c->rows);
        for (uint32_t d = 0; d < m->n_device; d++)
            if (c->device_seconds[d] > 0)
                printf("  %9.3f ms", c->device_seconds[d] * 1e3);
            else
                printf("  %9s   ", "-");
        for (uint32_t k = 0; k < c->n_part; k++)
            printf("%s%s", k ? " + " : "   ", m->device[c->part[k].device].name);
        if (c->n_part > 1)
            printf(" (%" PRIu32 " + %" PRIu32 " rows, %.3f ms)", c->part[0].rows, c->part[1].rows, c->seconds * 1e3);
        printf("\n");
    }
    if (m->streamed)
        printf("the target is streamed: its times are those of the kernels, without waiting\n");
}

static json_t *mapping_json(const struct lever_mapping *m)
{
    json_t *devices = json_array(), *programs = json_array();

    for (uint32_t d = 0; d < m->n_device; d++)
        json_array_append_new(devices, json_pack("{s:s, s:s, s:b, s:b}", "name", m->device[d].name, "kind", m->device[d].kind, "exact",
                                                 (int)m->device[d].exact, "shares_cores", (int)m->device[d].shares_cores));
    for (uint32_t i = 0; i < m->n_cell; i++) {
        const struct lever_map_cell *c = &m->cell[i];
        json_t *seconds = json_array(), *choice = json_array();

        for (uint32_t d = 0; d < m->n_device; d++)
            json_array_append_new(seconds, c->device_seconds[d] > 0 ? lv_json_real(c->device_seconds[d]) : json_null());
        for (uint32_t k = 0; k < c->n_part; k++)
            json_array_append_new(choice, json_pack("{s:s, s:o}", "device", m->device[c->part[k].device].name, "rows",
                                                    lv_json_uint(c->part[k].rows)));
        json_array_append_new(programs, json_pack("{s:s, s:o, s:o, s:o, s:o}", "program", c->program, "rows", lv_json_uint(c->rows),
                                                  "seconds", seconds, "choice", choice, "choice_seconds", lv_json_real(c->seconds)));
    }
    return json_pack("{s:o, s:o, s:b}", "devices", devices, "programs", programs, "streamed", (int)m->streamed);
}

static void on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    lv_progress_show(user, what, done, total);
}

int lv_cli_probe(const struct lv_args *a)
{
    struct lever_profile d = { .size = sizeof d };
    struct lever_mapping map = { .size = sizeof map };
    struct lever_error err = { .status = LEVER_OK };
    struct lv_progress progress;
    enum lever_status st;

    lv_progress_init(&progress, a->json);
    /* A model has lain on the disk for a while: better to read than a new file. */
    st = lever_probe(a->dir ? a->dir : a->target ? a->target : ".", LEVER_PROBE_FLASH | LEVER_PROBE_COMPUTE, a->n_threads, a->cpu_level, &d,
                     on_progress, &progress, &err);
    if (st >= 0 && a->target) {
        struct lever_options opt;

        lv_session_options(a, 0, &progress, &opt);
        st = lever_probe_models(&opt, &map, &err);
    }
    lv_progress_end(&progress);
    if (st < 0)
        return lv_report(&err, a->json);
    if (d.looks_cached)
        lv_say("warning: a second read of the same bytes was far faster: direct reads are served from memory here, so the "
               "flash rates are not the device's");
    else if (a->verbose && d.reader && d.reader[0] == 'b')
        lv_say("direct reads are refused here: rates are those of the page cache's own reads");
    if (!a->no_cache && !d.looks_cached)
        lv_profile_save(&d);
    if (a->json) {
        json_t *o = lv_profile_json(&d);

        if (a->target && o && json_object_set_new(o, "mapper", mapping_json(&map)) != 0) {
            json_decref(o);
            o = NULL;
        }
        return lv_json_print(o);
    }
    put_profile(&d);
    if (a->target)
        put_mapping(&map);
    return lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
}
