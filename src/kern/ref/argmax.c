#include "kern/vec.h"

uint32_t lv_argmax_ref(const float *x, uint32_t n, float *value)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < n; i++) {
        const bool best_nan = x[best] != x[best];
        if (x[i] > x[best] || (best_nan && x[i] == x[i]))
            best = i;
    }
    *value = x[best];
    return best;
}
