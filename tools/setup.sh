# Sourced by ./demo and ./check: packages, building, messages. Run from the root of the tree.

models_dir=${LEVER_MODELS:-$HOME/.cache/lever/models}
mkdir -p build

say() { printf '== %s\n' "$*" >&2; } # stdout is for the program's own output
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# quietly LOG COMMAND...: runs it with its output in build/LOG; shows the end of it on failure.
quietly() {
    local log=build/$1
    shift
    if ! "$@" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        die "\"$*\" failed; all of its output is in $log"
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "root or sudo is needed for: $*"
    fi
}

# The Debian packages that are missing, found by what they provide, so that tools from elsewhere count too.
missing_packages() {
    command -v cc >/dev/null && command -v make >/dev/null || echo build-essential
    command -v cmake >/dev/null || echo cmake
    command -v ninja >/dev/null || echo ninja-build
    command -v python3 >/dev/null || echo python3
    python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
    command -v pkg-config >/dev/null || echo pkg-config
    pkg-config --exists jansson 2>/dev/null || echo libjansson-dev
    pkg-config --exists libpcre2-8 2>/dev/null || echo libpcre2-dev
    pkg-config --exists libutf8proc 2>/dev/null || echo libutf8proc-dev
    pkg-config --exists liburing 2>/dev/null || echo liburing-dev
    pkg-config --exists cmocka 2>/dev/null || echo libcmocka-dev
    # only x86 tests use it
    [ "$(uname -m)" != x86_64 ] || echo '#include <simde/x86/avx512.h>' | cc -E -x c - >/dev/null 2>&1 || echo libsimde-dev
}

# Packages that only some tests use: without them those are skipped. An OpenCL driver that makes a device of the CPU.
optional_packages() {
    ls /etc/OpenCL/vendors/*.icd >/dev/null 2>&1 || echo pocl-opencl-icd ocl-icd-libopencl1
}

# install_optional: never fails.
install_optional() {
    local missing
    missing=$(optional_packages | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    say "installing $missing(optional)"
    # shellcheck disable=SC2086  # a list of words
    { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        $missing; } >build/packages-optional.log 2>&1 ||
        say "not installed: $missing(build/packages-optional.log says why); their tests will be skipped"
}

install_packages() {
    local missing
    missing=$(missing_packages | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || die "please install what these Debian packages hold: $missing"
    say "installing $missing"
    quietly packages.log as_root apt-get update -q
    # shellcheck disable=SC2086  # a list of words
    quietly packages.log as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
}

# build PRESET [cmake --build arguments]
build() {
    local preset=$1
    shift
    say "building build/$preset"
    quietly "configure-$preset.log" cmake --preset "$preset"
    quietly "build-$preset.log" cmake --build --preset "$preset" "$@"
}
