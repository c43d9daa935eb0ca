/* Text of a report: a buffer that grows, what goes into it as it is and what is escaped, and the file it becomes.
 *
 * owns     its text; lv_markup_deinit is due in any case
 * errors   the first lack of memory is kept in `failed`, and what is put later is dropped: it is checked once, at the end
 * threads  one at a time */
#ifndef LV_CLI_MARKUP_H
#define LV_CLI_MARKUP_H

#include <stdbool.h>
#include <stddef.h>

#include <lever/lever.h>

struct lv_markup {
    char *text; /* [n], NUL-terminated; NULL while empty */
    size_t n, cap;
    bool failed;
};

void lv_markup_deinit(struct lv_markup *m);
/* As it is: markup that the program wrote itself. */
void lv_put(struct lv_markup *m, const char *markup);
/* As it is: for numbers and names of our own. What comes from outside goes through lv_put_text. */
__attribute__((format(printf, 2, 3))) void lv_putf(struct lv_markup *m, const char *fmt, ...);
/* Text from anywhere, for content and for attributes in quotes: & < > " ' escaped, characters that XML lacks become
 * U+FFFD. text is UTF-8; NULL puts nothing. */
void lv_put_text(struct lv_markup *m, const char *text);
/* The same after printf, cut at 500 bytes. */
__attribute__((format(printf, 2, 3))) void lv_put_textf(struct lv_markup *m, const char *fmt, ...);
/* Three digits, as in 0.123, 4.56, 78.9 or 1234; a dash for what is no number. */
void lv_put_number(struct lv_markup *m, double x);
/* A share as a whole number of percent, "12 %"; a dash for what is no number. */
void lv_put_percent(struct lv_markup *m, double share);

/* Writes n bytes to path whole or not at all: a file beside it is renamed over what was there. LEVER_E_IO with *err
 * filled; then path is as it was. */
enum lever_status lv_file_replace(const char *path, const char *bytes, size_t n, struct lever_error *err);

#endif
