/* Streaming under faults and cancels: the next pass gives the same bits, whatever happened before.
 *
 * usage: test_faults FOLDER
 *
 * A pass is given up at each possible place (read k fails; cancel after event k), then run again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "e2e/host.h"
#include "ref/tiny.h"

static _Atomic int64_t fail_at = -1; /* calls left until reads fail; < 0: never */
static _Atomic bool for_good;

static int64_t faulty_pread(void *ctx, int fd, void *buf, uint64_t len, uint64_t off)
{
    (void)ctx;
    const int64_t left = atomic_load(&fail_at);

    if (left >= 0) {
        if (atomic_fetch_sub(&fail_at, 1) == 0 || left == 0) {
            if (atomic_load(&for_good))
                atomic_store(&fail_at, 0);
            errno = EIO;
            return -1;
        }
    }
    return pread(fd, buf, len, (off_t)off);
}

int main(int argc, char **argv)
{
    const struct tiny_spec spec = { .arch = LV_ARCH_LLAMA, .n_layer = 2, .n_embd = 256, .n_ff = 256, .n_head = 4,
                                    .n_vocab = 320, .type = TINY_ALL(LV_TYPE_Q8_0), .seed = 11 };
    char path[600];
    struct lever_error err = { 0 };
    struct lv_instance m;
    struct lv_kern kern;
    struct lv_pool *pool;
    const int32_t token[3] = { 5, 6, 7 }, slot[3] = { 0, 1, 2 }, ways[6] = { 0, 0, 1, 0, 1, 2 };
    const uint32_t path_at[4] = { 0, 1, 3, 6 };
    const struct lv_pass pass = { .n_rows = 3, .slot = slot, .path_at = path_at, .path = ways };
    const struct lv_reader_options io = { .n_threads = 3, .ops = { .pread = faulty_pread } };
    const struct lv_instance_spec is = { .n_worker = 2, .max_rows = 8, .n_ctx = 64, .n_slot = 16, .embed_bytes = 65536,
                                         .slot_bytes = 32768, .n_ring_slot = 5 };
    unsigned n_failed = 0, n_bad = 0, n_cancelled = 0;
    float want[3 * 256];

    if (argc < 2)
        return 2;
    snprintf(path, sizeof path, "%s/faults.gguf", argv[1]);
    lv_kern_init(&kern, 0);
    if (tiny_write(&spec, path, &err) < 0 || lv_pool_new(&pool, 2, &err) < 0 || lv_instance_open(&m, path, &err) < 0)
        goto broken;
    struct lv_instance_spec use = is;

    use.pin_bytes = lv_place_least(m.program, false);
    if (lv_instance_load(&m, &use, &kern, pool, &io, NULL, &err) < 0)
        goto broken;
    lv_stream_start(m.stream);
    if (lv_instance_forward(&m, token, &pass, &err) < 0)
        goto broken;
    memcpy(want, m.exec.buf[LV_BUF_X], sizeof want);
    printf("%u extents, %u slots\n", m.place.n_extent, is.n_ring_slot);

    for (int k = 0; k < 2 * (int)m.place.n_extent; k++) {
        const bool cancel = k % 3 == 2;
        atomic_bool stop = false;
        enum lever_status st;

        atomic_store(&for_good, true);
        if (cancel) {
            m.exec.cancel = &stop;
            atomic_store(&stop, k % 2);
        } else {
            atomic_store(&fail_at, k);
        }
        for (int rounds = 0; rounds < 4; rounds++) { /* the ring may hold a pass that needs no read */
            st = lv_instance_forward(&m, token, &pass, &err);
            if (st < 0)
                break;
            if (memcmp(want, m.exec.buf[LV_BUF_X], sizeof want) != 0) {
                printf("FAIL wrong bits beside a fault, k = %d\n", k);
                n_bad++;
            }
        }
        if (st < 0 && st != (cancel ? LEVER_E_CANCEL : LEVER_E_IO)) {
            printf("FAIL k = %d: status %d, %s\n", k, st, err.message);
            n_bad++;
        }
        if (st == LEVER_E_IO && (!strstr(err.message, "faults.gguf") || !strstr(err.message, "offset"))) {
            printf("FAIL the message names no file and offset: %s\n", err.message);
            n_bad++;
        }
        n_failed += st == LEVER_E_IO;
        n_cancelled += st == LEVER_E_CANCEL;
        atomic_store(&fail_at, -1);
        m.exec.cancel = NULL;
        lv_stream_start(m.stream);
        /* What the fault left in flight may fail once more; then all is well again. */
        for (int tries = 0; (st = lv_instance_forward(&m, token, &pass, &err)) == LEVER_E_IO && tries < 3; tries++)
            lv_stream_start(m.stream);
        if (st < 0 || memcmp(want, m.exec.buf[LV_BUF_X], sizeof want) != 0) {
            printf("FAIL the pass after fault %d: %s\n", k, st < 0 ? err.message : "wrong bits");
            n_bad++;
        }
    }
    lv_instance_close(&m);
    lv_pool_free(pool);
    remove(path);
    printf("%u passes failed, %u cancelled, %u wrong\n", n_failed, n_cancelled, n_bad);
    return n_bad || !n_failed || !n_cancelled;
broken:
    printf("FAIL %s\n", err.message);
    return 1;
}
