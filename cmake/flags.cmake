# Flags of all our code. Exactness: no contraction of a * b + c behind our back and no fast-math,
# fused multiply-adds are written out. -fno-math-errno only lets sqrtf be one instruction.
add_compile_options(-Wall -Wextra -Wshadow -Wvla -Wconversion -Wno-sign-conversion
  -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
  -ffp-contract=off -fno-math-errno -fno-strict-aliasing -g)
if(LEVER_WERROR)
  add_compile_options(-Werror)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O2")
if(LEVER_SANITIZE)
  add_compile_options(-fsanitize=${LEVER_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${LEVER_SANITIZE})
else()
  # Hardening after the OpenSSF compiler guide.
  add_compile_options(-fstack-protector-strong -fstack-clash-protection)
  if(CMAKE_BUILD_TYPE STREQUAL "Release")
    add_compile_definitions(_FORTIFY_SOURCE=2)
  endif()
  add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack)
endif()
add_compile_definitions(_DEFAULT_SOURCE) # POSIX 2008 in strict C17
find_package(Threads REQUIRED)
