/* Small strings that live as long as their set: names and string values.
 *
 * owns     its chunks; every piece is given back at once by lv_strings_deinit
 * threads  one at a time */
#ifndef LV_GGUF_STRINGS_H
#define LV_GGUF_STRINGS_H

#include <stddef.h>

struct lv_strings {
    struct lv_strings_chunk *last; /* newest shared chunk first */
    size_t left_bytes;          /* free bytes of the newest shared chunk */
};

/* n bytes, not aligned; NULL when the system refuses. */
char *lv_strings_take(struct lv_strings *p, size_t n);
void lv_strings_deinit(struct lv_strings *p); /* accepts an all-zero one */

#endif
