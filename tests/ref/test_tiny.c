/* The tiny models: equal to those the goldens were made from, equal weights in any order and split,
 * refusals with a message, no leak or crash when memory is short. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/mem.h"
#include "ref/sha256.h"
#include "ref/tiny.h"

static char dir[] = "/tmp/lever-tiny-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_ok(const struct tiny_spec *spec, const char *path)
{
    struct lever_error err = { .status = LEVER_OK };

    if (tiny_write(spec, path, &err) < 0)
        fail_msg("%s: %s", path, err.message);
}

/* Every preset is the file its golden was made from. When this fails after a change on purpose:
 * make_golden.py make. */
static void presets_have_the_recorded_bytes(void **state)
{
    FILE *f = fopen(LEVER_TEST_DATA "/golden/tiny_forward.jsonl", "r");
    unsigned n = 0;
    json_t *rec;

    (void)state;
    assert_non_null(f);
    while ((rec = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)) != NULL) {
        const char *name = json_string_value(json_object_get(rec, "preset"));
        const char *want = json_string_value(json_object_get(rec, "sha256"));
        const struct tiny_spec *spec = name ? tiny_preset(name) : NULL;
        const char *path = in_dir("preset.gguf");
        char got[65];

        if (!spec || !want || !tiny_preset_name(n) || strcmp(tiny_preset_name(n), name) != 0)
            fail_msg("record %u: preset %s", n, name ? name : "missing");
        write_ok(spec, path);
        assert_true(ref_sha256_file(path, got));
        if (strcmp(got, want) != 0)
            fail_msg("%s: bytes have sum %s, golden %s", name, got, want);
        remove(path);
        json_decref(rec);
        n++;
    }
    fclose(f);
    assert_null(tiny_preset_name(n)); /* none without a record */
    assert_true(n >= 15);
}

/* ---- a small walk over a written file, to compare tensors by name -------------------------------------- */

struct file {
    uint8_t *p;
    size_t n, at;
};

static struct file load(const char *path)
{
    struct file f = { .at = 0 };
    FILE *in = fopen(path, "rb");

    assert_non_null(in);
    f.p = malloc(8 << 20);
    assert_non_null(f.p);
    f.n = fread(f.p, 1, 8 << 20, in);
    fclose(in);
    return f;
}

static uint64_t number(struct file *f, int bytes)
{
    uint64_t v = 0;

    assert_true(f->n - f->at >= (size_t)bytes);
    for (int i = 0; i < bytes; i++)
        v |= (uint64_t)f->p[f->at++] << 8 * i;
    return v;
}

static void pass_over(struct file *f, uint64_t n)
{
    assert_true(f->n - f->at >= n);
    f->at += n;
}

static void pass_value(struct file *f, uint32_t kind)
{
    static const int size[13] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };

    assert_true(kind < 13);
    if (kind == LV_GGUF_STRING) {
        pass_over(f, number(f, 8));
    } else if (kind == LV_GGUF_ARRAY) {
        const uint32_t elem = (uint32_t)number(f, 4);

        for (uint64_t n = number(f, 8); n > 0; n--)
            pass_value(f, elem);
    } else {
        pass_over(f, (uint64_t)size[kind]);
    }
}

#define MAX_TENSORS 160

struct entry {
    char name[64];
    uint64_t dim[2], off; /* off: in the data section */
    uint64_t at;          /* of the file */
    uint32_t type;
    char sum[65];
};

/* Appends the tensors of one file: name, shape, type, place, sum of the bytes. */
static int read_tensors(const char *path, uint32_t alignment, struct entry *list, int n)
{
    struct file f = load(path);
    const int first = n;
    uint64_t n_tensor, n_key, start;

    assert_memory_equal(f.p, "GGUF", 4);
    f.at = 8;
    n_tensor = number(&f, 8);
    n_key = number(&f, 8);
    for (; n_key > 0; n_key--) {
        pass_over(&f, number(&f, 8));
        pass_value(&f, (uint32_t)number(&f, 4));
    }
    for (uint64_t i = 0; i < n_tensor; i++, n++) {
        struct entry *t = &list[n];
        const uint64_t len = number(&f, 8);
        uint64_t n_dim;

        assert_true(n < MAX_TENSORS && len < sizeof t->name);
        memset(t, 0, sizeof *t);
        memcpy(t->name, f.p + f.at, len);
        pass_over(&f, len);
        n_dim = number(&f, 4);
        t->dim[0] = number(&f, 8);
        t->dim[1] = n_dim == 2 ? number(&f, 8) : 1;
        t->type = (uint32_t)number(&f, 4);
        t->off = number(&f, 8);
    }
    start = (f.at + alignment - 1) / alignment * alignment;
    for (int i = first; i < n; i++) {
        struct entry *t = &list[i];
        struct ref_sha256 s;
        uint64_t bytes = 0;

#define LV_X(name, num, len, size)  \
    if (t->type == num)             \
        bytes = t->dim[0] * t->dim[1] / len * size;
        LV_TYPE_LIST(LV_X)
#undef LV_X
        assert_true(bytes > 0 && t->off % alignment == 0 && start + t->off + bytes <= f.n);
        t->at = start + t->off;
        ref_sha256_init(&s);
        ref_sha256_add(&s, f.p + t->at, bytes);
        ref_sha256_hex(&s, t->sum);
    }
    free(f.p);
    return n;
}

static const struct entry *find(const struct entry *list, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    return NULL;
}

/* The same tensors with the same bytes; returns how many sit at another place of the list. */
static int compare(const struct entry *a, int n_a, const struct entry *b, int n_b)
{
    int moved = 0;

    assert_int_equal(n_a, n_b);
    for (int i = 0; i < n_a; i++) {
        const struct entry *t = find(b, n_b, a[i].name);

        if (!t || t->type != a[i].type || t->dim[0] != a[i].dim[0] || t->dim[1] != a[i].dim[1])
            fail_msg("%s: missing, or of another shape", a[i].name);
        if (strcmp(t->sum, a[i].sum) != 0)
            fail_msg("%s: other bytes", a[i].name);
        moved += strcmp(b[i].name, a[i].name) != 0;
    }
    return moved;
}

static struct entry base[MAX_TENSORS], other[MAX_TENSORS];

static void weights_do_not_depend_on_the_layout(void **state)
{
    struct tiny_spec spec = *tiny_preset("mix-q4_k_m");
    char part[160];
    int n, n_other = 0;

    (void)state;
    write_ok(&spec, in_dir("a.gguf"));
    n = read_tensors(in_dir("a.gguf"), 32, base, 0);
    assert_int_equal(n, 3 + 9 * 3);

    spec.shuffle = 99;
    spec.alignment = 4096;
    write_ok(&spec, in_dir("a.gguf"));
    assert_true(compare(base, n, other, read_tensors(in_dir("a.gguf"), 4096, other, 0)) > n / 2);

    spec.n_file = 3;
    spec.alignment = 64;
    write_ok(&spec, in_dir("s.gguf"));
    for (uint32_t i = 0; i < 3; i++) {
        const int before = n_other;

        assert_true(tiny_part_path(part, sizeof part, in_dir("s.gguf"), i, 3));
        n_other = read_tensors(part, 64, other, n_other);
        assert_true(n_other > before);
        remove(part);
    }
    compare(base, n, other, n_other);
    remove(in_dir("a.gguf"));
}

static void fewer_layers_are_the_first_layers(void **state)
{
    struct tiny_spec spec = *tiny_preset("qwen3-tied");
    int n, n_other;

    (void)state;
    write_ok(&spec, in_dir("a.gguf"));
    n = read_tensors(in_dir("a.gguf"), 32, base, 0);
    spec.n_layer = 2;
    write_ok(&spec, in_dir("a.gguf"));
    n_other = read_tensors(in_dir("a.gguf"), 32, other, 0);
    assert_true(n_other < n);
    for (int i = 0; i < n_other; i++)
        assert_string_equal(find(base, n, other[i].name)->sum, other[i].sum);
    remove(in_dir("a.gguf"));
}

/* All tensors differ with the seed. With jitter every float weight is off by at most that share, and
 * most are. */
static void seed_and_jitter(void **state)
{
    struct tiny_spec spec = { .arch = LV_ARCH_LLAMA, .n_layer = 1, .tied = true, .seed = 5 };
    int n, n_changed = 0;
    struct file a, b;
    size_t at;

    (void)state;
    write_ok(&spec, in_dir("a.gguf"));
    a = load(in_dir("a.gguf"));
    n = read_tensors(in_dir("a.gguf"), 32, base, 0);
    spec.jitter = 0.25f;
    write_ok(&spec, in_dir("a.gguf"));
    b = load(in_dir("a.gguf"));
    assert_int_equal(a.n, b.n);
    at = find(base, n, "token_embd.weight")->at;
    for (int i = 0; i < 320 * 64; i++, at += sizeof(float)) {
        float v, w;

        memcpy(&v, a.p + at, sizeof v);
        memcpy(&w, b.p + at, sizeof w);
        if (!((w - v) * (w - v) <= 0.0626f * v * v))
            fail_msg("weight %d: %g became %g", i, (double)v, (double)w);
        n_changed += (w - v) * (w - v) > 0.0001f * v * v;
    }
    assert_true(n_changed > 320 * 64 * 9 / 10);
    spec.jitter = 0;
    spec.seed = 6;
    write_ok(&spec, in_dir("a.gguf"));
    assert_int_equal(n, read_tensors(in_dir("a.gguf"), 32, other, 0));
    for (int i = 0; i < n; i++)
        assert_string_not_equal(base[i].sum, other[i].sum);
    free(a.p);
    free(b.p);
    remove(in_dir("a.gguf"));
}

static void refuse(struct tiny_spec spec, const char *what)
{
    struct lever_error err = { .status = LEVER_OK };
    const char *path = in_dir("refused.gguf");

    if (tiny_write(&spec, path, &err) != LEVER_E_ARG || !strstr(err.message, what))
        fail_msg("expected a refusal with \"%s\", got %d: %s", what, (int)err.status, err.message);
    if (access(path, F_OK) == 0)
        fail_msg("a file was written in spite of: %s", err.message);
}

static void bad_specs_are_refused(void **state)
{
    struct lever_error err;

    (void)state;
    refuse((struct tiny_spec){ .n_vocab = 259 }, "259 tokens");
    refuse((struct tiny_spec){ .n_vocab = TINY_MAX_VOCAB + 1 }, "tokens");
    refuse((struct tiny_spec){ .n_head = 4, .n_head_kv = 3 }, "3 KV heads");
    refuse((struct tiny_spec){ .n_rot = 18 }, "18 of 16");
    refuse((struct tiny_spec){ .alignment = 48 }, "48");
    refuse((struct tiny_spec){ .jitter = 2.0f }, "jitter");
    refuse((struct tiny_spec){ .type = TINY_ALL(LV_TYPE_Q4_K) }, "token_embd.weight");
    refuse((struct tiny_spec){ .type = TINY_ALL((enum lv_type)4) }, "type 4");
    refuse((struct tiny_spec){ .n_file = 1000 }, "1000 files");
    assert_int_equal(tiny_write(&(struct tiny_spec){ .n_file = 2 }, in_dir("noending"), &err), LEVER_E_ARG);
    assert_int_equal(tiny_write(&(struct tiny_spec){ 0 }, in_dir("no/such/folder.gguf"), &err), LEVER_E_IO);
}

/* The first failing allocation, the second, ... until the run passes. */
static void short_memory_is_an_error(void **state)
{
    const struct tiny_spec spec = { .arch = LV_ARCH_GEMMA3, .n_file = 2, .chat_template = tiny_chatml };
    enum lever_status st = LEVER_E_NOMEM;
    uint64_t nth = 0;
    char part[160];

    (void)state;
    while (st == LEVER_E_NOMEM && nth < 1000) {
        lv_alloc_fail_at(++nth, false);
        st = tiny_write(&spec, in_dir("a.gguf"), NULL);
    }
    lv_alloc_fail_at(0, false);
    assert_int_equal(st, LEVER_OK);
    assert_true(nth > 8);
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(tiny_part_path(part, sizeof part, in_dir("a.gguf"), i, 2));
        assert_int_equal(remove(part), 0);
    }
}

static void largest_vocabulary(void **state)
{
    const struct tiny_spec spec = { .n_embd = 32, .n_head = 1, .n_layer = 1, .tied = true, .n_vocab = TINY_MAX_VOCAB };
    int n;

    (void)state;
    write_ok(&spec, in_dir("a.gguf"));
    n = read_tensors(in_dir("a.gguf"), 32, base, 0);
    assert_int_equal(find(base, n, "token_embd.weight")->dim[1], TINY_MAX_VOCAB);
    remove(in_dir("a.gguf"));
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir); /* fails when a test left a file */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_have_the_recorded_bytes),
        cmocka_unit_test(weights_do_not_depend_on_the_layout),
        cmocka_unit_test(fewer_layers_are_the_first_layers),
        cmocka_unit_test(seed_and_jitter),
        cmocka_unit_test(bad_specs_are_refused),
        cmocka_unit_test(short_memory_is_an_error),
        cmocka_unit_test(largest_vocabulary),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
