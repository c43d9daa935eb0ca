/* Opens models as the arguments say. A run opens twice: first the vocabulary alone, since the context
 * that the memory is planned for follows from the number of tokens in the prompt. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/* Far longer than any context, small enough to hold. */
#define MAX_TEXT_BYTES ((size_t)64 << 20)
#define CTX_STEP 256u
#define CTX_DEFAULT 4096u /* as lever.h says for n_ctx 0 */

static void on_log(void *user, enum lever_log_level level, const char *message)
{
    (void)user;
    if (level == LEVER_LOG_ERROR)
        lv_error("%s", message);
    else
        lv_say("%s%s", level == LEVER_LOG_WARN ? "warning: " : "", message);
}

/* Without -v only what the user should know. */
static void on_log_quiet(void *user, enum lever_log_level level, const char *message)
{
    if (level <= LEVER_LOG_WARN)
        on_log(user, level, message);
}

static void on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    lv_progress_show(user, what, done, total);
}

enum lever_status lv_session_vocab(const struct lv_args *a, lever_engine **out, struct lever_error *err)
{
    struct lever_options opt;

    lever_options_default(&opt, sizeof opt);
    opt.target_path = a->target;
    opt.draft_path = a->command == LV_CMD_INFO ? a->draft : NULL;
    opt.vocab_only = true;
    if (a->command != LV_CMD_RUN) /* a run opens again and says it then */
        opt.log = a->verbose ? on_log : on_log_quiet;
    return lever_open(out, &opt, err);
}

const char *const lv_device_names[] = { "cpu", "opencl", "auto" };

void lv_session_options(const struct lv_args *a, uint32_t n_ctx, struct lv_progress *p, struct lever_options *opt)
{
    lever_options_default(opt, sizeof *opt);
    opt->target_path = a->target;
    opt->draft_path = a->draft;
    opt->memory_bytes = a->memory_bytes;
    opt->n_ctx = n_ctx;
    opt->n_threads = a->n_threads;
    /* the choices of both options stand in the order of the enums */
    opt->speculation = (enum lever_speculation)a->speculation;
    opt->no_overlap = a->overlap == 1; /* on|off */
    opt->no_peek = a->peek == 1;
    opt->prune = (enum lever_prune)a->prune;
    opt->tree_rows = a->tree_rows;
    opt->draft_head = a->draft_head;
    opt->reader = (enum lever_reader)a->reader;
    opt->spec_draft_n_max = a->spec_draft_n_max;
    opt->device = lv_device_names[a->device];
    opt->cpu_level = a->cpu_level;
    opt->ring_bytes = a->ring_bytes;
    opt->slot_bytes = a->slot_bytes;
    opt->sidecar = a->sidecar;
    opt->log = a->verbose ? on_log : on_log_quiet;
    opt->progress = on_progress;
    opt->user = p;
}

/* What comes with the program: share/lever beside the folder it lies in. */
static bool share_path(char *buf, size_t cap)
{
    const ssize_t n = readlink("/proc/self/exe", buf, cap - sizeof "/share/lever");

    if (n <= 0 || (size_t)n >= cap - sizeof "/share/lever")
        return false;
    buf[n] = '\0';
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(buf, '/');

        if (!slash)
            return false;
        *slash = '\0';
    }
    strcat(buf, "/share/lever");
    return access(buf, R_OK) == 0;
}

enum lever_status lv_session_open(const struct lv_args *a, uint32_t n_ctx, struct lv_progress *p, lever_engine **out,
                                  struct lever_error *err)
{
    struct lever_options opt;
    char learned[1024], share[1024];

    lv_session_options(a, n_ctx, p, &opt);
    opt.lens = a->lens ? a->lens : share_path(share, sizeof share) ? share : NULL;
    if (a->learned)
        opt.learned_dir = a->learned;
    else if (!a->no_cache && lv_cache_path(learned, sizeof learned, "learned", true))
        opt.learned_dir = learned;
    return lever_open(out, &opt, err);
}

enum lever_status lv_session_tokenize(const lever_engine *e, const char *text, size_t len, unsigned flags,
                                      int32_t **ids, size_t *n, struct lever_error *err)
{
    enum lever_status st;
    size_t cap = len + 8; /* a token is rarely shorter than a byte; else once more with room */

    *ids = NULL;
    for (int attempt = 0;; attempt++) {
        int32_t *p = cap <= SIZE_MAX / sizeof *p ? realloc(*ids, cap * sizeof *p) : NULL;

        if (!p) {
            st = lv_cli_fail(err, LEVER_E_NOMEM, "no memory for %zu tokens", cap);
            break;
        }
        *ids = p;
        *n = 0;
        st = lever_tokenize(e, text, len, flags, p, cap, n, err);
        if (st >= 0)
            return LEVER_OK;
        if (attempt > 0 || *n <= cap)
            break;
        cap = *n;
    }
    free(*ids);
    *ids = NULL;
    return st;
}

static enum lever_status chat_ids(const lever_engine *e, const char *text, struct lv_prompt *out,
                                  struct lever_error *err)
{
    const struct lever_message message = { "user", text };
    size_t cap = strlen(text) + 256; /* the template's own tokens; else once more with room */

    for (int attempt = 0;; attempt++) {
        int32_t *p = realloc(out->ids, cap * sizeof *p);
        enum lever_status st;

        if (!p)
            return lv_cli_fail(err, LEVER_E_NOMEM, "no memory for %zu tokens", cap);
        out->ids = p;
        out->n_ids = 0;
        st = lever_chat_tokenize(e, &message, 1, p, cap, &out->n_ids, err);
        if (st >= 0 || attempt > 0 || out->n_ids <= cap)
            return st >= 0 ? LEVER_OK : st;
        cap = out->n_ids;
    }
}

/* Room for the prompt and what is to be generated, checked against -c and the model. */
static enum lever_status choose_context(const struct lv_args *a, uint32_t n_ctx_train, struct lv_prompt *p,
                                        struct lever_error *err)
{
    const uint64_t n = p->n_ids, n_new = a->n_predict < 0 ? CTX_STEP : (uint64_t)a->n_predict;
    uint64_t want = (n + n_new + CTX_STEP - 1) / CTX_STEP * CTX_STEP;

    if (n == 0)
        return lv_cli_fail(err, LEVER_E_ARG, "the prompt is empty; give some text");
    if (a->n_ctx) {
        if (n + (n_new > 0) > a->n_ctx)
            return lv_cli_fail(err, LEVER_E_ARG, "the prompt has %" PRIu64 " tokens, -c %" PRIu32 " leaves no room to go on; "
                               "use -c %" PRIu64, n, a->n_ctx, want);
        p->n_ctx = a->n_ctx;
        return LEVER_OK;
    }
    if (n_ctx_train && n + (n_new > 0) > n_ctx_train)
        return lv_cli_fail(err, LEVER_E_ARG, "the prompt has %" PRIu64 " tokens, the model was made for %" PRIu32
                           "; shorten it, or force a context with -c", n, n_ctx_train);
    if (a->n_predict < 0 && want < CTX_DEFAULT)
        want = CTX_DEFAULT;
    if (n_ctx_train && want > n_ctx_train)
        want = n_ctx_train;
    p->n_ctx = want > UINT32_MAX ? UINT32_MAX : (uint32_t)want;
    return LEVER_OK;
}

enum lever_status lv_session_text(const struct lv_args *a, const char **text, size_t *len, char **owned,
                                  struct lever_error *err)
{
    *owned = NULL;
    if (a->prompt) {
        *text = a->prompt;
        *len = strlen(a->prompt);
        return LEVER_OK;
    }
    if (lv_read_file(a->file, MAX_TEXT_BYTES, owned, len, err) < 0)
        return err->status;
    *text = *owned;
    return LEVER_OK;
}

enum lever_status lv_session_prompt(const struct lv_args *a, struct lv_prompt *out, struct lever_error *err)
{
    struct lever_model_info info;
    lever_engine *e = NULL;
    const char *text = NULL;
    char *owned = NULL;
    size_t len = 0;
    enum lever_status st;

    memset(out, 0, sizeof *out);
    if (!a->chat && (st = lv_session_text(a, &text, &len, &owned, err)) < 0)
        return st;
    if ((st = lv_session_vocab(a, &e, err)) < 0)
        goto out;
    if (a->chat)
        st = chat_ids(e, a->chat, out, err);
    else
        st = lv_session_tokenize(e, text, len, LEVER_TOK_PARSE_SPECIAL | (lever_adds_bos(e) ? LEVER_TOK_ADD_BOS : 0),
                                 &out->ids, &out->n_ids, err);
    if (st < 0)
        goto out;
    if ((st = lever_model_info(e, 0, &info)) < 0) {
        lv_cli_fail(err, st, "%s: no model information", a->target);
        goto out;
    }
    st = choose_context(a, info.n_ctx_train, out, err);
out:
    lever_close(e);
    free(owned);
    if (st < 0) {
        free(out->ids);
        out->ids = NULL;
    }
    return st;
}
