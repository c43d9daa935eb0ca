/* Calibration: from the draft's probability of a candidate to the target's of taking it, learned online.
 *
 * A curve over logit(p) for each row (rank class of the draft, or match class of lookup) and depth class, given by
 * its height at fixed knots. Knots keep decayed sums of outcomes. Three levels, each a shift of the logit that is expected
 * to be near the one above (normal prior, most likely value):
 *
 *   identity  <-  row  <-  knot of the row, all depths  <-  knot at this depth class
 *
 * so without evidence p stays what it is; a few misses where hits were promised move all of a row. Within a row and depth class the curve
 * never falls (pool adjacent violators). A knot counts an observation in proportion to its nearness, and compares
 * outcomes with the mean raw p of the same observations: where they sit between the knots does no harm.
 *
 * Learn only where the truth is known: the parent was accepted, and the target's token there is known. Of all its
 * children that were offered, one or none was accepted.
 *
 * Pure and O(1): a query is one logarithm and one exponential, bit-equal on all machines. A plain struct without
 * pointers: may be written to a file as it is and comes back through lv_calib_restore. One thread at a time. */
#ifndef LV_DRAFT_CALIBRATE_H
#define LV_DRAFT_CALIBRATE_H

#include <stdbool.h>
#include <stdint.h>

#define LV_CALIB_VERSION      1
#define LV_CALIB_KNOTS        17   /* at logit -8, -7 .. 8: p from 0.0003 to 0.9997 */
#define LV_CALIB_RANKS        4    /* rank 0, 1, 2-3, 4 and more */
#define LV_CALIB_MATCHES      6    /* match 2, 3, 4-5, 6-8, 9-15, 16 and more */
#define LV_CALIB_DEPTHS       4    /* depth 0-1, 2-4, 5-8, 9 and more */
#define LV_CALIB_ROWS         (LV_CALIB_RANKS + LV_CALIB_MATCHES)
#define LV_CALIB_P_MIN        1e-6f /* all results lie in [P_MIN, 1 - P_MIN] */
#define LV_CALIB_SIBLINGS_MAX 64

struct lv_calib_sum {
    float n;    /* observations, decayed */
    float raw;  /* sum of their raw p */
    float hit;  /* how many were accepted */
};

struct lv_calib {
    uint32_t version;
    uint32_t n_learned; /* observations ever, stops at UINT32_MAX */
    uint32_t changed;   /* bit r: row r has learned since the curves were fitted */
    struct lv_calib_sum row[LV_CALIB_ROWS][LV_CALIB_KNOTS];
    struct lv_calib_sum cell[LV_CALIB_ROWS][LV_CALIB_DEPTHS][LV_CALIB_KNOTS];
    /* From the sums: height of each knot as a logit, before and after it was made monotone. */
    float height[LV_CALIB_ROWS][LV_CALIB_DEPTHS][LV_CALIB_KNOTS];
    float curve[LV_CALIB_ROWS][LV_CALIB_DEPTHS][LV_CALIB_KNOTS];
};

/* The identity. */
void lv_calib_init(struct lv_calib *c);
/* Bytes from a file: true when they are sound, and the curves are computed anew; otherwise *c becomes the
 * identity. */
bool lv_calib_restore(struct lv_calib *c);

/* Probability that the draft's candidate is accepted if its parent is. raw_p: the draft's, given the parent; rank:
 * among its siblings, 0 = best; depth: below the root, children of the root have 1. NaN counts as 0. */
float lv_calib_p(const struct lv_calib *c, float raw_p, uint32_t rank, uint32_t depth);
/* Its outcome; counts from the next lv_calib_fit on. NaN is ignored. */
void lv_calib_learn(struct lv_calib *c, float raw_p, uint32_t rank, uint32_t depth, bool accepted);

/* Fits the curves to what was learned; some 20 microseconds a row. */
void lv_calib_fit(struct lv_calib *c);

/* All children of one node, best first (raw_p[i] has rank i): each calibrated, and where they sum to more than 1
 * brought down to it by one factor on all odds, which keeps their order. n <= LV_CALIB_SIBLINGS_MAX; out [n] may be
 * raw_p. */
void lv_calib_siblings(const struct lv_calib *c, const float *raw_p, uint32_t n, uint32_t depth, float *out);

/* 0 .. LV_CALIB_MATCHES - 1: matches that are counted together. */
uint32_t lv_calib_match_class(uint32_t match);
/* What a match promises before anything was learned: match / (match + 4) * n_seen / n_of (struct lv_lookup_hit). For
 * the i-th token of a continuation, i > 0: match + i, 1, 1, since as many more tokens then agreed. */
float lv_calib_lookup_raw(uint32_t match, uint32_t n_seen, uint32_t n_of);
/* The same as lv_calib_p and lv_calib_learn for tokens from lookup, by match length (+ i) in place of the rank. */
float lv_calib_lookup_p(const struct lv_calib *c, float raw_p, uint32_t match, uint32_t depth);
void lv_calib_lookup_learn(struct lv_calib *c, float raw_p, uint32_t match, uint32_t depth, bool accepted);

#endif
