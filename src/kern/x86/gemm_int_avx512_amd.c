/* The kernels of gemm_int_avx512.c for AMD's cores. These take weights from memory fastest when lines are asked for early and into
 * the second cache: the buffers of the first one are few, and requests that wait in them leave none to the loads. Intel's are
 * slower that way (docs/SPEED.md). The results are the same. */
#define PREFETCH   "prefetcht1"
#define AHEAD      8192
#define AHEAD_K    8192
#define NAME(name) lv_gemm_##name##_avx512_amd

#include "kern/x86/gemm_int_avx512.c"
