/* A draft's smaller head. Cut: whole groups, never past the file's rows. Requantized, against the definition: every weight within half a step (one at the end of the scale) of
 * what it was. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "engine/requant.h"
#include "kern/r32.h"

#define N_COLS 256

static int n_fail;

static void run(struct lv_rng *r, uint32_t n_rows)
{
    static uint8_t rows[LV_GROUP_ROWS * N_COLS * 2], scratch[1 << 16];
    float was[N_COLS], is[N_COLS];
    const struct lv_weight w = { .file_type = LV_TYPE_Q8_0, .type = LV_TYPE_Q4_0, .n_rows = n_rows, .n_cols = N_COLS };
    const uint64_t row_bytes = lv_row_bytes(w.file_type, N_COLS), q4_bytes = lv_row_bytes(LV_TYPE_Q4_0, N_COLS);

    if (lv_requant_scratch_bytes(&w) > sizeof scratch)
        n_fail++;
    for (uint32_t i = 0; i < n_rows * row_bytes; i++) /* a block: half scale, 32 signed bytes */
        rows[i] = (uint8_t)(i % 34 == 1 ? 0x20 + lv_rng_below(r, 8) : lv_rng_below(r, 256));
    const uint8_t *q4 = lv_requant_group(&w, rows, n_rows, scratch);

    for (uint32_t row = 0; row < n_rows; row++) {
        lv_dequant_row(w.file_type, rows + row * row_bytes, was, N_COLS);
        lv_dequant_row(LV_TYPE_Q4_0, q4 + row * q4_bytes, is, N_COLS);
        for (uint32_t c = 0; c < N_COLS; c++) {
            float most = 0.0f;

            for (uint32_t k = c / 32 * 32; k < c / 32 * 32 + 32; k++)
                most = fmaxf(most, fabsf(was[k]));
            const float step = most / 8.0f, off = fabsf(was[c] - is[c]);

            if (!(off <= (fabsf(was[c]) > 6.9f * step ? 1.01f : 0.51f) * step)) {
                printf("FAIL row %u, column %u: %g became %g, a step is %g\n", row, c, (double)was[c], (double)is[c], (double)step);
                n_fail++;
                return;
            }
        }
    }
}

/* A head of 70 rows, so with a short last group, cut to n tokens. */
static void run_cut(uint32_t n, uint32_t want_rows)
{
    struct lv_weight w = { .type = LV_TYPE_Q8_0, .file_type = LV_TYPE_Q8_0, .n_rows = 70, .n_cols = 32, .n_groups = 3,
                           .group_bytes = 32 * 34, .file_group_bytes = 32 * 34, .bytes = 70 * 34 };
    struct lv_program p = { .w = &w, .n_w = 1 };

    lv_program_cut_head(&p, n);
    if (w.n_rows != want_rows || w.n_groups != (want_rows + 31) / 32 || w.bytes != want_rows * 34) {
        printf("FAIL cut to %u: %u rows, %u groups, %llu bytes; expected %u rows\n", n, w.n_rows, w.n_groups,
               (unsigned long long)w.bytes, want_rows);
        n_fail++;
    }
}

int main(int argc, char **argv)
{
    struct lv_rng r = { .state = argc > 1 ? strtoull(argv[1], NULL, 10) : 5 };

    printf("SEED=%llu\n", (unsigned long long)r.state);
    run(&r, LV_GROUP_ROWS);
    run(&r, 5);
    run_cut(0, 70);
    run_cut(1, 32);
    run_cut(33, 64);
    run_cut(64, 64);
    run_cut(65, 70); /* the short group stays as it is */
    run_cut(69, 70);
    run_cut(500, 70);
    printf("%d failures\n", n_fail);
    return n_fail ? 1 : 0;
}
