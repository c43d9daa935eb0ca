/* --trace: one JSON object a line for each verify pass, figures of that pass alone. */
#include <errno.h>
#include <string.h>

#include "cli.h"

enum lever_status lv_trace_open(struct lv_trace *t, const char *path, const struct lv_prompt *prompt, struct lever_error *err)
{
    *t = (struct lv_trace){ .path = path, .prompt = prompt };
    if (!path)
        return LEVER_OK;
    if (!(t->f = fopen(path, "w")))
        return lv_cli_fail(err, LEVER_E_IO, "%s: cannot write the trace: %s", path, strerror(errno));
    return LEVER_OK;
}

/* What the round chose from: all that lever replay needs. */
static void add_choice(json_t *line, const struct lever_round *r)
{
    json_t *token = json_array(), *parent = json_array(), *p = json_array(), *from = json_array();
    json_t *rows = json_array(), *seconds = json_array();

    for (uint32_t i = 0; i < r->n_node; i++) {
        json_array_append_new(token, json_integer(r->node[i].token));
        json_array_append_new(parent, json_integer(r->node[i].parent));
        json_array_append_new(p, lv_json_real((double)r->node[i].p));
        json_array_append_new(from, json_integer(r->node[i].from));
    }
    for (uint32_t i = 0; i < r->n_stair; i++) {
        json_array_append_new(rows, json_integer(r->stair[i].rows));
        json_array_append_new(seconds, lv_json_real(r->stair[i].seconds));
    }
    json_object_set_new(line, "tree", json_pack("{s:o, s:o, s:o, s:o}", "token", token, "parent", parent, "p", p, "from", from));
    json_object_set_new(line, "choice",
                        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:o, s:o}}",
                                  "rows", lv_json_uint(r->n_row),
                                  "rate", lv_json_real(r->rate),
                                  "spent_seconds", lv_json_real(r->spent),
                                  "stream_seconds", lv_json_real(r->stream),
                                  "head_seconds", lv_json_real(r->head),
                                  "fixed_seconds", lv_json_real(r->fixed),
                                  "predicted_seconds", lv_json_real(r->predicted),
                                  "seconds", lv_json_real(r->seconds),
                                  "stairs", "rows", rows, "seconds", seconds));
}

/* Microseconds since the round began, [begin, end, begin, end, ...], rising; those that end before `from` are left out. */
static json_t *spans_json(const struct lever_span *span, size_t n, double from)
{
    json_t *o = json_array();

    for (size_t i = 0; i < n; i++) {
        if (span[i].end <= from)
            continue;
        json_array_append_new(o, json_integer((json_int_t)(1e6 * (span[i].begin > from ? span[i].begin : from))));
        json_array_append_new(o, json_integer((json_int_t)(1e6 * span[i].end)));
    }
    return o;
}

/* When what went on. */
static void add_spans(json_t *line, lever_seq *seq)
{
    struct lever_spans s = { .size = sizeof s };

    if (lever_last_spans(seq, &s) < 0 || !(s.end > 0))
        return;
    const struct lever_span drafting = { 0, s.pass }, pass = { s.pass, s.head }, head = { s.head, s.end };

    json_object_set_new(line, "spans",
                        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                                  "drafting", spans_json(&drafting, s.pass > 0, 0),
                                  "pass", spans_json(&pass, 1, 0),
                                  "head", spans_json(&head, 1, 0),
                                  "reads", spans_json(s.read, s.n_read, 0),
                                  "background", spans_json(s.draft, s.n_draft, s.pass),
                                  "wait_seconds", lv_json_real(s.wait),
                                  "background_seconds", lv_json_real(s.background)));
}

/* Of the last pass: what the counters have grown by. */
#define GROWN(field) (now.field - t->last.field)

enum lever_status lv_trace_round(struct lv_trace *t, const lever_engine *e, lever_seq *seq, const int32_t *ids,
                                 size_t n, struct lever_error *err)
{
    struct lever_stats now = { .size = sizeof now };

    if (!t->f)
        return LEVER_OK;
    lever_stats(e, seq, &now);
    const double seconds = GROWN(seconds_decode);
    json_t *line = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o, s:o}}",
                             "round", lv_json_uint(t->n_line),
                             "ids", lv_json_ids(ids, n),
                             "rows", lv_json_uint(GROWN(n_row)),
                             "drafted", lv_json_uint(GROWN(n_drafted)),
                             "accepted", lv_json_uint(GROWN(n_accepted)),
                             "expected", lv_json_real(GROWN(expected_tokens)),
                             "seconds", lv_json_real(seconds),
                             "predicted_seconds", lv_json_real(GROWN(seconds_predicted)),
                             "exposed_draft_seconds", lv_json_real(GROWN(seconds_draft)),
                             "stream",
                                 "bytes", lv_json_uint(GROWN(streamed_bytes)),
                                 "rate", lv_json_real(seconds > 0 ? (double)GROWN(streamed_bytes) / seconds : 0),
                                 "idle_seconds", lv_json_real(GROWN(seconds_stream_idle)),
                                 "wait_seconds", lv_json_real(GROWN(seconds_stream_wait)));

    if (!t->n_line)
        json_object_set_new(line, "prompt", lv_json_ids(t->prompt->ids, t->prompt->n_ids));

    struct lever_round round = { .size = sizeof round };

    if (lever_last_round(seq, &round) >= 0 && round.n_node && round.n_stair)
        add_choice(line, &round);
    add_spans(line, seq);
    if (!lv_json_write(t->f, line))
        return lv_cli_fail(err, LEVER_E_NOMEM, "no memory for the trace");
    t->last = now;
    t->n_line++;
    if (ferror(t->f))
        return lv_cli_fail(err, LEVER_E_IO, "%s: writing the trace failed: %s", t->path, strerror(errno));
    return LEVER_OK;
}

enum lever_status lv_trace_close(struct lv_trace *t, struct lever_error *err)
{
    FILE *f = t->f;

    t->f = NULL;
    if (f && fclose(f) != 0)
        return lv_cli_fail(err, LEVER_E_IO, "%s: writing the trace failed: %s", t->path, strerror(errno));
    return LEVER_OK;
}
