#!/usr/bin/env python3
"""The simulator against this machine: predicted and measured tokens a second, cell by cell.

usage: validate_sim.py LEVER OUT.csv [--case S|L] [--memory LIST] [--modes LIST] [--tasks LIST] [-n N] [--reps N] [--lock FILE]
       validate_sim.py --summary OUT.csv

A cell is a memory size and a mode. The modes of a size are measured in turns by `lever bench decode` and predicted by `lever plan` for the same memory, mode and
tasks, with a profile of this machine that is taken just before (`lever probe`) and the rate of direct reads that the bench took
in the same minute. Look at `load`: processes that wanted to run beside, one minute's average before the cell; a prediction
is for a quiet machine. Repetitions go round all sizes before any has its second one. Rows are written after each size; a run that
was broken off goes on where it ended, as long as the commit is the same. --lock FILE is held during each measurement, which
keeps other users of the machine out.

Columns: when, commit, cpu, case, memory, mode, k, tasks, n, rep, load, mac (multiply-adds a second of a matmul of 64
rows), raw (bytes/s of direct reads; 0: nothing is streamed), measured and
predicted tok/s, predicted / measured, tokens a round measured and predicted.
"""
import argparse
import contextlib
import csv
import fcntl
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

DIR = os.environ.get("LEVER_MODELS") or os.path.expanduser("~/.cache/lever/models")
DRAFT = os.path.join(DIR, "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
S = os.path.join(DIR, "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf")
L = os.environ.get("LEVER_L", os.path.join(DIR, "L.gguf"))
MEMORY = {"S": "512M,640M,768M,1024M,1536M,all", "L": "1024M,1280M,1536M,2048M,3072M,4096M"}
FIELDS = ["when", "commit", "cpu", "case", "memory", "mode", "k", "tasks", "n", "rep", "load", "mac", "raw", "measured", "predicted", "ratio",
          "tokens_round_measured", "tokens_round_predicted"]
CONTEXT = "640"  # of a plan: half of it is what a row attends to; the prompts have 100 to 500 tokens


def run(cmd):
    p = subprocess.run(cmd, capture_output=True, text=True)
    if p.returncode:
        raise RuntimeError("%s: exit code %d: %s" % (" ".join(cmd[:3]), p.returncode, p.stderr.strip()[-400:]))
    return json.loads(p.stdout)


@contextlib.contextmanager
def locked(path):
    if not path:
        yield
        return
    with open(path, "a") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def memory_args(memory):
    return [] if memory == "all" else ["--memory", memory]


def harmonic(values):
    return len(values) / sum(1 / v for v in values)


def measure(a, target, memory, modes, k):
    cmd = [a.lever, "bench", "decode", "-m", target, "-md", DRAFT, "--modes", ",".join(modes), "--tasks", a.tasks, "-n", str(a.n), "--json"]
    cmd += ["--spec-draft-n-max", str(k)] if k else []
    if target == L:
        cmd += ["--reference", S]
    return run(cmd + memory_args(memory))


def plan(a, target, memory, mode, profile, raw, k):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(dict(profile, flash_rate=raw or profile["flash_rate"]), f)
        f.flush()
        cmd = [a.lever, "plan", "-m", target, "-md", DRAFT, "-c", CONTEXT, "-n", str(a.n), "--modes", mode, "--profile", f.name, "--json"]
        cmd += ["--spec-draft-n-max", str(k)] if k else []
        return run(cmd + memory_args(memory))["modes"][mode]


def predict(a, target, memory, mode, profile, raw, k):
    tasks = plan(a, target, memory, mode, profile, raw, k)["tasks"]
    names = a.tasks.split(",")
    return harmonic([tasks[t]["tok_per_s"] for t in names]), harmonic([tasks[t]["tokens_per_round"] for t in names])


def machine():
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "?")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True,
                            cwd=os.path.dirname(os.path.abspath(__file__))).stdout.strip()
    return commit, "%s x%d" % (cpu, len(os.sched_getaffinity(0)))


def cells(a, target, memory, modes, rep, commit, cpu):
    """Rows of one memory size: all its modes in turns, a chain of the length that the simulator finds best."""
    with locked(a.lock):
        load = os.getloadavg()[0]
        profile = run([a.lever, "probe", DRAFT, "--json", "--no-cache"])
        k = plan(a, target, memory, "chain", profile, 0, 0)["k"] if "chain" in modes else 0
        m = measure(a, target, memory, modes, k)
    raw = m["raw"] or 0
    for mode in modes:
        all_ = m["modes"][mode]["all"]
        predicted, tokens = predict(a, target, memory, mode, profile, raw, k if mode == "chain" else 0)
        yield {"when": time.strftime("%Y-%m-%dT%H:%M"), "commit": commit, "cpu": cpu, "case": a.case, "memory": memory, "mode": mode,
               "k": k if mode == "chain" else 0, "tasks": a.tasks.replace(",", " "), "n": a.n, "rep": rep, "load": "%.1f" % load,
               "mac": "%.3g" % (profile["compute"][-1]["rows"] / profile["compute"][-1]["seconds_per_weight"]), "raw": "%.3g" % raw,
               "measured": "%.3f" % all_["tok_per_s"], "predicted": "%.3f" % predicted,
               "ratio": "%.3f" % (predicted / all_["tok_per_s"]), "tokens_round_measured": "%.2f" % all_["tokens_per_round"],
               "tokens_round_predicted": "%.2f" % tokens}


def read(path):
    if not os.path.exists(path):
        return []
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def summary(path):
    cells = {}
    for r in read(path):
        cells.setdefault((r["commit"], r["case"], r["memory"], r["mode"]), []).append(r)
    print("%-16s %-4s %-7s %-6s %4s %9s %7s %9s %6s" % ("commit", "case", "memory", "mode", "reps", "measured", "spread", "predicted", "ratio"))
    ratios = []
    for key, rows in cells.items():
        m = [float(r["measured"]) for r in rows]
        ratio = statistics.median(float(r["ratio"]) for r in rows)
        ratios.append(ratio)
        print("%-16s %-4s %-7s %-6s %4d %9.2f %6.0f%% %9.2f %6.2f" % (*key, len(rows), statistics.median(m),
              100 * (max(m) - min(m)) / statistics.median(m), statistics.median(float(r["predicted"]) for r in rows), ratio))
    if ratios:
        print("%d of %d cells within 10 %%" % (sum(0.9 <= r <= 1.1 for r in ratios), len(ratios)))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("lever", nargs="?")
    p.add_argument("out", nargs="?")
    p.add_argument("--summary")
    p.add_argument("--case", default="S", choices=["S", "L"])
    p.add_argument("--memory")
    p.add_argument("--modes", default="off,chain,tree,lever")
    p.add_argument("--tasks", default="code,math,chat,qa,rag,summarization,translation")
    p.add_argument("-n", type=int, default=64)
    p.add_argument("--reps", type=int, default=1)
    p.add_argument("--lock")
    a = p.parse_args()
    if a.summary:
        return summary(a.summary)
    if not a.out:
        sys.exit(__doc__)
    target = S if a.case == "S" else L
    for f in (target, DRAFT):
        if not os.path.exists(f):
            sys.exit("%s is missing; tools/fetch_models.py gets it (L: tools/deepen_gguf.py, or LEVER_L)" % f)
    commit, cpu = machine()
    done = {(r["commit"], r["case"], r["memory"], r["mode"], int(r["rep"])) for r in read(a.out)}
    new = not os.path.exists(a.out)
    with open(a.out, "a", newline="") as f:
        out = csv.DictWriter(f, FIELDS)
        if new:
            out.writeheader()
        for rep in range(a.reps):
            for memory in (a.memory or MEMORY[a.case]).split(","):
                modes = [m for m in a.modes.split(",") if (commit, a.case, memory, m, rep) not in done]
                try:
                    for row in cells(a, target, memory, modes, rep, commit, cpu) if modes else ():
                        out.writerow(row)
                        f.flush()
                        print(",".join(str(row[k]) for k in FIELDS), flush=True)
                except RuntimeError as e:
                    print("%s %s: %s" % (a.case, memory, e), file=sys.stderr)


if __name__ == "__main__":
    main()
