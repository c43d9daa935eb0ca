/* Sizes as people write them: "2048", "640M", "1.25G". */
#ifndef LV_BASE_SIZE_H
#define LV_BASE_SIZE_H

#include <stdbool.h>
#include <stdint.h>

/* Digits, then an optional fraction of 1..9 digits (with a suffix only), then an optional K, M or G
 * (1024, 1024^2, 1024^3; either case). Part of a byte is cut off. False, and *out untouched, for NULL and anything
 * else: blanks, signs, exponents, and what does not fit 64 bits. */
bool lv_size_parse(const char *s, uint64_t *out);

#endif
