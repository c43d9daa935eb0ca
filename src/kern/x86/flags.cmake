# Flags of the x86 levels, for the library and for the tests that compile a kernel again with emulated instructions.
set(LV_KERN_AVX2_FLAGS "-O3;-mavx2;-mfma;-mf16c")
set(LV_KERN_AVX512_FLAGS "${LV_KERN_AVX2_FLAGS};-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-mprefer-vector-width=512")
set(LV_KERN_PLAIN_FLAGS "-fno-sanitize=all;$<$<C_COMPILER_ID:GNU>:-fno-var-tracking-assignments>")
