#!/bin/sh
# The kernel tests on arm64, under an emulator: cross-builds them into a folder and runs them as CPUs that have NEON
# only, dot products, and matrix products. Exit code 77, with the reason, where the tools are not installed.
#
# usage: run_arm64.sh REPOSITORY BUILD_FOLDER [-G GENERATOR]
set -eu
root=$1
build=$2
shift 2

skip() {
    echo "skipped: $1"
    exit 77
}

command -v aarch64-linux-gnu-gcc >/dev/null || skip "no aarch64-linux-gnu-gcc (package gcc-aarch64-linux-gnu)"
command -v qemu-aarch64-static >/dev/null || skip "no qemu-aarch64-static (package qemu-user-static)"
mkdir -p "$build"
echo 'int main(void) { return 0; }' >"$build/probe.c"
aarch64-linux-gnu-gcc -static "$build/probe.c" -o "$build/probe" 2>/dev/null ||
    skip "aarch64-linux-gnu-gcc links no static program (package libc6-dev-arm64-cross)"
for cpu in cortex-a53 cortex-a76 max; do
    qemu-aarch64-static -cpu $cpu "$build/probe" || skip "qemu-aarch64-static does not run as $cpu"
done

cmake -S "$root/tests/kern/arm64" -B "$build" "-DCMAKE_TOOLCHAIN_FILE=$root/cmake/toolchain-arm64.cmake" "$@" \
    >"$build/configure.log" 2>&1 || { cat "$build/configure.log"; exit 1; }
cmake --build "$build" --parallel 2 >"$build/build.log" 2>&1 || { cat "$build/build.log"; exit 1; }

bad=0
# run CPU PROGRAM LINE: the program passes as this CPU and says which levels it ran.
run() {
    if ! qemu-aarch64-static -cpu "$1" "$build/bin/$2" >"$build/out.log" 2>&1; then
        tail -n 30 "$build/out.log"
        echo "FAILED: $2 as $1"
        bad=1
    elif ! grep -q "$3\$" "$build/out.log"; then
        grep level "$build/out.log" || true
        echo "FAILED: $2 as $1 ran other levels than expected: $3"
        bad=1
    else
        echo "$1 $2: $(grep "$3\$" "$build/out.log"); $(tail -n 1 "$build/out.log")"
    fi
}
run_all() {
    run "$1" test_cpu "0 of 2 tests failed"
    run "$1" test_gemm "levels: $2"
    run "$1" test_pack "levels: $2"
    run "$1" test_kern_vec "level neon"
}
run_all cortex-a53 "ref; neon"
run_all cortex-a76 "ref; neon; dotprod"
run_all max "ref; neon; dotprod; i8mm"
exit $bad
