#include "kern/ref/exp.h"
#include "kern/ref/reduce.h"
#include "kern/vec.h"

float lv_softmax_ref(float *s, uint32_t n)
{
    float m = -INFINITY, lane[16] = { 0 };

    for (uint32_t i = 0; i < n; i++)
        m = s[i] > m ? s[i] : m; /* NaN is passed over here and shows in its own place and in the sum */
    for (uint32_t i = 0; i < n; i++) {
        s[i] = lv_exp(s[i] - m);
        lane[i % 16] += s[i];
    }
    return 1.0f / lv_reduce16(lane);
}
