#!/usr/bin/env python3
"""Real models through the command line: equal ids under every budget, and the budget held.

usage: real_models.py LEVER equal|budget

budget runs inside a memory cgroup of budget + 16 MiB, the page cache of the run included; where none can be made it
checks resident memory alone and then counts as skipped. Exit 77 without models.
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
    """A memory cgroup, version 1 or 2, for one command. Unusable where none can be made: then reason says why."""

    V1 = {"limit": "memory.limit_in_bytes", "peak": "memory.max_usage_in_bytes", "oom": "memory.oom_control"}
    V2 = {"limit": "memory.max", "peak": "memory.peak", "oom": "memory.events"}

    def __init__(self, limit):
        v1 = os.path.isdir("/sys/fs/cgroup/memory")
        self.name, self.v1, self.reason = self.V1 if v1 else self.V2, v1, None
        self.path = os.path.join("/sys/fs/cgroup/memory" if v1 else "/sys/fs/cgroup", "lever-test-%d" % os.getpid())
        try:
            os.mkdir(self.path)
            with open(os.path.join(self.path, self.name["limit"]), "w") as f:
                f.write(str(limit))
        except OSError as e:
            self.reason = "no memory cgroup: %s" % e
            self.remove()

    def enter(self):
        if not self.reason:
            with open(os.path.join(self.path, "cgroup.procs"), "w") as f:
                f.write(str(os.getpid()))

    def count(self, file, key=None):
        """A file's number, or that of a line "key number". None: this kernel does not tell."""
        try:
            with open(os.path.join(self.path, file)) as f:
                rows = [line.split() for line in f]
        except FileNotFoundError:
            return None
        found = [row[-1] for row in rows if row and (key is None or row[0] == key)]
        return int(found[0]) if found else None

    def figures(self):
        """peak: bytes; pushed: how often the limit was in the way; oom_kill: processes killed."""
        return {"peak": self.count(self.name["peak"]), "oom_kill": self.count(self.name["oom"], "oom_kill"),
                "pushed": self.count("memory.failcnt") if self.v1 else self.count("memory.events", "max")}

    def remove(self):
        if os.path.isdir(self.path):
            os.rmdir(self.path)


def drop_cache(*files):
    """What is read of them is charged to who reads it next."""
    for name in files:
        fd = os.open(name, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def run(lever, *args, group=None):
    p = subprocess.run([lever, "run", "--json", *args], capture_output=True, text=True, timeout=300,
                       preexec_fn=group.enter if group else None)
    if p.returncode != 0:
        sys.exit("FAIL exit %d: lever run %s\n%s%s" % (p.returncode, " ".join(args), p.stderr,
                                                      group.figures() if group and not group.reason else ""))
    return json.loads(p.stdout)


def lever_json(lever, *args):
    return json.loads(subprocess.run([lever, *args, "--json"], capture_output=True, text=True, check=True).stdout)


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
                      ["-md", SMOL, "--speculation", "tree", "--memory", "230M"],
                      ["--memory", "64M", "-t", "2"], ["--memory", "80M", "--slot", "1M"],
                      ["--memory", "72M", "--ring", "4M", "--slot", "512K", "--reader", "buffered"],
                      ["--cpu", "avx2", "--memory", "64M"]):
            if "avx2" in extra and "avx512" not in want["kernels"]:
                continue
            same(want, run(lever, *base, *extra), "smol " + " ".join(sampling + extra))
    base = ["-m", GEMMA, "-p", "The sea was calm when", "-n", "24", "-c", "256"]
    same(run(lever, *base, "-t", "1"), run(lever, *base, "-t", "2"), "gemma -t 2")
    return 0


def kv_bytes(lever, model, n_ctx):
    """K and V of all positions at 16 bits."""
    info = lever_json(lever, "info", "-m", model)
    return info["n_layer"] * 2 * info["n_head_kv"] * info["head_dim"] * n_ctx * 2


def rest(lever, got, size, n_ctx, draft):
    """Memory beyond pinned weights, ring, draft and KV, by the plan's items; the buffers beside the KV belong to it."""
    plan = lever_json(lever, "plan", "-m", TARGET, *(["-md", DRAFT] if draft else []), "--memory", "%dM" % size,
                      "-c", str(n_ctx), "--sidecar", "off")
    of_rest = ("code, tables, tokenizer", "target KV cache and buffers", "draft KV cache and buffers")
    known = sum(i["bytes"] for i in plan["items"] if i["name"] not in of_rest)
    if len(plan["items"]) < 5 or known < plan["pinned_bytes"] + plan["ring"]["bytes"]:
        sys.exit("FAIL the plan's items have other names than this test knows: %s" % plan["items"])
    known += kv_bytes(lever, TARGET, n_ctx) + (kv_bytes(lever, DRAFT, n_ctx) if draft else 0)
    return got["memory"]["peak_rss"] - known, plan["planned"] - known


def budget(lever):
    base = ["-m", TARGET, "--chat", PROMPT, "-n", "24", "-c", "256", "--sidecar", "off"]
    want = run(lever, *base)
    reason = None
    for size, draft in ((768, True), (640, False), (512, False), (192, False)):
        limit = (size + 16) * MIB
        what = "1.5B --memory %dM%s" % (size, " with draft" if draft else "")
        group = Cgroup(limit)
        drop_cache(TARGET, DRAFT)
        try:
            got = run(lever, *base, *(["-md", DRAFT] if draft else []), "--memory", "%dM" % size, group=group)
            used = None if group.reason else group.figures()
        finally:
            group.remove()
        same(want, got, what)
        beyond, planned = rest(lever, got, size, 256, draft)
        print("  beyond draft, pinned, ring and KV: %.1f MiB (planned for: %.1f)" % (beyond / MIB, planned / MIB))
        if got["memory"]["peak_rss"] > size * MIB or got["memory"]["budget"] != size * MIB:
            sys.exit("FAIL %s: %s" % (what, got["memory"]))
        if beyond > 64 * MIB:
            sys.exit("FAIL %s: %.1f MiB beyond draft, pinned, ring and KV; expected at most 64" % (what, beyond / MIB))
        if got["bytes"]["streamed"] == 0 or (draft and got["speculation"]["accepted"] == 0):
            sys.exit("FAIL %s: nothing streamed or accepted: %s %s" % (what, got["bytes"], got["speculation"]))
        reason = reason or group.reason
        if not used:
            continue
        print("  cgroup of %d MiB: peak %s bytes, at the limit %s times" % (limit // MIB, used["peak"], used["pushed"]))
        # The kernel never lets a group have more than its limit. That ours was never in the way is what shows that the
        # page cache stays small; where reads are buffered it fills what there is.
        if used["oom_kill"] or (used["peak"] or 0) > limit or (used["pushed"] and got["reader"] == "direct"):
            sys.exit("FAIL %s: limit %d, %s" % (what, limit, used))
    p = subprocess.run([lever, "run", *base, "--memory", "48M"], capture_output=True, text=True)
    if p.returncode != 4 or "at least" not in p.stderr:
        sys.exit("FAIL 48M: exit %d, expected 4; %s" % (p.returncode, p.stderr))
    if reason:
        print("%s; budgets were checked by resident memory alone" % reason)
        return 77
    return 0


def main(lever, what):
    need = {"equal": [SMOL, GEMMA], "budget": [TARGET, DRAFT]}[what]
    missing = [f for f in need if not os.path.exists(f)]
    if missing:
        print("skip: no model file %s" % missing[0])
        return 77
    return {"equal": equal, "budget": budget}[what](lever)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
