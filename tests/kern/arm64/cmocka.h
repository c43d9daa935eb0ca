/* The part of cmocka that the kernel tests use, in one header: cross builds have no cmocka library.
 *
 * threads  one.  A failed check ends its test; a crash ends the program after the name of the test. */
#ifndef LV_TESTS_ARM64_CMOCKA_H
#define LV_TESTS_ARM64_CMOCKA_H

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef int (*lv_mock_setup_fn)(void **state);

struct CMUnitTest {
    const char *name;
    void (*test_func)(void **state);
    lv_mock_setup_fn setup_func, teardown_func;
    void *initial_state;
};

__attribute__((weak)) jmp_buf lv_mock_failed; /* weak: one for all files of a program */

#define fail_msg(...)                                         \
    do {                                                      \
        printf("%s:%d: ", __FILE__, __LINE__);                \
        printf(__VA_ARGS__);                                  \
        printf("\n");                                         \
        longjmp(lv_mock_failed, 1);                           \
    } while (0)
#define assert_true(c)                                        \
    do {                                                      \
        if (!(c))                                             \
            fail_msg("not true: %s", #c);                     \
    } while (0)
#define assert_null(p) assert_true((p) == NULL)
#define assert_non_null(p) assert_true((p) != NULL)
#define assert_int_equal(a, b) assert_true((uintmax_t)(a) == (uintmax_t)(b))
#define assert_string_equal(a, b) assert_true(strcmp((a), (b)) == 0)

#define cmocka_unit_test(f) { #f, f, NULL, NULL, NULL }
#define cmocka_unit_test_setup(f, setup) { #f, f, setup, NULL, NULL }
#define cmocka_run_group_tests(tests, setup, teardown) lv_mock_run(tests, sizeof(tests) / sizeof((tests)[0]))

/* Number of failed tests, at most 1 as an exit status. */
static inline int lv_mock_run(const struct CMUnitTest *tests, size_t n)
{
    volatile size_t n_bad = 0;

    for (volatile size_t i = 0; i < n; i++) {
        void *state = tests[i].initial_state;

        printf("%s\n", tests[i].name);
        fflush(stdout);
        if (setjmp(lv_mock_failed)) {
            printf("FAILED: %s\n", tests[i].name);
            n_bad++;
        } else {
            if (tests[i].setup_func)
                tests[i].setup_func(&state);
            tests[i].test_func(&state);
        }
    }
    printf("%zu of %zu tests failed\n", n_bad, n);
    return n_bad != 0;
}

#endif
