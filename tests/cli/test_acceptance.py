"""tools/fit_acceptance.py on traces made by hand, and its tables read by lever plan."""
import json, os, sys
from pathlib import Path
from harness import Case, main

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import fit_acceptance as fit

DRAFT, LOOKUP = 1, 2


def line(ids, *nodes, prompt=None):
    """A round that brought ids. nodes: (token, parent, p, who named it), root first."""
    o = {"ids": ids}
    if prompt:
        o["prompt"] = prompt
    if nodes:
        o["tree"] = dict(zip(("token", "parent", "p", "from"), ([n[k] for n in nodes] for k in range(4))))
    return o


class Fit(Case):
    def test_lookup(self):
        # 1 2 stood before 3; 2 3 before 9; then 9 4 is new
        self.assertEqual(fit.lookups([1, 2, 3, 9, 1, 2], [3, 9, 4, 5]), [True, True, False, None])
        self.assertEqual(fit.lookups([1, 2, 3], [4, 1, 2, 4]), [None, None, None, False])
        # the longer match wins over the later one
        self.assertEqual(fit.lookups([5, 1, 2, 7, 6, 1, 2, 8, 5, 1, 2], [7]), [True])
        self.assertEqual(list(fit.matches([None, True, True, False, False])), [(0, True), (1, True), (2, False), (0, False)])

    def test_places(self):
        root = (7, -1, 1.0, 0)
        rounds = [line([7], prompt=[1, 2]),
                  # the draft names 8 (0.6) and 5 (0.3), lookup 4; below 8 it names 9; the text goes 8, 6
                  line([8, 6], root, (8, 0, 0.6, DRAFT), (9, 1, 0.57, DRAFT), (5, 0, 0.3, DRAFT), (4, 0, 0.08, LOOKUP)),
                  line([3], (6, -1, 1.0, 0), (4, 0, 0.5, LOOKUP))]
        found = list(fit.places(rounds))
        self.assertEqual([(len(ps), rank, at) for ps, rank, at in found], [(2, 0, 1), (1, fit.CHILDREN, 2)])
        self.assertAlmostEqual(found[1][0][0], 0.95)
        # a place that nobody saw is as the one before; a chain knows whether the first choice was right
        text = fit.text_of([None, True, True, None], {1: (3, 2), 2: (4, 0)}, {2: (8, fit.CHILDREN), 3: (7, 0)})
        self.assertEqual(text, [[len(fit.BOUNDS), 0, 0, 0], [3, 2, 2, 1], [4, 1, 3, 1], [7, 0, 0, 0]])

    def test_table(self):
        paths = {}
        for task in ("a", "b"):
            paths[task] = os.path.join(self.dir.name, task + ".jsonl")
            with open(paths[task], "w") as f:
                for k, o in enumerate([line([7], prompt=[1, 2])] + [line([8], (7, -1, 1.0, 0), (8, 0, p, DRAFT), (5, 0, (1 - p) / 10, DRAFT))
                                                                   for p in [0.1] + [b + 0.001 for b in fit.BOUNDS]]):
                    f.write(json.dumps(o) + "\n")
        for with_text in (False, True):
            out = os.path.join(self.dir.name, "table.json")
            o = fit.table("x", "by hand", list(paths.items()), with_text)
            fit_task = o["tasks"]["a"]
            self.assertEqual((fit_task["places"], len(o["classes"]), "text" in fit_task), (9, 9, with_text))
            for shares in (fit_task["on"], fit_task["lookup"]["other"], fit_task["lookup"]["copied"]):
                self.assertAlmostEqual(sum(shares), 1, 3)
            with open(out, "w") as f:
                json.dump(o, f)
            profile = os.path.join(self.dir.name, "profile.json")
            with open(profile, "w") as f:
                json.dump({"flash_rate": 1, "dram": 1}, f)
            r = self.lever("plan", "-m", self.model(), "--profile", profile, "--acceptance", out, "--json")
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertEqual(sorted(json.loads(r.stdout)["modes"]["off"]["tasks"]), ["a", "b"])


if __name__ == "__main__":
    main()
