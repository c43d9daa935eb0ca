"""Arguments: commands, help, numbers, sizes, choices, foreign flags; and what reaches the engine."""
from harness import Case, main


class Commands(Case):
    def test_alone_is_usage(self):
        r = self.lever()
        self.assertEqual((r.returncode, r.stdout), (2, b""))
        self.assertIn(b"usage: lever COMMAND", r.stderr)

    def test_version_and_info(self):
        r = self.lever("--version")
        self.assertEqual((r.returncode, r.stdout), (0, b"lever 0.0.stub\n"))
        r = self.lever("--info")
        self.assertEqual(r.returncode, 0)
        self.assertIn(b"build", r.stdout)

    def test_help_lists_every_option(self):
        for args in (["help", "run"], ["run", "--help"], ["run", "-m", "x", "-h"]):
            r = self.lever(*args)
            self.assertEqual((r.returncode, r.stderr), (0, b""))
            for name in (b"-md", b"--memory SIZE", b"--stop TEXT", b"--logit-bias ID=X", b"--no-cache"):
                self.assertIn(name, r.stdout)
            self.assertNotIn(b"!", r.stdout)
        self.assertNotIn(b"--memory", self.lever("help", "tokenize").stdout)
        self.assertEqual(self.lever("help").returncode, 0)

    def test_planned_commands_are_honest(self):
        for name in "chat serve pull".split():
            self.usage_error(name, "-m", "x", says="lever %s is not there yet" % name)
            self.usage_error("help", name, says="not there yet")

    def test_commands_of_two_words(self):
        self.usage_error("bench", says=["lever bench kernels", "lever bench stream"])
        self.usage_error("bench", "--json", says="lever bench needs what to measure")
        self.usage_error("bench", "decode", says="lever bench decode needs a model")
        self.usage_error("bench", "kernel", says="did you mean bench kernels?")
        self.usage_error("bench kernels", "kernels", says="unexpected argument")
        self.usage_error("bench", "stream", says="lever bench stream needs a model")
        self.assertIn(b"--shape LIST", self.lever("help", "bench", "kernels").stdout)
        self.assertIn(b"--compute on|off", self.lever("bench", "stream", "--help").stdout)
        self.assertNotIn(b"--types", self.lever("help", "bench", "stream").stdout)

    def test_mistyped_command(self):
        self.usage_error("rnu", says="did you mean run?")
        self.usage_error("tokenise", says="did you mean tokenize?")
        self.usage_error("xyzzyx", says="unknown command")
        self.usage_error("-m", "x", says="lever run -m")


class Options(Case):
    def run_error(self, *args, says):
        self.usage_error("run", "-m", self.model([b"x"]), "-p", "a", *args, says=says)

    def test_needs_model_and_prompt(self):
        m = self.model([b"x"])
        self.usage_error("run", "-p", "a", says="needs a model: -m FILE")
        self.usage_error("run", "-m", m, says=["-p TEXT", "--chat TEXT"])
        self.usage_error("run", "-m", m, "-p", "a", "--chat", "b", says="only one")
        self.usage_error("run", "-m", m, "-p", "", says="prompt is empty")
        self.usage_error("tokenize", "-m", m, says="--decode")

    def test_values(self):
        self.run_error("-n", says="-n needs a value: N")
        self.run_error("--speculation", says="auto|off|chain|tree")
        self.run_error("-md", "--json", says="found the option --json")
        self.run_error("--json=1", says="takes no value")
        self.run_error("extra", says="unexpected argument \"extra\"")
        self.run_error("--all", says="lever run has no option --all")
        self.run_error("--stop", "", says="--stop: the text is empty")

    def test_bad_numbers(self):
        for value in ("x", "", "1.5", "1e3", "-2", "99999999999999999999", " 1", "0x10", "1 ", "nan"):
            self.run_error("-n", value, says=["-n: found \"%s\"" % value, "expected a whole number of -1.."])
        for value in ("-0.1", "nan", "inf", "1x", "", "101", "0x1p3", "1e999"):
            self.run_error("--temp", value, says="--temp: found")
        for name, value in (("--top-p", "0"), ("--top-p", "1.01"), ("--min-p", "1"), ("--repeat-penalty", "0"),
                            ("--top-k", "-1"), ("-t", "513"), ("--seed", "-1"), ("--seed", "18446744073709551616")):
            self.run_error(name, value, says=name + ": found \"%s\", expected" % value)

    def test_bad_sizes(self):
        for value in ("0", "", "M", "1.5", "1Q", "-1M", "1MM", "1M ", "640 ", "auto2", "9999999T", "1..5M", "1e3M"):
            self.run_error("--memory", value, says="--memory: found \"%s\"" % value)

    def test_bad_bias(self):
        for value in ("5", "=1", "x=1", "-1=2", "5=", "5=inf", "5=nan", "5=1e9", "99999999999=1"):
            self.run_error("--logit-bias", value, says="--logit-bias: found \"%s\"" % value)

    def test_what_this_build_lacks(self):
        self.run_error("--draft-layers", "4", says="not available in this build")
        self.run_error("--speculation", "fast", says="expected auto|off|chain|tree")
        for value in ("x1", "0", "-5", "q8", "1e3"):
            self.run_error("--draft-head", value, says="--draft-head: found \"%s\", expected auto, full, q4" % value)
        self.run_error("--speculation", "chain", says="needs a draft model")

    def test_defaults_of_the_contract_are_accepted(self):
        m = self.model([b"x"])
        self.run_json(m, "-p", "a", "--speculation", "auto", "--overlap", "off", "--prune", "auto", "--reader", "pread",
                      "--draft-head", "auto", "--no-cache", "--no-warmup", "--ring", "auto", "--slot", "auto")

    def test_foreign_flags(self):
        for args, says in ((["-ngl", "99"], "--memory"), (["--mmap"], "--memory"), (["--mlock"], "--memory"),
                           (["-fa"], "leave it out"), (["--flash-attn=on"], "leave it out"),
                           (["--n-gpu-layers", "9"], "--memory"), (["--draft-max", "8"], "--spec-draft-n-max"),
                           (["--draft-p-min", "0.5"], "--spec-draft-n-max"), (["-r", "x"], "--stop"),
                           (["--mirostat", "2"], "--temp"), (["--lora-scaled", "x"], "adapter"),
                           (["-cnv"], "--chat")):
            self.run_error(*args, says=[args[0].split("=")[0], "option of llama.cpp", says])

    def test_nearest_option(self):
        for typed, near in (("--memroy", "--memory"), ("--sead", "--seed"), ("--tempp", "--temp"),
                            ("--speculaton", "--speculation"), ("--ignore_eos", "--ignore-eos")):
            self.run_error(typed, says="did you mean %s?" % near)
        self.run_error("--zzzzzzzzzzz", says="lever help run")

    def test_terminal_control_is_escaped(self):
        r = self.lever("run", "--\033[2Jx")
        self.assertNotIn(b"\033", r.stderr)
        self.assertIn(b"\\x1b[2J", r.stderr)


class Reach(Case):
    """What is written on the command line is what the engine gets."""

    def logged(self, *args):
        self.run_json(self.model([b"x"]), "-p", "ab", *args)
        return self.log()

    def test_engine_options(self):
        log = self.logged("-md", "D", "--memory", "640M", "-c", "512", "-t", "3", "--speculation", "chain",
                          "--spec-draft-n-max", "7", "--cpu", "ref", "--device", "auto", "--reader", "buffered", "--ring", "4MiB",
                          "--slot=1024k")
        self.assertIn("open draft=D memory=671088640 ctx=512 threads=3 spec=2 kmax=7 cpu=ref device=auto reader=2 ring=4194304 "
                      "slot=1048576 vocab_only=0", log)
        self.assertIn("open draft=- memory=0 ctx=0 threads=0 spec=0 kmax=0 cpu=- device=- reader=0 ring=0 slot=0 vocab_only=1", log)
        self.assertIn("prompt 97 98\n", log)

    def test_sizes(self):
        for text, value in (("1.25G", 1342177280), ("1000", 1000), ("auto", 2**64 - 1), ("1T", 2**40), ("0.5K", 512),
                            ("2gb", 2 * 2**30), ("123456B", 123456)):
            self.assertIn("memory=%d ctx" % value, self.logged("--memory", text))

    def test_sampling(self):
        log = self.logged("--temp", "0.5", "--top-k", "40", "--top-p", "0.9", "--min-p=0.05", "--seed",
                          "18446744073709551615", "--repeat-penalty", "1.1", "--presence-penalty", "-0.5",
                          "--frequency-penalty", "2", "--repeat-last-n", "-1", "--ignore-eos", "--logit-bias", "5=-1.5",
                          "--logit-bias", "7=-inf", "-n", "3")
        self.assertIn("seq temp=0.5 top_k=40 top_p=0.9 min_p=0.05 seed=18446744073709551615 repeat=1.1 presence=-0.5 "
                      "frequency=2 last=-1 ignore_eos=1 bias=5:-1.5,7:-inf,\n", log)

    def test_defaults(self):
        self.assertIn("seq temp=0 top_k=0 top_p=1 min_p=0 seed=0 repeat=1 presence=0 frequency=0 last=64 ignore_eos=0 "
                      "bias=\n", self.logged())

    def test_context(self):
        for args, ctx in (((), 512), (("-n", "254"), 256), (("-n", "255"), 512), (("-n", "0"), 256), (("-c", "77"), 77),
                          (("-n", "100000"), 2048), (("-n", "-1", "--memory", "1M"), 2048)):
            self.assertIn("ctx=%d " % ctx, self.logged(*args).splitlines()[-3], args)
        self.usage_error("run", "-m", self.model([b"x"]), "-p", "abcdef", "-c", "6", says=["6 tokens", "-c 512"])
        self.usage_error("run", "-m", self.model([b"x"], "train 4"), "-p", "abcdef", says=["6 tokens", "made for 4"])


if __name__ == "__main__":
    main()
