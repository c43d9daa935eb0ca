#!/usr/bin/env python3
"""Makes and checks tests/golden/tiny_forward.jsonl: what the tiny presets should compute.

  make_golden.py make  --tiny TINY_GGUF [--out FILE]   writes the records anew
  make_golden.py check --tiny TINY_GGUF [--golden FILE]
        the generator's bytes and the reference's numbers are still those of the file
  make_golden.py faults --tiny TINY_GGUF
        plants known bugs in the reference: the change of the log-probabilities that each would cause,
        and how it compares to the noise of int8 activations

Exit code 77: numpy is missing.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import reference
except ModuleNotFoundError as e:
    print("skipped: python module %s is missing" % e.name)
    sys.exit(77)

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "tiny_forward.jsonl")
N_PROMPT, N_GREEDY = 60, 32


def prompt(model, name):
    """Random ids, no control tokens except a beginning token where the model adds one.
    splitmix64, so that numpy's generators do not matter."""
    n_vocab = len(model.keys["tokenizer.ggml.tokens"])
    state = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    ids = [model.keys["tokenizer.ggml.bos_token_id"]] if model.keys["tokenizer.ggml.add_bos_token"] else []
    mask = (1 << 64) - 1
    while len(ids) < N_PROMPT:
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
        ids.append((z ^ z >> 31) % (n_vocab - 3))
    return ids


def presets(tiny):
    return subprocess.run([tiny, "--list"], check=True, capture_output=True, text=True).stdout.split()


def generate(tiny, name, folder):
    path = os.path.join(folder, name + ".gguf")
    subprocess.run([tiny, name, path], check=True)
    with open(path, "rb") as f:
        return path, hashlib.sha256(f.read()).hexdigest()


def noise(model, rec):
    """[largest, mean, arg-max gap] against the record with int8 activations and f16 KV."""
    model.int8 = True
    try:
        return [round(float(v), 4) for v in reference.difference(model, rec)]
    finally:
        model.int8 = False


def make(args):
    with tempfile.TemporaryDirectory() as folder, open(args.out, "w", encoding="utf-8") as out:
        for name in presets(args.tiny):
            path, digest = generate(args.tiny, name, folder)
            model = reference.Model(path)
            ids = prompt(model, name)
            rec = {"preset": name, "sha256": digest, "ids": ids, **reference.record(model, ids, N_GREEDY)}
            rec["int8_noise"] = noise(model, rec)
            json.dump(rec, out, separators=(",", ":"))
            out.write("\n")
            print("%-14s %7d bytes, %2d different of %2d greedy tokens, least gap %.3f, int8 noise max %.3f mean %.3f"
                  % (name, os.path.getsize(path), len(set(rec["greedy"])), len(rec["greedy"]), min(rec["gap"]),
                     *rec["int8_noise"][:2]), flush=True)
    return 0


def check(args):
    bad, seen = 0, set()
    with tempfile.TemporaryDirectory() as folder:
        for line in open(args.golden, encoding="utf-8"):
            rec = json.loads(line)
            name = rec["preset"]
            seen.add(name)
            path, digest = generate(args.tiny, name, folder)
            model = reference.Model(path)
            most, _, wrong = reference.difference(model, rec)
            ok = digest == rec["sha256"] and prompt(model, name) == rec["ids"] and most <= 0.0005 and wrong <= 0.001
            bad += not ok
            print("%-4s %-14s max %.5f, bytes %s" % ("ok" if ok else "BAD", name, most,
                                                     "equal" if digest == rec["sha256"] else "changed"))
        for name in sorted(set(presets(args.tiny)) - seen):
            bad += 1
            print("BAD  %-14s has no record" % name)
    return 1 if bad else 0


# ---- planted bugs: each changes one field of a correct model, and says whether it applies ----------------

def fault_rope_pairs(m):
    m.neox = not m.neox
    return True


def fault_no_rope_factors(m):
    had, m.freq_div = m.freq_div is not None, None
    return had


def fault_no_linear(m):
    had = max(m.rope_factor) != 1
    m.rope_factor = [1.0] * m.n_layer
    return had


def fault_linear_everywhere(m):
    if m.arch != "gemma3" or max(m.rope_factor) == 1:
        return False
    m.rope_factor = [max(m.rope_factor)] * m.n_layer
    return True


def fault_one_rope_base(m):
    had = len(set(m.rope_base)) > 1
    m.rope_base = [m.rope_base[0]] * m.n_layer
    return had


def fault_default_rope_base(m):
    had = m.arch != "gemma3" and m.rope_base[0] != 10000.0
    m.rope_base = [10000.0] * m.n_layer
    return had


def window_by(m, delta):
    had = max(m.window) > 0
    m.window = [w + delta if w else 0 for w in m.window]
    return had


def fault_window_longer(m):
    return window_by(m, 1)


def fault_window_shorter(m):
    return window_by(m, -1)


def fault_no_window(m):
    had = max(m.window) > 0
    m.window = [0] * m.n_layer
    return had


def fault_all_local(m):
    had = max(m.window) > 0
    m.window = [max(m.window)] * m.n_layer
    return had


def drop(m, part):
    gone = [n for n in m.w if part in n]
    for n in gone:
        del m.w[n]
    return bool(gone)


def fault_no_q_bias(m):
    return drop(m, "attn_q.bias")


def fault_no_v_bias(m):
    return drop(m, "attn_v.bias")


def fault_no_qk_norm(m):
    return drop(m, "attn_q_norm")


def fault_no_post_norm(m):
    return drop(m, "post_attention_norm")


def fault_no_post_ffw_norm(m):
    return drop(m, "post_ffw_norm")


def fault_no_embd_scale(m):
    had, m.embd_scale = m.embd_scale != 1, np.float32(1)
    return had


def fault_other_activation(m):
    m.act = reference.silu if m.act is reference.gelu else reference.gelu
    return True


def fault_eps(m):
    m.eps *= 1000
    return True


def fault_kv_heads(m):
    """query head i reads KV head i % n_head_kv"""
    if m.n_head_kv in (1, m.n_head):
        return False
    turn = np.arange(m.n_head).reshape(m.n_head_kv, -1).T.reshape(-1)
    rows = (turn[:, None] * m.head_dim + np.arange(m.head_dim)).reshape(-1)
    for il in range(m.n_layer):
        p = "blk.%d." % il
        m.w[p + "attn_q.weight"] = m.w[p + "attn_q.weight"][rows]
        m.w[p + "attn_output.weight"] = m.w[p + "attn_output.weight"][:, rows]
    return True


def faults(args):
    records = {r["preset"]: r for r in map(json.loads, open(args.golden, encoding="utf-8"))}
    plant = {n[len("fault_"):]: f for n, f in globals().items() if n.startswith("fault_")}
    weak = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, rec in records.items():
            if name.startswith(("type-", "mix-")):  # their noise is larger, their code paths the same
                continue
            path, _ = generate(args.tiny, name, folder)
            for what, f in plant.items():
                m = reference.Model(path)
                if not f(m):
                    continue
                most, mean, _ = reference.difference(m, rec)
                noise_mean = max(rec["int8_noise"][1], 1e-4)
                found = mean > 3 * noise_mean
                weak += not found
                print("%-14s %-18s max %7.3f mean %7.4f = %7.1f x noise%s"
                      % (name, what, most, mean, mean / noise_mean, "" if found else "  HIDDEN"), flush=True)
    return 1 if weak else 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("command", choices=("make", "check", "faults"))
    p.add_argument("--tiny", required=True, help="the program tiny_gguf")
    p.add_argument("--golden", default=GOLDEN)
    p.add_argument("--out", default=GOLDEN)
    args = p.parse_args()
    return {"make": make, "check": check, "faults": faults}[args.command](args)


if __name__ == "__main__":
    sys.exit(main())
