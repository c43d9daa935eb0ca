/* Simulated devices: what a run takes is a formula at the row counts that are measured, a line between them, with noise and drift
 * if wanted. A stepped one computes whole tiles, as matrix
 * units of phones do. */
#ifndef TESTS_MAP_SIM_DEVICE_H
#define TESTS_MAP_SIM_DEVICE_H

#include "base/rng.h"
#include "map/map.h"

struct sim_program {
    double once;     /* weights read from memory, whatever the rows */
    double per_tile; /* arithmetic of a tile; of a row where tile is 1 */
};

struct sim_device {
    uint32_t tile; /* 1: no steps */
    double t_submit, t_row;
    struct sim_program program[LV_MAP_PROGRAMS];
    double drift;  /* times everything; 1: as measured */
    double noise;  /* a run takes 1 - noise .. 1 + noise of that, at random */
};

double sim_uniform(struct lv_rng *r, double lo, double hi);
struct sim_device sim_random(struct lv_rng *r, uint32_t tile);
/* Without noise; submission and transfer included. */
double sim_seconds(const struct sim_device *d, enum lv_map_program p, uint32_t rows);
double sim_run(const struct sim_device *d, enum lv_map_program p, uint32_t rows, struct lv_rng *r);
/* The descriptor that measuring it without drift gives. Borrows the name. */
struct lv_map_device sim_measure(const struct sim_device *d, const char *name, enum lv_map_kind kind, bool bit_equal,
                                 bool shares_cores);

#endif
