# Cross build for 64-bit Arm Linux with the gcc of Debian and Ubuntu (gcc-aarch64-linux-gnu). Libraries, where a
# target needs them, are those of the arm64 architecture of the distribution (multiarch), never the host's.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig)

# Programs of the build run under the user mode emulator where it is installed.
find_program(LEVER_QEMU_ARM64 qemu-aarch64-static)
if(LEVER_QEMU_ARM64)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${LEVER_QEMU_ARM64} -L /usr/aarch64-linux-gnu)
endif()
