#define _POSIX_C_SOURCE 200809L
#include "engine/learned.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/sidecar.h"

#define P_CHILD 0.85 /* before anything is known */
#define MAX_PATH_BYTES 4096

struct head {
    char magic[8];
    uint32_t version, n_bytes;
    uint64_t key, checksum;
};

static struct head head_of(const struct lv_learned *l, uint64_t key)
{
    return (struct head){ .magic = "LVLEARN1",
                          .version = LV_LEARNED_VERSION,
                          .n_bytes = sizeof *l,
                          .key = key,
                          .checksum = lv_sidecar_hash(sizeof *l, (const uint8_t *)l, sizeof *l) };
}

void lv_learned_init(struct lv_learned *l)
{
    memset(l, 0, sizeof *l); /* padding too: the struct is written as it is */
    for (int i = 0; i < 2; i++) {
        lv_calib_init(&l->calib[i]);
        lv_calib_init(&l->peek[i]);
        for (int s = 0; s < LV_PRUNE_STAGES; s++)
            lv_predict_fix_init(&l->prune[i][s]);
    }
    l->p_child = P_CHILD;
}

/* ---- what a file may say --------------------------------------------------------- */

/* NaN is none. */
static bool within(double x, double least, double most)
{
    return x >= least && x <= most;
}

static bool sound_pass(const struct lv_learned_pass *p)
{
    const struct lv_stairs *s = &p->stairs;
    const struct lv_cost_fit *f = &p->fit;

    if (s->n > LV_STAIRS_MAX)
        return false;
    for (uint32_t i = 0; i < s->n; i++)
        if (!within(s->seconds[i], 1e-9, 1e6) || s->rows[i] < 1 || (i && s->rows[i] <= s->rows[i - 1]))
            return false;
    return within(f->n, 0.0, 1e6) && within(f->u, 0.0, 1e15) && within(f->uu, 0.0, 1e24) && within(f->r, 0.0, 1e12) &&
           within(f->ru, 0.0, 1e21);
}

static bool sound_device(const struct lv_learned_device *d)
{
    for (int i = 0; i < LV_MAP_PROGRAMS; i++)
        if (!sound_pass(&d->pass[i][0]) || !sound_pass(&d->pass[i][1]))
            return false;
    return memchr(d->name, 0, sizeof d->name) != NULL;
}

static bool sound(struct lv_learned *l)
{
    for (int i = 0; i < LV_MAP_DEVICES; i++)
        if (!sound_device(&l->device[i]))
            return false;
    for (int i = 0; i < 2; i++)
        for (int s = 0; s < LV_PRUNE_STAGES; s++)
            if (!lv_predict_fix_restore(&l->prune[i][s]))
                return false;
    return lv_calib_restore(&l->calib[0]) && lv_calib_restore(&l->calib[1]) && lv_calib_restore(&l->peek[0]) &&
           lv_calib_restore(&l->peek[1]) && sound_pass(&l->target[0]) &&
           sound_pass(&l->target[1]) && sound_pass(&l->draft[0]) && sound_pass(&l->draft[1]) && within(l->p_child, 0.01, 0.999) &&
           within(l->stream_rate, 0.0, 1e13) && within(l->t_head, 0.0, 1e6);
}

/* ---- files -------------------------------------------------------------------------- */

static bool path_of(char path[MAX_PATH_BYTES], const char *dir, uint64_t key)
{
    const int n = snprintf(path, MAX_PATH_BYTES, "%s/learned-%016" PRIx64 ".bin", dir, key);

    return n > 0 && n < MAX_PATH_BYTES - 32;
}

bool lv_learned_load(struct lv_learned *l, const char *dir, uint64_t key)
{
    char path[MAX_PATH_BYTES];
    struct head h;
    FILE *f = path_of(path, dir, key) ? fopen(path, "rbe") : NULL;
    bool good = false;

    if (f) {
        good = fread(&h, sizeof h, 1, f) == 1 && fread(l, sizeof *l, 1, f) == 1 && fgetc(f) == EOF;
        fclose(f);
    }
    if (good) {
        const struct head want = head_of(l, key);

        good = memcmp(&h, &want, sizeof h) == 0 && sound(l);
    }
    if (!good)
        lv_learned_init(l);
    return good;
}

bool lv_learned_save(const struct lv_learned *l, const char *dir, uint64_t key)
{
    char path[MAX_PATH_BYTES], part[MAX_PATH_BYTES + 32];
    const struct head h = head_of(l, key);

    if (!path_of(path, dir, key))
        return false;
    mkdir(dir, 0700);
    snprintf(part, sizeof part, "%s.%ld", path, (long)getpid());
    FILE *f = fopen(part, "wbe");

    if (!f)
        return false;
    bool good = fwrite(&h, sizeof h, 1, f) == 1 && fwrite(l, sizeof *l, 1, f) == 1;

    good = fclose(f) == 0 && good && rename(part, path) == 0;
    if (!good)
        unlink(part);
    return good;
}
