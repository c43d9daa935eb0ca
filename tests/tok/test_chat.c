/* Chat formats: byte for byte what jinja2 prints (golden/chat.jsonl, make_chat_golden.py), and nothing is
 * recognised that prints something else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tok/chat_format.h"

#define MAX_MESSAGE 16

static char *read_file(const char *name, size_t *len)
{
    char path[1024], *s;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", LEVER_TEST_DATA, name);
    f = fopen(path, "rb");
    if (!f)
        fail_msg("no %s", path);
    s = malloc(1 << 20);
    *len = fread(s, 1, (1 << 20) - 1, f);
    s[*len] = '\0';
    fclose(f);
    return s;
}

static char *read_template(const char *name, size_t *len)
{
    char path[256];

    snprintf(path, sizeof path, "tok/templates/%s.jinja", name);
    return read_file(path, len);
}

/* Spans are the bytes in order, alternate in kind, and no word of a message is in the format's. */
static void check_spans(const struct lv_chat_text *t)
{
    size_t off = 0;

    for (size_t i = 0; i < t->n_span; i++) {
        char part[4096];

        assert_ptr_equal(t->span[i].s, t->bytes + off);
        assert_true(t->span[i].len > 0 && t->span[i].len < sizeof part);
        if (i > 0)
            assert_int_not_equal(t->span[i].special, t->span[i - 1].special);
        memcpy(part, t->span[i].s, t->span[i].len);
        part[t->span[i].len] = '\0';
        if (t->span[i].special)
            assert_null(strstr(part, "INJECT"));
        else
            assert_null(strstr(part, "assistant\n"));
        off += t->span[i].len;
    }
    assert_int_equal(off, t->n_bytes);
}

static size_t read_messages(const json_t *array, struct lever_message *msg)
{
    const size_t n = json_array_size(array);

    assert_true(n <= MAX_MESSAGE);
    for (size_t i = 0; i < n; i++) {
        msg[i].role = json_string_value(json_object_get(json_array_get(array, i), "role"));
        msg[i].content = json_string_value(json_object_get(json_array_get(array, i), "content"));
    }
    return n;
}

static void check_row(const json_t *row)
{
    const char *name = json_string_value(json_object_get(row, "template"));
    const char *want = json_string_value(json_object_get(row, "text"));
    struct lever_message msg[MAX_MESSAGE];
    const size_t n_msg = read_messages(json_object_get(row, "messages"), msg);
    struct lever_error err = { 0 };
    struct lv_chat_text text;
    size_t len;
    char *s = read_template(name, &len);
    const struct lv_chat_format *f = lv_chat_find(s, len);
    enum lever_status st;

    free(s);
    if (!f)
        fail_msg("template %s is not recognised", name);
    assert_string_equal(lv_chat_name(f), json_string_value(json_object_get(row, "format")));
    st = lv_chat_render(f, msg, n_msg, &text, &err);
    if (!want) {
        assert_int_equal(st, LEVER_E_ARG);
        assert_true(strlen(err.message) > 20);
        return;
    }
    if (st != LEVER_OK)
        fail_msg("%s: %s", name, err.message);
    if (text.n_bytes != strlen(want) || memcmp(text.bytes, want, text.n_bytes) != 0)
        fail_msg("%s: got\n%.*s\nwant\n%s", name, (int)text.n_bytes, text.bytes, want);
    check_spans(&text);
    lv_chat_text_deinit(&text);
}

static void test_golden(void **state)
{
    size_t len, n_row = 0;
    char *all = read_file("golden/chat.jsonl", &len), *line, *rest = all;

    (void)state;
    while ((line = strsep(&rest, "\n")) && *line) {
        json_t *row = json_loads(line, 0, NULL);

        assert_non_null(row);
        check_row(row);
        json_decref(row);
        n_row++;
    }
    free(all);
    assert_true(n_row >= 200);
}

static const char *const template_table[] = { "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b", "qwen2",    "qwen3",
                                              "chatml",             "smollm2",            "llama3",   "llama3.1",
                                              "gemma3",             "mistral-v0.2",       "mistral-v0.1" };

#define N_TEMPLATE (sizeof template_table / sizeof template_table[0])

/* A template that prints something else is another format or none. */
static void test_changed_templates(void **state)
{
    size_t len, n_row = 0;
    char *all = read_file("golden/chat_changed.jsonl", &len), *line, *rest = all;

    (void)state;
    while ((line = strsep(&rest, "\n")) && *line) {
        json_t *row = json_loads(line, 0, NULL);
        const char *name = json_string_value(json_object_get(row, "template"));
        const char *old = json_string_value(json_object_get(row, "old")), *new = json_string_value(json_object_get(row, "new"));
        const size_t at = (size_t)json_integer_value(json_object_get(row, "at"));
        char *s = read_template(name, &len), *other = malloc(len + strlen(new) + 1);
        const struct lv_chat_format *f = lv_chat_find(s, len);

        assert_non_null(f);
        assert_memory_equal(s + at, old, strlen(old));
        sprintf(other, "%.*s%s%s", (int)at, s, new, s + at + strlen(old));
        if (lv_chat_find(other, strlen(other)) == f)
            fail_msg("%s with \"%s\" for \"%s\" at byte %zu is still taken as %s", name, new, old, at, lv_chat_name(f));
        free(other);
        free(s);
        json_decref(row);
        n_row++;
    }
    free(all);
    assert_true(n_row >= 200);
}

/* Layout does not matter: blanks inside of tags, quotes, trim marks. */
static void test_same_template_laid_out_anew(void **state)
{
    static const char laid_out[] =
        "{%- for message in messages -%}\n    {{- \"<|im_start|>\" + message[\"role\"]+\"\\n\" +message['content']+'<|im_end|>'  + '\n'}}\n"
        "{%- endfor -%}\n{# the answer #}\n{%- if add_generation_prompt -%}\n{{- '<|im_start|>assistant\\n' -}}\n{%- endif %}\n";
    static const char *const none[] = {
        "", "x", "{{", "{%", "{#", "{{ '", "{% if \"\\", "{{-", "{%-", "{#-", "{{}", "{{ messages }}",
        "{%for message in messages%} {{'<|im_start|>'+message['role']+'\n'+message['content']+'<|im_end|>'+'\n'}}{%endfor%}"
        "{%if add_generation_prompt%}{{'<|im_start|>assistant\n'}}{%endif%}", /* a space before each turn */
        "{%for message in messages%}{{'<|im_start|>'+message['role']+''+message['content']+'<|im_end|>'+'\n'}}{%endfor%}"
        "{%if add_generation_prompt%}{{'<|im_start|>assistant\n'}}{%endif%}",
    };
    const struct lv_chat_format *f = lv_chat_find(laid_out, sizeof laid_out - 1);

    (void)state;
    assert_non_null(f);
    assert_string_equal(lv_chat_name(f), "chatml");
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        char *exact = malloc(strlen(none[i]) + 1); /* sanitizers see a read too far */

        memcpy(exact, none[i], strlen(none[i]));
        assert_null(lv_chat_find(exact, strlen(none[i])));
        free(exact);
    }
}

/* Cut at every byte: never a crash, never another format. */
static void test_cut_templates(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TEMPLATE; i++) {
        size_t len;
        char *s = read_template(template_table[i], &len);
        const struct lv_chat_format *f = lv_chat_find(s, len);

        for (size_t n = 0; n < len; n++) {
            char *exact = malloc(n + 1);
            const struct lv_chat_format *got;

            memcpy(exact, s, n);
            got = lv_chat_find(exact, n);
            if (got && (got != f || n + 16 < len))
                fail_msg("%s cut at %zu of %zu is taken as %s", template_table[i], n, len, lv_chat_name(got));
            free(exact);
        }
        free(s);
    }
}

static void test_refusals(void **state)
{
    const struct lever_message bad_role[] = { { "user", "x" }, { "tool", "y" } }, no_content[] = { { "user", NULL } };
    struct lever_error err;
    struct lv_chat_text text;
    size_t len;

    (void)state;
    assert_int_equal(lv_chat_render(NULL, bad_role, 1, &text, &err), LEVER_E_MODEL);
    assert_non_null(strstr(err.message, "no known chat template"));
    for (size_t i = 0; i < N_TEMPLATE; i++) {
        char *s = read_template(template_table[i], &len);
        const struct lv_chat_format *f = lv_chat_find(s, len);

        assert_int_equal(lv_chat_render(f, bad_role, 0, &text, &err), LEVER_E_ARG);
        assert_int_equal(lv_chat_render(f, bad_role, 2, &text, &err), LEVER_E_ARG);
        assert_non_null(strstr(err.message, "\"tool\""));
        assert_int_equal(lv_chat_render(f, no_content, 1, &text, &err), LEVER_E_ARG);
        free(s);
    }
}

static void test_no_memory(void **state)
{
    const struct lever_message msg[] = { { "user", "x" } };
    struct lv_chat_text text;
    size_t len;
    char *s = read_template("smollm2", &len);
    const struct lv_chat_format *f = lv_chat_find(s, len);
    enum lever_status st = LEVER_E_NOMEM;

    (void)state;
    free(s);
    for (uint64_t nth = 1; st != LEVER_OK; nth++) {
        assert_true(nth < 20);
        lv_alloc_fail_at(nth, false);
        st = lv_chat_render(f, msg, 1, &text, NULL);
        lv_alloc_fail_at(0, false);
        assert_true(st == LEVER_OK || (st == LEVER_E_NOMEM && !text.bytes && !text.span));
        if (nth == 1)
            assert_int_equal(st, LEVER_E_NOMEM);
    }
    lv_chat_text_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_changed_templates),
        cmocka_unit_test(test_same_template_laid_out_anew),
        cmocka_unit_test(test_cut_templates),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
