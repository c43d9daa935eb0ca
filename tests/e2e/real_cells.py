#!/usr/bin/env python3
"""The same ids in every way to run: a real model streamed in a random sample of settings, beside the resident run.

usage: real_cells.py LEVER [CELLS [SEED]]

A cell sets memory, draft, threads, reader, ring, slot, sidecar and sampling. Each setting is dealt like cards, so that
even a small sample has all of its values. The sidecar is made in a temporary folder ($TMPDIR), as large as the model.
Exit 77 without models.
"""
import json
import os
import random
import subprocess
import sys
import tempfile

from real_models import DRAFT, MIB, PROMPT, TARGET

N_TOKENS = 12
TIMEOUT_S = 120
SAMPLING = {"greedy": ["--temp", "0"], "seed 11": ["--temp", "0.9", "--top-k", "40", "--seed", "11"]}
SETTINGS = {
    "memory, draft": [("512M", None), ("640M", None), ("768M", None), ("1024M", None), (None, None), ("512M", None),
                      ("640M", None), ("768M", "chain"), ("768M", "tree"), ("1024M", "tree")],
    "threads": [1, 2],
    "reader": ["pread", "uring", "buffered", "pread", "uring"],
    "ring": [None, "4M", "9M", "16M", "48M"],
    "slot": [None, "256K", "700K", "1M", "2M", "4M"],
    "sidecar": [True, False],
    "prune": ["on", "off"],
    "sampling": list(SAMPLING),
}


def deal(rng, n):
    """n cells; each setting goes through all its values before one comes again."""
    columns = {}
    for name, values in SETTINGS.items():
        column = []
        while len(column) < n:
            column += rng.sample(values, len(values))
        columns[name] = column[:n]
    return [{name: columns[name][i] for name in columns} for i in range(n)]


def arguments(cell, sidecar):
    args = ["-m", TARGET, "--chat", PROMPT, "-n", str(N_TOKENS), "-c", "256", *SAMPLING[cell["sampling"]],
            "-t", str(cell["threads"]), "--reader", cell["reader"], "--sidecar", sidecar if cell["sidecar"] else "off"]
    memory, draft = cell["memory, draft"]
    for name, value in (("--memory", memory), ("--ring", cell["ring"]), ("--slot", cell["slot"])):
        if value:
            args += [name, value]
    return args + (["-md", DRAFT, "--speculation", draft, "--prune", cell["prune"]] if draft else [])


def run(lever, args):
    try:
        p = subprocess.run([lever, "run", "--json", *args], capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return None, "no end after %d s" % TIMEOUT_S
    if p.returncode != 0:
        return None, "exit %d: %s" % (p.returncode, p.stderr.strip())
    if "sidecar" in p.stderr:
        return None, "the sidecar was not used: %s" % p.stderr.strip()
    return json.loads(p.stdout), None


def fault(cell, got, want):
    """What is wrong with a run, or None."""
    if got["ids"] != want:
        return "ids %s\n  expected %s" % (got["ids"], want)
    memory, draft = cell["memory, draft"]
    streams = memory is not None and (memory != "1024M" or draft is not None)
    if streams != (got["bytes"]["streamed"] > 0):
        return "streamed %d bytes" % got["bytes"]["streamed"]
    if got["speculation"]["mode"] != (draft or "lookup"):
        return "speculation: found %s, expected %s" % (got["speculation"]["mode"], draft or "lookup")
    if memory and got["memory"]["peak_rss"] > got["memory"]["budget"]:
        return "peak of %d bytes within %d" % (got["memory"]["peak_rss"], got["memory"]["budget"])
    return None


def replay_fault(lever, trace):
    """Decided again, the rounds of a tree must come out as they did."""
    p = subprocess.run([lever, "replay", trace, "--json"], capture_output=True, text=True, timeout=TIMEOUT_S)
    if p.returncode == 2 and "no round can be counted" in p.stderr + p.stdout:
        return None
    if p.returncode != 0:
        return "replay: exit %d: %s" % (p.returncode, p.stderr.strip())
    got = json.loads(p.stdout)
    if got["chosen"] != got["taken"]:
        return "replay: chosen %s, taken %s" % (got["chosen"], got["taken"])
    return None


def text_of(cell):
    return "; ".join("%s %s" % item for item in cell.items())


def main(lever, n, seed):
    for name in (TARGET, DRAFT):
        if not os.path.exists(name):
            print("skip: no model file %s" % name)
            return 77
    print("SEED=%d, %d cells" % (seed, n))
    want, n_bad, took = {}, 0, {"direct": 0, "buffered": 0, "uring": 0, "accepted": 0}
    for name, sampling in SAMPLING.items():
        got, why = run(lever, ["-m", TARGET, "--chat", PROMPT, "-n", str(N_TOKENS), "-c", "256", "--sidecar", "off",
                               *sampling])
        if why:
            sys.exit("FAIL resident, %s: %s" % (name, why))
        want[name] = got["ids"]
    if len(set(map(tuple, want.values()))) < len(want) or min(map(len, want.values())) < N_TOKENS:
        sys.exit("FAIL the samplings should give different texts of %d tokens: %s" % (N_TOKENS, want))
    with tempfile.TemporaryDirectory(prefix="lever-cells-") as folder:
        sidecar = os.path.join(folder, "target.lvp")
        for i, cell in enumerate(deal(random.Random(seed), n)):
            if cell["sidecar"] and not os.path.exists(sidecar):
                subprocess.run([lever, "pack", "-m", TARGET, "-o", sidecar, "--json"], check=True,
                               stdout=subprocess.DEVNULL)
            args, trace = arguments(cell, sidecar), os.path.join(folder, "trace")
            if cell["memory, draft"][1] == "tree":
                args += ["--trace", trace]
            got, why = run(lever, args)
            why = why or fault(cell, got, want[cell["sampling"]])
            if not why and "--trace" in args:
                why = replay_fault(lever, trace)
            if why:
                n_bad += 1
                print("FAIL seed %d, cell %d: %s\n  lever run %s\n  %s" % (seed, i, text_of(cell), " ".join(args), why))
                continue
            print("equal: %s: %s, %d drafted, streamed %d MiB, peak %d MiB" % (
                text_of(cell), got["speculation"]["mode"], got["speculation"]["drafted"], got["bytes"]["streamed"] // MIB,
                got["memory"]["peak_rss"] // MIB))
            took["accepted"] += got["speculation"]["accepted"]
            if got["bytes"]["streamed"] > 0:
                took[got["reader"]] += 1
                took["uring"] += got["reader_method"] == "uring"
    print("%d cells, %d failed; streamed: %d direct, %d buffered; %d of them by io_uring; %d draft tokens accepted" % (
        n, n_bad, took["direct"], took["buffered"], took["uring"], took["accepted"]))
    return 1 if n_bad else 0


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10,
                  int(sys.argv[3]) if len(sys.argv) > 3 else 1))
