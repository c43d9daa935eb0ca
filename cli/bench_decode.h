/* Parts of lever bench decode: prompts, worker processes, reference ids, sums and their report.
 *
 * The driver process never loads a model: each generation is a process of its own (lever run --json), so
 * that every mode plans the budget anew and leaves nothing in memory for the next one.
 * threads: everything on the main thread; only the handler of SIGINT and SIGTERM runs elsewhere. */
#ifndef LV_CLI_BENCH_DECODE_H
#define LV_CLI_BENCH_DECODE_H

#include "cli.h"

#define LV_BENCH_CAP_TASK 32
#define LV_BENCH_CAP_SERIES 8

/* ---- bench_decode_prompts.c ---- */
struct lv_bench_prompt {
    const char *id, *text; /* borrowed from lv_bench_prompts.lines */
    uint32_t i_task;
    bool chat;             /* text is a user's turn; else it is raw */
};

struct lv_bench_prompts {
    json_t *lines;         /* owned: what the file held */
    struct lv_bench_prompt *prompt; /* [n], owned, in the order of the file */
    size_t n;
    const char *task[LV_BENCH_CAP_TASK]; /* [n_task], in order of appearance */
    uint32_t n_task;
};

/* Reads JSONL and keeps the first `count` prompts of each task named in `tasks` ("code,math"; NULL: all).
 * lv_bench_prompts_deinit is due in any case. Errors name file, line and field. */
enum lever_status lv_bench_prompts_read(const char *path, const char *tasks, uint32_t count,
                                        struct lv_bench_prompts *out, struct lever_error *err);
void lv_bench_prompts_deinit(struct lv_bench_prompts *p);

/* ---- bench_decode_worker.c ---- */
#define LV_WORKER_CAP_ARG 64

/* Arguments of a process: the command's own program, again. */
struct lv_worker {
    const char *arg[LV_WORKER_CAP_ARG]; /* [n_arg], borrowed or pointing into text; NULL behind the last */
    char text[24][48];
    size_t n_arg, n_text;
};

/* Ctrl-C and SIGTERM end the worker that runs, and every later lv_worker_run fails with LEVER_E_CANCEL. */
void lv_worker_signals(void);
/* "lever COMMAND --json" with what both kinds of worker take over from the arguments: model, memory, threads, ... */
void lv_worker_init(struct lv_worker *w, const char *command, const struct lv_args *a);
void lv_worker_add(struct lv_worker *w, const char *arg); /* borrowed until the run */
__attribute__((format(printf, 3, 4))) void lv_worker_addf(struct lv_worker *w, const char *name, const char *fmt, ...);
/* Runs it to its end. trace: NULL, or what the worker can open as /dev/fd/3. *out: its object, freed by the
 * caller; NULL after a failure, whose message and status are the worker's. */
enum lever_status lv_worker_run(struct lv_worker *w, FILE *trace, json_t **out, struct lever_error *err);

/* ---- bench_decode_reference.c ---- */
struct lv_bench_reference {
    json_t *ids;       /* owned */
    uint64_t n_prompt; /* tokens of the prompt */
};

/* Adds prompt, length and sampling to a run. */
void lv_bench_add_prompt(struct lv_worker *w, const struct lv_args *a, const struct lv_bench_prompt *p, uint32_t n);
/* Ids of plain decoding with everything resident: kept from earlier, or generated now and kept. */
enum lever_status lv_bench_reference_get(const struct lv_args *a, const struct lv_bench_prompt *p,
                                         struct lv_bench_reference *out, struct lever_error *err);

/* ---- what is summed ---- */
struct lv_bench_sum {
    uint64_t n_prompt, n_token, n_round, n_drafted, n_accepted, peak_rss;
    double rows, bytes, seconds, draft_seconds, idle_seconds;
    bool differs; /* from plain decoding */
};

/* One way of decoding that is timed: a mode, and for a chain its length. */
struct lv_bench_series {
    const char *mode;
    uint32_t k; /* 0: not a chain */
    struct lv_bench_sum task[LV_BENCH_CAP_TASK];
};

struct lv_bench_result {
    struct lv_bench_series series[LV_BENCH_CAP_SERIES]; /* [n_series], a chain's lengths side by side */
    size_t n_series;
    double raw_before, raw_after; /* bytes/s; 0: nothing is streamed */
    bool looks_cached;
};

/* ---- bench_decode.c ---- */
#define LV_BENCH_MODES 4

struct lv_bench {
    const struct lv_args *a;
    struct lv_bench_prompts prompts;
    struct lv_bench_reference *reference; /* [prompts.n], owned */
    struct lv_bench_result r;
    uint32_t n, n_off;       /* tokens a prompt; of mode off */
    uint32_t n_ctx_train;
    bool wanted[LV_BENCH_MODES];
    bool differs;
};

/* One generation of n tokens from prompt i. k: of a chain. trace: as lv_worker_run; *out: freed by the caller. */
enum lever_status lv_bench_run(const struct lv_bench *b, const char *mode, uint32_t k, size_t i, uint32_t n, FILE *trace,
                               json_t **out, struct lever_error *err);

/* ---- bench_decode_chain.c ---- */
#define LV_BENCH_N_K 7

extern const uint32_t lv_bench_k[LV_BENCH_N_K]; /* lengths of a chain, rising */
/* *best: index of the length with the best predicted rate over all tasks. */
enum lever_status lv_bench_choose_k(const struct lv_bench *b, size_t *best, struct lever_error *err);

/* ---- bench_decode_report.c ---- */
void lv_bench_sum_add(struct lv_bench_sum *s, const json_t *run, bool equal);
/* Tokens a second, harmonic mean over tasks: each weighs the same. */
double lv_bench_rate(const struct lv_bench_series *s, uint32_t n_task);
json_t *lv_bench_json(const struct lv_bench_result *r, const struct lv_bench_prompts *p, const struct lv_args *a);
void lv_bench_put(const struct lv_bench_result *r, const struct lv_bench_prompts *p);

#endif
