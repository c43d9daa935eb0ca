/* lever_probe: a device profile. */
#define _GNU_SOURCE /* mkostemp */
#include "engine/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "cpu/cpu.h"
#include "engine/bench_kernels.h"
#include "engine/engine.h"

#define MIB (UINT64_C(1) << 20)
#define FILE_BYTES (256 * MIB)
#define CHUNK_BYTES (4 * MIB)
#define CELL_NS 400000000u          /* of one read size and lane count */
#define DEEP_BYTES (2 * MIB)        /* in flight, so many reach a device's full rate */
#define BLOCK_BYTES (512 * MIB)
#define STAIR_OUT 8960u
#define STAIR_IN 1536u
#define STAIR_SECONDS 0.03

static const uint32_t read_bytes[] = { 128 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20 };
static const uint32_t lanes[] = { 1, 2, 4 };
static const uint32_t stairs[] = { 1, 2, 4, 8, 16, 32, 64 };
#define N_READ (sizeof read_bytes / sizeof read_bytes[0])
#define N_LANES (sizeof lanes / sizeof lanes[0])
#define N_STAIRS (sizeof stairs / sizeof stairs[0])
#define N_RAW 3

_Static_assert(N_READ * N_LANES <= LEVER_PROFILE_FLASH, "more cells than the profile holds");
_Static_assert(N_STAIRS <= LEVER_PROFILE_STAIRS, "more steps than the profile holds");

struct probe {
    struct lever_profile r;
    void (*progress)(void *user, const char *what, uint64_t done, uint64_t total);
    void *user;
    uint64_t n_done, n_step;
};

static void step(struct probe *p, const char *what)
{
    if (p->progress)
        p->progress(p->user, what, ++p->n_done, p->n_step);
}

/* ---- flash ---- */

/* What is written does not compress: some devices do that behind our back. */
static enum lever_status write_file(int fd, const char *dir, struct lever_error *err)
{
    uint64_t *chunk = lv_alloc(1, CHUNK_BYTES);
    struct lv_rng rng = { 1 };
    enum lever_status st = LEVER_OK;

    if (!chunk)
        return LV_FAIL(err, LEVER_E_NOMEM, "probe: %llu bytes", (unsigned long long)CHUNK_BYTES);
    for (uint64_t at = 0; at < FILE_BYTES && st >= 0; at += CHUNK_BYTES) {
        for (uint64_t i = 0; i < CHUNK_BYTES / sizeof *chunk; i++)
            chunk[i] = lv_rng_u64(&rng);
        for (uint64_t n = 0; n < CHUNK_BYTES && st >= 0;) {
            const ssize_t k = write(fd, (const uint8_t *)chunk + n, CHUNK_BYTES - n);

            if (k > 0)
                n += (uint64_t)k;
            else if (k == 0 || errno != EINTR)
                st = LV_FAIL(err, LEVER_E_IO, "%s: writing a temporary file of %llu MiB failed after %llu MiB: %s", dir,
                             (unsigned long long)(FILE_BYTES / MIB), (unsigned long long)(at / MIB), strerror(errno));
        }
    }
    if (st >= 0 && fsync(fd) != 0)
        st = LV_FAIL(err, LEVER_E_IO, "%s: writing a temporary file failed: %s", dir, strerror(errno));
    lv_free(chunk);
    return st;
}

/* A file without a name: nothing is left behind, whatever ends the program. path: how readers open it. */
static enum lever_status temporary_file(const char *dir, int *fd, char path[64], struct lever_error *err)
{
    char name[4096];
    struct statvfs fs;

    if (statvfs(dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < 2 * FILE_BYTES)
        return LV_FAIL(err, LEVER_E_IO, "%s: a temporary file of %llu MiB is needed and twice that should be free, found %llu "
                       "MiB; name another folder, or a large file to read", dir, (unsigned long long)(FILE_BYTES / MIB),
                       (unsigned long long)((uint64_t)fs.f_bavail * fs.f_frsize / MIB));
    if ((size_t)snprintf(name, sizeof name, "%s/lever-probe-XXXXXX", dir) >= sizeof name)
        return LV_FAIL(err, LEVER_E_ARG, "the folder's name is longer than %zu bytes", sizeof name);
    *fd = mkostemp(name, O_CLOEXEC);
    if (*fd < 0)
        return LV_FAIL(err, LEVER_E_IO, "%s: a temporary file cannot be made: %s", dir, strerror(errno));
    unlink(name);
    snprintf(path, 64, "/proc/self/fd/%d", *fd);
    return write_file(*fd, dir, err);
}

/* One cell: reads of `size` bytes, as many in flight as there are lanes, in file order. */
static enum lever_status measure_cell(struct probe *p, const char *path, uint64_t file_bytes, uint32_t size,
                                      uint32_t n_lanes, bool check, struct lever_error *err)
{
    const struct lv_reader_options io = { .n_threads = n_lanes, .direct = true };
    const uint32_t n = file_bytes / size > 4096 ? 4096 : (uint32_t)(file_bytes / size);
    struct lv_extent *x = LV_NEW_ARRAY(struct lv_extent, n);
    struct lv_reader *reader = NULL;
    struct lv_flash_result best = { 0 };
    double reread;
    enum lever_status st;

    if (!x)
        return LV_FAIL(err, LEVER_E_NOMEM, "probe: list of %u reads", n);
    for (uint32_t i = 0; i < n; i++)
        x[i] = (struct lv_extent){ .off = (uint64_t)i * size, .len = size, .n_seg = 1 };
    if ((st = lv_reader_open(&reader, &path, &file_bytes, 1, &io, err)) < 0)
        goto out;
    const struct lv_flash_job job = { .reader = reader, .extent = x, .n_extent = n, .n_flight = n_lanes, .max_ns = CELL_NS / 2 };

    if (check && (st = lv_flash_cached(&job, path, &p->r.looks_cached, &reread, err)) < 0)
        goto out;
    for (int i = 0; i < 2; i++) {
        struct lv_flash_result f;

        if ((st = lv_flash_read(&job, &f, err)) < 0)
            goto out;
        best = f.rate > best.rate ? f : best;
    }
    p->r.flash[p->r.n_flash].read_bytes = size;
    p->r.flash[p->r.n_flash].lanes = n_lanes;
    p->r.flash[p->r.n_flash++].rate = best.rate;
    p->r.reader = lv_reader_mode(reader);
out:
    lv_reader_close(reader);
    lv_free(x);
    return st;
}

/* The device's rate: the median of the cells with enough in flight. The best of them would be the luckiest. */
static double deep_rate(const struct lever_profile *d)
{
    struct lv_rates deep = { .n = 0 };

    for (uint32_t i = 0; i < d->n_flash; i++)
        if ((uint64_t)d->flash[i].read_bytes * d->flash[i].lanes >= DEEP_BYTES)
            lv_rates_add(&deep, d->flash[i].rate);
    return lv_rates_sum(&deep).median;
}

static enum lever_status measure_flash(struct probe *p, const char *path, bool quick, struct lever_error *err)
{
    char temporary[64];
    const char *file = path;
    struct stat s;
    int fd = -1;
    enum lever_status st = LEVER_OK;

    if (stat(path, &s) != 0)
        return LV_FAIL(err, LEVER_E_IO, "%s: %s; name a folder, or a file to read", path, strerror(errno));
    if (S_ISDIR(s.st_mode)) {
        if ((st = temporary_file(path, &fd, temporary, err)) < 0)
            goto out;
        file = temporary;
        s.st_size = (off_t)FILE_BYTES;
    } else if (s.st_size < (off_t)(16 * MIB)) {
        return LV_FAIL(err, LEVER_E_ARG, "%s has %lld bytes, at least 16 MiB are needed; name a larger file or a folder", path,
                       (long long)s.st_size);
    }
    if (quick) {
        st = measure_cell(p, file, (uint64_t)s.st_size, 4 << 20, 4, false, err);
        step(p, "flash");
        goto out;
    }
    for (size_t l = 0; l < N_LANES && st >= 0; l++) {
        for (size_t i = 0; i < N_READ && st >= 0; i++) {
            st = measure_cell(p, file, (uint64_t)s.st_size, read_bytes[i], lanes[l], !l && !i, err);
            step(p, "flash");
        }
    }
out:
    p->r.flash_rate = deep_rate(&p->r);
    if (fd >= 0)
        close(fd);
    return st;
}

/* ---- memory and arithmetic ---- */

static enum lever_status measure_compute(struct probe *p, const struct lv_kern *k, struct lv_pool *pool,
                                         struct lever_error *err)
{
    const uint64_t block_bytes = lv_raw_block_bytes(BLOCK_BYTES);
    uint8_t *block = lv_region_new(block_bytes, true);
    struct lv_raw *raw = LV_NEW(struct lv_raw);
    struct lv_bench_matmul *m = NULL;
    struct lever_raw sum = { 0 };
    enum lever_status st;

    if (!block || !raw) {
        st = LV_FAIL(err, LEVER_E_NOMEM, "probe: a block of %llu bytes to read", (unsigned long long)block_bytes);
        goto out;
    }
    memset(block, LV_BENCH_FILL, block_bytes);
    lv_raw_init(raw, pool, lv_cpu_detect(), block, block_bytes);
    for (int i = 0; i < N_RAW; i++) {
        lv_raw_take(raw);
        step(p, "compute");
    }
    st = lv_bench_matmul_new(&m, k, pool, LV_TYPE_Q4_K, STAIR_OUT, STAIR_IN, stairs[N_STAIRS - 1], block, block_bytes, err);
    for (size_t i = 0; i < N_STAIRS && st >= 0; i++) {
        double s;

        st = lv_bench_matmul_time(m, stairs[i], STAIR_SECONDS, &s, err);
        if (st < 0)
            break;
        p->r.stair[p->r.n_stair].rows = stairs[i];
        p->r.stair[p->r.n_stair++].seconds = s / STAIR_OUT / STAIR_IN;
        step(p, "compute");
    }
    lv_raw_report(raw, &sum);
    p->r.dram = sum.dram.median;
    p->r.peak_mac = sum.peak_mac.median;
    p->r.fma = sum.fma.median;
    p->r.mac_instruction = sum.mac_instruction;
out:
    lv_bench_matmul_free(m);
    lv_free(raw);
    lv_region_free(block, block_bytes);
    return st;
}

enum lever_status lever_probe(const char *path, unsigned parts, uint32_t n_threads, const char *cpu_level,
                              struct lever_profile *out,
                              void (*progress)(void *user, const char *what, uint64_t done, uint64_t total), void *user,
                              struct lever_error *err)
{
    const unsigned flash = LEVER_PROBE_FLASH | LEVER_PROBE_QUICK_FLASH;
    struct probe p = { .progress = progress, .user = user };
    struct lv_pool *pool = NULL;
    struct lv_kern k;
    enum lever_status st = LEVER_OK;

    if (!out || out->size < sizeof out->size || ((parts & flash) && !path))
        return LV_FAIL(err, LEVER_E_ARG, "lever_probe: out, with its size set, and a path to read from are required");
    LV_TRY(lv_engine_kernels(&k, cpu_level, err));
    LV_TRY(lv_pool_new(&pool, n_threads, err));
    p.n_step = (parts & LEVER_PROBE_FLASH ? N_READ * N_LANES : parts & LEVER_PROBE_QUICK_FLASH ? 1 : 0) +
               (parts & LEVER_PROBE_COMPUTE ? N_RAW + N_STAIRS : 0);
    p.r.size = out->size;
    p.r.kernels = k.level;
    p.r.n_threads = lv_pool_n(pool);
    p.r.memory_available = lv_memory_available();
    if (parts & flash)
        st = measure_flash(&p, path, !(parts & LEVER_PROBE_FLASH), err);
    if (st >= 0 && (parts & LEVER_PROBE_COMPUTE))
        st = measure_compute(&p, &k, pool, err);
    lv_pool_free(pool);
    if (st >= 0)
        memcpy(out, &p.r, out->size < sizeof p.r ? out->size : sizeof p.r);
    return st;
}
