"""Mutations: core lines changed one at a time, to see whether the tests of their room notice.

``python tests/mutations.py [number ...]`` runs the tests of a room on a copy of the project in which one line is another,
and lists what survived. It takes a minute or two for each.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
MEASURE, ALGEBRA, CONVERT, ANALYSIS = (f"tests/{r}" for r in ("measure", "algebra", "convert", "analysis"))
PAIRINGS, ATTENTION = "measure/pairings", "measure/attention"

# A file of tnsim, what stands there, what stands there then, and where the tests are that should notice.
MUTATIONS = [
    # weights of orbits
    (
        f"{PAIRINGS}/orbit.py",
        "found[orbit] = (first, total + weight)",
        "found[orbit] = (first, weight)",
        MEASURE,
    ),
    (f"{PAIRINGS}/orbit.py", "[2**k for k in range(", "[1**k for k in range(", MEASURE),
    (f"{PAIRINGS}/orbit.py", "over = over * factorials[_alone(sizes, table)].prod(axis=1)", "pass", MEASURE),
    (f"{PAIRINGS}/orbit.py", "[:, order][:, :, order] for order", "[:, order] for order", MEASURE),
    (f"{PAIRINGS}/multigraph.py", "rest[:, j] -= value", "rest[:, j] -= value * (i != j)", MEASURE),
    (
        f"{PAIRINGS}/multigraph.py",
        "counts = np.maximum(counts, 0)",
        "counts = np.maximum(counts, 1)",
        MEASURE,
    ),
    # sums over closures
    (f"{PAIRINGS}/expectation.py", "1 + (numbers[0] < numbers[1])", "1", MEASURE),
    (f"{PAIRINGS}/expectation.py", "numbers[0] == numbers[1]", "True", MEASURE),
    (f"{PAIRINGS}/expectation.py", "if c.crossings or not connected", "if True", MEASURE),
    (f"{PAIRINGS}/expectation.py", "weight = count * reduce", "weight = reduce", MEASURE),
    (f"{PAIRINGS}/mirrors.py", "1.0 if i == j else 2.0", "1.0", MEASURE),
    # laws
    ("measure/laws/wick.py", "if any(meant[f] is None for f, _ in alone):", "if False:", MEASURE),
    ("measure/laws/wick.py", "if sides[p[0]] > sides[q[0]]:", "if False:", MEASURE),
    (
        "measure/laws/wick.py",
        "all(t.degree % 2 for t in f.terms)",
        "any(t.degree % 2 for t in f.terms)",
        MEASURE,
    ),
    (
        "measure/laws/wick.py",
        "gain = gain[:, None] * other[None, :] if apart else gain * other",
        "gain = gain",
        ANALYSIS,
    ),
    ("measure/laws/wick.py", "f if mean is None else f @ _shift(mean, f)", "f", MEASURE),
    ("measure/laws/gaussian.py", "self.cov * gain * gain", "self.cov * gain", ANALYSIS),
    ("measure/laws/mixture.py", "weight=weight * closure.weight", "weight=closure.weight", MEASURE),
    ("measure/laws/mixture.py", "w * self._one(", "self._one(", MEASURE),
    # cumulants of links
    (
        f"{ATTENTION}/programs/chains.py",
        "closed.rows(*self._rows(None)) * 0.5)",
        "closed.rows(*self._rows(None)))",
        MEASURE,
    ),
    (f"{ATTENTION}/programs/chains.py", "parts.append(x.contracted(back.turned))", "pass", MEASURE),
    (
        f"{ATTENTION}/programs/chains.py",
        "for p, q in ((x, y), (y, x)) if any(",
        "for p, q in ((x, y),) if any(",
        MEASURE,
    ),
    (f"{ATTENTION}/programs/chains.py", "return value.turned if lies else value", "return value", MEASURE),
    (
        f"{ATTENTION}/programs/chains.py",
        "connected and not self._crosses(through, chosen)",
        "connected",
        MEASURE,
    ),
    (f"{ATTENTION}/programs/chains.py", "connected and not self._crosses(block)", "False", MEASURE),
    (
        f"{ATTENTION}/programs/chains.py",
        "self._sum(left, links - through, crossed)",
        "self._sum(left, links, crossed)",
        MEASURE,
    ),
    # symmetry and tensors
    ("algebra/polys/symmetrising.py", "(out, -out)", "(out, out)", ALGEBRA),
    ("algebra/polys/symmetrising.py", "(whole + turned) / 2", "whole", ALGEBRA),
    (
        "algebra/polys/symmetrising.py",
        "return left * gain, right / gain",
        "return left * gain, right * gain",
        ALGEBRA,
    ),
    ("algebra/terms/collecting.py", "t.coefficient + same.coefficient", "t.coefficient", ALGEBRA),
    ("algebra/polys/packed.py", "factorial(k) / run", "factorial(k - 1) / run", ALGEBRA),
    # engine
    ("engine/contract.py", "lambda k: ar.size(arrays[k])", "lambda k: -k", ALGEBRA),
    ("engine/contract.py", "if weight != 1.0:", "if weight > 1.0:", ALGEBRA),
    ("engine/contract.py", "while apart in output:", "while False:", f"{ALGEBRA} {MEASURE}"),
    ("engine/slicing.py", "flops += times * inner[0]", "flops += inner[0]", ALGEBRA),
    (
        "engine/slicing.py",
        "for start in range(0, self.tree.size_dict[loop.index], block):",
        "for start in range(0, block, block):",
        ALGEBRA,
    ),
    # questions
    ("analysis/explain/shares.py", "leggauss(", "chebgauss(", ANALYSIS),
    # conversion
    ("convert/layers/check.py", "if ratio <= 1:", "if True:", CONVERT),
    ("convert/values/value.py", "sorted", "list", CONVERT),
    ("common/wires.py", "if owner.setdefault(name, ix) != ix:", "if False:", ALGEBRA),
]


def survivor(mutation, folder):
    """Whether all tests pass though a line is another."""
    name, old, new, tests = mutation
    path = folder / "tnsim" / name
    text = path.read_text("utf-8")
    if old not in text:
        raise SystemExit(f"tnsim/{name} has no {old!r}; mend the list of mutations.")
    path.write_text(text.replace(old, new, 1), "utf-8")
    try:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests.split()],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            timeout=1200,
            check=False,
        )
    finally:
        path.write_text(text, "utf-8")
    return run.returncode == 0


def main(arguments):
    chosen = [MUTATIONS[int(k)] for k in arguments] or MUTATIONS
    alive = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "tnsim"
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "pictures"))
        for number, mutation in enumerate(chosen):
            lived = survivor(mutation, folder)
            alive += [mutation] * lived
            print(
                f"{number:3d} {'SURVIVED' if lived else 'killed  '} {mutation[0]}: {mutation[1]} → {mutation[2]}",
                flush=True,
            )
    print(f"{len(chosen) - len(alive)} of {len(chosen)} killed")
    return bool(alive)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
