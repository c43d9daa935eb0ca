/* The KV cache's bookkeeping against a twin that remembers which position each cell of a ring holds: a rewind is
 * accepted only if all that the next position looks back at is still there. */
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "check.h"
#include "model/kv.h"

#define WINDOW 64
#define N_CTX 2000
#define N_STEP 400

static uint64_t seed = 5;

/* Position that each cell of the ring holds, -1: none. */
static int64_t cell[N_CTX];

static void twin_commit(uint32_t cap, uint32_t first, uint32_t n)
{
    for (uint32_t p = first; p < first + n; p++)
        cell[p % cap] = p;
}

/* All of the window before position n is in the ring. */
static bool twin_holds(uint32_t cap, uint32_t n)
{
    for (uint32_t p = n > WINDOW - 1 ? n - (WINDOW - 1) : 0; p < n; p++)
        if (cell[p % cap] != p)
            return false;
    return true;
}

static void run(struct lv_kv *kv, struct lv_rng *r, unsigned *n_kept, unsigned *n_refused)
{
    static const int32_t slot[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    const uint32_t cap = kv->layer[0].cap;

    lv_kv_clear(kv);
    for (uint32_t i = 0; i < N_CTX; i++)
        cell[i] = -1;
    for (int step = 0; step < N_STEP; step++) {
        if (lv_rng_below(r, 8) < 7) {
            const uint32_t room = N_CTX - kv->n, n = 1 + lv_rng_below(r, 16);

            if (n > room)
                continue;
            twin_commit(cap, kv->n, n);
            lv_kv_commit(kv, slot, n);
            continue;
        }
        const uint32_t before = kv->n, drop = lv_rng_below(r, 2 * LV_KV_SLACK);
        const uint32_t n = drop < before ? before - drop : lv_rng_below(r, 2) * before;
        const bool kept = lv_kv_rewind(kv, n);

        CHECK(!kept || twin_holds(cap, n), "rewound from %u to %u, but the ring no longer holds its window", before, n);
        CHECK(kv->n == (kept ? n : before), "%u positions after a rewind from %u to %u", kv->n, before, n);
        CHECK(kept || kv->n_written - n > LV_KV_SLACK, "a rewind by %u was refused", before - n);
        *n_kept += kept;
        *n_refused += !kept;
    }
}

int main(int argc, char **argv)
{
    uint32_t window[2] = { WINDOW, 0 };
    const struct lv_program p = { .shape = { .n_layer = 2, .n_head_kv = 1, .head_dim = 16 }, .window = window };
    struct lv_arena count = { 0 }, arena;
    unsigned n_kept = 0, n_refused = 0;
    struct lv_kv kv;

    if (argc > 1)
        seed = strtoull(argv[1], NULL, 10);
    printf("SEED=%llu\n", (unsigned long long)seed);
    struct lv_rng r = { .state = seed };

    lv_kv_init(&kv, &p, N_CTX, 16, &count);
    if (!lv_arena_init(&arena, count.used_bytes, false) || !lv_kv_init(&kv, &p, N_CTX, 16, &arena)) {
        printf("no memory\n");
        return 1;
    }
    CHECK(kv.layer[0].cap < kv.layer[1].cap, "the sliding layer has no ring");
    for (int i = 0; i < 50; i++)
        run(&kv, &r, &n_kept, &n_refused);
    printf("%u rewinds, %u refused\n", n_kept, n_refused);
    CHECK(n_kept > 100 && n_refused > 100, "not both kinds of rewinds were tried");
    lv_arena_deinit(&arena);
    printf("%d failures\n", n_fail);
    return n_fail ? 1 : 0;
}
