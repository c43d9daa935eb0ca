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

static void on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    lv_progress_show(user, what, done, total);
}

int lv_cli_probe(const struct lv_args *a)
{
    struct lever_profile d = { .size = sizeof d };
    struct lever_error err = { .status = LEVER_OK };
    struct lv_progress progress;
    enum lever_status st;

    lv_progress_init(&progress, a->json);
    st = lever_probe(a->dir ? a->dir : ".", LEVER_PROBE_FLASH | LEVER_PROBE_COMPUTE, a->n_threads, a->cpu_level, &d,
                     on_progress, &progress, &err);
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
    if (a->json)
        return lv_json_print(lv_profile_json(&d));
    put_profile(&d);
    return lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
}
