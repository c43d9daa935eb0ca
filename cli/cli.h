/* What the commands share: messages, files, exit codes, JSON, progress, Ctrl-C, opening a model.
 *
 * The command line is built on lever.h alone. Text that comes from outside (model files, options,
 * errors that quote them) reaches the terminal only through the functions here that
 * escape control characters.
 * threads: everything on the main thread; only interrupt.c runs in a signal handler. */
#ifndef LV_CLI_CLI_H
#define LV_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <lever/lever.h>

#include "args.h"

enum lv_exit {
    LV_EXIT_OK = 0,
    LV_EXIT_OTHER = 1,
    LV_EXIT_USAGE = 2,
    LV_EXIT_MODEL = 3,
    LV_EXIT_BUDGET = 4,
    LV_EXIT_IO = 5,
    LV_EXIT_INTERRUPTED = 130
};

/* ---- the commands; each returns an exit code ---- */
int lv_cli_run(const struct lv_args *a);
int lv_cli_plan(const struct lv_args *a);
int lv_cli_probe(const struct lv_args *a);
int lv_cli_bench_kernels(const struct lv_args *a);
int lv_cli_bench_stream(const struct lv_args *a);
int lv_cli_bench_decode(const struct lv_args *a);
int lv_cli_info(const struct lv_args *a);
int lv_cli_tokenize(const struct lv_args *a);
int lv_cli_pack(const struct lv_args *a);
int lv_cli_replay(const struct lv_args *a);

/* ---- help.c ---- */
void lv_help_usage(FILE *f);                        /* the short form: commands */
void lv_help_command(FILE *f, enum lv_command c); /* all options of a command */
void lv_help_build_info(FILE *f);                  /* lever --info */

struct lv_prompt {
    int32_t *ids; /* [n_ids], owned; free() */
    size_t n_ids;
    uint32_t n_ctx; /* 0: the engine's default */
};

/* ---- trace.c ---- */
struct lv_trace {
    const char *path; /* borrowed; NULL: nothing is written */
    FILE *f;
    const struct lv_prompt *prompt; /* borrowed */
    uint64_t n_line;
    struct lever_stats last;
};
enum lever_status lv_trace_open(struct lv_trace *t, const char *path, const struct lv_prompt *prompt, struct lever_error *err);
/* After a lever_step that wrote ids[0 .. n). */
enum lever_status lv_trace_round(struct lv_trace *t, const lever_engine *e, lever_seq *seq, const int32_t *ids,
                                 size_t n, struct lever_error *err);
enum lever_status lv_trace_close(struct lv_trace *t, struct lever_error *err);

/* ---- replay.c ---- */
/* What lever replay --json prints for this trace; *out is the caller's. */
enum lever_status lv_replay_file(const char *path, json_t **out, struct lever_error *err);

/* ---- output.c: stderr, stdout, files ---- */
int lv_exit_code(enum lever_status st);
/* "lever: message" on stderr, control characters escaped. */
__attribute__((format(printf, 1, 2))) void lv_say(const char *fmt, ...);
/* "lever: error: message", the word in red on a terminal (unless NO_COLOR is set). */
__attribute__((format(printf, 1, 2))) void lv_error(const char *fmt, ...);
/* Writes text with control characters (but for tab, and newline if multi_line) as \xNN. */
void lv_put_safe(FILE *f, const char *text, bool multi_line);
/* Reports an engine error, on stdout too as {"error": ...} when json; returns the exit code. */
int lv_report(const struct lever_error *err, bool json);
/* Flushes stdout. False, with a message, when something could not be written. */
bool lv_stdout_done(void);
/* The whole of a file ("-": stdin), NUL-terminated, freed by the caller; at most max_bytes.
 * LEVER_E_IO, LEVER_E_NOMEM or LEVER_E_ARG (too long), with *err filled. */
enum lever_status lv_read_file(const char *path, size_t max_bytes, char **out, size_t *len, struct lever_error *err);
__attribute__((format(printf, 3, 4))) enum lever_status lv_cli_fail(struct lever_error *err, enum lever_status st,
                                                                      const char *fmt, ...);
/* "1.2 GiB" into buf[24]; returns buf. */
const char *lv_size_text(char buf[24], uint64_t bytes);

/* ---- json.c: jansson with the contract's conventions ---- */
json_t *lv_json_text(const char *bytes, size_t len); /* ill-formed UTF-8 becomes U+FFFD */
json_t *lv_json_str(const char *s);                   /* NULL becomes null */
json_t *lv_json_uint(uint64_t n);
json_t *lv_json_real(double x); /* not finite: 0 */
json_t *lv_json_ids(const int32_t *ids, size_t n);
json_t *lv_json_error(const struct lever_error *err);
/* A line of JSON; drops the object. False: no memory, or the object is NULL (json_pack's answer to a missing part). */
bool lv_json_write(FILE *f, json_t *object);
/* Prints the one object of --json and drops it; NULL (json_pack's answer to a missing part) is
 * an error. Returns an exit code. */
int lv_json_print(json_t *object);

/* ---- progress.c ---- */
struct lv_progress {
    bool terminal, quiet, shown;
    char what[16];
    double last; /* when a line was printed, s */
    int last_percent;
};

void lv_progress_init(struct lv_progress *p, bool json);
void lv_progress_show(struct lv_progress *p, const char *what, uint64_t done, uint64_t total);
void lv_progress_end(struct lv_progress *p); /* clears the line of a terminal */
double lv_cli_seconds(void); /* monotonic */

/* ---- interrupt.c: SIGINT and SIGTERM ---- */
enum lv_phase {
    LV_PHASE_LOAD,     /* nothing to lose: the first signal ends the program */
    LV_PHASE_GENERATE, /* the first cancels the sequence, the second ends the program */
    LV_PHASE_FINISH    /* results are being printed: the first is noted, the second ends */
};

void lv_interrupt_init(bool json);
void lv_interrupt_phase(enum lv_phase phase, lever_seq *seq);
bool lv_interrupted(void);

/* ---- session.c: models opened as the arguments say ---- */
/* The vocabulary and metadata only: cheap. */
enum lever_status lv_session_vocab(const struct lv_args *a, lever_engine **out, struct lever_error *err);
extern const char *const lv_device_names[]; /* in the order of the choices of --device */
/* Options as the arguments say; the callbacks report through p. */
void lv_session_options(const struct lv_args *a, uint32_t n_ctx, struct lv_progress *p, struct lever_options *opt);
/* Everything; the callbacks report through p, which must outlive the engine. */
enum lever_status lv_session_open(const struct lv_args *a, uint32_t n_ctx, struct lv_progress *p, lever_engine **out,
                                  struct lever_error *err);
/* text to ids, in a fresh array freed by the caller. */
enum lever_status lv_session_tokenize(const lever_engine *e, const char *text, size_t len, unsigned flags,
                                      int32_t **ids, size_t *n, struct lever_error *err);
/* The prompt that the arguments name, and the context that it and -n need. */
enum lever_status lv_session_prompt(const struct lv_args *a, struct lv_prompt *out, struct lever_error *err);
/* The text of -p or -f: *owned is NULL or freed by the caller. */
enum lever_status lv_session_text(const struct lv_args *a, const char **text, size_t *len, char **owned,
                                  struct lever_error *err);

/* ---- data.c: JSON files, and those that are built in ---- */
enum lv_data { LV_DATA_DEVICE, LV_DATA_MODEL, LV_DATA_ACCEPTANCE };
/* A built-in description by its name, else a file. *o: dropped by the caller, set only on success.
 * make: how to get such a file, for messages. */
enum lever_status lv_data_read(enum lv_data kind, const char *name, const char *make, json_t **o, struct lever_error *err);
/* A number of o in min..max; absent or null: `absent`, or an error where that is NaN. */
enum lever_status lv_data_number(const char *path, const json_t *o, const char *key, double min, double max, double absent,
                                 double *out, struct lever_error *err);

/* ---- shape.c: models and acceptance that are only described ---- */
#define LV_SHAPE_TEXT 32
struct lv_shape_file {
    struct lever_model_shape shape; /* its texts point into this */
    char name[LV_SHAPE_TEXT], arch[LV_SHAPE_TEXT], type[3][LV_SHAPE_TEXT];
};
enum lever_status lv_shape_file_read(const char *name, struct lv_shape_file *out, struct lever_error *err);
/* name NULL: the built-in default. */
enum lever_status lv_acceptance_read(const char *name, struct lever_acceptance *out, struct lever_error *err);

/* ---- profile.c: device profiles as JSON ---- */
json_t *lv_profile_json(const struct lever_profile *d);
/* Reads a profile (lv_data_read); what is missing is 0, what is wrong an error that names the file and the field. */
enum lever_status lv_profile_read(const char *path, struct lever_profile *d, struct lever_error *err);
/* The machine's own profile, kept by lever probe. False when there is none that fits threads and kernels. */
/* "$XDG_CACHE_HOME/lever/NAME" or the like; with make: its folders are made. False when there is no home. */
bool lv_cache_path(char *buf, size_t cap, const char *name, bool make);
bool lv_profile_load(struct lever_profile *d, uint32_t n_threads, const char *kernels);
/* Keeps it; failure costs only time later, so it is not reported. Returns whether it worked. */
bool lv_profile_save(const struct lever_profile *d);

#endif
