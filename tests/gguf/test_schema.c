/* Shapes of the four families: what is read, what is derived, what optional parts change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "build.h"
#include "gguf/gguf.h"

static struct lv_shape read_shape(struct gb_model *m)
{
    struct lever_error err = { 0 };
    struct lv_gguf *g = NULL;
    struct lv_shape s;
    char path[600];

    gb_path(path, sizeof path, "schema.gguf");
    gb_write(m, path);
    memset(&s, 0xa5, sizeof s);
    if (lv_gguf_open(&g, path, &err) < 0 || lv_shape_read(&s, g, &err) < 0)
        fail_msg("%s", err.message);
    lv_gguf_close(g);
    return s;
}

static void families(void **state)
{
    (void)state;
    for (int a = 0; a < LV_ARCH_COUNT; a++) {
        struct gb_model m;

        gb_family(&m, (enum lv_arch)a, 2);
        const struct lv_shape s = read_shape(&m);

        assert_int_equal(s.arch, a);
        assert_int_equal(s.n_layer, 2);
        assert_int_equal(s.n_embd, 64);
        assert_int_equal(s.n_ff, 96);
        assert_int_equal(s.n_head, 4);
        assert_int_equal(s.n_head_kv, 2);
        assert_int_equal(s.head_dim, 16);
        assert_int_equal(s.n_rot, 16);
        assert_int_equal(s.n_vocab, 8);
        assert_int_equal(s.n_ctx_train, 128);
        assert_true(s.eps == 1e-6f);
        assert_true(s.rope_base == 10000.0f && s.rope_base_local == 10000.0f && s.rope_factor == 1.0f);
        assert_int_equal(s.rope_scaling, LV_ROPE_PLAIN);
        assert_int_equal(s.n_window, 0);
        assert_int_equal(s.window_pattern, 0);
        assert_true(s.tied);
        gb_free(&m);
    }
}

static void untied_and_padded(void **state)
{
    struct gb_model m;

    (void)state;
    gb_family(&m, LV_ARCH_QWEN2, 1);
    gb_find(&m, "token_embd.weight")->dim[1] = 13; /* more rows than tokens: padding */
    gb_tensor(&m, "output.weight", LV_TYPE_F16, 64, 13);
    const struct lv_shape s = read_shape(&m);

    assert_false(s.tied);
    assert_int_equal(s.n_vocab, 13);
    gb_free(&m);
}

static void llama_options(void **state)
{
    struct gb_model m;
    struct lv_shape s;

    (void)state;
    gb_family(&m, LV_ARCH_LLAMA, 1);
    gb_tensor(&m, "rope_freqs.weight", LV_TYPE_F32, 6, 0);
    gb_tensor(&m, "blk.0.attn_q.bias", LV_TYPE_F32, 64, 0);
    gb_u32(&m, "llama.rope.dimension_count", 12);
    gb_u32(&m, "llama.attention.sliding_window", 64);
    gb_u32(&m, "llama.expert_count", 0);
    gb_f32(&m, "llama.rope.freq_base", 500000.0f);
    gb_f32(&m, "llama.rope.scaling.factor", 4.0f); /* no type: linear */
    s = read_shape(&m);
    assert_int_equal(s.n_rot, 12);
    assert_int_equal(s.n_window, 64);
    assert_int_equal(s.rope_scaling, LV_ROPE_LINEAR);
    assert_true(s.rope_factor == 4.0f && s.rope_base == 500000.0f);

    gb_str(&m, "llama.rope.scaling.type", "none");
    gb_u32(&m, "llama.attention.sliding_window", 128); /* the whole context: no window */
    gb_drop_key(&m, "llama.attention.head_count_kv");  /* as many as heads */
    gb_find(&m, "blk.0.attn_k.weight")->dim[1] = 64;
    gb_find(&m, "blk.0.attn_v.weight")->dim[1] = 64;
    gb_u32(&m, "llama.attention.key_length", 32); /* longer heads than n_embd / n_head */
    gb_find(&m, "blk.0.attn_q.weight")->dim[1] = 128;
    gb_find(&m, "blk.0.attn_q.bias")->dim[0] = 128;
    gb_find(&m, "blk.0.attn_k.weight")->dim[1] = 128;
    gb_find(&m, "blk.0.attn_v.weight")->dim[1] = 128;
    gb_find(&m, "blk.0.attn_output.weight")->dim[0] = 128;
    s = read_shape(&m);
    assert_int_equal(s.rope_scaling, LV_ROPE_PLAIN);
    assert_true(s.rope_factor == 1.0f);
    assert_int_equal(s.n_window, 0);
    assert_int_equal(s.n_head_kv, 4);
    assert_int_equal(s.head_dim, 32);

    gb_str(&m, "llama.rope.scaling.type", "linear");
    gb_drop_key(&m, "llama.rope.scaling.factor");
    gb_f32(&m, "llama.rope.scale_linear", 2.0f); /* the older name */
    s = read_shape(&m);
    assert_true(s.rope_factor == 2.0f && s.rope_scaling == LV_ROPE_LINEAR);
    gb_free(&m);
}

static void gemma_windows(void **state)
{
    struct gb_model m;
    struct lv_shape s;

    (void)state;
    gb_family(&m, LV_ARCH_GEMMA3, 1);
    gb_u32(&m, "gemma3.attention.sliding_window", 32);
    gb_f32(&m, "gemma3.rope.freq_base", 1e6f);
    gb_u32(&m, "gemma3.attention.key_length", 16);
    gb_u32(&m, "gemma3.attention.value_length", 16);
    s = read_shape(&m);
    assert_int_equal(s.n_window, 32);
    assert_int_equal(s.window_pattern, 6);
    assert_true(s.rope_base == 1e6f && s.rope_base_local == 10000.0f);
    gb_u32(&m, "gemma3.attention.sliding_window_pattern", 4);
    gb_f32(&m, "gemma3.rope.freq_base_swa", 20000.0f);
    s = read_shape(&m);
    assert_int_equal(s.window_pattern, 4);
    assert_true(s.rope_base_local == 20000.0f);
    gb_free(&m);
}

static void must_refuse(struct gb_model *m, const char *tensor, const char *what)
{
    struct lever_error err = { 0 };
    struct lv_gguf *g = NULL;
    struct lv_shape s;
    char path[600];

    gb_path(path, sizeof path, "schema.gguf");
    gb_write(m, path);
    if (lv_gguf_open(&g, path, &err) < 0)
        fail_msg("%s: %s", tensor, err.message);
    if (lv_shape_read(&s, g, &err) != LEVER_E_MODEL || !strstr(err.message, tensor))
        fail_msg("%s %s: \"%s\"", tensor, what, err.message);
    lv_gguf_close(g);
}

/* Each tensor of each family: absent, of another shape, under another name. */
static void every_tensor_is_checked(void **state)
{
    (void)state;
    for (int a = 0; a < LV_ARCH_COUNT; a++) {
        struct gb_model m;
        size_t n;

        gb_family(&m, (enum lv_arch)a, 2);
        n = m.n_tensor;
        gb_free(&m);
        for (size_t i = 0; i < n; i++) {
            char name[80];

            gb_family(&m, (enum lv_arch)a, 2);
            snprintf(name, sizeof name, "%s", m.tensor[i].name);
            if (strcmp(name, "token_embd.weight") != 0) { /* its rows are the vocabulary, whatever their number */
                m.tensor[i].dim[1]++;
                m.tensor[i].n_dim = 2;
                must_refuse(&m, name, "with a row more");
                m.tensor[i].dim[1]--;
            }
            m.tensor[i].dim[0] += 32;
            must_refuse(&m, name, "with longer rows");
            m.tensor[i].dim[0] -= 32;
            m.tensor[i].name[strlen(name) - 1] = 'X';
            must_refuse(&m, strcmp(name, "token_embd.weight") ? m.tensor[i].name : name, "renamed");
            m.tensor[i].name[strlen(name) - 1] = name[strlen(name) - 1];
            read_shape(&m);
            gb_drop_tensor(&m, name);
            must_refuse(&m, name, "absent");
            gb_free(&m);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families),      cmocka_unit_test(untied_and_padded),       cmocka_unit_test(llama_options),
        cmocka_unit_test(gemma_windows), cmocka_unit_test(every_tensor_is_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
