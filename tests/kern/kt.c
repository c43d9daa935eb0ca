#include "kern/kt.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/half.h"
#include "cpu/cpu.h"

struct kt kt;

#define CAP_BUF 256
static struct {
    void *base;
    size_t bytes;
} bufs[CAP_BUF];
static uint32_t n_buf;

bool kt_init(int argc, char **argv)
{
    const uint32_t flags = lv_cpu_detect();
    const char *name;

    kt.seed = 1;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--bench"))
            kt.bench = true;
        else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            kt.seed = strtoull(argv[++i], NULL, 0);
        else if (!strcmp(argv[i], "--level") && i + 1 < argc)
            kt.only_level = argv[++i];
        else if (!strcmp(argv[i], "--type") && i + 1 < argc)
            kt.only_type = argv[++i];
        else if (!strcmp(argv[i], "--rows") && i + 1 < argc)
            kt.rows = argv[++i];
        else if (!strcmp(argv[i], "--threads") && i + 1 < argc)
            kt.n_thread = (uint32_t)strtoul(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--cols") && i + 1 < argc)
            kt.n_cols = (uint32_t)strtoul(argv[++i], NULL, 10);
        else {
            fprintf(stderr, "usage: %s [--seed N] [--bench [--level NAME,..] [--type NAME,..] [--rows N,..] [--cols N] "
                    "[--threads N]]\n", argv[0]);
            return false;
        }
    }
    /* A level without kernels of its own reports the name of a lower one. */
    for (unsigned i = 0; (name = lv_cpu_level_name(flags, i)) && kt.n_level + KT_EMULATED < KT_LEVELS; i++) {
        struct lv_kern *k = &kt.level[kt.n_level];

        lv_kern_init(k, flags & lv_cpu_level(name));
        if (!strcmp(k->level, name))
            kt.n_level++;
        if (!strcmp(name, "avx512vnni") && (flags & LV_CPU_AMD) && kt.n_level + KT_EMULATED < KT_LEVELS) {
            kt.level[kt.n_level] = *k; /* those of other makers stand below */
            lv_kern_init(k, flags & lv_cpu_level(name) & ~(uint32_t)LV_CPU_AMD);
            k->level = "avx512vnni, not AMD";
            kt.n_level++;
        }
    }
    kt.best = kt.n_level - 1;
    kt.n_level += kt_emulated_levels(&kt.level[kt.n_level], flags);
    printf("seed %" PRIu64 ", levels:", kt.seed);
    for (uint32_t i = 0; i < kt.n_level; i++)
        printf("%s %s", i ? ";" : "", kt.level[i].level);
    printf("\n");
    return true;
}

void kt_reseed(uint64_t salt)
{
    kt.rng.state = lv_mix64(kt.seed) ^ lv_mix64(salt * 0x51ed27);
}

void *kt_buf(size_t bytes, size_t gap)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t body = (bytes + gap + page - 1) / page * page + (bytes + gap == 0 ? page : 0);
    uint8_t *base = mmap(NULL, body + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *p;

    if (base == MAP_FAILED || n_buf == CAP_BUF || mprotect(base + page, body, PROT_READ | PROT_WRITE)) {
        fprintf(stderr, "kt_buf: no memory for %zu bytes\n", bytes);
        abort();
    }
    bufs[n_buf].base = base;
    bufs[n_buf++].bytes = body + 2 * page;
    p = base + page + body - gap - bytes;
    for (size_t i = 0; i < bytes; i++)
        p[i] = (uint8_t)(lv_rng_u64(&kt.rng) >> 56);
    return p;
}

void kt_free_all(void)
{
    while (n_buf) {
        n_buf--;
        munmap(bufs[n_buf].base, bufs[n_buf].bytes);
    }
}

#define POISON 0x7fd5aa33u

float *kt_poison(size_t n)
{
    float *p = kt_buf(n * sizeof *p, 0);

    for (size_t i = 0; i < n; i++)
        p[i] = lv_f32_from_bits(POISON);
    return p;
}

bool kt_is_poison(float f)
{
    return lv_f32_bits(f) == POISON;
}

bool kt_same(float a, float b)
{
    return lv_f32_bits(a) == lv_f32_bits(b) || (isnan(a) && isnan(b));
}

static void put_f16(uint8_t *p, float f)
{
    const uint16_t h = lv_f16_from_f32(f);

    memcpy(p, &h, sizeof h);
}

static float random_scale(enum kt_weights kind)
{
    switch (kind) {
    case KT_W_ONES: return lv_rng_below(&kt.rng, 2) ? 65504.0f : -65504.0f;
    case KT_W_ZERO: return lv_rng_below(&kt.rng, 2) ? 0.0f : -0.0f;
    case KT_W_TINY: return lv_rng_f32(&kt.rng) * 0x1p-14f;
    case KT_W_NAN:
        if (lv_rng_below(&kt.rng, 8) == 0)
            return (const float[]){ NAN, INFINITY, -INFINITY }[lv_rng_below(&kt.rng, 3)];
        break;
    default: break;
    }
    return lv_rng_f32(&kt.rng) * 0.02f;
}

/* Offsets of the f16 scales in a block; 0xff: none. */
static void scale_offsets(enum lv_type type, uint32_t off[2])
{
    off[0] = type == LV_TYPE_Q6_K ? 208 : 0;
    off[1] = type == LV_TYPE_Q4_1 || type == LV_TYPE_Q5_1 || type == LV_TYPE_Q4_K || type == LV_TYPE_Q5_K ? 2 : off[0];
}

uint8_t *kt_rows(enum lv_type type, uint32_t n_rows, uint32_t n_cols, enum kt_weights kind, size_t gap)
{
    const struct lv_type_traits *tr = lv_type_traits(type);
    const size_t bytes = n_rows * (size_t)lv_row_bytes(type, n_cols);
    uint8_t *rows = kt_buf(bytes, gap);

    if (kind == KT_W_ONES)
        memset(rows, 0xff, bytes);
    for (uint8_t *p = rows; p < rows + bytes; p += tr->block_bytes) {
        const float s = random_scale(kind);
        uint32_t off[2];

        if (type == LV_TYPE_F32) {
            memcpy(p, &s, sizeof s);
        } else if (type == LV_TYPE_BF16) {
            const uint16_t h = (uint16_t)(lv_f32_bits(s) >> 16);
            memcpy(p, &h, sizeof h);
        } else if (type == LV_TYPE_F16) {
            put_f16(p, s);
        } else {
            scale_offsets(type, off);
            put_f16(p + off[0], s);
            if (off[1] != off[0])
                put_f16(p + off[1], random_scale(kind));
        }
    }
    return rows;
}

struct lv_act kt_act(uint32_t n_rows, uint32_t n_cols, enum kt_acts kind)
{
    const size_t n = (size_t)n_rows * n_cols;
    float *f = kt_buf(n * sizeof *f, 0);
    struct lv_act x = {
        .f = f, .stride_f = n_cols, .n_cols = n_cols, .q = kt_buf(n, 0),
        .d = kt_buf(n / 32 * sizeof *x.d, 0), .sd = kt_buf(n / 32 * sizeof *x.sd, 0),
        .s16 = kt_buf(n / 16 * sizeof *x.s16, 0)
    };

    for (size_t i = 0; i < n; i++) {
        const int8_t big = lv_mix64(kt.rng.state + i / 16) & 1 ? 127 : -127;

        f[i] = kind == KT_X_ZERO ? 0.0f : lv_rng_f32(&kt.rng) * (kind == KT_X_EXTREME ? 1e30f : 2.0f);
        if (kind == KT_X_NAN && lv_rng_below(&kt.rng, 64) == 0)
            f[i] = lv_rng_below(&kt.rng, 2) ? NAN : INFINITY;
        x.q[i] = kind == KT_X_ZERO ? 0 : kind == KT_X_EXTREME ? big : (int8_t)((int)lv_rng_below(&kt.rng, 255) - 127);
    }
    for (size_t b = 0; b < n / 32; b++) {
        int32_t sum = 0;

        for (size_t h = 0; h < 2; h++) {
            int32_t s = 0;

            for (size_t i = 0; i < 16; i++)
                s += x.q[32 * b + 16 * h + i];
            x.s16[2 * b + h] = (int16_t)s;
            sum += s;
        }
        x.d[b] = kind == KT_X_ZERO ? 0.0f : (lv_rng_f32(&kt.rng) + 1.0f) * (kind == KT_X_EXTREME ? 1e20f : 0.01f);
        if (kind == KT_X_NAN && lv_rng_below(&kt.rng, 4) == 0)
            x.d[b] = lv_rng_below(&kt.rng, 2) ? NAN : INFINITY;
        x.sd[b] = x.d[b] * (float)sum;
    }
    return x;
}
