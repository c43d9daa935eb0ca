/* Device profiles as JSON: printed by lever probe, read by lever plan, one kept for this machine. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

#define SCHEMA 1
#define MAKE "make a profile with lever probe --json"

json_t *lv_profile_json(const struct lever_profile *d)
{
    json_t *flash = json_array(), *compute = json_array();

    for (uint32_t i = 0; i < d->n_flash; i++)
        json_array_append_new(flash, json_pack("{s:o, s:o, s:o}", "read_bytes", lv_json_uint(d->flash[i].read_bytes), "lanes",
                                               lv_json_uint(d->flash[i].lanes), "rate", lv_json_real(d->flash[i].rate)));
    for (uint32_t i = 0; i < d->n_stair; i++)
        json_array_append_new(compute, json_pack("{s:s, s:o, s:o}", "type", "q4_k", "rows", lv_json_uint(d->stair[i].rows),
                                                 "seconds_per_weight", lv_json_real(d->stair[i].seconds)));
    return json_pack("{s:i, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s}",
                     "schema", SCHEMA,
                     "flash", flash,
                     "flash_rate", lv_json_real(d->flash_rate),
                     "reader", lv_json_str(d->reader),
                     "looks_cached", (int)d->looks_cached,
                     "dram", lv_json_real(d->dram),
                     "peak_mac", lv_json_real(d->peak_mac),
                     "fma", lv_json_real(d->fma),
                     "mac_instruction", lv_json_str(d->mac_instruction),
                     "compute", compute,
                     "kernels", lv_json_str(d->kernels),
                     "threads", lv_json_uint(d->n_threads),
                     "memory_available", lv_json_uint(d->memory_available),
                     "version", lever_version());
}

static enum lever_status get(const char *path, const json_t *o, const char *key, double max, double *out,
                             struct lever_error *err)
{
    return lv_data_number(path, o, key, 0, max, 0, out, err);
}

/* "compute", or of an accelerator "accel". */
static enum lever_status read_stairs(const char *path, const json_t *o, const char *key, struct lever_profile *d,
                                     struct lever_error *err)
{
    const json_t *list = json_object_get(o, key), *step;
    uint32_t n = 0, last = 0;
    size_t i;

    json_array_foreach(list, i, step) {
        double rows, seconds;

        if (get(path, step, "rows", 4096, &rows, err) < 0 || get(path, step, "seconds_per_weight", 1, &seconds, err) < 0)
            return err->status;
        if (n == LEVER_PROFILE_STAIRS || !(rows >= 1) || !(seconds > 0) || (uint32_t)rows <= last)
            return lv_cli_fail(err, LEVER_E_ARG, "%s: \"%s\" must list at most %d steps with growing \"rows\" and "
                               "\"seconds_per_weight\" above 0; step %zu does not fit", path, key, LEVER_PROFILE_STAIRS, i + 1);
        last = (uint32_t)rows;
        if (key[0] == 'c') {
            d->stair[n].rows = last;
            d->stair[n++].seconds = seconds;
            d->n_stair = n;
        } else {
            d->accel[n].rows = last;
            d->accel[n++].seconds = seconds;
            d->n_accel = n;
        }
    }
    return LEVER_OK;
}

static enum lever_status read_object(const char *path, const json_t *o, struct lever_profile *d, struct lever_error *err)
{
    const json_t *flash = json_object_get(o, "flash"), *cell;
    double threads, memory, schema;
    size_t i;

    memset(d, 0, sizeof *d);
    d->size = sizeof *d;
    if (!json_is_object(o))
        return lv_cli_fail(err, LEVER_E_ARG, "%s: not a JSON object; " MAKE, path);
    if (lv_data_number(path, o, "schema", 1, 1e6, SCHEMA, &schema, err) < 0)
        return err->status;
    if (schema > SCHEMA)
        return lv_cli_fail(err, LEVER_E_ARG, "%s: \"schema\" is %.0f, this build reads %d; " MAKE " of this build", path, schema,
                           SCHEMA);
    if (get(path, o, "flash_rate", 1e15, &d->flash_rate, err) < 0 || get(path, o, "dram", 1e15, &d->dram, err) < 0 ||
        get(path, o, "peak_mac", 1e18, &d->peak_mac, err) < 0 || get(path, o, "fma", 1e18, &d->fma, err) < 0 ||
        get(path, o, "pack", 1e15, &d->pack, err) < 0 || get(path, o, "accel_submit", 10, &d->accel_submit, err) < 0 ||
        get(path, o, "threads", 4096, &threads, err) < 0 || get(path, o, "memory_available", 1e15, &memory, err) < 0)
        return err->status;
    d->n_threads = (uint32_t)threads;
    d->memory_available = (uint64_t)memory;
    json_array_foreach(flash, i, cell) {
        double read_bytes, lanes, rate;

        if (get(path, cell, "read_bytes", 1e9, &read_bytes, err) < 0 || get(path, cell, "lanes", 1024, &lanes, err) < 0 ||
            get(path, cell, "rate", 1e15, &rate, err) < 0)
            return err->status;
        if (d->n_flash == LEVER_PROFILE_FLASH)
            break;
        d->flash[d->n_flash].read_bytes = (uint32_t)read_bytes;
        d->flash[d->n_flash].lanes = (uint32_t)lanes;
        d->flash[d->n_flash++].rate = rate;
        if (!json_object_get(o, "flash_rate") && rate > d->flash_rate)
            d->flash_rate = rate; /* published figures may be a table alone */
    }
    if (read_stairs(path, o, "compute", d, err) < 0)
        return err->status;
    return read_stairs(path, o, "accel", d, err);
}

enum lever_status lv_profile_read(const char *path, struct lever_profile *d, struct lever_error *err)
{
    json_t *o = NULL;
    enum lever_status st = lv_data_read(LV_DATA_DEVICE, path, MAKE, &o, err);

    if (st >= 0)
        st = read_object(path, o, d, err);
    json_decref(o);
    return st;
}

/* ---- the machine's own ---- */

bool lv_cache_path(char *buf, size_t cap, const char *name, bool make)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n;

    if (cache && cache[0] == '/')
        n = snprintf(buf, cap, "%s", cache);
    else if (home && home[0] == '/')
        n = snprintf(buf, cap, "%s/.cache", home);
    else
        return false;
    if (n < 0 || (size_t)n + strlen(name) + sizeof "/lever/" > cap)
        return false;
    if (make)
        mkdir(buf, 0700);
    strcat(buf, "/lever");
    if (make)
        mkdir(buf, 0700);
    strcat(buf, "/");
    strcat(buf, name);
    return true;
}

bool lv_profile_load(struct lever_profile *d, uint32_t n_threads, const char *kernels)
{
    struct lever_error err;
    char path[1024];
    json_t *o = NULL;
    bool good;

    if (!lv_cache_path(path, sizeof path, "profile.json", false) || access(path, R_OK) != 0)
        return false;
    good = lv_data_read(LV_DATA_DEVICE, path, MAKE, &o, &err) >= 0 && read_object(path, o, d, &err) >= 0 && d->dram > 0 && d->flash_rate > 0 &&
           d->n_threads == n_threads;
    if (good) {
        const char *k = json_string_value(json_object_get(o, "kernels"));

        good = k && kernels && !strcmp(k, kernels);
    }
    json_decref(o);
    return good;
}

bool lv_profile_save(const struct lever_profile *d)
{
    char path[1024], part[1100];
    json_t *o;
    bool good;

    if (!lv_cache_path(path, sizeof path, "profile.json", true))
        return false;
    snprintf(part, sizeof part, "%s.%ld", path, (long)getpid());
    o = lv_profile_json(d);
    good = o && json_dump_file(o, part, JSON_INDENT(1) | JSON_REAL_PRECISION(12)) == 0 && rename(part, path) == 0;
    if (!good)
        unlink(part);
    json_decref(o);
    return good;
}
