#!/usr/bin/env python3
"""Plain decoding in less and less memory, beside what the device allows: the speed ladder.

usage: ladder.py LEVER MODEL.gguf [-n TOKENS] [--from MIB] [--to MIB] [--step MIB] [--seconds S] [--json FILE]

Default: -n 12, 1088 MiB down to 256 in steps of 64, at most 420 s. Bare reads of the ranges that are streamed (lever
bench stream) and generating take turns; raw is the mean of the two measurements around a step. Without a bound on memory
it generates first and last; the faster one gives the resident time. Run it with nothing else running.

  MiB/token   bytes streamed a pass
  tok/s       passes a decode second (the first token comes with the prompt and is not counted)
  rate, raw   MB/s that the passes took in; MB/s of bare reads at that step
  idle        part of decoding without a read in flight
  bound       1 / max(bytes streamed a pass / raw, resident time)
  ratio       tok/s / bound
"""
import argparse
import json
import subprocess
import sys
import time

PROMPT = "Write a C function that returns the greatest common divisor of two numbers."
MIB = 1 << 20
N_CTX = "256"


def lever_json(lever, *args):
    """The answer, and None or the error in it."""
    p = subprocess.run([lever, *args, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        answer = json.loads(p.stdout)
    except ValueError:
        sys.exit("lever %s: exit %d: %s" % (" ".join(args), p.returncode, p.stderr.strip()))
    return answer, answer.get("error")


def memory_args(memory):
    return ["--memory", "%dM" % memory] if memory else []


def generate(lever, model, n, memory):
    """One run as a row of the table; or None and the error when the memory is too small; other errors end it."""
    got, error = lever_json(lever, "run", "-m", model, "--chat", PROMPT, "-n", str(n), "-c", N_CTX, "--temp", "0",
                            *memory_args(memory))
    if error and error.get("exit_code") == 4:
        return None, error
    if error or not got["rounds"]:
        sys.exit("lever run in %s MiB: %s" % (memory, error or "the text ended at once"))
    row = {"memory": memory, "streamed": got["bytes"]["streamed"] / got["rounds"],
           "tok_s": got["rounds"] / got["seconds"]["decode"], "rate": got["stream"]["rate"],
           "idle": got["stream"]["idle_share"], "peak_rss": got["memory"]["peak_rss"], "reader": got["reader"],
           "ids": got["ids"]}
    return row, None


def raw_rate(lever, model, memory):
    """Bytes a second and whether memory answered instead of the device; None where nothing is streamed or fits."""
    got, error = lever_json(lever, "bench", "stream", "-m", model, "-c", N_CTX, "--compute", "off", "--passes", "2",
                            *memory_args(memory))
    if error and error.get("exit_code") in (2, 4):
        return None, False
    if error:
        sys.exit("lever bench stream in %d MiB: %s" % (memory, error["message"]))
    return got["raw"], got["looks_cached"]


def put(row):
    def cell(x, scale, digits):
        return "-" if x is None else "%.*f" % (digits, x * scale)

    print("%7s %10s %8s %7s %7s %6s %8s %6s" % (
        row["memory"] or "all", cell(row["streamed"], 1 / MIB, 1), cell(row["tok_s"], 1, 2),
        cell(row["rate"] if row["streamed"] else None, 1e-6, 0), cell(row.get("raw"), 1e-6, 0),
        cell(row["idle"] if row["streamed"] else None, 1, 3), cell(row.get("bound"), 1, 2),
        cell(row.get("ratio"), 1, 3)), flush=True)


def judge(row, resident):
    needs = row["streamed"] / row["raw"] if row.get("raw") else 0.0
    row["bound"] = 1 / max(needs, resident)
    row["ratio"] = row["tok_s"] / row["bound"]


def mean(*rates):
    known = [r for r in rates if r]
    return sum(known) / len(known) if known else None


def climb(args):
    """All rows: without a bound, the steps, without a bound again; and whether memory answered reads."""
    first, _ = generate(args.lever, args.model, args.n, None)
    rows, raws, cached, longest, t0 = [first], [None], False, 0.0, time.monotonic()
    for memory in range(args.start, args.to - 1, -args.step):
        t1 = time.monotonic()
        if t1 - t0 + 1.3 * longest > args.seconds:  # a step takes a little longer than the one before
            print("stopped before %d MiB: %d s are over" % (memory, args.seconds))
            break
        raw, looks_cached = raw_rate(args.lever, args.model, memory)
        row, error = generate(args.lever, args.model, args.n, memory)
        if error:
            print("stopped at %d MiB: %s" % (memory, error["message"]))
            break
        if row["ids"] != first["ids"]:
            sys.exit("ids differ in %d MiB: %s, without a bound %s" % (memory, row["ids"], first["ids"]))
        cached |= looks_cached or (row["streamed"] > 0 and row["reader"] != "direct")
        rows.append(row)
        raws.append(raw)
        print("%d MiB: %.2f tok/s" % (memory, row["tok_s"]), file=sys.stderr)
        longest = max(longest, time.monotonic() - t1)
    raws.append(raw_rate(args.lever, args.model, rows[-1]["memory"])[0] if rows[-1]["streamed"] else None)
    for i, row in enumerate(rows):
        row["raw"] = mean(raws[i], raws[i + 1]) if row["streamed"] else None
    rows.append(generate(args.lever, args.model, args.n, None)[0])
    return rows, cached


def main():
    p = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1][len("usage: "):])
    p.add_argument("lever")
    p.add_argument("model")
    p.add_argument("-n", type=int, default=12)
    p.add_argument("--from", dest="start", type=int, default=1088)
    p.add_argument("--to", type=int, default=256)
    p.add_argument("--step", type=int, default=64)
    p.add_argument("--seconds", type=int, default=420)
    p.add_argument("--json")
    args = p.parse_args()
    if args.n < 2 or args.step < 1 or args.to < 1:
        p.error("-n must be 2 or more, --step and --to 1 or more")

    rows, cached = climb(args)
    resident = 1 / max(rows[0]["tok_s"], rows[-1]["tok_s"])
    print("\n memory  MiB/token    tok/s    rate     raw   idle    bound  ratio")
    for row in rows:
        judge(row, resident)
        put(row)
    if cached:
        print("\nWarning: memory answered some of the reads instead of the device: the raw rate says little.")
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"model": args.model, "n": args.n, "resident_seconds": resident, "rows": rows}, f, indent=1)


if __name__ == "__main__":
    main()
