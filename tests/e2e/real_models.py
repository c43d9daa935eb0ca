#!/usr/bin/env python3
"""Real models through the command line: equal ids under every budget, and the budget held.

usage: real_models.py LEVER equal|budget

Runs inside a memory cgroup of budget + 16 MiB where the system lets us make one. Exit 77 without models.
"""
import json
import os
import subprocess
import sys

MIB = 1 << 20
DIR = os.environ.get("LEVER_MODELS") or os.path.expanduser("~/.cache/lever/models")
SMOL = os.path.join(DIR, "smollm2-135m-instruct-q4_1.gguf")
TARGET = os.path.join(DIR, "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf")
DRAFT = os.path.join(DIR, "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
GEMMA = os.path.join(DIR, "gemma-3-270m-q4_k_m.gguf")
PROMPT = "Write a C function that returns the greatest common divisor of two numbers."


class Cgroup:
    """A memory cgroup for one command; does nothing when none can be made."""

    def __init__(self, limit):
        v1 = "/sys/fs/cgroup/memory"
        root, knob = (v1, "memory.limit_in_bytes") if os.path.isdir(v1) else ("/sys/fs/cgroup", "memory.max")
        self.path = os.path.join(root, "lever-test-%d" % os.getpid())
        try:
            os.mkdir(self.path)
            with open(os.path.join(self.path, knob), "w") as f:
                f.write(str(limit))
        except OSError as e:
            print("no memory cgroup: %s" % e)
            if os.path.isdir(self.path):
                os.rmdir(self.path)
            self.path = None

    def enter(self):
        if self.path:
            with open(os.path.join(self.path, "cgroup.procs"), "w") as f:
                f.write(str(os.getpid()))

    def remove(self):
        if self.path:
            os.rmdir(self.path)


def run(lever, *args, limit=None):
    group = Cgroup(limit) if limit else None
    try:
        p = subprocess.run([lever, "run", "--json", *args], capture_output=True, text=True,
                           preexec_fn=group.enter if group else None)
    finally:
        if group:
            group.remove()
    if p.returncode != 0:
        sys.exit("FAIL exit %d: lever run %s\n%s" % (p.returncode, " ".join(args), p.stderr))
    return json.loads(p.stdout)


def same(a, b, what):
    if a["ids"] != b["ids"]:
        sys.exit("FAIL %s\n  %s\n  %s" % (what, a["ids"], b["ids"]))
    print("equal: %s (%s, drafted %d, accepted %d, streamed %d, peak %d MiB)" % (
        what, b["speculation"]["mode"], b["speculation"]["drafted"], b["speculation"]["accepted"],
        b["bytes"]["streamed"], b["memory"]["peak_rss"] // MIB))


def equal(lever):
    for sampling in (["--temp", "0"], ["--temp", "0.8", "--seed", "3"]):
        base = ["-m", SMOL, "--chat", PROMPT, "-n", "48", "-c", "256", *sampling]
        want = run(lever, *base, "-t", "1")
        for extra in (["-t", "2"], ["-md", SMOL], ["-md", SMOL, "--speculation", "tree"],
                      ["-md", SMOL, "--speculation", "tree", "--memory", "230M"], ["--memory", "64M", "-t", "2"], ["--memory", "80M", "--slot", "1M"],
                      ["--memory", "72M", "--ring", "4M", "--slot", "512K", "--reader", "buffered"],
                      ["--cpu", "avx2", "--memory", "64M"]):
            if "avx2" in extra and "avx512" not in want["kernels"]:
                continue
            same(want, run(lever, *base, *extra), "smol " + " ".join(sampling + extra))
    base = ["-m", GEMMA, "-p", "The sea was calm when", "-n", "24", "-c", "256"]
    same(run(lever, *base, "-t", "1"), run(lever, *base, "-t", "2"), "gemma -t 2")


def budget(lever):
    base = ["-m", TARGET, "--chat", PROMPT, "-n", "24"]
    want = run(lever, *base)
    for size, extra in ((768, ["-md", DRAFT]), (640, []), (512, []), (192, [])):
        got = run(lever, *base, *extra, "--memory", "%dM" % size, limit=(size + 16) * MIB)
        same(want, got, "1.5B --memory %dM %s" % (size, " ".join(extra)))
        assert got["memory"]["peak_rss"] <= size * MIB, got["memory"]
        assert got["bytes"]["streamed"] > 0, got["bytes"]
        assert not extra or got["speculation"]["accepted"] > 0, got["speculation"]
    p = subprocess.run([lever, "run", *base, "--memory", "48M"], capture_output=True, text=True)
    if p.returncode != 4 or "at least" not in p.stderr:
        sys.exit("FAIL 48M: exit %d, expected 4; %s" % (p.returncode, p.stderr))


def main(lever, what):
    need = {"equal": [SMOL, GEMMA], "budget": [TARGET, DRAFT]}[what]
    missing = [f for f in need if not os.path.exists(f)]
    if missing:
        print("skip: no model file %s" % missing[0])
        return 77
    {"equal": equal, "budget": budget}[what](lever)
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
