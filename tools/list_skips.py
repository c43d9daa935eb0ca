#!/usr/bin/env python3
"""Lists the skipped tests of a ctest JUnit file, each with the reason it printed.

usage: list_skips.py FILE.xml
"""
import sys
import xml.etree.ElementTree as ET


def reason(case):
    """A test that exits with 77 says why in the last line of its output."""
    lines = [line.strip() for line in (case.findtext("system-out") or "").splitlines() if line.strip()]
    return lines[-1] if lines else "no reason printed"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        cases = ET.parse(sys.argv[1]).getroot().iter("testcase")
    except (OSError, ET.ParseError) as e:
        print("skipped tests are not known: %s" % e)
        return
    skipped = [(c.get("name"), reason(c)) for c in cases if c.find("skipped") is not None]
    print("%d tests skipped" % len(skipped))
    for name, why in skipped:
        print("  %s: %s" % (name, why))


if __name__ == "__main__":
    main()
