/* A model loaded for a test, below lever.h: forward passes and logits of chosen rows.
 *
 * owns     everything; host_close frees it */
#ifndef E2E_HOST_H
#define E2E_HOST_H

#include "engine/instance.h"

struct host_options {
    const char *level;     /* CPU level; NULL = best */
    unsigned n_threads;    /* 0 = 1 */
    uint32_t n_ctx;        /* 0 = 1024 */
    uint32_t max_rows;     /* 0 = 64 */
    double pin_share;      /* of the matrices that may be streamed; 0 = all pinned */
    uint64_t slot_bytes;   /* 0 = 64 KiB */
    uint32_t n_ring_slot;  /* 0 = 4 */
};

struct host {
    struct lv_instance m;
    struct lv_kern kern;
    struct lv_pool *pool;
};

/* Prints the error and returns false when the model cannot be opened. */
bool host_open(struct host *h, const char *path, const struct host_options *opt);
void host_close(struct host *h);

/* Commits the tokens behind what is committed, in passes of at most `bucket` rows. */
bool host_feed(struct host *h, const int32_t *ids, uint32_t n, uint32_t bucket);
/* Feeds the tokens and writes the logits of each into logits [n][n_vocab]. */
bool host_logits(struct host *h, const int32_t *ids, uint32_t n, uint32_t bucket, float *logits);
/* Runs one tree (parents before children; slot i = node i) without committing it; logits [n][n_vocab]. */
bool host_tree(struct host *h, const int32_t *token, const int *parent, uint32_t n, float *logits);

/* The same, but before the first norm at or behind op i_op all rows but keep[0] < keep[1] < .. are dropped (ancestors of
 * kept ones are kept); logits [n_keep][n_vocab]. Before each op a call of some units is put in; false unless all of their
 * units ran once, while no op did. */
bool host_tree_dropping(struct host *h, const int32_t *token, const int *parent, uint32_t n, uint32_t i_op,
                        const uint32_t *keep, uint32_t n_keep, float *logits);

static inline uint32_t host_n_vocab(const struct host *h)
{
    return h->m.program->shape.n_vocab;
}

/* Over n logits; the lowest index of the largest. */
double host_logsumexp(const float *x, uint32_t n);
uint32_t host_argmax(const float *x, uint32_t n);

/* Folder of real models, or NULL (with the reason printed) when `file` is not there. */
const char *host_model_path(const char *file);

#endif
