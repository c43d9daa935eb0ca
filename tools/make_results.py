#!/usr/bin/env python3
"""docs/results.md from the rows in docs/results/*.csv, which lever bench decode --csv appends, and in docs/results/predicted/*.csv,
which tools/validate_sim.py predict writes.

usage: make_results.py [--check] [--root REPOSITORY]

--check writes nothing and fails when docs/results.md is not what the rows give. Rows of one command on one commit become one
section; where the same was measured again (same commit, command and memory), the last rows stand.
"""
import argparse
import csv
import os
import sys
from pathlib import Path

HEADING = ("date,version,commit,cpu,threads,device_bytes_per_s,target,draft,memory,mode,k,task,n,prompts,repeat,tok_per_s,slowest,"
           "fastest,tokens_per_round,bytes_per_token,peak_rss,equal,command").split(",")
ABOUT = ("date", "version", "commit", "cpu", "threads", "target", "draft", "repeat", "command")
NAMES = {"lever": "Lever", "off": "plain", "chain": "chain", "tree": "serial tree"}
DASH = "\u2013"


def read(path):
    with open(path, newline="", encoding="utf-8") as f:
        rows = csv.DictReader(f)
        if rows.fieldnames != HEADING:
            sys.exit("%s: the heading is not that of lever bench decode --csv" % path)
        rows = list(rows)
    for n, row in enumerate(rows, 2):
        if None in row or None in row.values():
            sys.exit("%s, row %d: found %d fields, expected %d" % (path, n, len([v for v in row.values() if v]), len(HEADING)))
        try:
            if float(row["tok_per_s"]) <= 0:
                raise ValueError
        except ValueError:
            sys.exit("%s, row %d: tok_per_s is %r, expected a number above 0" % (path, n, row["tok_per_s"]))
    return rows


def unique(items):
    return list(dict.fromkeys(items))


def number(text):
    """Three digits, as in the report."""
    try:
        x = float(text)
    except ValueError:
        return DASH
    return "%.*f" % (0 if x >= 100 else 1 if x >= 10 else 2, x)


def cell(row):
    if not row:
        return DASH
    out = number(row["tok_per_s"])
    if row["slowest"] and row["fastest"]:
        out += " (%s%s%s)" % (number(row["slowest"]), DASH, number(row["fastest"]))
    if row["k"]:
        out += ", k " + row["k"]
    return out


def safe(text):
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def table(head, rows):
    out = ["| " + " | ".join(safe(h) for h in head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return out + ["| " + " | ".join(safe(c) for c in row) + " |" for row in rows]


def rates(at, memories, modes, tasks):
    """A row for each memory size and task; the fastest is bold."""
    for memory in memories:
        for task in tasks:
            here = [at.get((memory, mode, task)) for mode in modes]
            known = [float(r["tok_per_s"]) for r in here if r]
            if not known:
                continue
            cells = [("**%s**" if r and float(r["tok_per_s"]) == max(known) else "%s") % cell(r) for r in here]
            yield [memory, task] + cells


def section(about, rows):
    a = dict(zip(ABOUT, about))
    at = {(r["memory"], r["mode"], r["task"]): r for r in rows}
    memories, modes, tasks = (unique(r[k] for r in rows) for k in ("memory", "mode", "task"))
    device = [float(r["device_bytes_per_s"]) for r in rows if r["device_bytes_per_s"]]
    lengths = unique("%s: %s" % (NAMES.get(r["mode"], r["mode"]), r["n"]) for r in rows)
    equal = [r["equal"] for r in rows if r["equal"]]
    out = ["## %s, %s" % (safe(a["target"]), a["date"]), "", "```", a["command"], "```", "",
           "Lever %s, commit %s; %s, %s threads; draft %s; device %s; %s; tokens a prompt: %s; ids %s those of plain decoding."
           % (a["version"], a["commit"], safe(a["cpu"]), a["threads"], safe(a["draft"]) or "none",
              " to ".join(unique("%.2f" % (x / 1e9) for x in (min(device), max(device)))) + " GB/s" if device else "not streamed from",
              "one run each, no spread" if a["repeat"] == "1" else a["repeat"] + " runs each: (slowest" + DASH + "fastest)",
              ", ".join(lengths), "are" if all(e == "yes" for e in equal) else "are NOT always"), "",
           "Tokens a second; `all` is the harmonic mean over tasks.", ""]
    out += table(["memory", "task"] + [NAMES.get(m, m) for m in modes], rates(at, memories, modes, tasks))
    own = [m for m in modes if any((x, m, "all") in at and at[x, m, "all"]["bytes_per_token"] for x in memories)]
    out += ["", "Tokens a pass, MB streamed for a token, peak memory in MiB (all tasks).", ""]
    out += table(["memory", "mode", "tokens a pass", "MB a token", "peak MiB"],
                 [[x, NAMES.get(m, m), number(r["tokens_per_round"]), number(float(r["bytes_per_token"]) / 1e6),
                   "%.0f" % (float(r["peak_rss"]) / 2**20)]
                  for x in memories for m in own for r in [at.get((x, m, "all"))] if r and r["bytes_per_token"]])
    return out + [""]


# ---- predicted beside measured


def ratio(a, b):
    return "%.2f" % (float(a) / float(b))


def counts(row):
    """A cell from which the device's rate was taken is no test."""
    return row["mode"] != row["disk_from"]


def predicted(path):
    with open(path, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    if not rows or not {"case", "memory", "mode", "measured", "predicted", "disk_from"} <= set(rows[0]):
        sys.exit("%s: found no rows of tools/validate_sim.py predict" % path)
    tested = [r for r in rows if counts(r)]
    within = sum(0.9 <= float(r["predicted"]) / float(r["measured"]) <= 1.1 for r in tested)
    out = ["## Predicted and measured: %s" % path.stem, "",
           "`tools/validate_sim.py measure LEVER DIR --case %s -n %s`, then `predict`; commits %s; %s; %s to %s; tasks %s; acceptance: %s. **%d of %d cells within 10 %%.**"
           % (rows[0]["case"], rows[0]["n"], ", ".join(unique(r["commit"] for r in rows)), safe(rows[0]["cpu"]), min(r["when"] for r in rows),
              max(r["when"] for r in rows), rows[0]["tasks"].replace(" ", ", "), rows[0]["acceptance"], within, len(tested)), "",
           "Tokens a second; the last three columns are predicted / measured. In brackets: not counted, the device's rate comes from this cell.", ""]
    return out + table(["memory", "GB/s of the device", "mode", "measured", "predicted", "tok/s", "tokens a round", "time of a round"],
                       [[r["memory"], DASH if float(r["disk"]) == 0 else "%.2f" % (float(r["disk"]) / 1e9),
                         NAMES.get(r["mode"], r["mode"]) + (" " + r["k"] if r["k"] != "0" else ""), number(r["measured"]), number(r["predicted"]),
                         ("%s" if counts(r) else "(%s)") % ratio(r["predicted"], r["measured"]),
                         ratio(r["tokens_round_predicted"], r["tokens_round_measured"]), ratio(r["round_predicted"], r["round_measured"])]
                        for r in rows]) + [""]


def results(root):
    out = ["# Results", "",
           "Made by `tools/make_results.py` from the rows in `docs/results/*.csv`; each section names the command that measured its",
           "numbers. Compare within a section: another machine, or another hour of the same one, gives other rates.", ""]
    groups = {}
    for path in sorted((root / "docs" / "results").glob("*.csv")):
        for row in read(path):
            groups.setdefault(tuple(row[k] for k in ABOUT), []).append(row)
    for about, rows in groups.items():
        out += section(about, rows)
    for path in sorted((root / "docs" / "results" / "predicted").glob("*.csv")):
        out += predicted(path)
    return "\n".join(out).rstrip("\n") + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--check", action="store_true")
    p.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    a = p.parse_args()
    text = results(a.root)
    path = a.root / "docs" / "results.md"
    if a.check:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit("docs/results.md is not what docs/results/*.csv give; run tools/make_results.py")
        return
    part = path.with_suffix(".part%d" % os.getpid())
    part.write_text(text, encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    main()
