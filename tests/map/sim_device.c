#include "map/sim_device.h"

#include <math.h>
#include <stddef.h>

static const uint32_t row_counts[] = { 1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256 };

double sim_uniform(struct lv_rng *r, double lo, double hi)
{
    return lo + (hi - lo) * (0.5 + 0.5 * (double)lv_rng_f32(r));
}

struct sim_device sim_random(struct lv_rng *r, uint32_t tile)
{
    struct sim_device d = { .tile = tile, .drift = 1.0 };

    for (int p = 0; p < LV_MAP_PROGRAMS; p++) {
        d.program[p].once = pow(10.0, sim_uniform(r, -3.0, -1.5));
        /* A tile of t rows takes what one to t rows of another device do. */
        d.program[p].per_tile = pow(10.0, sim_uniform(r, -4.0, -2.5)) * pow(tile, sim_uniform(r, 0.0, 1.0));
    }
    if (tile > 1) {
        d.t_submit = sim_uniform(r, 0.0, 1e-3);
        d.t_row = sim_uniform(r, 0.0, 3e-6); /* some KiB at some GB/s */
    }
    return d;
}

#define N_COUNTS (sizeof row_counts / sizeof *row_counts)

static double formula(const struct sim_device *d, enum lv_map_program p, uint32_t rows)
{
    return fmax(d->program[p].once, d->program[p].per_tile * ((rows + d->tile - 1) / d->tile));
}

/* Between two counts that are measured it is a straight line: what differs from the formula there is the staircase's affair, not
 * the mapper's. */
static double compute(const struct sim_device *d, enum lv_map_program p, uint32_t rows)
{
    const uint32_t n = (rows + d->tile - 1) / d->tile * d->tile;

    for (size_t i = 1; i < N_COUNTS; i++)
        if (n > row_counts[i - 1] && n < row_counts[i]) {
            const double lo = formula(d, p, row_counts[i - 1]), hi = formula(d, p, row_counts[i]);

            return lo + (hi - lo) * (n - row_counts[i - 1]) / (row_counts[i] - row_counts[i - 1]);
        }
    return formula(d, p, n);
}

double sim_seconds(const struct sim_device *d, enum lv_map_program p, uint32_t rows)
{
    return d->t_submit + d->t_row * rows + d->drift * compute(d, p, rows);
}

double sim_run(const struct sim_device *d, enum lv_map_program p, uint32_t rows, struct lv_rng *r)
{
    return sim_seconds(d, p, rows) * (1.0 + (d->noise > 0.0 ? sim_uniform(r, -d->noise, d->noise) : 0.0));
}

struct lv_map_device sim_measure(const struct sim_device *d, const char *name, enum lv_map_kind kind, bool bit_equal,
                                 bool shares_cores)
{
    struct lv_map_device m = { .name = name,
                               .kind = kind,
                               .bit_equal = bit_equal,
                               .shares_cores = shares_cores,
                               .tile = d->tile,
                               .stepped = d->tile > 1,
                               .t_submit = d->t_submit,
                               .t_row = d->t_row };

    for (int p = 0; p < LV_MAP_PROGRAMS; p++)
        for (uint32_t i = 0; i < N_COUNTS; i++) {
            m.stairs[p].rows[i] = row_counts[i];
            m.stairs[p].seconds[i] = formula(d, p, row_counts[i]);
            m.stairs[p].n++;
        }
    return m;
}
