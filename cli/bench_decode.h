/* Parts of lever bench decode: prompts, worker processes, reference ids, sums and their report.
 *
 * The driver process never loads a model: each generation is a process of its own (lever run --json), so
 * that every mode plans the budget anew and leaves nothing in memory for the next one.
 * threads: everything on the main thread; only the handler of SIGINT and SIGTERM runs elsewhere. */
#ifndef LV_CLI_BENCH_DECODE_H
#define LV_CLI_BENCH_DECODE_H

#include <sys/types.h>

#include "cli.h"
#include "markup.h"

#define LV_BENCH_CAP_TASK 32
#define LV_BENCH_CAP_SERIES 10
#define LV_BENCH_CAP_PATH 512

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

/* A child that somebody else started: Ctrl-C ends it until it is reaped. */
void lv_worker_adopt(pid_t pid);
/* Waits for its end and returns its status; after max_seconds (0: never) it is killed, and *late set. */
int lv_worker_reap(pid_t pid, double max_seconds, bool *late);
bool lv_worker_interrupted(void);

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
    uint64_t planned; /* bytes; the largest */
    double rows, bytes, seconds, draft_seconds, idle_seconds;
    bool differs; /* from plain decoding */
};

/* One way of decoding that is timed: a mode, and for a chain its length. */
struct lv_bench_series {
    const char *mode;
    uint32_t k; /* 0: not a chain */
    struct lv_bench_sum task[LV_BENCH_CAP_TASK];
    struct {
        uint64_t n_token;
        double seconds;
    } rep[LV_CAP_REPEAT][LV_BENCH_CAP_TASK]; /* of each repetition alone */
};

struct lv_bench_result {
    struct lv_bench_series series[LV_BENCH_CAP_SERIES]; /* [n_series], a chain's lengths side by side */
    size_t n_series;
    double raw_before, raw_after; /* bytes/s; 0: nothing is streamed */
    bool looks_cached;
};

/* ---- bench_decode.c ---- */
#define LV_BENCH_MODES 6

struct lv_bench {
    const struct lv_args *a; /* with the memory size that is measured now */
    struct lv_bench_prompts prompts;
    struct lv_bench_reference *reference; /* [prompts.n], owned */
    struct lv_bench_result r;
    struct lv_bench_detail *detail; /* NULL: rounds are not looked at */
    struct lv_bench_peers *peers;   /* NULL: none */
    char learned[LV_BENCH_CAP_PATH]; /* of lv_bench_learned_init; empty: not made */
    uint32_t n, n_off;       /* tokens a prompt; of mode off */
    uint32_t n_ctx_train;
    bool wanted[LV_BENCH_MODES];
    bool differs;
};

/* Arguments, prompts and reference ids, which all memory sizes share. lv_bench_deinit is due in any case. */
enum lever_status lv_bench_init(struct lv_bench *b, struct lever_error *err);
void lv_bench_deinit(struct lv_bench *b);
/* Times everything in the memory that b->a names; the result is in b->r. */
enum lever_status lv_bench_measure(struct lv_bench *b, struct lever_error *err);

/* One generation of n tokens from prompt i. k: of a chain. trace: as lv_worker_run; *out: freed by the caller. */
enum lever_status lv_bench_run(const struct lv_bench *b, const char *mode, uint32_t k, size_t i, uint32_t n, FILE *trace,
                               json_t **out, struct lever_error *err);

/* ---- bench_decode_learned.c: a mode's runs learn from each other, and from no other mode's ---- */
/* Makes a temporary folder. */
enum lever_status lv_bench_learned_init(char base[LV_BENCH_CAP_PATH], struct lever_error *err);
/* The folder that runs of a mode (k: of a chain) share; made with what the user's runs have learned so far, unless
 * --no-cache. */
void lv_bench_learned_dir(const struct lv_bench *b, const char *mode, uint32_t k, char dir[LV_BENCH_CAP_PATH + 40]);
/* Removes all of it; base may be empty. */
void lv_bench_learned_deinit(const char *base);

/* ---- bench_decode_chain.c ---- */
#define LV_BENCH_N_K 7

extern const uint32_t lv_bench_k[LV_BENCH_N_K]; /* lengths of a chain, rising */
/* *best: index of the length with the best predicted rate over all tasks. */
enum lever_status lv_bench_choose_k(const struct lv_bench *b, size_t *best, struct lever_error *err);

/* ---- bench_decode_report.c ---- */
/* A run of a prompt of task t, the i_rep-th time. */
void lv_bench_sum_add(struct lv_bench_series *s, uint32_t t, uint32_t i_rep, const json_t *run, bool equal);
/* Tokens a second, harmonic mean over tasks: each weighs the same. */
double lv_bench_rate(const struct lv_bench_series *s, uint32_t n_task);
json_t *lv_bench_json(const struct lv_bench_result *r, const struct lv_bench_prompts *p, const struct lv_args *a);
void lv_bench_put(const struct lv_bench_result *r, const struct lv_bench_prompts *p);

/* ---- bench_decode_detail.c: what the rounds of mode lever were like, for the figures of a report ---- */
#define LV_BENCH_CAP_DEPTH 33
#define LV_BENCH_CAP_ROUND 300 /* that are drawn */

struct lv_bench_detail {
    FILE *all;       /* traces, one behind the other */
    struct {
        uint64_t n_round, reached[LV_BENCH_CAP_DEPTH]; /* reached[d]: rounds that accepted d tokens or more */
    } task[LV_BENCH_CAP_TASK];
};

enum lever_status lv_bench_detail_open(struct lv_bench_detail *d, struct lever_error *err);
void lv_bench_detail_close(struct lv_bench_detail *d); /* accepts one that is zero */
/* All of `from` behind what `to` holds. */
bool lv_bench_append(FILE *to, FILE *from);
/* Takes over the trace of a run of task t. */
enum lever_status lv_bench_detail_add(struct lv_bench_detail *d, uint32_t t, FILE *trace, struct lever_error *err);
/* {"acceptance", "rounds", "sizes", "round"}, see COMMANDS.md. */
json_t *lv_bench_detail_json(const struct lv_bench_detail *d, const struct lv_bench_prompts *p);

/* ---- bench_decode_peers.c: llama.cpp's programs on the same prompts ---- */
#define LV_BENCH_PEERS 3

struct lv_peer_sum {
    uint64_t n_prompt, n_token;
    double seconds;
    char error[240]; /* of the last failure; empty: none */
};

struct lv_bench_peers {
    char speculative[1024], plain[1024]; /* programs; empty: not there */
    enum { LV_PEER_SPECULATIVE, LV_PEER_COMPLETION, LV_PEER_SIMPLE } plain_kind;
    const char *draft_max; /* how this build calls the length of a chain */
    bool has_type;         /* it wants --spec-type */
    bool has_no_repack;    /* it can be told to leave mapped weights as they are */
    char version[120];     /* what the programs say of themselves, or "" */
    char missing[200];     /* what the directory lacks, or "" */
    char **prompt;         /* [n_prompt] owned, through the chat template */
    size_t n_prompt;
    bool given_up[LV_BENCH_PEERS]; /* a time-out at this memory size */
    struct lv_peer_sum sum[LV_BENCH_PEERS][LV_BENCH_CAP_TASK];
};

extern const char *const lv_peer_names[LV_BENCH_PEERS]; /* "mmap", "mmap_chain", "pinned_chain" */
/* Looks what is in dir, and asks it. LEVER_E_ARG when there is nothing of use. */
enum lever_status lv_bench_peers_init(struct lv_bench_peers *p, const struct lv_bench *b, const char *dir,
                                      struct lever_error *err);
void lv_bench_peers_deinit(struct lv_bench_peers *p);
/* Forgets what was measured, for the next memory size. */
void lv_bench_peers_reset(struct lv_bench_peers *p);
/* Runs peer k on prompt i under the memory of b->a. A failure stands in the sums; only LEVER_E_CANCEL is returned. */
enum lever_status lv_bench_peers_run(struct lv_bench_peers *p, const struct lv_bench *b, uint32_t k, size_t i,
                                     struct lever_error *err);
json_t *lv_bench_peers_json(const struct lv_bench_peers *p, const struct lv_bench_prompts *prompts);

/* ---- bench_decode_csv.c ---- */
/* Appends rows of a report (all that lv_bench_sweep made) to path; the heading first where the file is new. */
enum lever_status lv_bench_csv(const char *path, const json_t *report, struct lever_error *err);

/* ---- report_html.c ---- */
/* The page of a report, as lever bench decode --json prints it. False: no memory. */
bool lv_report_html(struct lv_markup *m, const json_t *report);

#endif
