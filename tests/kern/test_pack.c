/* Packing: every level against the reference byte by byte, and packed rows read back equal to the
 * GGUF rows dequantized. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "kern/gemm_list.h"
#include "kern/kt.h"
#include "kern/r32.h"

#define N LV_GROUP_ROWS

static void check(enum lv_type type, uint32_t n_rows, uint32_t n_cols, size_t gap)
{
    const size_t bytes = (size_t)lv_group_bytes(type, n_cols);
    const uint8_t *rows = kt_rows(type, n_rows, n_cols, KT_W_RANDOM, gap);
    uint8_t *want = kt_buf(bytes, 0);

    kt.level[0].pack[type](want, rows, n_rows, n_cols);
    for (uint32_t l = 1; l < kt.n_level; l++) {
        uint8_t *got = kt_buf(bytes, gap);

        kt.level[l].pack[type](got, rows, n_rows, n_cols);
        for (size_t i = 0; i < bytes; i++)
            if (got[i] != want[i])
                fail_msg("%s %s, %u rows of %u: byte %zu is %u, reference %u, seed %" PRIu64, kt.level[l].level,
                         lv_type_name(type), n_rows, n_cols, i, got[i], want[i], kt.seed);
    }
    for (uint32_t r = 0; r < N; r++) {
        float *a = kt_poison(n_cols), *b = kt_poison(n_cols);

        lv_r32_dequant_row(type, want, r, n_cols, a);
        if (r < n_rows)
            lv_dequant_row(type, rows + r * lv_row_bytes(type, n_cols), b, n_cols);
        for (uint32_t k = 0; k < n_cols; k++)
            if (r < n_rows ? !kt_same(a[k], b[k]) : !(a[k] == 0.0f))
                fail_msg("%s, row %u of %u, column %u: packed %a, in the file %a, seed %" PRIu64, lv_type_name(type), r,
                         n_rows, k, (double)a[k], r < n_rows ? (double)b[k] : 0.0, kt.seed);
    }
    kt_free_all();
}

static void test_pack(void **state)
{
    const enum lv_type type = *(const enum lv_type *)*state;
    const uint32_t len = lv_type_traits(type)->block_len, step = len == 1 ? 24 : len;

    for (uint32_t n_rows = 1; n_rows <= N; n_rows++) {
        kt_reseed(n_rows);
        check(type, n_rows, step * (1 + n_rows % 3), 0);
    }
    for (uint32_t n_blk = 1; n_blk <= 9; n_blk++) {
        kt_reseed(100 + n_blk);
        check(type, N, step * n_blk, n_blk % 3 * 2);
    }
    if (len == 1) /* widths that fit no vector */
        for (uint32_t n_cols = 1; n_cols < 20; n_cols++)
            check(type, N, n_cols, 0);
}

/* The constants of r32.h agree with the traits of the types, and parts cover a block exactly once. */
static void test_layout(void **state)
{
    const enum lv_type type = *(const enum lv_type *)*state;
    const struct lv_type_traits *tr = lv_type_traits(type);
    uint8_t src[256] = { 0 }, dst[256 * N] = { 0 };
    const struct lv_r32_layout l = lv_r32_layout(type);

    assert_int_equal(lv_r32_block_len(type), tr->block_len);
    assert_int_equal(lv_r32_block_bytes(type), tr->block_bytes);
    assert_int_equal(lv_group_bytes(type, 256), N * 256 / tr->block_len * tr->block_bytes);
    if (lv_r32_is_float(type))
        return;
    for (uint32_t i = 0; i < l.n_part; i++) {
        const uint32_t width = l.part[i].how == LV_R32_HALF ? 2u : 4u * l.part[i].n_word;

        for (uint32_t j = 0; j < width; j++)
            src[l.part[i].src + j]++;
        for (uint32_t j = 0; j < width * N; j++)
            dst[l.part[i].dst + j]++;
    }
    for (uint32_t i = 0; i < tr->block_bytes; i++)
        assert_int_equal(src[i], 1);
    for (uint32_t i = 0; i < tr->block_bytes * (uint32_t)N; i++)
        assert_int_equal(dst[i], 1);
}

/* One value by hand, so that a layout wrong in both directions shows: Q4_0, all zero but column 21 (byte 5, high
 * nibble) of row 17. */
static void test_by_hand(void **state)
{
    uint8_t rows[N * 18] = { 0 }, group[N * 18];

    (void)state;
    rows[17 * 18 + 2 + 5] = 0x90;
    for (uint32_t l = 0; l < kt.n_level; l++) {
        kt.level[l].pack[LV_TYPE_Q4_0](group, rows, N, 32);
        for (uint32_t i = 0; i < sizeof group; i++) /* d of 32 rows, then word 1, row 17, byte 1 */
            assert_int_equal(group[i], i == 64 + 128 * 1 + 4 * 17 + 1 ? 0x90 : 0);
    }
}

int main(int argc, char **argv)
{
    if (!kt_init(argc, argv))
        return 1;
#define LV_X(TYPE, name) static enum lv_type name = LV_TYPE_##TYPE;
    LV_KERN_TYPES(LV_X)
#undef LV_X
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
#define LV_X(TYPE, name)                                       \
    { "layout " #name, test_layout, NULL, NULL, &name },       \
    { "pack " #name, test_pack, NULL, NULL, &name },
        LV_KERN_TYPES(LV_X)
#undef LV_X
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
