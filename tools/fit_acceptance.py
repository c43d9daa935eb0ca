#!/usr/bin/env python3
"""From traces of `lever run --trace` to an acceptance table: how a draft and a target agree, by task.

usage: fit_acceptance.py OUT.json NAME TASK=TRACE.jsonl [TASK=TRACE.jsonl ...]

A place is a node of a recorded tree whose children are known. On the text's own path its outcome is known too: the rank of the
target's token among the children, or none of them. Places are sorted into classes by the calibrated probability of their best
child; a class has the mean probabilities of its children and how often each was taken, over all tasks. A task has the share
of each class, on the path and beside it. `lever plan --acceptance OUT.json` simulates with it.

What cannot be seen: places at which a tree ends (their children are not known), so a task's `on` shares come from places above
them; places follow one another in a text, but the table has no memory of that.
"""
import json
import sys

BOUNDS = [0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.975, 0.99]  # of the best child's probability
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


def class_of(ps):
    return sum(ps[0] >= b for b in BOUNDS)


def main(argv):
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
        t = tasks.setdefault(task, {"on": [0] * n_class, "beside": [0] * n_class})
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
    table = {"schema": 1, "name": name, "classes": classes, "tasks": {}}
    for task, t in sorted(tasks.items()):
        table["tasks"][task] = {"places": sum(t["on"])}
        for kind in ("on", "beside"):
            n = max(1, sum(t[kind]))
            share = [round(x / n, 4) for x in t[kind]]
            share[share.index(max(share))] += round(1 - sum(share), 4)
            table["tasks"][task][kind] = [round(x, 4) for x in share]
    with open(out + ".part", "w") as f:
        json.dump(table, f, indent=1)
        f.write("\n")
    import os
    os.rename(out + ".part", out)
    for task, t in table["tasks"].items():
        first = sum(t["on"][c] * classes[c]["hit"][0] for c in range(n_class))
        any8 = sum(t["on"][c] * sum(classes[c]["hit"]) for c in range(n_class))
        print("%-14s %5d places, first %.3f, in the first 8 %.3f" % (task, t["places"], first, any8))


if __name__ == "__main__":
    main(sys.argv)
