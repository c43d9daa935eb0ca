#include "draft/lookup.h"

#include <assert.h>
#include <string.h>

#include "base/rng.h"

/* Slots tried for one n-gram. Tables are at most half full, so a run this long does not occur by chance; an n-gram
 * that would need more is left out, which keeps the time bounded for texts made to collide. */
#define PROBE_MAX 256

static uint32_t slots_for(uint32_t n_ctx)
{
    uint32_t n = 16;

    while (n < 2 * n_ctx)
        n *= 2;
    return n;
}

uint64_t lv_lookup_bytes(uint32_t n_ctx)
{
    assert(n_ctx <= LV_LOOKUP_CTX_MAX);
    const uint64_t table = (uint64_t)slots_for(n_ctx) + n_ctx + 1;

    return (n_ctx + LV_LOOKUP_TABLES * table) * sizeof(uint32_t);
}

void lv_lookup_init(struct lv_lookup *l, void *memory, uint32_t n_ctx)
{
    uint32_t *at = (uint32_t *)memory + n_ctx;

    assert(n_ctx <= LV_LOOKUP_CTX_MAX);
    *l = (struct lv_lookup){ .token = memory, .n_ctx = n_ctx, .n_slot = slots_for(n_ctx) };
    memset(memory, 0, lv_lookup_bytes(n_ctx));
    for (uint32_t i = 0; i < LV_LOOKUP_TABLES; i++) {
        l->head[i] = at;
        l->before[i] = at + l->n_slot;
        at += l->n_slot + n_ctx + 1;
    }
}

/* hash[i] of the (i + LV_LOOKUP_MIN)-gram that ends just before `end`; `len` tokens are there. Returns how many. */
static uint32_t hash_grams(const int32_t *end, uint32_t len, uint64_t *hash)
{
    uint64_t h = UINT64_C(0x9e3779b97f4a7c15);
    uint32_t n = 0;

    for (uint32_t i = 1; i <= len && i <= LV_LOOKUP_MAX; i++) {
        h = lv_mix64(h + ((uint64_t)i << 32 | (uint32_t)end[-(int32_t)i]));
        if (i >= LV_LOOKUP_MIN)
            hash[n++] = h;
    }
    return n;
}

/* The slot of the n-gram that ends just before `end`, or the free slot where it belongs; NULL when it is left out. */
static uint32_t *find_slot(const struct lv_lookup *l, uint32_t table, const int32_t *end, uint64_t hash)
{
    const uint32_t n = table + LV_LOOKUP_MIN;

    for (uint32_t i = 0; i < PROBE_MAX; i++) {
        uint32_t *s = &l->head[table][((uint32_t)hash + i) & (l->n_slot - 1)];

        if (*s == 0 || memcmp(l->token + *s - n, end - n, n * sizeof *end) == 0)
            return s;
    }
    return NULL;
}

bool lv_lookup_append(struct lv_lookup *l, int32_t token)
{
    uint64_t hash[LV_LOOKUP_TABLES];

    if (l->n == l->n_ctx)
        return false;
    l->token[l->n++] = token;
    const uint32_t n_gram = hash_grams(l->token + l->n, l->n, hash);

    for (uint32_t i = 0; i < n_gram; i++) {
        uint32_t *s = find_slot(l, i, l->token + l->n, hash[i]);

        l->before[i][l->n] = s ? *s : 0;
        if (s)
            *s = l->n;
    }
    return true;
}

/* The last append is undone first, so a slot that becomes free had been taken after all that are still in use: no
 * search passes over it. */
void lv_lookup_rewind(struct lv_lookup *l, uint32_t n)
{
    uint64_t hash[LV_LOOKUP_TABLES];

    assert(n <= l->n);
    for (; l->n > n; l->n--) {
        const uint32_t n_gram = hash_grams(l->token + l->n, l->n, hash);

        for (uint32_t i = 0; i < n_gram; i++) {
            uint32_t *s = find_slot(l, i, l->token + l->n, hash[i]);

            assert(!s || *s == l->n);
            if (s)
                *s = l->before[i][l->n];
        }
    }
}

/* Text and path as one. */
struct view {
    const struct lv_lookup *l;
    const int32_t *path;
    uint32_t len;
};

static int32_t token_at(const struct view *v, uint32_t i)
{
    return i < v->l->n ? v->l->token[i] : v->path[i - v->l->n];
}

/* Continuations that share their first token, as found at one n-gram length. */
struct group {
    int32_t token;
    uint32_t match, n_seen, at;
};

static bool better(const struct group *a, const struct group *b)
{
    if (a->match != b->match)
        return a->match > b->match;
    if (a->n_seen != b->n_seen)
        return a->n_seen > b->n_seen;
    return a->at > b->at;
}

static bool is_hit(const struct lv_lookup_hit *hit, uint32_t n, int32_t token)
{
    for (uint32_t i = 0; i < n; i++)
        if (hit[i].token[0] == token)
            return true;
    return false;
}

/* Tokens that agree before `at` and before the end of the tail; n are known to. */
static uint32_t match_len(const struct lv_lookup *l, const int32_t *tail_end, uint32_t n_tail, uint32_t at, uint32_t n)
{
    while (n < n_tail && n < at && l->token[at - 1 - n] == tail_end[-1 - (int32_t)n])
        n++;
    return n;
}

/* The places of one n-gram, grouped by the token that follows, without the tokens that are hits already. Returns the
 * number of groups. *n_of: all places seen, those of hits too: what a longer n-gram explains is still a time the
 * token did not follow. */
static uint32_t collect(const struct view *v, uint32_t place, uint32_t table, const int32_t *tail_end, uint32_t n_tail,
                        const struct lv_lookup_hit *hit, uint32_t n_hit, struct group *group, uint32_t *n_of)
{
    uint32_t n = 0, seen = 0;

    for (; place && seen < LV_LOOKUP_STEPS; place = v->l->before[table][place]) {
        uint32_t g = 0;

        if (place == v->len)
            continue; /* the end itself: nothing follows */
        seen++;
        const int32_t token = token_at(v, place);

        if (is_hit(hit, n_hit, token))
            continue;
        const uint32_t match = match_len(v->l, tail_end, n_tail, place, table + LV_LOOKUP_MIN);

        while (g < n && group[g].token != token)
            g++;
        if (g == n)
            group[n++] = (struct group){ .token = token, .match = match, .at = place };
        group[g].n_seen++;
        if (match > group[g].match) {
            group[g].match = match;
            group[g].at = place;
        }
    }
    *n_of = seen;
    return n;
}

static void fill(const struct view *v, const struct group *g, uint32_t n_of, uint32_t depth, struct lv_lookup_hit *h)
{
    *h = (struct lv_lookup_hit){ .n = (uint16_t)depth, .match = (uint16_t)g->match, .at = g->at };
    h->n_seen = (uint16_t)g->n_seen;
    h->n_of = (uint16_t)n_of;
    for (uint32_t i = 0; i < depth; i++)
        h->token[i] = g->at + i < v->len ? token_at(v, g->at + i) : h->token[g->at + i - v->len];
}

uint32_t lv_lookup_find(const struct lv_lookup *l, const int32_t *path, uint32_t n_path, uint32_t depth,
                        struct lv_lookup_hit *hit, uint32_t k)
{
    const struct view v = { .l = l, .path = path, .len = l->n + n_path };
    const uint32_t n_tail = v.len < LV_LOOKUP_MATCH_MAX ? v.len : LV_LOOKUP_MATCH_MAX;
    int32_t tail[LV_LOOKUP_MATCH_MAX];
    uint64_t hash[LV_LOOKUP_TABLES];
    struct group group[LV_LOOKUP_STEPS];
    uint32_t n_hit = 0;

    assert(depth >= 1 && depth <= LV_LOOKUP_DEPTH_MAX);
    for (uint32_t i = 0; i < n_tail; i++)
        tail[i] = token_at(&v, v.len - n_tail + i);
    /* From the longest n-gram down: each shorter one adds only first tokens that no longer one had. */
    for (uint32_t t = hash_grams(tail + n_tail, n_tail, hash); t-- > 0 && n_hit < k;) {
        const uint32_t *s = find_slot(l, t, tail + n_tail, hash[t]);
        uint32_t n_of, n_group;

        if (!s || *s == 0)
            continue;
        n_group = collect(&v, *s, t, tail + n_tail, n_tail, hit, n_hit, group, &n_of);
        for (; n_group > 0 && n_hit < k; n_hit++) {
            uint32_t best = 0;

            for (uint32_t g = 1; g < n_group; g++)
                if (better(&group[g], &group[best]))
                    best = g;
            fill(&v, &group[best], n_of, depth, &hit[n_hit]);
            group[best] = group[--n_group];
        }
    }
    return n_hit;
}
