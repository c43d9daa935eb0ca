/* Growing the draft's tree in batches costs little against expanding one node at a time, the likeliest first, until the best
 * 128 are certain: tokens a round at the same rows and depth, on 20 places and more in real texts, within 3 %.
 *
 * usage: test_expansion */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "e2e/host.h"
#include "engine/seq.h"

#define N_TASK 7
#define N_GEN 60
#define N_NODE 128
#define MAX_STEPS 300
#define LIMIT 0.97

static const uint32_t offsets[] = { 1, 9, 17, 28 };
#define N_OFFSET (sizeof offsets / sizeof *offsets)
#define TEXT_LEFT 15 /* tokens behind a place */
static const struct {
    uint32_t rows, steps;
} sizes[] = { { 16, 8 }, { 32, 8 }, { 32, 16 }, { 64, 16 }, { 128, 16 }, { 128, 24 } };
#define N_SIZE (sizeof sizes / sizeof *sizes)

/* Tokens that a round over the best `rows` nodes down to `depth` gives: those of the text that are on a path, and one. */
static uint32_t tokens(const lever_seq *q, uint32_t rows, uint32_t depth, const int32_t *text, uint32_t n_text)
{
    static struct lv_tree t;
    static int32_t map[LV_TREE_MAX];
    uint32_t n = 0;

    lv_grow_select(&q->draft.grow, rows, depth, &t, map);
    for (int32_t at = 0; at >= 0 && n < n_text; n++)
        at = lv_tree_child(&t, at, text[n]);
    return n;
}

/* No open node is as likely as the last of the best N_NODE. */
static bool settled(const struct lv_grow *g)
{
    static struct lv_grow_ranked r[LV_GROW_MAX];
    const uint32_t n = lv_grow_rank(g, UINT16_MAX, r);

    for (uint32_t i = 0; i < n && i < N_NODE; i++)
        if (g->node[r[i].node].state == LV_GROW_OPEN)
            return false;
    return n >= N_NODE;
}

static bool begin(lever_seq *q, uint32_t n)
{
    struct lever_error err;

    if (lv_draft_keep(&q->draft, n - 1, &err) >= 0 && lv_draft_sync(&q->draft, q->text, n, &err) >= 0)
        return true;
    printf("FAIL sync: %s\n", err.message);
    return false;
}

static bool measure(lever_seq *q, uint32_t n, double sum[N_SIZE][2])
{
    struct lv_draft *d = &q->draft;

    d->p_min = 1e-4f;
    d->n_child = LV_DRAFT_CHILDREN;
    if (!begin(q, n))
        return false;
    d->n_open = LV_DRAFT_OPEN;
    for (uint32_t step = 0; step < 24; step++) {
        for (size_t i = 0; i < N_SIZE; i++)
            if (sizes[i].steps == step)
                sum[i][0] += tokens(q, sizes[i].rows, sizes[i].steps, q->text + n, q->n - n);
        if (lv_draft_run(d, 1, NULL) < 0)
            return false;
    }
    for (size_t i = 0; i < N_SIZE; i++)
        if (sizes[i].steps == 24)
            sum[i][0] += tokens(q, sizes[i].rows, sizes[i].steps, q->text + n, q->n - n);
    if (!begin(q, n))
        return false;
    d->n_open = 1;
    for (uint32_t step = 0; step < MAX_STEPS && !settled(&d->grow) && !(step && lv_draft_starved(d)); step++)
        if (lv_draft_run(d, 1, NULL) < 0)
            return false;
    for (size_t i = 0; i < N_SIZE; i++)
        sum[i][1] += tokens(q, sizes[i].rows, sizes[i].steps, q->text + n, q->n - n);
    return true;
}

/* The first prompt of each task through the target; then the draft alone at places of that text. */
static bool run_prompt(lever_engine *e, const char *prompt, double sum[N_SIZE][2], uint32_t *n_context)
{
    static int32_t ids[4096], out[N_GEN];
    const struct lever_message message = { "user", prompt };
    struct lever_error err;
    lever_seq *q = NULL;
    size_t n = 0, got, n_gen = 0;
    enum lever_status st = lever_chat_tokenize(e, &message, 1, ids, 4096, &n, &err);

    if (st >= 0)
        st = lever_seq_new(e, NULL, &q, &err);
    if (st >= 0)
        st = lever_prompt(q, ids, n, &err);
    for (; st == LEVER_OK && n_gen < N_GEN; n_gen += got)
        st = lever_step(q, out, N_GEN - n_gen, &got, &err);
    if (st < 0)
        printf("FAIL %s\n", err.message);
    for (size_t i = 0; st >= 0 && i < N_OFFSET && offsets[i] + TEXT_LEFT <= n_gen; i++, ++*n_context)
        if (!measure(q, (uint32_t)n + offsets[i], sum))
            st = LEVER_E_INTERNAL;
    lever_seq_free(q);
    return st >= 0;
}

int main(void)
{
    const char *target = host_model_path("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf");
    const char *draft = host_model_path("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf");
    double sum[N_SIZE][2] = { { 0 } };
    struct lever_options opt;
    struct lever_error err;
    lever_engine *e = NULL;
    const char *seen[N_TASK] = { 0 };
    json_t *line[N_TASK] = { 0 };
    uint32_t n_seen = 0, n_context = 0;
    bool ok = true;

    if (!target || !draft)
        return 77;
    lever_options_default(&opt, sizeof opt);
    opt.target_path = target;
    opt.draft_path = draft;
    opt.speculation = LEVER_SPEC_TREE;
    opt.n_ctx = 2048;
    if (lever_open(&e, &opt, &err) < 0) {
        printf("FAIL %s\n", err.message);
        return 1;
    }
    FILE *f = fopen(LEVER_TEST_DATA "/../prompts/prompts.jsonl", "r");
    json_t *o;

    while (ok && f && n_seen < N_TASK && (o = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL))) {
        const char *task = json_string_value(json_object_get(o, "task"));
        const char *prompt = json_string_value(json_object_get(json_array_get(json_object_get(o, "messages"), 0), "content"));
        bool known = !task || !prompt;

        for (uint32_t i = 0; i < n_seen; i++)
            known = known || strcmp(seen[i], task) == 0;
        if (known) {
            json_decref(o);
            continue;
        }
        line[n_seen] = o;
        seen[n_seen++] = task;
        ok = run_prompt(e, prompt, sum, &n_context);
    }
    if (f)
        fclose(f);
    lever_close(e);
    for (uint32_t i = 0; i < n_seen; i++)
        json_decref(line[i]);
    printf("%u places in %u texts; tokens a round\n", n_context, n_seen);
    for (size_t i = 0; i < N_SIZE; i++) {
        const double share = sum[i][0] / sum[i][1];

        printf("%3u rows, %2u steps: %.2f in batches, %.2f exact: %.3f\n", sizes[i].rows, sizes[i].steps,
               sum[i][0] / n_context, sum[i][1] / n_context, share);
        ok = ok && share >= LIMIT;
    }
    return ok && n_context >= 20 ? 0 : 1;
}
