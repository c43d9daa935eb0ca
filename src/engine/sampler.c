#include "engine/sampler.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/log_math.h"
#include "base/mem.h"
#include "base/rng.h"

#define LN2 0x1.62e42fefa39efp-1
#define GUMBEL_MAX 36.75  /* g of the largest u, 53 * log(2), and a margin for rounding */
#define GUMBEL_SLACK 1e-4 /* of the cheap bound: far above the rounding of g to float */
#define TOP_P_ONE 0x1p40  /* the weight of the best token; n_vocab of them fit 63 bits */

#define RADIX_BITS 11 /* 32 bits in three digits: 11, 11, 10 */
#define RADIX_LEN (1u << RADIX_BITS)

/* The tokens still in the draw, ids rising. Filters compact both arrays in place. */
struct cands {
    float *logit;  /* [n] finite */
    uint32_t *id;  /* [n] */
    uint64_t *sum; /* [RADIX_LEN] */
    uint32_t n;
    float max;
};

/* ---- arguments ----------------------------------------------------------- */

static int compare_bias(const void *a, const void *b)
{
    const struct lever_logit_bias *x = a, *y = b;

    if (x->token != y->token)
        return x->token < y->token ? -1 : 1;
    return (x->bias > y->bias) - (x->bias < y->bias); /* so that sums do not depend on the caller's order */
}

static enum lever_status check_fields(const struct lever_sampling *s, uint32_t n_vocab, struct lever_error *err)
{
    if (n_vocab == 0 || n_vocab > LV_SAMPLER_VOCAB_MAX)
        return LV_FAIL(err, LEVER_E_ARG, "sampling: a vocabulary of %u tokens, expected 1..%u", n_vocab,
                       LV_SAMPLER_VOCAB_MAX);
    if (!(s->temperature >= 0.0f && s->temperature <= FLT_MAX))
        return LV_FAIL(err, LEVER_E_ARG, "temperature is %g, expected 0 (greedy) or more", (double)s->temperature);
    if (s->top_k < 0)
        return LV_FAIL(err, LEVER_E_ARG, "top_k is %d, expected 0 (off) or more", s->top_k);
    if (!(s->top_p > 0.0f && s->top_p <= 1.0f))
        return LV_FAIL(err, LEVER_E_ARG, "top_p is %g, expected above 0 and up to 1 (off)", (double)s->top_p);
    if (!(s->min_p >= 0.0f && s->min_p < 1.0f))
        return LV_FAIL(err, LEVER_E_ARG, "min_p is %g, expected 0 (off) to below 1", (double)s->min_p);
    if (!(s->repeat_penalty > 0.0f && s->repeat_penalty <= FLT_MAX))
        return LV_FAIL(err, LEVER_E_ARG, "repeat_penalty is %g, expected above 0; 1 is off",
                       (double)s->repeat_penalty);
    if (!isfinite(s->presence_penalty))
        return LV_FAIL(err, LEVER_E_ARG, "presence_penalty is %g, expected a finite number; 0 is off",
                       (double)s->presence_penalty);
    if (!isfinite(s->frequency_penalty))
        return LV_FAIL(err, LEVER_E_ARG, "frequency_penalty is %g, expected a finite number; 0 is off",
                       (double)s->frequency_penalty);
    if (s->penalty_last_n < -1)
        return LV_FAIL(err, LEVER_E_ARG, "penalty_last_n is %d, expected -1 (all), 0 (off) or more",
                       s->penalty_last_n);
    if (s->n_logit_bias > 0 && !s->logit_bias)
        return LV_FAIL(err, LEVER_E_ARG, "logit_bias is NULL, but n_logit_bias is %zu", s->n_logit_bias);
    if (s->n_logit_bias > LV_SAMPLER_VOCAB_MAX)
        return LV_FAIL(err, LEVER_E_ARG, "n_logit_bias is %zu, expected at most %u", s->n_logit_bias,
                       LV_SAMPLER_VOCAB_MAX);
    for (size_t i = 0; i < s->n_logit_bias; i++) {
        const struct lever_logit_bias *b = &s->logit_bias[i];

        if (b->token < 0 || (uint32_t)b->token >= n_vocab)
            return LV_FAIL(err, LEVER_E_ARG, "logit_bias[%zu]: token is %d, expected 0..%u", i, b->token,
                           n_vocab - 1);
        if (!(b->bias <= FLT_MAX))
            return LV_FAIL(err, LEVER_E_ARG,
                           "logit_bias[%zu]: bias of token %d is %g, expected a finite number or -inf (bans it)", i,
                           b->token, (double)b->bias);
    }
    return LEVER_OK;
}

enum lever_status lv_sampler_init(struct lv_sampler *out, const struct lever_sampling *s, uint32_t n_vocab,
                                  const int32_t *end_ids, uint32_t n_end, struct lever_error *err)
{
    struct lever_logit_bias *bias = NULL;
    uint32_t n = 0, n_merged = 0, n_banned = 0;

    LV_TRY(check_fields(s, n_vocab, err));
    if (!s->ignore_eos)
        n_end = 0;
    if (s->n_logit_bias + n_end > 0) {
        bias = LV_NEW_ARRAY(struct lever_logit_bias, s->n_logit_bias + n_end);
        if (!bias)
            return LV_FAIL(err, LEVER_E_NOMEM, "sampling: no memory for %zu logit_bias entries",
                           s->n_logit_bias + n_end);
    }
    for (; n < s->n_logit_bias; n++)
        bias[n] = s->logit_bias[n];
    for (uint32_t i = 0; i < n_end; i++)
        if (end_ids[i] >= 0 && (uint32_t)end_ids[i] < n_vocab)
            bias[n++] = (struct lever_logit_bias){ end_ids[i], -INFINITY };
    if (n > 0)
        qsort(bias, n, sizeof *bias, compare_bias);
    for (uint32_t i = 0; i < n; i++) {
        if (n_merged > 0 && bias[n_merged - 1].token == bias[i].token)
            bias[n_merged - 1].bias += bias[i].bias;
        else
            bias[n_merged++] = bias[i];
    }
    for (uint32_t i = 0; i < n_merged; i++)
        n_banned += bias[i].bias == -INFINITY;
    if (n_banned == n_vocab) {
        lv_free(bias);
        return LV_FAIL(err, LEVER_E_ARG, "logit_bias%s: all %u tokens are banned; leave one to be drawn",
                       n_end > 0 ? " and ignore_eos" : "", n_vocab);
    }
    *out = (struct lv_sampler){
        .temperature = s->temperature,
        .top_p = s->top_p,
        .min_p = s->min_p,
        .top_k = s->top_k,
        .seed = s->seed,
        .repeat_penalty = s->repeat_penalty,
        .presence_penalty = s->presence_penalty,
        .frequency_penalty = s->frequency_penalty,
        .penalty_last_n = s->penalty_last_n,
        .bias = bias,
        .n_bias = n_merged,
        .n_vocab = n_vocab,
    };
    return LEVER_OK;
}

void lv_sampler_deinit(struct lv_sampler *s)
{
    lv_free(s->bias);
    s->bias = NULL;
    s->n_bias = 0;
}

uint64_t lv_sampler_scratch_bytes(const struct lv_sampler *s)
{
    const uint64_t n = s->n_vocab > 2 * LV_HEAD_TOP_MAX ? s->n_vocab : 2 * LV_HEAD_TOP_MAX; /* ids, or top's ids and logits */

    return RADIX_LEN * sizeof(uint64_t) + n * sizeof(uint32_t);
}

/* ---- bias and penalties -------------------------------------------------- */

/* repeat divides positive and multiplies other logits, once however often the token came (Keskar et al.,
 * arXiv 1909.05858, with the sign rule that became common); frequency and presence are subtracted.
 * count: [n_vocab], any contents. */
static void add_penalties(const struct lv_sampler *s, float *logits, const int32_t *history, uint64_t n_history,
                          uint32_t *count)
{
    uint64_t n = n_history;

    if (!lv_sampler_has_penalties(s))
        return;
    if (s->penalty_last_n >= 0 && n > (uint64_t)s->penalty_last_n)
        n = (uint64_t)s->penalty_last_n;
    if (n == 0)
        return;
    const int32_t *window = history + (n_history - n);

    for (uint64_t i = 0; i < n; i++)
        if ((uint32_t)window[i] < s->n_vocab)
            count[window[i]] = 0;
    for (uint64_t i = 0; i < n; i++)
        if ((uint32_t)window[i] < s->n_vocab)
            count[window[i]]++;
    for (uint64_t i = 0; i < n; i++) {
        const uint32_t t = (uint32_t)window[i];

        if (t >= s->n_vocab || count[t] == 0) /* 0: done at its first place */
            continue;
        logits[t] = logits[t] > 0.0f ? logits[t] / s->repeat_penalty : logits[t] * s->repeat_penalty;
        logits[t] -= (float)count[t] * s->frequency_penalty + s->presence_penalty;
        count[t] = 0;
    }
}

static int32_t lowest_not_banned(const struct lv_sampler *s)
{
    int32_t id = 0;

    for (uint32_t i = 0; i < s->n_bias && s->bias[i].token <= id; i++)
        if (s->bias[i].token == id && s->bias[i].bias == -INFINITY)
            id++;
    return id;
}

/* Largest logit, -inf if there is none; NaN loses. Eight chains, as one would wait for each comparison. */
static float max_logit(const float *logits, uint32_t n)
{
    float lane[8] = { -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY };
    uint32_t i = 0;

    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++)
            lane[j] = logits[i + j] > lane[j] ? logits[i + j] : lane[j];
    for (; i < n; i++)
        lane[0] = logits[i] > lane[0] ? logits[i] : lane[0];
    for (int j = 1; j < 8; j++)
        lane[0] = lane[j] > lane[0] ? lane[j] : lane[0];
    return lane[0] > FLT_MAX ? FLT_MAX : lane[0];
}

/* ---- filters ------------------------------------------------------------- */

/* Orders as the floats do. -0 and 0 are one key. */
static uint32_t key_of(float f)
{
    const uint32_t u = lv_f32_bits(f + 0.0f);

    return u ^ (u >> 31 ? UINT32_MAX : UINT32_C(0x80000000));
}

/* A token's part of what a filter sums up: a count for top-k, else its probability in units of the best one's
 * 2^-40. Integers, because their sum does not depend on the order. */
static uint64_t mass_of(const struct cands *c, float logit, bool by_count)
{
    if (by_count)
        return 1;
    const double d = (double)logit - (double)c->max;

    return d < -28.0 ? 0 : (uint64_t)(lv_exp_f64(d) * TOP_P_ONE); /* exp(-28) < 2^-40 */
}

/* Keeps the shortest prefix of the order whose mass reaches top_k or top_p of the whole. The last key in it is
 * found by a radix descent over sums, in three passes whatever the data: nothing is sorted. */
static void keep_mass(struct cands *c, bool by_count, int32_t top_k, float top_p)
{
    uint32_t mask = 0, last_key = 0; /* bits of the last key known so far */
    uint64_t above = 0, need = (uint64_t)top_k;

    if (by_count && c->n <= need)
        return;
    for (int shift = 32 - RADIX_BITS, bits = RADIX_BITS; bits > 0;) {
        const uint32_t digit_max = (1u << bits) - 1;
        uint32_t digit = digit_max;

        memset(c->sum, 0, (digit_max + 1u) * sizeof c->sum[0]);
        for (uint32_t i = 0; i < c->n; i++) {
            const uint32_t key = key_of(c->logit[i]);

            if ((key & mask) == last_key)
                c->sum[key >> shift & digit_max] += mass_of(c, c->logit[i], by_count);
        }
        if (mask == 0 && !by_count) {
            uint64_t total = 0;

            for (uint32_t d = 0; d <= digit_max; d++)
                total += c->sum[d];
            const double share = (double)top_p * (double)total;

            need = (uint64_t)share;
            if (need == 0 || (double)need < share)
                need++;
            if (need > total)
                need = total;
        }
        while (digit > 0 && above + c->sum[digit] < need)
            above += c->sum[digit--];
        last_key |= digit << shift;
        mask |= digit_max << shift;
        bits = shift < RADIX_BITS ? shift : RADIX_BITS;
        shift -= bits;
    }
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->n; i++) {
        const uint32_t key = key_of(c->logit[i]);

        if (key < last_key || (key == last_key && above >= need))
            continue;
        if (key == last_key) /* ties: as many as are needed, lowest ids first */
            above += mass_of(c, c->logit[i], by_count);
        c->logit[n] = c->logit[i];
        c->id[n++] = c->id[i];
    }
    c->n = n;
}

/* Drops what has less than min_p of the best token's probability. */
static void keep_min_p(struct cands *c, float min_p)
{
    const double least = lv_log_f64((double)min_p);
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->n; i++) {
        if (!((double)c->logit[i] - (double)c->max >= least))
            continue;
        c->logit[n] = c->logit[i];
        c->id[n++] = c->id[i];
    }
    c->n = n;
}

/* ---- the draw ------------------------------------------------------------ */

/* One key a (seed, position); the tokens are the counter. */
static uint64_t position_key(uint64_t seed, uint64_t position)
{
    return lv_mix64(lv_mix64(seed ^ UINT64_C(0x6c65766572)) + (position + 1) * UINT64_C(0x9e3779b97f4a7c15));
}

/* 52 random bits k: u = (2k + 1) / 2^53, so that 0 < u < 1 and 1 - u is exact too. */
static uint64_t uniform_bits(uint64_t key, uint32_t token)
{
    return lv_mix64(key + ((uint64_t)token + 1) * UINT64_C(0x9e3779b97f4a7c15)) >> 12;
}

static float gumbel_from_bits(uint64_t k)
{
    return (float)-lv_log_f64(-lv_log_f64((double)(2 * k + 1) * 0x1p-53));
}

/* At least g, without a logarithm: -log(u) >= 1 - u >= 2^e, so g <= -e * log(2). */
static double gumbel_bound(uint64_t k)
{
    const uint64_t v = (UINT64_C(1) << 53) - (2 * k + 1); /* (1 - u) * 2^53, >= 1 */
    const int e = 63 - __builtin_clzll(v) - 53;

    return (double)-e * LN2 + GUMBEL_SLACK;
}

float lv_sampler_gumbel(uint64_t seed, uint64_t position, int32_t token)
{
    return gumbel_from_bits(uniform_bits(position_key(seed, position), (uint32_t)token));
}

/* argmax of logit / T + g. Most tokens are passed over by bounds on g: rounding is monotonic, so a token whose bound
 * stays below the best score cannot reach it, and the result is that of the plain loop, bit for bit. */
static int32_t draw(const struct lv_sampler *s, const struct cands *c, uint64_t position)
{
    const double inv_t = 1.0 / (double)s->temperature;
    const uint64_t key = position_key(s->seed, position);
    uint32_t i_max = 0;

    while (i_max + 1 < c->n && c->logit[i_max] != c->max) /* a good start lets the bounds work at once */
        i_max++;
    uint32_t best_id = c->id[i_max];
    double best = (double)c->logit[i_max] * inv_t + (double)gumbel_from_bits(uniform_bits(key, best_id));

    for (uint32_t i = 0; i < c->n; i++) {
        const double scaled = (double)c->logit[i] * inv_t;

        if (scaled + GUMBEL_MAX < best)
            continue;
        const uint64_t k = uniform_bits(key, c->id[i]);

        if (scaled + gumbel_bound(k) < best)
            continue;
        const double score = scaled + (double)gumbel_from_bits(k);

        if (score > best || (score == best && c->id[i] < best_id)) {
            best = score;
            best_id = c->id[i];
        }
    }
    return (int32_t)best_id;
}

static void filter(const struct lv_sampler *s, struct cands *c)
{
    if (s->top_k > 0)
        keep_mass(c, true, s->top_k, 1.0f);
    if (s->top_p < 1.0f)
        keep_mass(c, false, 0, s->top_p);
    if (s->min_p > 0.0f)
        keep_min_p(c, s->min_p);
}

/* Bias, penalties and filters. False when no logit is left. */
static bool prepare(const struct lv_sampler *s, struct cands *c, float *logits, const int32_t *history,
                    uint64_t n_history, void *scratch)
{
    *c = (struct cands){ .logit = logits, .sum = scratch };
    c->id = (uint32_t *)(c->sum + RADIX_LEN);
    for (uint32_t i = 0; i < s->n_bias; i++)
        logits[s->bias[i].token] += s->bias[i].bias;
    add_penalties(s, logits, history, n_history, c->id);
    c->max = max_logit(logits, s->n_vocab);
    if (c->max == -INFINITY)
        return false;
    if (s->temperature == 0.0f)
        return true; /* filters cannot change the first one */
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        if (!(logits[i] >= -FLT_MAX))
            continue;
        logits[c->n] = logits[i] > FLT_MAX ? FLT_MAX : logits[i];
        c->id[c->n++] = i;
    }
    filter(s, c);
    return true;
}

/* The same from the largest logits alone: no bias, no penalties, temperature > 0. */
static bool prepare_top(const struct lv_sampler *s, struct cands *c, const struct lv_top *top, uint32_t n, void *scratch)
{
    *c = (struct cands){ .sum = scratch, .max = -INFINITY };
    c->id = (uint32_t *)(c->sum + RADIX_LEN);
    c->logit = (float *)(c->id + LV_HEAD_TOP_MAX);
    for (uint32_t i = 0; i < n; i++) {
        const float logit = top[i].logit > FLT_MAX ? FLT_MAX : top[i].logit;
        uint32_t at = c->n;

        if (!(logit >= -FLT_MAX))
            continue;
        c->max = logit > c->max ? logit : c->max;
        for (; at > 0 && c->id[at - 1] > top[i].id; at--) { /* ids rise: filters break ties by place */
            c->id[at] = c->id[at - 1];
            c->logit[at] = c->logit[at - 1];
        }
        c->id[at] = top[i].id;
        c->logit[at] = logit;
        c->n++;
    }
    if (!c->n)
        return false;
    filter(s, c);
    return true;
}

static bool changes_logits(const struct lv_sampler *s)
{
    return s->n_bias || lv_sampler_has_penalties(s);
}

uint32_t lv_sampler_n_top(const struct lv_sampler *s)
{
    if (changes_logits(s))
        return 0;
    if (s->temperature == 0.0f)
        return 1;
    return s->top_k > 0 && s->top_k <= LV_HEAD_TOP_MAX ? (uint32_t)s->top_k : 0;
}

int32_t lv_sampler_draw_top(const struct lv_sampler *s, const struct lv_top *top, uint32_t n, uint64_t position,
                            void *scratch)
{
    struct cands c;

    if (s->temperature == 0.0f)
        return top[0].logit >= -FLT_MAX ? (int32_t)top[0].id : 0;
    return prepare_top(s, &c, top, n, scratch) ? draw(s, &c, position) : 0;
}

int32_t lv_sampler_draw(const struct lv_sampler *s, float *logits, const int32_t *history, uint64_t n_history,
                        uint64_t position, void *scratch)
{
    struct cands c;

    if (!prepare(s, &c, logits, history, n_history, scratch))
        return lowest_not_banned(s);
    if (s->temperature == 0.0f) {
        int32_t id = 0;

        while (!(logits[id] >= c.max))
            id++;
        return id;
    }
    return draw(s, &c, position);
}

/* ---- candidates of a tree -------------------------------------------------- */

/* A small draft is under-confident about a greedy target: measured on the reference pair, probabilities at this
 * temperature fit best (negative log-likelihood 0.431 against 0.442 at 1). */
#define RANK_SHARPEN (1.0 / 0.8)

struct best {
    double score[LV_SAMPLER_RANK_MAX];
    uint32_t id[LV_SAMPLER_RANK_MAX];
    uint32_t n, cap;
};

static void keep_best(struct best *b, double score, uint32_t id)
{
    uint32_t i = b->n < b->cap ? b->n++ : b->cap - 1;

    for (; i > 0 && b->score[i - 1] < score; i--) {
        b->score[i] = b->score[i - 1];
        b->id[i] = b->id[i - 1];
    }
    b->score[i] = score;
    b->id[i] = id;
}

/* Writes the candidates out; sum: of exp(score - best score) over all that share the probability. */
static uint32_t write_best(const struct best *b, double sum, int32_t *token, float *p)
{
    for (uint32_t i = 0; i < b->n; i++) {
        const double q = lv_exp_f64(b->score[i] - b->score[0]) / sum;

        token[i] = (int32_t)b->id[i];
        p[i] = q > 1e-9 ? (float)q : 1e-9f;
    }
    return b->n;
}

/* The only candidate when no logit is left. */
static uint32_t write_lowest(const struct lv_sampler *s, int32_t *token, float *p)
{
    token[0] = lowest_not_banned(s);
    p[0] = 1.0f;
    return 1;
}

/* The best scores of the draw itself. */
static uint32_t rank_drawn(const struct lv_sampler *s, const struct cands *c, uint64_t position, uint32_t k,
                           int32_t *token, float *p)
{
    const double inv_t = 1.0 / (double)s->temperature;
    const uint64_t key = position_key(s->seed, position);
    struct best b = { .cap = k };
    double sum = 0.0;

    for (uint32_t i = 0; i < c->n; i++) {
        const double scaled = (double)c->logit[i] * inv_t;
        const uint64_t bits = uniform_bits(key, c->id[i]);

        if (b.n == k && scaled + gumbel_bound(bits) <= b.score[k - 1])
            continue;
        const double score = scaled + (double)gumbel_from_bits(bits);

        if (b.n < k || score > b.score[k - 1])
            keep_best(&b, score, c->id[i]);
    }
    for (uint32_t i = 0; i < b.n; i++)
        sum += lv_exp_f64(b.score[i] - b.score[0]);
    return write_best(&b, sum, token, p);
}

uint32_t lv_sampler_rank(const struct lv_sampler *s, float *logits, const int32_t *history, uint64_t n_history,
                         uint64_t position, void *scratch, uint32_t k, int32_t *token, float *p)
{
    struct best b = { .cap = k };
    struct cands c;
    double sum = 0.0;

    if (!prepare(s, &c, logits, history, n_history, scratch))
        return write_lowest(s, token, p);
    if (s->temperature > 0.0f)
        return rank_drawn(s, &c, position, k, token, p);
    const float least = c.max - 20.0f; /* the rest weighs nothing */

    for (uint32_t i = 0; i < s->n_vocab; i++) {
        if (!(logits[i] >= least))
            continue;
        const double score = (double)logits[i] * RANK_SHARPEN;

        sum += lv_exp_f64(((double)logits[i] - (double)c.max) * RANK_SHARPEN);
        if (b.n < k || score > b.score[k - 1])
            keep_best(&b, score, i);
    }
    return write_best(&b, sum, token, p);
}

struct lv_head lv_sampler_rank_head(const struct lv_sampler *s, uint32_t k)
{
    struct lv_head h = { .n_top = lv_sampler_n_top(s), .n_vocab = s->n_vocab };

    if (h.n_top && s->temperature == 0.0f) {
        h.n_top = k;
        h.sharpen = (float)RANK_SHARPEN;
    }
    return h;
}

uint32_t lv_sampler_rank_top(const struct lv_sampler *s, const struct lv_top *top, uint32_t n, double mass,
                             uint64_t position, void *scratch, uint32_t k, int32_t *token, float *p)
{
    struct best b = { .cap = k };
    struct cands c;

    if (s->temperature > 0.0f)
        return prepare_top(s, &c, top, n, scratch) ? rank_drawn(s, &c, position, k, token, p)
                                                   : write_lowest(s, token, p);
    for (; b.n < n && b.n < k && top[b.n].logit >= -FLT_MAX; b.n++) {
        b.id[b.n] = top[b.n].id;
        b.score[b.n] = (top[b.n].logit > FLT_MAX ? (double)FLT_MAX : (double)top[b.n].logit) * RANK_SHARPEN;
    }
    return b.n ? write_best(&b, mass, token, p) : write_lowest(s, token, p);
}
