"""What tools/prune_record.c writes, as numpy arrays, and the arithmetic that training and reports share. Not run by itself."""
import struct
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "ref"))
import gguf_read  # noqa: E402

WEIGHTS = 12
USED = 9     # weights that a lens may set; the others stay 0
MAX_CAND = 16
REST_MIN = 1e-3


class Round:
    """A tree, what the draft proposed below its rows, and the way the target took."""

    def __init__(self, prompt, position, n_row, token, parent, draft_p, p, rank, visited, drawn, saved, states):
        self.prompt, self.position, self.n_row = prompt, position, n_row
        self.token, self.parent, self.draft_p, self.p, self.rank = token, parent, draft_p, p, rank
        self.visited, self.drawn, self.saved, self.states = visited, drawn, saved, states


class Records:
    """All files together. states are views into the files: [n_saved, n_depth + 1, n_embd] of f16."""

    def __init__(self, paths):
        self.names, self.rounds, self.prompt_states = [], [], []
        for path in paths:
            self.read(np.memmap(path, np.uint8, "r"))

    def read(self, d):
        if bytes(d[:8]) != b"LVPRUNE1":
            raise SystemExit("not a record of prune_record")
        self.n_embd, self.n_layer, n_depth = struct.unpack("<3I", d[8:20].tobytes())
        self.depths = list(struct.unpack("<16I", d[20:84].tobytes())[:n_depth])
        (self.fingerprint,) = struct.unpack("<Q", d[84:92].tobytes())
        at, row = 92, (n_depth + 1) * self.n_embd * 2
        while at + 32 <= len(d):
            kind, _, position, n_node, n_row, n_saved, n_visited, n_text = struct.unpack("<8I", d[at:at + 32].tobytes())
            size = n_text if kind == 0 else n_saved * row if kind == 1 else \
                n_node * 16 + (n_node + 3) // 4 * 4 + n_visited * 8 + n_saved * 4 + n_saved * row
            if at + 32 + size > len(d):
                break  # cut off: the last prompt ends here
            at += 32
            if kind == 0:
                self.names.append(d[at:at + n_text].tobytes().decode())
            elif kind == 1:
                self.prompt_states.append((len(self.names) - 1, self.states(d, at, n_saved, n_depth)))
            else:
                self.rounds.append(self.round(d, at, position, n_node, n_row, n_saved, n_visited, n_depth))
            at += size

    def states(self, d, at, n, n_depth):
        return d[at:at + n * (n_depth + 1) * self.n_embd * 2].view(np.float16).reshape(n, n_depth + 1, self.n_embd)

    def round(self, d, at, position, n_node, n_row, n_saved, n_visited, n_depth):
        def take(kind, n):
            nonlocal at
            a = np.array(d[at:at + n * np.dtype(kind).itemsize]).view(kind)
            at += a.nbytes
            return a

        token, parent = take(np.int32, n_node), take(np.int32, n_node)
        draft_p, p = take(np.float32, n_node), take(np.float32, n_node)
        rank = take(np.uint8, n_node)
        at += -n_node % 4
        visited, drawn, saved = take(np.int32, n_visited), take(np.int32, n_visited), take(np.int32, n_saved)
        return Round(len(self.names) - 1, position, n_row, token, parent, draft_p, p, rank, visited, drawn, saved,
                     self.states(d, at, n_saved, n_depth))


class Nodes:
    """Rows with candidates, padded: token, p, rank [n, MAX_CAND] with n_cand; child: the row of a candidate or -1."""

    def __init__(self, records, on_path, prompts=None):
        rows = []
        self.round_of, self.saved_of = [], []
        for i, r in enumerate(records.rounds):
            if prompts is not None and r.prompt not in prompts:
                continue
            depth = np.zeros(len(r.parent), int)
            for k in range(1, len(r.parent)):
                depth[k] = depth[r.parent[k]] + 1
            truth = {int(v): int(t) for v, t in zip(r.visited, r.drawn)}
            below = {}
            for k in range(1, len(r.parent)):
                below.setdefault(int(r.parent[k]), []).append(k)
            for s, row in enumerate(r.saved):
                row = int(row)
                if on_path and row not in truth:
                    continue
                c = sorted(below[row], key=lambda k: (k >= r.n_row, -r.p[k]))[:MAX_CAND]
                taken = next((j for j, k in enumerate(c) if r.token[k] == truth.get(row)), -1)
                rows.append((row, depth[row], c, taken, row in truth))
                self.round_of.append(i)
                self.saved_of.append(s)
        n = len(rows)
        self.n = n
        self.token = np.zeros((n, MAX_CAND), np.int32)
        self.p = np.zeros((n, MAX_CAND), np.float64)
        self.rank = np.zeros((n, MAX_CAND))
        self.child = np.full((n, MAX_CAND), -1)
        self.n_cand = np.zeros(n, int)
        self.depth, self.taken, self.row = np.zeros(n), np.zeros(n, int), np.zeros(n, int)
        self.known = np.zeros(n, bool)
        for i, (row, depth, c, taken, known) in enumerate(rows):
            r = records.rounds[self.round_of[i]]
            m = len(c)
            self.token[i, :m], self.p[i, :m], self.rank[i, :m] = r.token[c], r.p[c], r.rank[c]
            self.child[i, :m] = [k if k < r.n_row else -1 for k in c]
            self.n_cand[i], self.depth[i], self.taken[i], self.row[i], self.known[i] = m, depth, taken, row, known
        self.there = np.arange(MAX_CAND)[None] < self.n_cand[:, None]
        self.prompt = np.array([records.rounds[i].prompt for i in self.round_of], int)

    def states(self, records, i_depth):
        return np.array([records.rounds[i].states[s, i_depth] for i, s in zip(self.round_of, self.saved_of)], np.float32)


class Head:
    """Final norm and head of the target. Weights of the tokens that are asked for, in f32."""

    def __init__(self, path):
        keys, tensors = gguf_read.read(path)
        self.norm = tensors["output_norm.weight"].array().astype(np.float64)
        self.tensor = tensors.get("output.weight") or tensors["token_embd.weight"]
        self.eps = next(v for k, v in keys.items() if k.endswith("layer_norm_rms_epsilon"))
        self.n_embd = self.tensor.dim[0]
        self.place = np.full(self.tensor.dim[1], -1)  # of a token in `known`
        self.known = np.zeros((0, self.n_embd), np.float32)

    def rows(self, tokens):
        """f32 [.., n_embd]; only these are decoded."""
        t = self.tensor
        new = np.unique(tokens)
        new = new[self.place[new] < 0]
        if len(new):
            blocks = t.data.reshape(t.dim[1], -1)[new].reshape(-1, t.block_bytes)
            self.place[new] = len(self.known) + np.arange(len(new))
            self.known = np.concatenate([self.known, t.decode(blocks).astype(np.float32, copy=False).reshape(len(new), self.n_embd)])
        return self.known[self.place[tokens]]

    def normed(self, h):
        return h / np.sqrt((h.astype(np.float64) ** 2).mean(1, keepdims=True) + self.eps) * self.norm

    def scores(self, nodes, h):
        """Logits of each node's candidates for states h [n, n_embd]."""
        out = np.zeros(nodes.p.shape)
        x = self.normed(h).astype(np.float32)
        self.rows(np.unique(nodes.token))  # decoded once
        for a in range(0, nodes.n, 512):
            out[a:a + 512] = np.einsum("ne,nce->nc", x[a:a + 512], self.rows(nodes.token[a:a + 512]))
        return out


def features(nodes, score=None):
    """As src/prune/predict.c: [n, MAX_CAND, WEIGHTS]."""
    x = np.zeros((nodes.n, MAX_CAND, WEIGHTS))
    p = np.where(nodes.there, np.clip(nodes.p, 1e-6, 1), 0)
    rest = np.clip(1 - p.sum(1), REST_MIN, 1)
    x[..., 0] = 1
    x[..., 1] = np.log(np.where(nodes.there, p, 1) / rest[:, None])
    x[..., 5] = np.log1p(nodes.depth)[:, None]
    x[..., 6] = np.log1p(nodes.rank)
    x[..., 7] = np.log(nodes.n_cand)[:, None]
    if score is not None:
        s = np.where(nodes.there, np.clip(score, -1e3, 1e3), -np.inf)
        order = np.sort(s, 1)
        best, second = order[:, -1:], order[:, -2:-1]
        lse = best + np.log(np.exp(s - best).sum(1, keepdims=True))
        single = nodes.n_cand[:, None] == 1
        with np.errstate(invalid="ignore"):
            other = np.where(s < best, best, second)
            x[..., 2] = np.clip(s - lse, -15, 0)
            x[..., 3] = np.clip(s / 10, -5, 5)
            x[..., 4] = np.where(single, 0, np.clip((s - other) / 4, -4, 4))
        x[..., 8] = single
    x[~nodes.there] = 0
    return x


def probabilities(nodes, x, w):
    """Of each candidate; what is left is none of them."""
    z = np.where(nodes.there, np.clip(x @ w, -20, 20), -np.inf)
    top = np.maximum(z.max(1, keepdims=True), 0)
    e = np.exp(z - top)
    return e / (e.sum(1, keepdims=True) + np.exp(-top))


def nll(nodes, p):
    """Nats a node."""
    q = np.where(nodes.taken >= 0, p[np.arange(nodes.n), np.maximum(nodes.taken, 0)], 1 - p.sum(1))
    return float(-np.log(np.maximum(q, 1e-9)).mean())


def fit(nodes, x, used, prior, strength=1.0, steps=25):
    """Newton's method on the likelihood of what the target took, weights normal around the prior."""
    w = prior.copy()
    hit = np.zeros(nodes.p.shape)
    got = nodes.taken >= 0
    hit[got, nodes.taken[got]] = 1
    xu = x[..., used]
    for _ in range(steps):
        p = probabilities(nodes, x, w)
        g = np.einsum("nc,nck->k", hit - p, xu) - strength * (w - prior)[used]
        mean = np.einsum("nc,nck->nk", p, xu)
        h = np.einsum("nc,nck,ncl->kl", p, xu, xu, optimize=True) - mean.T @ mean + strength * np.eye(len(used))
        step = np.linalg.solve(h, g)
        w[used] += step / max(1.0, np.abs(step).max())
        if np.abs(step).max() < 1e-5:
            break
    return w
