"""lever info and lever tokenize."""
import json
from harness import Case, main


class Info(Case):
    def test_text(self):
        r = self.lever("info", "-m", self.model())
        out = r.stdout.decode()
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        for part in ("2 layers", "2 q4_k", "1 f32", "chatml", "evil\\x1b[2Jname"):
            self.assertIn(part, out)
        self.assertNotIn("\033", out)
        self.assertNotIn("general.architecture", out)

    def test_all(self):
        out = self.lever("info", "-m", self.model(), "--all").stdout
        self.assertIn(b"general.architecture (string) = stub", out)
        self.assertIn(b"bad\xff\\x0abytes", out)
        self.assertIn(b"token_embd.weight q4_k 64 x 32, 1000 bytes at 0", out)

    def test_json(self):
        r = self.lever("info", "-m", self.model(), "--json", "--all")
        o = json.loads(r.stdout)
        self.assertEqual((o["arch"], o["n_layer"], o["head_dim"], o["tied_embedding"]), ("stub", 2, 16, True))
        self.assertEqual(o["types"], {"q4_k": {"tensors": 2, "bytes": 2001}, "f32": {"tensors": 1, "bytes": 1002}})
        self.assertEqual(o["metadata"][1], {"key": "general.name", "type": "string", "value": "bad\ufffd\nbytes"})
        self.assertEqual(o["tensors"][1]["dim"], [64, 32])
        o = json.loads(self.lever("info", "-m", self.model("", "nochat"), "--json").stdout)
        self.assertIsNone(o["chat_format"])
        self.assertNotIn("tensors", o)

    def test_failures(self):
        r = self.lever("info", "-m", "/nonexistent", "--json")
        self.assertEqual(r.returncode, 5)
        self.assertIn("message", json.loads(r.stdout)["error"])
        self.usage_error("info", says="-m FILE")
        self.usage_error("info", "-m", "x", "--memory", "1M", says="no option --memory")


class Tokenize(Case):
    def ids(self, *args, **kw):
        r = self.lever("tokenize", "-m", self.model([b"xy"]), "--json", *args, **kw)
        self.assertEqual(r.returncode, 0, r.stderr)
        return json.loads(r.stdout)["ids"]

    def test_encode(self):
        self.assertEqual(self.ids("-p", "a<end>b"), [97, 256, 98])
        self.assertEqual(self.ids("-p", "<end>", "--no-special"), list(b"<end>"))
        self.assertEqual(self.ids("-p", "a", "--add-bos"), [257, 97])
        self.assertEqual(self.ids("-p", ""), [])
        self.assertEqual(self.ids("-f", "-", stdin=b"\0\xff"), [0, 255])
        big = bytes(range(256)) * 3000  # several buffers
        self.assertEqual(self.ids("-f", "-", stdin=big), list(big))
        r = self.lever("tokenize", "-m", self.model(), "-p", "abc")
        self.assertEqual(r.stdout, b"97 98 99\n")

    def test_decode(self):
        m = self.model([b"xy"])
        for form in ("97,300,256", "97 300 256", "[97, 300, 256]", " 97,\n300 256,"):
            r = self.lever("tokenize", "-m", m, "--decode", form)
            self.assertEqual((r.returncode, r.stdout), (0, b"axy<end>"))
        self.assertEqual(self.lever("tokenize", "-m", m, "--decode", "97 256", "--no-special").stdout, b"a")
        self.assertEqual(json.loads(self.lever("tokenize", "-m", m, "--decode", "255", "--json").stdout),
                         {"text": "\ufffd"})
        self.assertEqual(self.lever("tokenize", "-m", m, "--decode", "255").stdout, b"\xff")
        self.assertEqual(self.lever("tokenize", "-m", m, "--decode", "").stdout, b"")

    def test_bad_ids(self):
        m = self.model([b"xy"])
        for ids in ("x", "1;2", "-1", "99999999999999999999", "2147483648", "1.5"):
            self.usage_error("tokenize", "-m", m, "--decode", ids, says="--decode: found")
        self.usage_error("tokenize", "-m", m, "--decode", "301", says="token 301 is outside the vocabulary")


if __name__ == "__main__":
    main()
