"""lever plan, probe, bench kernels, bench stream: arguments, JSON, the kept profile."""
import json, os
from harness import Case, main


class Measure(Case):
    def setUp(self):
        super().setUp()
        self.env = {"XDG_CACHE_HOME": os.path.join(self.dir.name, "cache")}
        self.kept = os.path.join(self.dir.name, "cache", "lever", "profile.json")

    def json(self, *args, code=0):
        r = self.lever(*args, "--json", env=self.env)
        self.assertEqual(r.returncode, code, r.stderr)
        self.assertEqual(r.stdout.count(b"\n"), 1)
        return json.loads(r.stdout)

    def write(self, text):
        path = os.path.join(self.dir.name, "profile")
        with open(path, "w") as f:
            f.write(text if isinstance(text, str) else json.dumps(text))
        return path


class Plan(Measure):
    def test_json(self):
        o = self.json("plan", "-m", self.model((), "streams 1000"), "-md", "d", "--memory", "8M", "-c", "512")
        self.assertEqual((o["budget"], o["planned"], o["least_memory"], o["context"]), (8 << 20, 300, 5 << 20, 512))
        self.assertEqual(o["items"], [{"name": "weights", "bytes": 200}, {"name": "ring", "bytes": 100}])
        self.assertEqual((o["bytes_per_round"], o["draft"], o["spec_draft_n"]), (1000, True, 12))
        self.assertEqual(o["ring"], {"bytes": 100, "slot_bytes": 50, "slots": 2})
        self.assertEqual((o["profile"]["source"], o["tokens_per_round"]), ("measured", 4))
        self.assertEqual(o["tok_per_s"], 2.5e9 + 2 + 4 + 3)  # quick flash and compute were asked for; mode lever
        self.assertEqual((o["plain_tok_per_s"], list(o["modes"])), (2.5e9 + 2 + 4, ["off", "lever"]))
        self.assertIn("memory=8388608 ctx=512", self.log())
        o = self.json("plan", "-m", self.model())
        self.assertEqual((o["tok_per_s"], o["draft"]), (2.5e9 + 7, False))  # nothing streamed: no flash

    def test_text(self):
        r = self.lever("plan", "-m", self.model((), "streams 1000"), "--memory", "8M", env=self.env)
        for part in (b"weights", b"at least 5M would do", b"expected, by simulated rounds", b"lever     2500000009.00 tok/s", b"flash 2.50 GB/s"):
            self.assertIn(part, r.stdout)

    def test_refusal(self):
        m = self.model((), "open -4 too small")
        o = self.json("plan", "-m", m, "--memory", "1M", code=4)
        self.assertEqual((o["least_memory"], o["error"]["least_memory"]), (12345678, 12345678))
        self.assertEqual(self.json("plan", "-m", self.model((), "open -3 bad"), code=3)["error"]["exit_code"], 3)

    def test_profile_file(self):
        m = self.model((), "streams 1000")
        p = self.write({"flash": [{"read_bytes": 1, "lanes": 1, "rate": 7}, {"rate": 5}], "dram": 11, "peak_mac": 13,
                        "compute": [{"rows": 1, "seconds_per_weight": 1e-9}], "unknown": []})
        o = self.json("plan", "-m", m, "--profile", p)
        self.assertEqual(o["profile"], {"source": "file", "flash_rate": 7.0, "dram": 11.0, "peak_mac": 13.0})
        self.assertEqual((o["seconds"], o["plain_tok_per_s"]), ({"stream": 11, "target": 13, "draft": 2}, 7))

    def test_modes(self):
        m = self.model((), "streams 1000")
        p = self.write({"flash_rate": 100, "dram": 1})
        o = self.json("plan", "-m", m, "-md", "d", "--profile", p, "--modes", "chain,off", "--tree-rows", "9", "--spec-draft-n-max", "5",
                      "--stream-ahead", "off", "--prune-model", "0.5,0.25,0.02")
        self.assertEqual(list(o["modes"]), ["off", "chain"])
        c = o["modes"]["chain"]
        self.assertEqual([c[k] for k in ("tok_per_s", "k", "rows_per_round", "head_seconds", "wait_seconds", "device_idle_share")],
                         [101, 7, 9, 5, 1, 0.25])
        self.assertEqual((o["tok_per_s"], o["plain_tok_per_s"]), (101, 100))
        self.assertEqual(sorted(c["tasks"]), ["chat", "code", "math", "qa", "rag", "summarization", "translation"])
        self.assertIsNone(self.json("plan", "-m", m, "--profile", p, "--modes", "lever")["plain_tok_per_s"])
        for modes in ("", "on", "off,,chain", "off chain"):
            self.usage_error("plan", "-m", m, "--profile", p, "--modes", modes, says="--modes")
        for prune in ("1", "0.5", "0.5,", "0.5,1", "0.5,0.5,1", "0.5,0.5,0.5,0.5", "a,b,c", "0.5;0.5;0.5", "nan,0,0"):
            self.usage_error("plan", "-m", m, "--profile", p, "--prune-model", prune, says="--prune-model")

    def test_built_in(self):
        o = self.json("plan", "--model-shape", "qwen3-8b", "--draft-shape", "qwen3-0.6b", "--profile", "oneplus12")
        self.assertEqual((o["planned"], o["bytes_per_round"], o["kernels"], o["threads"]), (4096, 36, "q4_0", 6))
        self.assertEqual((o["profile"]["source"], o["profile"]["flash_rate"], o["modes"]["lever"]["cpu_idle_share"]), ("file", 3.8e9, 5))
        self.usage_error("plan", "--model-shape", "gpt-5", "--profile", "ufs31", says=["no built-in model", "qwen3-8b"])
        self.usage_error("plan", "--model-shape", "qwen3-8b", "--profile", "iphone", says=["no built-in device", "oneplus12"])
        self.usage_error("plan", "--model-shape", "qwen3-8b", "--profile", "ufs31", "--acceptance", "x", says="no built-in acceptance")
        self.usage_error("plan", "--draft-shape", "qwen3-8b", says="--model-shape")
        self.usage_error("plan", "-m", self.model(), "--model-shape", "qwen3-8b", says="in place of")
        self.usage_error("plan", "--model-shape", "qwen3-8b", "--no-cache", says="--profile FILE or NAME")
        o = self.json("plan", "--model-shape", "x.json", "--profile", "ufs31", code=5)
        self.assertIn("x.json", o["error"]["message"])

    def test_bad_shapes(self):
        good = {"schema": 1, "name": "a", "arch": "llama", "type": "q4_0", "layers": 2, "embedding": 64, "feed_forward": 128,
                "heads": 2, "kv_heads": 1, "head_dim": 32, "vocabulary": 100, "context": 128}
        ask = ("--profile", "ufs40", "--json")
        self.json("plan", "--model-shape", self.write(good), "--profile", "ufs40")
        for change, says in (({"schema": 2}, "this build reads 1"), ({"schema": None}, '"schema"'), ({"layers": 0}, '"layers"'),
                             ({"heads": "x"}, '"heads"'), ({"arch": 1}, '"arch"'), ({"name": "a" * 99}, '"name"'),
                             ({"head_type": []}, '"head_type"'), ({"vocabulary": 1e99}, '"vocabulary"')):
            self.usage_error("plan", "--model-shape", self.write(dict(good, **change)), *ask[:2], says=says)
        self.usage_error("plan", "--model-shape", self.write("[]"), *ask[:2], says="not a JSON object")

    def test_bad_acceptance(self):
        good = {"schema": 1, "classes": [{"p": [0.5] + [0] * 7, "hit": [0.5] + [0] * 7}], "tasks": {"a": {"on": [1], "beside": [1]}}}
        m, p = self.model(), self.write({"flash_rate": 1, "dram": 1})

        def path(o):
            name = os.path.join(self.dir.name, "acceptance")
            with open(name, "w") as f:
                json.dump(o, f)
            return name
        self.assertEqual(list(self.json("plan", "-m", m, "--profile", p, "--acceptance", path(good))["modes"]["off"]["tasks"]), ["a"])
        for change, says in (({"schema": 3}, "this build reads 1"), ({"classes": []}, "classes"), ({"tasks": {}}, "tasks"),
                             ({"classes": [{"p": [1], "hit": [1]}]}, '"p" has 1 numbers'),
                             ({"classes": [{"p": [2] * 8, "hit": [0] * 8}]}, '"p" has something'),
                             ({"tasks": {"a": {"on": [1, 0], "beside": [1]}}}, '"on" has 2 numbers'),
                             ({"tasks": {"a" * 30: {"on": [1], "beside": [1]}}}, "name of a task"),
                             ({"tasks": {str(i): {"on": [1], "beside": [1]} for i in range(17)}}, "tasks"),
                             ({"lookup": [0.5] * 5}, '"lookup" has 5 numbers'),
                             ({"lookup": [0.5] * 6}, '"right" has 0 numbers'),
                             ({"tasks": {"a": {"on": [1], "beside": [1], "text": [[0, 0, 0, 0]]}}}, '"text" has 1 places'),
                             ({"tasks": {"a": {"on": [1], "beside": [1], "text": [[0, 0, 0, 0], [0, 0.5, 0, 0]]}}}, "place 1 is not four"),
                             ({"tasks": {"a": {"on": [1], "beside": [1], "text": [[0, 0, 0, 0], [0, 0, 0]]}}}, "place 1 is not four")):
            self.usage_error("plan", "-m", m, "--profile", p, "--acceptance", path(dict(good, **change)), says=says)

    def test_bad_profiles(self):
        m = self.model((), "streams 1000")
        for text, says in (("", "line"), ("[1]", "not a JSON object"), ("{\"dram\": 1, \"dram\": 2}", "line 1"),
                           ({"dram": "x"}, '"dram" is not a number'), ({"dram": -1}, '"dram" is not'),
                           ({"dram": 1e99}, '"dram" is not'), ({"dram": 1, "flash": [{"rate": []}]}, '"rate" is not'),
                           ({"dram": 1, "compute": [{"rows": 0, "seconds_per_weight": 1}]}, "step 1"),
                           ({"dram": 1, "compute": [{"rows": 2, "seconds_per_weight": 1}] * 2}, "step 2"),
                           ({"dram": 1, "compute": [{"rows": i, "seconds_per_weight": 1} for i in range(1, 99)]}, "step 17"),
                           ({"dram": 1, "schema": 2}, "this build reads 1"), ({"dram": 1, "schema": "1"}, '"schema"'),
                           ({"dram": 1, "accel": [{"rows": 1, "seconds_per_weight": 0}]}, '"accel" must list'),
                           ({}, "no dram")):
            self.usage_error("plan", "-m", m, "--profile", self.write(text), says=says)
        o = self.json("plan", "-m", m, "--profile", "/nonexistent", code=5)
        self.assertIn("/nonexistent", o["error"]["message"])

    def test_no_device(self):
        os.symlink(self.model(), os.path.join(self.dir.name, "x"))
        # a model that the stub's probe cannot read is still planned
        o = self.json("plan", "-m", self.model(), "--no-cache")
        self.assertEqual(o["profile"]["source"], "measured")
        self.usage_error("plan", says="needs a model")
        self.usage_error("plan", "-m", "x", "-p", "a", says="no option -p")


class Probe(Measure):
    def test_json_is_a_profile(self):
        o = self.json("probe", self.dir.name, "-t", "3")
        self.assertEqual((o["flash_rate"], o["dram"], o["threads"], o["looks_cached"]), (2.5e9 + 5, 2e10, 3, False))
        self.assertEqual(o["flash"][1], {"read_bytes": 4194304, "lanes": 4, "rate": 2.5e9})
        self.assertEqual(o["compute"][1], {"type": "q4_k", "rows": 8, "seconds_per_weight": 2e-11})
        p = self.json("plan", "-m", self.model((), "streams 1"), "--profile", self.write(o))
        self.assertEqual((p["tok_per_s"], p["seconds"]["draft"], o["schema"]), (2.5e9 + 8, 2, 1))

    def test_models(self):
        o = self.json("probe", "-m", "m", "-md", "d", "--memory", "8M")["mapper"]
        self.assertEqual(o["devices"][1], {"name": "odd", "kind": "accelerator", "exact": False, "shares_cores": False})
        self.assertEqual(o["programs"][0], {"program": "draft body", "rows": 1, "seconds": [0.25, 0.5],
                                            "choice": [{"device": "unit", "rows": 1}], "choice_seconds": 0.25})
        self.assertEqual(o["programs"][1]["seconds"], [2.0, None])
        self.assertEqual(o["programs"][1]["choice"], [{"device": "unit", "rows": 32}, {"device": "odd", "rows": 8}])
        self.assertTrue(o["streamed"])
        self.assertEqual(len(self.json("probe", "-m", "m")["mapper"]["programs"]), 1)
        self.assertNotIn("mapper", self.json("probe"))
        r = self.lever("probe", "-m", "m", "-md", "d", env=self.env)
        for part in (b"unit (matrix), odd (accelerator, inexact)", b"draft body    1 rows     250.000 ms    500.000 ms   unit",
                     b"unit + odd (32 + 8 rows, 1500.000 ms)"):
            self.assertIn(part, r.stdout)
        self.assertIn("/nonexistent", self.json("probe", self.dir.name, "-m", "/nonexistent", code=5)["error"]["message"])
        self.usage_error("probe", "-md", "d", says="-md without -m")

    def test_kept(self):
        m = self.model((), "streams 1")
        self.json("probe", "--no-cache")
        self.assertFalse(os.path.exists(self.kept))
        self.json("probe")
        self.assertEqual(self.json("plan", "-m", m)["profile"]["source"], "cache")
        self.assertEqual(self.json("plan", "-m", m, "--no-cache")["profile"]["source"], "measured")
        self.assertEqual(os.listdir(os.path.dirname(self.kept)), ["profile.json"])
        self.json("probe", "-t", "7")  # another number of threads: of no use to a plan with two
        self.assertEqual(self.json("plan", "-m", m)["profile"]["source"], "measured")
        with open(self.kept, "w") as f:
            f.write("{")
        self.assertEqual(self.json("plan", "-m", m)["profile"]["source"], "measured")

    def test_cached_reads_are_not_kept(self):
        r = self.lever("probe", "cached", env=self.env)
        self.assertIn(b"served from memory", r.stderr)
        self.assertIn(b"flash    2.50 GB/s", r.stdout)
        self.assertFalse(os.path.exists(self.kept))

    def test_failures(self):
        self.assertIn("/nonexistent", self.json("probe", "/nonexistent", code=5)["error"]["message"])
        self.usage_error("probe", "a", "b", says='unexpected argument "b"')
        self.usage_error("probe", "", says="unexpected argument")


class Bench(Measure):
    def test_kernels(self):
        o = self.json("bench", "kernels", "--types", "q4_k,q6_k", "--rows", "1,8", "--shape", "64x32,32x256", "-t", "3",
                      "--cpu", "avx2")
        self.assertEqual([(c["shape"], c["type"], c["rows"]) for c in o["cases"]],
                         [([a, b], t, r) for a, b in ((64, 32), (32, 256)) for t in ("q4_k", "q6_k") for r in (1, 8)])
        self.assertEqual({k: v for k, v in o["cases"][0].items() if k not in ("shape", "type", "rows")},
                         {"level": "avx2", "seconds": 0.5, "bytes_per_s": 1e9, "mac_per_s": 2e9, "share_dram": 0.25,
                          "share_peak": 0.125})
        raw = o["raw"]
        self.assertEqual((raw["dram"], raw["peak_mac"], raw["fma"], raw["threads"]), (4e9, 16e9, 8e9, 3))
        self.assertEqual(raw["spread"]["dram"], {"median": 4e9, "low": 3e9, "high": 5e9, "measurements": 3})
        self.assertEqual([(a["op"], a["share_fma"]) for a in o["attention"]], [("qk", 0.125), ("pv", 0.125)])
        self.assertEqual(o["pack"][0]["bytes_per_s"], 1e9)

    def test_kernels_text(self):
        r = self.lever("bench", "kernels", "--types", "q4_k", "--rows", "1", "--shape", "64x32")
        self.assertEqual(r.returncode, 0)
        for part in (b"4.0 GB/s", b"matmul, stub", b"64 x 32", b"packing, stub, one thread", b"attention, stub"):
            self.assertEqual(r.stdout.count(part), 1, part)

    def test_kernels_lists(self):
        for rows in ("", "0", "257", "1,", ",1", "1,,2", "1;2", "x", "-1", "99999999999999999999", ",".join(["1"] * 33)):
            self.usage_error("bench", "kernels", "--rows", rows, says="--rows")
        for shape in ("", "64", "64x", "x64", "64x32x", "0x32", "64x0", "64x32,", "64 x 32", "2097152x32"):
            self.usage_error("bench", "kernels", "--shape", shape, says="--shape")
        for types in ("", ",", "q4_k,", "q4_k,,q6_k"):
            self.usage_error("bench", "kernels", "--types", types, says="--types")
        o = self.json("bench", "kernels", "--types", "q9", code=2)
        self.assertIn("q9", o["error"]["message"])

    def test_stream(self):
        m = self.model((), "streams 1000")
        o = self.json("bench", "stream", "-m", m, "--memory", "8M", "--slot", "1M", "--rows", "4", "--passes", "3")
        self.assertEqual({k: o[k] for k in ("raw", "rate", "share", "idle_share", "cpu_share", "reader")},
                         {"raw": 2e9, "rate": 1.5e9, "share": 0.75, "idle_share": 0.125, "cpu_share": 0.5,
                          "reader": "direct"})
        self.assertEqual((o["rows"], o["passes"], o["bytes_per_pass"], o["raw_after"]), (4, 3, 1000, 2.1e9))
        self.assertIn("slot=1048576", self.log())
        o = self.json("bench", "stream", "-m", m, "--memory", "8M", "--compute", "off")
        self.assertEqual((o["rows"], o["passes"]), (0, 9))
        r = self.lever("bench", "stream", "-m", m, "--memory", "8M")
        self.assertIn(b"stream   1.50 GB/s, 0.75 of raw", r.stdout)
        self.assertEqual(r.stderr, b"")

    def test_stream_failures(self):
        m = self.model((), "streams 666")
        r = self.lever("bench", "stream", "-m", m, "--memory", "8M")
        self.assertIn(b"9.0 GB/s: reads are served from memory", r.stderr)
        self.usage_error("bench", "stream", "-m", m, says="needs --memory SIZE")
        self.usage_error("bench", "stream", "-m", m, "--memory", "8M", "--rows", "1,2", says="expected one number")
        self.usage_error("bench", "stream", "-m", m, "--memory", "8M", "--compute", "maybe", says="on|off")
        self.usage_error("bench", "stream", "-m", self.model(), "--memory", "8M", says="nothing is streamed")
        self.assertEqual(self.json("bench", "stream", "-m", "/nonexistent", "--memory", "8M", code=5)["error"]["exit_code"], 5)


if __name__ == "__main__":
    main()
