#include "prune/judge.h"

#include <math.h>

#define KEEP 0.95       /* of a look's weight is left a look later */
#define FIRST_LOOKS 6   /* before the first decision: at 0.3 % of a pass each they cannot cost 1 % of a text */
#define LOOKS 12        /* between decisions later on */
#define REST_FIRST 32
#define REST_MAX 4096
#define WORTH 4.0       /* the most that a look could bring, by what it costs: most of that is never reached */

void lv_judge_init(struct lv_judge *j)
{
    *j = (struct lv_judge){ .next_rest = REST_FIRST };
}

bool lv_judge_allows(struct lv_judge *j, double most)
{
    if (j->rest) {
        j->rest--;
        return false;
    }
    return most > 0.0 && most > WORTH * j->cost;
}

void lv_judge_learn(struct lv_judge *j, double saved, double cost, double lost, double rate)
{
    const double won = rate * (saved - cost) - lost;

    if (!isfinite(won) || !isfinite(cost) || cost < 0.0)
        return;
    j->cost = j->cost > 0.0 ? j->cost + 0.2 * (cost - j->cost) : cost;
    j->balance = KEEP * j->balance + won;
    j->weight = KEEP * j->weight + 1.0;
    if (++j->n_look < (j->weight < LOOKS ? FIRST_LOOKS : LOOKS))
        return;
    j->n_look = 0;
    if (j->balance > 0.0) {
        j->next_rest = REST_FIRST;
        return;
    }
    j->rest = j->next_rest;
    j->next_rest = j->next_rest < REST_MAX / 2 ? 2 * j->next_rest : REST_MAX;
    j->balance = j->weight = 0.0; /* the next try is judged by itself */
}
