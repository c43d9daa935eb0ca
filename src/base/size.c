#include "base/size.h"

#include <stddef.h>

#include "base/mem.h"

#define FRACTION_DIGIT_MAX 9 /* 10^9 * 2^30 < 2^64 */

/* isdigit() follows the locale and is undefined for negative chars. */
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool lv_size_parse(const char *s, uint64_t *out)
{
    uint64_t whole = 0, fraction = 0, fraction_scale = 1, unit;
    bool has_fraction = false;

    if (!s || !is_digit(*s))
        return false;
    for (; is_digit(*s); s++)
        if (!lv_mul_u64(whole, 10, &whole) || !lv_add_u64(whole, (uint64_t)(*s - '0'), &whole))
            return false;
    if (*s == '.') {
        const char *first = ++s;

        for (; is_digit(*s); s++) {
            if (s - first >= FRACTION_DIGIT_MAX)
                return false;
            fraction = fraction * 10 + (uint64_t)(*s - '0');
            fraction_scale *= 10;
        }
        if (s == first)
            return false;
        has_fraction = true;
    }
    switch (*s) {
    case '\0':
        if (has_fraction) /* half a byte is a mistake, "1.5" was meant to have a suffix */
            return false;
        *out = whole;
        return true;
    case 'K':
    case 'k':
        unit = UINT64_C(1) << 10;
        break;
    case 'M':
    case 'm':
        unit = UINT64_C(1) << 20;
        break;
    case 'G':
    case 'g':
        unit = UINT64_C(1) << 30;
        break;
    default:
        return false;
    }
    if (s[1] != '\0' || !lv_mul_u64(whole, unit, &whole) ||
        !lv_add_u64(whole, fraction * unit / fraction_scale, &whole))
        return false;
    *out = whole;
    return true;
}
