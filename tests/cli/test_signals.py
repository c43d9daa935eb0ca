"""Ctrl-C and SIGTERM while loading, while generating, twice."""
import json, os, signal, subprocess, time
from harness import Case, LEVER, main


class Signals(Case):
    def start(self, model, *args):
        return subprocess.Popen([LEVER, "run", "-m", model, "-p", "x", "-n", "-1", *args], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def wait_for(self, text):
        """Until the stub has logged this: no guessing how long the start takes."""
        for _ in range(1000):
            if os.path.exists(self.log_path) and text in self.log():
                return
            time.sleep(0.01)
        self.fail("the stub never logged " + text)

    def test_generating(self):
        for sig in (signal.SIGINT, signal.SIGTERM):
            p = self.start(self.model([b"a", b"b"], "delay 10", end=0))
            first = p.stdout.read(4)
            p.send_signal(sig)
            out, err = p.communicate(timeout=20)
            self.assertEqual(p.returncode, 130)
            self.assertTrue(("ab" * 5000).startswith((first + out).decode().rstrip("\n")))
            self.assertTrue(out.endswith(b"\n"))
            self.assertIn(b"lever: interrupted", err)
            self.assertIn(b"tok/s", err)

    def test_generating_json(self):
        p = self.start(self.model([b"a", b"b"], "delay 10", end=0), "--json")
        self.wait_for("prompt")
        time.sleep(0.2)
        p.send_signal(signal.SIGINT)
        out, _ = p.communicate(timeout=20)
        o = json.loads(out)
        self.assertEqual((p.returncode, o["finish_reason"]), (130, "cancelled"))
        self.assertEqual(o["text"], ("ab" * 5000)[:o["tokens"]])

    def test_cancel_during_a_long_step(self):
        p = self.start(self.model([b"a"], "delay 20000", end=0))
        self.wait_for("prompt")
        t = time.monotonic()
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=20)
        self.assertEqual(p.returncode, 130)
        self.assertLess(time.monotonic() - t, 5)

    def test_loading(self):
        p = self.start(self.model([b"a"], "load_delay 20000"), "--json")
        self.wait_for("vocab_only=0")
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=20)
        self.assertEqual((p.returncode, json.loads(out)["error"]["exit_code"]), (130, 130))
        self.assertIn(b"interrupted", err)

    def test_second_ends_at_once(self):
        """The pipe is full and nobody reads: the first signal cannot finish the print, the second ends it."""
        m = self.model([b"y" * 2000] * 50, end=0)
        p = self.start(m)
        self.wait_for("prompt")
        time.sleep(0.3)
        p.send_signal(signal.SIGINT)
        time.sleep(0.3)
        self.assertIsNone(p.poll())
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(timeout=20), 130)
        p.communicate()


if __name__ == "__main__":
    main()
