"""Lens matrices from likelihood: the state as it is, moved so that a node's own candidates are told apart. Part of
tools/train_prune.py."""
import numpy as np

import prune_data as pd

BATCH = 256
RATE = 1e-3     # of the state's size, a step of Adam: more, and it learns the prompts by heart
PATIENCE = 3    # epochs without a better validation


def backward(head, nodes, at, h, m, weight):
    """Gradients of the nats of nodes `at` by V, U and b, for states h [batch, n_embd]."""
    t = h @ m["v"].T
    y = m["gain"] * h + t @ m["u"].T + m["b"]
    size = np.sqrt((y ** 2).mean(1, keepdims=True) + head.eps)
    norm = head.norm.astype(np.float32)
    e = head.rows(nodes.token[at])
    there = nodes.there[at]
    s = np.einsum("be,bce->bc", y / size * norm, e, optimize=True)
    part = slice_of(nodes, at)
    p = pd.probabilities(part, pd.features(part, s), weight)
    hit = np.zeros_like(p)
    got = np.flatnonzero(part.taken >= 0)
    hit[got, part.taken[got]] = 1
    dz = np.where(there, p - hit, 0)
    sm = np.where(there, s, -np.inf)
    soft = np.exp(sm - sm.max(1, keepdims=True))
    soft /= soft.sum(1, keepdims=True)
    ds = weight[3] / 10 * dz + weight[2] * (dz - soft * dz.sum(1, keepdims=True)) + weight[4] / 4 * dz
    order = np.argsort(sm, 1)
    best, second = order[:, -1], order[:, -2]
    for i in np.flatnonzero(part.n_cand > 1):  # each is compared with the best of the others
        own = weight[4] / 4 * dz[i]
        ds[i, best[i]] -= own.sum() - own[best[i]]
        ds[i, second[i]] -= own[best[i]]
    ds[part.n_cand == 1] -= weight[4] / 4 * dz[part.n_cand == 1]
    dx = np.einsum("bc,bce->be", np.where(there, ds, 0).astype(np.float32), e, optimize=True) * norm
    dy = (dx / size - y * (dx * y).sum(1, keepdims=True) / (y.shape[1] * size ** 3)) / len(at)
    return {"v": (dy @ m["u"]).T @ h, "u": dy.T @ t, "b": dy.sum(0)}


def slice_of(nodes, at):
    s = object.__new__(pd.Nodes)
    for k, v in nodes.__dict__.items():
        s.__dict__[k] = len(at) if k == "n" else v if isinstance(v, list) else v[at]
    return s


def tune(head, sets, states, m, refit, epochs, rng):
    """m: gain, v, u, b. sets, states: to fit, to check. refit(h' of both) -> weights, nats of both. Returns the best m."""
    m = {k: np.float32(v) for k, v in m.items()}
    apply = lambda h: m["gain"] * h + (h @ m["v"].T) @ m["u"].T + m["b"]
    weight, first = refit([apply(h) for h in states])
    best, best_m, worse = first[1], dict(m), 0
    mean = {k: np.zeros_like(m[k]) for k in "vub"}
    square = {k: np.zeros_like(m[k]) for k in "vub"}
    size = np.sqrt((apply(states[0][:1000]) ** 2).mean())
    scale = {"v": RATE * np.sqrt((m["v"] ** 2).mean()), "u": RATE * size / np.sqrt(len(m["v"])), "b": RATE * size}
    step = 0
    for epoch in range(epochs):
        order = rng.permutation(sets[0].n)
        for a in range(0, len(order), BATCH):
            at = np.sort(order[a:a + BATCH])
            g = backward(head, sets[0], at, states[0][at], m, weight)
            step += 1
            for k in "vub":
                mean[k] += 0.1 * (g[k] - mean[k])
                square[k] += 0.01 * (g[k] ** 2 - square[k])
                move = mean[k] / (1 - 0.9 ** step) / (np.sqrt(square[k] / (1 - 0.99 ** step)) + 1e-12)
                m[k] = (m[k] - scale[k] * move).astype(np.float32)
        weight, got = refit([apply(h) for h in states])
        print(f"  epoch {epoch}: nats to fit {got[0]:.4f}, validation {got[1]:.4f}", flush=True)
        if got[1] < best:
            best, best_m, worse = got[1], dict(m), 0
        else:
            worse += 1
            if worse == PATIENCE:
                break
    return best_m
