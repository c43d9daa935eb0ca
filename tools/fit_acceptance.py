#!/usr/bin/env python3
"""From traces of `lever run --trace` to an acceptance table: how a draft, prompt lookup and a target agree, by task.

usage: fit_acceptance.py [--how TEXT] [--text] OUT.json NAME TASK=TRACE.jsonl[,CHAIN.jsonl] [TASK=...]

TEXT says how the traces were made; it is kept in the table. A place is a node of a recorded tree whose children are known, those
that the draft named. On the text's own path its outcome is known too: the rank of the target's token among the children, or none of them.
Places are sorted into classes by the calibrated probability of their best child; a class has the mean probabilities of its
children and how often each was taken, over all tasks. A task has the share of each class, on the path and beside it, and how
much more often than by chance a place on the path is of the class of the one before it (`stay`).

Prompt lookup is run again over prompt and text, token by token. A task has how often it says something (`found`, and
`found_again` where it was right just before) and how often that is the text's token, by the length of the match (`right`); its places on the
path are also counted apart where it is right (`copied`) and where not (`other`). `lever plan --acceptance OUT.json` simulates with
it; a table whose `lookup` is left out is of decoding without it.

What cannot be seen: places at which a tree ends (their children are not known), so a task's shares come from places above
them; prompts of one task differ, and the table has only their mean.

With --text the first text of each task is also kept place by place (class, rank of the token, match, whether lookup is right): what is
simulated then is that text. CHAIN.jsonl, of the same text with --speculation chain, tells of places that no tree had.
"""
import json
import os
import sys

BOUNDS = [0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.975]  # of the best child's probability
CHILDREN = 8
DRAFT = 1  # of "from" in a trace: the draft named this node
# Of lookup, as in the engine: matches of 2 to 32 tokens, n-grams of up to 8, 32 places of each.
MATCH_MIN, MATCH_MAX, GRAM_MAX, STEPS = 2, 32, 8, 32
MATCHES = [2, 3, 4, 6, 9, 16]  # the least of each class
PRIOR = 4  # places that a task's own shares must outweigh


def read(path):
    """(prompt, lines) of a trace."""
    with open(path) as f:
        lines = [json.loads(line) for line in f if line.strip()]
    if not lines or "prompt" not in lines[0]:
        sys.exit("%s: the first line has no \"prompt\": not a trace of lever run, or of an older one; record it again" % path)
    return lines[0]["prompt"], lines


def rounds(lines):
    """Rounds of a trace with the text behind each root, and where that begins."""
    text = [i for line in lines for i in line["ids"]]
    at = 0
    for line in lines:
        if "tree" in line:
            yield line["tree"], text[at:], at
        at += len(line["ids"])


# ---- the draft


def places(lines):
    """(probabilities of the children, rank of the target's token or None, where in the text or None) of each place."""
    for tree, text, begin in rounds(lines):
        token, parent, p = tree["token"], tree["parent"], tree["p"]
        children = {}
        for i in range(1, len(token)):
            if tree["from"][i] & DRAFT:
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
                yield ps, None, None
            elif depth[i] < len(text):
                hit = [n for n, k in enumerate(kids) if token[k] == text[depth[i]]]
                yield ps, hit[0] if hit else CHILDREN, begin + depth[i]


def class_of(ps):
    return sum(ps[0] >= b for b in BOUNDS)


def stay(found):
    """How much more often than by chance a place is of the class of the one before; found: place -> class."""
    n = [sum(c == k for c in found.values()) for k in range(len(BOUNDS) + 1)]
    pairs = [(c, found[at + 1]) for at, c in found.items() if at + 1 in found]
    chance = sum((x / max(1, sum(n))) ** 2 for x in n)
    same = sum(a == b for a, b in pairs) / max(1, len(pairs))
    return round(min(0.95, max(0.0, (same - chance) / max(1e-9, 1 - chance))), 3)


# ---- prompt lookup


def look_up(text, places_of, n):
    """The token that lookup names behind text[:n], or None."""
    for gram in range(min(GRAM_MAX, n), MATCH_MIN - 1, -1):
        groups = {}
        for at in [x for x in places_of.get(tuple(text[n - gram:n]), []) if x < n][-STEPS:]:
            match = gram
            while match < min(MATCH_MAX, at) and text[at - 1 - match] == text[n - 1 - match]:
                match += 1
            best, seen, last = groups.get(text[at], (0, 0, 0))
            groups[text[at]] = (max(best, match), seen + 1, at if match > best else last)
        if groups:
            return max(groups, key=lambda token: groups[token])
    return None


def lookups(prompt, text):
    """For each token of the text: None if lookup says nothing, else whether it names this token."""
    whole, places_of, out = prompt + text, {}, []
    for n in range(1, len(whole)):
        if n >= len(prompt):
            token = look_up(whole, places_of, n)
            out.append(None if token is None else token == whole[n])
        for gram in range(MATCH_MIN, GRAM_MAX + 1):
            if gram <= n:
                places_of.setdefault(tuple(whole[n - gram:n]), []).append(n)
    return out


def matches(said):
    """(class of its match, whether it is right) of all that lookup says. A match is as long as lookup was right without a gap."""
    run = 0
    for right in said:
        if right is not None:
            yield sum(MATCH_MIN + run >= m for m in MATCHES) - 1, right
        run = run + 1 if right else 0


def share_of(flags, prior):
    return round((sum(flags) + PRIOR * prior) / (len(flags) + PRIOR), 4)


def lookup_of(said, right_of_all):
    """A task's object `lookup`, without its classes."""
    found = [[x is not None for text in said for before, x in zip([None] + text, text) if bool(before) == again] for again in (False, True)]
    by_match = [[] for _ in MATCHES]
    for text in said:
        for m, right in matches(text):
            by_match[m].append(right)
    return {"found": share_of(found[0], 0), "found_again": share_of(found[1], 1),
            "right": [share_of(flags, right_of_all[m]) for m, flags in enumerate(by_match)]}


# ---- one text

def text_of(said, trees, chains):
    """The places of a text; trees, chains: place -> (class, rank of the text's token). Where neither knows, as the place before.

    A chain shows whether the draft's own first choice was right, which a tree, sorted by what else was learned, may not; it knows one
    child, and another token is taken to be the second."""
    out, last, run = [], (len(BOUNDS), 0), 0
    for at, right in enumerate(said):
        last = trees.get(at, chains.get(at, last))
        if at in chains:
            last = (last[0], 0 if chains[at][1] == 0 else max(1, trees[at][1]) if at in trees else 1)
        out.append([*last, 0 if right is None else min(MATCH_MAX, MATCH_MIN + run), int(bool(right))])
        run = run + 1 if right else 0
    return out


# ---- the table


def shares(counts, absent=None):
    """Of counts, so that they sum to 1; of `absent` where there are none."""
    counts = counts if sum(counts) else absent or counts
    out = [round(x / max(1, sum(counts)), 4) for x in counts]
    out[out.index(max(out))] += round(1 - sum(out), 4)
    return [round(x, 4) for x in out]


class Task:
    def __init__(self):
        n_class = len(BOUNDS) + 1
        self.other, self.copied, self.beside = [0] * n_class, [0] * n_class, [0] * n_class
        self.said, self.stays, self.text = [], [], None


def fit(traces):
    n_class = len(BOUNDS) + 1
    p_sum = [[0.0] * CHILDREN for _ in range(n_class)]
    hits = [[0] * (CHILDREN + 1) for _ in range(n_class)]
    n_all, tasks = [0] * n_class, {}
    for task, paths in traces:
        t = tasks.setdefault(task, Task())
        path, *chain = paths.split(",")
        prompt, lines = read(path)
        said, found = lookups(prompt, [i for line in lines for i in line["ids"]]), {}
        t.said.append(said)
        for ps, rank, at in places(lines):
            c = class_of(ps)
            n_all[c] += 1
            for k, x in enumerate(ps):
                p_sum[c][k] += x
            if at is None:
                t.beside[c] += 1
                continue
            (t.copied if said[at] else t.other)[c] += 1
            hits[c][rank] += 1
            found[at] = (c, rank)
        t.stays.append(stay({at: c for at, (c, _) in found.items()}))
        chains = {at: (class_of(ps), rank) for path in chain for ps, rank, at in places(read(path)[1]) if at is not None}
        t.text = t.text or text_of(said, found, chains)
    classes = []
    for c in range(n_class):
        if not n_all[c]:
            sys.exit("class %d has no place: record more" % c)
        p = [round(x / n_all[c], 4) for x in p_sum[c]]
        scale = min(1.0, 1.0 / sum(p))
        p = sorted((round(x * scale - 0.00005, 4) if scale < 1 else x for x in p), reverse=True)
        hit = [round(h / max(1, sum(hits[c])), 4) for h in hits[c][:CHILDREN]]
        scale = min(1.0, 0.9999 / max(1e-9, sum(hit)))
        classes.append({"p": [max(0.0, x) for x in p], "hit": [round(h * scale, 4) for h in hit], "places": sum(hits[c])})
    return classes, tasks


def table(name, how, traces, with_text):
    classes, tasks = fit(traces)
    by_match = [[] for _ in MATCHES]
    for t in tasks.values():
        for said in t.said:
            for m, right in matches(said):
                by_match[m].append(right)
    right = [share_of(flags, 0.5) for flags in by_match]
    out = {"schema": 1, "name": name, "how": how, "classes": classes, "lookup": right, "tasks": {}}
    for task, t in sorted(tasks.items()):
        all_ = [a + b for a, b in zip(t.other, t.copied)]
        lookup = dict(lookup_of(t.said, right), copied=shares(t.copied, all_), other=shares(t.other, all_))
        out["tasks"][task] = {"places": sum(all_), "stay": round(sum(t.stays) / len(t.stays), 3), "on": shares(all_),
                              "beside": shares(t.beside, all_), "lookup": lookup}
        if with_text:
            out["tasks"][task]["text"] = t.text
    return out


def main(argv):
    how = ""
    if argv[1:2] == ["--how"]:
        how, argv = argv[2], argv[:1] + argv[3:]
    with_text = argv[1:2] == ["--text"]
    if with_text:
        argv = argv[:1] + argv[2:]
    if len(argv) < 4 or any("=" not in a for a in argv[3:]):
        sys.exit(__doc__)
    out, name = argv[1:3]
    result = table(name, how, [a.split("=", 1) for a in argv[3:]], with_text)
    with open(out + ".part", "w") as f:
        json.dump(result, f, indent=1)
        f.write("\n")
    os.rename(out + ".part", out)
    for task, t in result["tasks"].items():
        print("%-14s %5d places, lookup %.2f, again %.2f, right %s" % (task, t["places"], t["lookup"]["found"], t["lookup"]["found_again"],
                                                                    t["lookup"]["right"]))


if __name__ == "__main__":
    main(sys.argv)
