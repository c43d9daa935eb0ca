/* Checks of test programs that are plain programs: a failed one is printed and counted, and the program goes on.
 *
 * A program that draws at random prints its seed at the start. It exits with 1 if n_fail is not 0. */
#ifndef LV_TESTS_CHECK_H
#define LV_TESTS_CHECK_H

#include <stdio.h>

static int n_fail; /* checks that failed so far */

/* cond, then what is printed if it is false: a format and its arguments, looked at only then. */
#define CHECK(cond, ...)                                                                                               \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            printf("FAIL %s:%d: ", __FILE__, __LINE__);                                                                \
            printf(__VA_ARGS__);                                                                                       \
            printf("\n");                                                                                              \
            n_fail++;                                                                                                  \
        }                                                                                                              \
    } while (0)

/* The same, and a function of type void returns: what follows it builds on cond. */
#define CHECK_OR_RETURN(cond, ...)                                                                                     \
    do {                                                                                                               \
        const int n_before = n_fail;                                                                                   \
                                                                                                                       \
        CHECK(cond, __VA_ARGS__);                                                                                      \
        if (n_fail != n_before)                                                                                        \
            return;                                                                                                    \
    } while (0)

#endif
