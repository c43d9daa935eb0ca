#!/usr/bin/env python3
"""Independent forward pass in numpy: what the logits of a GGUF model should be.

Weights are dequantized to f32, norms and softmax run in f64, activations are not quantized and
the KV cache is f32. Nothing is shared with the engine's C code.

  reference.py run MODEL.gguf --ids 1,2,3 [-n 32]    one JSON record on stdout
  reference.py nll MODEL.gguf --ids-file FILE [--window 250]
                                        negative log-likelihood of a text, one JSON record on stdout
  reference.py check GOLDEN.jsonl --models DIR [--only NAME]
                                        largest differences from another implementation's records

Exit code 77: numpy or the models are missing.
"""

import argparse
import json
import os
import sys

try:
    import numpy as np
    import gguf_read
except ModuleNotFoundError as e:
    if __name__ != "__main__":
        raise
    print("skipped: python module %s is missing" % e.name)
    sys.exit(77)

END_TEXTS = ("<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>")
N_TOP, N_LAST = 20, 8


def rms_norm(x, w, eps):
    x = x.astype(np.float64)
    r = 1.0 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps)
    return (x * r * w.astype(np.float64)).astype(np.float32)


def silu(x):
    return x / (1.0 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x * x * x)))


def quantize_rows(x):
    """What int8 activations do to x: one scale for 32 values. Only to measure their noise."""
    b = x.reshape(-1, 32)
    amax = np.abs(b).max(axis=1, keepdims=True)
    inv = np.divide(np.float32(127), amax, out=np.zeros_like(amax), where=amax > 0)
    return (np.rint(b * inv) * (amax / np.float32(127))).astype(np.float32).reshape(x.shape)


class Model:
    """A model and, as plain fields, everything that its family decides. make_golden.py
    changes fields to see whether a golden would notice."""

    def __init__(self, path, int8=False):
        self.keys, tensors = gguf_read.read(path)
        self.int8 = int8  # imitate int8 activations and an f16 KV cache
        self.type = {n: t.type for n, t in tensors.items()}
        self.w = {n: t.array() for n, t in tensors.items()}
        a = self.arch = self.keys["general.architecture"]
        if a not in ("llama", "qwen2", "qwen3", "gemma3"):
            sys.exit("%s: architecture %s is not known here" % (path, a))
        key = lambda name, default=None: self.keys.get(a + "." + name, default)
        self.n_layer, self.n_embd = key("block_count"), key("embedding_length")
        self.n_head = key("attention.head_count")
        self.n_head_kv = key("attention.head_count_kv", self.n_head)
        self.head_dim = key("attention.key_length", self.n_embd // self.n_head)
        self.eps = key("attention.layer_norm_rms_epsilon")
        self.n_rot = key("rope.dimension_count", self.head_dim)
        self.neox = a != "llama"
        base, gemma = key("rope.freq_base", 10000.0), a == "gemma3"
        factor = key("rope.scaling.factor", 1.0) if key("rope.scaling.type", "none") == "linear" else 1.0
        is_global = [not gemma or il % 6 == 5 for il in range(self.n_layer)]
        self.window = [0 if g else key("attention.sliding_window") for g in is_global]
        self.rope_base = [base if g else 10000.0 for g in is_global]
        self.rope_factor = [factor if g else 1.0 for g in is_global]
        self.embd_scale = np.float32(np.sqrt(self.n_embd)) if gemma else np.float32(1)
        self.act = gelu if gemma else silu
        self.freq_div = self.w.get("rope_freqs.weight")
        self.head = "output.weight" if "output.weight" in self.w else "token_embd.weight"
        tokens = self.keys.get("tokenizer.ggml.tokens", [])
        self.ends = {i for i, t in enumerate(tokens) if t in END_TEXTS}
        self.ends.add(self.keys.get("tokenizer.ggml.eos_token_id", -1))

    def matmul(self, name, x):
        if self.int8 and self.type[name] not in gguf_read.FLOATS:
            x = quantize_rows(x)
        y = x @ self.w[name].T
        bias = self.w.get(name[:-len("weight")] + "bias")
        return y if bias is None else y + bias

    def rope(self, x, pos, il):
        """x: [n_tok, heads, head_dim]"""
        half = self.n_rot // 2
        freq = self.rope_base[il] ** (-np.arange(half) * 2.0 / self.n_rot)
        if self.freq_div is not None:
            freq = freq / self.freq_div.astype(np.float64)
        angle = pos[:, None] / self.rope_factor[il] * freq
        c, s = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
        ia = np.arange(half) if self.neox else 2 * np.arange(half)
        ib = ia + half if self.neox else ia + 1
        y = x.copy()
        y[..., ia] = x[..., ia] * c - x[..., ib] * s
        y[..., ib] = x[..., ia] * s + x[..., ib] * c
        return y

    def attention(self, h, pos, il, kv):
        p = "blk.%d." % il
        n = len(pos)
        x = rms_norm(h, self.w[p + "attn_norm.weight"], self.eps)
        q = self.matmul(p + "attn_q.weight", x).reshape(n, self.n_head, self.head_dim)
        k = self.matmul(p + "attn_k.weight", x).reshape(n, self.n_head_kv, self.head_dim)
        v = self.matmul(p + "attn_v.weight", x).reshape(n, self.n_head_kv, self.head_dim)
        if p + "attn_q_norm.weight" in self.w:
            q = rms_norm(q, self.w[p + "attn_q_norm.weight"], self.eps)
            k = rms_norm(k, self.w[p + "attn_k_norm.weight"], self.eps)
        q, k = self.rope(q, pos, il), self.rope(k, pos, il)
        if self.int8:
            k, v = k.astype(np.float16).astype(np.float32), v.astype(np.float16).astype(np.float32)
        if kv[il] is not None:
            k, v = np.concatenate([kv[il][0], k]), np.concatenate([kv[il][1], v])
        kv[il] = (k, v)
        dist = pos[:, None] - np.arange(len(k))[None, :]
        hidden = dist < 0
        if self.window[il]:
            hidden |= dist >= self.window[il]
        out = np.empty_like(q)
        for i in range(self.n_head):
            j = i * self.n_head_kv // self.n_head
            s = (q[:, i] @ k[:, j].T).astype(np.float64) / np.sqrt(self.head_dim)
            s[hidden] = -np.inf
            e = np.exp(s - s.max(axis=1, keepdims=True))
            out[:, i] = (e / e.sum(axis=1, keepdims=True)).astype(np.float32) @ v[:, j]
        y = self.matmul(p + "attn_output.weight", out.reshape(n, -1))
        post = self.w.get(p + "post_attention_norm.weight")
        return y if post is None else rms_norm(y, post, self.eps)

    def feed_forward(self, h, il):
        p = "blk.%d." % il
        x = rms_norm(h, self.w[p + "ffn_norm.weight"], self.eps)
        g, u = self.matmul(p + "ffn_gate.weight", x), self.matmul(p + "ffn_up.weight", x)
        y = self.matmul(p + "ffn_down.weight", (self.act(g.astype(np.float64)) * u).astype(np.float32))
        post = self.w.get(p + "post_ffw_norm.weight")
        return y if post is None else rms_norm(y, post, self.eps)

    def forward(self, ids, kv, n_out=None):
        """Logits in f64 of the last n_out new positions; kv: a list this function extends."""
        if not kv:
            kv.extend([None] * self.n_layer)
        start = 0 if kv[0] is None else len(kv[0][0])
        pos = start + np.arange(len(ids))
        h = self.w["token_embd.weight"][ids] * self.embd_scale
        for il in range(self.n_layer):
            h = h + self.attention(h, pos, il, kv)
            h = h + self.feed_forward(h, il)
        h = rms_norm(h[-n_out:] if n_out else h, self.w["output_norm.weight"], self.eps)
        return self.matmul(self.head, h).astype(np.float64)


def logsumexp(x):
    m = x.max()
    return float(m + np.log(np.exp(x - m).sum()))


def order(x):
    """Token ids by falling logit, lowest id first among equals."""
    return np.argsort(-x, kind="stable")


def record(model, ids, n_greedy):
    """positions .. greedy_logsumexp, as in tests/golden/forward.jsonl"""
    kv, n_last = [], min(N_LAST, len(ids))
    out = model.forward(np.array(ids), kv, n_last)
    r = {
        "positions": list(range(len(ids) - n_last, len(ids))),
        "top": [[[int(t), round(float(x[t]), 4)] for t in order(x)[:N_TOP]] for x in out],
        "logsumexp": [round(logsumexp(x), 4) for x in out],
        "greedy": [], "logit": [], "gap": [], "greedy_logsumexp": [],
    }
    x = out[-1]
    for _ in range(n_greedy):
        best = order(x)[:2]
        r["greedy"].append(int(best[0]))
        r["logit"].append(round(float(x[best[0]]), 4))
        r["gap"].append(round(float(x[best[0]] - x[best[1]]), 4))
        r["greedy_logsumexp"].append(round(logsumexp(x), 4))
        if int(best[0]) in model.ends:
            break
        x = model.forward(best[:1], kv)[0]
    return r


def difference(model, rec):
    """(largest, mean) difference of log-probabilities from a record, its greedy tokens forced, and the largest
    gap at which the arg-max is another token."""
    forced = rec["ids"] + rec["greedy"][:-1]
    n_out = len(rec["positions"]) + len(rec["greedy"]) - 1
    out = model.forward(np.array(forced), [], n_out)
    d, wrong = [], 0.0
    for i, pos in enumerate(rec["positions"]):
        x = out[pos - (len(forced) - n_out)]
        lse = logsumexp(x)
        d += [abs((x[t] - lse) - (v - rec["logsumexp"][i])) for t, v in rec["top"][i]]
    for i, t in enumerate(rec["greedy"]):
        x = out[len(rec["ids"]) - 1 + i - (len(forced) - n_out)]
        d.append(abs((x[t] - logsumexp(x)) - (rec["logit"][i] - rec["greedy_logsumexp"][i])))
        if int(order(x)[0]) != t:
            wrong = max(wrong, rec["gap"][i])
    return max(d), sum(d) / len(d), wrong


def nll(model, name, path, window):
    """Mean negative log-likelihood of each token but the first of every window; no window knows the one before."""
    ids = [int(t) for t in open(path, encoding="utf-8").read().replace(",", " ").split()]
    windows = [ids[i:i + window] for i in range(0, len(ids) - window + 1, window)]
    total = 0.0
    for w in windows:
        out = model.forward(np.array(w), [], len(w))
        total += sum(logsumexp(out[i]) - float(out[i][w[i + 1]]) for i in range(len(w) - 1))
    return {"model": name, "nll": round(total / sum(len(w) - 1 for w in windows), 6), "windows": windows}


FILES = {  # names of the records of forward.jsonl -> files
    "smol.gguf": "smollm2-135m-instruct-q4_1.gguf",
    "draft.gguf": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "target.gguf": "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    "gemma270.gguf": "gemma-3-270m-q4_k_m.gguf",
}


def check(args):
    model, name, bad, done = None, None, 0, 0
    for line in open(args.golden, encoding="utf-8"):
        rec = json.loads(line)
        if args.only and args.only not in rec["model"]:
            continue
        path = os.path.join(args.models, FILES.get(rec["model"], rec["model"]))
        if not os.path.exists(path):
            print("skip %-14s %s: no such file" % (rec["model"], path))
            continue
        if rec["model"] != name:
            name, model = rec["model"], None  # free the old one first
            model = Model(path, args.int8)
        most, mean, wrong = difference(model, rec)
        limit = 0.02 if model.arch == "gemma3" else 0.005
        ok = most <= limit and wrong <= 0.02
        bad += not ok
        done += 1
        print("%-4s %-14s %-16s max %.5f mean %.5f; arg-max differs up to gap %.3f"
              % ("ok" if ok else "BAD", name, rec["name"], most, mean, wrong), flush=True)
    if not done:
        return 77
    return 1 if bad and not args.int8 else 0


def main():
    top = argparse.ArgumentParser(description="independent forward pass of a GGUF model")
    top.add_argument("--int8", action="store_true", help="imitate int8 activations and f16 KV, to measure their noise")
    sub = top.add_subparsers(dest="command", required=True)
    p = sub.add_parser("run")
    p.add_argument("model")
    p.add_argument("--ids", required=True, help="token ids, with commas")
    p.add_argument("-n", type=int, default=32, help="greedy tokens")
    p = sub.add_parser("nll")
    p.add_argument("model")
    p.add_argument("--ids-file", required=True, help="token ids")
    p.add_argument("--window", type=int, default=250, help="tokens of a window")
    p = sub.add_parser("check")
    p.add_argument("golden")
    p.add_argument("--models", default=os.environ.get("LEVER_MODELS", os.path.expanduser("~/.cache/lever/models")))
    p.add_argument("--only", help="part of a model's name")
    args = top.parse_args()
    if args.command == "check":
        return check(args)
    if args.command == "nll":
        names = {v: k for k, v in FILES.items()}
        name = os.path.basename(args.model)
        print(json.dumps(nll(Model(args.model, args.int8), names.get(name, name), args.ids_file, args.window)))
        return 0
    ids = [int(t) for t in args.ids.split(",")]
    print(json.dumps({"model": os.path.basename(args.model), "ids": ids,
                      **record(Model(args.model, args.int8), ids, args.n)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
