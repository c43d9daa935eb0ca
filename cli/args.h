/* Arguments of every command, from one table of options (options.c).
 *
 * owns     lv_args owns its lists (lv_args_deinit); strings are borrowed from argv */
#ifndef LV_CLI_ARGS_H
#define LV_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lever/lever.h>

enum lv_command {
    LV_CMD_RUN,
    LV_CMD_PLAN,
    LV_CMD_PROBE,
    LV_CMD_BENCH_KERNELS,
    LV_CMD_BENCH_STREAM,
    LV_CMD_BENCH_DECODE,
    LV_CMD_INFO,
    LV_CMD_TOKENIZE,
    LV_CMD_PACK,
    LV_CMD_REPLAY,
    LV_CMD_COUNT
};

#define LV_CAP_MEMORY 16
#define LV_CAP_REPEAT 9

struct lv_args {
    enum lv_command command;
    int argc;
    const char *const *argv; /* [argc], borrowed: the whole command line */
    const char *target, *draft;
    const char *prompt, *file, *chat, *decode;
    uint64_t memory_bytes, ring_bytes, slot_bytes;
    uint64_t memory[LV_CAP_MEMORY]; /* [n_memory] as listed; the first is memory_bytes. Without --memory: no bound */
    uint32_t n_memory;
    int32_t n_predict; /* -1: until the text ends or the context is full */
    uint32_t n_ctx;    /* 0: what prompt and n_predict need */
    uint32_t n_threads, spec_draft_n_max;
    int speculation, reader, overlap, peek, prune, device; /* index into the option's choices */
    uint32_t tree_rows, draft_layers, draft_head; /* draft_head: LEVER_HEAD_* or tokens */
    const char *cpu_level, *trace, *sidecar, *lens, *learned, *out;
    const char *types, *rows, *shape, *modes, *tasks; /* lists as typed */
    const char *prompts, *reference, *html, *csv, *peers;
    uint32_t count, n_off, repeat;
    const char *profile, *dir;
    const char *model_shape, *draft_shape, *acceptance, *prune_model; /* plan */
    int stream_ahead;               /* index into on|off */
    uint32_t n_sim;                 /* tokens of a task that plan simulates */
    int compute;                    /* index into on|off */
    uint32_t n_pass;
    struct lever_sampling sampling; /* logit_bias points to bias */
    struct lever_logit_bias *bias;  /* [sampling.n_logit_bias], owned */
    const char **stop;              /* [n_stop], owned array */
    size_t n_stop;
    bool json, all, no_special, add_bos, verbose, help, no_cache, ignored, force;
};

enum lv_opt_kind {
    LV_OPT_FLAG,   /* bool */
    LV_OPT_TEXT,   /* const char *; any value */
    LV_OPT_FILE,   /* const char *; a value that is an option's name is refused */
    LV_OPT_SIZE,   /* uint64_t; 640M, 1.25G, bytes, auto */
    LV_OPT_MEMORY, /* a size or "unlimited", of bench decode a list of them: memory */
    LV_OPT_U32,
    LV_OPT_I32,
    LV_OPT_U64,
    LV_OPT_F32,
    LV_OPT_CHOICE, /* int: index into choices */
    LV_OPT_HEAD,   /* uint32_t; auto, full, q4 or a number of tokens */
    LV_OPT_STOP,   /* appends to stop */
    LV_OPT_BIAS    /* ID=X, appends to bias */
};

#define LV_FOR(command) (1u << (command))

/* One option. Work that adds a feature removes a '!' or the LATER mark here, nothing else. */
struct lv_opt {
    const char *name[3];     /* first: the one that help and errors show */
    enum lv_opt_kind kind;
    unsigned commands;       /* LV_FOR() bits */
    size_t offset;           /* in struct lv_args */
    double min, max;         /* numbers, inclusive */
    const char *value;       /* placeholder in help; the choices "a|b|c" of LV_OPT_CHOICE, '!' before one that this
                                build lacks */
    const char *group, *help;
    uint64_t auto_value;     /* LV_OPT_SIZE: what "auto" means */
    bool later;              /* documented, but not in this build */
};

extern const struct lv_opt lv_options[];
extern const size_t lv_n_options;

/* A llama.cpp flag that Lever lacks. A name ending in '*' is a prefix. */
struct lv_foreign {
    const char *names[4];
    const char *instead; /* "there is no ...; use ..." */
};

extern const struct lv_foreign lv_foreign_options[];
extern const size_t lv_n_foreign_options;

/* Fills *a from argv[first..]. On failure a message of one line is in err (LEVER_E_ARG, LEVER_E_NOMEM).
 * lv_args_deinit is due in both cases. With a->help set nothing else is checked. */
enum lever_status lv_args_parse(struct lv_args *a, enum lv_command command, int argc, char **argv, int first,
                                struct lever_error *err);
void lv_args_deinit(struct lv_args *a);

const char *lv_command_name(enum lv_command c);
/* o's placeholder without the marks of what is lacking, into buf; returns buf. */
const char *lv_opt_value_text(const struct lv_opt *o, char buf[64]);
/* The nearest of n names to a mistyped one, or NULL. name(i) gives a name. */
const char *lv_args_nearest(const char *typed, const char *(*name)(size_t i), size_t n);

#endif
