/* Rings of all sizes up to a whole pass, extents given back in any order within a window: every extent comes once a pass, with
 * its own bytes.
 *
 * usage: test_stream FOLDER [SEED] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "check.h"
#include "engine/stream.h"

#define N_EXTENT 9
#define LEN 5000
#define N_PASS 40
#define WAIT_S 10

static char path[600];
static const char *const paths[] = { path };
static const uint64_t bytes[] = { N_EXTENT * LEN };

static uint8_t byte_of(uint32_t i_extent)
{
    return (uint8_t)(17 + 11 * i_extent);
}

static bool write_file(void)
{
    FILE *f = fopen(path, "wbe");

    for (uint32_t i = 0; f && i < N_EXTENT * LEN; i++)
        fputc(byte_of(i / LEN), f);
    return f && fclose(f) == 0;
}

/* The data of an extent, or NULL after some seconds. */
static const uint8_t *taken(const struct lv_source *src, struct lv_event *event, uint32_t i_extent)
{
    const uint8_t *data = NULL;

    for (int nap = 0; nap < WAIT_S * 1000000000LL / LV_EVENT_NAP_NS; nap++) {
        const uint32_t seen = lv_event_seen(event);

        if ((data = src->take(src->ctx, i_extent)))
            break;
        lv_event_wait(event, seen);
    }
    return data;
}

static bool is_of(const uint8_t *data, uint32_t i_extent)
{
    for (uint32_t i = 0; i < LEN; i++)
        if (data[i] != byte_of(i_extent))
            return false;
    return true;
}

/* Passes through a ring of n_slot; up to `window` extents are in use at once, and go back in random order. */
static void run(uint32_t n_slot, uint32_t window, struct lv_rng *rng)
{
    struct lv_reader_options io = { .n_threads = 3 };
    struct lv_extent extent[N_EXTENT];
    struct lv_event event = { 0 };
    struct lv_reader *reader = NULL;
    struct lv_stream *s = NULL;
    struct lever_error err = { 0 };
    const uint64_t ring_bytes = n_slot * lv_slot_bytes(LEN) + LV_IO_ALIGN;
    uint8_t *ring = lv_region_new(ring_bytes, false);

    for (uint32_t i = 0; i < N_EXTENT; i++)
        extent[i] = (struct lv_extent){ .off = i * LEN, .len = LEN, .n_seg = 1 };
    CHECK(lv_reader_open(&reader, paths, bytes, 1, &io, &err) >= 0 &&
              lv_stream_new(&s, reader, extent, N_EXTENT, LEN, (uint8_t *)lv_round_up((uintptr_t)ring, LV_IO_ALIGN), n_slot, &event,
                            &err) >= 0,
          "%s", err.message);
    const struct lv_source src = lv_stream_source(s);

    lv_stream_start(s);
    for (uint32_t pass = 0; pass < N_PASS && !n_fail; pass++)
        for (uint32_t first = 0; first < N_EXTENT && !n_fail; first += window) {
            uint32_t order[N_EXTENT], n = 0;

            for (; n < window && first + n < N_EXTENT; n++) {
                const uint8_t *data = taken(&src, &event, first + n);

                order[n] = first + n;
                CHECK(data && is_of(data, first + n), "%u slots, window %u, pass %u: extent %u %s", n_slot, window, pass, first + n,
                      data ? "has other bytes" : "never comes");
            }
            while (n && !n_fail) {
                const uint32_t k = lv_rng_below(rng, n);

                src.give(src.ctx, order[k]);
                order[k] = order[--n];
            }
        }
    lv_stream_stop(s);
    lv_reader_close(reader);
    lv_stream_free(s);
    lv_region_free(ring, ring_bytes);
}

int main(int argc, char **argv)
{
    struct lv_rng rng = { .state = argc > 2 ? strtoull(argv[2], NULL, 10) : 5 };

    if (argc < 2)
        return 2;
    printf("SEED=%llu\n", (unsigned long long)rng.state);
    snprintf(path, sizeof path, "%s/stream-%ld.bin", argv[1], (long)getpid());
    CHECK(write_file(), "%s cannot be written", path);
    for (uint32_t n_slot = 1; n_slot <= N_EXTENT && !n_fail; n_slot++)
        for (uint32_t window = 1; window <= n_slot && !n_fail; window++)
            run(n_slot, window, &rng);
    remove(path);
    printf("%d failures\n", n_fail);
    return n_fail ? 1 : 0;
}
