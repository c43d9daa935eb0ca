"""lever bench decode: sums, order, reference tokens, failures and Ctrl-C of its workers."""
import json, os, re, signal, subprocess, time
from harness import Case, LEVER, main

KEYS = {"tok_per_s", "tokens_per_round", "rows_per_round", "bytes_per_round", "draft_seconds", "target_seconds",
        "idle_share", "peak_rss", "equal"}
MODES = ["off", "chain", "tree", "lever"]


def turn(id, task, text):
    return {"id": id, "task": task, "messages": [{"role": "user", "content": text}]}


def load(path):
    with open(path) as f:
        return json.load(f)


def dump(path, o):
    with open(path, "w") as f:
        json.dump(o, f)


class Decode(Case):
    def setUp(self):
        super().setUp()
        self.cache = os.path.join(self.dir.name, "cache")
        self.env = {"XDG_CACHE_HOME": self.cache}

    def write(self, *lines):
        path = os.path.join(self.dir.name, "prompts.jsonl")
        with open(path, "w") as f:
            f.write("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
        return path

    def stub(self, *directives, tokens=(b"a", b"b", b"c")):
        return self.model(list(tokens), "round 2", *directives, end=0)

    def args(self, model, prompts, *more):
        return ("bench", "decode", "-m", model, "-md", "draft", "--prompts", prompts, "-n", "8", "--n-off", "4", *more)

    def bench(self, model, prompts, *more, code=0):
        r = self.lever(*self.args(model, prompts, "--json", *more), env=self.env)
        self.assertEqual(r.returncode, code, r.stderr)
        self.assertEqual(r.stdout.count(b"\n"), 1)
        self.stderr = r.stderr.decode()
        return json.loads(r.stdout)

    def generations(self):
        """(mode, memory, kmax, context, prompt) of each sequence, in order."""
        out, names = [], {0: "lever", 1: "off", 2: "chain", 3: "tree"}
        for line in self.log().splitlines():
            if line.startswith("open "):
                o = dict(f.split("=", 1) for f in line.split()[1:])
            elif line.startswith("prompt "):
                text = bytes(int(i) for i in line.split()[1:]).decode()
                out.append((names[int(o["spec"])], int(o["memory"]), int(o["kmax"]), int(o["ctx"]), o["draft"], text))
        return out

    def references(self):
        d = os.path.join(self.cache, "lever", "reference")
        return [os.path.join(d, name) for name in sorted(os.listdir(d))]


class Report(Decode):
    def test_json(self):
        m = self.stub("streams 1000")
        p = self.write(turn("p1", "code", "x"), turn("p2", "math", "y"), turn("p3", "code", "z"))
        o = self.bench(m, p, "--memory", "8M", "--spec-draft-n-max", "7", "--count", "2")
        self.assertEqual((o["raw"], o["n"], o["memory"], o["chain_tok_per_s"]), (2e9, 8, 8 << 20, {"7": 4.0}))
        self.assertEqual(list(o["modes"]), MODES)
        for mode, tasks in o["modes"].items():
            self.assertEqual(list(tasks), ["all", "code", "math"])
            tokens, rounds = (4, 2) if mode == "off" else (8, 4)
            for task, n in (("all", 3), ("code", 2), ("math", 1)):
                t = tasks[task]
                self.assertLessEqual(KEYS, set(t))
                self.assertEqual((t["prompts"], t["tokens"], t["rounds"], t["seconds"]),
                                 (n, n * tokens, n * rounds, 2.0 * n))
                self.assertEqual((t["tok_per_s"], t["tokens_per_round"], t["rows_per_round"], t["bytes_per_round"]),
                                 (tokens / 2, 2, 2, 100))
                self.assertEqual((t["idle_share"], t["peak_rss"], t["equal"], t["draft_seconds"], t["target_seconds"]),
                                 (0.25, 2000, True, 0, 2.0 * n))
                self.assertEqual(t.get("k"), 7 if mode == "chain" else None)

    def test_tasks_weigh_the_same(self):
        # "[user]" and "[/]" are 9 tokens: the second prompt leaves room for 2 in a context of 20
        p = self.write(turn("p1", "a", "x"), turn("p2", "b", "x" * 9), turn("p3", "a", "y"))
        o = self.bench(self.stub(), p, "--modes", "lever", "-c", "20", "--count", "2")["modes"]["lever"]
        self.assertEqual((o["a"]["tok_per_s"], o["b"]["tok_per_s"], o["b"]["tokens"]), (4, 1, 2))
        self.assertAlmostEqual(o["all"]["tok_per_s"], 2 / (1 / 4 + 1 / 1))
        self.assertEqual((o["all"]["tokens"], o["all"]["equal"]), (18, True))

    def test_nothing_streamed(self):
        p = self.write({"id": "p1", "task": "raw", "prompt": "x"})
        self.assertIsNone(self.bench(self.stub("streams 1000"), p, "--modes", "off")["raw"])
        self.assertIsNone(self.bench(self.stub(), p, "--modes", "off", "--memory", "8M")["raw"])

    def test_text(self):
        p = self.write(turn("p1", "evil\x1b[2J", "x"))
        r = self.lever(*self.args(self.stub(), p, "--spec-draft-n-max", "7"), env=self.env)
        self.assertEqual(r.returncode, 0, r.stderr)
        for part in (b"chain 7   all ", b"lever     evil\\x1b[2J", b"tok/s"):
            self.assertIn(part, r.stdout)
        self.assertNotIn(b"\x1b", r.stdout + r.stderr)


class Order(Decode):
    def test_interleaved(self):
        m = self.stub()
        p = self.write(turn("p1", "code", "x"), turn("p2", "code", "y"), turn("p3", "math", "z"))
        self.bench(m, p, "--memory", "8M", "--spec-draft-n-max", "5", "--count", "2", "--temp", "0.5", "--seed", "3")
        chat = ["[user]%s[/]" % t for t in "xyz"]
        expected = [("off", 0, 0, 256, "-", t) for t in chat]
        for i, t in enumerate(chat):  # the one who comes first changes
            expected += [(mode, 8 << 20, 5 * (mode == "chain"), 256, "-" if mode == "off" else "draft", t)
                         for mode in MODES[i:] + MODES[:i]]
        self.assertEqual(self.generations(), expected)
        seqs = [line for line in self.log().splitlines() if line.startswith("seq ")]
        self.assertEqual(len(seqs), 15)
        self.assertEqual({re.search("temp=(.*?) .*seed=(.*?) ", s).groups() for s in seqs}, {("0.5", "3")})

    def test_modes_learn_apart(self):
        kept = os.path.join(self.cache, "lever", "learned")
        os.makedirs(kept)
        for name, n in (("learned-stub.bin", 100), ("other", 5)):
            with open(os.path.join(kept, name), "w") as f:
                f.write("x" * n)
        self.env["TMPDIR"] = self.dir.name
        p = self.write(turn("p1", "code", "x"), turn("p2", "math", "y"), turn("p3", "qa", "z"))
        for more, first in (((), 103), (("--no-cache",), 0)): # 103: the reference of each prompt ran first
            if os.path.exists(self.log_path):
                os.remove(self.log_path)
            self.bench(self.stub(), p, "--memory", "8M", "--spec-draft-n-max", "5", *more)
            by_mode = {}
            for line in self.log().splitlines():
                if line.startswith("learned ") and kept not in line:
                    _, path, n = line.split()
                    by_mode.setdefault(os.path.basename(os.path.dirname(path)), []).append(int(n))
            self.assertEqual(by_mode, {d: [first, first + 1, first + 2] for d in ("off-0", "chain-5", "tree-0", "lever-0")})
            self.assertEqual([n for n in os.listdir(self.dir.name) if n.startswith("lever-bench")], [])

    def test_selection(self):
        p = self.write(turn("p1", "code", "x"), "", turn("p2", "math", "y"), turn("p3", "code", "z"),
                       turn("p4", "qa", "w"))
        self.bench(self.stub(), p, "--modes", "tree", "--tasks", "math,code")
        self.assertEqual([g[-1] for g in self.generations() if g[0] == "tree"], ["[user]x[/]", "[user]y[/]"])

    def test_chain_length(self):
        """The stub's rounds cost the same whatever their length and all of them are accepted, so the least number
        of rounds decides: 8 tokens are one round of 7 and the target's own. Both neighbours are timed too."""
        p = self.write(turn("p1", "code", "x"), turn("p2", "math", "y"))
        for n, a, b, c in ((4, 3, 5, None), (8, 5, 7, 11), (9, 7, 11, 15), (24, 15, 23, 31),
                           (25, 23, 31, None)):
            o = self.bench(self.stub(), p, "--modes", "chain", "-n", str(n))
            k = [g[2] for g in self.generations() if g[0] == "chain"]
            timed = [a, b, c, b, c, a] if c else [a, b, b, a]
            self.assertEqual(k, [31, 31, 3, 5, 7, 11, 15, 23] + timed)
            self.assertEqual((list(o["chain_tok_per_s"]), o["modes"]["chain"]["all"]["k"]),
                             ([str(i) for i in (a, b, c) if i], a))
            os.unlink(self.log_path)

    def test_nothing_drafted(self):
        """One token a round: no length is better than another, so none is looked for."""
        o = self.bench(self.stub("round 1"), self.write(turn("p1", "code", "x")), "--modes", "chain")
        self.assertEqual([g[2] for g in self.generations() if g[0] == "chain"], [31, 3, 5])
        self.assertEqual((o["modes"]["chain"]["all"]["k"], o["modes"]["chain"]["all"]["drafted"]), (3, 0))


class Reference(Decode):
    def setUp(self):
        super().setUp()
        self.prompts = self.write(turn("p1", "code", "x"))

    def equal(self, model, *more, code=0):
        o = self.bench(model, self.prompts, "--modes", "off,lever", *more, code=code)
        return o["modes"]["off"]["code"]["equal"], o["modes"]["lever"]["code"]["equal"]

    def resident_runs(self):
        n = sum(g[0] == "off" and g[1] == 0 for g in self.generations())
        os.unlink(self.log_path)
        return n

    def test_kept(self):
        m = self.stub()
        for more, runs in (((), 1), ((), 0), (("--seed", "1"), 1), (("--seed", "1"), 0), (("-n", "7"), 1), ((), 0),
                           (("--no-cache",), 1), (("--temp", "0.25"), 1), (("--ignore-eos",), 1),
                           (("--reference", m), 0)):
            self.assertEqual(self.equal(m, "--memory", "8M", *more), (True, True))
            self.assertEqual(self.resident_runs(), runs, more)
        self.assertEqual(len(self.references()), 5)  # and no part of a file
        at = os.stat(m).st_mtime_ns
        os.utime(m, ns=(at, at + 1))  # another model
        self.equal(m, "--memory", "8M")
        self.assertEqual(self.resident_runs(), 1)

    def test_damaged(self):
        m = self.stub()
        self.equal(m)
        path, = self.references()
        good = load(path)
        for text in ("", "{", "[]", json.dumps(dict(good, ids=[])), json.dumps(dict(good, ids=["a"])),
                     json.dumps(dict(good, key={}))):
            with open(path, "w") as f:
                f.write(text)
            self.assertEqual(self.equal(m), (True, True))
            self.assertEqual(load(path), good)

    def test_difference_is_found(self):
        """In any place, also where off no longer looks; a text that is too long or too short as well."""
        m = self.stub()
        self.equal(m)
        path, = self.references()
        good = load(path)
        for i, off_equal in ((0, False), (3, False), (4, True), (7, True)):
            ids = list(good["ids"])
            ids[i] += 1
            dump(path, dict(good, ids=ids))
            self.assertEqual(self.equal(m, code=1), (off_equal, False))
            self.assertIn("mode lever, prompt p1: token %d is not that of plain decoding" % i, self.stderr)
        dump(path, dict(good, ids=good["ids"][:6]))
        self.assertEqual(self.equal(m, code=1), (True, False))
        dump(path, dict(good, ids=good["ids"] + [300]))
        self.assertEqual(self.equal(m), (True, True))  # n is 8: more was not asked for

    def test_all_is_equal_only_if_each_is(self):
        m = self.stub()
        p = self.write(turn("p1", "code", "x"), turn("p2", "code", "y"), turn("p3", "math", "z"))
        args = (m, p, "--modes", "lever", "--count", "2")
        self.bench(*args)
        for path in self.references():
            good = load(path)
            dump(path, dict(good, ids=good["ids"][::-1]))
            o = self.bench(*args, code=1)["modes"]["lever"]
            dump(path, good)
            bad = "math" if good["key"]["prompt"] == "z" else "code"
            self.assertEqual({t: x["equal"] for t, x in o.items()},
                             {t: t not in ("all", bad) for t in ("all", "code", "math")})


class Failures(Decode):
    def test_prune_side_by_side(self):
        names = ["lever", "prune-on", "prune-off"]
        o = self.bench(self.stub(), self.write(turn("p1", "code", "x")), "--modes", ",".join(reversed(names)))
        self.assertEqual((list(o["modes"]), all(m["all"]["equal"] for m in o["modes"].values())), (names, True))
        opened = [line.split("prune=")[1] for line in self.log().splitlines() if line.startswith("open ") and "vocab_only=0" in line]
        self.assertEqual(sorted(opened[1:]), ["0", "1", "2"]) # the first is the reference

    def test_modes(self):
        p = self.write(turn("p1", "code", "x"))
        m = self.stub()
        self.usage_error(*self.args(m, p, "--modes", "of"), says=['"of"', "off,chain,tree,lever", "did you mean off?"])
        for modes in ("", "off,", ",off", "off,,tree", "off;tree", "off,x" + "y" * 99):
            r = self.lever(*self.args(m, p, "--modes", modes))
            self.assertEqual((r.returncode, b"--modes" in r.stderr), (2, True), modes)
        self.usage_error("bench", "decode", "-m", m, "--prompts", p, says="chain needs a draft model: -md FILE")
        self.usage_error("bench", "decode", says="needs a model")
        self.usage_error(*self.args(m, p, "-n", "0"), says="expected at least 1")

    def test_prompts(self):
        good = turn("p1", "code", "x")
        for bad, says in (("{", "not JSON"), ("[]", "not a JSON object"), ({"task": "a", "prompt": "x"}, '"id"'),
                          ({"id": "a", "prompt": "x"}, '"task"'), ({"id": "a", "task": "", "prompt": "x"}, '"task"'),
                          (turn("a", "all", "x"), '"all"'), ({"id": "a", "task": "b"}, "neither"),
                          ({"id": "a", "task": "b", "prompt": ""}, "neither"), (turn("a", "b", ""), '"messages"'),
                          ({"id": "a", "task": "b", "messages": []}, '"messages"'),
                          ({"id": "a", "task": "b", "messages": good["messages"] * 2}, '"messages"'),
                          (turn("a", "b", "x" * 100001), "100001 bytes"), ('{"id": 1, "id": 2}', "not JSON")):
            p = self.write(good, "", bad)
            self.usage_error(*self.args(self.stub(), p), says=[p + ", line 3: ", says])
        self.usage_error(*self.args(self.stub(), self.write("")), says="no prompt in it")
        self.usage_error(*self.args(self.stub(), self.write(good, turn("p2", "qa", "x")), "--tasks", "code,qq"),
                         says=['"qq"', "code,qa"])
        o = self.bench(self.stub(), "/nonexistent.jsonl", code=5)
        self.assertIn("/nonexistent.jsonl", o["error"]["message"])

    def test_worker(self):
        """Mode, prompt, the worker's own words and its exit code. The reference comes from a model that works."""
        p = self.write(turn("p1", "code", "x"))
        good = os.path.join(self.dir.name, "good")
        os.rename(self.stub(), good)
        for directive, code in (("step 2 -5 bad sector", 5), ("prompt -8 bad sector", 1), ("step 1 -3 bad sector", 3),
                                ("step 1 -4 bad sector", 4)):
            o = self.bench(self.stub(directive), p, "--reference", good, "--modes", "tree,off", code=code)
            self.assertEqual((o["error"]["exit_code"], "modes" in o), (code, False))
            self.assertEqual(o["error"]["message"], "mode off, prompt p1: bad sector")
            self.assertEqual(o["error"].get("least_memory"), 12345678 if code == 4 else None)
        o = self.bench(self.stub("step 2 -5 bad sector"), p, code=5)
        self.assertRegex(o["error"]["message"], "^mode off, everything in memory .*, prompt p1: bad sector$")

    def test_budget(self):
        o = self.bench(self.stub("open -4 too small"), self.write(turn("p1", "code", "x")), "--memory", "1M", code=4)
        self.assertEqual((o["error"]["least_memory"], o["error"]["message"]), (12345678, "too small"))

    def test_warnings_are_passed_on_once(self):
        self.bench(self.stub("warn the sidecar is stale"), self.write(turn("p1", "code", "x")), "--modes", "off,lever")
        # the driver's own look at the model, then the workers
        self.assertEqual(self.stderr.count("lever: warning: the sidecar is stale"), 2, self.stderr)

    def test_interrupted(self):
        for sig in (signal.SIGINT, signal.SIGTERM):
            m = self.stub("delay 30000")
            args = self.args(m, self.write(turn("p1", "code", "x")), "--json")
            p = subprocess.Popen([LEVER, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env=dict(os.environ, **self.env))
            for _ in range(1000):
                if os.path.exists(self.log_path) and "prompt" in self.log():
                    break
                time.sleep(0.01)
            workers = [int(d) for d in os.listdir("/proc") if d.isdigit() and parent(int(d)) == p.pid]
            p.send_signal(sig)
            out, err = p.communicate(timeout=10)
            self.assertEqual((p.returncode, json.loads(out)["error"]["exit_code"]), (130, 130), err)
            self.assertEqual(len(workers), 1)
            self.assertFalse(os.path.exists("/proc/%d" % workers[0]))
            os.unlink(self.log_path)


def parent(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return int(f.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


if __name__ == "__main__":
    main()
