"""The report of lever bench decode: the page, its rows, memory lists, repetitions, and other programs beside it."""
import csv, html.parser, json, os, re, stat, subprocess, sys, xml.etree.ElementTree as ET
from harness import main
from test_bench_decode import Decode, turn

RENDER = os.path.abspath(sys.argv.pop(2)) if len(sys.argv) > 2 else None
EVIL = "<script>alert(\"1\")</script>&'\x1b[2J"
VOID = {"meta"}


class Balance(html.parser.HTMLParser):
    """Counts what opens and closes, as an HTML parser sees it; keeps text and attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.attrs, self.tags, self.bad = [], "", [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attrs += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attrs += attrs

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.bad.append(tag)

    def handle_data(self, data):
        self.text += data


class Page(Decode):
    def check(self, text, numbers=True):
        """Well-formed both ways, nothing loaded, no script, no number that is none, figures with name and description."""
        ET.fromstring(text.replace("<!DOCTYPE html>", ""))
        page = Balance()
        page.feed(text)
        self.assertEqual((page.open, page.bad), ([], []))
        self.assertNotIn("script", page.tags)
        self.assertFalse({"link", "img", "iframe", "object"} & set(page.tags))
        for name, value in page.attrs:
            self.assertNotIn(name, ("src", "href", "xlink:href", "style"))
            self.assertFalse(name.startswith("on"), name)
        self.assertIsNone(re.search(r"https?:|url\(|@import|//", text))
        if numbers:
            self.assertIsNone(re.search(r"\b(nan|inf)\b", text, re.I))
        ids = [v for n, v in page.attrs if n == "id"]
        self.assertEqual(len(ids), len(set(ids)))
        for name, value in page.attrs:
            if name == "aria-labelledby":
                self.assertLessEqual(set(value.split()), set(ids))
        return page

    def render(self, o):
        path = os.path.join(self.dir.name, "o.json")
        with open(path, "w") as f:
            json.dump(o, f)
        r = subprocess.run([RENDER, path], capture_output=True, timeout=30)
        self.assertEqual(r.returncode, 0, r.stderr)
        return r.stdout.decode()

    def html(self, *more, prompts=None, model=None, code=0):
        path = os.path.join(self.dir.name, "r.html")
        p = prompts or self.write(turn("p1", "code", "x"), turn("p2", "math", "y"))
        o = self.bench(model or self.stub("streams 1000"), p, "--html", path, "--spec-draft-n-max", "7", *more, code=code)
        with open(path, encoding="utf-8") as f:
            return o, f.read()


class Whole(Page):
    def test_one_size(self):
        o, text = self.html("--memory", "8M", model=self.stub("streams 1000", "accepts 2"))
        page = self.check(text)
        self.assertEqual(page.tags.count("h1"), 1)
        for part in ("8M", o["commit"], o["cpu"] or "unknown CPU", "code, math", "one run each", "lever bench decode -m"):
            self.assertIn(part, page.text)
        self.assertIn("modes", o)  # the fields of one size stay where they were
        self.assertNotIn("sizes", o)
        self.assertEqual(sorted(o["detail"]), ["acceptance", "round", "rounds", "sizes"])
        # the stub gives two tokens a step, the first without a pass: of 4 steps 3 are rounds
        self.assertEqual(o["detail"]["rounds"]["n"], sum(a["rounds"] for a in o["detail"]["acceptance"].values()))
        self.assertEqual(len(o["detail"]["rounds"]["seconds"]), o["detail"]["rounds"]["n"])
        self.assertEqual(o["detail"]["acceptance"]["code"], {"rounds": 4, "share": [1.0, 1.0]})
        spans = o["detail"]["round"]["spans"]
        self.assertEqual((spans["drafting"], spans["pass"], spans["head"]),
                         ([0, 250000], [250000, 1500000], [1500000, 2000000]))
        self.assertEqual((spans["reads"], spans["background"]), ([0, 500000, 250000, 1250000], [250000, 500000]))

    def test_sizes(self):
        o, text = self.html("--memory", "8M,16M,unlimited")
        self.check(text)
        self.assertEqual([s["memory"] for s in o["sizes"]], [8 << 20, 16 << 20, 0])
        self.assertNotIn("modes", o)
        for s in o["sizes"]:
            self.assertEqual(list(s["modes"]), ["off", "chain", "tree", "lever"])
        self.assertEqual([s["raw"] for s in o["sizes"]], [2e9, 2e9, None])
        for name in ("8M", "16M", "unlimited"):
            self.assertIn(">%s</text>" % name, text)
        memories = [g[1] for g in self.generations()]
        self.assertEqual(set(memories), {0, 8 << 20, 16 << 20})
        self.assertEqual(len(memories), 2 + 3 * 2 * 4)  # references once, then each size

    def test_names_from_outside(self):
        p = self.write(turn("p1", EVIL, "x"))
        m = self.stub()
        evil = os.path.join(os.path.dirname(m), "<b>&\"'.gguf")
        os.rename(m, evil)
        o, text = self.html(prompts=p, model=evil)
        page = self.check(text)
        self.assertIn("<b>&\"'.gguf", page.text)
        self.assertIn(EVIL.replace("\x1b", "\ufffd"), page.text)

    def test_repeat(self):
        o, text = self.html("--repeat", "3", "--modes", "lever,tree")
        self.assertIn("3 of each generation", self.check(text).text)
        t = o["modes"]["lever"]["all"]
        self.assertEqual((t["spread"], t["prompts"], o["repeat"]), ([4.0, 4.0], 6, 3))

    def test_file(self):
        """What was there is kept when the page cannot be written; the measurement is printed all the same."""
        p = self.write(turn("p1", "code", "x"))
        folder = os.path.join(self.dir.name, "d")
        os.mkdir(folder)
        o = self.bench(self.stub(), p, "--modes", "lever", "--html", folder, code=5)
        self.assertIn("modes", o)
        self.assertIn(folder, self.stderr)
        o = self.bench(self.stub(), p, "--modes", "lever", "--html", "/nonexistent/x.html", code=5)
        self.assertIn("modes", o)
        self.assertIn("/nonexistent/x.html", self.stderr)
        self.html()
        self.html()
        self.assertEqual([n for n in os.listdir(self.dir.name) if "part" in n], [])


class Empty(Page):
    """Objects that lack this or that, as other versions or failures leave them."""

    def test_nothing(self):
        for o in ({}, {"sizes": []}, {"modes": {}}, {"sizes": [{"memory": 1, "error": {"message": EVIL}}]},
                  {"modes": {"lever": {}}}, {"modes": {"lever": {"all": {"tok_per_s": 0}}}, "detail": None},
                  {"sizes": [None, 3, []], "tasks": 3}, {"modes": [], "tasks": [None, 3]}):
            self.check(self.render(o))

    def test_less_and_less(self):
        """A whole report with each of its members gone, one at a time, or of another kind."""
        whole, _ = self.html("--memory", "8M,16M", "--repeat", "2")

        def places(o, at=()):
            if isinstance(o, dict):
                for k in o:
                    yield at + (k,)
                    yield from places(o[k], at + (k,))
            elif isinstance(o, list):
                for k in range(min(len(o), 2)):
                    yield from places(o[k], at + (k,))

        n = 0
        for i, place in enumerate(places(json.loads(json.dumps(whole)))):
            if i % 3 and len(place) > 4:  # most are alike
                continue
            n += 1
            other = (None, "x", -1e308)[n % 3]
            o = json.loads(json.dumps(whole))
            at = o
            for k in place[:-1]:
                at = at[k]
            if other is None:
                del at[place[-1]]
            else:
                at[place[-1]] = other
            self.check(self.render(o))
        self.assertGreater(n, 60)


class Losses(Page):
    def text(self, rates):
        t = {k: {"all": {"tok_per_s": x}, "code": {"tok_per_s": x}} for k, x in rates.items()}
        peers = {k: t.pop(k) for k in list(t) if k.startswith("mmap")}
        return self.check(self.render({"memory": 1 << 30, "tasks": ["code"], "modes": t, "peers": peers})).text

    def test_listed(self):
        text = self.text({"lever": 4, "off": 2, "chain": 5, "mmap": 8})
        self.assertIn("1G, code: chain is faster, 5 against 4 tok/s (25 %)", text)
        self.assertIn("1G, all tasks: llama.cpp mmap is faster, 8 against 4 tok/s (100 %)", text)
        self.assertIn("4 of 6 comparisons", text)
        self.assertIn("0 of 2 comparisons", self.text({"lever": 4, "off": 4}))
        self.assertIn("Nothing to compare", self.text({"lever": 4}))
        self.assertIn("Nothing to compare", self.text({"off": 4}))


class Memory(Page):
    def test_list(self):
        p = self.write(turn("p1", "code", "x"))
        m = self.stub()
        for bad, says in (("8M,", '""'), (",8M", '""'), ("8M,8M", "8M is there twice"), ("8M,8192K", "twice"), ("8M;9M", '"8M;9M"'),
                          ("8M,x", '"x"'), ("0", '"0"'), ("unlimited,unlimited", "twice"),
                          (",".join("%dM" % i for i in range(1, 18)), "at most 16 sizes")):
            self.usage_error(*self.args(m, p, "--memory", bad), says=["--memory", says])
        self.usage_error("run", "-m", m, "-p", "x", "--memory", "8M,9M", says="lever run takes one size")
        self.assertEqual(self.run_json(m, "-p", "x", "--memory", "unlimited")["memory"]["budget"], 0)
        self.usage_error("bench", "stream", "-m", m, "--memory", "unlimited", says="needs --memory SIZE")

    def test_one_does_not_fit(self):
        """Only the driver's own look at the plan knows the size here: the stub refuses sizes below 5 MiB."""
        p = self.write(turn("p1", "code", "x"))
        m = self.stub("least 5000000")
        o = self.bench(m, p, "--memory", "4M,8M", "--modes", "off,lever")
        self.assertEqual((o["sizes"][0]["memory"], o["sizes"][0]["error"]["exit_code"]), (4 << 20, 4))
        self.assertIn("modes", o["sizes"][1])
        text = self.check(self.render(o)).text
        self.assertIn("4M: does not fit", text)
        o = self.bench(m, p, "--memory", "3M,4M", "--modes", "off", code=4)
        self.assertIn("error", o)


class Csv(Page):
    def rows(self, path):
        with open(path, newline="") as f:
            return list(csv.DictReader(f))

    def test_rows(self):
        path = os.path.join(self.dir.name, "r.csv")
        p = self.write(turn("p1", "a,\"b\"\n", "x"), turn("p2", "math", "y"))
        args = (self.stub("streams 1000"), p, "--csv", path, "--memory", "8M,unlimited", "--modes", "off,lever")
        o = self.bench(*args)
        rows = self.rows(path)
        self.assertEqual([(r["memory"], r["mode"], r["task"]) for r in rows],
                         [(s, m, t) for s in ("8M", "unlimited") for m in ("lever", "off")
                          for t in ("all", "a,\"b\" ", "math")])
        r = rows[0]
        self.assertEqual((r["commit"], r["tok_per_s"], r["equal"], r["repeat"], r["n"], rows[3]["n"]),
                         (o["commit"], "4", "yes", "1", "8", "4"))
        self.assertIn("--csv", r["command"])
        self.assertEqual(float(r["device_bytes_per_s"]), 2e9)
        self.bench(*args)
        self.assertEqual(len(self.rows(path)), 24)

    def test_results(self):
        """tools/make_results.py: every row's rate beside its command; --check sees a page that is not from the rows."""
        tool = os.path.join(os.path.dirname(__file__), "..", "..", "tools", "make_results.py")
        folder = os.path.join(self.dir.name, "docs", "results")
        os.makedirs(folder)

        def make(*args):
            return subprocess.run([sys.executable, tool, "--root", self.dir.name, *args], capture_output=True, text=True)

        p = self.write(turn("p1", "code", "x"), turn("p2", "m|<b>", "y"))
        path = os.path.join(folder, "a.csv")
        self.bench(self.stub("streams 1000"), p, "--csv", path, "--memory", "8M,unlimited", "--repeat", "2",
                   "--spec-draft-n-max", "7")
        self.assertEqual(make("--check").returncode, 1)
        self.assertEqual(make().returncode, 0)
        self.assertEqual(make("--check").returncode, 0)
        page = os.path.join(self.dir.name, "docs", "results.md")
        with open(page) as f:
            text = f.read()
        self.assertEqual(text.count("lever bench decode -m"), 1)
        self.assertIn("| 8M | all | **4.00 (4.00–4.00)** | 2.00 (2.00–2.00) | **4.00 (4.00–4.00), k 7** |", text)
        self.assertIn("m\\|&lt;b>", text)
        self.assertEqual(text.count("\n| unlimited |"), 3 + 4)
        with open(path, "a") as f:
            f.write("1,2\n")
        r = make()
        self.assertEqual((r.returncode, "row 26" in r.stderr), (1, True), r.stderr)

    def test_foreign_file(self):
        path = os.path.join(self.dir.name, "r.csv")
        with open(path, "w") as f:
            f.write("a,b\n1,2\n")
        o = self.bench(self.stub(), self.write(turn("p1", "code", "x")), "--modes", "off", "--csv", path, code=2)
        self.assertIn("modes", o)
        self.assertIn("not the heading", self.stderr)
        with open(path) as f:
            self.assertEqual(f.read(), "a,b\n1,2\n")


PEER = """#!%s
import os, sys, time
a = sys.argv[1:]
if a == ["--version"]:
    sys.stderr.write("version: 9 (abc)\\n")
elif a == ["--help"]:
    print("--spec-draft-n-max N  --spec-type draft-simple  --no-repack")
else:
    with open(%r, "a") as f:
        prompt = open("/dev/fd/3").read() if "-f" in a else a[-1]
        f.write(repr((os.path.basename(sys.argv[0]), a, prompt)) + "\\n")
    %s
"""
GOOD = 'sys.stderr.write("I decoded   24 tokens in    2.000 seconds, speed:   12 t/s\\neval time = 0.00 ms / 1 runs\\n")'
PLAIN = 'sys.stderr.write("prompt eval time = 9.00 ms / 3 tokens\\n        eval time =  4000.00 ms /  20 runs\\n")'


class Peers(Page):
    def peer(self, name, action):
        folder = os.path.join(self.dir.name, "peers")
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, name)
        with open(path, "w") as f:
            f.write(PEER % (sys.executable, os.path.join(self.dir.name, "calls"), action))
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return folder

    def calls(self):
        with open(os.path.join(self.dir.name, "calls")) as f:
            return [eval(line) for line in f]

    def test_rates(self):
        folder = self.peer("llama-speculative-simple", GOOD)
        self.peer("llama-completion", PLAIN)
        o, text = self.html("--peers", folder, "--modes", "off,lever")
        peers = o["peers"]
        self.assertEqual({k: v["all"]["tok_per_s"] for k, v in peers.items() if not v["all"].get("error")},
                         {"mmap": 5.0, "mmap_chain": 12.0, "pinned_chain": 12.0})
        self.assertEqual((peers["mmap_chain"]["code"]["tokens"], peers["mmap_chain"]["all"]["tokens"]), (24, 48))
        self.assertEqual(o["peer_programs"], {"version": "version: 9 (abc)", "missing": ""})
        page = self.check(text)
        self.assertIn("llama.cpp mmap + chain", page.text)
        self.assertIn("version: 9 (abc)", page.text)
        calls = self.calls()
        self.assertEqual(sorted(c[0] for c in calls), ["llama-completion"] * 2 + ["llama-speculative-simple"] * 4)
        self.assertEqual({c[2] for c in calls}, {"[user]x[/]", "[user]y[/]"})
        self.assertFalse(any("--no-repack" in a for _, a, _ in calls))  # memory is not bounded
        for name, a, _ in calls:
            self.assertEqual(a[a.index("-n") + 1], "4" if name == "llama-completion" else "8")
            if name != "llama-completion":
                self.assertEqual((a[a.index("--spec-draft-n-max") + 1], a[a.index("--spec-type") + 1]), ("7", "draft-simple"))

    def test_missing(self):
        folder = self.peer("llama-speculative-simple", GOOD)
        o, text = self.html("--peers", folder, "--modes", "lever")
        self.assertNotIn("mmap", o["peers"])
        self.assertIn("no decoding without a draft", o["peer_programs"]["missing"])
        self.assertIn("no decoding without a draft", self.check(text).text)
        p = self.write(turn("p1", "code", "x"))
        for folder in (os.path.join(self.dir.name, "nothing"), self.dir.name):
            o = self.bench(self.stub(), p, "--peers", folder, code=2)
            self.assertIn("found none of llama-speculative-simple", o["error"]["message"])
        o = self.bench(self.stub(), p, "--peers", self.dir.name, "--temp", "1", code=2)
        self.assertIn("leave --temp out", o["error"]["message"])

    def test_each_size_anew(self):
        folder = self.peer("llama-speculative-simple", GOOD)
        o, _ = self.html("--peers", folder, "--modes", "lever", "--memory", "auto,unlimited")
        self.assertEqual([s["peers"]["mmap_chain"]["all"]["prompts"] for s in o["sizes"]], [2, 2])

    def test_failures(self):
        """A peer that fails is an entry with its last words, and is not tried again."""
        for action, says in (('sys.exit("first\\n%s")' % EVIL.replace('"', '\\"').replace("\x1b", "\\x1b"), "exit code 1: <script>"),
                             ("os.kill(os.getpid(), 9)", "ended by signal 9, as when the limit leaves too little memory"),
                             ("pass", "exit code 0"), ('print("decoded 0 tokens in 0.0 seconds")', "exit code 0: decoded 0"),
                             ('print("decoded nan tokens in nan seconds")', "exit code 0")):
            folder = self.peer("llama-speculative-simple", action)
            o, text = self.html("--peers", folder, "--modes", "lever")
            e = o["peers"]["mmap_chain"]["all"]
            self.assertTrue(e["error"].startswith(says), e)
            self.assertEqual(e["tok_per_s"], 0)
            self.assertIn("lever", o["modes"])
            self.assertIn(says, self.check(text, numbers="nan" not in action).text)
            self.assertEqual(len(self.calls()), 2, "once for each peer")  # of two prompts
            os.unlink(os.path.join(self.dir.name, "calls"))

    def test_bound(self):
        """With a memory limit: a control group of it and 16 MiB more, gone afterwards; else a message of what is missing."""
        where = 'open(%r, "w").write(open("/proc/self/cgroup").read())' % os.path.join(self.dir.name, "cgroup")
        folder = self.peer("llama-speculative-simple", where + "; " + GOOD)
        o, text = self.html("--peers", folder, "--modes", "lever", "--memory", "64M")
        self.check(text)
        e = o["peers"]["mmap_chain"]["all"]
        if "error" in e:
            self.assertIn("control group", e["error"])
            self.assertIn("--peers", e["error"])
            print("no control group can be made here: %s" % e["error"], file=sys.stderr)
            return
        self.assertEqual(e["tok_per_s"], 12.0)
        self.assertTrue(all("--no-repack" in a for _, a, _ in self.calls()))
        with open(os.path.join(self.dir.name, "cgroup")) as f:
            path, = set(re.findall(r"lever-bench-\d+", f.read()))
        for base in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
            self.assertFalse(os.path.exists(os.path.join(base, path)))


if __name__ == "__main__":
    main()
