/* Predictor: how probable it is that each candidate below a node is the target's token there, once the node is on the
 * path; from the draft's calibrated probability and, where there are any, scores of a layer.
 *
 * A multinomial logistic model: candidates have z_j, "none of these" has 0,
 *     P(j) = exp(z_j) / (1 + sum over k of exp(z_k)),     z_j = w . x_j
 * so probabilities of siblings never sum to more than 1, and w = (0, 1, 0 ..) gives the calibrated ones themselves: that
 * is the model without a lens. What was fitted elsewhere is corrected by what happens here: z' = scale z + shift.
 *
 * Pure; plain structs that may be written to a file as they are. NaN and infinities in, finite numbers out. */
#ifndef LV_PRUNE_PREDICT_H
#define LV_PRUNE_PREDICT_H

#include <stdbool.h>
#include <stdint.h>

#define LV_PREDICT_WEIGHTS 12
#define LV_PREDICT_MAX 16 /* candidates below a node */

/* x_j: 1; log odds of p_j against what siblings leave; score less the log of the sum of all exp(score); score / 10; score
 * less the best other one / 4; log(1 + depth); log(1 + rank); log(n); 1 if it has no sibling; three that are 0. The last of
 * these but depth, rank and n are 0 without scores. */
struct lv_predict_node {
    uint32_t n, depth;            /* candidates; depth of the node below the root, root 0 */
    bool scored;
    float p[LV_PREDICT_MAX];      /* calibrated, given the node */
    float score[LV_PREDICT_MAX];  /* logit of a layer + temperature * noise of the draw */
    uint8_t rank[LV_PREDICT_MAX]; /* as the draft ranked it */
};

/* Weights that believe the draft. */
extern const float lv_predict_prior[LV_PREDICT_WEIGHTS];

/* x [n][LV_PREDICT_WEIGHTS] */
void lv_predict_features(const struct lv_predict_node *v, float (*x)[LV_PREDICT_WEIGHTS]);
/* z [n] */
void lv_predict_z(const float *w, const struct lv_predict_node *v, float *z);

/* Correction learned online: the most likely (scale, shift) if they are normal around (1, 0), old outcomes counting less. */
struct lv_predict_fix {
    double scale, shift;
    double ss, sb, bb; /* information about them beyond the prior */
    double n;          /* outcomes, decayed */
};

void lv_predict_fix_init(struct lv_predict_fix *f);
/* False, and it is as after init, unless a file's bytes are a correction. */
bool lv_predict_fix_restore(struct lv_predict_fix *f);
/* p [n]; sums to less than 1. */
void lv_predict_p(const struct lv_predict_fix *f, const float *z, uint32_t n, float *p);
/* The target took candidate `taken`, or none of them: -1. */
void lv_predict_learn(struct lv_predict_fix *f, const float *z, uint32_t n, int32_t taken);

#endif
