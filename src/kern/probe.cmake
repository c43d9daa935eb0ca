# Raw figures: sources for src/kern/CMakeLists.txt, paths relative to src/kern.
set(LV_KERN_PROBE_SOURCES probe.c)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  # gcc 12 would copy the sums to the stack in each round, for their use behind the loop: that is no peak.
  set(LV_PROBE_KEEP "$<$<C_COMPILER_ID:GNU>:-fno-tree-pre>")
  list(APPEND LV_KERN_PROBE_SOURCES x86/probe_avx2.c x86/probe_avxvnni.c x86/probe_avx512.c)
  set_source_files_properties(x86/probe_avx2.c PROPERTIES COMPILE_OPTIONS "-O3;-mavx2;-mfma;${LV_PROBE_KEEP}")
  set_source_files_properties(x86/probe_avxvnni.c PROPERTIES COMPILE_OPTIONS "-O3;-mavx2;-mavxvnni;${LV_PROBE_KEEP}")
  set_source_files_properties(x86/probe_avx512.c PROPERTIES COMPILE_OPTIONS
    "-O3;-mavx512f;-mavx512bw;-mavx512vl;-mavx512vnni;-mprefer-vector-width=512;${LV_PROBE_KEEP}")
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  list(APPEND LV_KERN_PROBE_SOURCES probe_arm.c probe_arm_dotprod.c)
  set_source_files_properties(probe_arm.c PROPERTIES COMPILE_OPTIONS "-O3")
  set_source_files_properties(probe_arm_dotprod.c PROPERTIES COMPILE_OPTIONS "-O3;-march=armv8.2-a+dotprod")
endif()
