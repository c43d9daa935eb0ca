#!/usr/bin/env python3
"""From traces of `lever run --trace` to an acceptance table: how a draft and a target agree, by task.

usage: fit_acceptance.py [--how TEXT] OUT.json NAME TASK=TRACE.jsonl [TASK=TRACE.jsonl ...]

TEXT says how the traces were made; it is kept in the table. A place is a node of a recorded tree whose children are known. On the text's own path its outcome is known too: the rank of the
target's token among the children, or none of them. Places are sorted into classes by the calibrated probability of their best
child; a class has the mean probabilities of its children and how often each was taken, over all tasks. A task has the share
of each class, on the path and beside it, and how much more often than by chance a place on the path is of the class of the one
before it (`stay`). `lever plan --acceptance OUT.json` simulates with it.

What cannot be seen: places at which a tree ends (their children are not known), so a task's `on` shares come from places above
them; prompts of one task differ, and the table has only their mean.
"""
import json
import os
import sys

BOUNDS = [0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.975]  # of the best child's probability
CHILDREN = 8


def rounds(path):
    """Rounds of a trace with the text behind each root."""
    with open(path) as f:
        lines = [json.loads(line) for line in f if line.strip()]
    text = [i for line in lines for i in line["ids"]]
    at = 0
    for line in lines:
        if "tree" in line:
            yield line["tree"], text[at:]
        at += len(line["ids"])


def places(path):
    """(probabilities of the children, rank of the target's token or None, on the path) of each place."""
    for tree, text in rounds(path):
        token, parent, p = tree["token"], tree["parent"], tree["p"]
        children = {}
        for i in range(1, len(token)):
            children.setdefault(parent[i], []).append(i)
        depth, on = [0] * len(token), [True] + [False] * (len(token) - 1)
        for i in range(1, len(token)):
            d = depth[parent[i]]
            depth[i] = d + 1
            on[i] = on[parent[i]] and d < len(text) and token[i] == text[d]
        for i, kids in children.items():
            if p[i] <= 0:
                continue
            kids = sorted(kids, key=lambda k: -p[k])[:CHILDREN]
            ps = [min(1.0, p[k] / p[i]) for k in kids]
            if not on[i]:
                yield ps, None, False
            elif depth[i] < len(text):
                hit = [n for n, k in enumerate(kids) if token[k] == text[depth[i]]]
                yield ps, hit[0] if hit else CHILDREN, True


def pairs(path):
    """Classes of places on the path that follow one another."""
    for tree, text in rounds(path):
        seq = []
        at, kids_of = 0, {}
        for i in range(1, len(tree["token"])):
            kids_of.setdefault(tree["parent"][i], []).append(i)
        for token in text:
            if at not in kids_of:
                break
            seq.append(class_of([max(tree["p"][k] for k in kids_of[at]) / tree["p"][at]]))
            at = next((k for k in kids_of[at] if tree["token"][k] == token), -1)
        yield from zip(seq, seq[1:])


def class_of(ps):
    return sum(ps[0] >= b for b in BOUNDS)


def main(argv):
    how = ""
    if argv[1:2] == ["--how"]:
        how, argv = argv[2], argv[:1] + argv[3:]
    if len(argv) < 4 or any("=" not in a for a in argv[3:]):
        sys.exit(__doc__)
    out, name = argv[1:3]
    n_class = len(BOUNDS) + 1
    p_sum = [[0.0] * CHILDREN for _ in range(n_class)]
    hits = [[0] * (CHILDREN + 1) for _ in range(n_class)]
    n_all, n_on = [0] * n_class, [0] * n_class
    tasks = {}
    for a in argv[3:]:
        task, path = a.split("=", 1)
        t = tasks.setdefault(task, {"on": [0] * n_class, "beside": [0] * n_class, "pairs": []})
        t["pairs"] += pairs(path)
        for ps, rank, on in places(path):
            c = class_of(ps)
            n_all[c] += 1
            for k, x in enumerate(ps):
                p_sum[c][k] += x
            t["on" if on else "beside"][c] += 1
            if on:
                n_on[c] += 1
                hits[c][rank] += 1
    classes = []
    for c in range(n_class):
        if not n_all[c]:
            sys.exit("class %d has no place: record more" % c)
        p = [round(x / n_all[c], 4) for x in p_sum[c]]
        scale = min(1.0, 1.0 / sum(p))
        p = sorted((round(x * scale - 0.00005, 4) if scale < 1 else x for x in p), reverse=True)
        seen = max(1, n_on[c])
        hit = [round(h / seen, 4) for h in hits[c][:CHILDREN]]
        scale = min(1.0, 0.9999 / max(1e-9, sum(hit)))
        classes.append({"p": [max(0.0, x) for x in p], "hit": [round(h * scale, 4) for h in hit], "places": n_on[c]})
    table = {"schema": 1, "name": name, "how": how, "classes": classes, "tasks": {}}
    for task, t in sorted(tasks.items()):
        table["tasks"][task] = {"places": sum(t["on"])}
        share = [x / max(1, sum(t["on"])) for x in t["on"]]
        chance = sum(x * x for x in share)
        same = sum(a == b for a, b in t["pairs"]) / max(1, len(t["pairs"]))
        table["tasks"][task]["stay"] = round(min(0.95, max(0.0, (same - chance) / (1 - chance))), 3)
        for kind in ("on", "beside"):
            n = max(1, sum(t[kind]))
            share = [round(x / n, 4) for x in t[kind]]
            share[share.index(max(share))] += round(1 - sum(share), 4)
            table["tasks"][task][kind] = [round(x, 4) for x in share]
    with open(out + ".part", "w") as f:
        json.dump(table, f, indent=1)
        f.write("\n")
    os.rename(out + ".part", out)
    for task, t in table["tasks"].items():
        first = sum(t["on"][c] * classes[c]["hit"][0] for c in range(n_class))
        any8 = sum(t["on"][c] * sum(classes[c]["hit"]) for c in range(n_class))
        print("%-14s %5d places, first %.3f, in the first 8 %.3f" % (task, t["places"], first, any8))


if __name__ == "__main__":
    main(sys.argv)
