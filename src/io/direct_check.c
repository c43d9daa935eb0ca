/* Is a direct read really direct? See lv_reader_check_direct. */
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "io/reader_state.h"

#define N_TRY 8               /* the fastest of as many: one undisturbed by the scheduler is among them */
#define TIME_MAX_NS 20000000u /* of one kind of read; a device this slow needs no second look */
/* A direct read faster than RATIO cached ones and the detours on the way to the page cache is answered by it. */
#define RATIO 2
#define DETOUR_NS 2000

/* Fastest read of the piece in ns; the first one, which may fetch it, does not count. 0 after an error. */
static uint64_t fastest(const struct lv_io_ops *ops, const struct lv_piece *p)
{
    const uint64_t begin = lv_now_ns();
    uint64_t best = UINT64_MAX;

    for (int i = 0; i <= N_TRY; i++) {
        const uint64_t t0 = lv_now_ns();

        if (lv_file_pread(ops, p) < 1)
            return 0;
        const uint64_t t1 = lv_now_ns();

        if (i > 0 && t1 - t0 < best)
            best = t1 - t0;
        if (i > 0 && t1 - begin > TIME_MAX_NS)
            break;
    }
    return best ? best : 1;
}

void lv_reader_check_direct(struct lv_reader *r, uint32_t i_file, uint64_t off, uint8_t *buf)
{
    if (!atomic_load(&r->direct) || i_file >= r->n_files || off >= r->file[i_file].bytes)
        return;
    const struct lv_file *f = &r->file[i_file];
    struct lv_piece p = { .fd = f->fd_direct, .buf = buf, .len = LV_IO_ALIGN, .off = lv_round_down(off, LV_IO_ALIGN) };
    const uint64_t direct_ns = fastest(&r->ops, &p);

    p.fd = f->fd;
    const uint64_t cached_ns = direct_ns ? fastest(&r->ops, &p) : 0;

    lv_file_forget(f, p.off, p.len);
    if (!cached_ns || direct_ns >= cached_ns * RATIO + DETOUR_NS)
        return;
    atomic_store(&r->direct, false);
    char text[200];

    snprintf(text, sizeof text,
             "direct reads are answered from the page cache here (%.1f us, cached ones take %.1f us): reading buffered",
             (double)direct_ns / 1e3, (double)cached_ns / 1e3);
    lv_reader_add_note(r, text);
}
