#include "engine/side_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

const char *side_folder;
char side_model[600], side_lvp[620], side_part[640];

void side_write_model(const struct tiny_spec *spec)
{
    struct lever_error err;

    if (tiny_write(spec, side_model, &err) < 0)
        fail_msg("tiny model: %s", err.message);
}

struct tiny_spec side_usual(void)
{
    struct tiny_spec s = { .arch = LV_ARCH_QWEN2, .n_embd = 256, .n_ff = 512, .n_head = 4, .n_head_kv = 2,
                           .n_vocab = 333, .type = TINY_ALL(LV_TYPE_Q4_K), .seed = 5 };

    s.type[TINY_DOWN] = LV_TYPE_Q6_K;
    s.type[TINY_O] = LV_TYPE_Q5_0;
    return s;
}

struct lever_pack_options side_pack_options(void)
{
    struct lever_pack_options o;

    lever_pack_options_default(&o, sizeof o);
    o.target_path = side_model;
    return o;
}

enum lever_status side_pack(bool force, struct lever_error *err)
{
    struct lever_pack_options o = side_pack_options();

    o.force = force;
    return lever_pack(&o, err);
}

void side_pack_ok(void)
{
    struct lever_error err;

    if (side_pack(false, &err) != LEVER_OK)
        fail_msg("pack: %s", err.message);
}

bool side_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

uint8_t *side_read(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    struct stat sb;

    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &sb), 0);
    uint8_t *b = malloc((size_t)sb.st_size + 1);

    *n = fread(b, 1, (size_t)sb.st_size, f);
    assert_int_equal(*n, sb.st_size);
    fclose(f);
    return b;
}

void side_write(const char *path, const uint8_t *b, size_t n)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(b, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

struct side_opened side_open_model(void)
{
    struct side_opened o = { NULL, NULL };
    struct lever_error err;

    if (lv_gguf_open(&o.g, side_model, &err) < 0 || lv_program_new(&o.p, o.g, &err) < 0)
        fail_msg("%s", err.message);
    return o;
}

void side_close_model(struct side_opened *o)
{
    lv_program_free(o->p);
    lv_gguf_close(o->g);
}

enum lever_status side_attach(struct side_opened *o, struct lever_error *err)
{
    uint64_t bytes;

    memset(err, 0, sizeof *err);
    return lv_sidecar_attach(o->p, o->g, side_lvp, &bytes, err);
}

int side_setup(void **state)
{
    (void)state;
    snprintf(side_model, sizeof side_model, "%s/side-%d.gguf", side_folder, (int)getpid());
    snprintf(side_lvp, sizeof side_lvp, "%s.lvp", side_model);
    snprintf(side_part, sizeof side_part, "%s.part", side_lvp);
    remove(side_lvp);
    remove(side_part);
    return 0;
}

int side_teardown(void **state)
{
    (void)state;
    lv_alloc_fail_at(0, false);
    remove(side_model);
    remove(side_lvp);
    remove(side_part);
    return 0;
}

void side_check_contents(void)
{
    struct side_opened o = side_open_model();
    struct lever_error err;
    struct lv_kern ref;
    size_t n_side;
    uint8_t *b = side_read(side_lvp, &n_side);
    uint64_t end = 0;

    lv_kern_init(&ref, 0);
    if (side_attach(&o, &err) != LEVER_OK)
        fail_msg("attach: %s", err.message);
    for (uint32_t i = 0; i < o.p->n_w; i++) {
        const struct lv_weight *w = &o.p->w[i];
        size_t n_gguf;
        uint8_t *gguf = side_read(lv_gguf_path(o.g, w->tensor->i_file), &n_gguf);
        uint8_t *group = malloc(w->group_bytes);

        assert_true(w->packed);
        assert_int_equal(w->i_file, lv_gguf_n_files(o.g));
        assert_int_equal(w->off % LV_SIDECAR_ALIGN, 0);
        assert_true(w->off >= end); /* execution order, no overlap */
        assert_int_equal(w->bytes, (uint64_t)(w->n_rows + 31) / 32 * 32 * w->row_bytes);
        end = w->off + w->bytes;
        for (uint32_t g = 0; g < w->n_groups; g++) {
            const uint32_t left = w->n_rows - g * 32;

            ref.pack[w->type](group, gguf + w->tensor->off + g * w->group_bytes, left < 32 ? left : 32, w->n_cols);
            if (memcmp(group, b + w->off + g * w->group_bytes, w->group_bytes) != 0)
                fail_msg("%s: group %u differs", w->tensor->name, g);
        }
        free(group);
        free(gguf);
    }
    assert_int_equal(end, n_side);
    free(b);
    side_close_model(&o);
}
