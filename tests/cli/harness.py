"""What the tests of the command line share: a model file for the stub engine, and running it."""
import json, os, subprocess, sys, tempfile, unittest

LEVER = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else None


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.log_path = os.path.join(self.dir.name, "log")

    def model(self, tokens=(), *directives, end=1):
        """A stub model that answers with these byte strings; see stub_lever.c for the directives."""
        path = os.path.join(self.dir.name, "model")
        lines = ["tok " + t.hex() for t in tokens] + ["end %d" % end, "log " + self.log_path, *directives]
        with open(path, "w") as f:
            f.write("\n".join(lines) + "\n")
        return path

    def lever(self, *args, stdin=b"", env=None):
        full = dict(os.environ, **(env or {}))
        return subprocess.run([LEVER, *args], input=stdin, capture_output=True, timeout=30, env=full)

    def run_json(self, model, *args, code=0):
        r = self.lever("run", "-m", model, "--json", *args)
        self.assertEqual(r.returncode, code, r.stderr)
        self.assertEqual(r.stdout.count(b"\n"), 1)
        return json.loads(r.stdout)

    def log(self):
        with open(self.log_path) as f:
            return f.read()

    def usage_error(self, *args, says):
        """Exit code 2, nothing on stdout, one line on stderr with these words in it."""
        r = self.lever(*args)
        text = r.stderr.decode()
        self.assertEqual((r.returncode, r.stdout), (2, b""), text)
        self.assertEqual(text.count("\n"), 1, text)
        for word in [says] if isinstance(says, str) else says:
            self.assertIn(word, text)


def main():
    if not LEVER:
        sys.exit("usage: %s LEVER_STUB" % sys.argv[0])
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
