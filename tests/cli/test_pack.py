"""lever pack, and --sidecar of lever run: options, output, exit codes, Ctrl-C."""
import json, os, signal, subprocess, time

import harness
from harness import Case, main


class Pack(Case):
    def test_beside_the_model(self):
        m = self.model([b"x"])
        r = self.lever("pack", "-m", m)
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        self.assertTrue(r.stdout.startswith(m.encode() + b".lvp: 12 bytes written in "), r.stdout)
        self.assertEqual(open(m + ".lvp").read(), "stub sidecar")
        r = self.lever("pack", "-m", m)
        self.assertEqual(r.returncode, 0)
        self.assertIn(b"nothing to do", r.stdout)
        self.assertIn(b"written", self.lever("pack", "-m", m, "--force").stdout)

    def test_json(self):
        m, out = self.model([b"x"]), os.path.join(self.dir.name, "a b.lvp")
        for written in (True, False):
            r = self.lever("pack", "-m", m, "-o", out, "--json")
            self.assertEqual((r.returncode, r.stderr), (0, b""))
            d = json.loads(r.stdout)
            self.assertEqual(sorted(d), ["bytes", "file", "seconds", "written"])
            self.assertEqual((d["file"], d["bytes"], d["written"]), (out, 12, written))
        self.assertFalse(os.path.exists(m + ".lvp"))

    def test_errors(self):
        self.usage_error("pack", says="needs a model: -m FILE")
        m = self.model([b"x"])
        self.usage_error("pack", "-m", m, "--memory", "1G", says="lever pack has no option --memory")
        self.usage_error("pack", m, says="unexpected argument")
        self.usage_error("run", "-m", m, "-p", "a", "--force", says="lever run has no option --force")
        r = self.lever("pack", "-m", m, "-o", "/no/such/place")
        self.assertEqual((r.returncode, r.stdout), (5, b""))
        r = self.lever("pack", "-m", self.model([b"x"], "open -3 bad model"), "--json")
        self.assertEqual(r.returncode, 3)
        self.assertEqual(json.loads(r.stdout)["error"]["message"], "bad model")

    def test_interrupt_cleans_up(self):
        m = self.model([b"x"], "delay 50")
        p = subprocess.Popen([harness.LEVER, "pack", "-m", m], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 20
        while not os.path.exists(self.log_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=20)
        self.assertEqual((p.returncode, out), (130, b""), err)
        self.assertFalse(os.path.exists(m + ".lvp"))

    def test_sidecar_reaches_the_engine(self):
        m = self.model([b"x"])
        for args, want in (([], "-"), (["--sidecar", "off"], "off"), (["--sidecar=/a/b.lvp"], "/a/b.lvp")):
            if os.path.exists(self.log_path):
                os.remove(self.log_path)
            self.run_json(m, "-p", "a", *args)
            self.assertIn("vocab_only=0 sidecar=%s prune=0\n" % want, self.log())


main()
