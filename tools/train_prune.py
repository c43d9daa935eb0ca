#!/usr/bin/env python3
"""Fits a lens (src/prune/lens.h) and the weights of the predictor to what tools/prune_record.c wrote.

usage: train_prune.py TARGET.gguf --out FILE|FOLDER --train A.bin .. --test B.bin .. [--depths 16,20,24] [--rank N] [--report R.json]

Prompts are split: one in seven of the training files is for validation (ridge strength, rank); the test files are only
reported on. For each depth: ridge regression from the state there to the normed last state, gain * identity taken out, the
rest brought to low rank in the metric of the head's rows (what does not move logits costs no rank); the same directions, but
moved along as the likelihood itself wants it, for as long as validation gains (tools/prune_tune.py); and the state as it is. Each
rounded as in the file, with a multinomial logistic model over a node's candidates; validation chooses. Needs numpy and about 4 GB of memory; minutes."""
import argparse
import json
import os
import struct
import zlib

import numpy as np

import prune_data as pd
import prune_tune

CONFIDENCE = [0, 1, 5, 6, 7]   # features that need no lens
ALL = list(range(pd.USED))
RIDGE = 1e-3
RANKS = [0, 32, 64, 128]
OUTLIER = 6.0  # times the median norm: states of a text's first token, which no map should serve


def gather(records, prompts, i_depth):
    """States at a depth and at the end: rows of rounds and of prompts."""
    parts = [r.states[:, [i_depth, -1]] for r in records.rounds if r.prompt in prompts]
    parts += [s[:, [i_depth, -1]] for k, s in records.prompt_states if k in prompts]
    a = np.concatenate(parts).astype(np.float32)
    return a[:, 0], a[:, 1]


def usual(h):
    n = np.linalg.norm(h, axis=1)
    return n < OUTLIER * np.median(n)


class Fit:
    """Sums of the regression at one depth, and maps of any ridge and rank from them."""

    def __init__(self, head, records, prompts, i_depth):
        h, y = gather(records, prompts, i_depth)
        keep = usual(h)
        h, y = h[keep], y[keep]
        z = y / np.sqrt((y.astype(np.float64) ** 2).mean(1, keepdims=True)).astype(np.float32)
        self.n = len(h)
        self.mh, self.mz = h.mean(0, dtype=np.float64), z.mean(0, dtype=np.float64)
        h -= self.mh.astype(np.float32)
        z -= self.mz.astype(np.float32)
        self.hh, self.hz = (h.T @ h).astype(np.float64) / self.n, (h.T @ z).astype(np.float64) / self.n
        self.gain = np.trace(self.hz) / np.trace(self.hh)
        self.cache = {}

    def solve(self, ridge, root):
        """What is left of the map without its gain, and directions that move logits, most first."""
        if ridge not in self.cache:
            e, (m, _) = len(self.hh), root
            rest = np.linalg.solve(self.hh + ridge * np.trace(self.hh) / e * np.eye(e), self.hz) - self.gain * np.eye(e)
            self.cache = {ridge: (rest, np.linalg.eigh(m @ (rest.T @ self.hh @ rest) @ m)[1][:, ::-1])}
        return self.cache[ridge]

    def low_rank(self, ridge, rank, root):
        """V [rank, e], U [e, rank], b: h' = gain h + U V h + b. root: square root of the metric and its inverse."""
        e = len(self.hh)
        if not rank:
            return np.zeros((0, e)), np.zeros((e, 0)), self.mz - self.gain * self.mh
        (m, inv), (rest, p) = root, self.solve(ridge, root)
        p = p[:, :rank]
        v, u = (rest @ m @ p).T, inv @ p
        size = np.sqrt(np.einsum("re,ef,rf->r", v, self.hh, v, optimize=True))[:, None]  # what goes through int8 alike
        v, u = v / size, u * size.T
        return v, u, self.mz - self.gain * self.mh - u @ (v @ self.mh)


def metric(head, nodes):
    """Square root of the covariance of head rows of candidates, norm weights included, and its inverse."""
    tokens = np.unique(nodes.token[nodes.there])
    e = head.rows(tokens) * head.norm
    e -= e.mean(0)
    w, q = np.linalg.eigh((e.T @ e) / len(e))
    w = np.maximum(w, w.max() * 1e-4)
    return (q * np.sqrt(w)) @ q.T, (q / np.sqrt(w)) @ q.T


def q8_0(a):
    """Bytes of rows as Q8_0, and what they stand for."""
    b = a.astype(np.float32).reshape(-1, 32)
    d = (np.abs(b).max(1, keepdims=True) / 127).astype(np.float16)
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.where(d > 0, np.round(b / d.astype(np.float32)), 0).clip(-127, 127).astype(np.int8)
    out = np.concatenate([d.view(np.uint8), q.view(np.uint8)], 1).tobytes()
    return out, (d.astype(np.float32) * q).reshape(a.shape)


class Lens:
    """A map as it lies in the file."""

    def __init__(self, depth, gain, v, u, b):
        self.depth, self.gain, self.rank = depth, np.float32(gain), len(v)
        self.v_bytes, self.v = q8_0(v) if self.rank else (b"", v)
        self.u_bytes, self.u = q8_0(u) if self.rank else (b"", u)
        self.b = b.astype(np.float16)
        self.weight = np.zeros(pd.WEIGHTS)

    def apply(self, h):
        return self.gain * h + (h @ self.v.T.astype(np.float32)) @ self.u.T.astype(np.float32) + self.b.astype(np.float32)


def write_lens(path, records, lenses):
    if os.path.isdir(path):
        path = os.path.join(path, f"{records.fingerprint:016x}.lens")
    head = b"".join(struct.pack("<IIf", s.depth, s.rank, s.gain) + s.weight.astype("<f4").tobytes() + bytes(4) for s in lenses)
    body = b"".join(s.v_bytes + s.u_bytes + s.b.tobytes() for s in lenses)
    size = 40 + len(head) + len(body) + 4
    data = b"LVLENS01" + struct.pack("<IIQIIII", 1, size, records.fingerprint, records.n_embd, records.n_layer, len(lenses), 0)
    data += head + body
    with open(path, "wb") as f:
        f.write(data + struct.pack("<I", zlib.crc32(data)))
    print(f"{path}: {size} bytes")


def measures(nodes, p):
    """Nats a node; how often the likeliest candidate, or none, is what the target took, where it is among them."""
    some = nodes.taken >= 0
    return {"nll": round(pd.nll(nodes, p), 4), "top1": round(float((p.argmax(1) == nodes.taken)[some].mean()), 4)}


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("target")
    ap.add_argument("--train", nargs="+", required=True)
    ap.add_argument("--test", nargs="+", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--depths", help="those that go into the file; default: all")
    ap.add_argument("--rank", type=int, help="instead of choosing it")
    ap.add_argument("--most", type=int, default=128, help="largest rank to choose")
    ap.add_argument("--epochs", type=int, default=12, help="most of tuning by likelihood; 0: regression alone")
    ap.add_argument("--report")
    a = ap.parse_args()
    head = pd.Head(a.target)
    train, test = pd.Records(a.train), pd.Records(a.test)
    check = [zlib.crc32(n.encode()) % 7 == 6 for n in train.names]  # by name: one that was cut off may be there twice
    check_on = {k for k, c in enumerate(check) if c}
    fit_on = set(range(len(check))) - check_on
    both = set(test.names) & set(train.names)
    if both:
        raise SystemExit(f"prompts in training and test: {sorted(both)}")
    sets = [pd.Nodes(train, True, fit_on), pd.Nodes(train, True, check_on), pd.Nodes(test, True)]
    print(f"{len(fit_on)} + {len(check_on)} prompts to fit and choose, {len(test.names)} to test; on-path nodes with candidates: "
          + ", ".join(str(s.n) for s in sets) + f"; rounds {len(train.rounds)}, {len(test.rounds)}")
    prior = np.zeros(pd.WEIGHTS)
    prior[1] = 1
    root = metric(head, sets[0])
    report = {"prompts": [len(fit_on), len(check_on), len(test.names)], "nodes": [s.n for s in sets], "depth": {}}
    x = [pd.features(s) for s in sets]
    w = pd.fit(sets[0], x[0], CONFIDENCE, prior)
    report["draft"] = measures(sets[2], pd.probabilities(sets[2], x[2], prior))
    report["confidence"] = measures(sets[2], pd.probabilities(sets[2], x[2], w))
    print("draft's word   ", report["draft"])
    print("confidence     ", report["confidence"], np.round(w[CONFIDENCE], 2))
    want = [int(d) for d in a.depths.split(",")] if a.depths else train.depths
    lenses = []
    for depth in want:
        i = train.depths.index(depth)
        states = [s.states(r, i) for s, r in zip(sets, (train, train, test))]
        f = Fit(head, train, fit_on, i)
        none = np.zeros((0, train.n_embd))

        def refit(h):
            xs = [pd.features(s, head.scores(s, x)) for s, x in zip(sets, h)]
            w = pd.fit(sets[0], xs[0], ALL, prior)
            return w, [pd.nll(s, pd.probabilities(s, x, w)) for s, x in zip(sets, xs)]

        def judge(what, lens):
            lens.weight, got = refit([lens.apply(h) for h in states])
            print(f"depth {depth} {what}: nats to fit {got[0]:.4f}, validation {got[1]:.4f}, test {got[2]:.4f}", flush=True)
            return got[1], lens

        tried = [judge("as it is", Lens(depth, 1.0, none, none.T, np.zeros(train.n_embd)))]
        print(f"  weights {np.round(tried[0][1].weight[:pd.USED], 2)}")
        for rank in RANKS if a.rank is None else [a.rank]:
            if rank > a.most:
                continue
            v, u, b = f.low_rank(RIDGE, rank, root)
            tried.append(judge(f"regression, rank {rank}", Lens(depth, f.gain, v, u, b)))
            if a.epochs and rank: # directions from regression, but nothing is moved along them yet
                m = prune_tune.tune(head, sets[:2], states[:2], {"gain": 1.0, "v": v, "u": 0 * u, "b": 0 * b},
                                    lambda h: refit(h), a.epochs, np.random.default_rng(1))
                tried.append(judge(f"likelihood, rank {rank}", Lens(depth, m["gain"], m["v"], m["u"], m["b"])))
        lens = min(tried, key=lambda t: t[0] + 0.002 * t[1].rank / 32)[1]  # rank must earn its bytes
        xt = pd.features(sets[2], head.scores(sets[2], lens.apply(states[2])))
        got = measures(sets[2], pd.probabilities(sets[2], xt, lens.weight))
        report["depth"][depth] = {"rank": lens.rank, "rows": f.n, **got, "weight": np.round(lens.weight, 3).tolist()}
        print(f"depth {depth}: rank {lens.rank}, {f.n} rows, test {got}, weights {np.round(lens.weight[:pd.USED], 2)}", flush=True)
        lenses = sorted(lenses + [lens], key=lambda s: s.depth)
        write_lens(a.out, train, lenses[:8])  # what there is, if it is cut short
    write_lens(a.out, train, lenses)
    if a.report:
        with open(a.report, "w") as out:
            json.dump(report, out, indent=1)


if __name__ == "__main__":
    main()
