/* A foreign program as a child of lever bench decode: its input, its memory group, its time limit, what it prints.
 *
 * threads  the main thread; Ctrl-C ends the child (bench_decode_worker.c) */
#ifndef LV_CLI_BENCH_DECODE_CHILD_H
#define LV_CLI_BENCH_DECODE_CHILD_H

#include "bench_decode.h"

struct lv_memory_group;

#define LV_CHILD_CAP_TEXT ((size_t)1 << 18)

struct lv_child {
    const char *const *arg; /* NULL-terminated; the first is the program's path */
    const char *input;      /* NULL, or what it can read as /dev/fd/3 */
    const struct lv_memory_group *group; /* NULL: none */
    const char *pin_path;   /* pin_bytes > 0: so much of this file's start stays in memory meanwhile, in the same group */
    uint64_t pin_bytes;
    double max_seconds;
    /* results */
    FILE *log;              /* owned: standard output and error */
    int exit_code, signal;  /* signal 0: it ended by itself */
    bool late;              /* it was killed after max_seconds */
};

/* Runs it to its end, whatever that is. LEVER_E_IO when it cannot be started, LEVER_E_CANCEL after Ctrl-C. */
enum lever_status lv_child_run(struct lv_child *c, struct lever_error *err);
/* The last cap - 1 bytes that it printed, NUL-terminated, NULs left out. */
void lv_child_read(struct lv_child *c, char *text, size_t cap);
void lv_child_deinit(struct lv_child *c);

/* Drops a file's pages from the page cache, as far as nobody else uses them. */
void lv_child_forget(const char *path);
uint64_t lv_child_file_bytes(const char *path); /* 0: not there */
/* The prompts as text, through the target's chat template where they are turns: (*out)[*n], to be freed one by one. */
enum lever_status lv_child_prompts(const struct lv_bench *b, char ***out, size_t *n, struct lever_error *err);

#endif
