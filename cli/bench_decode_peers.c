/* llama.cpp's programs on the same prompts, in the same memory: what is there, how it is called, what it says. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench_decode.h"
#include "bench_decode_child.h"
#include "memory_group.h"

#define MAX_SECONDS 240.0 /* of a peer's run */
#define CHAIN_N 7u         /* its draft tokens a round, unless --spec-draft-n-max says otherwise */
#define CAP_ARG 40
/* What the control group has beside the budget: page tables, stacks and pages of program files count there too. Lever's own
 * budget is tested in a group of that size. */
#define GROUP_EXTRA_BYTES (UINT64_C(16) << 20)
#define PIN_REST_BYTES (UINT64_C(256) << 20) /* KV cache and buffers of a peer, which pinned weights must leave room for */

const char *const lv_peer_names[LV_BENCH_PEERS] = { "mmap", "mmap_chain", "pinned_chain" };
enum { PEER_MMAP, PEER_CHAIN, PEER_PINNED };

/* ---- what is there ---- */

static bool find_program(const char *dir, const char *name, char path[1024])
{
    snprintf(path, 1024, "%.900s/%s", dir, name);
    if (access(path, X_OK) == 0)
        return true;
    path[0] = '\0';
    return false;
}

/* What `program option` prints, at most cap bytes; "" when it cannot be run. */
static void ask(const char *program, const char *option, char *text, size_t cap)
{
    const char *arg[] = { program, option, NULL };
    struct lv_child c = { .arg = arg, .max_seconds = 20 };
    struct lever_error err;

    text[0] = '\0';
    if (lv_child_run(&c, &err) >= 0)
        lv_child_read(&c, text, cap);
    lv_child_deinit(&c);
}

static void learn_options(struct lv_bench_peers *p)
{
    const char *program = p->speculative[0] ? p->speculative : p->plain, *at;
    char *text = malloc(LV_CHILD_CAP_TEXT);

    if (!text)
        return;
    ask(program, "--version", text, LV_CHILD_CAP_TEXT);
    if ((at = strstr(text, "version:")))
        snprintf(p->version, sizeof p->version, "%.*s", (int)strcspn(at, "\r\n"), at);
    ask(program, "--help", text, LV_CHILD_CAP_TEXT);
    p->draft_max = strstr(text, "--spec-draft-n-max") ? "--spec-draft-n-max" : "--draft-max";
    p->has_type = strstr(text, "draft-simple") != NULL;
    p->has_no_repack = strstr(text, "--no-repack") != NULL;
    free(text);
}

enum lever_status lv_bench_peers_init(struct lv_bench_peers *p, const struct lv_bench *b, const char *dir,
                                      struct lever_error *err)
{
    static const char *const plain[] = { "llama-completion", "llama-cli", "llama-simple" };

    if (b->a->sampling.temperature > 0)
        return lv_cli_fail(err, LEVER_E_ARG, "--peers compares greedy text: leave --temp out");
    find_program(dir, "llama-speculative-simple", p->speculative);
    for (size_t i = 0; i < 3 && !p->plain[0]; i++) {
        find_program(dir, plain[i], p->plain);
        p->plain_kind = i == 2 ? LV_PEER_SIMPLE : LV_PEER_COMPLETION;
    }
    if (!p->speculative[0] && !p->plain[0])
        return lv_cli_fail(err, LEVER_E_ARG, "--peers %.300s: found none of llama-speculative-simple, llama-completion, "
                           "llama-cli, llama-simple; build llama.cpp and name the folder of its programs", dir);
    snprintf(p->missing, sizeof p->missing, "%s",
             !p->speculative[0] ? "llama-speculative-simple is not there: no drafting"
             : !p->plain[0] ? "llama-completion, llama-cli and llama-simple are not there: no decoding without a draft"
             : !b->a->draft ? "no draft model was given: no drafting" : "");
    if (p->missing[0])
        lv_say("peers: %s", p->missing);
    learn_options(p);
    return lv_child_prompts(b, &p->prompt, &p->n_prompt, err);
}

void lv_bench_peers_deinit(struct lv_bench_peers *p)
{
    for (size_t i = 0; p->prompt && i < p->n_prompt; i++)
        free(p->prompt[i]);
    free(p->prompt);
    p->prompt = NULL;
}

void lv_bench_peers_reset(struct lv_bench_peers *p)
{
    memset(p->given_up, 0, sizeof p->given_up);
    memset(p->sum, 0, sizeof p->sum);
}

static bool bounded(const struct lv_bench *b)
{
    return b->a->memory_bytes != LEVER_MEMORY_UNLIMITED && b->a->memory_bytes != LEVER_MEMORY_AUTO;
}

static bool available(const struct lv_bench_peers *p, const struct lv_bench *b, uint32_t k)
{
    return k == PEER_MMAP ? p->plain[0] : p->speculative[0] && b->a->draft;
}

/* ---- one run ---- */

struct call {
    const char *arg[CAP_ARG];
    char text[8][48];
    size_t n_arg, n_text;
};

static void add(struct call *c, const char *arg)
{
    if (c->n_arg + 1 < CAP_ARG)
        c->arg[c->n_arg++] = arg;
}

static void add_number(struct call *c, const char *name, uint64_t value)
{
    snprintf(c->text[c->n_text], sizeof c->text[0], "%" PRIu64, value);
    add(c, name);
    add(c, c->text[c->n_text++]);
}

/* The prompt is file 3 of the child; llama-simple takes it as an argument. */
static void make_call(struct call *c, const struct lv_bench_peers *p, const struct lv_bench *b, uint32_t k, size_t i)
{
    const uint64_t n_ctx = b->a->n_ctx ? b->a->n_ctx : (b->reference[i].n_prompt + b->n + 64 + 255) / 256 * 256;
    const bool simple = k == PEER_MMAP && p->plain_kind == LV_PEER_SIMPLE;

    add(c, k == PEER_MMAP ? p->plain : p->speculative);
    add(c, "-m");
    add(c, b->a->target);
    add_number(c, "-n", k == PEER_MMAP ? b->n_off : b->n);
    if (simple) {
        add(c, p->prompt[i]);
        return;
    }
    add(c, "-f");
    add(c, "/dev/fd/3");
    add_number(c, "-t", b->a->n_threads ? b->a->n_threads : (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
    add_number(c, "-c", n_ctx);
    add(c, "--temp");
    add(c, "0");
    add(c, "--top-k");
    add(c, "1");
    if (b->a->sampling.ignore_eos)
        add(c, "--ignore-eos");
    if (p->has_no_repack && bounded(b)) /* else it copies what it has mapped, and is ended for want of memory */
        add(c, "--no-repack");
    if (k == PEER_MMAP) {
        add(c, "-no-cnv");
        return;
    }
    add(c, "-md");
    add(c, b->a->draft);
    if (p->has_type) {
        add(c, "--spec-type");
        add(c, "draft-simple");
    }
    add_number(c, p->draft_max, b->a->spec_draft_n_max ? b->a->spec_draft_n_max : CHAIN_N);
}

/* "decoded 16 tokens in 2.5 seconds"; else, from a program that does not say so, the last "eval time = 2500.00 ms /
 * 15 runs" that is not of the prompt. */
static bool parse_rate(const char *text, uint64_t *n_token, double *seconds)
{
    bool found = false, decoded = false;

    for (const char *line = text; line; line = strchr(line, '\n'), line += line != NULL) {
        const char *a = strstr(line, "decoded "), *e = strstr(line, "eval time ="), *end = strchr(line, '\n');
        uint64_t n;
        double s;

        if (a && (!end || a < end) && sscanf(a, "decoded %" SCNu64 " tokens in %lf s", &n, &s) == 2) {
            *n_token = n;
            *seconds = s;
            found = decoded = true;
        } else if (!decoded && e && (!end || e < end) && !(e - line >= 7 && !strncmp(e - 7, "prompt ", 7)) &&
                   sscanf(e, "eval time = %lf ms / %" SCNu64, &s, &n) == 2) {
            *n_token = n;
            *seconds = s / 1000;
            found = true;
        }
    }
    return found && *n_token > 0 && isfinite(*seconds) && *seconds > 0;
}

/* The last line that says anything, as the reason of a failure. */
static void last_line(const char *text, char buf[160])
{
    buf[0] = '\0';
    for (const char *line = text; *line;) {
        const size_t n = strcspn(line, "\r\n"), blank = strspn(line, " \t");

        if (blank < n)
            snprintf(buf, 160, "%.*s", (int)(n - blank), line + blank);
        line += n + (line[n] != '\0');
    }
}

static void explain(struct lv_peer_sum *s, const struct lv_child *c, const char *text)
{
    char line[160];

    last_line(text, line);
    if (c->late)
        snprintf(s->error, sizeof s->error, "ended after %.0f s without a result", c->max_seconds);
    else if (c->signal)
        snprintf(s->error, sizeof s->error, "ended by signal %d%s: %s", c->signal,
                 c->signal == 9 ? ", as when the limit leaves too little memory" : "", line);
    else
        snprintf(s->error, sizeof s->error, "exit code %d: %s", c->exit_code, line);
}

/* Bytes of the target that are locked in memory for peer k; 0 with an error when there is no room. */
static uint64_t bytes_to_pin(const struct lv_bench *b, struct lv_peer_sum *s)
{
    const uint64_t limit = b->a->memory_bytes, rest = lv_child_file_bytes(b->a->draft) + PIN_REST_BYTES,
                   all = lv_child_file_bytes(b->a->target);

    if (!bounded(b))
        return all;
    if (limit <= rest) {
        snprintf(s->error, sizeof s->error, "beside the draft and its buffers nothing is left to pin");
        return 0;
    }
    return limit - rest < all ? limit - rest : all;
}

static enum lever_status run(struct lv_bench_peers *p, const struct lv_bench *b, uint32_t k, size_t i,
                             const struct lv_memory_group *group, struct lever_error *err)
{
    struct lv_peer_sum *s = &p->sum[k][b->prompts.prompt[i].i_task];
    struct call call = { .n_arg = 0 };
    struct lv_child c = { .arg = call.arg, .max_seconds = MAX_SECONDS, .group = group, .input = p->prompt[i] };
    enum lever_status st;
    uint64_t n = 0;
    double seconds = 0;
    char *text = malloc(LV_CHILD_CAP_TEXT);

    make_call(&call, p, b, k, i);
    lv_child_forget(b->a->target);
    if (b->a->draft)
        lv_child_forget(b->a->draft);
    if (k == PEER_PINNED && (!(c.pin_bytes = bytes_to_pin(b, s)) || !text)) {
        free(text);
        return LEVER_OK;
    }
    c.pin_path = b->a->target;
    st = text ? lv_child_run(&c, err) : lv_cli_fail(err, LEVER_E_NOMEM, "no memory for a peer's output");
    if (st >= 0) {
        lv_child_read(&c, text, LV_CHILD_CAP_TEXT);
        if (!c.late && !c.signal && !c.exit_code && parse_rate(text, &n, &seconds)) {
            s->n_prompt++;
            s->n_token += n;
            s->seconds += seconds;
            lv_say("%zu/%zu %s %s, llama.cpp %s: %.2f tok/s", i + 1, b->prompts.n,
                   b->prompts.task[b->prompts.prompt[i].i_task], b->prompts.prompt[i].id, lv_peer_names[k],
                   (double)n / seconds);
        } else {
            explain(s, &c, text);
            p->given_up[k] = true; /* it would fail again, and each time-out takes minutes */
        }
    } else if (st != LEVER_E_CANCEL) {
        snprintf(s->error, sizeof s->error, "%.230s", err->message);
    }
    if (s->error[0])
        lv_say("llama.cpp %s: %s", lv_peer_names[k], s->error);
    lv_child_deinit(&c);
    free(text);
    return st == LEVER_E_CANCEL ? st : LEVER_OK;
}

enum lever_status lv_bench_peers_run(struct lv_bench_peers *p, const struct lv_bench *b, uint32_t k, size_t i,
                                     struct lever_error *err)
{
    struct lv_peer_sum *s = &p->sum[k][b->prompts.prompt[i].i_task];
    struct lv_memory_group group = { .path = "" };
    enum lever_status st;

    if (!available(p, b, k) || p->given_up[k])
        return LEVER_OK;
    if (!bounded(b))
        return run(p, b, k, i, NULL, err);
    if (lv_memory_group_make(&group, b->a->memory_bytes + GROUP_EXTRA_BYTES, err) < 0) {
        snprintf(s->error, sizeof s->error, "%.230s", err->message);
        lv_say("llama.cpp %s: %s", lv_peer_names[k], s->error);
        p->given_up[k] = true;
        return LEVER_OK;
    }
    st = run(p, b, k, i, &group, err);
    lv_memory_group_remove(&group);
    return st;
}

/* ---- report ---- */

static json_t *sum_json(const struct lv_peer_sum *s, double rate)
{
    json_t *o = json_pack("{s:o, s:o, s:o, s:o}", "tok_per_s", lv_json_real(rate), "prompts", lv_json_uint(s->n_prompt),
                          "tokens", lv_json_uint(s->n_token), "seconds", lv_json_real(s->seconds));

    if (o && s->error[0])
        json_object_set_new(o, "error", lv_json_str(s->error));
    return o;
}

/* "all" only where every task has a rate: a mean over others would compare different texts. */
static json_t *peer_json(const struct lv_bench_peers *p, uint32_t k, const struct lv_bench_prompts *prompts)
{
    struct lv_peer_sum all = { .n_prompt = 0 };
    json_t *o = json_object();
    double inverse = 0;
    bool whole = true;

    for (uint32_t t = 0; t < prompts->n_task; t++) {
        const struct lv_peer_sum *s = &p->sum[k][t];

        all.n_prompt += s->n_prompt;
        all.n_token += s->n_token;
        all.seconds += s->seconds;
        if (s->error[0])
            snprintf(all.error, sizeof all.error, "%s", s->error);
        whole = whole && s->seconds > 0;
        inverse += s->seconds / (double)(s->n_token ? s->n_token : 1);
    }
    json_object_set_new(o, "all", sum_json(&all, whole && inverse > 0 ? prompts->n_task / inverse : 0));
    for (uint32_t t = 0; t < prompts->n_task; t++)
        if (p->sum[k][t].n_prompt || p->sum[k][t].error[0])
            json_object_set_new(o, prompts->task[t],
                                sum_json(&p->sum[k][t], p->sum[k][t].seconds > 0
                                                            ? (double)p->sum[k][t].n_token / p->sum[k][t].seconds : 0));
    return o;
}

json_t *lv_bench_peers_json(const struct lv_bench_peers *p, const struct lv_bench_prompts *prompts)
{
    json_t *o = json_object();

    for (uint32_t k = 0; k < LV_BENCH_PEERS; k++) {
        bool any = false;

        for (uint32_t t = 0; t < prompts->n_task; t++)
            any = any || p->sum[k][t].n_prompt || p->sum[k][t].error[0];
        if (any)
            json_object_set_new(o, lv_peer_names[k], peer_json(p, k, prompts));
    }
    return o;
}
