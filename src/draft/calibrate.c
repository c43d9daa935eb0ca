#include "draft/calibrate.h"

#include <assert.h>
#include <string.h>

#include "base/log_math.h"

#define KNOT_FIRST (-8.0) /* logit of knot 0; knots are 1 apart */

/* Variances of shifts of a logit: how far a level is expected to lie from the one above. Neighbours in one text are
 * correlated, so these are narrower than a fit over many texts would have them. */
#define VAR_ROW  1.0    /* a row from the identity */
#define VAR_KNOT 0.25   /* a knot from its row */
#define VAR_CELL 0.25   /* a knot in a depth class from the knot */
#define MEMORY     128.0f /* own observations at p = 0.5 in which a knot forgets by 1/e: what is rare is kept long .. */
#define MEMORY_MAX 8.0f   /* .. at most so many times as many towards the ends */

static double clamp(double x, double lo, double hi)
{
    return x > lo ? x < hi ? x : hi : lo; /* NaN becomes lo */
}

static double probability(double p)
{
    return clamp(p, (double)LV_CALIB_P_MIN, 1.0 - (double)LV_CALIB_P_MIN);
}

static double logit(double p)
{
    return lv_log_f64(p / (1.0 - p));
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + lv_exp_f64(-x));
}

static uint32_t rank_row(uint32_t rank)
{
    return rank < 2 ? rank : rank < 4 ? 2 : 3;
}

uint32_t lv_calib_match_class(uint32_t match)
{
    return match < 3 ? 0 : match < 4 ? 1 : match < 6 ? 2 : match < 9 ? 3 : match < 16 ? 4 : 5;
}

static uint32_t match_row(uint32_t match)
{
    return LV_CALIB_RANKS + lv_calib_match_class(match);
}

static uint32_t depth_class(uint32_t depth)
{
    return depth < 2 ? 0 : depth < 5 ? 1 : depth < 9 ? 2 : 3;
}

/* Mean raw p of a knot's observations, as a logit; the knot's own place where there are none. */
static double mean_raw(const struct lv_calib_sum *s, uint32_t knot)
{
    const double at = sigmoid(KNOT_FIRST + knot);

    return logit(probability((at + (double)s->raw) / (1.0 + (double)s->n)));
}

/* The most likely common shift of n sums, observed at logits x, if it is normal around 0 with that variance: the root of
 * a falling function. Hits or misses where they were not expected move it far, others hardly. */
static double fit_shift(const struct lv_calib_sum *s, const double *x, uint32_t n, double variance)
{
    double lo = -16.0, hi = 16.0, shift = 0.0;

    for (uint32_t i = 0; i < 30 && hi - lo > 1e-4; i++) {
        double f = -shift / variance, slope = 1.0 / variance;

        for (uint32_t k = 0; k < n; k++)
            if (s[k].n > 0.0f) {
                const double p = sigmoid(x[k] + shift);

                f += (double)s[k].hit - (double)s[k].n * p;
                slope += (double)s[k].n * p * (1.0 - p);
            }
        if (f > 0.0)
            lo = shift;
        else
            hi = shift;
        const double next = shift + f / slope; /* Newton, within what is known of the root */

        if (next > shift - 1e-5 && next < shift + 1e-5)
            break;
        shift = next > lo && next < hi ? next : 0.5 * (lo + hi);
    }
    return shift;
}

static void set_heights(struct lv_calib *c, uint32_t row)
{
    double x[LV_CALIB_KNOTS];

    for (uint32_t k = 0; k < LV_CALIB_KNOTS; k++)
        x[k] = mean_raw(&c->row[row][k], k);
    const double row_shift = fit_shift(c->row[row], x, LV_CALIB_KNOTS, VAR_ROW);

    for (uint32_t k = 0; k < LV_CALIB_KNOTS; k++) {
        const double at = x[k] + row_shift;
        const double knot_shift = row_shift + fit_shift(&c->row[row][k], &at, 1, VAR_KNOT);

        for (uint32_t d = 0; d < LV_CALIB_DEPTHS; d++) {
            const struct lv_calib_sum *s = &c->cell[row][d][k];
            const double cell_at = mean_raw(s, k) + knot_shift;

            c->height[row][d][k] = (float)(KNOT_FIRST + k + knot_shift + fit_shift(s, &cell_at, 1, VAR_CELL));
        }
    }
}

/* Pool adjacent violators: the monotone curve nearest to the heights, each weighing as much as was seen of it. The 1
 * keeps knots without observations from weighing nothing. */
static void set_curve(struct lv_calib *c, uint32_t row, uint32_t depth)
{
    double y[LV_CALIB_KNOTS], w[LV_CALIB_KNOTS];
    uint32_t len[LV_CALIB_KNOTS], n = 0, at = 0;

    for (uint32_t k = 0; k < LV_CALIB_KNOTS; k++) {
        y[n] = (double)c->height[row][depth][k];
        w[n] = 1.0 + (double)c->cell[row][depth][k].n + (double)c->row[row][k].n;
        len[n++] = 1;
        for (; n > 1 && y[n - 2] > y[n - 1]; n--) {
            y[n - 2] = (y[n - 2] * w[n - 2] + y[n - 1] * w[n - 1]) / (w[n - 2] + w[n - 1]);
            w[n - 2] += w[n - 1];
            len[n - 2] += len[n - 1];
        }
    }
    for (uint32_t b = 0; b < n; b++)
        for (uint32_t i = 0; i < len[b]; i++)
            c->curve[row][depth][at++] = (float)y[b];
}

void lv_calib_init(struct lv_calib *c)
{
    memset(c, 0, sizeof *c);
    c->version = LV_CALIB_VERSION;
    for (uint32_t r = 0; r < LV_CALIB_ROWS; r++)
        for (uint32_t d = 0; d < LV_CALIB_DEPTHS; d++)
            for (uint32_t k = 0; k < LV_CALIB_KNOTS; k++)
                c->height[r][d][k] = c->curve[r][d][k] = (float)(KNOT_FIRST + k);
}

/* Sums that observations can make; the margin is for rounding. NaN fails. */
static bool sound(const struct lv_calib_sum *s)
{
    const float most = s->n * 1.01f;

    return s->n >= 0.0f && s->n <= MEMORY * MEMORY_MAX * 1.01f && s->raw >= 0.0f && s->raw <= most && s->hit >= 0.0f &&
           s->hit <= most;
}

void lv_calib_fit(struct lv_calib *c)
{
    for (uint32_t r = 0; r < LV_CALIB_ROWS; r++) {
        if (!(c->changed >> r & 1))
            continue;
        set_heights(c, r);
        for (uint32_t d = 0; d < LV_CALIB_DEPTHS; d++)
            set_curve(c, r, d);
    }
    c->changed = 0;
}

bool lv_calib_restore(struct lv_calib *c)
{
    bool ok = c->version == LV_CALIB_VERSION;

    for (uint32_t r = 0; r < LV_CALIB_ROWS; r++)
        for (uint32_t k = 0; k < LV_CALIB_KNOTS; k++) {
            ok = ok && sound(&c->row[r][k]);
            for (uint32_t d = 0; d < LV_CALIB_DEPTHS; d++)
                ok = ok && sound(&c->cell[r][d][k]);
        }
    if (!ok) {
        lv_calib_init(c);
        return false;
    }
    c->changed = UINT32_MAX;
    lv_calib_fit(c);
    return true;
}

/* The knot at or below x, but never the last; *t: how far x is on the way to the next, outside [0, 1] beyond the
 * ends. */
static uint32_t knot_below(double x, double *t)
{
    const double at = x - KNOT_FIRST;
    const uint32_t k = (uint32_t)clamp(at, 0.0, LV_CALIB_KNOTS - 2);

    *t = at - k;
    return k;
}

static double query(const struct lv_calib *c, uint32_t row, uint32_t depth, double raw_p)
{
    const float *y = c->curve[row][depth_class(depth)];
    const double x = logit(probability(raw_p));
    double t, v;
    const uint32_t k = knot_below(x, &t);

    if (t < 0.0 || t > 1.0) /* beyond the ends the shift of the end */
        v = x + (double)y[t < 0.0 ? 0 : LV_CALIB_KNOTS - 1] - (t < 0.0 ? KNOT_FIRST : -KNOT_FIRST);
    else
        v = (double)y[k] + t * ((double)y[k + 1] - (double)y[k]);
    return probability(sigmoid(v));
}

static void add(struct lv_calib_sum *s, float weight, float raw_p, bool accepted)
{
    const float info = 4.0f * raw_p * (1.0f - raw_p), least = 1.0f / MEMORY_MAX;
    const float keep = 1.0f - weight * (info > least ? info : least) / MEMORY;

    s->n = s->n * keep + weight;
    s->raw = s->raw * keep + weight * raw_p;
    s->hit = s->hit * keep + (accepted ? weight : 0.0f);
}

static void learn(struct lv_calib *c, uint32_t row, uint32_t depth, float raw_p, bool accepted)
{
    const uint32_t own = depth_class(depth);
    double t;

    if (raw_p != raw_p)
        return;
    const double p = probability((double)raw_p);
    const uint32_t below = knot_below(logit(p), &t);

    t = clamp(t, 0.0, 1.0);
    for (uint32_t i = 0; i < 2; i++) {
        const float weight = (float)(i ? t : 1.0 - t);

        add(&c->row[row][below + i], weight, (float)p, accepted);
        add(&c->cell[row][own][below + i], weight, (float)p, accepted);
    }
    c->changed |= 1u << row;
    if (c->n_learned < UINT32_MAX)
        c->n_learned++;
}

float lv_calib_p(const struct lv_calib *c, float raw_p, uint32_t rank, uint32_t depth)
{
    return (float)query(c, rank_row(rank), depth, (double)raw_p);
}

void lv_calib_learn(struct lv_calib *c, float raw_p, uint32_t rank, uint32_t depth, bool accepted)
{
    learn(c, rank_row(rank), depth, raw_p, accepted);
}

float lv_calib_lookup_raw(uint32_t match, uint32_t n_seen, uint32_t n_of)
{
    return n_of ? (float)match / ((float)match + 4.0f) * ((float)n_seen / (float)n_of) : 0.0f;
}

float lv_calib_lookup_p(const struct lv_calib *c, float raw_p, uint32_t match, uint32_t depth)
{
    return (float)query(c, match_row(match), depth, (double)raw_p);
}

void lv_calib_lookup_learn(struct lv_calib *c, float raw_p, uint32_t match, uint32_t depth, bool accepted)
{
    learn(c, match_row(match), depth, raw_p, accepted);
}

static double sum_at(const double *odds, uint32_t n, double factor)
{
    double sum = 0.0;

    for (uint32_t i = 0; i < n; i++)
        sum += factor * odds[i] / (1.0 + factor * odds[i]);
    return sum;
}

/* A factor on the odds rather than on p: of a sure and a doubtful sibling the doubtful one gives way. */
void lv_calib_siblings(const struct lv_calib *c, const float *raw_p, uint32_t n, uint32_t depth, float *out)
{
    const double most = 1.0 - 1e-5; /* room for rounding when the floats are summed */
    double odds[LV_CALIB_SIBLINGS_MAX], sum = 0.0, lo = 0.0, hi = 1.0;

    assert(n <= LV_CALIB_SIBLINGS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        const double p = query(c, rank_row(i), depth, (double)raw_p[i]);

        sum += p;
        odds[i] = p / (1.0 - p);
        out[i] = (float)p;
    }
    if (sum <= most)
        return;
    for (uint32_t i = 0; i < 40; i++) { /* halving: the sum rises with the factor */
        const double mid = 0.5 * (lo + hi);

        if (sum_at(odds, n, mid) > most)
            hi = mid;
        else
            lo = mid;
    }
    for (uint32_t i = 0; i < n; i++)
        out[i] = (float)(lo * odds[i] / (1.0 + lo * odds[i]));
}
