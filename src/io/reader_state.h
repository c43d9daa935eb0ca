/* What a reader holds, for the files that implement it: reader.c (queues, pread pool), uring.c (the same work through a
 * ring), direct_check.c. */
#ifndef LV_IO_READER_STATE_H
#define LV_IO_READER_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "io/file.h"

#define LV_READER_THREAD_MAX 16

struct lv_read_queue {
    struct lv_read *head, *tail;
};

struct lv_reader {
    struct lv_file *file; /* [n_files] */
    uint32_t n_files;
    struct lv_io_ops ops;
    atomic_bool direct, closing;
    char note[400];       /* lv_reader_note; written by open and lv_reader_check_direct only */

    pthread_t thread[LV_READER_THREAD_MAX + 1]; /* the last one, if asked for, takes urgent reads only */
    uint32_t n_threads;   /* running */
    struct lv_uring *uring; /* NULL: the pool reads */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t work, urgent_work; /* the second: for who takes nothing else */
    struct lv_read_queue urgent, normal;
    struct lv_reader_stats stats;
    uint32_t n_flight, depth; /* depth: reads in flight at most, urgent ones aside */
    uint64_t busy_since_ns; /* while n_flight > 0 */
    uint64_t full_since_ns; /* while n_flight >= depth: the last read that began or ended */
};

/* Lock held: the next request, counted as in flight; NULL when there is none. */
struct lv_read *lv_reader_begin(struct lv_reader *r, bool urgent_only);
/* Checks the request's file number and begins its transfer. */
enum lever_status lv_reader_transfer(struct lv_reader *r, const struct lv_read *req, struct lv_transfer *t,
                                     struct lever_error *err);
/* Counts a request of lv_reader_begin as done and hands it back to its owner. Lock not held. */
void lv_reader_finish(struct lv_reader *r, struct lv_read *req, enum lever_status st, uint64_t n_bytes);
/* As pthread_create, with all signals blocked. */
int lv_reader_spawn(pthread_t *t, void *(*fn)(void *), void *arg);
void lv_reader_add_note(struct lv_reader *r, const char *text);

#endif
