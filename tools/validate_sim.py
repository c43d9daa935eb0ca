#!/usr/bin/env python3
"""The simulator against this machine: predicted and measured tokens a second, cell by cell.

usage: validate_sim.py measure LEVER DIR [--case S|L] [--memory LIST] [--modes LIST] [--tasks LIST] [-n N] [--n-off N] [--reps N] [--lock FILE]
       validate_sim.py record LEVER DIR [-n N] [--count N] [--prompts FILE]
       validate_sim.py predict LEVER DIR OUT.csv [--acceptance FILE]
       validate_sim.py summary OUT.csv

A cell is a memory size and a mode. `measure` times the modes of a size in turns (`lever bench decode`) with a profile of this
machine (`lever probe`) taken before and one after, and keeps all of it in DIR, a file for each size; a run that was broken
off goes on with the sizes that have no file. Repetitions go round all sizes before any has its second one. --lock FILE is
held during each measurement, which keeps other users of the machine out.

`predict` asks `lever plan` for the same memory, mode and tasks, on the slower of both profiles. A disk that is shared drifts by a
half within minutes, so its rate is what plain decoding got in the same turns, where that never let the device rest (such a cell of mode
off is therefore no test, and not counted), else that of direct reads before and after. How often the target takes a draft's
token comes from the built-in table, or from one of --acceptance. `record` makes DIR/acceptance.json of the very texts that are
measured, the first of each task, place by place: then what is judged is the simulator, not how far a few texts are from the mean of
many. It runs S with 1 GiB, which gives the same tokens as L and as any memory. With --count 3 -n 96 it makes the built-in table.

Columns: when, commit, cpu, case, memory, mode, k, tasks, n, rep, acceptance, load (processes that wanted to run beside, one minute's
average before the cell; a prediction is for a quiet machine), mac (multiply-adds a second of a matmul of 64 rows), dram and disk
(bytes/s; disk 0: nothing is streamed) and where the latter comes from, measured and predicted tok/s, predicted / measured, tokens a round and seconds of a round,
measured and predicted.
"""
import argparse
import contextlib
import csv
import fcntl
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
DIR = os.environ.get("LEVER_MODELS") or os.path.expanduser("~/.cache/lever/models")
DRAFT = os.path.join(DIR, "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
S = os.path.join(DIR, "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf")
L = os.environ.get("LEVER_L", os.path.join(DIR, "L.gguf"))
MEMORY = {"S": "640M,768M,896M,1024M,1536M,all", "L": "1024M,1280M,1536M,2048M,3072M,4096M"}
FIELDS = ["when", "commit", "cpu", "case", "memory", "mode", "k", "tasks", "n", "rep", "acceptance", "load", "mac", "dram", "disk", "disk_from", "measured",
          "predicted", "ratio", "tokens_round_measured", "tokens_round_predicted", "round_measured", "round_predicted"]
RESTS = 0.02  # share of the time that a device may be idle and still be said never to rest
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


def write(path, what):
    with open(path + ".part", "w") as f:
        json.dump(what, f, indent=1)
    os.rename(path + ".part", path)


def machine():
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "?")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=HERE).stdout.strip()
    return commit, "%s x%d" % (cpu, len(os.sched_getaffinity(0)))


def need(*files):
    for f in files:
        if not os.path.exists(f):
            sys.exit("%s is missing; tools/fetch_models.py gets it; L: name a model that gives the same tokens as S in LEVER_L" % f)


# ---- measure


def probe(lever):
    return run([lever, "probe", DRAFT, "--json", "--no-cache"])


def memory_args(memory):
    return [] if memory == "all" else ["--memory", memory]


def plan(lever, m, mode, profile, n, acceptance=None, k=0):
    """The modes' object of a plan for what was, or will be, measured."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(profile, f)
        f.flush()
        cmd = [lever, "plan", "-m", S if m["case"] == "S" else L, "-md", DRAFT, "-c", CONTEXT, "-n", str(n), "--modes", mode,
               "--profile", f.name, "--json"]
        cmd += ["--spec-draft-n-max", str(k)] if k else []
        cmd += ["--acceptance", acceptance] if acceptance else []
        return run(cmd + memory_args(m["memory"]))["modes"][mode]


def bench(a, m):
    cmd = [a.lever, "bench", "decode", "-m", S if m["case"] == "S" else L, "-md", DRAFT, "--modes", ",".join(m["modes"]), "--tasks", m["tasks"],
           "-n", str(m["n"]), "--n-off", str(a.n_off), "--json"]
    cmd += ["--spec-draft-n-max", str(m["k"])] if m["k"] else []
    cmd += ["--reference", S] if m["case"] == "L" else []
    return run(cmd + memory_args(m["memory"]))


def measure(a):
    target = S if a.case == "S" else L
    need(target, DRAFT)
    os.makedirs(a.dir, exist_ok=True)
    commit, cpu = machine()
    for rep in range(a.reps):
        for memory in (a.memory or MEMORY[a.case]).split(","):
            path = os.path.join(a.dir, "%s-%s-%d.json" % (a.case, memory, rep))
            if os.path.exists(path):
                continue
            m = {"when": time.strftime("%Y-%m-%dT%H:%M"), "commit": commit, "cpu": cpu, "case": a.case, "memory": memory,
                 "modes": a.modes.split(","), "tasks": a.tasks, "n": a.n, "rep": rep, "k": 0}
            try:
                with locked(a.lock):
                    m["load"] = os.getloadavg()[0]
                    before = probe(a.lever)
                    # a plan without a draft has no chain
                    m["k"] = plan(a.lever, m, "chain", before, a.n).get("k", 0) if "chain" in m["modes"] else 0
                    m["bench"] = bench(a, m)
                    m["profiles"] = [before, probe(a.lever)]
                write(path, m)
                print("%s %s: %s" % (a.case, memory, {k: round(v["all"]["tok_per_s"], 2) for k, v in m["bench"]["modes"].items()}), flush=True)
            except RuntimeError as e:
                print("%s %s: %s" % (a.case, memory, e), file=sys.stderr)


# ---- the acceptance of the measured texts


def record(a):
    need(S, DRAFT)
    prompts = {}
    with open(a.prompts) as f:
        for line in f:
            p = json.loads(line)
            prompts.setdefault(p["task"], []).append(p)
    os.makedirs(a.dir, exist_ok=True)
    pairs, modes = [], ("tree",) if a.count > 1 else ("tree", "chain")
    for i, task, p in [(i, task, p) for task, all_ in prompts.items() for i, p in enumerate(all_[:a.count])]:
        text = p["messages"][-1]["content"] if "messages" in p else p["prompt"]
        traces = [os.path.join(a.dir, "%s-%d-%s.jsonl" % (task, i, mode)) for mode in modes]
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
            f.write(text)
            f.flush()
            for mode, trace in zip(modes, traces):
                cmd = [a.lever, "run", "-m", S, "-md", DRAFT, "--memory", "1G", "--speculation", mode, "--spec-draft-n-max", "31", "-n", str(a.n),
                       "--trace", trace, "--json", "--learned", os.path.join(a.dir, "learned")]
                run(cmd + (["--chat", text] if "messages" in p else ["-f", f.name]))
        pairs.append("%s=%s" % (task, ",".join(traces)))
    how = ("%s with %s as draft, greedy; the first %d prompts of each task of prompts/prompts.jsonl, %d tokens each: "
           "tools/validate_sim.py record LEVER DIR --count %d -n %d" % (os.path.basename(S), os.path.basename(DRAFT), a.count, a.n, a.count, a.n))
    text = ["--text"] if a.count == 1 else []
    subprocess.run([sys.executable, os.path.join(HERE, "fit_acceptance.py"), "--how", how, *text, os.path.join(a.dir, "acceptance.json"),
                    "coder-1.5b-0.5b" if a.count > 1 else "the measured texts"] + pairs, check=True)


# ---- predict


def harmonic(values):
    return len(values) / sum(1 / v for v in values)


def disk_rate(m):
    """(bytes/s, where it comes from); 0: nothing is read."""
    off = m["bench"]["modes"].get("off", {}).get("all")
    if off and off["bytes_per_round"] and off["idle_share"] < RESTS:
        return off["bytes_per_round"] * off["rounds"] / off["seconds"], "off"
    return (m["bench"]["raw"], "direct reads") if m["bench"]["raw"] else (0, "")


def between(profiles, rate):
    """The machine as the slower of two profiles has it: memory that others use is fast for moments, and a profile takes no longer
    than such a moment. Its device is as fast as `rate` if that is not 0."""
    a, b = profiles
    out = dict(a)
    for key in ("dram", "flash_rate", "peak_mac", "fma"):
        out[key] = min(a[key], b[key])
    out["compute"] = [dict(x, seconds_per_weight=max(x["seconds_per_weight"], y["seconds_per_weight"]))
                      for x, y in zip(a["compute"], b["compute"])]
    out["flash_rate"] = rate or out["flash_rate"]
    return out


def rows(a, m):
    """Rows of one kept file, as FIELDS."""
    disk, disk_from = disk_rate(m)
    profile = between(m["profiles"], disk)
    acceptance = "built in"
    if a.acceptance:
        with open(a.acceptance) as f:
            acceptance = json.load(f)["name"]
    tasks = m["tasks"].split(",")
    for mode, got in m["bench"]["modes"].items():
        k = m["k"] if mode == "chain" else 0
        try:
            p = plan(a.lever, m, mode, profile, m["bench"]["n_off"] if mode == "off" else m["n"], a.acceptance, k)["tasks"]
        except RuntimeError as e:
            print("%s %s %s: %s" % (m["case"], m["memory"], mode, e), file=sys.stderr)
            continue
        predicted, tokens = (harmonic([p[t][key] for t in tasks]) for key in ("tok_per_s", "tokens_per_round"))
        measured = got["all"]["tok_per_s"]
        yield {"when": m["when"], "commit": m["commit"], "cpu": m["cpu"], "case": m["case"], "memory": m["memory"], "mode": mode, "k": k,
               "tasks": m["tasks"].replace(",", " "), "n": m["n"], "rep": m["rep"], "acceptance": acceptance,
               "load": "%.1f" % m["load"], "mac": "%.3g" % (profile["compute"][-1]["rows"] / profile["compute"][-1]["seconds_per_weight"]),
               "dram": "%.3g" % profile["dram"], "disk": "%.3g" % disk, "disk_from": disk_from, "measured": "%.3f" % measured, "predicted": "%.3f" % predicted,
               "ratio": "%.3f" % (predicted / measured), "tokens_round_measured": "%.2f" % got["all"]["tokens_per_round"],
               "tokens_round_predicted": "%.2f" % tokens, "round_measured": "%.4f" % (got["all"]["tokens_per_round"] / measured),
               "round_predicted": "%.4f" % (tokens / predicted)}


def predict(a):
    kept = []
    for path in glob.glob(os.path.join(a.dir, "?-*-*.json")):
        with open(path) as f:
            kept.append(json.load(f))
    if not kept:
        sys.exit("%s: no measurements, expected files like S-768M-0.json; validate_sim.py measure makes them" % a.dir)
    order = {(case, memory): i for case in MEMORY for i, memory in enumerate(MEMORY[case].split(","))}
    kept.sort(key=lambda m: (m["case"], order.get((m["case"], m["memory"]), -1), m["rep"]))
    with open(a.out + ".part", "w", newline="") as f:
        out = csv.DictWriter(f, FIELDS)
        out.writeheader()
        for m in kept:
            out.writerows(rows(a, m))
    os.rename(a.out + ".part", a.out)
    summary(a)


def summary(a):
    cells = {}
    with open(a.out, newline="") as f:
        for r in csv.DictReader(f):
            cells.setdefault((r["commit"], r["case"], r["memory"], r["mode"], r["mode"] == r["disk_from"]), []).append(r)
    print("%-16s %-4s %-7s %-6s %4s %9s %7s %9s %6s %7s %7s" %
          ("commit", "case", "memory", "mode", "reps", "measured", "spread", "predicted", "ratio", "tokens", "round"))
    ratios = []
    for key, r in cells.items():
        def of(field):
            return statistics.median(float(x[field]) for x in r)
        m = [float(x["measured"]) for x in r]
        ratio = of("ratio")
        if not key[4]:
            ratios.append(ratio)
        print("%-16s %-4s %-7s %-6s %4d %9.2f %6.0f%% %9.2f %6.2f %7.2f %7.2f" %
              (*key[:4], len(r), statistics.median(m), 100 * (max(m) - min(m)) / statistics.median(m), of("predicted"), ratio,
               of("tokens_round_predicted") / of("tokens_round_measured"), of("round_predicted") / of("round_measured")))
    print("%d of %d cells within 10 %%" % (sum(0.9 <= r <= 1.1 for r in ratios), len(ratios)))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(required=True, metavar="measure|record|predict|summary")
    q = sub.add_parser("measure")
    q.set_defaults(do=measure)
    q.add_argument("lever")
    q.add_argument("dir")
    q.add_argument("--case", default="S", choices=["S", "L"])
    q.add_argument("--memory")
    q.add_argument("--modes", default="off,chain,tree,lever")
    q.add_argument("--tasks", default="code,math,chat,qa,rag,summarization,translation")
    q.add_argument("-n", type=int, default=64)
    q.add_argument("--n-off", type=int, default=16)
    q.add_argument("--reps", type=int, default=1)
    q.add_argument("--lock")
    q = sub.add_parser("record")
    q.set_defaults(do=record)
    q.add_argument("lever")
    q.add_argument("dir")
    q.add_argument("-n", type=int, default=64)
    q.add_argument("--count", type=int, default=1)
    q.add_argument("--prompts", default=os.path.join(HERE, "..", "prompts", "prompts.jsonl"))
    q = sub.add_parser("predict")
    q.set_defaults(do=predict)
    q.add_argument("lever")
    q.add_argument("dir")
    q.add_argument("out")
    q.add_argument("--acceptance")
    q = sub.add_parser("summary")
    q.set_defaults(do=summary)
    q.add_argument("out")
    a = p.parse_args()
    a.do(a)


if __name__ == "__main__":
    main()
