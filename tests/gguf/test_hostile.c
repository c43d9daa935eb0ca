/* The reader and the schema on damaged files: each named case says what is wrong, every cut and
 * every flipped bit ends in a model or an error, soon and within the memory bound, and a refused
 * allocation is an error without a leak. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <fcntl.h>
#include <unistd.h>

#include <cmocka.h>

#include "bad_files.h"
#include "base/mem.h"
#include "base/rng.h"
#include "build.h"
#include "gguf/gguf.h"
#include "heap.h"

#define MAX_EXTRA_BYTES (UINT64_C(16) << 20) /* above the file's header */
#define MAX_CPU_SECONDS 0.1

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Touches everything a user of an open file would. */
static void use_everything(struct lv_gguf *g)
{
    for (uint32_t i = 0; i < lv_gguf_n_keys(g); i++) {
        const char *key, *type, *value;
        enum lv_gguf_kind elem;
        uint64_t n = 0;
        size_t sum = 0;

        lv_gguf_key(g, i, &key, &type, &value);
        sum += strlen(key) + strlen(type) + strlen(value);
        if (lv_gguf_get_array(g, key, &elem, &n, NULL) == LEVER_OK && n > 0) {
            const struct lv_str s = lv_gguf_array_str(g, key, n - 1);

            sum += s.len ? (unsigned char)s.s[s.len - 1] : 0;
            sum += lv_gguf_array_num(g, key, n - 1) > 0;
        }
        assert_true(sum > 0);
    }
    for (uint32_t i = 0; i < lv_gguf_n_tensors(g); i++) {
        const struct lv_tensor *t = lv_gguf_tensor(g, i);

        assert_true(t->bytes > 0 && t->bytes <= lv_gguf_file_bytes(g, t->i_file));
        assert_true(t->off <= lv_gguf_file_bytes(g, t->i_file) - t->bytes);
        assert_ptr_equal(lv_gguf_find_tensor(g, t->name), t);
    }
    lv_gguf_drop_arrays(g);
}

/* Opens, reads the shape, uses, closes; within the bounds and without a leak. */
static enum lever_status load(const char *path, uint64_t file_bytes, const char *what, struct lever_error *err)
{
    const uint64_t live = heap_live_bytes();
    const double start = cpu_seconds();
    struct lv_gguf *g = NULL;
    struct lv_shape shape;
    enum lever_status st;

    heap_reset_peak();
    memset(err, 0, sizeof *err);
    if ((st = lv_gguf_open(&g, path, err)) >= 0) {
        st = lv_shape_read(&shape, g, err);
        use_everything(g);
        lv_gguf_close(g);
    }
    if (heap_live_bytes() != live)
        fail_msg("%s: %" PRIu64 " bytes leaked", what, heap_live_bytes() - live);
    if (heap_peak_bytes() - live > file_bytes + MAX_EXTRA_BYTES)
        fail_msg("%s: took %" PRIu64 " bytes", what, heap_peak_bytes() - live);
    if (cpu_seconds() - start > MAX_CPU_SECONDS)
        fail_msg("%s: took %g s", what, cpu_seconds() - start);
    if (st < 0 && (err->status != st || strlen(err->message) < 20))
        fail_msg("%s: status %d with error %d, \"%s\"", what, st, err->status, err->message);
    return st;
}

static void named_cases(void **state)
{
    char path[600];
    unsigned n_wrong = 0;

    (void)state;
    gb_path(path, sizeof path, "bad.gguf");
    for (unsigned i = 0; i < n_bad_files; i++) {
        const struct bad_file *b = &bad_files[i];
        struct gb_bytes bytes = bad_file_make(b);
        struct lever_error err;

        gb_save(&bytes, path);
        const enum lever_status st = load(path, bytes.n, b->name, &err);

        if (st != LEVER_E_MODEL || !strstr(err.message, b->want) || !strstr(err.message, "bad.gguf: ")) {
            print_error("%s: status %d\n  found:    %s\n  expected: %s\n", b->name, st, err.message, b->want);
            n_wrong++;
        }
        gb_bytes_free(&bytes);
    }
    if (n_wrong > 0)
        fail_msg("%u of %u cases", n_wrong, n_bad_files);
}

/* The unchanged models load: otherwise the cases above would prove nothing. */
static void unchanged_loads(void **state)
{
    char path[600];

    (void)state;
    gb_path(path, sizeof path, "good.gguf");
    for (int a = 0; a < LV_ARCH_COUNT; a++) {
        const struct bad_file nothing = { "nothing", (enum lv_arch)a, NOTHING, .want = "" };
        struct gb_bytes bytes = bad_file_make(&nothing);
        struct lever_error err;

        gb_save(&bytes, path);
        if (load(path, bytes.n, "good", &err) != LEVER_OK)
            fail_msg("%s", err.message);
        gb_bytes_free(&bytes);
    }
}

/* A one-layer header with every kind of value in it, and its data. */
static struct gb_bytes small_file(size_t *header_bytes)
{
    struct gb_model m;
    struct gb_bytes bytes;

    gb_family(&m, LV_ARCH_QWEN2, 1);
    gb_u32(&m, "general.alignment", 32);
    gb_value(&m, "b", LV_GGUF_BOOL, "\1", 1);
    gb_value(&m, "d", LV_GGUF_F64, "\0\0\0\0\0\0\xf0\x3f", 8);
    gb_array(&m, "n", LV_GGUF_I32, 3, "\1\0\0\0\2\0\0\0\3\0\0", 12);
    gb_u32(&m, "split.count", 1);
    bytes = gb_make(&m);
    *header_bytes = m.header_bytes;
    gb_free(&m);
    return bytes;
}

static void write_at(int fd, const void *data, size_t n, size_t off)
{
    assert_int_equal(pwrite(fd, data, n, (off_t)off), (ssize_t)n);
}

static void cut_everywhere(void **state)
{
    size_t header_bytes;
    struct gb_bytes bytes = small_file(&header_bytes);
    char path[600], what[64];
    struct lever_error err;

    (void)state;
    gb_path(path, sizeof path, "cut.gguf");
    gb_save(&bytes, path);
    assert_int_equal(load(path, bytes.n, "whole", &err), LEVER_OK);
    for (size_t n = bytes.n; n-- > 0;) {
        assert_int_equal(truncate(path, (off_t)n), 0);
        snprintf(what, sizeof what, "cut to %zu bytes", n);
        if (load(path, n, what, &err) != LEVER_E_MODEL)
            fail_msg("%s: loaded", what);
        if (n > header_bytes + 64)
            n -= 40; /* inside the data all cuts are alike */
    }
    gb_bytes_free(&bytes);
}

static void flip_every_bit(void **state)
{
    size_t header_bytes;
    struct gb_bytes bytes = small_file(&header_bytes);
    char path[600], what[64];
    struct lever_error err;
    unsigned n_loaded = 0;
    int fd;

    (void)state;
    gb_path(path, sizeof path, "flip.gguf");
    gb_save(&bytes, path);
    assert_true((fd = open(path, O_RDWR)) >= 0);
    for (size_t i = 0; i < header_bytes; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            const uint8_t bad = (uint8_t)(bytes.data[i] ^ 1u << bit);

            write_at(fd, &bad, 1, i);
            snprintf(what, sizeof what, "byte %zu, bit %u", i, bit);
            n_loaded += load(path, bytes.n, what, &err) == LEVER_OK;
        }
        write_at(fd, &bytes.data[i], 1, i);
    }
    close(fd);
    /* Some flips are harmless (a token's letter, an unused key's name), most are not. */
    assert_in_range(n_loaded, header_bytes / 4, header_bytes * 4);
    assert_int_equal(load(path, bytes.n, "restored", &err), LEVER_OK);
    gb_bytes_free(&bytes);
}

/* Several bytes at once, with values that are likely to hurt. */
static void random_damage(void **state)
{
    enum { SEED = 99, ROUNDS = 4000 };
    static const uint64_t nasty[] = { 0,
                                      1,
                                      0x7f,
                                      0xff,
                                      0xffff,
                                      0x7fffffff,
                                      0xffffffff,
                                      UINT64_C(1) << 32,
                                      UINT64_C(1) << 61,
                                      INT64_MAX,
                                      UINT64_MAX,
                                      UINT64_MAX - 7 };
    struct lv_rng r = { SEED };
    size_t header_bytes;
    struct gb_bytes bytes = small_file(&header_bytes);
    char path[600], what[64];
    struct lever_error err;
    int fd;

    (void)state;
    gb_path(path, sizeof path, "random.gguf");
    gb_save(&bytes, path);
    assert_true((fd = open(path, O_RDWR)) >= 0);
    for (int round = 0; round < ROUNDS; round++) {
        for (uint32_t n = 1 + lv_rng_below(&r, 3); n > 0; n--) {
            const uint64_t v = nasty[lv_rng_below(&r, sizeof nasty / sizeof nasty[0])];
            const size_t size = (size_t)1 << lv_rng_below(&r, 4);

            write_at(fd, &v, size, 8 + lv_rng_below(&r, (uint32_t)(header_bytes - 16)));
        }
        snprintf(what, sizeof what, "seed %d, round %d", SEED, round);
        load(path, bytes.n, what, &err);
        write_at(fd, bytes.data, header_bytes, 0);
    }
    close(fd);
    gb_bytes_free(&bytes);
}

/* The most entries that a header of their size can hold: the bound on memory is on this, not on good will. */
static void crowded_headers(void **state)
{
    char path[600], name[24];
    struct lever_error err;

    (void)state;
    gb_path(path, sizeof path, "crowded.gguf");
    for (int kind = 0; kind < 3; kind++) { /* tensors; keys; keys with strings that just miss the shared chunks */
        const uint32_t n_key = kind == 0 ? 0 : kind == 1 ? 16384 : 4096, n_tensor = kind == 0 ? 32768 : 0;
        static const char text[1025] = "";
        struct gb_bytes b = { 0 };

        gb_put(&b, "GGUF\3\0\0\0", 8);
        gb_put_uint(&b, n_tensor, 8);
        gb_put_uint(&b, n_key, 8);
        for (uint32_t i = 0; i < n_key; i++) { /* an empty array is the costliest value for its bytes */
            snprintf(name, sizeof name, "%x", i);
            gb_put_str(&b, name);
            if (kind == 2) {
                gb_put_uint(&b, LV_GGUF_STRING, 4);
                gb_put_uint(&b, sizeof text, 8);
                gb_put(&b, text, sizeof text);
                continue;
            }
            gb_put_uint(&b, LV_GGUF_ARRAY, 4);
            gb_put_uint(&b, LV_GGUF_STRING, 4);
            gb_put_uint(&b, 0, 8);
        }
        for (uint32_t i = 0; i < n_tensor; i++) {
            snprintf(name, sizeof name, "%x", i * 2654435761u);
            gb_put_str(&b, name);
            gb_put_uint(&b, 1, 4);
            gb_put_uint(&b, 1, 8);
            gb_put_uint(&b, LV_TYPE_F32, 4);
            gb_put_uint(&b, (uint64_t)i * 32, 8);
        }
        while (b.n % 32)
            gb_put_uint(&b, 0, 1);
        const size_t header_bytes = b.n;

        b.data = realloc(b.data, b.n + n_tensor * 32u);
        assert_non_null(b.data);
        memset(b.data + b.n, 0, n_tensor * 32u);
        b.n += n_tensor * 32u;
        gb_save(&b, path);

        const uint64_t live = heap_live_bytes();
        const double start = cpu_seconds();
        struct lv_gguf *g = NULL;

        heap_reset_peak();
        assert_int_equal(lv_gguf_open(&g, path, &err), LEVER_OK);
        assert_true(heap_peak_bytes() - live <= header_bytes + MAX_EXTRA_BYTES);
        assert_true(cpu_seconds() - start < 5 * MAX_CPU_SECONDS); /* the sanitizers' runs too */
        lv_gguf_close(g);
        assert_true(heap_live_bytes() == live);
        gb_bytes_free(&b);
    }
}

/* Allocation 1, 2, 3 ... fails, alone or with all after it, until the load succeeds. */
static void fail_each_allocation(const char *path)
{
    struct lever_error err;
    char what[64];

    for (int for_good = 0; for_good < 2; for_good++) {
        for (uint64_t nth = 1;; nth++) {
            struct lv_gguf *g = NULL;
            const uint64_t live = heap_live_bytes();
            enum lever_status st;

            snprintf(what, sizeof what, "allocation %" PRIu64, nth);
            lv_alloc_fail_at(nth, for_good != 0);
            const uint64_t before = lv_alloc_count();

            st = lv_gguf_open(&g, path, &err);
            const uint64_t asked = lv_alloc_count() - before;

            lv_alloc_fail_at(0, false);
            if (st == LEVER_OK) {
                assert_true(asked < nth); /* the failure was not swallowed */
                assert_true(nth > 5);
                lv_gguf_close(g);
                break;
            }
            if (st != LEVER_E_NOMEM || err.status != st || !strstr(err.message, "memory"))
                fail_msg("%s: status %d, \"%s\"", what, st, err.message);
            assert_null(g);
            if (heap_live_bytes() != live)
                fail_msg("%s: leak", what);
        }
    }
}

static void failed_allocations(void **state)
{
    size_t header_bytes;
    struct gb_bytes bytes = small_file(&header_bytes);
    char path[600];
    struct lever_error err;
    struct lv_gguf *g = NULL;
    const char *key, *type, *value;

    (void)state;
    gb_path(path, sizeof path, "alloc.gguf");
    gb_save(&bytes, path);
    fail_each_allocation(path);

    /* without memory, texts of keys are replaced, and dropping arrays still drops them */
    assert_int_equal(lv_gguf_open(&g, path, &err), LEVER_OK);
    lv_alloc_fail_at(1, true);
    for (uint32_t i = 0; i < lv_gguf_n_keys(g); i++) {
        lv_gguf_key(g, i, &key, &type, &value);
        assert_non_null(value);
    }
    lv_gguf_drop_arrays(g);
    lv_alloc_fail_at(0, false);
    assert_int_equal(lv_gguf_array_str(g, "tokenizer.ggml.tokens", 0).len, 0);
    lv_gguf_close(g);
    gb_bytes_free(&bytes);
}

/* A split model whose parts have keys of their own, which are read and given back. */
static void split_allocations(void **state)
{
    char path[600], name[80];
    struct lever_error err;

    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        struct gb_model m;

        gb_init(&m);
        gb_u32(&m, "split.no", i);
        gb_u32(&m, "split.count", 2);
        gb_str(&m, "note", "some text");
        gb_array(&m, "list", LV_GGUF_STRING, 1, "\2\0\0\0\0\0\0\0ab", 10);
        snprintf(name, sizeof name, "t%u", i);
        gb_tensor(&m, name, LV_TYPE_F32, 8, 0);
        snprintf(name, sizeof name, "m-0000%u-of-00002.gguf", i + 1);
        gb_path(path, sizeof path, name);
        gb_write(&m, path);
        gb_free(&m);
    }
    gb_path(path, sizeof path, "m-00001-of-00002.gguf");
    assert_int_equal(load(path, 4096, "split", &err), LEVER_E_MODEL); /* no architecture, but opened */
    assert_non_null(strstr(err.message, "general.architecture"));
    fail_each_allocation(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unchanged_loads),    cmocka_unit_test(named_cases),       cmocka_unit_test(cut_everywhere),
        cmocka_unit_test(flip_every_bit),     cmocka_unit_test(random_damage),     cmocka_unit_test(crowded_headers),
        cmocka_unit_test(failed_allocations), cmocka_unit_test(split_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
