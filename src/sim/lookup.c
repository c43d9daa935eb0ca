/* Prompt lookup in simulated rounds, as engine/candidates.c asks for it. */
#include "draft/lookup.h"
#include "sim/state.h"

#define WRONG (LV_ACCEPT_MISS + 1) /* a token that is neither the text's nor one of the draft's */

/* How the text went on before, below a node at most `depth` tokens; as engine/candidates.c. Beside the text it is silent. */
static void add_hit(struct lv_sim *s, int32_t node, uint32_t depth)
{
    const int64_t at = s->at[node];

    if (at < 0 || !depth)
        return;
    const uint32_t match = lv_accept_at(&s->accept, (uint64_t)at)->match;

    for (uint32_t i = 0; match && i < depth; i++) {
        const struct lever_place *p = s->at[node] < 0 ? NULL : lv_accept_at(&s->accept, (uint64_t)at + i);
        const bool right = p && p->copied;
        const float promise = lv_accept_promise(&s->accept, match + i) * lv_grow_rest(&s->grow, node);
        const int32_t child = lv_grow_add(&s->grow, node, right ? p->truth : WRONG, promise > 1e-9f ? promise : 1e-9f, 0);

        if (child < 0)
            return;
        s->at[child] = right ? at + i + 1 : -1;
        if (s->grow.node[child].lookup_p == 0.0f)
            s->grow.node[child].lookup_p = promise > 1e-9f ? promise : 1e-9f;
        if (lv_grow_p(&s->grow, child) < LV_SIM_P_MIN)
            return;
        node = child;
    }
}

void lv_sim_look_up(struct lv_sim *s, uint32_t depth)
{
    int32_t path[LV_LOOKUP_DEPTH_MAX];

    if (!s->c->lookup || !depth)
        return;
    depth = depth < LV_LOOKUP_DEPTH_MAX ? depth : LV_LOOKUP_DEPTH_MAX;
    add_hit(s, s->grow.root, depth);
    const uint32_t n = lv_grow_likely(&s->grow, path, depth);

    if (n && n < depth && lv_grow_p(&s->grow, path[n - 1]) >= LV_SIM_P_MIN)
        add_hit(s, path[n - 1], depth - n);
}
