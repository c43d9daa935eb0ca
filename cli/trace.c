/* --trace: one JSON object a line for each verify pass, figures of that pass alone. */
#include <errno.h>
#include <string.h>

#include "cli.h"

enum lever_status lv_trace_open(struct lv_trace *t, const char *path, struct lever_error *err)
{
    *t = (struct lv_trace){ .path = path };
    if (!path)
        return LEVER_OK;
    if (!(t->f = fopen(path, "w")))
        return lv_cli_fail(err, LEVER_E_IO, "%s: cannot write the trace: %s", path, strerror(errno));
    return LEVER_OK;
}

/* Of the last pass: what the counters have grown by. */
#define GROWN(field) (now.field - t->last.field)

enum lever_status lv_trace_round(struct lv_trace *t, const lever_engine *e, const lever_seq *seq, const int32_t *ids,
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
