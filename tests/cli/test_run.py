"""lever run: text, JSON, stop strings, characters, exit codes."""
import json, os, random, subprocess
from harness import Case, LEVER, main

FIELDS = {"text", "ids", "finish_reason", "prompt_tokens", "tokens", "seconds", "tok_per_s", "rounds", "tokens_per_round",
          "rows_per_round", "bytes", "stream", "memory", "speculation", "reader", "reader_method", "kernels", "version"}
NESTED = {"seconds": {"load", "prefill", "decode"}, "bytes": {"streamed", "per_round"}, "stream": {"rate", "idle_share"},
          "memory": {"budget", "planned", "peak_rss"},
          "speculation": {"mode", "drafted", "accepted", "pruned", "prune_lost", "prune_seconds", "lookup_accepted", "bonus_in_tree", "bonus_by_peek", "rested", "note",
                          "exposed_draft_seconds", "embed_wait_seconds"}}


class Text(Case):
    def test_text_goes_to_stdout_figures_to_stderr(self):
        r = self.lever("run", "-m", self.model([b"Hello", b", ", b"world"]), "-p", "x")
        self.assertEqual((r.returncode, r.stdout), (0, b"Hello, world\n"))
        self.assertIn(b"tok/s", r.stderr)
        self.assertIn(b"tokens a round", r.stderr)
        self.assertIn(b"memory peak", r.stderr)
        self.assertNotIn(b"\033", r.stderr)

    def test_json_fields(self):
        r = self.lever("run", "-m", self.model([b"ab", b"c"], "round 2"), "-p", "xyz", "--json")
        self.assertEqual((r.returncode, r.stderr), (0, b""))  # not a terminal: quiet
        o = self.run_json(self.model([b"ab", b"c"], "round 2"), "-p", "xyz")
        self.assertEqual(set(o), FIELDS)
        for key, inner in NESTED.items():
            self.assertEqual(set(o[key]), inner)
        self.assertEqual((o["text"], o["ids"], o["tokens"], o["prompt_tokens"]), ("abc", [300, 301, 256], 3, 3))
        self.assertEqual((o["finish_reason"], o["rounds"]), ("stop", 2))
        self.assertEqual((o["tok_per_s"], o["tokens_per_round"], o["rows_per_round"]), (1.5, 1.5, 2.0))
        self.assertEqual(o["bytes"], {"streamed": 200, "per_round": 100})
        self.assertEqual(o["stream"], {"rate": 100.0, "idle_share": 0.25})
        self.assertEqual(o["seconds"], {"load": 0.25, "prefill": 0.5, "decode": 2.0})

    def test_limit(self):
        m = self.model([b"a", b"b"], "round 5", end=0)
        for n in (1, 4, 5, 6, 23):
            o = self.run_json(m, "-p", "x", "-n", str(n))
            self.assertEqual((o["tokens"], o["finish_reason"], o["text"]), (n, "length", ("ab" * n)[:n]))
        o = self.run_json(m, "-p", "x", "-n", "0")
        self.assertEqual((o["tokens"], o["text"], o["finish_reason"], o["rounds"]), (0, "", "length", 0))
        self.assertEqual(self.run_json(m, "-p", "x")["tokens"], 256)

    def test_context_full_is_length(self):
        o = self.run_json(self.model([b"a"], "round 3", end=0), "-p", "abc", "-c", "10", "-n", "-1")
        self.assertEqual((o["tokens"], o["finish_reason"]), (7, "length"))

    def test_end_token_at_the_limit_is_stop(self):
        o = self.run_json(self.model([b"a", b"b"]), "-p", "x", "-n", "3")
        self.assertEqual((o["ids"], o["finish_reason"]), ([300, 301, 256], "stop"))

    def test_ignore_eos(self):
        o = self.run_json(self.model([b"a", b"b"]), "-p", "x", "-n", "5", "--ignore-eos")
        self.assertEqual((o["text"], o["finish_reason"]), ("ababa", "length"))

    def test_prompt_sources(self):
        m = self.model([b"k"], "bos")
        self.lever("run", "-m", m, "-f", "-", stdin=b"a\0<end>")
        self.assertIn("prompt 257 97 0 256\n", self.log())
        self.lever("run", "-m", m, "--chat", "<end>")
        self.assertIn("prompt " + " ".join(str(b) for b in b"[user]<end>[/]") + "\n", self.log())
        r = self.lever("run", "-m", m, "-f", "/nonexistent/file")
        self.assertEqual(r.returncode, 5)
        self.assertIn(b"/nonexistent/file: cannot be opened", r.stderr)
        self.assertEqual(self.lever("run", "-m", m, "-f", "/").returncode, 5)


class Stop(Case):
    def check(self, tokens, stops, text, n_ids, n_rewind, round=1):
        m = self.model(tokens, "round %d" % round, end=0)
        args = [x for s in stops for x in ("--stop", s)] + ["-p", "x", "-n", "50"]
        o = self.run_json(m, *args)
        self.assertEqual((o["text"], o["tokens"], o["finish_reason"]), (text, n_ids, "stop"))
        self.assertEqual(o["ids"], list(range(300, 300 + n_ids)))
        self.assertEqual([x for x in self.log().splitlines() if x.startswith("rewind")],
                         ["rewind %d" % n_rewind] if n_rewind else [])
        r = self.lever("run", "-m", m, *args)
        self.assertEqual(r.stdout.decode(), text + ("" if not text or text.endswith("\n") else "\n") or "\n")

    def test_whole_token(self):
        self.check([b"ab", b"STOP", b"cd"], ["STOP"], "ab", 1, 1)

    def test_across_tokens(self):
        self.check([b"ab", b"cS", b"T", b"OPx", b"y"], ["STOP"], "abc", 2, 2)

    def test_rest_of_the_round_is_dropped(self):
        self.check([b"ab", b"STOP", b"cd", b"ef"], ["STOP"], "ab", 1, 3, round=4)

    def test_first_to_end_wins(self):
        self.check([b"abcdefgh"], ["defgh", "cd", "zz"], "ab", 1, 0)

    def test_at_the_start(self):
        self.check([b"\n", b"x"], ["\n"], "", 0, 1)

    def test_false_starts(self):
        self.check([b"aab", b"aa", b"c", b"d"], ["aac"], "aab", 1, 2)

    def test_not_found(self):
        o = self.run_json(self.model([b"STO", b"STO"]), "-p", "x", "--stop", "STOP")
        self.assertEqual((o["text"], o["finish_reason"]), ("STOSTO", "stop"))

    def test_random_against_twin(self):
        seed = 20240611
        rng = random.Random(seed)
        for i in range(25):
            tokens = [bytes(rng.choice(b"ab") for _ in range(rng.randint(1, 3))) for _ in range(12)]
            stops = ["".join(rng.choice("ab") for _ in range(rng.randint(2, 5))) for _ in range(2)]
            whole = b"".join(tokens).decode()
            ends = [e for e in range(1, len(whole) + 1) if any(whole[:e].endswith(s) for s in stops)]
            want = whole if not ends else min((whole[:ends[0] - len(s)] for s in stops if whole[:ends[0]].endswith(s)),
                                              key=len)
            m = self.model(tokens, "round %d" % rng.randint(1, 6))
            o = self.run_json(m, "-p", "x", "--stop", stops[0], "--stop", stops[1])
            self.assertEqual(o["text"], want, "seed %d case %d: %r %r" % (seed, i, tokens, stops))


class Characters(Case):
    def test_streamed_characters_are_whole(self):
        """Each write to stdout is valid UTF-8, although tokens cut characters."""
        euro, rocket = "€".encode(), "🚀".encode()
        m = self.model([euro[:1], euro[1:], b"a" + rocket[:1], rocket[1:3], rocket[3:] + b"b"], "delay 60")
        p = subprocess.Popen([LEVER, "run", "-m", m, "-p", "x"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        parts = []
        while part := p.stdout.raw.read(100) if hasattr(p.stdout, "raw") else p.stdout.read1(100):
            part.decode()  # raises on half a character
            parts.append(part)
        p.stdout.close()
        self.assertEqual(p.wait(), 0)
        self.assertEqual(b"".join(parts).decode(), "€a🚀b\n")
        self.assertGreater(len(parts), 2)  # it does come piece by piece

    def test_ill_formed_bytes(self):
        for tokens in ([b"a\xff", b"b"], [b"\xe2\x82"], [b"\xf0\x9f", b"x"], [b"\xed\xa0\x80"], [b"\xc0\x80", b"\x80"],
                       [b"\xf4\x90\x80\x80"], [b"nul\0nul"], [b'"\\\n\t\x01']):
            want = b"".join(tokens).decode("utf-8", "replace")
            m = self.model(tokens)
            self.assertEqual(self.run_json(m, "-p", "x")["text"], want)
            out = self.lever("run", "-m", m, "-p", "x").stdout.decode()
            self.assertEqual(out, want + "\n")


class Trace(Case):
    def test_a_line_a_round(self):
        path = os.path.join(self.dir.name, "trace")
        m = self.model([b"a", b"b"], "round 2", end=0)
        self.run_json(m, "-p", "x", "-n", "5", "--trace", path)
        with open(path, encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
        self.assertEqual([len(t["ids"]) for t in lines], [2, 2, 1])
        self.assertEqual([t["round"] for t in lines], [0, 1, 2])
        self.assertTrue(lines[0]["prompt"] and not any("prompt" in t for t in lines[1:]))
        for t in lines:  # of its round alone
            self.assertEqual((t["rows"], t["stream"]["bytes"], t["stream"]["wait_seconds"]), (2, 100, 0.125))

    def test_replay(self):
        path = os.path.join(self.dir.name, "trace")
        m = self.model([b"a", b"b"], "round 2", end=0)
        self.run_json(m, "-p", "x", "-n", "5", "--trace", path)
        with open(path, encoding="utf-8") as f:
            lines = f.read()
        tree = json.loads(lines.splitlines()[1])
        self.assertEqual(tree["tree"], {"token": [300, 301, 302], "parent": [-1, 0, 0], "p": [1, 0.5, 0.25], "from": [0, 1, 2]})
        self.assertEqual((tree["choice"]["rows"], tree["choice"]["stairs"]), (2, {"rows": [1, 8], "seconds": [0.125, 1]}))
        with open(path, "a", encoding="utf-8") as f:
            f.write(lines)  # a second text behind the first
        r = self.lever("replay", path, "--json")
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        o = json.loads(r.stdout)
        self.assertEqual((o["rounds"], o["of_best_fixed"], o["predicted"]), (4, 0.75, 0.5))
        self.assertEqual((o["taken"]["tokens_per_round"], o["taken"]["rows_per_round"]), (1, 2))  # tokens that follow
        self.assertEqual((o["chosen"]["tokens_per_round"], o["chosen"]["rows_per_round"]), (300, 0.25))
        self.assertEqual((o["chosen"]["seconds_per_round"], o["best_fixed"]["rows"]), (1, 3))
        self.assertIn(b"chosen / best fixed size: 0.750", self.lever("replay", path).stdout)

    def test_replay_of_bad_traces(self):
        good = json.dumps({"round": 0, "ids": [1], "tree": {"token": [1], "parent": [-1], "p": [1]},
                           "choice": {"rows": 1, "rate": 1, "spent_seconds": 0, "stream_seconds": 0, "head_seconds": 0,
                                      "fixed_seconds": 0, "predicted_seconds": 1, "seconds": 1,
                                      "stairs": {"rows": [1], "seconds": [1]}}})
        path = os.path.join(self.dir.name, "trace")
        for text, code, message in (
                ("", 2, b"the file is empty"),
                ("{", 2, b"behind object 0"),
                (good + "\n{", 2, b"behind object 1"),
                ("[]", 2, b"in object 1: expected an object with"),
                ('{"round": 0, "ids": [1]}', 2, b"no round"),
                (good.replace('"p": [1]', '"p": []'), 2, b"of one length, 1 to 256"),
                (good.replace('"rate": 1, ', ""), 2, b"lacks a number"),
                (good.replace('"seconds": [1]', '"seconds": []'), 2, b"of one length, 1 to 16")):
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            r = self.lever("replay", path)
            self.assertEqual((r.returncode, r.stdout), (code, b""), text)
            self.assertIn(message, r.stderr)
        self.assertEqual(self.lever("replay", "/nonexistent").returncode, 5)
        self.assertIn(b"lever replay FILE", self.lever("replay").stderr)

    def test_cannot_write(self):
        m = self.model([b"a", b"b"])
        path = os.path.join(self.dir.name, "no", "trace")
        r = self.lever("run", "-m", m, "-p", "x", "--trace", path)
        self.assertEqual((r.returncode, r.stdout), (5, b""))
        self.assertIn(b"cannot write the trace: No such file", r.stderr)
        r = self.lever("run", "-m", m, "-p", "x", "--trace", "/dev/full")
        self.assertEqual((r.returncode, r.stdout), (5, b"ab\n"))
        self.assertIn(b"/dev/full: writing the trace failed: No space", r.stderr)


class Failures(Case):
    def test_exit_codes(self):
        for status, code in ((-1, 2), (-2, 1), (-3, 3), (-4, 4), (-5, 5), (-7, 3), (-8, 1)):
            m = self.model([b"a"], "open %d some reason" % status)
            r = self.lever("run", "-m", m, "-p", "x")
            self.assertEqual((r.returncode, r.stdout), (code, b""))
            self.assertEqual(r.stderr, b"lever: error: some reason\n")

    def test_missing_model(self):
        self.assertEqual(self.lever("run", "-m", "/nonexistent", "-p", "x").returncode, 5)

    def test_json_of_an_error(self):
        o = self.run_json(self.model([b"a"], "open -4 too small"), "-p", "x", code=4)
        self.assertEqual(o["error"]["message"], "too small")
        self.assertEqual((o["error"]["exit_code"], o["error"]["least_memory"]), (4, 12345678))

    def test_failure_in_the_middle_keeps_the_text(self):
        m = self.model([b"a", b"b", b"c"], "step 3 -5 read failed")
        o = self.run_json(m, "-p", "x", code=5)
        self.assertEqual((o["text"], o["tokens"], o["finish_reason"]), ("ab", 2, "error"))
        self.assertEqual(o["error"]["message"], "read failed")
        r = self.lever("run", "-m", m, "-p", "x")
        self.assertEqual((r.returncode, r.stdout), (5, b"ab\n"))
        self.assertIn(b"error: read failed\n", r.stderr)

    def test_prefill_failure(self):
        o = self.run_json(self.model([b"a"], "prompt -5 bad read"), "-p", "x", code=5)
        self.assertEqual((o["text"], o["error"]["message"]), ("", "bad read"))

    def test_unknown_chat_format(self):
        r = self.lever("run", "-m", self.model([b"a"], "nochat"), "--chat", "x")
        self.assertEqual(r.returncode, 3)

    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            for extra in ([], ["--json"]):
                r = subprocess.run([LEVER, "run", "-m", self.model([b"a"]), "-p", "x", *extra], stdout=full,
                                   stderr=subprocess.PIPE, timeout=30)
                self.assertEqual(r.returncode, 5)
                self.assertIn(b"standard output", r.stderr)

    def test_warning_is_shown(self):
        r = self.lever("run", "-m", self.model([b"a"], "warn no \033[31mroom"), "-p", "x")
        self.assertEqual(r.stderr.count(b"warning: no \\x1b[31mroom"), 1)


if __name__ == "__main__":
    main()
