/* lever replay: the rounds of a trace decided again. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define MAX_NODE 256 /* of a round; lever.h keeps no more */

/* A trace read into memory. Texts and nodes move while it grows: rounds know places until the end. */
struct recording {
    struct lever_replay_round *round;
    size_t *at_node, *at_text; /* [n] where its nodes begin; where the text behind its root begins */
    size_t *end_text;          /* [n] where that text ends */
    size_t n, cap;
    struct lever_round_node *node;
    size_t n_node, cap_node;
    int32_t *text;
    size_t n_text, cap_text, begin_text; /* begin_text: of the text that is being read */
};

static void recording_deinit(struct recording *x)
{
    free(x->round);
    free(x->at_node);
    free(x->at_text);
    free(x->end_text);
    free(x->node);
    free(x->text);
}

/* Room for more elements behind n. */
static bool reserve(void *array, size_t *cap, size_t n, size_t more, size_t size)
{
    void *old, *grown;

    if (n + more <= *cap)
        return true;
    memcpy(&old, array, sizeof old);
    if (!(grown = realloc(old, 2 * (n + more) * size)))
        return false;
    memcpy(array, &grown, sizeof grown);
    *cap = 2 * (n + more);
    return true;
}

static bool reserve_round(struct recording *x)
{
    size_t cap = x->cap, same = x->cap, again = x->cap, last = x->cap;

    if (!reserve(&x->round, &cap, x->n, 1, sizeof *x->round) || !reserve(&x->at_node, &same, x->n, 1, sizeof *x->at_node) ||
        !reserve(&x->at_text, &again, x->n, 1, sizeof *x->at_text) ||
        !reserve(&x->end_text, &last, x->n, 1, sizeof *x->end_text))
        return false;
    x->cap = cap;
    return true;
}

static bool real_of(const json_t *o, const char *name, double *out)
{
    const json_t *v = json_object_get(o, name);

    *out = json_number_value(v);
    return json_is_number(v);
}

/* The place of "rows" and "seconds" in o, or of a tree's arrays: all of one length. */
static const char *read_tree(struct recording *x, const json_t *tree, struct lever_round *r)
{
    const json_t *token = json_object_get(tree, "token"), *parent = json_object_get(tree, "parent"),
                 *p = json_object_get(tree, "p");
    const size_t n = json_array_size(token);

    if (!n || n > MAX_NODE || json_array_size(parent) != n || json_array_size(p) != n)
        return "\"tree\" needs \"token\", \"parent\" and \"p\" of one length, 1 to 256";
    if (!reserve(&x->node, &x->cap_node, x->n_node, n, sizeof *x->node))
        return "no memory";
    for (size_t i = 0; i < n; i++)
        x->node[x->n_node + i] =
            (struct lever_round_node){ .token = (int32_t)json_integer_value(json_array_get(token, i)),
                                       .parent = (int32_t)json_integer_value(json_array_get(parent, i)),
                                       .p = (float)json_number_value(json_array_get(p, i)) };
    r->n_node = (uint32_t)n;
    return NULL;
}

static const char *read_choice(const json_t *choice, struct lever_round *r)
{
    const json_t *stairs = json_object_get(choice, "stairs"), *rows = json_object_get(stairs, "rows"),
                 *seconds = json_object_get(stairs, "seconds");
    const json_int_t n_row = json_integer_value(json_object_get(choice, "rows"));
    const size_t n = json_array_size(rows);

    if (n_row < 1 || n_row > MAX_NODE || !real_of(choice, "rate", &r->rate) || !real_of(choice, "spent_seconds", &r->spent) ||
        !real_of(choice, "stream_seconds", &r->stream) || !real_of(choice, "head_seconds", &r->head) ||
        !real_of(choice, "fixed_seconds", &r->fixed) || !real_of(choice, "predicted_seconds", &r->predicted) ||
        !real_of(choice, "seconds", &r->seconds))
        return "\"choice\" lacks a number";
    if (!n || n > LEVER_ROUND_STAIRS || json_array_size(seconds) != n)
        return "\"stairs\" needs \"rows\" and \"seconds\" of one length, 1 to 16";
    for (size_t i = 0; i < n; i++) {
        const json_int_t at = json_integer_value(json_array_get(rows, i));

        r->stair[i].rows = at > 0 && at <= 1 << 20 ? (uint32_t)at : 0;
        r->stair[i].seconds = json_number_value(json_array_get(seconds, i));
    }
    r->n_row = (uint32_t)n_row;
    r->n_stair = (uint32_t)n;
    return NULL;
}

/* The text that was being read is complete. */
static void end_text(struct recording *x)
{
    for (size_t k = x->n; k-- > 0 && x->at_text[k] >= x->begin_text && x->end_text[k] == SIZE_MAX;)
        x->end_text[k] = x->n_text;
    x->begin_text = x->n_text;
}

/* One line; what is wrong with it, or NULL. */
static const char *read_line(struct recording *x, const json_t *o)
{
    const json_t *ids = json_object_get(o, "ids"), *tree = json_object_get(o, "tree");
    const size_t n = json_array_size(ids);
    const char *wrong;

    if (!json_is_object(o) || !json_is_integer(json_object_get(o, "round")) || !json_is_array(ids))
        return "expected an object with \"round\" and \"ids\"";
    if (json_integer_value(json_object_get(o, "round")) == 0)
        end_text(x); /* traces may follow one another */
    if (tree) {
        if (!reserve_round(x))
            return "no memory";
        struct lever_round *r = &x->round[x->n].round;

        *r = (struct lever_round){ .size = sizeof *r };
        if ((wrong = read_tree(x, tree, r)) || (wrong = read_choice(json_object_get(o, "choice"), r)))
            return wrong;
        x->at_node[x->n] = x->n_node;
        x->at_text[x->n] = x->n_text;
        x->end_text[x->n++] = SIZE_MAX;
        x->n_node += r->n_node;
    }
    if (!reserve(&x->text, &x->cap_text, x->n_text, n + 1, sizeof *x->text))
        return "no memory";
    for (size_t i = 0; i < n; i++)
        x->text[x->n_text++] = (int32_t)json_integer_value(json_array_get(ids, i));
    return NULL;
}

/* Nothing but white space is left. */
static bool at_end(FILE *f)
{
    int c = fgetc(f);

    while (c == ' ' || c == '\t' || c == '\n' || c == '\r')
        c = fgetc(f);
    return c == EOF || ungetc(c, f) == EOF;
}

static enum lever_status read_trace(struct recording *x, const char *path, struct lever_error *err)
{
    FILE *f = fopen(path, "r");
    const char *wrong = NULL;
    uint64_t n_line = 0;
    json_error_t je = { .line = 0 };
    json_t *o;

    if (!f)
        return lv_cli_fail(err, LEVER_E_IO, "%s: cannot read the trace: %s", path, strerror(errno));
    while (!wrong && !at_end(f)) {
        if (!(o = json_loadf(f, JSON_DISABLE_EOF_CHECK, &je))) {
            wrong = je.text;
        } else {
            n_line++;
            wrong = read_line(x, o);
            json_decref(o);
        }
    }
    const bool failed = ferror(f) != 0;

    fclose(f);
    if (failed)
        return lv_cli_fail(err, LEVER_E_IO, "%s: reading failed", path);
    if (wrong || !n_line)
        return lv_cli_fail(err, LEVER_E_ARG, "%s, %s object %" PRIu64 ": %s; expected what lever run --trace writes", path,
                           wrong == je.text ? "behind" : "in", n_line, wrong ? wrong : "the file is empty");
    end_text(x);
    for (size_t k = 0; k < x->n; k++) {
        x->round[k].round.node = x->node + x->at_node[k];
        x->round[k].next = x->text + x->at_text[k];
        x->round[k].n_next = x->end_text[k] - x->at_text[k];
    }
    return LEVER_OK;
}

/* ---- output ---- */

static json_t *size_json(const struct lever_replay_size *s)
{
    json_t *o = json_pack("{s:o, s:o, s:o, s:o}", "tok_per_s", lv_json_real(s->tok_per_s), "tokens_per_round",
                          lv_json_real(s->tokens_per_round), "rows_per_round", lv_json_real(s->rows_per_round),
                          "seconds_per_round", lv_json_real(s->seconds_per_round));

    if (o && s->rows)
        json_object_set_new(o, "rows", lv_json_uint(s->rows));
    return o;
}

static json_t *replay_json(const struct lever_replay *r)
{
    json_t *fixed = json_array();

    for (uint32_t i = 0; i < r->n_fixed; i++)
        json_array_append_new(fixed, size_json(&r->fixed[i]));
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "rounds", lv_json_uint(r->n_round), "taken",
                     size_json(&r->taken), "chosen", size_json(&r->chosen), "best_fixed", size_json(&r->fixed[r->best]),
                     "of_best_fixed", lv_json_real(r->chosen.tok_per_s / r->fixed[r->best].tok_per_s), "fixed", fixed,
                     "promised", lv_json_real(r->promised), "predicted", lv_json_real(r->predicted), "version",
                     lever_version());
}

static void put_size(const char *name, const struct lever_replay_size *s, const char *note)
{
    printf("%-8s %7.1f %7.2f %9.4f %8.2f%s\n", name, s->rows_per_round, s->tokens_per_round, s->seconds_per_round,
           s->tok_per_s, note);
}

static void put_replay(const struct lever_replay *r)
{
    char name[24];

    printf("%" PRIu64 " rounds; promised / given tokens %.2f, predicted / measured seconds %.2f (median)\n", r->n_round,
           r->promised, r->predicted);
    printf("size     rows/rn tok/rnd   s/round    tok/s\n");
    for (uint32_t i = 0; i < r->n_fixed; i++) {
        snprintf(name, sizeof name, "%" PRIu32, r->fixed[i].rows);
        put_size(name, &r->fixed[i], i == r->best ? "  best in hindsight" : "");
    }
    put_size("taken", &r->taken, "");
    put_size("chosen", &r->chosen, "");
    printf("chosen / best fixed size: %.3f\n", r->chosen.tok_per_s / r->fixed[r->best].tok_per_s);
}

static enum lever_status replay(const char *path, struct lever_replay *out, struct lever_error *err)
{
    struct recording x = { .n = 0 };
    enum lever_status st;

    *out = (struct lever_replay){ .size = sizeof *out };
    if ((st = read_trace(&x, path, err)) >= 0)
        st = lever_replay(x.round, x.n, out, err);
    recording_deinit(&x);
    return st;
}

enum lever_status lv_replay_file(const char *path, json_t **out, struct lever_error *err)
{
    struct lever_replay r;

    if (replay(path, &r, err) < 0)
        return err->status;
    *out = replay_json(&r);
    return LEVER_OK;
}

int lv_cli_replay(const struct lv_args *a)
{
    struct lever_replay out;
    struct lever_error err = { .status = LEVER_OK };

    if (replay(a->trace, &out, &err) < 0)
        return lv_report(&err, a->json);
    if (a->json)
        return lv_json_print(replay_json(&out));
    put_replay(&out);
    return lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
}
