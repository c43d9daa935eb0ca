/* Instance: a model ready to run: file, program, placed weights, buffers, KV cache. Draft and target are
 * one each.
 *
 * owns     everything in it; one arena for all small memory, one region for pinned weights, one for the ring
 * threads  one run at a time */
#ifndef LV_ENGINE_INSTANCE_H
#define LV_ENGINE_INSTANCE_H

#include "accel/accel.h"
#include "engine/devices.h"
#include "engine/embed.h"
#include "engine/load.h"
#include "engine/place.h"
#include "model/exec.h"

struct lv_instance {
    struct lv_gguf *gguf;
    struct lv_program *program;
    struct lv_reader *reader;
    char *sidecar;               /* path of the file the matrices are read from; NULL = the model's own */
    uint64_t sidecar_bytes;
    struct lv_arena arena;       /* kv, exec, embed */
    struct lv_kv kv;
    struct lv_exec exec;
    struct lv_exec peek;         /* heads of rows that are under way; with spec.peek */
    struct lv_embed embed;
    struct lv_placement place;
    uint8_t *weights;            /* vectors and pinned groups */
    uint64_t weights_bytes;
    uint8_t *more;               /* groups that were pinned later; NULL: none */
    uint64_t more_bytes;
    uint64_t extent_bytes;       /* most of an extent */
    struct lv_stream *stream;    /* NULL when all is pinned */
    uint8_t *ring;
    uint64_t ring_bytes;
    bool stream_head;
    struct lv_accel_model *device; /* the program on a device, where its drafting and scoring runs; NULL = here */
    struct lv_devices *devices;  /* borrowed; NULL: every run uses the kernels it was loaded with */
    enum lv_map_program first_program; /* its body's; its head's comes next */
    struct lv_map_split used[2]; /* what exec's last forward and head were placed on */
};

/* What an instance is given; from the plan. */
struct lv_instance_spec {
    uint32_t n_worker, max_rows, n_ctx, n_slot;
    uint64_t embed_bytes;
    uint64_t pin_bytes;          /* matrices; UINT64_MAX = all */
    bool stream_head;            /* the head is streamed at the end of each pass */
    uint64_t slot_bytes;         /* longest extent */
    uint32_t n_ring_slot;        /* 0 when all is pinned */
    bool peek;                   /* heads beside a pass: engine/peek.h */
};

/* Opens the file and compiles the program; allocates nothing large. */
enum lever_status lv_instance_open(struct lv_instance *m, const char *path, struct lever_error *err);
/* Lets the matrices be read from a sidecar in kernel layout; between open and load. LEVER_DONE: there is no such
 * file. An error says why it cannot be used; the instance works without it. */
enum lever_status lv_instance_use_sidecar(struct lv_instance *m, const char *path, struct lever_error *err);
/* Name of one of the reader's files: parts of the model, then the sidecar. Borrowed. */
const char *lv_instance_path(const struct lv_instance *m, uint32_t i_file);
/* Bytes of the arena that a spec needs. */
uint64_t lv_instance_arena_bytes(const struct lv_instance *m, const struct lv_instance_spec *spec);
/* Places, allocates, reads what is pinned, makes the stream. */
enum lever_status lv_instance_load(struct lv_instance *m, const struct lv_instance_spec *spec, const struct lv_kern *k,
                                   struct lv_pool *pool, const struct lv_reader_options *io,
                                   struct lv_load_progress *progress, struct lever_error *err);
/* Pins up to `bytes` more of the matrices; once. No run and no read of the stream is under way, which is begun anew. After a
 * failure nothing has changed. */
enum lever_status lv_instance_pin_more(struct lv_instance *m, uint64_t bytes, struct lever_error *err);
/* Gives back all memory but what file and program describe; it cannot run any more. */
void lv_instance_unload(struct lv_instance *m);
void lv_instance_close(struct lv_instance *m); /* accepts a zeroed or half-built one */

/* The next run of x, the instance's exec or peek, over so many rows (a head, or a forward) uses the kernels that the mapper
 * chooses. lv_instance_forward and _head do this themselves. */
void lv_instance_use(struct lv_instance *m, struct lv_exec *x, bool head, uint32_t n_rows);
/* exec's last run of this kind took so long, without waiting. Ignored unless it was over n_rows. */
void lv_instance_learn(struct lv_instance *m, bool head, uint32_t n_rows, double seconds);

/* Runs rows of the given tokens: embeds them, then the body of the program. A streamed pass that fails is abandoned. */
enum lever_status lv_instance_forward(struct lv_instance *m, const int32_t *token, const struct lv_pass *pass,
                                      struct lever_error *err);

/* The head of n <= LV_HEAD_ROWS rows of the last forward: lv_exec_head. With a streamed head: exactly once for
 * each forward that succeeded, also if no logits are wanted. */
enum lever_status lv_instance_head(struct lv_instance *m, const uint32_t *row, uint32_t n, struct lv_head head,
                                   struct lever_error *err);

#endif
