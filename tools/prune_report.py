#!/usr/bin/env python3
"""What early-exit pruning keeps and what it saves: curves from recorded rounds (tools/prune_record.c).

usage: prune_report.py TARGET.gguf LENS --records A.bin .. [--rows 16,32,64] --csv docs/pruning.csv [--append]
       prune_report.py --page docs/pruning.md --svg docs/pruning.svg --csv docs/pruning.csv

The first form replays each recorded round with rows dropped and writes one line a setting; the second draws table and
curves from those lines. A tree of fewer rows than were recorded is the head of the recorded one: rows lie in the order of
their probability, and a row's state does not depend on the others.

Compute: rows times layers, of that of the whole tree through all layers. Tokens: drafted tokens that are accepted, of
those of the whole tree. Safety rules as in src/prune/rules.c."""
import argparse
import csv
import platform
import re
import struct
import subprocess
import zlib

import numpy as np

import prune_data as pd

FIELDS = ["rows", "method", "depth", "trim", "threshold", "compute", "tokens", "half"]
SHOWN = .93  # settings that keep fewer tokens are of no use and not written
TRIM = [0, 1e-3, 2e-3, 3e-3, 5e-3, 7e-3, 1e-2, 1.4e-2, 2e-2, 3e-2, 4e-2, 6e-2, 9e-2, .13, .2]
CUT = [0, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 8e-3, 1.2e-2, 2e-2, 3e-2, 5e-2, 8e-2, .12, .2]
WANT = [.95, .98, .99]


# ---- a lens file -------------------------------------------------------------------

class Layer:
    pass


def read_lens(path):
    d = open(path, "rb").read()
    assert d[:8] == b"LVLENS01" and struct.unpack("<I", d[-4:])[0] == zlib.crc32(d[:-4]), path
    _, _, _, e, n_layer, n, _ = struct.unpack("<IIQIIII", d[8:40])
    at, out = 40 + 64 * n, []
    for i in range(n):
        s = Layer()
        s.depth, s.rank, s.gain = struct.unpack("<IIf", d[40 + 64 * i:52 + 64 * i])
        s.weight = np.frombuffer(d, "<f4", pd.WEIGHTS, 52 + 64 * i).astype(np.float64)
        parts = []
        for rows, cols in ((s.rank, e), (e, s.rank)):
            b = np.frombuffer(d, np.uint8, rows * cols // 32 * 34, at).reshape(-1, 34)
            at += b.size
            parts.append((np.ascontiguousarray(b[:, :2]).view(np.float16).astype(np.float32) * b[:, 2:].view(np.int8)).reshape(rows, cols))
        s.v, s.u = parts
        s.b = np.frombuffer(d, np.float16, e, at).astype(np.float32)
        at += 2 * e
        out.append(s)
    return n_layer, out


# ---- replaying rounds ---------------------------------------------------------------

def path_of(parent, p):
    path = np.ones(len(parent))
    for i in range(1, len(parent)):
        path[i] = path[parent[i]] * p[i]
    return path


def rules(parent, path):
    """The root, the trusted path and two children of the root. path < 0: the row is gone."""
    keep = path >= 2  # none
    best, children = {}, []
    for i in range(len(parent) - 1, 0, -1):
        if path[i] < 0:
            continue
        u = parent[i]
        if u not in best or path[i] >= path[best[u]]:
            best[u] = i
        if u == 0:
            children.append(i)
    at = 0
    keep[0] = True
    while at in best:
        at = best[at]
        keep[at] = True
    for i in sorted(children, key=lambda k: -path[k])[:2]:
        keep[i] = True
    return keep


class Replay:
    """Rounds of one tree size, with the probabilities of each row by the draft and at each depth."""

    def __init__(self, records, rows, by_depth, n_layer):
        self.rounds, self.n_layer, self.depths = [], n_layer, list(by_depth)
        for i, r in enumerate(records.rounds):
            n = min(rows, r.n_row)
            if n < rows // 2:
                continue  # a text's last rounds
            way = [int(v) for v in r.visited if v < n]
            paths = {d: path_of(r.parent[:n], p[i][:n]) for d, p in by_depth.items()}
            self.rounds.append((r.parent[:n], paths, way, r.prompt))

    def run(self, looks, cuts):
        """looks: (depth, threshold) before the last one; there every threshold of cuts is tried. [cuts, half of the prompts,
        (compute, compute of the whole, accepted, all accepted)]."""
        out = np.zeros((len(cuts), 2, 4))
        *before, (last, _) = looks
        for parent, paths, way, prompt in self.rounds:
            n, alive, done, cost = len(parent), np.ones(len(parent), bool), 0, 0.0
            for d, least in before:
                cost += alive.sum() * (d - done)
                done = d
                keep = self.keep(parent, paths[d], least, alive)
                alive = keep if keep.sum() >= 3 else alive
            cost += alive.sum() * (last - done)
            path = np.where(alive, paths[last], -1.0)
            keep = rules(parent, path) | (path >= np.array(cuts)[:, None])
            keep = np.where(keep.sum(1, keepdims=True) >= 3, keep, alive)
            out[:, prompt % 2, 0] += cost + keep.sum(1) * (self.n_layer - last)
            out[:, prompt % 2, 1] += n * self.n_layer
            out[:, prompt % 2, 2] += np.cumprod(keep[:, way], 1).sum(1) - 1
            out[:, prompt % 2, 3] += len(way) - 1
        return out

    def keep(self, parent, path, least, alive):
        path = np.where(alive, path, -1.0)
        return rules(parent, path) | (path >= least)


def probabilities(head, records, lenses):
    """depth -> list over rounds of each row's probability given its parent; depth 0: as the draft has it."""
    out = {0: [np.where(np.arange(len(r.p)) < r.n_row, r.p, 0) for r in records.rounds]}
    nodes = pd.Nodes(records, False)
    for s in lenses:
        at = records.depths.index(s.depth)
        p = np.zeros(nodes.p.shape)
        for a in range(0, nodes.n, 4096):
            piece = slice_nodes(nodes, a, a + 4096)
            h = piece.states(records, at)
            x = pd.features(piece, head.scores(piece, s.gain * h + (h @ s.v.T) @ s.u.T + s.b))
            p[a:a + 4096] = pd.probabilities(piece, x, s.weight)
        rows = [q.copy() for q in out[0]]
        for i in range(nodes.n):
            c = nodes.child[i]
            rows[nodes.round_of[i]][c[c >= 0]] = p[i][c >= 0]
        out[s.depth] = rows
    return out


def slice_nodes(nodes, a, b):
    s = object.__new__(pd.Nodes)
    for k, v in nodes.__dict__.items():
        s.__dict__[k] = v[a:b] if k != "n" else len(nodes.round_of[a:b])
    return s


def lines(replay, rows):
    """One line a setting and half of the prompts (0, 1) or all."""
    todo = [("confidence", (), None, 0, TRIM)]
    for d in replay.depths[1:]:
        todo += [("lens", (d,), 0, d, CUT)] + [("both", (d,), t, d, CUT) for t in TRIM[1:]]
    if 2 < len(replay.depths) <= 4:
        todo += [("all", tuple(replay.depths[1:]), t, c, None) for t in TRIM for c in CUT[1:]]
    for method, depth, trim, last, cuts in todo:
        if method == "all":
            looks = [(0, trim)] * (trim > 0) + [(d, last) for d in depth]
            cuts = [last]
        else:
            looks = [(0, trim)] * bool(trim) + [(last, 0)]
        for cut, r in zip(cuts, replay.run(looks, cuts)):
            for half, x in (("0", r[0]), ("1", r[1]), ("all", r.sum(0))):
                if r.sum(0)[2] >= SHOWN * r.sum(0)[3]:
                    yield [rows, method, "+".join(map(str, depth)), cut if trim is None else trim, 0 if trim is None else cut,
                           f"{x[0] / max(x[1], 1):.4f}", f"{x[2] / max(x[3], 1):.4f}", half]


# ---- the page --------------------------------------------------------------------------

def least(rows, want):
    """The line of least compute among those that keep enough tokens."""
    ok = [r for r in rows if float(r["tokens"]) >= want]
    return min(ok, key=lambda r: float(r["compute"])) if ok else None


def across(rows, want):
    """Thresholds chosen on one half of the prompts, judged on the other: compute and tokens, mean of both ways."""
    got = []
    for a, b in (("0", "1"), ("1", "0")):
        x = least([r for r in rows if r["half"] == a], want)
        got += [r for r in rows if r["half"] == b and x and all(r[k] == x[k] for k in ("method", "depth", "trim", "threshold"))]
    return [np.mean([float(r[k]) for r in got]) for k in ("compute", "tokens")] if len(got) == 2 else None


def frontier(rows):
    out, best = [], -1.0
    for r in sorted(rows, key=lambda r: (float(r["compute"]), -float(r["tokens"]))):
        if float(r["tokens"]) > best:
            best = float(r["tokens"])
            out.append((float(r["compute"]), best))
    return out


def groups(data):
    out = {}
    for r in data:
        out.setdefault((int(r["rows"]), r["method"], r["depth"]), []).append(r)
    return out


def name_of(method, depth):
    return {"confidence": "confidence alone", "lens": f"lens at {depth} alone", "both": f"confidence and lens at {depth}",
            "all": f"confidence and lens at {depth}"}[method]


def table(data):
    g = groups(data)
    text = ["| rows | method | " + " | ".join(f"compute at {w:.0%} of tokens" for w in WANT) + " | at 98 %, thresholds from other prompts |",
            "| --- | --- | " + "--- | " * (len(WANT) + 1)]
    for key in sorted(g, key=lambda k: (k[0], ["confidence", "lens", "both", "all"].index(k[1]), len(k[2]), k[2])):
        every = [r for r in g[key] if r["half"] == "all"]
        cell = [least(every, w) for w in WANT]
        far = across(g[key], .98)
        text.append(f"| {key[0]} | {name_of(*key[1:])} | " + " | ".join(f"{float(c['compute']):.3f}" if c else "-" for c in cell) +
                    (f" | {far[0]:.3f} ({far[1]:.1%} of tokens) |" if far else " | - |"))
    return "\n".join(text)


COLOURS = ["#1b6ca8", "#c1440e", "#2e7d32", "#7b1fa2", "#b8860b", "#00838f"]


def svg(data, rows, path):
    w, h, left, top = 640, 400, 60, 20
    x0, x1, y0, y1 = 0.2, 1.0, 0.90, 1.0
    px = lambda x: left + (x - x0) / (x1 - x0) * (w - left - 20)
    py = lambda y: top + (y1 - y) / (y1 - y0) * (h - top - 50)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" font-family="sans-serif" font-size="12">',
           f'<rect width="{w}" height="{h}" fill="white"/>']
    for k in range(9):
        x = x0 + k * (x1 - x0) / 8
        out.append(f'<path d="M{px(x):.1f} {py(y0):.1f}V{py(y1):.1f}" stroke="#ddd"/><text x="{px(x):.1f}" y="{py(y0) + 16:.1f}" text-anchor="middle">{x:.1f}</text>')
    for k in range(6):
        y = y0 + k * (y1 - y0) / 5
        out.append(f'<path d="M{px(x0):.1f} {py(y):.1f}H{px(x1):.1f}" stroke="#ddd"/><text x="{left - 6}" y="{py(y) + 4:.1f}" text-anchor="end">{y:.2f}</text>')
    out.append(f'<text x="{w / 2}" y="{h - 8}" text-anchor="middle">target compute, trees of {rows} rows = 1</text>')
    out.append(f'<text x="14" y="{h / 2}" transform="rotate(-90 14 {h / 2})" text-anchor="middle">accepted tokens kept</text>')
    g = groups(data)
    for i, key in enumerate(sorted((k for k in g if k[0] == rows and k[1] != "lens"),
                                   key=lambda k: (["confidence", "both", "all"].index(k[1]), len(k[2]), k[2]))):
        points = [p for p in frontier([r for r in g[key] if r["half"] == "all"]) if p[1] >= y0]
        colour = COLOURS[i % len(COLOURS)]
        if points:
            out.append(f'<path d="M{"L".join(f"{px(max(x, x0)):.1f} {py(y):.1f}" for x, y in points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<text x="{w - 30}" y="{py(y0) - 12 - 15 * i:.1f}" fill="{colour}" text-anchor="end">{name_of(*key[1:])}</text>')
    with open(path, "w") as f:
        f.write("\n".join(out + ["</svg>\n"]))


def write_page(page, svg_path, data, about):
    rows = 64 if any(r["rows"] == "64" for r in data) else int(data[0]["rows"])
    svg(data, rows, svg_path)
    text = open(page).read()
    made = "<!-- made by tools/prune_report.py -->\n" + table(data) + "\n\n" + "\n".join(
        "* " + line for line in sorted(about, key=lambda line: int(line.split()[0]))) + "\n<!-- end -->"
    text, n = re.subn(r"<!-- made by tools/prune_report.py -->.*?<!-- end -->", lambda _: made, text, flags=re.S)
    if not n:
        raise SystemExit(f"{page}: no place for the table")
    with open(page, "w") as f:
        f.write(text)


# ---- ------------------------------------------------------------------------------------

def about(rows, replay, options):
    """What the lines of a tree size were made from: a comment in the file."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    accepted = sum(len(way) - 1 for _, _, way, _ in replay.rounds)
    return f"{rows} rows: {len(replay.rounds)} rounds, {accepted} accepted tokens; commit {commit}; {cpu}; {options}"


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("target", nargs="?")
    ap.add_argument("lens", nargs="?")
    ap.add_argument("--records", nargs="+")
    ap.add_argument("--rows", default="16,32,64")
    ap.add_argument("--csv", required=True)
    ap.add_argument("--append", action="store_true")
    ap.add_argument("--options", default="", help="what the records were made with, for the table")
    ap.add_argument("--page")
    ap.add_argument("--svg")
    a = ap.parse_args()
    if a.records:
        records = pd.Records(a.records)
        n_layer, lenses = read_lens(a.lens)
        by_depth = probabilities(pd.Head(a.target), records, lenses)
        with open(a.csv, "a" if a.append else "w", newline="") as f:
            out = csv.writer(f, lineterminator="\n")
            if not a.append:
                out.writerow(FIELDS)
            for rows in map(int, a.rows.split(",")):
                replay = Replay(records, rows, by_depth, n_layer)
                f.write(f"# {about(rows, replay, a.options)}\n")
                out.writerows(lines(replay, rows))
    text = open(a.csv).read().splitlines()
    data = list(csv.DictReader(line for line in text if not line.startswith("# ")))
    if a.page:
        write_page(a.page, a.svg, data, [line[2:] for line in text if line.startswith("# ")])
    print(table(data))


if __name__ == "__main__":
    main()
