/* Which lens an engine takes: a file by name must be good and the target's; in a folder the target's is looked for, and one
 * that cannot be used is said and passed over.
 *
 * usage: test_lens_files FOLDER */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "e2e/random_lens.h"
#include "engine/engine.h"
#include "ref/tiny.h"

static char said[1200];

static void on_log(void *user, enum lever_log_level level, const char *message)
{
    (void)user;
    if (level == LEVER_LOG_WARN)
        snprintf(said, sizeof said, "%s", message);
}

/* Opens the target with this lens; *n: depths that the engine knows. */
static enum lever_status open_with(const char *target, const char *lens, enum lever_prune prune, uint32_t *n,
                                   struct lever_error *err)
{
    struct lever_options opt;
    lever_engine *e = NULL;

    lever_options_default(&opt, sizeof opt);
    opt.target_path = target;
    opt.lens = lens;
    opt.prune = prune;
    opt.n_threads = 1;
    opt.n_ctx = 128;
    opt.log = on_log;
    said[0] = '\0';
    const enum lever_status st = lever_open(&e, &opt, err);

    *n = st >= 0 ? e->lens.n : 0;
    lever_close(e);
    return st;
}

static void flip(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");

    fseek(f, at, SEEK_SET);
    const int c = fgetc(f);

    fseek(f, at, SEEK_SET);
    fputc(c ^ 1, f);
    fclose(f);
}

int main(int argc, char **argv)
{
    struct tiny_spec spec = { .arch = LV_ARCH_QWEN2, .n_layer = 6, .n_embd = 256, .n_ff = 512, .n_head = 4,
                              .n_head_kv = 2, .n_vocab = 512, .type = TINY_ALL(LV_TYPE_Q8_0), .seed = 5 };
    static const uint32_t depth[] = { 2, 4 };
    struct lv_rng r = { .state = 99 };
    struct lever_error err = { 0 };
    char target[600], other[600], dir[600], named[700], found[700];
    struct lv_gguf *g;
    uint32_t n;

    if (argc < 2)
        return 2;
    snprintf(target, sizeof target, "%s/lens-a-%d.gguf", argv[1], (int)getpid());
    snprintf(other, sizeof other, "%s/lens-b-%d.gguf", argv[1], (int)getpid());
    snprintf(dir, sizeof dir, "%s/lens-dir-%d", argv[1], (int)getpid());
    snprintf(named, sizeof named, "%s/named", dir);
    mkdir(dir, 0700);
    if (tiny_write(&spec, target, &err) < 0)
        return 1;
    spec.n_ff = 1024;
    if (tiny_write(&spec, other, &err) < 0 || lv_gguf_open(&g, target, &err) < 0)
        return 1;
    snprintf(found, sizeof found, "%s/%016llx.lens", dir, (unsigned long long)lv_engine_hash_model(0, g));
    lv_gguf_close(g);

    CHECK(open_with(target, NULL, LEVER_PRUNE_AUTO, &n, &err) == LEVER_OK && n == 0, "none: %u", n);
    CHECK(open_with(target, dir, LEVER_PRUNE_AUTO, &n, &err) == LEVER_OK && n == 0 && !said[0], "empty folder: %s", said);
    CHECK(open_with(target, named, LEVER_PRUNE_AUTO, &n, &err) == LEVER_E_IO && strstr(err.message, named), "absent: %s",
          err.message);
    if (!random_lens(target, named, depth, 2, &r) || !random_lens(target, found, depth, 2, &r))
        return 1;
    CHECK(open_with(target, named, LEVER_PRUNE_AUTO, &n, &err) == LEVER_OK && n == 2, "by name: %u", n);
    CHECK(open_with(target, dir, LEVER_PRUNE_ON, &n, &err) == LEVER_OK && n == 2, "in a folder: %u", n);
    CHECK(open_with(target, "off", LEVER_PRUNE_ON, &n, &err) == LEVER_OK && n == 0, "off: %u", n);
    CHECK(open_with(target, named, LEVER_PRUNE_OFF, &n, &err) == LEVER_OK && n == 0, "not wanted: %u", n);
    CHECK(open_with(other, named, LEVER_PRUNE_AUTO, &n, &err) == LEVER_E_MODEL && strstr(err.message, "another target"),
          "of another target: %s", err.message);
    CHECK(open_with(other, dir, LEVER_PRUNE_AUTO, &n, &err) == LEVER_OK && n == 0 && !said[0], "not its own: %s", said);
    flip(named, 500);
    flip(found, 500);
    CHECK(open_with(target, named, LEVER_PRUNE_AUTO, &n, &err) == LEVER_E_MODEL && strstr(err.message, "damaged"),
          "damaged: %s", err.message);
    CHECK(open_with(target, dir, LEVER_PRUNE_AUTO, &n, &err) == LEVER_OK && n == 0 && strstr(said, "damaged"),
          "damaged in a folder: %s", said);

    remove(named);
    remove(found);
    rmdir(dir);
    remove(target);
    remove(other);
    printf("%d failures\n", n_fail);
    return n_fail ? 1 : 0;
}
