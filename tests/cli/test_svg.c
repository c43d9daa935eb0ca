/* Markup and charts: what is escaped, that no number comes out as nan or inf, files that are replaced whole. With an
 * argument it is a tool of test_report.py instead: the page of the JSON object in that file, on standard output. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench_decode.h"
#include "markup.h"
#include "svg.h"

/* The command line's own needs more of it than is linked here. */
enum lever_status lv_cli_fail(struct lever_error *err, enum lever_status st, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    err->status = st;
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    va_end(ap);
    return st;
}

static void escaping(void **state)
{
    static const char *const pair[][2] = {
        { "a<b>&\"c'", "a&lt;b&gt;&amp;&quot;c&#39;" }, { "", "" }, { "\x1b[2J\x7f", "\xef\xbf\xbd[2J\xef\xbf\xbd" },
        { "tab\tand\nline", "tab\tand\nline" }, { "caf\xc3\xa9", "caf\xc3\xa9" }, { "&amp;", "&amp;amp;" },
        { "<", "&lt;" }, { "x", "x" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof pair / sizeof pair[0]; i++) {
        struct lv_markup m = { .text = NULL };

        lv_put(&m, "");
        lv_put_text(&m, pair[i][0]);
        assert_string_equal(m.text, pair[i][1]);
        lv_markup_deinit(&m);
    }
    /* every byte that XML 1.0 lacks */
    for (int c = 1; c < 32; c++) {
        const char text[2] = { (char)c, '\0' };
        struct lv_markup m = { .text = NULL };

        lv_put_text(&m, text);
        assert_string_equal(m.text, c == '\t' || c == '\n' || c == '\r' ? text : "\xef\xbf\xbd");
        lv_markup_deinit(&m);
    }
}

static void numbers(void **state)
{
    static const struct {
        double x;
        const char *text;
    } as[] = { { 0, "0" }, { 0.1234, "0.123" }, { 4.567, "4.57" }, { 45.67, "45.7" }, { 1234.5, "1234" }, { -3, "-3" }, { -3.25, "-3.25" },
               { 1e-5, "1.0e-05" }, { NAN, "&#8211;" }, { INFINITY, "&#8211;" }, { -INFINITY, "&#8211;" } };

    (void)state;
    for (size_t i = 0; i < sizeof as / sizeof as[0]; i++) {
        struct lv_markup m = { .text = NULL };

        lv_put_number(&m, as[i].x);
        assert_string_equal(m.text, as[i].text);
        lv_markup_deinit(&m);
    }
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;

    for (const char *s = text; (s = strstr(s, what)); s++)
        n++;
    return n;
}

static void assert_finite(const char *text)
{
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf"));
    assert_int_equal(count(text, "<svg"), count(text, "</svg>"));
}

/* Coordinates of drawn markers stay inside the view box, whatever the values are. */
static void charts(void **state)
{
    static const double y[][4] = { { 1, 2, 3, 4 },         { NAN, 2, NAN, 4 },    { INFINITY, -INFINITY, NAN, 1 },
                                   { 0, 0, 0, 0 },         { 1e-9, 1e9, 3, 1 },   { -1, -2, 5, 5 },
                                   { 1e300, 1, 1, 1 },     { NAN, NAN, NAN, NAN }, { 1e-300, 0, 0, 0 } };
    static const size_t dots[] = { 4, 2, 1, 4, 4, 2, 4, 0, 4 };
    static const double x[] = { 1, 2, 4, 300 };

    (void)state;
    for (size_t i = 0; i < sizeof y / sizeof y[0]; i++) {
        for (int kind = 0; kind < 4; kind++) {
            static const char *const tick[] = { "<a>", "b", "c", "d" };
            static const double at[] = { 0, 1, 2, 3 };
            const struct lv_series s = { .name = "a&b", .x = kind == 2 ? at : x, .y = y[i], .low = y[i], .high = y[i], .n = 4,
                                         .line = true };
            const struct lv_chart c = { .id = "t", .title = "t", .desc = "d", .x_label = "x", .y_label = "y", .series = &s,
                                        .n_series = 1, .log_x = kind == 1, .diagonal = kind == 3,
                                        .tick = kind == 2 ? tick : NULL, .n_tick = 4 };
            struct lv_markup m = { .text = NULL };

            lv_chart_put(&m, &c);
            assert_false(m.failed);
            assert_finite(m.text);
            /* one marker in the legend */
            assert_int_equal(count(m.text, "<circle"), dots[i] ? dots[i] + 1 : 0);
            for (const char *p = m.text; (p = strstr(p, "cy=\"")); p++) {
                const double cy = strtod(p + 4, NULL);

                assert_true(cy >= 0 && cy <= 330);
            }
            assert_int_equal(strstr(m.text, "Nothing to draw") != NULL, dots[i] == 0);
            assert_null(strstr(m.text, "<a>"));
            lv_markup_deinit(&m);
        }
    }
}

static void empty(void **state)
{
    const struct lv_chart c = { .id = "t", .title = "t", .desc = "d", .x_label = "x", .y_label = "y" };
    const struct lv_lane lane = { .name = "l" };
    const double seconds[] = { 0, -1, NAN, INFINITY };

    (void)state;
    struct lv_markup m = { .text = NULL };

    lv_chart_put(&m, &c);
    assert_non_null(strstr(m.text, "Nothing to draw"));
    lv_markup_deinit(&m);
    for (size_t i = 0; i < 4; i++) {
        const struct lv_timeline t = { .id = "t", .title = "t", .desc = "d", .seconds = seconds[i], .lane = &lane, .n_lane = 1 };

        lv_timeline_put(&m, &t);
        assert_non_null(strstr(m.text, "Nothing to draw"));
        lv_markup_deinit(&m);
    }
}

/* Bars at the same time lie below one another; those outside or without a number are left out. */
static void timeline(void **state)
{
    static const double begin[] = { -1, 0, 0.5, NAN, 0.6, 1.5, 3, 9 }, end[] = { 0.2, 1, 1.5, 1, 0.7, 2.5, 4, 10 };
    const struct lv_lane lane = { .name = "<l>", .begin = begin, .end = end, .n = 8 };
    const struct lv_timeline t = { .id = "t", .title = "t", .desc = "d", .seconds = 2, .lane = &lane, .n_lane = 1 };
    struct lv_markup m = { .text = NULL };
    double y[8], x[8], w[8];
    size_t n = 0;

    (void)state;
    lv_timeline_put(&m, &t);
    assert_finite(m.text);
    for (const char *p = m.text; (p = strstr(p, "<rect")); p++, n++)
        assert_int_equal(sscanf(p, "<rect x=\"%lf\" y=\"%lf\" width=\"%lf\"", &x[n], &y[n], &w[n]), 3);
    assert_int_equal(n, 5);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            assert_false(y[i] == y[j] && x[i] < x[j] + w[j] - 0.71 && x[j] < x[i] + w[i] - 0.71);
    lv_markup_deinit(&m);
}

static void file_replace(void **state)
{
    char dir[] = "/tmp/lever-svg-XXXXXX", path[64], text[16] = "";
    struct lever_error err = { .status = LEVER_OK };
    FILE *f;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a", dir);
    assert_int_equal(lv_file_replace(path, "one", 3, &err), LEVER_OK);
    assert_int_equal(lv_file_replace(path, "other", 5, &err), LEVER_OK);
    f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fread(text, 1, sizeof text, f), 5);
    fclose(f);
    assert_string_equal(text, "other");
    /* a folder stands where the file shall be, or none does where it shall lie */
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(lv_file_replace(path, "x", 1, &err), LEVER_E_IO);
    rmdir(path);
    snprintf(path, sizeof path, "%s/no/a", dir);
    assert_int_equal(lv_file_replace(path, "x", 1, &err), LEVER_E_IO);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(rmdir(dir), 0); /* nothing was left behind */
}

static int render(const char *path)
{
    json_error_t je;
    json_t *o = json_load_file(path, 0, &je);
    struct lv_markup m = { .text = NULL };
    const bool good = o && lv_report_html(&m, o) && fwrite(m.text, 1, m.n, stdout) == m.n;

    if (!o)
        fprintf(stderr, "%s: %s\n", path, je.text);
    lv_markup_deinit(&m);
    json_decref(o);
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escaping), cmocka_unit_test(numbers),  cmocka_unit_test(charts),
        cmocka_unit_test(empty),    cmocka_unit_test(timeline), cmocka_unit_test(file_replace),
    };

    return argc > 1 ? render(argv[1]) : cmocka_run_group_tests(tests, NULL, NULL);
}
