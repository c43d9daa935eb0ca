#include "prune/predict.h"

#include <math.h>

#define REST_MIN 1e-3 /* siblings never leave less: they are no certainty */
#define Z_MAX 20.0
#define PRIOR_SCALE 30.0 /* information of the prior: some tens of outcomes outweigh it */
#define PRIOR_SHIFT 4.0
#define KEEP 0.998       /* of an outcome's weight is left an outcome later */
#define SCALE_MIN 0.2
#define SCALE_MAX 3.0
#define SHIFT_MAX 5.0

const float lv_predict_prior[LV_PREDICT_WEIGHTS] = { 0.0f, 1.0f };

/* NaN becomes lo. */
static double clamp(double x, double lo, double hi)
{
    return x > lo ? x < hi ? x : hi : lo;
}

/* ---- features -------------------------------------------------------------------- */

static void score_features(const struct lv_predict_node *v, float (*x)[LV_PREDICT_WEIGHTS])
{
    double s[LV_PREDICT_MAX], best = -HUGE_VAL, second = -HUGE_VAL, sum = 0.0;

    for (uint32_t i = 0; i < v->n; i++) {
        s[i] = clamp((double)v->score[i], -1e3, 1e3);
        if (s[i] > best) {
            second = best;
            best = s[i];
        } else if (s[i] > second) {
            second = s[i];
        }
    }
    for (uint32_t i = 0; i < v->n; i++)
        sum += exp(s[i] - best);
    for (uint32_t i = 0; i < v->n; i++) {
        const double other = s[i] < best ? best : second; /* of two best ones each has the other */

        x[i][2] = (float)clamp(s[i] - best - log(sum), -15.0, 0.0);
        x[i][3] = (float)clamp(s[i] / 10.0, -5.0, 5.0);
        x[i][4] = v->n > 1 ? (float)clamp((s[i] - other) / 4.0, -4.0, 4.0) : 0.0f;
        x[i][8] = v->n == 1;
    }
}

void lv_predict_features(const struct lv_predict_node *v, float (*x)[LV_PREDICT_WEIGHTS])
{
    double rest = 1.0;

    for (uint32_t i = 0; i < v->n; i++)
        rest -= clamp((double)v->p[i], 1e-6, 1.0);
    rest = clamp(rest, REST_MIN, 1.0);
    for (uint32_t i = 0; i < v->n; i++) {
        for (uint32_t k = 0; k < LV_PREDICT_WEIGHTS; k++)
            x[i][k] = 0.0f;
        x[i][0] = 1.0f;
        x[i][1] = (float)log(clamp((double)v->p[i], 1e-6, 1.0) / rest);
        x[i][5] = (float)log1p((double)v->depth);
        x[i][6] = (float)log1p((double)v->rank[i]);
        x[i][7] = (float)log((double)v->n);
    }
    if (v->scored && v->n)
        score_features(v, x);
}

void lv_predict_z(const float *w, const struct lv_predict_node *v, float *z)
{
    float x[LV_PREDICT_MAX][LV_PREDICT_WEIGHTS];

    lv_predict_features(v, x);
    for (uint32_t i = 0; i < v->n; i++) {
        double sum = 0.0;

        for (uint32_t k = 0; k < LV_PREDICT_WEIGHTS; k++)
            sum += (double)w[k] * (double)x[i][k];
        z[i] = (float)clamp(sum, -Z_MAX, Z_MAX);
    }
}

/* ---- correction ------------------------------------------------------------------- */

void lv_predict_fix_init(struct lv_predict_fix *f)
{
    *f = (struct lv_predict_fix){ .scale = 1.0 };
}

bool lv_predict_fix_restore(struct lv_predict_fix *f)
{
    const bool ok = f->scale >= SCALE_MIN && f->scale <= SCALE_MAX && fabs(f->shift) <= SHIFT_MAX && f->ss >= 0.0 &&
                    f->ss < 1e9 && f->bb >= 0.0 && f->bb < 1e9 && fabs(f->sb) < 1e9 && f->ss * f->bb >= f->sb * f->sb * 0.999 &&
                    f->n >= 0.0 && f->n < 1e9;

    if (!ok)
        lv_predict_fix_init(f);
    return ok;
}

void lv_predict_p(const struct lv_predict_fix *f, const float *z, uint32_t n, float *p)
{
    double e[LV_PREDICT_MAX], best = 0.0, sum;

    for (uint32_t i = 0; i < n; i++) {
        e[i] = f->scale * clamp((double)z[i], -Z_MAX, Z_MAX) + f->shift;
        best = e[i] > best ? e[i] : best;
    }
    sum = exp(-best);
    for (uint32_t i = 0; i < n; i++)
        sum += e[i] = exp(e[i] - best);
    for (uint32_t i = 0; i < n; i++)
        p[i] = (float)clamp(e[i] / sum, 1e-9, 1.0 - 1e-7);
}

/* One Newton step on the outcome, the prior and what earlier outcomes have taught, taken as a normal distribution. */
void lv_predict_learn(struct lv_predict_fix *f, const float *z, uint32_t n, int32_t taken)
{
    float p[LV_PREDICT_MAX];
    double g0, g1, mean = 0.0, mean2 = 0.0, all = 0.0;

    for (uint32_t i = 0; i < n; i++)
        if (!isfinite(z[i]))
            return;
    if (!n || taken >= (int32_t)n)
        return;
    lv_predict_p(f, z, n, p);
    for (uint32_t i = 0; i < n; i++) {
        const double zi = clamp((double)z[i], -Z_MAX, Z_MAX);

        mean += (double)p[i] * zi;
        mean2 += (double)p[i] * zi * zi;
        all += (double)p[i];
    }
    const double hit = taken >= 0 ? clamp((double)z[taken], -Z_MAX, Z_MAX) : 0.0;

    /* Fisher information of (z, 1) under the model, "none" having (0, 0). */
    f->ss = KEEP * f->ss + (mean2 - mean * mean);
    f->sb = KEEP * f->sb + mean * (1.0 - all);
    f->bb = KEEP * f->bb + all * (1.0 - all);
    f->n = KEEP * f->n + 1.0;
    /* Forgetting pulls towards the prior: what is no longer known is as it was before. */
    g0 = hit - mean - (1.0 - KEEP) * PRIOR_SCALE * (f->scale - 1.0);
    g1 = (taken >= 0) - all - (1.0 - KEEP) * PRIOR_SHIFT * f->shift;
    const double a = f->ss + PRIOR_SCALE, b = f->sb, c = f->bb + PRIOR_SHIFT, det = a * c - b * b;

    if (!(det > 1e-9))
        return;
    f->scale = clamp(f->scale + (c * g0 - b * g1) / det, SCALE_MIN, SCALE_MAX);
    f->shift = clamp(f->shift + (a * g1 - b * g0) / det, -SHIFT_MAX, SHIFT_MAX);
}
