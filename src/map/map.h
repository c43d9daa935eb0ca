/* Device mapper: which device runs how many rows of which program. (arXiv 2605.16786, 4.4)
 *
 * A device is a descriptor and, for each program, a staircase of measured times. Narrow batches land on the vector
 * units, full tiles on a matrix unit or an accelerator, because that is what the staircases say; nothing here knows
 * a device by name. Two rules do not depend on times:
 *   - a device that is not bit-equal never runs a program of the target: it would decide tokens;
 *   - devices that share the cores add up, others work side by side.
 *
 * Times drift, by heat and by other processes. Each run that is reported goes into a window of its device and program. When the
 * window's median is off what decisions are made from by more than LV_MAP_BAND (LV_MAP_EARLY while the window is not full, from
 * LV_MAP_LEAST runs on), its later half corrects the times (lv_cost_learn) and everything that follows is decided anew. Between
 * two corrections decisions are a function of their arguments alone, so noise within the band cannot make them flap. A device
 * that lost by a correction is forgiven after `patience` runs elsewhere, tried again, and if it is still slow found out
 * within LV_MAP_LEAST runs; each time its patience doubles.
 *
 * Pure: no I/O, clock or threads; times in seconds.
 * owns     nothing
 * borrows  names
 * threads  readers side by side; lv_map_learn alone */
#ifndef LV_MAP_MAP_H
#define LV_MAP_MAP_H

#include "cost/cost.h"

#define LV_MAP_DEVICES 4
#define LV_MAP_ROWS 256
#define LV_MAP_ALL UINT32_MAX /* as a set of devices: bit i is device i */

#define LV_MAP_WINDOW 15 /* runs that a median is taken of: +-15 % of noise leave it within 3 % */
#define LV_MAP_LEAST 5
#define LV_MAP_BAND 1.15
#define LV_MAP_EARLY 1.30
#define LV_MAP_PATIENCE 256u /* runs elsewhere before the first second chance; then it doubles */

enum lv_map_kind { LV_MAP_VECTOR, LV_MAP_MATRIX, LV_MAP_ACCELERATOR };

enum lv_map_program { LV_MAP_DRAFT_BODY, LV_MAP_DRAFT_HEAD, LV_MAP_TARGET_BODY, LV_MAP_TARGET_HEAD, LV_MAP_PROGRAMS };

struct lv_map_device {
    const char *name;
    enum lv_map_kind kind;
    bool bit_equal;    /* its results have the bits of the CPU's kernels */
    bool shares_cores; /* its work takes the CPU workers' time */
    uint32_t tile;     /* a batch may be cut behind multiples of this, the rest going elsewhere; below 2: never */
    bool stepped;      /* it computes whole tiles: any row count costs what the next multiple does */
    double t_submit;   /* of a run, whatever its rows */
    double t_row;      /* transfer of a row there and back */
    struct lv_stairs stairs[LV_MAP_PROGRAMS]; /* n 0: it cannot run this program */
};

/* Runs of one program on one device. */
struct lv_map_seen {
    struct lv_cost_fit fit;            /* what decisions are made from, beside the staircase */
    uint32_t rows[LV_MAP_WINDOW];      /* since fit was made; a ring */
    double seconds[LV_MAP_WINDOW];
    uint32_t n, next;
    uint32_t away, patience;           /* runs elsewhere; how many of them are too many. 0: LV_MAP_PATIENCE */
};

struct lv_map {
    uint32_t n;
    struct lv_map_device device[LV_MAP_DEVICES];
    struct lv_map_seen seen[LV_MAP_DEVICES][LV_MAP_PROGRAMS];
    uint64_t n_decided; /* grows when decisions may have changed */
};

/* Rows 0 .. part[0].rows - 1 on one device, those behind them on another. n 0: no device can. */
struct lv_map_split {
    uint32_t n;
    struct {
        uint32_t device, rows;
    } part[2];
    double seconds; /* alone: parts on the same cores one after the other, else side by side */
};

/* Returns its index, or -1 when there are LV_MAP_DEVICES already. */
int lv_map_add(struct lv_map *m, const struct lv_map_device *d);
/* Replaces a staircase, and forgets what was seen. */
void lv_map_set_stairs(struct lv_map *m, uint32_t device, enum lv_map_program p, const struct lv_stairs *s);

bool lv_map_may(const struct lv_map *m, uint32_t device, enum lv_map_program p);
/* One run, submission and transfer included; HUGE_VAL if it may not. rows >= 1. */
double lv_map_seconds(const struct lv_map *m, uint32_t device, enum lv_map_program p, uint32_t rows);

/* The fastest way for a run that has the machine to itself, among a set of devices. Of equals the first device. */
struct lv_map_split lv_map_place(const struct lv_map *m, uint32_t set, enum lv_map_program p, uint32_t rows);
/* The same as a staircase: rows as the first device that may lists them, seconds never falling. */
void lv_map_stairs(const struct lv_map *m, uint32_t set, enum lv_map_program p, struct lv_stairs *out);

/* A run that was placed so took `seconds`, without waiting. */
void lv_map_learn(struct lv_map *m, enum lv_map_program p, const struct lv_map_split *s, double seconds);

/* Every way to run up to LV_MAP_ROWS rows, for those who weigh them against other work: fills out, returns their count. */
#define LV_MAP_WAYS 384 /* 4 devices alone, 12 pairs of them at 31 cuts */
uint32_t lv_map_ways(const struct lv_map *m, uint32_t set, enum lv_map_program p, uint32_t rows,
                     struct lv_map_split out[LV_MAP_WAYS]);

#endif
