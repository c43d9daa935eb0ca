/* Draws the token of a position from its logits.
 *
 * token = argmax over the tokens that the filters leave of  logit / T + g(seed, position, token),
 * g = -log(-log(u)), u from a counter-based hash (Gumbel-max: Gumbel 1954; exact draws from softmax(logit / T)).
 * Temperature 0: plain argmax; filters cannot change it and are not run.
 *
 * Order, as the field's programs have it: bias, penalties (over that path's history), top-k, top-p, min-p, temperature.
 * top-p and min-p look at softmax(logit), before the temperature; top-p's mass is what top-k has left. Every filter
 * keeps the first tokens of one order, logit falling, id rising, so ties are settled: the lower id is kept, and wins.
 * A NaN logit counts as -infinity, which is never drawn; +infinity counts as the largest float.
 *
 * The result depends on the arguments only (own log and exp, integer sums), so it is the same on every machine, and a
 * draft that uses the same (seed, position) draws the same token wherever its logits agree.
 *
 * owns     the bias list
 * threads  const after init; scratch is the caller's */
#ifndef LV_ENGINE_SAMPLER_H
#define LV_ENGINE_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "model/exec.h"

#define LV_SAMPLER_VOCAB_MAX (1u << 22) /* sums of 2^40 a token fit 64 bits with room */

struct lv_sampler {
    float temperature, top_p, min_p;
    int32_t top_k;
    uint64_t seed;
    float repeat_penalty, presence_penalty, frequency_penalty;
    int32_t penalty_last_n;
    struct lever_logit_bias *bias; /* [n_bias], owned; ids rising, each once */
    uint32_t n_bias;
    uint32_t n_vocab;
};

/* Checks ranges (LEVER_E_ARG names the field). end_ids: banned when s->ignore_eos; ids outside the vocabulary (a model
 * has no such token) are passed over. *out is set only on success. */
enum lever_status lv_sampler_init(struct lv_sampler *out, const struct lever_sampling *s, uint32_t n_vocab,
                                  const int32_t *end_ids, uint32_t n_end, struct lever_error *err);
void lv_sampler_deinit(struct lv_sampler *s);

/* Bytes of scratch lv_sampler_draw needs, aligned to 8; about 4 a token. */
uint64_t lv_sampler_scratch_bytes(const struct lv_sampler *s);

/* A draw depends on the tokens before it. */
static inline bool lv_sampler_has_penalties(const struct lv_sampler *s)
{
    return s->repeat_penalty != 1.0f || s->presence_penalty != 0.0f || s->frequency_penalty != 0.0f;
}

/* How many of the largest logits decide a draw: 1 when greedy, top_k when it is short; 0 = all logits are needed (bias,
 * penalties, no top_k). */
uint32_t lv_sampler_n_top(const struct lv_sampler *s);

/* logits   [n_vocab], overwritten
 * history  [n_history] tokens before the position (prompt and output), oldest first; only the last penalty_last_n are
 *          looked at, and none when the penalties are off. Ids outside the vocabulary are passed over.
 * position index of the token to be drawn, counted from the start of the text
 * Returns the token; if no logit is left, the lowest id without a bias of -infinity. Allocates nothing. */
int32_t lv_sampler_draw(const struct lv_sampler *s, float *logits, const int32_t *history, uint64_t n_history,
                        uint64_t position, void *scratch);

/* The same draw from the largest logits: top [n] best first, as lv_exec_top gives them for n_top = lv_sampler_n_top,
 * which must not be 0. */
int32_t lv_sampler_draw_top(const struct lv_sampler *s, const struct lv_top *top, uint32_t n, uint64_t position,
                            void *scratch);

/* g of one token, for draft ranking and tests: at most 36.74, at least -3.61. The draw adds it in double precision
 * to logit * (1 / T). */
float lv_sampler_gumbel(uint64_t seed, uint64_t position, int32_t token);

/* The k tokens that the target is most likely to draw at a position, as the draft sees it: candidates of a token tree.
 * Same bias, penalties, filters and noise as a draw; so where the models agree, the first one is the draw.
 * logits, history, position, scratch: as lv_sampler_draw.
 * token, p  [k] best first; p is the probability that the target draws it, > 0; sums to at most 1.
 * Returns the number of candidates, 1..k. k <= LV_SAMPLER_RANK_MAX. */
#define LV_SAMPLER_RANK_MAX 16
uint32_t lv_sampler_rank(const struct lv_sampler *s, float *logits, const int32_t *history, uint64_t n_history,
                         uint64_t position, void *scratch, uint32_t k, int32_t *token, float *p);

/* What lv_sampler_rank needs of the head for k candidates: all logits (n_top = 0), or what lv_sampler_rank_top takes. */
struct lv_head lv_sampler_rank_head(const struct lv_sampler *s, uint32_t k);
/* The same candidates from the largest logits; mass: lv_exec_mass where the head asks for it. Probabilities may
 * differ from lv_sampler_rank in the last digits. */
uint32_t lv_sampler_rank_top(const struct lv_sampler *s, const struct lv_top *top, uint32_t n, double mass,
                             uint64_t position, void *scratch, uint32_t k, int32_t *token, float *p);

#endif
