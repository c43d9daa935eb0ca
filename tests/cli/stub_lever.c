/* An engine that computes nothing: it answers with the tokens that its "model file" lists. So the tests
 * of the command line need no model, and can make the engine fail where they like.
 *
 * A model file is text, one directive a line:
 *   tok HEX        next token of the answer, its bytes (ids 300, 301, ...)
 *   end 0|1        after the answer: an end token (default), or the answer again and again
 *   round N        tokens that one step may give (default 1)
 *   delay N        ms a step takes
 *   load_delay N   ms that opening takes
 *   train N        the model's context (default 2048)
 *   bos            raw text wants a beginning token
 *   nochat         the chat template is not recognised
 *   open ST TEXT   opening fails with this status number
 *   accepts N      draft tokens that each step counts as accepted (default 0)
 *   least N        opening in less than N bytes of memory fails: it does not fit
 *   prompt ST TEXT, step N ST TEXT   lever_prompt, or the Nth step, fails
 *   streams N      bytes a pass streams: plan, bench stream (default 0: everything fits)
 *   log FILE       options, prompt ids and rewinds are appended there
 *   warn TEXT      a warning at open
 * Other ids: 0..255 are bytes, 256 the end token, 257 the beginning token. */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lever/lever.h>

enum { ID_END = 256, ID_BOS = 257, ID_REPLY = 300, CAP_TOK = 4096, CAP_LINE = 4096 };

struct lever_engine {
    struct lever_options opt;
    char path[1024], log_path[1024], message[CAP_LINE], prompt_message[CAP_LINE], step_message[CAP_LINE];
    char *tok[CAP_TOK];
    size_t len[CAP_TOK], n_tok;
    int open_status, prompt_status, step_status, n_train;
    long delay_ms, load_delay_ms, fail_step;
    uint64_t streams, least, accepts;
    size_t round;
    bool ends, bos, no_chat;
    char bytes[256];
};

struct lever_seq {
    lever_engine *e;
    struct lever_sampling sampling;
    size_t n_prompt, n_out, n_step;
    atomic_bool cancelled;
};

static enum lever_status fail(struct lever_error *err, int st, const char *text)
{
    if (err) {
        err->status = (enum lever_status)st;
        err->least_memory = st == LEVER_E_BUDGET ? 12345678 : 0;
        snprintf(err->message, sizeof err->message, "%.999s", text);
    }
    return (enum lever_status)st;
}

static FILE *log_open(const lever_engine *e)
{
    return *e->log_path ? fopen(e->log_path, "a") : NULL;
}

static void sleep_ms(long ms)
{
    const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
    nanosleep(&t, NULL);
}

const char *lever_version(void)
{
    return "0.0.stub";
}

const char *lever_status_text(enum lever_status st)
{
    switch (st) {
#define LEVER_X(name, code, text) \
    case name:                    \
        return text;
        LEVER_STATUS_LIST(LEVER_X)
#undef LEVER_X
    }
    return "unknown status";
}

void lever_options_default(struct lever_options *opt, size_t size)
{
    memset(opt, 0, size);
    opt->size = size;
}

void lever_sampling_default(struct lever_sampling *s, size_t size)
{
    memset(s, 0, size);
    s->size = size;
    s->top_p = s->repeat_penalty = 1;
    s->penalty_last_n = 64;
}

static void add_token(lever_engine *e, const char *hex)
{
    const size_t n = strlen(hex) / 2;

    if (e->n_tok == CAP_TOK)
        return;
    e->tok[e->n_tok] = malloc(n + 1);
    for (size_t i = 0; i < n; i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        e->tok[e->n_tok][i] = (char)byte;
    }
    e->len[e->n_tok++] = n;
}

static void read_line(lever_engine *e, char *line)
{
    char word[32] = "", rest[CAP_LINE] = "";
    int n = 0;

    line[strcspn(line, "\n")] = '\0';
    sscanf(line, "%31s %4095[^\n]", word, rest);
    if (!strcmp(word, "tok"))
        add_token(e, rest);
    else if (!strcmp(word, "end"))
        e->ends = atoi(rest) != 0;
    else if (!strcmp(word, "round"))
        e->round = (size_t)atoi(rest);
    else if (!strcmp(word, "delay"))
        e->delay_ms = atol(rest);
    else if (!strcmp(word, "load_delay"))
        e->load_delay_ms = atol(rest);
    else if (!strcmp(word, "train"))
        e->n_train = atoi(rest);
    else if (!strcmp(word, "bos"))
        e->bos = true;
    else if (!strcmp(word, "streams"))
        e->streams = strtoull(rest, NULL, 10);
    else if (!strcmp(word, "accepts"))
        e->accepts = strtoull(rest, NULL, 10);
    else if (!strcmp(word, "least"))
        e->least = strtoull(rest, NULL, 10);
    else if (!strcmp(word, "nochat"))
        e->no_chat = true;
    else if (!strcmp(word, "log"))
        snprintf(e->log_path, sizeof e->log_path, "%.1023s", rest);
    else if (!strcmp(word, "open") && sscanf(rest, "%d %n", &e->open_status, &n) == 1)
        snprintf(e->message, sizeof e->message, "%s", rest + n);
    else if (!strcmp(word, "prompt") && sscanf(rest, "%d %n", &e->prompt_status, &n) == 1)
        snprintf(e->prompt_message, sizeof e->prompt_message, "%s", rest + n);
    else if (!strcmp(word, "step") && sscanf(rest, "%ld %d %n", &e->fail_step, &e->step_status, &n) == 2)
        snprintf(e->step_message, sizeof e->step_message, "%s", rest + n);
    else if (!strcmp(word, "warn") && e->opt.log)
        e->opt.log(e->opt.user, LEVER_LOG_WARN, rest);
}

static void log_options(const lever_engine *e)
{
    const struct lever_options *o = &e->opt;
    FILE *f = log_open(e);

    if (!f)
        return;
    if (o->learned_dir) { /* a run that learns: a byte more */
        char path[1200];
        FILE *kept;

        snprintf(path, sizeof path, "%s/learned-stub.bin", o->learned_dir);
        kept = fopen(path, "a");
        if (kept) {
            fprintf(f, "learned %s %ld\n", path, ftell(kept));
            fputc('x', kept);
            fclose(kept);
        }
    }
    fprintf(f, "open draft=%s memory=%" PRIu64 " ctx=%" PRIu32 " threads=%" PRIu32 " spec=%d kmax=%" PRIu32
            " cpu=%s device=%s reader=%d ring=%" PRIu64 " slot=%" PRIu64 " vocab_only=%d sidecar=%s prune=%d\n",
            o->draft_path ? o->draft_path : "-", o->memory_bytes, o->n_ctx, o->n_threads, (int)o->speculation,
            o->spec_draft_n_max, o->cpu_level ? o->cpu_level : "-", o->device ? o->device : "-",
            (int)o->reader, o->ring_bytes, o->slot_bytes,
            o->vocab_only, o->sidecar ? o->sidecar : "-", (int)o->prune);
    fclose(f);
}

enum lever_status lever_open(lever_engine **out, const struct lever_options *opt, struct lever_error *err)
{
    FILE *f = fopen(opt->target_path, "r");
    lever_engine *e;
    char line[CAP_LINE];

    if (!f)
        return fail(err, LEVER_E_IO, "model file cannot be opened");
    e = calloc(1, sizeof *e);
    e->opt = *opt;
    e->ends = true;
    e->round = 1;
    e->n_train = 2048;
    snprintf(e->path, sizeof e->path, "%s", opt->target_path);
    for (int i = 0; i < 256; i++)
        e->bytes[i] = (char)i;
    while (fgets(line, sizeof line, f))
        read_line(e, line);
    fclose(f);
    log_options(e);
    if (!opt->vocab_only) {
        for (uint64_t i = 0; i <= 4 && opt->progress; i++)
            opt->progress(opt->user, "load", i * 25, 100);
        sleep_ms(e->load_delay_ms);
        if (opt->memory_bytes && opt->memory_bytes < e->least) {
            lever_close(e);
            return fail(err, LEVER_E_BUDGET, "does not fit");
        }
        if (e->open_status) {
            const enum lever_status st = fail(err, e->open_status, e->message);
            lever_close(e);
            return st;
        }
    }
    *out = e;
    return LEVER_OK;
}

void lever_close(lever_engine *e)
{
    for (size_t i = 0; e && i < e->n_tok; i++)
        free(e->tok[i]);
    free(e);
}

enum lever_status lever_model_info(const lever_engine *e, int which, struct lever_model_info *out)
{
    if (which != 0)
        return LEVER_E_ARG;
    *out = (struct lever_model_info){ .path = e->path, .arch = "stub", .name = "evil\033[2Jname", .file_type = "Q4_K",
        .tokenizer = "bytes", .file_bytes = 3u << 20, .weight_bytes = 2u << 20, .n_params = 1000000, .n_layer = 2,
        .n_embd = 64, .n_ff = 128, .n_head = 4, .n_head_kv = 2, .head_dim = 16, .n_vocab = ID_REPLY + (uint32_t)e->n_tok,
        .n_ctx_train = (uint32_t)e->n_train, .n_tensor = 3, .n_meta = 2, .tied_embedding = true,
        .chat_format = e->no_chat ? NULL : "chatml" };
    return LEVER_OK;
}

enum lever_status lever_tensor_info(const lever_engine *e, int which, uint32_t i, struct lever_tensor_info *out)
{
    static const char *const names[] = { "token_embd.weight", "blk.0.ffn_up.weight", "blk.0.attn_norm.weight" };

    (void)e;
    if (which != 0 || i >= 3)
        return LEVER_E_ARG;
    *out = (struct lever_tensor_info){ .name = names[i], .type = i < 2 ? "q4_k" : "f32", .n_dim = i < 2 ? 2 : 1,
        .dim = { 64, i < 2 ? 32 : 1, 1, 1 }, .file_offset = 4096u * i, .bytes = 1000u + i };
    return LEVER_OK;
}

enum lever_status lever_meta(const lever_engine *e, int which, uint32_t i, const char **key, const char **type,
                             const char **value)
{
    (void)e;
    if (which != 0 || i >= 2)
        return LEVER_E_ARG;
    *key = i ? "general.name" : "general.architecture";
    *type = "string";
    *value = i ? "bad\xff\nbytes" : "stub";
    return LEVER_OK;
}

enum lever_status lever_tokenize(const lever_engine *e, const char *text, size_t len, unsigned flags, int32_t *out,
                                 size_t cap_out, size_t *n_out, struct lever_error *err)
{
    size_t n = 0;

    (void)e;
    if (flags & LEVER_TOK_ADD_BOS) {
        if (n < cap_out)
            out[n] = ID_BOS;
        n++;
    }
    for (size_t i = 0; i < len; n++) {
        const bool special = (flags & LEVER_TOK_PARSE_SPECIAL) && len - i >= 5 && !memcmp(text + i, "<end>", 5);

        if (n < cap_out)
            out[n] = special ? ID_END : (unsigned char)text[i];
        i += special ? 5 : 1;
    }
    *n_out = n;
    return n > cap_out ? fail(err, LEVER_E_ARG, "no room") : LEVER_OK;
}

enum lever_status lever_token_bytes(const lever_engine *e, int32_t token, bool special, const char **bytes, size_t *len)
{
    *len = 0;
    *bytes = "";
    if (token >= 0 && token < 256) {
        *bytes = &e->bytes[token];
        *len = 1;
    } else if (token == ID_END || token == ID_BOS) {
        *bytes = token == ID_END ? "<end>" : "<bos>";
        *len = special ? 5 : 0;
    } else if (token >= ID_REPLY && (size_t)(token - ID_REPLY) < e->n_tok) {
        *bytes = e->tok[token - ID_REPLY];
        *len = e->len[token - ID_REPLY];
    } else {
        return LEVER_E_ARG;
    }
    return LEVER_OK;
}

bool lever_token_is_end(const lever_engine *e, int32_t token)
{
    (void)e;
    return token == ID_END;
}

bool lever_adds_bos(const lever_engine *e)
{
    return e->bos;
}

enum lever_status lever_chat_tokenize(const lever_engine *e, const struct lever_message *msg, size_t n_msg,
                                      int32_t *out, size_t cap_out, size_t *n_out, struct lever_error *err)
{
    char text[CAP_LINE];

    if (e->no_chat)
        return fail(err, LEVER_E_MODEL, "the chat template is not known");
    snprintf(text, sizeof text, "[%s]%s[/]", msg[n_msg - 1].role, msg[n_msg - 1].content);
    return lever_tokenize(e, text, strlen(text), 0, out, cap_out, n_out, err);
}

enum lever_status lever_seq_new(lever_engine *e, const struct lever_sampling *s, lever_seq **out,
                                struct lever_error *err)
{
    lever_seq *seq = calloc(1, sizeof *seq);
    FILE *f = log_open(e);

    (void)err;
    seq->e = e;
    seq->sampling = *s;
    if (f) {
        fprintf(f, "seq temp=%g top_k=%d top_p=%g min_p=%g seed=%" PRIu64 " repeat=%g presence=%g frequency=%g last=%d "
                "ignore_eos=%d bias=", (double)s->temperature, s->top_k, (double)s->top_p, (double)s->min_p, s->seed,
                (double)s->repeat_penalty, (double)s->presence_penalty, (double)s->frequency_penalty, s->penalty_last_n,
                s->ignore_eos);
        for (size_t i = 0; i < s->n_logit_bias; i++)
            fprintf(f, "%d:%g,", s->logit_bias[i].token, (double)s->logit_bias[i].bias);
        fputs("\n", f);
        fclose(f);
    }
    *out = seq;
    return LEVER_OK;
}

void lever_seq_free(lever_seq *seq)
{
    free(seq);
}

enum lever_status lever_prompt(lever_seq *seq, const int32_t *ids, size_t n, struct lever_error *err)
{
    FILE *f = log_open(seq->e);

    if (f) {
        fputs("prompt", f);
        for (size_t i = 0; i < n; i++)
            fprintf(f, " %d", ids[i]);
        fputs("\n", f);
        fclose(f);
    }
    if (seq->e->prompt_status)
        return fail(err, seq->e->prompt_status, seq->e->prompt_message);
    seq->n_prompt += n;
    return LEVER_OK;
}

enum lever_status lever_step(lever_seq *seq, int32_t *out, size_t cap_out, size_t *n_out, struct lever_error *err)
{
    lever_engine *e = seq->e;

    *n_out = 0;
    for (long ms = 0; ms < e->delay_ms && !atomic_load(&seq->cancelled); ms += 5)
        sleep_ms(5);
    if (atomic_load(&seq->cancelled))
        return fail(err, LEVER_E_CANCEL, "cancelled");
    if (++seq->n_step == (size_t)e->fail_step)
        return fail(err, e->step_status, e->step_message);
    while (*n_out < cap_out && *n_out < e->round) {
        const bool over = seq->n_out >= e->n_tok;
        const bool at_end = over && e->ends && !seq->sampling.ignore_eos;

        out[(*n_out)++] = at_end || e->n_tok == 0 ? ID_END : ID_REPLY + (int32_t)(seq->n_out % e->n_tok);
        seq->n_out++;
        if (at_end)
            return LEVER_DONE;
        if (seq->n_prompt + seq->n_out >= e->opt.n_ctx)
            return LEVER_DONE;
    }
    return LEVER_OK;
}

enum lever_status lever_rewind(lever_seq *seq, size_t n, struct lever_error *err)
{
    FILE *f = log_open(seq->e);

    if (n > seq->n_out)
        return fail(err, LEVER_E_ARG, "rewind too far");
    seq->n_out -= n;
    if (f) {
        fprintf(f, "rewind %zu\n", n);
        fclose(f);
    }
    return LEVER_OK;
}

void lever_cancel(lever_seq *seq)
{
    atomic_store(&seq->cancelled, true);
}

void lever_cancel_clear(lever_seq *seq)
{
    atomic_store(&seq->cancelled, false);
}

/* A round of three candidates, two of them verified. */
enum lever_status lever_last_round(const lever_seq *q, struct lever_round *out)
{
    static const struct lever_round_node node[] = { { 300, -1, 1.0f, 0 }, { 301, 0, 0.5f, LEVER_FROM_DRAFT }, { 302, 0, 0.25f, LEVER_FROM_LOOKUP } };

    *out = (struct lever_round){ .size = out->size, .n_node = q->n_step > 1 ? 3 : 0, .n_row = 2, .node = node,
                                 .rate = 10, .spent = 0.25, .stream = 0.5, .n_stair = 2, .predicted = 1, .seconds = 2 };
    out->stair[0].rows = 1;
    out->stair[0].seconds = 0.125;
    out->stair[1].rows = 8;
    out->stair[1].seconds = 1;
    return LEVER_OK;
}

enum lever_status lever_last_spans(lever_seq *q, struct lever_spans *out)
{
    static const struct lever_span read[] = { { 0, 0.5 }, { 0.25, 1.25 } }, draft[] = { { 0, 0.125 }, { 0.25, 0.5 } };

    *out = (struct lever_spans){ .size = out->size };
    if (q->n_step > 1)
        *out = (struct lever_spans){ .size = out->size, .pass = 0.25, .head = 1.5, .end = 2, .wait = 0.125, .background = 0.25,
                                     .read = read, .draft = draft, .n_read = 2, .n_draft = 2 };
    return LEVER_OK;
}

/* Says what it was given: in rounds, tokens, nodes. */
enum lever_status lever_replay(const struct lever_replay_round *round, size_t n, struct lever_replay *out,
                               struct lever_error *err)
{
    if (!n)
        return fail(err, LEVER_E_ARG, "no round");
    *out = (struct lever_replay){ .size = out->size, .n_round = n, .n_fixed = 1, .promised = 1, .predicted = 0.5 };
    out->taken.tokens_per_round = (double)round[n - 1].n_next;
    out->taken.rows_per_round = round[n - 1].round.n_row;
    out->chosen.tokens_per_round = round[n - 1].next[0];
    out->chosen.rows_per_round = (double)round[n - 1].round.node[2].p;
    out->chosen.seconds_per_round = round[n - 1].round.stair[1].seconds;
    out->chosen.tok_per_s = 3;
    out->fixed[0].rows = round[n - 1].round.n_node;
    out->fixed[0].tok_per_s = 4;
    return LEVER_OK;
}

enum lever_status lever_stats(const lever_engine *e, const lever_seq *seq, struct lever_stats *out)
{
    *out = (struct lever_stats){ .size = out->size, .memory_budget = e->opt.memory_bytes, .memory_planned = 1000,
        .peak_rss = 2000, .seconds_load = 0.25, .kernels = "stub", .reader = "buffered", .reader_method = "pread", .speculation = "off" };
    if (seq) {
        out->n_prompt = seq->n_prompt;
        out->n_token = seq->n_out;
        out->n_round = seq->n_step;
        out->n_row = 2 * seq->n_step;
        out->n_accepted = e->accepts * seq->n_step;
        out->streamed_bytes = 100 * seq->n_step;
        out->seconds_prefill = 0.5;
        out->seconds_decode = 2;
        out->seconds_stream_idle = 0.5;
        out->seconds_stream_wait = 0.125 * (double)seq->n_step;
    }
    return LEVER_OK;
}

/* ---- planning and measuring: figures that a test can tell apart ---- */

enum lever_status lever_plan(const struct lever_options *opt, struct lever_plan_report *out, struct lever_error *err)
{
    lever_engine *e;

    if (lever_open(&e, opt, err) < 0)
        return err->status;
    *out = (struct lever_plan_report){ .size = out->size, .budget = opt->memory_bytes, .total = 300, .least = 5 << 20,
        .item = { { "weights", 200 }, { "ring", 100 } }, .n_item = 2, .n_ctx = opt->n_ctx ? opt->n_ctx : 4096, .n_threads = 2,
        .uses_draft = opt->draft_path != NULL, .kernels = "stub", .pinned_bytes = 200, .streamed_bytes = e->streams,
        .ring_bytes = 100, .slot_bytes = 50, .n_slot = 2, .n_draft = opt->draft_path ? 12 : 0 };
    lever_close(e);
    return LEVER_OK;
}

enum lever_status lever_plan_shape(const struct lever_options *opt, const struct lever_model_shape *target,
                                   const struct lever_model_shape *draft, struct lever_plan_report *out,
                                   struct lever_error *err)
{
    (void)err;
    *out = (struct lever_plan_report){ .size = out->size, .budget = opt->memory_bytes, .total = target->n_embd,
        .n_ctx = opt->n_ctx ? opt->n_ctx : 4096, .n_threads = opt->n_threads, .uses_draft = draft && opt->speculation != LEVER_SPEC_OFF,
        .kernels = target->type, .streamed_bytes = target->n_layer };
    return LEVER_OK;
}

void lever_simulation_options_default(struct lever_simulation_options *opt, size_t size)
{
    memset(opt, 0, size);
    opt->size = size;
}

/* Figures that say what was asked for. */
enum lever_status lever_simulate(const struct lever_plan_report *plan, const struct lever_profile *d,
                                 const struct lever_acceptance *acceptance, const struct lever_simulation_options *opt,
                                 struct lever_simulation *out, struct lever_error *err)
{
    if (!(d->dram > 0))
        return fail(err, LEVER_E_ARG, "the profile has no dram");
    *out = (struct lever_simulation){ .size = out->size, .n_task = acceptance->n_task,
        .all = { .tok_per_s = d->flash_rate + opt->mode, .tokens_per_round = plan->uses_draft ? 4 : 1, .round_seconds = 0.5,
                 .stream_seconds = d->dram, .target_seconds = d->peak_mac, .exposed_seconds = d->n_flash,
                 .rows_per_round = opt->tree_rows, .head_seconds = opt->chain, .wait_seconds = opt->serial_stream,
                 .device_idle = (double)opt->prune_rows, .cpu_idle = d->n_accel },
        .chain = opt->mode == LEVER_SIM_CHAIN ? 7 : 0 };
    return LEVER_OK;
}

enum lever_status lever_probe(const char *path, unsigned parts, uint32_t n_threads, const char *cpu_level,
                              struct lever_profile *out,
                              void (*progress)(void *user, const char *what, uint64_t done, uint64_t total), void *user,
                              struct lever_error *err)
{
    (void)cpu_level;
    if (!strcmp(path, "/nonexistent"))
        return fail(err, LEVER_E_IO, "/nonexistent: no such file");
    if (progress)
        progress(user, "flash", 1, 1);
    *out = (struct lever_profile){ .size = out->size, .flash = { { 131072, 1, 1e9 }, { 4194304, 4, 2.5e9 } }, .n_flash = 2,
        .flash_rate = 2.5e9 + parts, .reader = "direct", .looks_cached = strstr(path, "cached") != NULL, .dram = 2e10,
        .peak_mac = 1e12, .fma = 1e11, .mac_instruction = "stub", .kernels = "stub",
        .stair = { { 1, 1e-11 }, { 8, 2e-11 } }, .n_stair = 2, .n_threads = n_threads ? n_threads : 2,
        .memory_available = 1 << 30 };
    return LEVER_OK;
}

enum lever_status lever_probe_models(const struct lever_options *opt, struct lever_mapping *out, struct lever_error *err)
{
    if (!strcmp(opt->target_path, "/nonexistent"))
        return fail(err, LEVER_E_IO, "/nonexistent: no such file");
    *out = (struct lever_mapping){ .size = out->size, .device = { { "unit", "matrix", true, true }, { "odd", "accelerator", false, false } },
        .n_device = 2, .cell = { { "draft body", 1, { 0.25, 0.5 }, { { 0, 1 } }, 1, 0.25 },
        { "target body", 40, { 2.0, 0.0 }, { { 0, 32 }, { 1, 8 } }, 2, 1.5 } }, .n_cell = opt->draft_path ? 2 : 1, .n_threads = 2,
        .streamed = opt->memory_bytes != 0 };
    return LEVER_OK;
}

void lever_bench_kernels_default(struct lever_bench_kernels_options *opt, size_t size)
{
    memset(opt, 0, size);
    opt->size = size;
}

enum lever_status lever_bench_kernels(const struct lever_bench_kernels_options *opt, struct lever_raw *raw,
                                      struct lever_error *err)
{
    struct lever_kernel_case c = { .size = sizeof c, .level = opt->cpu_level ? opt->cpu_level : "stub", .seconds = 0.5,
        .bytes_per_s = 1e9, .mac_per_s = 2e9, .share_dram = 0.25, .share_peak = 0.125 };

    for (size_t t = 0; t < opt->n_type; t++)
        if (!strcmp(opt->type[t], "q9"))
            return fail(err, LEVER_E_ARG, "types: found q9");
    *raw = (struct lever_raw){ .size = raw->size, .dram = { 4e9, 3e9, 5e9, 3 }, .peak_mac = { 16e9, 15e9, 17e9, 3 },
        .fma = { 8e9, 7e9, 9e9, 3 }, .mac_instruction = "dot", .fma_instruction = "fma", .block_bytes = 1 << 30,
        .n_threads = opt->n_threads };
    for (size_t s = 0; s < opt->n_shape; s++) {
        for (size_t t = 0; t < opt->n_type; t++) {
            for (size_t r = 0; r < opt->n_rows; r++) {
                c.op = LEVER_KERNEL_MATMUL;
                c.type = !strcmp(opt->type[t], "q4_k") ? "q4_k" : "q6_k";
                c.rows = opt->rows[r];
                c.n_out = opt->shape[s][0];
                c.n_in = opt->shape[s][1];
                opt->on_case(opt->user, &c);
            }
        }
    }
    c.type = "q4_k";
    c.op = LEVER_KERNEL_PACK;
    opt->on_case(opt->user, &c);
    for (c.op = LEVER_KERNEL_QK; c.op <= LEVER_KERNEL_PV; c.op++)
        opt->on_case(opt->user, &c);
    return LEVER_OK;
}

enum lever_status lever_bench_stream(const struct lever_options *opt, bool compute, uint32_t rows, uint32_t n_pass,
                                     struct lever_stream_report *out, struct lever_error *err)
{
    lever_engine *e;

    if (lever_open(&e, opt, err) < 0)
        return err->status;
    const uint64_t n = e->streams;

    lever_close(e);
    if (!n)
        return fail(err, LEVER_E_ARG, "nothing is streamed");
    *out = (struct lever_stream_report){ .size = out->size, .raw = 2e9, .raw_before = 1.9e9, .raw_after = 2.1e9, .rate = 1.5e9,
        .share = 0.75, .idle_share = 0.125, .cpu_share = 0.5, .cpu_reader = 0.25, .cpu_pack = 0.25, .seconds = 3,
        .bytes_per_pass = n, .slot_bytes = 1 << 20, .n_pass = n_pass ? n_pass : 9, .n_slot = 4, .rows = compute ? rows : 0,
        .reader = "direct", .kernels = "stub", .reread = 9e9, .looks_cached = n == 666 };
    return LEVER_OK;
}

void lever_pack_options_default(struct lever_pack_options *opt, size_t size)
{
    memset(opt, 0, size);
    opt->size = size;
}

/* The model file's text becomes the sidecar. "open" fails it, delay is waited in 100 pieces. */
enum lever_status lever_pack(const struct lever_pack_options *opt, struct lever_error *err)
{
    const struct lever_options o = { .size = sizeof o, .target_path = opt->target_path };
    enum lever_status st;
    lever_engine *e;
    FILE *f;

    if ((st = lever_open(&e, &o, err)) < 0)
        return st;
    for (uint64_t i = 1; i <= 100 && st >= 0; i++) {
        opt->progress(opt->user, "pack", i, 100);
        sleep_ms(e->delay_ms);
        if (opt->cancelled(opt->user))
            st = fail(err, LEVER_E_CANCEL, "cancelled");
    }
    lever_close(e);
    if (st < 0)
        return st;
    if (!opt->force && (f = fopen(opt->out_path, "r"))) {
        fclose(f);
        return LEVER_DONE;
    }
    if (!(f = fopen(opt->out_path, "w")))
        return fail(err, LEVER_E_IO, "cannot be written");
    fputs("stub sidecar", f);
    fclose(f);
    return LEVER_OK;
}
