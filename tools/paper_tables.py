#!/usr/bin/env python3
"""The paper's tables by simulation, without a phone or a model file.

usage: paper_tables.py LEVER [DOCUMENT [TABLES]]

Runs `lever plan` for the described models of profiles/models/ on the phones of profiles/ and writes the tables into DOCUMENT
(default docs/paper.md) between the lines "<!-- tables -->" and "<!-- end of tables -->"; the text around them stays.
"As published" is the engine as the paper describes it: layers read when they are needed, the device at rest between passes, no
drafting beside a pass, no prompt lookup. "Lever" is this project's engine on the same device. Takes about half a minute. With TABLES (some of io_share,
split, speedup, tree_budget, pruning, context) these are printed, and nothing is written.
"""
import json
import math
import os
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
ACCEPTANCE = os.path.join(ROOT, "profiles", "acceptance", "coder-1.5b-0.5b.json")
TARGETS = [("Llama-3.1-8B", "llama-3.1-8b", "llama-3.2-1b"), ("Qwen3-4B", "qwen3-4b", "qwen3-0.6b"),
           ("Qwen3-8B", "qwen3-8b", "qwen3-0.6b"), ("Qwen3-14B", "qwen3-14b", "qwen3-0.6b")]
PHONES = [("OnePlus 12", "oneplus12"), ("Honor 500 Pro", "honor-500-pro"), ("Honor Magic V5", "honor-magic-v5")]
PUBLISHED_IO = {"Llama-3.1-8B": "91.4", "Qwen3-14B": "93.3", "Qwen3-4B": "78.3 to 93.3", "Qwen3-8B": "78.3 to 93.3"}
MIB = 1 << 20
CONTEXT = 1024


class Lever:
    def __init__(self, path, acceptance):
        self.path = path
        self.serial = ("--stream-ahead", "off", "--acceptance", acceptance)  # as published
        self.known = {}

    def plan(self, target, draft, profile, memory, modes, *extra, context=CONTEXT):
        """The JSON of lever plan; None when the memory is too small."""
        cmd = [self.path, "plan", "--model-shape", target, "--draft-shape", draft, "--profile", profile, "--modes", modes, "-c",
               str(context), "--speculation", "tree", "--json", *extra]
        if memory:
            cmd += ["--memory", str(memory)]
        key = tuple(cmd)
        if key not in self.known:
            p = subprocess.run(cmd, capture_output=True, text=True)
            if p.returncode not in (0, 4):
                sys.exit("%s: %s" % (" ".join(cmd), p.stderr))
            self.known[key] = json.loads(p.stdout) if p.returncode == 0 else None
        return self.known[key]

    def smallest(self, target, draft, profile):
        """The least memory, in 16 MiB, at which the draft has room: as good as all of the target's layers are streamed."""
        lo, hi = 0, 64 << 30
        while hi - lo > 16 * MIB:
            mid = (lo + hi) // 2
            o = self.plan(target, draft, profile, mid, "off")
            lo, hi = (lo, mid) if o and o["draft"] else (mid, hi)
        return hi // (16 * MIB) * 16 * MIB + 16 * MIB


def table(head, rows):
    out = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(out + ["| " + " | ".join(str(c) for c in r) + " |" for r in rows]) + "\n"


def gmean(x):
    return math.exp(sum(math.log(v) for v in x) / len(x))


def io_share(lever):
    rows = []
    for name, target, draft in TARGETS:
        m = lever.plan(target, draft, "oneplus12", lever.smallest(target, draft, "oneplus12"), "tree", "--tree-rows", "32",
                       *lever.serial)["modes"]["tree"]
        verify = m["stream_seconds"] + m["target_seconds"]
        rows.append([name, "%.2f" % (m["bytes_per_round"] / 1e9), "%.0f" % (1e3 * verify), "%.0f" % (1e3 * m["stream_seconds"]),
                     "%.1f %%" % (100 * m["stream_seconds"] / verify), PUBLISHED_IO[name] + " %"])
    return ("### Flash I/O in a verification (OnePlus 12, all layers in flash, at most 32 rows: one tile of the accelerator)\n\n" +
            table(["target", "GB streamed", "verification, ms", "I/O, ms", "I/O share", "published"], rows) +
            "\nPublished for Qwen3-14B: 2108.3 ms, of which 1967.1 ms I/O.\n")


def split(lever):
    target, draft = "qwen3-8b", "qwen3-0.6b"
    least = lever.smallest(target, draft, "oneplus12")
    rows = []
    for memory in [least] + [g << 29 for g in range(4, 14, 2)] + [0]:
        if memory and memory < least:
            continue
        serial = lever.plan(target, draft, "oneplus12", memory, "off,chain,tree", *lever.serial)["modes"]
        own = lever.plan(target, draft, "oneplus12", memory, "lever")["modes"]["lever"]
        rows.append(["%.1f GiB" % (memory / 2**30) if memory else "all", "%.2f" % (own["bytes_per_round"] / 1e9)] +
                    ["%.2f" % serial[m]["tok_per_s"] for m in ("off", "chain", "tree")] +
                    ["%.2f" % own["tok_per_s"], "%.0f %%" % (100 * own["device_idle_share"])])
    return ("### Qwen3-8B from all in flash to all in memory (OnePlus 12)\n\n" +
            table(["memory", "GB streamed", "plain", "chain", "tree as published", "Lever", "device idle, Lever"], rows) +
            "\ntok/s. Published: 1.75 with all weights in flash, 3.40 with all in memory.\n")


def speedup(lever):
    rows, flash, chain, own_flash, own_chain, by_task = [], [], [], [], [], {}
    for phone, profile in PHONES:
        for name, target, draft in TARGETS:
            memory = lever.smallest(target, draft, profile)
            serial = lever.plan(target, draft, profile, memory, "off,chain,tree", *lever.serial)["modes"]
            s = {k: v["tok_per_s"] for k, v in serial.items()}
            for task, t in serial["tree"]["tasks"].items():
                by_task.setdefault(task, []).append((t["tok_per_s"] / s["off"], t["tokens_per_round"]))
            own = lever.plan(target, draft, profile, memory, "off,chain,lever")["modes"]
            t = {k: v["tok_per_s"] for k, v in own.items()}
            flash.append(s["tree"] / s["off"])
            chain.append(s["tree"] / s["chain"])
            own_flash.append(t["lever"] / t["off"])
            own_chain.append(t["lever"] / t["chain"])
            rows.append([phone, name] + ["%.2f" % s[m] for m in ("off", "chain", "tree")] +
                        ["%.2f" % flash[-1], "%.2f" % chain[-1], "%.2f" % t["lever"], "%.2f" % own_flash[-1], "%.2f" % own_chain[-1]])
    rows.append(["geometric mean", "", "", "", ""] + ["**%.2f**" % gmean(flash), "**%.2f**" % gmean(chain), "", "**%.2f**" % gmean(own_flash),
                                                      "**%.2f**" % gmean(own_chain)])
    return ("### Speed-up, all layers in flash\n\n" +
            table(["phone", "target", "plain", "chain", "tree", "tree / plain", "tree / chain", "Lever", "Lever / plain", "Lever / chain"], rows) +
            "\ntok/s. Columns 3 to 7: as published; there 2.93 and 1.50. The last two: against plain decoding and the best chain of an engine "
            "that reads ahead.\n\nTree as published / plain decoding by task (tokens a round), geometric means over phones and targets: " +
            ", ".join("%s %.2f (%.1f)" % (t, gmean([x[0] for x in v]), gmean([x[1] for x in v])) for t, v in sorted(by_task.items())) + ".\n")


def tree_budget(lever):
    target, draft = "qwen3-8b", "qwen3-0.6b"
    memory, rows = lever.smallest(target, draft, "oneplus12"), []
    for n in (2, 4, 8, 16, 32, 64, 128, 256):
        a = lever.plan(target, draft, "oneplus12", memory, "tree", "--tree-rows", str(n), *lever.serial)["modes"]["tree"]
        b = lever.plan(target, draft, "oneplus12", memory, "lever", "--tree-rows", str(n))["modes"]["lever"]
        rows.append([n, "%.1f" % a["rows_per_round"], "%.2f" % a["tokens_per_round"], "%.2f" % a["tok_per_s"], "%.1f" % b["rows_per_round"],
                     "%.2f" % b["tokens_per_round"], "%.2f" % b["tok_per_s"]])
    return ("### Tree budget (Qwen3-8B, OnePlus 12, all layers in flash)\n\n" +
            table(["most rows", "rows, as published", "tokens a round", "tok/s", "rows, Lever", "tokens a round", "tok/s"], rows))


def pruning(lever):
    target, draft = "qwen3-8b", "qwen3-0.6b"
    rows = []
    for label, memory in (("all layers in flash", lever.smallest(target, draft, "oneplus12")), ("all in memory", 0)):
        for dropped, lost in ((0, 0), (0.2, 0), (0.2, 0.01), (0.4, 0.02), (0.6, 0.05), (0.8, 0.15)):
            m = lever.plan(target, draft, "oneplus12", memory, "tree", "--prune-model", "0.33,%g,%g" % (dropped, lost), *lever.serial)["modes"]["tree"]
            rows.append([label, "%.0f %%" % (100 * dropped), "%.0f %%" % (100 * lost), "%.0f" % (1e3 * m["target_seconds"]),
                         "%.2f" % m["tokens_per_round"], "%.3f" % m["tok_per_s"]])
    return ("### Pruning after a third of the layers (Qwen3-8B, OnePlus 12, tree as published)\n\n" +
            table(["weights", "rows dropped", "accepted tokens lost", "compute, ms", "tokens a round", "tok/s"], rows))


def context(lever):
    target, draft = "qwen3-8b", "qwen3-0.6b"
    rows = []
    for n in (512, 1024, 2048, 4096, 8192, 16384):
        memory = lever.smallest(target, draft, "oneplus12")
        budget = max(memory, 4 << 30)
        a = lever.plan(target, draft, "oneplus12", budget, "tree", *lever.serial, context=n)
        b = lever.plan(target, draft, "oneplus12", budget, "lever", context=n)
        if not a or not a["draft"]:
            rows.append([n, "%.1f GiB" % (budget / 2**30), "no room for the draft", "", ""])
            continue
        rows.append([n, "%.1f GiB" % (budget / 2**30), "%.2f" % (b["bytes_per_round"] / 1e9), "%.2f" % a["modes"]["tree"]["tok_per_s"],
                     "%.2f" % b["modes"]["lever"]["tok_per_s"]])
    return ("### Context (Qwen3-8B, OnePlus 12, half of the context in use)\n\n" +
            table(["context", "memory", "GB streamed", "tree as published, tok/s", "Lever, tok/s"], rows))


def without_lookup(path):
    """The acceptance table of an engine that has only its draft."""
    with open(path) as f:
        table = json.load(f)
    table.pop("lookup", None)
    for task in table["tasks"].values():
        task.pop("lookup", None)
    return table


def main(argv):
    if len(argv) < 2:
        sys.exit(__doc__)
    path = argv[2] if len(argv) > 2 else os.path.join(ROOT, "docs", "paper.md")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(without_lookup(ACCEPTANCE), f)
        f.flush()
        lever = Lever(argv[1], f.name)
        if len(argv) > 3:
            return print("\n".join(globals()[t](lever) for t in argv[3].split(",")))
        text = "\n".join(f(lever) for f in (io_share, split, speedup, tree_budget, pruning, context))
    with open(path) as f:
        doc = f.read()
    begin, end = "<!-- tables -->\n", "<!-- end of tables -->"
    if begin not in doc or end not in doc:
        sys.exit("%s lacks the lines %s and %s" % (path, begin.strip(), end))
    doc = doc[:doc.index(begin) + len(begin)] + "\n" + text + "\n" + doc[doc.index(end):]
    with open(path + ".part", "w") as f:
        f.write(doc)
    os.rename(path + ".part", path)
    print(text)


if __name__ == "__main__":
    main(sys.argv)
