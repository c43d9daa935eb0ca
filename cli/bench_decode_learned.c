/* What runs learn, kept apart for each mode: a mode that came second on a text would otherwise find it learned from that text. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench_decode.h"

#define PREFIX "learned-"
#define CAP_FOLDER 1024
#define CAP_FILE (CAP_FOLDER + NAME_MAX + 2)

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

static bool copy_file(const char *from, const char *to)
{
    FILE *in = fopen(from, "rbe"), *out = in ? fopen(to, "wbxe") : NULL;
    char buf[8192];
    size_t n;
    bool good = out != NULL;

    while (good && (n = fread(buf, 1, sizeof buf, in)) > 0)
        good = fwrite(buf, 1, n, out) == n;
    good = good && !ferror(in);
    if (in)
        fclose(in);
    if (out)
        good = fclose(out) == 0 && good;
    if (!good)
        unlink(to); /* a run that finds nothing begins anew */
    return good;
}

/* Calls fn for each file in dir that a run may have made. */
static void each_file(const char *dir, void (*fn)(const char *path, const char *name, const char *to), const char *to)
{
    char path[CAP_FILE];
    DIR *d = opendir(dir);

    for (struct dirent *f; d && (f = readdir(d));) {
        if (strncmp(f->d_name, PREFIX, sizeof PREFIX - 1) != 0)
            continue;
        if (snprintf(path, sizeof path, "%s/%s", dir, f->d_name) < (int)sizeof path)
            fn(path, f->d_name, to);
    }
    if (d)
        closedir(d);
}

static void copy_into(const char *path, const char *name, const char *to)
{
    char target[CAP_FILE];

    if (snprintf(target, sizeof target, "%s/%s", to, name) < (int)sizeof target)
        copy_file(path, target);
}

static void remove_file(const char *path, const char *name, const char *to)
{
    (void)name;
    (void)to;
    unlink(path);
}

void lv_bench_learned_dir(const struct lv_bench *b, const char *mode, uint32_t k, char dir[LV_BENCH_CAP_PATH + 40])
{
    char kept[CAP_FOLDER];

    snprintf(dir, LV_BENCH_CAP_PATH + 40, "%s/%s-%" PRIu32, b->learned, mode, k);
    if (mkdir(dir, 0700) == 0 && !b->a->no_cache && lv_cache_path(kept, sizeof kept, "learned", false))
        each_file(kept, copy_into, dir);
}

void lv_bench_learned_deinit(const char *base)
{
    char path[CAP_FILE];
    DIR *d = *base ? opendir(base) : NULL;

    for (struct dirent *f; d && (f = readdir(d));) {
        if (f->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", base, f->d_name);
        each_file(path, remove_file, NULL);
        rmdir(path);
    }
    if (!d)
        return;
    closedir(d);
    rmdir(base);
}
