# arm64 kernels: sources for src/kern/CMakeLists.txt, paths relative to src/kern. NEON is part of the base architecture
# and needs no flags.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  set(LV_KERN_ARM arm/gemm_float_neon.c arm/gemm_int_neon.c arm/gemm_int_dotprod.c arm/gemm_int_i8mm.c)
  set_source_files_properties(${LV_KERN_ARM} PROPERTIES COMPILE_OPTIONS "-O3")
  set_property(SOURCE arm/gemm_int_dotprod.c APPEND PROPERTY COMPILE_OPTIONS "-march=armv8.2-a+dotprod")
  set_property(SOURCE arm/gemm_int_i8mm.c APPEND PROPERTY COMPILE_OPTIONS "-march=armv8.2-a+dotprod+i8mm")
  # Hundreds of inlined tiles: instrumented they take minutes to compile. The guard pages of tests/kern watch them.
  # gcc 12 schedules their loads so early that accumulators leave their registers: without, a third to half the spills.
  set_property(SOURCE arm/gemm_int_neon.c arm/gemm_int_dotprod.c arm/gemm_int_i8mm.c APPEND PROPERTY COMPILE_OPTIONS
    "-fno-sanitize=all;$<$<C_COMPILER_ID:GNU>:-fno-var-tracking-assignments;-fno-schedule-insns>")
  list(APPEND LV_KERN_SOURCES ${LV_KERN_ARM})
  foreach(op quantize norm glu softmax attention argmax)
    list(APPEND LV_KERN_SOURCES arm/${op}_neon.c)
  endforeach()
endif()
