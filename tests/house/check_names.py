#!/usr/bin/env python3
"""Global names of a library begin with lv_ or lever_.

usage: check_names.py LIBRARY ...
"""
import subprocess
import sys


def main(libs):
    bad = 0
    seen = 0
    for lib in libs:
        for line in subprocess.run(["nm", "-g", "--defined-only", lib], capture_output=True, text=True,
                                   check=True).stdout.splitlines():
            part = line.split()
            if len(part) != 3 or part[2].startswith(("__asan", "__odr", "__ubsan", "__tsan")):
                continue
            seen += 1
            if not part[2].startswith(("lv_", "lever_")):
                print(f"{lib}: {part[2]} is global, but begins with neither lv_ nor lever_")
                bad += 1
    print(f"{seen} global names, {bad} badly named")
    return 1 if bad or not seen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
