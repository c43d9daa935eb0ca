# Vector kernels: sources for src/kern/CMakeLists.txt, paths relative to src/kern.
set(LV_KERN_VEC_SOURCES vec.c
  ref/quantize.c ref/norm.c ref/glu.c ref/softmax.c ref/attention.c ref/argmax.c)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  foreach(op quantize norm glu softmax attention argmax)
    list(APPEND LV_KERN_VEC_SOURCES x86/${op}_avx2.c x86/${op}_avx512.c)
    set_source_files_properties(x86/${op}_avx2.c PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
    set_source_files_properties(x86/${op}_avx512.c PROPERTIES COMPILE_OPTIONS
      "-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mfma;-mf16c")
  endforeach()
endif()
