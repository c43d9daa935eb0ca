/* The reader on good files: every value kind, arrays, tensors, versions, alignment, split models. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/rng.h"
#include "build.h"
#include "gguf/cursor.h"
#include "gguf/gguf.h"

static struct lv_gguf *open_or_fail(const char *path)
{
    struct lever_error err = { 0 };
    struct lv_gguf *g = NULL;

    if (lv_gguf_open(&g, path, &err) < 0)
        fail_msg("%s", err.message);
    return g;
}

static struct lv_gguf *write_and_open(struct gb_model *m, const char *name)
{
    char path[600];

    gb_path(path, sizeof path, name);
    gb_write(m, path);
    return open_or_fail(path);
}

/* Fails, with this status and text. */
static void must_refuse(const char *path, enum lever_status want, const char *text)
{
    struct lever_error err = { 0 };
    struct lv_gguf *g = NULL;
    const enum lever_status st = lv_gguf_open(&g, path, &err);

    assert_null(g);
    if (st != want || err.status != want || !strstr(err.message, text))
        fail_msg("status %d, \"%s\"; expected %d, \"%s\"", st, err.message, want, text);
}

static const char *text_of(struct lv_gguf *g, const char *key, const char *want_type)
{
    for (uint32_t i = 0; i < lv_gguf_n_keys(g); i++) {
        const char *k, *type, *value;

        lv_gguf_key(g, i, &k, &type, &value);
        if (strcmp(k, key) == 0) {
            assert_string_equal(type, want_type);
            return value;
        }
    }
    fail_msg("no key %s", key);
    return NULL;
}

/* ---- keys ------------------------------------------------------------------------ */

static void number_kinds(void **state)
{
    static const struct {
        uint32_t kind;
        unsigned n_bytes;
        uint64_t bits;
        double f;
        int64_t u; /* -1: no integer >= 0 */
        const char *type, *text;
    } rows[] = {
        { LV_GGUF_U8, 1, 200, 200, 200, "u8", "200" },
        { LV_GGUF_I8, 1, 0xfe, -2, -1, "i8", "-2" },
        { LV_GGUF_I8, 1, 0x7f, 127, 127, "i8", "127" },
        { LV_GGUF_U16, 2, 65535, 65535, 65535, "u16", "65535" },
        { LV_GGUF_I16, 2, 0x8000, -32768, -1, "i16", "-32768" },
        { LV_GGUF_U32, 4, 0xffffffff, 4294967295.0, 4294967295, "u32", "4294967295" },
        { LV_GGUF_I32, 4, 0xffffffff, -1, -1, "i32", "-1" },
        { LV_GGUF_F32, 4, 0x3fc00000, 1.5, -1, "f32", "1.5" },
        { LV_GGUF_U64, 8, UINT64_C(1) << 62, 0x1p62, INT64_C(1) << 62, "u64", "4611686018427387904" },
        { LV_GGUF_I64, 8, UINT64_MAX - 4, -5, -1, "i64", "-5" },
        { LV_GGUF_F64, 8, 0x3fb999999999999a, 0.1, -1, "f64", "0.1" },
    };
    struct gb_model m;

    (void)state;
    gb_init(&m);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char name[8];

        snprintf(name, sizeof name, "k%zu", i);
        gb_value(&m, name, rows[i].kind, &rows[i].bits, rows[i].n_bytes);
    }
    gb_value(&m, "yes", LV_GGUF_BOOL, "\1", 1);
    gb_value(&m, "no", LV_GGUF_BOOL, "\0", 1);
    struct lv_gguf *g = write_and_open(&m, "kinds.gguf");

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct lever_error err;
        char name[8];
        uint64_t u = 77;
        double f = 77;
        bool b;

        snprintf(name, sizeof name, "k%zu", i);
        assert_int_equal(lv_gguf_get_f64(g, name, &f, &err), LEVER_OK);
        assert_true(f == rows[i].f);
        if (rows[i].u >= 0) {
            assert_int_equal(lv_gguf_get_u64(g, name, &u, &err), LEVER_OK);
            assert_true(u == (uint64_t)rows[i].u);
        } else {
            assert_int_equal(lv_gguf_get_u64(g, name, &u, &err), LEVER_E_MODEL);
            assert_true(u == 77);
        }
        assert_int_equal(lv_gguf_get_bool(g, name, &b, &err), LEVER_E_MODEL);
        assert_non_null(strstr(err.message, "expected bool"));
        assert_string_equal(text_of(g, name, rows[i].type), rows[i].text);
    }
    bool yes = false, no = true;
    uint64_t u = 5;
    struct lv_str s;
    struct lever_error err;

    assert_int_equal(lv_gguf_get_bool(g, "yes", &yes, &err), LEVER_OK);
    assert_int_equal(lv_gguf_get_bool(g, "no", &no, &err), LEVER_OK);
    assert_true(yes && !no);
    assert_string_equal(text_of(g, "yes", "bool"), "true");
    assert_int_equal(lv_gguf_get_u64(g, "absent", &u, &err), LEVER_DONE);
    assert_true(u == 5);
    assert_int_equal(lv_gguf_get_u64(g, "yes", &u, &err), LEVER_E_MODEL);
    assert_int_equal(lv_gguf_get_str(g, "k0", &s, &err), LEVER_E_MODEL);
    assert_non_null(strstr(err.message, "key k0 has type u8, expected string"));
    lv_gguf_close(g);
    gb_free(&m);
}

static void strings_and_text(void **state)
{
    struct gb_model m;
    struct lv_str s = { 0 };
    struct gb_bytes raw = { 0 };
    char big[5001];

    (void)state;
    gb_init(&m);
    gb_put_uint(&raw, 9, 8);
    gb_put(&raw, "a\0\n\xff\xc3\xa9\xe2\x82\t", 9); /* a NUL, a stray byte, an e with accent, half a euro sign */
    gb_value(&m, "bytes", LV_GGUF_STRING, raw.data, raw.n);
    memset(big, 'x', 5000);
    big[5000] = '\0';
    gb_str(&m, "big", big);
    gb_str(&m, "empty", "");
    char cut[11] = "\2\0\0\0\0\0\0\0\xe2\x82";
    struct gb_bytes list = { 0 };

    /* half a euro sign, and the next string's length of 0x80 would complete it */
    gb_put(&list, cut, 10);
    gb_put_uint(&list, 0x80, 8);
    gb_put(&list, big, 0x80);
    gb_array(&m, "list", LV_GGUF_STRING, 2, list.data, list.n);
    gb_bytes_free(&list);
    struct lv_gguf *g = write_and_open(&m, "strings.gguf");

    assert_int_equal(lv_gguf_get_str(g, "bytes", &s, NULL), LEVER_OK);
    assert_int_equal(s.len, 9);
    assert_memory_equal(s.s, raw.data + 8, 9);
    assert_string_equal(text_of(g, "bytes", "string"), "a\\x00\\n\\xff\xc3\xa9\\xe2\\x82\\t");
    assert_int_equal(lv_gguf_get_str(g, "big", &s, NULL), LEVER_OK);
    assert_int_equal(s.len, 5000);
    assert_memory_equal(s.s, big, 5000);
    assert_true(strlen(text_of(g, "big", "string")) < 400);
    assert_non_null(strstr(text_of(g, "big", "string"), "xxx..."));
    assert_int_equal(lv_gguf_get_str(g, "empty", &s, NULL), LEVER_OK);
    assert_int_equal(s.len, 0);
    assert_string_equal(text_of(g, "empty", "string"), "");
    assert_non_null(strstr(text_of(g, "list", "array of string"), "[\"\\xe2\\x82\", \"xxx"));
    lv_gguf_close(g);
    gb_bytes_free(&raw);
    gb_free(&m);
}

/* Random arrays larger than the read buffer, in order and out of order, against the list they were made from. */
static void arrays(void **state)
{
    enum { N = 20000, SEED = 5 };
    struct lv_rng r = { SEED };
    struct gb_bytes text = { 0 }, i16 = { 0 };
    static char *want[N];
    struct gb_model m;
    enum lv_gguf_kind elem;
    uint64_t n = 0;

    (void)state;
    for (int i = 0; i < N; i++) {
        const size_t len = lv_rng_below(&r, 100) ? lv_rng_below(&r, 12) : lv_rng_below(&r, 3000);

        want[i] = malloc(len + 1);
        assert_non_null(want[i]);
        for (size_t j = 0; j < len; j++)
            want[i][j] = (char)('a' + lv_rng_below(&r, 26));
        want[i][len] = '\0';
        gb_put_str(&text, want[i]);
        gb_put_uint(&i16, (uint64_t)(i - 1000), 2);
    }
    gb_init(&m);
    gb_array(&m, "tokenizer.ggml.tokens", LV_GGUF_STRING, N, text.data, text.n);
    gb_array(&m, "numbers", LV_GGUF_I16, N, i16.data, i16.n);
    gb_array(&m, "floats", LV_GGUF_F32, 2, "\0\0\x80\x3f\0\0\0\xc0", 8);
    gb_array(&m, "bools", LV_GGUF_BOOL, 2, "\1\0", 2);
    gb_array(&m, "none", LV_GGUF_STRING, 0, NULL, 0);
    struct lv_gguf *g = write_and_open(&m, "arrays.gguf");

    assert_int_equal(lv_gguf_get_array(g, "tokenizer.ggml.tokens", &elem, &n, NULL), LEVER_OK);
    assert_int_equal(elem, LV_GGUF_STRING);
    assert_int_equal(n, N);
    for (int round = 0; round < 2 * N; round++) {
        const uint32_t i = round < N ? (uint32_t)round : lv_rng_below(&r, N);
        const struct lv_str s = lv_gguf_array_str(g, "tokenizer.ggml.tokens", i);

        if (s.len != strlen(want[i]) || memcmp(s.s, want[i], s.len) != 0)
            fail_msg("seed %d, string %u", SEED, i);
    }
    for (int i = 0; i < N; i++)
        assert_true(lv_gguf_array_num(g, "numbers", (uint64_t)i) == i - 1000);
    assert_true(lv_gguf_array_num(g, "floats", 1) == -2);
    assert_true(lv_gguf_array_num(g, "bools", 0) == 1 && lv_gguf_array_num(g, "bools", 1) == 0);
    assert_string_equal(text_of(g, "floats", "array of f32"), "[1, -2]");
    assert_string_equal(text_of(g, "bools", "array of bool"), "[true, false]");
    assert_string_equal(text_of(g, "none", "array of string"), "[]");
    assert_non_null(strstr(text_of(g, "numbers", "array of i16"), "[-1000, -999, "));
    assert_non_null(strstr(text_of(g, "numbers", "array of i16"), "... 20000 in all]"));

    /* nothing behind the end, of another type, or absent */
    assert_int_equal(lv_gguf_array_str(g, "tokenizer.ggml.tokens", N).len, 0);
    assert_int_equal(lv_gguf_array_str(g, "numbers", 0).len, 0);
    assert_int_equal(lv_gguf_array_str(g, "absent", 0).len, 0);
    assert_true(lv_gguf_array_num(g, "numbers", UINT64_MAX) == 0);
    assert_true(lv_gguf_array_num(g, "tokenizer.ggml.tokens", 0) == 0);
    assert_int_equal(lv_gguf_get_array(g, "absent", &elem, &n, NULL), LEVER_DONE);

    /* dropped: count and text stay, elements and everything else go or stay as promised */
    lv_gguf_drop_arrays(g);
    lv_gguf_drop_arrays(g);
    assert_int_equal(lv_gguf_get_array(g, "tokenizer.ggml.tokens", &elem, &n, NULL), LEVER_OK);
    assert_int_equal(n, N);
    assert_int_equal(lv_gguf_array_str(g, "tokenizer.ggml.tokens", 0).len, 0);
    assert_non_null(strstr(text_of(g, "tokenizer.ggml.tokens", "array of string"), "20000 in all]"));
    assert_true(lv_gguf_array_num(g, "numbers", 3) == -997);
    lv_gguf_close(g);
    for (int i = 0; i < N; i++)
        free(want[i]);
    gb_bytes_free(&text);
    gb_bytes_free(&i16);
    gb_free(&m);
}

/* Text of every length around the limit: whole, or cut with dots. */
static void text_lengths(void **state)
{
    (void)state;
    for (size_t n = 1; n < 420; n++) {
        struct gb_model m;
        char value[420];
        const char *text;

        memset(value, 'a', n);
        value[n] = '\0';
        gb_init(&m);
        gb_str(&m, "k", value);
        struct lv_gguf *g = write_and_open(&m, "text.gguf");

        text = text_of(g, "k", "string");
        if (n <= 380)
            assert_string_equal(text, value);
        else
            assert_true(strlen(text) == 383 && strcmp(text + 380, "...") == 0);
        lv_gguf_close(g);
        gb_free(&m);
    }
}

/* ---- cursor ---------------------------------------------------------------------- */

/* Random reads and skips against the bytes in memory, over several buffers' length; then the first error stays. */
static void cursor(void **state)
{
    enum { SIZE = 400000, SEED = 11 };
    static uint8_t data[SIZE], got[SIZE];
    struct gb_bytes b = { 0 };
    struct lv_rng r = { SEED };
    struct lever_error err = { 0 };
    struct lv_cursor c;
    char path[600];

    (void)state;
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (uint8_t)lv_rng_u64(&r);
    gb_put(&b, data, SIZE);
    gb_path(path, sizeof path, "cursor");
    gb_save(&b, path);
    gb_bytes_free(&b);
    for (int round = 0; round < 50; round++) {
        size_t at = 0;

        assert_int_equal(lv_cursor_open(&c, path, &err), LEVER_OK);
        while (at < SIZE) {
            const uint32_t magnitude = 1u << lv_rng_below(&r, 19);
            size_t n = lv_rng_below(&r, magnitude);

            n = n < SIZE - at ? n : SIZE - at;
            if (lv_rng_below(&r, 4) == 0) {
                assert_true(lv_cursor_skip(&c, n, "x"));
            } else {
                assert_true(lv_cursor_read(&c, got, n, "x"));
                if (memcmp(got, data + at, n) != 0)
                    fail_msg("seed %d, round %d: %zu bytes at %zu", SEED, round, n, at);
            }
            at += n;
            assert_int_equal(c.off, at);
        }
        lv_cursor_close(&c);
    }

    assert_int_equal(lv_cursor_open(&c, path, &err), LEVER_OK);
    assert_int_equal(lv_cursor_uint(&c, 2, "x"), data[0] | data[1] << 8);
    memset(got, 1, 8);
    assert_true(lv_cursor_skip(&c, SIZE - 5, "x"));
    assert_false(lv_cursor_read(&c, got, 8, "eight"));
    assert_true(got[0] == 0 && got[7] == 0);
    assert_int_equal(c.st, LEVER_E_MODEL);
    assert_non_null(strstr(err.message, "eight"));
    assert_int_equal(lv_cursor_uint(&c, 1, "later"), 0); /* would fit, but nothing is read after an error */
    assert_int_equal(lv_cursor_fail(&c, LEVER_E_IO, "later"), LEVER_E_MODEL);
    assert_null(strstr(err.message, "later"));
    assert_int_equal(c.off, SIZE - 3);
    lv_cursor_close(&c);
}

/* ---- tensors ------------------------------------------------------------------------ */

static void tensors(void **state)
{
    (void)state;
    for (uint32_t align = 8; align <= 4096; align *= 8) {
        for (uint32_t version = 2; version <= 3; version++) {
            struct gb_model m;
            uint64_t off = 0;

            gb_family(&m, LV_ARCH_QWEN2, 3);
            m.version = version;
            m.align = align;
            if (align != 32)
                gb_u32(&m, "general.alignment", align);
            gb_find(&m, "token_embd.weight")->n_dim = 4;
            struct lv_gguf *g = write_and_open(&m, "tensors.gguf");

            assert_int_equal(lv_gguf_n_tensors(g), m.n_tensor);
            for (uint32_t i = 0; i < m.n_tensor; i++) {
                const struct lv_tensor *t = lv_gguf_tensor(g, i);
                const struct lv_type_traits *traits = lv_type_traits(m.tensor[i].type);

                assert_string_equal(t->name, m.tensor[i].name);
                assert_ptr_equal(lv_gguf_find_tensor(g, t->name), t);
                assert_int_equal(t->type, m.tensor[i].type);
                assert_int_equal(t->n_dim, m.tensor[i].n_dim);
                assert_memory_equal(t->dim, m.tensor[i].dim, sizeof t->dim);
                assert_int_equal(t->bytes, t->dim[0] * t->dim[1] / traits->block_len * traits->block_bytes);
                assert_int_equal(t->i_file, 0);
                assert_int_equal(t->off % align, 0);
                assert_true(t->off >= m.header_bytes + off);
                off = t->off + t->bytes - m.header_bytes;
            }
            assert_int_equal(lv_gguf_tensor(g, 0)->off, (m.header_bytes + align - 1) / align * align);
            assert_int_equal(off + m.header_bytes, lv_gguf_file_bytes(g, 0)); /* the last byte belongs to it */
            assert_null(lv_gguf_find_tensor(g, "absent"));
            assert_null(lv_gguf_find_tensor(g, ""));
            assert_int_equal(lv_gguf_n_files(g), 1);
            lv_gguf_close(g);
            gb_free(&m);
        }
    }
}

/* ---- files --------------------------------------------------------------------------- */

static void part_name(char *out, size_t cap, unsigned no, unsigned count)
{
    char name[80];

    snprintf(name, sizeof name, "split-%05u-of-%05u.gguf", no, count);
    gb_path(out, cap, name);
}

/* Writes part `no` (from 1) of 3: keys in the first, each part with one layer and its own alignment. These
 * make the data of a part start inside the last tensor of the part before, by offset: that is no overlap. */
static void write_part(unsigned no, unsigned says_no, unsigned says_count, unsigned n_tensor)
{
    struct gb_model m;
    char path[600], name[80];

    gb_init(&m);
    if (no == 1)
        gb_str(&m, "general.architecture", "llama");
    m.align = 64u << 2 * no;
    gb_u32(&m, "general.alignment", m.align);
    gb_u32(&m, "split.no", says_no);
    gb_u32(&m, "split.count", says_count);
    gb_u32(&m, "split.tensors.count", n_tensor);
    snprintf(name, sizeof name, "blk.%u.attn_norm.weight", no - 1);
    gb_tensor(&m, name, LV_TYPE_F32, 64, 0);
    snprintf(name, sizeof name, "blk.%u.attn_q.weight", no - 1);
    gb_tensor(&m, name, LV_TYPE_F16, 64, 10 * no);
    part_name(path, sizeof path, no, 3);
    gb_write(&m, path);
    gb_free(&m);
}

static void split_models(void **state)
{
    char path[600], other[600];

    (void)state;
    for (unsigned no = 1; no <= 3; no++)
        write_part(no, no - 1, 3, 6);
    part_name(path, sizeof path, 1, 3);
    struct lv_gguf *g = open_or_fail(path);

    assert_int_equal(lv_gguf_n_files(g), 3);
    assert_int_equal(lv_gguf_n_tensors(g), 6);
    for (unsigned i = 0; i < 3; i++) {
        char name[80];

        part_name(other, sizeof other, i + 1, 3);
        assert_string_equal(lv_gguf_path(g, i), other);
        snprintf(name, sizeof name, "blk.%u.attn_q.weight", i);
        const struct lv_tensor *t = lv_gguf_find_tensor(g, name);

        assert_non_null(t);
        assert_int_equal(t->i_file, i);
        assert_int_equal(t->dim[1], 10 * (i + 1));
        assert_int_equal(t->off % (256u << 2 * i), 0);
        assert_true(t->off + t->bytes <= lv_gguf_file_bytes(g, i));
    }
    lv_gguf_close(g);

    part_name(other, sizeof other, 2, 3);
    must_refuse(other, LEVER_E_MODEL, "part 2 of a split model of 3; open the first part, ");
    write_part(2, 2, 3, 6);
    must_refuse(path, LEVER_E_MODEL, "says it is part 3 of 3, expected part 2 of 3");
    write_part(2, 1, 4, 6);
    must_refuse(path, LEVER_E_MODEL, "says it is part 2 of 4, expected part 2 of 3");
    write_part(2, 1, 3, 6);
    write_part(1, 0, 3, 7);
    must_refuse(path, LEVER_E_MODEL, "split.tensors.count is 7, but the parts hold 6 tensors");
    write_part(1, 0, 4, 6);
    must_refuse(path, LEVER_E_MODEL, "expected a name that ends with -00001-of-00004.gguf");
    write_part(1, 0, 300, 6);
    must_refuse(path, LEVER_E_MODEL, "split.count 300, expected a part below a count of at most 256");
    write_part(1, 5, 3, 6);
    must_refuse(path, LEVER_E_MODEL, "split.no is 5");
    write_part(1, 0, 3, 6);
    assert_int_equal(remove(other), 0);
    must_refuse(path, LEVER_E_IO, "split-00002-of-00003.gguf: cannot open: No such file");

    /* two tensors of a part overlap, and by offset one of another part lies between them */
    struct gb_model m;

    gb_init(&m);
    gb_u32(&m, "split.no", 1);
    gb_u32(&m, "split.count", 3);
    gb_tensor(&m, "one", LV_TYPE_F32, 512, 0)->off = 0;
    gb_tensor(&m, "two", LV_TYPE_F32, 512, 0)->off = 1024;
    gb_write(&m, other);
    must_refuse(path, LEVER_E_MODEL, "split-00002-of-00003.gguf: tensor two at offset ");

    /* the same tensor in two parts */
    gb_find(&m, "two")->off = 2048;
    memcpy(gb_find(&m, "two")->name, "one", 3);
    gb_write(&m, other);
    must_refuse(path, LEVER_E_MODEL, "tensor one occurs twice");
    gb_free(&m);

    /* a first part that is named as the second */
    part_name(path, sizeof path, 2, 3);
    write_part(2, 0, 3, 6);
    must_refuse(path, LEVER_E_MODEL, "is the first part of a split model of 3, expected a name");
    part_name(path, sizeof path, 1, 3);

    /* a first part under another name */
    gb_path(other, sizeof other, "renamed.gguf");
    assert_int_equal(rename(path, other), 0);
    must_refuse(other, LEVER_E_MODEL, "expected a name that ends with -00001-of-00003.gguf; rename the parts");
}

/* What is no regular file must be refused, never waited for. */
static void not_a_file(void **state)
{
    char path[600], long_path[3000];

    (void)state;
    must_refuse(gb_folder(), LEVER_E_IO, "is a folder, expected a regular file");
    gb_path(path, sizeof path, "absent.gguf");
    must_refuse(path, LEVER_E_IO, "cannot open: No such file or directory");
    gb_path(path, sizeof path, "fifo");
    assert_int_equal(mkfifo(path, 0600), 0);
    must_refuse(path, LEVER_E_IO, "is a device or pipe, expected a regular file");
    must_refuse("/dev/null", LEVER_E_IO, "is a device or pipe");
    memset(long_path, 'p', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = '\0';
    must_refuse(long_path, LEVER_E_IO, "p: cannot open: "); /* the message keeps its end */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(number_kinds), cmocka_unit_test(strings_and_text), cmocka_unit_test(arrays),
        cmocka_unit_test(text_lengths), cmocka_unit_test(cursor),           cmocka_unit_test(tensors),
        cmocka_unit_test(split_models), cmocka_unit_test(not_a_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
