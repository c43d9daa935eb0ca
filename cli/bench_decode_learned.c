/* What runs learn, kept apart for each mode: a mode that came second on a text would otherwise find it learned from that text. */
#define _XOPEN_SOURCE 700 /* nftw */
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench_decode.h"

#define PREFIX "learned-"
#define CAP_FILE (1024 + NAME_MAX + 2)

enum lever_status lv_bench_learned_init(char base[LV_BENCH_CAP_PATH], struct lever_error *err)
{
    const char *tmp = getenv("TMPDIR");
    const int n = snprintf(base, LV_BENCH_CAP_PATH, "%s/lever-bench-XXXXXX", tmp && *tmp ? tmp : "/tmp");

    if (n > 0 && n < LV_BENCH_CAP_PATH && mkdtemp(base))
        return LEVER_OK;
    const int e = n < LV_BENCH_CAP_PATH ? errno : ENAMETOOLONG;

    base[0] = '\0';
    return lv_cli_fail(err, LEVER_E_IO, "no temporary folder for what modes learn: %s; is TMPDIR writable?", strerror(e));
}

/* A run that finds nothing begins anew: a copy that fails is none. */
static void copy(const char *from, const char *to)
{
    FILE *in = fopen(from, "rbe"), *out = in ? fopen(to, "wbxe") : NULL;
    bool good = out && lv_bench_append(out, in);

    if (in)
        fclose(in);
    if (out)
        good = fclose(out) == 0 && good;
    if (!good)
        unlink(to);
}

void lv_bench_learned_dir(const struct lv_bench *b, const char *mode, uint32_t k, char dir[LV_BENCH_CAP_PATH + 40])
{
    char kept[1024], from[CAP_FILE], to[CAP_FILE];
    DIR *d = NULL;

    snprintf(dir, LV_BENCH_CAP_PATH + 40, "%s/%s-%" PRIu32, b->learned, mode, k);
    if (mkdir(dir, 0700) == 0 && !b->a->no_cache && lv_cache_path(kept, sizeof kept, "learned", false))
        d = opendir(kept);
    for (struct dirent *f; d && (f = readdir(d));)
        if (strncmp(f->d_name, PREFIX, sizeof PREFIX - 1) == 0 &&
            snprintf(from, sizeof from, "%s/%s", kept, f->d_name) < (int)sizeof from &&
            snprintf(to, sizeof to, "%s/%s", dir, f->d_name) < (int)sizeof to)
            copy(from, to);
    if (d)
        closedir(d);
}

static int forget(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    remove(path);
    return 0;
}

void lv_bench_learned_deinit(const char *base)
{
    if (*base)
        nftw(base, forget, 4, FTW_DEPTH | FTW_PHYS);
}
