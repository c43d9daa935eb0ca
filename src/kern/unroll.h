/* LV_UNROLL before a loop with a constant count: unroll it wholly, so that arrays of vectors indexed by
 * its counter live in registers (gcc at -O2 would keep such a loop, and the array in memory). */
#ifndef LV_KERN_UNROLL_H
#define LV_KERN_UNROLL_H

#if defined(__clang__)
#define LV_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LV_UNROLL _Pragma("GCC unroll 16")
#endif

#endif
