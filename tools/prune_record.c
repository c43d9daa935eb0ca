/* Records what rounds of tree decoding looked like inside the target: data for fitting and judging early-exit pruning.
 *
 *   prune_record -m TARGET -md DRAFT --prompts FILE --out FILE [--depths 12,16,20] [--rows N] [--tokens N]
 *                [--first I] [--count N] [--memory BYTES] [--threads N] [--step N]
 *
 * The target writes greedily, up to --tokens. --step: of a prompt's rows every Nth is kept. --rows N: trees of N rows whatever they cost; without it trees are as large as decoding finds
 * best. For each round the tree, the draft's candidates below every row, the states of these rows after some layers
 * and after the last one, and what the target drew. tools/train_prune.py and tools/prune_report.py read it.
 *
 *   file    "LVPRUNE1" | u32 n_embd, n_layer, n_depth, depth[16] | u64 fingerprint of the target | records
 *   record  u32 kind, prompt, position, n_node, n_row, n_saved, n_visited, n_text
 *   kind 0  a prompt begins: n_text bytes, its name "task/id"
 *   kind 1  rows of the prompt: states of n_saved rows
 *   kind 2  a round: i32 token[n_node], i32 parent[n_node], f32 draft_p[n_node], f32 p[n_node], u8 rank[n_node] padded to 4;
 *           i32 visited[n_visited], i32 drawn[n_visited]; i32 saved[n_saved]; states of these
 *   states  f16 [n_saved][n_depth + 1][n_embd], the last one after all layers
 *
 * Nodes n_row .. n_node - 1 are candidates of the draft that were no rows. draft_p 0: from prompt lookup. p: calibrated,
 * given the parent. Depth d: d layers are done. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lever/lever.h>

#include "base/half.h"
#include "engine/seq.h"

#define MAX_DEPTHS 16
#define MAX_NODES (LV_TREE_MAX + LV_GROW_MAX)
#define FREE_ROWS 1e3 /* seconds a pass waits anyway: rows cost nothing then */

static struct {
    const char *target, *draft, *prompts, *out;
    uint32_t depth[MAX_DEPTHS], n_depth, rows, tokens, first, count, threads, step;
    uint64_t memory;
} opt = { .tokens = 160, .count = UINT32_MAX, .step = 3 };

struct record {
    uint32_t kind, prompt, position, n_node, n_row, n_saved, n_visited, n_text;
};

struct recorder {
    lever_seq *q;
    FILE *f;
    uint32_t op[MAX_DEPTHS]; /* before these, the depth's layers are done */
    uint32_t n_embd, n_row;
    uint16_t *state;         /* [LV_TREE_MAX][n_depth + 1][n_embd] */
    struct record r;
    bool begun;
    int32_t token[MAX_NODES], parent[MAX_NODES], saved[LV_TREE_MAX];
    float draft_p[MAX_NODES], p[MAX_NODES];
    uint8_t rank[MAX_NODES];
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "prune_record: %s: %s\n", what, why);
    exit(1);
}

/* ---- in a pass ------------------------------------------------------------------ */

static uint16_t *state_of(struct recorder *c, uint32_t row, uint32_t i_depth)
{
    return c->state + ((size_t)row * (opt.n_depth + 1) + i_depth) * c->n_embd;
}

static void keep_states(struct recorder *c, uint32_t i_depth)
{
    const struct lv_exec *x = &c->q->e->target.exec;

    for (uint32_t i = 0; i < c->n_row; i++) {
        const float *h = lv_exec_row(x, LV_BUF_X, i);
        uint16_t *out = state_of(c, i, i_depth);

        for (uint32_t k = 0; k < c->n_embd; k++)
            out[k] = lv_f16_from_f32(h[k]);
    }
}

static void add_node(struct recorder *c, int32_t parent, const struct lv_grow_node *v, float parent_lp)
{
    const uint32_t i = c->r.n_node++;

    c->token[i] = v->token;
    c->parent[i] = parent;
    c->draft_p[i] = v->draft_p;
    c->p[i] = expf(v->lp - parent_lp);
    c->rank[i] = v->rank;
}

/* The tree as it is verified, and candidates below its rows that are no rows. */
static void keep_tree(struct recorder *c)
{
    const lever_seq *q = c->q;
    const struct lv_grow *g = &q->draft.grow;
    const struct lv_tree *t = &q->tree;
    int32_t row_of[LV_GROW_MAX];
    bool has_child[LV_TREE_MAX] = { false };

    for (int32_t i = 0; i < LV_GROW_MAX; i++)
        row_of[i] = -1;
    c->r = (struct record){ .kind = 2, .prompt = c->r.prompt, .position = q->n - 1, .n_row = t->n };
    for (uint32_t i = 0; i < t->n; i++) {
        const struct lv_grow_node *v = &g->node[q->map[i]];

        row_of[q->map[i]] = (int32_t)i;
        add_node(c, t->parent[i], v, i ? g->node[q->map[t->parent[i]]].lp : v->lp);
        if (i)
            has_child[t->parent[i]] = true;
    }
    for (int32_t i = 0; i < LV_GROW_MAX; i++) {
        const struct lv_grow_node *v = &g->node[i];

        if (v->state == LV_GROW_FREE || v->spine || v->doomed || i == g->root || row_of[i] >= 0 || row_of[v->parent] < 0)
            continue;
        add_node(c, row_of[v->parent], v, g->node[v->parent].lp);
        has_child[row_of[v->parent]] = true;
    }
    for (uint32_t i = 0; i < t->n; i++)
        if (has_child[i])
            c->saved[c->r.n_saved++] = (int32_t)i;
}

static void between(void *recorder, uint32_t i_op)
{
    struct recorder *c = recorder;

    if (!c->begun && !c->q->fresh && c->r.kind == 2)
        keep_tree(c);
    c->begun = true;
    c->n_row = c->q->tree.n;
    for (uint32_t d = 0; d < opt.n_depth; d++)
        if (c->op[d] == i_op)
            keep_states(c, d);
}

static void find_ops(struct recorder *c)
{
    const struct lv_program *p = c->q->e->target.program;

    for (uint32_t d = 0; d < opt.n_depth; d++) {
        c->op[d] = 0;
        for (uint32_t i = 0; i + 1 < p->n_op && !c->op[d]; i++)
            if (p->op[i].layer == opt.depth[d] && p->op[i].kind == LV_OP_NORM)
                c->op[d] = i + 1;
        if (!c->op[d] || !opt.depth[d])
            die("--depths", "not a layer of the target");
    }
}

/* ---- writing --------------------------------------------------------------------- */

static void put(struct recorder *c, const void *data, size_t bytes)
{
    if (bytes && fwrite(data, bytes, 1, c->f) != 1)
        die(opt.out, strerror(errno));
}

static void put_states(struct recorder *c)
{
    for (uint32_t i = 0; i < c->r.n_saved; i++)
        put(c, state_of(c, (uint32_t)c->saved[i], 0), (size_t)(opt.n_depth + 1) * c->n_embd * sizeof(uint16_t));
}

static void put_round(struct recorder *c, const int32_t *drawn, uint32_t n)
{
    const struct lv_tree *t = &c->q->tree;
    int32_t visited[LV_TREE_MAX], node = 0;
    static const uint8_t zero[4] = { 0 };

    for (uint32_t i = 0; i < n; i++) {
        visited[i] = node;
        node = lv_tree_child(t, node, drawn[i]);
    }
    c->r.n_visited = n;
    keep_states(c, opt.n_depth);
    put(c, &c->r, sizeof c->r);
    put(c, c->token, c->r.n_node * sizeof *c->token);
    put(c, c->parent, c->r.n_node * sizeof *c->parent);
    put(c, c->draft_p, c->r.n_node * sizeof *c->draft_p);
    put(c, c->p, c->r.n_node * sizeof *c->p);
    put(c, c->rank, c->r.n_node);
    put(c, zero, (4 - c->r.n_node % 4) % 4);
    put(c, visited, n * sizeof *visited);
    put(c, drawn, n * sizeof *drawn);
    put(c, c->saved, c->r.n_saved * sizeof *c->saved);
    put_states(c);
}

/* The last bucket of the prompt, rows spread over it. */
static void put_prompt_rows(struct recorder *c)
{
    c->r = (struct record){ .kind = 1, .prompt = c->r.prompt };
    keep_states(c, opt.n_depth);
    for (uint32_t i = 0; i < c->n_row; i += opt.step)
        c->saved[c->r.n_saved++] = (int32_t)i;
    put(c, &c->r, sizeof c->r);
    put_states(c);
}

/* ---- a prompt ----------------------------------------------------------------------- */

static uint32_t write_text(struct recorder *c, lever_engine *e, const int32_t *ids, size_t n_ids)
{
    struct lever_error err;
    struct lv_exec *x = &e->target.exec;
    uint32_t n_text = 0;
    size_t at = 0;

    if (lever_seq_new(e, NULL, &c->q, &err) < 0)
        die("sequence", err.message);
    find_ops(c);
    while (at < n_ids) { /* a bucket at a time: its states are still at hand then */
        const size_t left = n_ids - at, n = left < x->max_rows ? left : x->max_rows;

        x->between = between;
        x->between_ctx = c;
        c->r.kind = 1;
        if (lever_prompt(c->q, ids + at, n, &err) < 0)
            die("prompt", err.message);
        put_prompt_rows(c);
        at += n;
    }
    while (n_text < opt.tokens) {
        int32_t out[LV_TREE_MAX];
        size_t n;
        const bool round = !c->q->fresh;

        if (opt.rows)
            c->q->cost.t_stream = FREE_ROWS;
        c->begun = false;
        c->r.kind = 2;
        c->q->watch = between;
        c->q->watch_ctx = c;
        const enum lever_status st = lever_step(c->q, out, LV_TREE_MAX, &n, &err);

        if (st < 0)
            die("step", err.message);
        if (round)
            put_round(c, out, (uint32_t)n);
        n_text += (uint32_t)n;
        if (st == LEVER_DONE)
            break;
    }
    x->between = NULL;
    lever_seq_free(c->q);
    return n_text;
}

static void record_prompt(struct recorder *c, lever_engine *e, const json_t *o)
{
    const json_t *list = json_object_get(o, "messages");
    const json_t *m = json_array_get(list, 0);
    const char *content = json_string_value(json_object_get(m, "content"));
    const struct lever_message message = { json_string_value(json_object_get(m, "role")), content };
    struct lever_error err;
    int32_t ids[8192];
    char name[200];
    size_t n;

    if (!content || !message.role)
        die(opt.prompts, "a line without messages");
    if (lever_chat_tokenize(e, &message, 1, ids, sizeof ids / sizeof *ids, &n, &err) < 0)
        die("tokenize", err.message);
    snprintf(name, sizeof name, "%s/%s", json_string_value(json_object_get(o, "task")), json_string_value(json_object_get(o, "id")));
    c->r.kind = 0;
    const struct record begin = { .prompt = c->r.prompt, .n_text = (uint32_t)strlen(name) };

    put(c, &begin, sizeof begin);
    put(c, name, strlen(name));
    const uint32_t n_text = write_text(c, e, ids, n);

    printf("%s: %zu + %u tokens\n", name, n, n_text);
    fflush(stdout);
    c->r.prompt++;
}

/* ---- arguments ----------------------------------------------------------------------- */

static void parse_depths(const char *s)
{
    opt.n_depth = 0;
    while (*s && opt.n_depth < MAX_DEPTHS) {
        char *end;

        opt.depth[opt.n_depth++] = (uint32_t)strtoul(s, &end, 10);
        s = *end == ',' ? end + 1 : end;
        if (*end && *end != ',')
            die("--depths", "expected numbers with commas between");
    }
}

static void parse(int argc, char **argv)
{
    parse_depths("12,14,16,18,20,22,24,26");
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *o = argv[i], *v = argv[i + 1];

        if (!strcmp(o, "-m"))
            opt.target = v;
        else if (!strcmp(o, "-md"))
            opt.draft = v;
        else if (!strcmp(o, "--prompts"))
            opt.prompts = v;
        else if (!strcmp(o, "--out"))
            opt.out = v;
        else if (!strcmp(o, "--depths"))
            parse_depths(v);
        else if (!strcmp(o, "--rows"))
            opt.rows = (uint32_t)strtoul(v, NULL, 10);
        else if (!strcmp(o, "--tokens"))
            opt.tokens = (uint32_t)strtoul(v, NULL, 10);
        else if (!strcmp(o, "--first"))
            opt.first = (uint32_t)strtoul(v, NULL, 10);
        else if (!strcmp(o, "--count"))
            opt.count = (uint32_t)strtoul(v, NULL, 10);
        else if (!strcmp(o, "--threads"))
            opt.threads = (uint32_t)strtoul(v, NULL, 10);
        else if (!strcmp(o, "--step"))
            opt.step = (uint32_t)strtoul(v, NULL, 10);
        else if (!strcmp(o, "--memory"))
            opt.memory = strtoull(v, NULL, 10);
        else
            die(o, "unknown option");
    }
    if (!opt.target || !opt.draft || !opt.prompts || !opt.out || !opt.step)
        die("arguments", "-m, -md, --prompts, --out and a --step above 0 are required");
}

static lever_engine *open_engine(void)
{
    struct lever_options o;
    struct lever_error err;
    lever_engine *e;

    lever_options_default(&o, sizeof o);
    o.target_path = opt.target;
    o.draft_path = opt.draft;
    o.n_ctx = 2048;
    o.memory_bytes = opt.memory;
    o.n_threads = opt.threads;
    o.speculation = LEVER_SPEC_TREE;
    o.tree_rows = opt.rows;
    o.no_overlap = true;
    o.prune = LEVER_PRUNE_OFF;
    if (lever_open(&e, &o, &err) < 0)
        die("open", err.message);
    return e;
}

int main(int argc, char **argv)
{
    static struct recorder c;
    static char line[1 << 20];

    parse(argc, argv);
    FILE *in = fopen(opt.prompts, "r");

    if (!in)
        die(opt.prompts, strerror(errno));
    lever_engine *e = open_engine();

    c.n_embd = e->target.program->shape.n_embd;
    c.f = fopen(opt.out, "wb");
    c.state = malloc((size_t)LV_TREE_MAX * (opt.n_depth + 1) * c.n_embd * sizeof *c.state);
    if (!c.f || !c.state)
        die(opt.out, strerror(errno));
    const uint32_t shape[] = { c.n_embd, e->target.program->shape.n_layer, opt.n_depth };
    const uint64_t fingerprint = lv_engine_hash_model(0, e->target.gguf);

    put(&c, "LVPRUNE1", 8);
    put(&c, shape, sizeof shape);
    put(&c, opt.depth, sizeof opt.depth);
    put(&c, &fingerprint, sizeof fingerprint);
    for (uint32_t i = 0; fgets(line, sizeof line, in) && (i < opt.first || i - opt.first < opt.count); i++) {
        json_t *o;

        if (i < opt.first)
            continue;
        if (!(o = json_loads(line, 0, NULL)))
            die(opt.prompts, "a line is no JSON");
        c.r.prompt = i;
        record_prompt(&c, e, o);
        json_decref(o);
    }
    fclose(in);
    if (fclose(c.f) != 0)
        die(opt.out, strerror(errno));
    lever_close(e);
    free(c.state);
    return 0;
}
