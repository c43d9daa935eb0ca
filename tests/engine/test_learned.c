/* What an engine keeps: comes back as it was; foreign, cut, damaged and mad files are as none; a failing write leaves what
 * was there. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "check.h"
#include "engine/learned.h"

#define KEY 0x1234u

static void make(struct lv_learned *l, struct lv_rng *r)
{
    lv_learned_init(l);
    for (int i = 0; i < 500; i++) {
        const float p = (float)lv_rng_below(r, 1000) / 1000.0f;

        lv_calib_learn(&l->calib[i % 2], p, i % 4u, i % 9u, lv_rng_below(r, 2));
        lv_calib_learn(&l->peek[i % 2], p, i % 4u, 1, lv_rng_below(r, 2));
        lv_predict_learn(&l->prune[i % 2][i % 3], (float[]){ 4.0f * p - 2.0f, p }, 2, (int32_t)lv_rng_below(r, 3) - 1);
    }
    for (int i = 0; i < 2; i++) {
        lv_calib_fit(&l->calib[i]);
        lv_calib_fit(&l->peek[i]);
    }
    l->target[1].stairs = (struct lv_stairs){ .n = 3, .rows = { 1, 8, 64 }, .seconds = { 0.1, 0.2, 0.9 } };
    l->target[1].fit = (struct lv_cost_fit){ 1, 2, 3, 4, 5 };
    snprintf(l->device[1].name, sizeof l->device[1].name, "unit");
    l->device[1].pass[2][1] = l->target[1];
    l->stream_rate = 1.5e9;
    l->p_child = 0.7;
    l->t_head = 0.01;
}

static bool is_new(const struct lv_learned *l)
{
    struct lv_learned fresh;

    lv_learned_init(&fresh);
    return memcmp(l, &fresh, sizeof fresh) == 0;
}

/* The one file in dir. */
static void file_in(const char *dir, char *path, size_t cap)
{
    snprintf(path, cap, "%s/learned-%016llx.bin", dir, (unsigned long long)KEY);
}

static void rewrite(const char *path, const uint8_t *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");

    CHECK(f && fwrite(bytes, 1, n, f) == n, "cannot write %s", path);
    if (f)
        fclose(f);
}

int main(int argc, char **argv)
{
    struct lv_rng rng = { .state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1 };
    struct lv_learned was, is;
    static uint8_t bytes[1 << 20];
    char dir[600], path[700], other[700];
    size_t n;
    FILE *f;

    if (argc < 2)
        return 2;
    printf("SEED=%llu\n", (unsigned long long)rng.state);
    snprintf(dir, sizeof dir, "%s/learned-%ld", argv[1], (long)getpid());
    file_in(dir, path, sizeof path);
    make(&was, &rng);

    CHECK(!lv_learned_load(&is, dir, KEY) && is_new(&is), "something came from nothing");
    CHECK(lv_learned_save(&was, dir, KEY), "not kept");
    CHECK(lv_learned_load(&is, dir, KEY), "not found again");
    CHECK(memcmp(&is, &was, sizeof is) == 0, "not as it was");
    CHECK(!lv_learned_load(&is, dir, KEY + 1) && is_new(&is), "another pair's");

    f = fopen(path, "rb");
    n = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    if (f)
        fclose(f);
    CHECK(n > sizeof was, "%zu bytes", n);
    for (int i = 0; i < 200; i++) { /* a bit anywhere */
        const size_t at = lv_rng_below(&rng, (uint32_t)n);

        bytes[at] ^= (uint8_t)(1 << i % 8);
        rewrite(path, bytes, n);
        CHECK(!lv_learned_load(&is, dir, KEY) && is_new(&is), "bit %d of byte %zu changed", i % 8, at);
        bytes[at] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t cut = 0; cut < n; cut += 97) {
        rewrite(path, bytes, cut);
        CHECK(!lv_learned_load(&is, dir, KEY) && is_new(&is), "cut to %zu bytes", cut);
    }
    rewrite(path, bytes, n + 1);
    CHECK(!lv_learned_load(&is, dir, KEY) && is_new(&is), "a byte more");

    struct lv_learned mad[9]; /* sealed rightly, but never so */

    for (int i = 0; i < 9; i++)
        mad[i] = was;
    mad[0].stream_rate = (double)NAN;
    mad[1].target[1].stairs.n = LV_STAIRS_MAX + 1;
    mad[2].target[1].stairs.rows[1] = 1;
    mad[3].target[1].stairs.seconds[2] = -1.0;
    mad[4].p_child = 1.5;
    mad[5].target[1].fit.u = (double)INFINITY;
    memset(mad[6].device[3].name, 'x', sizeof mad[6].device[3].name);
    mad[7].device[1].pass[2][1].stairs = (struct lv_stairs){ .n = 1, .rows = { 0 }, .seconds = { 1.0 } };
    mad[8].prune[1][2].scale = -1.0;
    for (int i = 0; i < 9; i++)
        CHECK(lv_learned_save(&mad[i], dir, KEY) && !lv_learned_load(&is, dir, KEY) && is_new(&is), "mad %d", i);

    CHECK(lv_learned_save(&was, dir, KEY), "not kept");
    snprintf(other, sizeof other, "%s/none/none", dir);
    CHECK(!lv_learned_save(&was, other, KEY), "kept where no folder is");
    CHECK(lv_learned_load(&is, dir, KEY), "lost");
    remove(path);
    CHECK(rmdir(dir) == 0, "something was left behind");
    printf("%d failures\n", n_fail);
    return n_fail != 0;
}
