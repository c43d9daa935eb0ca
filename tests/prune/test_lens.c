/* Lens files: what is read against the same sums in double precision; damaged in every way they are refused and nothing is
 * read outside. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cpu/cpu.h"
#include "prune/lens.h"

#define SEED 20260613u
#define N_EMBD 96u
#define N_LAYER 12u
#define FINGERPRINT UINT64_C(0x1122334455667788)

static const struct {
    uint32_t depth, rank;
} shape[] = { { 4, 0 }, { 7, 32 }, { 9, 96 } };

static struct lv_kern kern;

struct file {
    uint8_t data[200000];
    uint64_t n;
    uint64_t v_at[3], u_at[3], b_at[3];
};

static void put32(struct file *f, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        f->data[f->n++] = (uint8_t)(v >> 8 * i);
}

static float number(struct lv_rng *r)
{
    return (float)lv_rng_below(r, 2001) / 1000.0f - 1.0f;
}

static void put_q8(struct file *f, struct lv_rng *r, uint64_t n)
{
    for (uint64_t i = 0; i < n; i += 32) {
        const uint16_t d = lv_f16_from_f32(number(r) / 64.0f);

        f->data[f->n++] = (uint8_t)d;
        f->data[f->n++] = (uint8_t)(d >> 8);
        for (int k = 0; k < 32; k++)
            f->data[f->n++] = (uint8_t)lv_rng_below(r, 256);
    }
}

static void seal(struct file *f)
{
    uint32_t size = (uint32_t)f->n;

    for (int i = 0; i < 4; i++)
        f->data[12 + i] = (uint8_t)(size >> 8 * i);
    const uint32_t crc = lv_crc32(f->data, f->n - 4);

    for (int i = 0; i < 4; i++)
        f->data[f->n - 4 + (uint64_t)i] = (uint8_t)(crc >> 8 * i);
}

static void make(struct file *f, struct lv_rng *r)
{
    f->n = 0;
    memcpy(f->data, "LVLENS01", 8);
    f->n = 8;
    put32(f, LV_LENS_VERSION);
    put32(f, 0);
    put32(f, (uint32_t)FINGERPRINT);
    put32(f, (uint32_t)(FINGERPRINT >> 32));
    put32(f, N_EMBD);
    put32(f, N_LAYER);
    put32(f, 3);
    put32(f, 0);
    for (int i = 0; i < 3; i++) {
        put32(f, shape[i].depth);
        put32(f, shape[i].rank);
        put32(f, lv_f32_bits(0.5f + (float)i));
        for (uint32_t k = 0; k < LV_PREDICT_WEIGHTS; k++)
            put32(f, lv_f32_bits(number(r)));
        put32(f, 0);
    }
    for (int i = 0; i < 3; i++) {
        f->v_at[i] = f->n;
        put_q8(f, r, (uint64_t)shape[i].rank * N_EMBD);
        f->u_at[i] = f->n;
        put_q8(f, r, (uint64_t)shape[i].rank * N_EMBD);
        f->b_at[i] = f->n;
        for (uint32_t k = 0; k < N_EMBD; k++) {
            const uint16_t h = lv_f16_from_f32(number(r));

            f->data[f->n++] = (uint8_t)h;
            f->data[f->n++] = (uint8_t)(h >> 8);
        }
    }
    put32(f, 0);
    seal(f);
}

/* The same by the file's bytes, in double precision. */
static void naive(const struct file *f, int i, const float *h, double *out)
{
    const uint32_t rank = shape[i].rank;
    double t[96] = { 0.0 };

    for (uint32_t r = 0; r < rank; r++) {
        float row[N_EMBD];

        lv_dequant_row(LV_TYPE_Q8_0, f->data + f->v_at[i] + r * lv_row_bytes(LV_TYPE_Q8_0, N_EMBD), row, N_EMBD);
        for (uint32_t k = 0; k < N_EMBD; k++)
            t[r] += (double)row[k] * (double)h[k];
    }
    for (uint32_t k = 0; k < N_EMBD; k++) {
        float row[96] = { 0 };
        const uint8_t *b = f->data + f->b_at[i] + 2 * k;

        if (rank)
            lv_dequant_row(LV_TYPE_Q8_0, f->data + f->u_at[i] + k * lv_row_bytes(LV_TYPE_Q8_0, rank), row, rank);
        out[k] = (0.5 + i) * (double)h[k] + (double)lv_f32_from_f16((uint16_t)(b[0] | b[1] << 8));
        for (uint32_t r = 0; r < rank; r++)
            out[k] += (double)row[r] * t[r];
    }
}

static void applies_what_it_says(void **state)
{
    struct lv_rng r = { .state = SEED };
    static struct file f;
    struct lv_lens l;
    struct lever_error err;
    void *memory = lv_alloc(lv_lens_scratch_bytes(N_EMBD), 1);
    struct lv_lens_scratch s;

    (void)state;
    lv_lens_scratch_init(&s, N_EMBD, memory);
    for (int round = 0; round < 20; round++) {
        make(&f, &r);
        assert_int_equal(lv_lens_parse(&l, f.data, f.n, "test", &kern, &err), LEVER_OK);
        assert_int_equal(lv_lens_check(&l, FINGERPRINT, N_EMBD, N_LAYER, &err), LEVER_OK);
        assert_int_equal(lv_lens_check(&l, FINGERPRINT + 1, N_EMBD, N_LAYER, &err), LEVER_E_MODEL);
        assert_int_equal(lv_lens_check(&l, FINGERPRINT, N_EMBD, N_LAYER + 1, &err), LEVER_E_MODEL);
        assert_int_equal(l.n, 3);
        for (int i = 0; i < 3; i++) {
            float h[N_EMBD];
            double want[N_EMBD], size = 0.0, off = 0.0;

            for (uint32_t k = 0; k < N_EMBD; k++)
                h[k] = 4.0f * number(&r);
            naive(&f, i, h, want);
            lv_lens_apply(&l.layer[i], &kern, N_EMBD, h, &s);
            for (uint32_t k = 0; k < N_EMBD; k++) {
                size += want[k] * want[k];
                off += (want[k] - (double)s.h[k]) * (want[k] - (double)s.h[k]);
            }
            assert_true(off < 4e-4 * size); /* 2 %: activations are int8 */
        }
        lv_lens_close(&l);
    }
    lv_free(memory);
}

/* From a block of the exact size, so that reads behind it are seen. */
static bool parses(const uint8_t *data, uint64_t n)
{
    uint8_t *copy = lv_alloc(n ? n : 1, 1);
    struct lv_lens l;
    struct lever_error err = { 0 };

    memcpy(copy, data, n);
    const enum lever_status st = lv_lens_parse(&l, copy, n, "test", &kern, &err);

    lv_free(copy);
    if (st == LEVER_OK)
        lv_lens_close(&l);
    else
        assert_true(st == LEVER_E_MODEL && strstr(err.message, "test"));
    return st == LEVER_OK;
}

static void cut_and_damaged_files_are_refused(void **state)
{
    struct lv_rng r = { .state = SEED + 1 };
    static struct file f;

    (void)state;
    make(&f, &r);
    assert_true(parses(f.data, f.n));
    for (uint64_t n = 0; n < f.n; n += n < 400 ? 1 : 97)
        assert_false(parses(f.data, n));
    for (int round = 0; round < 3000; round++) { /* a bit anywhere: the checksum */
        const uint64_t at = round < 1000 ? lv_rng_below(&r, 240) : lv_rng_below(&r, (uint32_t)f.n);
        const uint8_t bit = (uint8_t)(1u << lv_rng_below(&r, 8));

        f.data[at] ^= bit;
        assert_false(parses(f.data, f.n));
        f.data[at] ^= bit;
    }
}

/* With a good checksum: what the fields themselves may say. */
static void mad_fields_are_refused(void **state)
{
    struct lv_rng r = { .state = SEED + 2 };
    static struct file good, f;
    static const struct {
        uint32_t at, value;
    } bad[] = { { 0, 0 },   { 8, 2 },   { 24, 0 },  { 24, 95 },  { 24, 1u << 20 }, { 24, 64 }, { 28, 9 }, { 28, 0 }, { 32, 0 },
                { 32, 2 },  { 32, 9 },  { 32, UINT32_MAX }, { 40, 0 },  { 40, 12 },  { 104, 4 },  { 104, 3 }, { 44, 32 }, { 44, 31 },
                { 108, 64 }, { 108, 288 }, { 108, UINT32_MAX - 31 }, { 48, 0x7fc00000 }, { 48, 0x7f800000 }, { 52, 0x7fc00000 },
                { 96, 0xff800000 } };

    (void)state;
    make(&good, &r);
    for (uint32_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        f = good;
        for (int k = 0; k < 4; k++)
            f.data[bad[i].at + (uint32_t)k] = (uint8_t)(bad[i].value >> 8 * k);
        seal(&f);
        if (parses(f.data, f.n))
            fail_msg("field at %u may be %u", bad[i].at, bad[i].value);
    }
    const uint64_t scale[] = { good.v_at[1], good.u_at[2], good.b_at[0], good.b_at[2] + 2 * (N_EMBD - 1) };

    for (int i = 0; i < 4; i++) { /* a scale that is infinite, a value that is none */
        f = good;
        f.data[scale[i]] = 0;
        f.data[scale[i] + 1] = i % 2 ? 0x7e : 0x7c;
        seal(&f);
        assert_false(parses(f.data, f.n));
    }
    for (int round = 0; round < 3000; round++) { /* anything: no crash, nothing read outside */
        f = good;
        for (int k = 0; k < 3; k++)
            f.data[lv_rng_below(&r, 240)] = (uint8_t)lv_rng_below(&r, 256);
        seal(&f);
        parses(f.data, f.n);
    }
}

static void files_that_are_not_there_or_too_large(void **state)
{
    struct lv_lens l;
    struct lever_error err = { 0 };
    char path[] = "/tmp/lever-lens-XXXXXX";
    const int fd = mkstemp(path);
    struct lv_rng r = { .state = SEED + 3 };
    static struct file f;

    (void)state;
    assert_true(fd >= 0);
    make(&f, &r);
    assert_int_equal(write(fd, f.data, f.n), f.n);
    assert_int_equal(lv_lens_open(&l, path, &kern, &err), LEVER_OK);
    lv_lens_close(&l);
    assert_int_equal(ftruncate(fd, LV_LENS_BYTES_MAX + 1), 0);
    assert_int_equal(lv_lens_open(&l, path, &kern, &err), LEVER_E_MODEL);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(lv_lens_open(&l, path, &kern, &err), LEVER_E_MODEL);
    close(fd);
    unlink(path);
    assert_int_equal(lv_lens_open(&l, path, &kern, &err), LEVER_DONE);
    assert_int_equal(lv_lens_open(&l, "/tmp", &kern, &err), LEVER_E_IO);
}

static void allocations_that_fail(void **state)
{
    struct lv_rng r = { .state = SEED + 4 };
    static struct file f;
    struct lv_lens l;
    struct lever_error err;

    (void)state;
    make(&f, &r);
    lv_alloc_fail_at(1, false);
    assert_int_equal(lv_lens_parse(&l, f.data, f.n, "test", &kern, &err), LEVER_E_NOMEM);
    lv_alloc_fail_at(0, false);
}

static void checksum_is_the_usual_one(void **state)
{
    (void)state;
    assert_int_equal(lv_crc32((const uint8_t *)"123456789", 9), 0xcbf43926);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksum_is_the_usual_one),
        cmocka_unit_test(applies_what_it_says),
        cmocka_unit_test(cut_and_damaged_files_are_refused),
        cmocka_unit_test(mad_fields_are_refused),
        cmocka_unit_test(files_that_are_not_there_or_too_large),
        cmocka_unit_test(allocations_that_fail),
    };

    printf("SEED=%u\n", SEED);
    lv_kern_init(&kern, lv_cpu_detect());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
