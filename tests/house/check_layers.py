#!/usr/bin/env python3
"""Includes go one way: names both modules when one includes another that lies above it.

usage: check_layers.py REPOSITORY
"""
import re
import sys
from pathlib import Path

# module: what it may include besides itself and base
ALLOWED = {
    "base": set(),
    "cpu": set(),
    "gguf": set(),
    "tok": {"gguf"},
    "io": set(),
    "kern": {"cpu", "gguf"},  # gguf: quant.h alone
    "tree": set(),
    "cost": set(),
    "map": {"cost"},
    "draft": {"tree", "cost"},
    "prune": {"gguf", "kern"},  # gguf: quant.h alone
    "sim": {"tree", "cost", "draft", "prune"},
    "model": {"gguf", "kern", "tree"},
    "accel": {"gguf", "kern", "model"},
    "engine": {"cpu", "gguf", "tok", "io", "kern", "tree", "cost", "map", "draft", "prune", "sim", "model", "accel"},
}


def main(root):
    bad = 0
    seen = 0
    for path in sorted((root / "src").rglob("*.[ch]")):
        module = path.relative_to(root / "src").parts[0]
        for n, line in enumerate(path.read_text().splitlines(), 1):
            m = re.match(r'\s*#\s*include\s+"([a-z_0-9]+)/([^"]+)"', line)
            if not m or m[1] not in ALLOWED:
                continue
            seen += 1
            to = m[1]
            if to in (module, "base") or to in ALLOWED[module]:
                if not (module == "kern" and to == "gguf" and m[2] != "quant.h"):
                    continue
            print(f"{path.relative_to(root)}:{n}: {module} may not include {to} ({m[1]}/{m[2]})")
            bad += 1
    for path in sorted((root / "cli").rglob("*.[ch]")):
        for n, line in enumerate(path.read_text().splitlines(), 1):
            m = re.match(r'\s*#\s*include\s+"([a-z_0-9]+)/', line)
            if m and m[1] in ALLOWED:
                print(f"{path.relative_to(root)}:{n}: the command line sees lever.h only, not {m[1]}")
                bad += 1
    print(f"{seen} includes between modules, {bad} the wrong way")
    return 1 if bad or seen < 50 else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
