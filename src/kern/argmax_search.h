/* The lowest index of the largest value, for levels that have a fast maximum. Who includes this has defined CHUNK (values
 * read twice when they hold a new maximum) and max_of(), the maximum of x[n] with NaN passed over, -INFINITY if nothing
 * is left. */
#ifndef LV_KERN_ARGMAX_SEARCH_H
#define LV_KERN_ARGMAX_SEARCH_H

#include <math.h>
#include <stdint.h>

static inline uint32_t argmax_search(const float *x, uint32_t n, float *value)
{
    float best = -INFINITY;
    uint32_t i = 0; /* where the first value equal to best must be searched */

    for (uint32_t c = 0; c < n; c += CHUNK) {
        const float m = max_of(x + c, n - c < CHUNK ? n - c : CHUNK);
        if (m > best) {
            best = m;
            i = c;
        }
    }
    while (i < n && x[i] != best)
        i++;
    if (i == n) /* all NaN */
        i = 0;
    *value = x[i];
    return i;
}

#endif
