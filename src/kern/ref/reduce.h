/* The one order in which 16 lanes become one float. */
#ifndef LV_KERN_REF_REDUCE_H
#define LV_KERN_REF_REDUCE_H

/* ((l + l+8) + (l+4 + l+12)) ...: the tree that halving a vector register gives. */
static inline float lv_reduce16(const float lane[16])
{
    float a[8], b[4];

    for (int l = 0; l < 8; l++)
        a[l] = lane[l] + lane[l + 8];
    for (int l = 0; l < 4; l++)
        b[l] = a[l] + a[l + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
}

#endif
