# Hosts of another architecture run the arm64 kernels under an emulator; arm64 hosts have them in the other tests.
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  add_test(NAME kern_arm64
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/run_arm64.sh ${PROJECT_SOURCE_DIR} ${CMAKE_BINARY_DIR}/arm64 -G ${CMAKE_GENERATOR})
  set_tests_properties(kern_arm64 PROPERTIES LABELS long SKIP_RETURN_CODE 77 TIMEOUT 600)
endif()
