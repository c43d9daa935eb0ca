/* Lens: from the state after some layers of the target to the state after all of them, as far as a small affine map can
 * tell. Fitted by tools/train_prune.py; steers pruning, never the text.
 *
 *   h' = gain h + U (V h) + b, of low rank; then the target's own final norm and head.
 *
 * File, little endian:
 *   0  "LVLENS01"  8 u32 version 1  12 u32 bytes of the file  16 u64 fingerprint of the target
 *   24 u32 n_embd  28 u32 n_layer  32 u32 n  36 u32 0
 *   40 n entries of 64 bytes: u32 depth, u32 rank, f32 gain, f32 weight[12] of the predictor, u32 0; depths rise
 *   then for each entry: V [rank][n_embd] Q8_0, U [n_embd][rank] Q8_0, b [n_embd] f16
 *   last four bytes: CRC-32 (ISO 3309) of all before
 *
 * owns     its memory
 * threads  read-only once it is read; lv_lens_apply from any worker with scratch of its own */
#ifndef LV_PRUNE_LENS_H
#define LV_PRUNE_LENS_H

#include <stdbool.h>

#include "base/status.h"
#include "kern/kern.h"
#include "prune/predict.h"

#define LV_LENS_VERSION 1u
#define LV_LENS_MAX 8        /* depths in a file */
#define LV_LENS_RANK_MAX 256 /* a multiple of 32 */
#define LV_LENS_BYTES_MAX (8u << 20)

struct lv_lens_layer {
    uint32_t depth;       /* layers that are done */
    uint32_t rank;        /* 0: h' = gain h + b */
    float gain;
    float weight[LV_PREDICT_WEIGHTS];
    const uint8_t *v, *u; /* R32 groups of Q8_0 */
    const float *b;       /* [n_embd]; NULL: zeros */
};

struct lv_lens {
    uint64_t fingerprint;
    uint32_t n_embd, n_layer, n;
    struct lv_lens_layer layer[LV_LENS_MAX];
    void *memory;         /* owned */
};

/* Reads and checks a file. k: its kernels pack the matrices. *out is set only on success.
 * LEVER_DONE: there is no such file; LEVER_E_IO; LEVER_E_MODEL: what is wrong, and where. */
enum lever_status lv_lens_open(struct lv_lens *out, const char *path, const struct lv_kern *k, struct lever_error *err);
/* The same from bytes; name stands in messages. */
enum lever_status lv_lens_parse(struct lv_lens *out, const uint8_t *data, uint64_t bytes, const char *name,
                                const struct lv_kern *k, struct lever_error *err);
/* LEVER_E_MODEL unless the lens is of this target. */
enum lever_status lv_lens_check(const struct lv_lens *l, uint64_t fingerprint, uint32_t n_embd, uint32_t n_layer,
                                struct lever_error *err);
void lv_lens_close(struct lv_lens *l); /* accepts a zeroed one */

/* Scratch of one worker; 64-byte aligned pieces of `memory`, whose size is lv_lens_scratch_bytes(n_embd). */
struct lv_lens_scratch {
    float *h;          /* [n_embd] the row, later the lens's state */
    float *norm;       /* [n_embd] input of `wide`: the caller puts the normed state here */
    float *narrow_f;   /* [LV_LENS_RANK_MAX] */
    struct lv_act wide, narrow;
};
uint64_t lv_lens_scratch_bytes(uint32_t n_embd);
void lv_lens_scratch_init(struct lv_lens_scratch *s, uint32_t n_embd, void *memory);

/* s->h = the lens's state for row h [n_embd]. */
void lv_lens_apply(const struct lv_lens_layer *l, const struct lv_kern *k, uint32_t n_embd, const float *h,
                   struct lv_lens_scratch *s);

uint32_t lv_crc32(const uint8_t *data, uint64_t n);

#endif
