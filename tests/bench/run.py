"""`make bench`: measure, print one table, and write it into docs/performance.md.

Usage: python tests/bench/run.py [rows, such as: a b] [--small]

Without rows everything is measured and written; with some they are measured and printed. ``--small`` tries it out.
"""

import sys
from time import perf_counter

import modules  # noqa: F401  (registers them)
import rows  # noqa: F401  (registers them)
import sequences  # noqa: F401  (more of them)
import weighted  # noqa: F401  (and those that sample)
from harness import ROOT, ROWS, machine, measured, table, written

PAGE = ROOT / "docs" / "performance.md"


def main(arguments):
    small = "--small" in arguments
    asked = [x for x in arguments if x != "--small"]
    unknown = [x for x in asked if x not in ROWS]
    if unknown:
        sys.exit(f"no row {' '.join(unknown)}; there are {' '.join(ROWS)}.")
    start = perf_counter()
    about = machine()
    lines = []
    for k, name in enumerate(asked or ROWS, start=1):
        print(f"[{k}/{len(asked or ROWS)}, {perf_counter() - start:.0f} s] {name}", file=sys.stderr)
        for matter in ROWS[name](small):
            lines.append(measured(name, matter, small))
            print(f"    {lines[-1].what}: {lines[-1].seconds} s, {lines[-1].ratio}", file=sys.stderr)
    text = f"{about}\n\n{table(lines)}"
    print(text)
    if not asked and not small:
        PAGE.write_text(written(PAGE.read_text("utf-8"), text), "utf-8")
        print(f"\nwritten to {PAGE.relative_to(ROOT)} after {perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
