/* lever run: a prompt in, text out as it comes, figures at the end. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "text.h"

/* Most tokens of one step: above any accepted path (trees go to 256 rows). */
#define CAP_STEP_TOK 512

/* What has been generated. */
struct output {
    struct lv_text text;
    int32_t *ids;       /* [n_ids], cap_ids allocated, owned */
    size_t *off_text;   /* [n_ids] text bytes before each token, owned */
    size_t n_ids, cap_ids;
    size_t n_made;      /* also those that a stop string cut off */
    const char *finish; /* finish_reason */
    bool newline;       /* shown text ends with one */
};

static bool output_add(struct output *o, int32_t id)
{
    if (o->n_ids == o->cap_ids) {
        const size_t cap = 2 * o->cap_ids + 256;
        int32_t *ids = realloc(o->ids, cap * sizeof *ids);
        size_t *off;

        if (ids)
            o->ids = ids;
        off = realloc(o->off_text, cap * sizeof *off);
        if (off)
            o->off_text = off;
        if (!ids || !off)
            return false;
        o->cap_ids = cap;
    }
    o->ids[o->n_ids] = id;
    o->off_text[o->n_ids++] = o->text.n_bytes;
    return true;
}

/* Prints what is ready. Control characters are left out on a terminal: a model must not drive it. */
static bool show(struct output *o, bool last)
{
    const bool terminal = isatty(STDOUT_FILENO);
    const char *from;
    const size_t n = lv_text_take(&o->text, last, &from);
    size_t n_clean = 0;
    char *clean;

    if (n == 0)
        return true;
    if (!(clean = lv_utf8_clean(from, n, &n_clean)))
        return false;
    for (size_t i = 0; i < n_clean; i++) {
        const unsigned char c = (unsigned char)clean[i];

        if (!terminal || c >= 0x20 || c == '\n' || c == '\t')
            putchar(c);
    }
    o->newline = n_clean && clean[n_clean - 1] == '\n';
    free(clean);
    fflush(stdout);
    return true;
}

/* Takes the tokens of one step. A stop string drops those that lie wholly behind the cut, in the
 * sequence too. */
static enum lever_status take(struct output *o, const lever_engine *e, lever_seq *seq, const int32_t *ids, size_t n,
                              struct lever_error *err)
{
    size_t i;

    for (i = 0; i < n && !o->text.stopped; i++) {
        const char *bytes = NULL;
        size_t len = 0;

        if (lever_token_bytes(e, ids[i], false, &bytes, &len) < 0)
            return lv_cli_fail(err, LEVER_E_INTERNAL, "token %" PRId32 " has no text", ids[i]);
        if (!output_add(o, ids[i]) || !lv_text_push(&o->text, bytes, len))
            return lv_cli_fail(err, LEVER_E_NOMEM, "no memory for the text");
    }
    o->n_made += n;
    if (o->text.stopped) {
        size_t n_drop = n - i;

        while (o->n_ids > 0 && o->off_text[o->n_ids - 1] >= o->text.n_bytes) {
            o->n_ids--;
            n_drop++;
        }
        o->finish = "stop";
        if (n_drop > 0)
            return lever_rewind(seq, n_drop, err);
    }
    return LEVER_OK;
}

static enum lever_status generate(const struct lv_args *a, const lever_engine *e, lever_seq *seq, struct output *o,
                                  struct lv_trace *trace, struct lever_error *err)
{
    int32_t ids[CAP_STEP_TOK];
    enum lever_status st = LEVER_OK;

    while (st == LEVER_OK && !o->text.stopped) {
        const size_t left = a->n_predict < 0 ? CAP_STEP_TOK : (size_t)a->n_predict - o->n_made;
        size_t n = 0;

        if (left == 0)
            break;
        if (lv_interrupted())
            return lv_cli_fail(err, LEVER_E_CANCEL, "interrupted");
        st = lever_step(seq, ids, left < CAP_STEP_TOK ? left : CAP_STEP_TOK, &n, err);
        if (st < 0)
            return st;
        if (st == LEVER_DONE && n > 0 && lever_token_is_end(e, ids[n - 1]))
            o->finish = "stop";
        if (lv_trace_round(trace, e, seq, ids, n, err) < 0)
            return err->status;
        if (take(o, e, seq, ids, n, err) < 0)
            return err->status;
        if (!a->json && !show(o, false))
            return lv_cli_fail(err, LEVER_E_NOMEM, "no memory for the text");
        if (ferror(stdout))
            return lv_cli_fail(err, LEVER_E_IO, "writing to standard output failed");
    }
    return LEVER_OK;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static json_t *result_json(const struct output *o, const struct lever_stats *s, size_t n_prompt)
{
    const double rounds = (double)s->n_round, decode = s->seconds_decode;

    return json_pack(
        "{s:o, s:o, s:s, s:o, s:o, s:{s:o, s:o, s:o}, s:o, s:o, s:o, s:o, s:{s:o, s:o}, s:{s:o, s:o}, s:{s:o, s:o, s:o},"
        " s:{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}, s:o, s:o, s:o, s:s}",
        "text", lv_json_text(o->text.bytes ? o->text.bytes : "", o->text.n_bytes),
        "ids", lv_json_ids(o->ids, o->n_ids),
        "finish_reason", o->finish,
        "prompt_tokens", lv_json_uint(n_prompt),
        "tokens", lv_json_uint(o->n_ids),
        "seconds",
            "load", lv_json_real(s->seconds_load),
            "prefill", lv_json_real(s->seconds_prefill),
            "decode", lv_json_real(decode),
        "tok_per_s", lv_json_real(ratio((double)o->n_made, decode)),
        "rounds", lv_json_uint(s->n_round),
        "tokens_per_round", lv_json_real(ratio((double)o->n_made, rounds)),
        "rows_per_round", lv_json_real(ratio((double)s->n_row, rounds)),
        "bytes",
            "streamed", lv_json_uint(s->streamed_bytes),
            "per_round", lv_json_uint(s->n_round ? s->streamed_bytes / s->n_round : 0),
        "stream",
            "rate", lv_json_real(ratio((double)s->streamed_bytes, decode)),
            "idle_share", lv_json_real(ratio(s->seconds_stream_idle, decode)),
        "memory",
            "budget", lv_json_uint(s->memory_budget),
            "planned", lv_json_uint(s->memory_planned),
            "peak_rss", lv_json_uint(s->peak_rss),
        "speculation",
            "mode", lv_json_str(s->speculation ? s->speculation : "off"),
            "drafted", lv_json_uint(s->n_drafted),
            "accepted", lv_json_uint(s->n_accepted),
            "pruned", lv_json_uint(s->n_pruned),
            "prune_lost", lv_json_real(s->n_prune_lost),
            "prune_seconds", lv_json_real(s->seconds_prune),
            "lookup_accepted", lv_json_uint(s->n_lookup_accepted),
            "bonus_in_tree", lv_json_uint(s->n_bonus_in_tree),
            "bonus_by_peek", lv_json_uint(s->n_bonus_by_peek),
            "rested", lv_json_uint(s->n_rested),
            "note", s->speculation_note ? lv_json_str(s->speculation_note) : json_null(),
            "exposed_draft_seconds", lv_json_real(s->seconds_draft),
            "embed_wait_seconds", lv_json_real(s->seconds_embed_wait),
        "reader", lv_json_str(s->reader),
        "reader_method", lv_json_str(s->reader_method),
        "kernels", lv_json_str(s->kernels),
        "version", lever_version());
}

static void put_summary(const struct output *o, const struct lever_stats *s, size_t n_prompt)
{
    char peak[24], budget[24], streamed[24];
    const bool bounded = s->memory_budget != 0 && s->memory_budget != LEVER_MEMORY_AUTO;

    lv_say("%zu tokens in %.2f s: %.2f tok/s, %.2f tokens a round (%s); prompt %zu tokens in %.2f s, load %.2f s",
           o->n_ids, s->seconds_decode, ratio((double)o->n_made, s->seconds_decode),
           ratio((double)o->n_made, (double)s->n_round), s->speculation ? s->speculation : "off", n_prompt,
           s->seconds_prefill, s->seconds_load);
    if (s->n_rested)
        lv_say("%" PRIu64 " rounds without drafting; %s", s->n_rested, s->speculation_note);
    lv_say("memory peak %s%s%s; %s streamed (%s reads); %s kernels", lv_size_text(peak, s->peak_rss),
           bounded ? " of " : "", bounded ? lv_size_text(budget, s->memory_budget) : "",
           lv_size_text(streamed, s->streamed_bytes), s->reader ? s->reader : "no", s->kernels ? s->kernels : "no");
}

/* Everything generated so far is printed whatever st is: after Ctrl-C and after a failed read too. */
static int print_results(const struct lv_args *a, struct output *o, const struct lever_stats *s, size_t n_prompt,
                         enum lever_status st, const struct lever_error *err)
{
    const int code = lv_exit_code(st);
    int printed = LV_EXIT_OK;

    if (a->json) {
        json_t *result = result_json(o, s, n_prompt);

        if (result && st < 0 && st != LEVER_E_CANCEL)
            json_object_set_new(result, "error", lv_json_error(err));
        printed = lv_json_print(result);
    } else {
        show(o, true);
        if (o->n_made > 0 && !o->newline)
            putchar('\n');
        printed = lv_stdout_done() ? LV_EXIT_OK : LV_EXIT_IO;
    }
    if (st == LEVER_E_CANCEL)
        lv_say("interrupted");
    else if (st < 0)
        lv_report(err, false);
    if (!a->json || a->verbose)
        put_summary(o, s, n_prompt);
    return code != LV_EXIT_OK ? code : printed;
}

/* The sequence's part: prefill, generation, figures. */
static int run_sequence(const struct lv_args *a, lever_engine *e, const struct lv_prompt *prompt,
                        struct lv_progress *progress)
{
    struct lever_stats stats = { .size = sizeof stats };
    struct lever_error err = { .status = LEVER_OK };
    struct output o = { .finish = "length" };
    lever_seq *seq = NULL;
    struct lever_error ignored;
    struct lv_trace trace;
    enum lever_status st;
    int code;

    if (lv_trace_open(&trace, a->trace, prompt, &err) < 0) { /* before the prompt: that may take minutes */
        lv_progress_end(progress);
        return lv_report(&err, a->json);
    }
    lv_text_init(&o.text, a->stop, a->n_stop);
    if ((st = lever_seq_new(e, &a->sampling, &seq, &err)) < 0) {
        lv_progress_end(progress);
        lv_trace_close(&trace, &ignored);
        return lv_report(&err, a->json);
    }
    lv_interrupt_phase(LV_PHASE_GENERATE, seq);
    st = lever_prompt(seq, prompt->ids, prompt->n_ids, &err);
    lv_progress_end(progress);
    if (st >= 0)
        st = generate(a, e, seq, &o, &trace, &err);
    if (lv_trace_close(&trace, st < 0 ? &ignored : &err) < 0 && st >= 0) /* the first error is the one to report */
        st = err.status;
    if (st == LEVER_E_CANCEL)
        o.finish = "cancelled";
    else if (st < 0)
        o.finish = "error";
    lv_interrupt_phase(LV_PHASE_FINISH, NULL);
    lever_stats(e, seq, &stats);
    code = print_results(a, &o, &stats, prompt->n_ids, st, &err);
    lever_seq_free(seq);
    lv_text_deinit(&o.text);
    free(o.ids);
    free(o.off_text);
    return code;
}

int lv_cli_run(const struct lv_args *a)
{
    struct lever_error err = { .status = LEVER_OK };
    struct lv_progress progress;
    struct lv_prompt prompt;
    lever_engine *e = NULL;
    int code;

    lv_progress_init(&progress, a->json);
    lv_interrupt_init(a->json);
    if (lv_session_prompt(a, &prompt, &err) < 0)
        return lv_report(&err, a->json);
    if (lv_session_open(a, prompt.n_ctx, &progress, &e, &err) < 0) {
        lv_progress_end(&progress);
        code = lv_report(&err, a->json);
    } else {
        code = run_sequence(a, e, &prompt, &progress);
    }
    lever_close(e);
    free(prompt.ids);
    return code;
}
