/* Stream: the target's unpinned weights, read in execution order into a ring of slots, pass after pass.
 *
 * The next read is always known, so the ring never waits for a decision: it is filled while
 * drafting and sampling run, and wraps round the model into the next pass. A slot goes
 * FREE -> FILLING -> READY -> (its segments are used) -> FREE; only this file moves it.
 *
 * owns     slot states; borrows reader, extents and ring memory
 * threads  take and give from any worker; start, stop and abandon while no pass runs */
#ifndef LV_ENGINE_STREAM_H
#define LV_ENGINE_STREAM_H

#include "base/event.h"
#include "engine/spans.h"
#include "io/reader.h"
#include "model/exec.h"

/* A byte range of the model file, read at once; holds whole 32-row groups. */
struct lv_extent {
    uint32_t i_file;
    uint64_t off;
    uint32_t len;
    uint32_t n_seg; /* weight segments in it */
};

struct lv_stream;

/* Bytes of ring memory one slot takes: the extent's aligned superset. */
static inline uint64_t lv_slot_bytes(uint64_t max_extent)
{
    return lv_round_up(max_extent, LV_IO_ALIGN) + LV_IO_ALIGN;
}

/* extent  [n_extent], borrowed, in execution order; none longer than max_extent
 * ring    n_slot * lv_slot_bytes(max_extent) bytes, aligned to LV_IO_ALIGN, borrowed
 * event   bumped when an extent arrives or fails */
enum lever_status lv_stream_new(struct lv_stream **out, struct lv_reader *reader, const struct lv_extent *extent,
                                uint32_t n_extent, uint32_t max_extent, uint8_t *ring, uint32_t n_slot,
                                struct lv_event *event, struct lever_error *err);
void lv_stream_free(struct lv_stream *s); /* after the reader was closed; accepts NULL */

struct lv_source lv_stream_source(struct lv_stream *s);

/* Reads begin, and go on for ever, or: no further read begins. What the ring holds stays valid. Start forgets a read
 * error: what failed is read again. */
void lv_stream_start(struct lv_stream *s);
void lv_stream_stop(struct lv_stream *s);
/* After lv_stream_stop: waits until no read is under way. False: *cancel was set before. */
bool lv_stream_drain(struct lv_stream *s, const atomic_bool *cancel);
/* The pass that was begun is given up: the next take() is of a new pass. Forgets a read error. */
void lv_stream_abandon(struct lv_stream *s);

/* Reads between two moments, as lv_spans_copy; of those under way only what the reader has begun. */
size_t lv_stream_reads(struct lv_stream *s, uint64_t from_ns, uint64_t to_ns, struct lever_span *out, size_t cap);

uint64_t lv_stream_bytes_read(const struct lv_stream *s);

#endif
