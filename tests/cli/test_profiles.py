"""The built-in descriptions: every figure says where it comes from."""
import json, re, sys, unittest
from pathlib import Path

ROOT = Path(sys.argv.pop())
META = {"schema", "name", "sources"}


class Profiles(unittest.TestCase):
    def test_devices(self):
        files = sorted((ROOT / "profiles").glob("*.json"))
        self.assertGreaterEqual(len(files), 9)
        for f in files:
            o = json.loads(f.read_text())
            self.assertEqual((o["schema"], o["name"]), (1, f.stem))
            self.assertEqual(set(o) - META, set(o["sources"]), "%s: a figure without a source, or the other way" % f.name)
            for key, text in o["sources"].items():
                self.assertRegex(text, r"https?://|arXiv:\d{4}\.\d{5}|^estimate: .{20}", "%s: %s" % (f.name, key))
            for list_ in ("compute", "accel"):
                rows = [s["rows"] for s in o.get(list_, [])]
                seconds = [s["seconds_per_weight"] for s in o.get(list_, [])]
                self.assertEqual((rows, seconds), (sorted(set(rows)), sorted(seconds)), f.name)

    def test_models(self):
        for f in sorted((ROOT / "profiles/models").glob("*.json")):
            o = json.loads(f.read_text())
            self.assertEqual((o["schema"], o["name"]), (1, f.stem))
            self.assertTrue(re.search("https://", o["sources"]["shape"]), f.name)

    def test_acceptance(self):
        for f in sorted((ROOT / "profiles/acceptance").glob("*.json")):
            o = json.loads(f.read_text())
            self.assertEqual((o["schema"], o["name"]), (1, f.stem))
            self.assertGreater(len(o["how"]), 100, "%s: how was it measured?" % f.name)


if __name__ == "__main__":
    unittest.main()
