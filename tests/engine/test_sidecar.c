/* Sidecars: what is written is what the reference packer makes of the model, models run from it give the same bits,
 * and a file that is stale or damaged is refused and does no harm.
 *
 * usage: test_sidecar FOLDER */
#include "engine/side_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "engine/instance.h"

/* Attaching fails with this in the message, and leaves the program as it was. */
static void refused(const char *says)
{
    struct side_opened o = side_open_model();
    struct lever_error err;

    assert_int_equal(side_attach(&o, &err), LEVER_E_MODEL);
    if (!strstr(err.message, says))
        fail_msg("\"%s\" does not say \"%s\"", err.message, says);
    assert_non_null(strstr(err.message, ".lvp"));
    for (uint32_t i = 0; i < o.p->n_w; i++) {
        assert_false(o.p->w[i].packed);
        assert_int_equal(o.p->w[i].off, o.p->w[i].tensor->off);
    }
    side_close_model(&o);
}

static void test_contents(void **state)
{
    static const enum lv_type types[] = {
#define LV_X(name, num, len, bytes) num,
        LV_TYPE_LIST(LV_X)
#undef LV_X
    };

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct tiny_spec s = side_usual();

        for (int r = 0; r < TINY_ROLE_COUNT; r++)
            s.type[r] = types[i];
        s.tied = i % 2;
        s.shuffle = i;
        side_write_model(&s);
        side_pack_ok(); /* over the last one, which is stale now */
        assert_false(side_exists(side_part));
        side_check_contents();
    }
}

static void test_split_model(void **state)
{
    struct tiny_spec s = side_usual();
    char whole[600];
    struct lever_error err;

    (void)state;
    s.n_file = 3;
    memcpy(whole, side_model, sizeof whole);
    side_write_model(&s);
    assert_true(tiny_part_path(side_model, sizeof side_model, whole, 0, 3));
    snprintf(side_lvp, sizeof side_lvp, "%s.lvp", side_model);
    side_pack_ok();
    side_check_contents();
    assert_int_equal(side_pack(false, &err), LEVER_DONE);
    for (uint32_t i = 0; i < 3; i++) { /* any part that changes makes it stale */
        char name[600];
        struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 1000 + i } };

        assert_true(tiny_part_path(name, sizeof name, whole, i, 3));
        assert_int_equal(utimensat(AT_FDCWD, name, t, 0), 0);
        refused("time of modification");
        side_pack_ok();
    }
    remove(side_lvp);
    for (uint32_t i = 0; i < 3; i++) {
        char name[600];

        assert_true(tiny_part_path(name, sizeof name, whole, i, 3));
        remove(name);
    }
}

/* ---- models run from it give the same bits ---------------------------------------------------------- */

#define N_ROW 5

/* Residual stream and logits of a small tree, twice (the ring wraps round). */
static void run_model(bool use_side, double share, bool stream_head, uint64_t slot, struct lv_pool *pool, float *out,
                      uint64_t *n_streamed)
{
    static const int32_t token[N_ROW] = { 5, 6, 7, 8, 300 }, slots[N_ROW] = { 0, 1, 2, 3, 4 };
    static const int32_t path[] = { 0, 0, 1, 0, 2, 0, 1, 3, 0, 2, 4 };
    static const uint32_t path_at[N_ROW + 1] = { 0, 1, 3, 5, 8, 11 }, rows[N_ROW] = { 0, 1, 2, 3, 4 };
    const struct lv_pass pass = { .n_rows = N_ROW, .slot = slots, .path_at = path_at, .path = path };
    const struct lv_reader_options io = { .n_threads = 2, .direct = true };
    struct lever_error err = { 0 };
    struct lv_instance m;
    struct lv_kern kern;

    lv_kern_init(&kern, 0); /* the reference; that levels are equal is shown elsewhere */
    if (lv_instance_open(&m, side_model, &err) < 0)
        fail_msg("%s", err.message);
    if (use_side)
        assert_int_equal(lv_instance_use_sidecar(&m, side_lvp, &err), LEVER_OK);
    struct lv_instance_spec spec = { .n_worker = lv_pool_n(pool), .max_rows = 8, .n_ctx = 64, .n_slot = 16,
                                     .embed_bytes = 65536, .pin_bytes = UINT64_MAX, .slot_bytes = slot };

    if (share < 1) {
        const uint64_t body = lv_program_body_bytes(m.program) - lv_place_least(m.program, true);

        spec.pin_bytes = lv_place_least(m.program, stream_head) + (uint64_t)(share * (double)body);
        spec.stream_head = stream_head;
        spec.n_ring_slot = 3;
    }
    if (lv_instance_load(&m, &spec, &kern, pool, &io, NULL, &err) < 0)
        fail_msg("%s", err.message);
    if (m.stream)
        lv_stream_start(m.stream);
    const uint32_t n_x = N_ROW * m.exec.stride[LV_BUF_X], n_l = N_ROW * m.exec.stride[LV_BUF_LOGITS];

    for (int twice = 0; twice < 2; twice++, out += n_x + n_l) {
        if (lv_instance_forward(&m, token, &pass, &err) < 0)
            fail_msg("%s", err.message);
        memcpy(out, m.exec.buf[LV_BUF_X], n_x * sizeof *out);
        if (lv_instance_head(&m, rows, N_ROW, LV_HEAD_LOGITS, &err) < 0)
            fail_msg("%s", err.message);
        memcpy(out + n_x, m.exec.buf[LV_BUF_LOGITS], n_l * sizeof *out);
    }
    *n_streamed = m.stream ? lv_stream_bytes_read(m.stream) : 0;
    lv_instance_close(&m);
}

static void test_same_bits(void **state)
{
    static float want[1 << 18], got[1 << 18];
    struct lv_pool *pool;
    struct lever_error err;
    unsigned n_streaming = 0;

    (void)state;
    assert_int_equal(lv_pool_new(&pool, 2, &err), LEVER_OK);
    for (int kind = 0; kind < 4; kind++) {
        struct tiny_spec s = side_usual();

        s.tied = kind == 1;
        if (kind == 3) { /* a head that is loaded in several pieces */
            s.n_vocab = TINY_MAX_VOCAB;
            s.type[TINY_HEAD] = LV_TYPE_Q8_0;
        }
        if (kind == 2) {
            static const enum lv_type all[TINY_ROLE_COUNT] = {
                LV_TYPE_Q8_0, LV_TYPE_Q4_1, LV_TYPE_Q5_1, LV_TYPE_Q8_0, LV_TYPE_BF16,
                LV_TYPE_Q5_K, LV_TYPE_F16, LV_TYPE_F32, LV_TYPE_Q4_0
            };

            memcpy(s.type, all, sizeof all);
        }
        side_write_model(&s);
        side_pack_ok();
        memset(want, 0, sizeof want);
        uint64_t n_streamed;

        run_model(false, 1, false, 0, pool, want, &n_streamed);
        assert_int_equal(n_streamed, 0);
        assert_true(want[0] != 0); /* it computed something */
        for (int i = 0; i < 12; i++) {
            static const double shares[] = { 1, 0, 0.3 };
            const double share = shares[i % 3];
            const bool stream_head = i >= 6 && share < 1;
            const uint64_t slot = i % 2 ? 65536 : 400000; /* a group a slot; matrices merged into one extent */

            memset(got, 0, sizeof got);
            run_model(true, share, stream_head, slot, pool, got, &n_streamed);
            n_streaming += n_streamed > 0;
            if (memcmp(want, got, sizeof want) != 0)
                fail_msg("kind %d, pinned share %g, head %s, slot %llu: other bits than without sidecar", kind, share,
                         stream_head ? "streamed" : "pinned", (unsigned long long)slot);
        }
    }
    lv_pool_free(pool);
    assert_int_equal(n_streaming, 32);
}

/* ---- through lever_open ------------------------------------------------------------------------------- */

struct seen {
    unsigned n_warn, n_used;
    char warning[1300];
};

static void on_log(void *user, enum lever_log_level level, const char *message)
{
    struct seen *s = user;

    if (level == LEVER_LOG_WARN) {
        s->n_warn++;
        snprintf(s->warning, sizeof s->warning, "%s", message);
    }
    s->n_used += strstr(message, "sidecar: ") != NULL;
}

#define N_GEN 24

static enum lever_status generate(const char *sidecar, int32_t *ids, struct seen *seen, struct lever_error *err)
{
    static const int32_t prompt[] = { 10, 20, 30, 40, 50 };
    struct lever_sampling s;
    struct lever_options opt;
    lever_engine *e = NULL;
    lever_seq *q = NULL;

    memset(seen, 0, sizeof *seen);
    lever_options_default(&opt, sizeof opt);
    opt.target_path = side_model;
    opt.sidecar = sidecar;
    opt.n_threads = 2;
    opt.n_ctx = 64;
    opt.log = on_log;
    opt.user = seen;
    lever_sampling_default(&s, sizeof s);
    s.ignore_eos = true;
    enum lever_status st = lever_open(&e, &opt, err);

    if (st >= 0 && (st = lever_seq_new(e, &s, &q, err)) >= 0)
        st = lever_prompt(q, prompt, 5, err);
    for (uint32_t n = 0; st >= 0 && n < N_GEN;) {
        size_t k;

        st = lever_step(q, ids + n, N_GEN - n, &k, err);
        n += (uint32_t)k;
    }
    lever_seq_free(q);
    lever_close(e);
    return st;
}

static void test_open(void **state)
{
    int32_t want[N_GEN], got[N_GEN];
    struct tiny_spec s = side_usual();
    struct lever_error err;
    struct seen seen;
    char other[640];

    (void)state;
    side_write_model(&s);
    assert_true(generate(NULL, want, &seen, &err) >= 0);
    assert_int_equal(seen.n_used + seen.n_warn, 0);
    side_pack_ok();
    assert_true(generate(NULL, got, &seen, &err) >= 0);
    assert_int_equal(seen.n_used, 1);
    assert_int_equal(seen.n_warn, 0);
    assert_memory_equal(want, got, sizeof want);
    assert_true(generate("off", got, &seen, &err) >= 0);
    assert_int_equal(seen.n_used + seen.n_warn, 0);

    snprintf(other, sizeof other, "%s.elsewhere", side_lvp);
    assert_int_equal(rename(side_lvp, other), 0);
    assert_true(generate(other, got, &seen, &err) >= 0);
    assert_int_equal(seen.n_used, 1);
    assert_memory_equal(want, got, sizeof want);
    assert_int_equal(generate(side_lvp, got, &seen, &err), LEVER_E_IO); /* named, but not there */
    assert_non_null(strstr(err.message, "lever pack"));

    assert_int_equal(truncate(other, 5000), 0);
    assert_true(generate(other, got, &seen, &err) >= 0);
    assert_int_equal(seen.n_used, 0);
    assert_int_equal(seen.n_warn, 1);
    assert_non_null(strstr(seen.warning, "ignored"));
    assert_memory_equal(want, got, sizeof want);
    remove(other);
}

/* ---- stale and damaged files ------------------------------------------------------------------------------ */

static void test_stale(void **state)
{
    struct tiny_spec s = side_usual();
    struct side_opened o;
    struct lever_error err;
    struct stat sb;
    size_t n;

    (void)state;
    side_write_model(&s);
    o = side_open_model();
    assert_int_equal(side_attach(&o, &err), LEVER_DONE); /* none there */
    side_close_model(&o);
    side_pack_ok();

    assert_int_equal(stat(side_model, &sb), 0);
    struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, sb.st_mtim };

    t[1].tv_nsec ^= 1;
    assert_int_equal(utimensat(AT_FDCWD, side_model, t, 0), 0);
    refused("time of modification");
    t[1] = sb.st_mtim;
    assert_int_equal(utimensat(AT_FDCWD, side_model, t, 0), 0);
    o = side_open_model();
    assert_int_equal(side_attach(&o, &err), LEVER_OK); /* good again */
    side_close_model(&o);

    uint8_t *b = side_read(side_model, &n);
    uint8_t *name = NULL;

    for (size_t i = 0; i + 12 < n && !name; i++)
        if (memcmp(b + i, "general.name", 12) == 0)
            name = b + i + 12;
    side_write(side_model, b, n); /* as it was, but later */
    refused("time of modification");
    assert_non_null(name);
    name[12] ^= 1; /* the same size and time, but a letter of its value */
    side_write(side_model, b, n);
    assert_int_equal(utimensat(AT_FDCWD, side_model, t, 0), 0);
    refused("header differs");
    name[12] ^= 1;
    b = realloc(b, n + 1);
    b[n] = 0;
    side_write(side_model, b, n + 1);
    assert_int_equal(utimensat(AT_FDCWD, side_model, t, 0), 0);
    refused("size differs");
    free(b);

    s.n_layer = 3;
    side_write_model(&s);
    refused("another model");
    side_pack_ok();
    s.type[TINY_Q] = LV_TYPE_Q5_K;
    side_write_model(&s);
    refused("has changed since");
}

static void test_cuts(void **state)
{
    struct tiny_spec s = side_usual();
    struct lever_error err;
    struct lv_rng rng = { .state = 1 };
    size_t n;

    (void)state;
    side_write_model(&s);
    side_pack_ok();
    struct side_opened o = side_open_model();
    uint8_t *b = side_read(side_lvp, &n);
    const size_t n_head = 64 + 32 + 168 * (size_t)o.p->n_w;

    for (size_t cut = 0; cut < n; cut += cut <= n_head ? 1 + cut / 200 : 1 + lv_rng_below(&rng, 60000)) {
        side_write(side_lvp, b, cut);
        if (side_attach(&o, &err) != LEVER_E_MODEL)
            fail_msg("cut at %zu of %zu is not refused", cut, n);
    }
    side_write(side_lvp, b, n - 1);
    assert_int_equal(side_attach(&o, &err), LEVER_E_MODEL);
    b = realloc(b, n + 1);
    b[n] = 0;
    side_write(side_lvp, b, n + 1);
    assert_int_equal(side_attach(&o, &err), LEVER_E_MODEL);
    remove(side_lvp);
    assert_int_equal(mkdir(side_lvp, 0777), 0); /* a folder of that name */
    assert_int_equal(side_attach(&o, &err), LEVER_E_IO);
    rmdir(side_lvp);
    assert_int_equal(mkfifo(side_lvp, 0600), 0); /* must not hang */
    assert_int_equal(side_attach(&o, &err), LEVER_E_IO);
    remove(side_lvp);
    free(b);
    side_close_model(&o);
}

/* Every bit of the header: refused as it is; with a checksum that fits, refused unless it is one of the checksums. */
static void test_flips(void **state)
{
    struct tiny_spec s = side_usual();
    struct lever_error err;
    size_t n;
    unsigned n_harmless = 0;

    (void)state;
    s.n_layer = 1;
    side_write_model(&s);
    side_pack_ok();
    struct side_opened o = side_open_model(), plain = side_open_model();
    uint8_t *b = side_read(side_lvp, &n);
    const size_t n_head = 64 + 32 + 168 * (size_t)o.p->n_w;
    const int fd = open(side_lvp, O_RDWR);

    assert_int_equal(side_attach(&o, &err), LEVER_OK);
    for (size_t bit = 0; bit < 8 * n_head; bit++) {
        struct lv_sidecar_head h = { .bytes = b, .n_bytes = n_head, .n_file = 1, .n_matrix = o.p->n_w };
        const size_t at = bit / 8, in_matrix = at < 96 ? 0 : (at - 96) % 168;
        const bool is_checksum = (at >= 40 && at < 48) || (in_matrix >= 144 && in_matrix < 152);

        if (at >= 96 && bit % 8 != at % 7) /* of the table a bit of each byte */
            continue;
        b[at] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(pwrite(fd, b, n_head, 0), n_head);
        if (side_attach(&plain, &err) != LEVER_E_MODEL)
            fail_msg("bit %zu of byte %zu is not refused", bit % 8, at);
        lv_sidecar_seal(&h);
        assert_int_equal(pwrite(fd, b, n_head, 0), n_head);
        struct side_opened again = { plain.g, NULL };

        assert_int_equal(lv_program_new(&again.p, again.g, &err), LEVER_OK);
        const bool harmless = side_attach(&again, &err) == LEVER_OK;

        if (harmless != is_checksum)
            fail_msg("bit %zu of byte %zu is %s", bit % 8, at, harmless ? "not refused" : "refused");
        n_harmless += harmless;
        lv_program_free(again.p);
        b[at] ^= (uint8_t)(1 << bit % 8);
        lv_sidecar_seal(&h);
    }
    close(fd);
    free(b);
    side_close_model(&o);
    side_close_model(&plain);
    assert_int_equal(n_harmless, 64 + 8 * 8); /* the sealed checksum, and those of the data */
}

static void test_attach_without_memory(void **state)
{
    struct tiny_spec s = side_usual();
    struct lever_error err;
    unsigned k = 0;
    enum lever_status st;

    (void)state;
    side_write_model(&s);
    side_pack_ok();
    struct side_opened o = side_open_model();

    do {
        lv_alloc_fail_at(++k, false);
        st = side_attach(&o, &err);
        lv_alloc_fail_at(0, false);
        assert_true(st == LEVER_OK || st == LEVER_E_NOMEM);
    } while (st != LEVER_OK);
    assert_in_range(k, 4, 20);
    side_close_model(&o);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_contents, side_setup, side_teardown),
        cmocka_unit_test_setup_teardown(test_split_model, side_setup, side_teardown),
        cmocka_unit_test_setup_teardown(test_same_bits, side_setup, side_teardown),
        cmocka_unit_test_setup_teardown(test_open, side_setup, side_teardown),
        cmocka_unit_test_setup_teardown(test_stale, side_setup, side_teardown),
        cmocka_unit_test_setup_teardown(test_cuts, side_setup, side_teardown),
        cmocka_unit_test_setup_teardown(test_flips, side_setup, side_teardown),
        cmocka_unit_test_setup_teardown(test_attach_without_memory, side_setup, side_teardown),
    };

    if (argc < 2)
        return 2;
    side_folder = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
