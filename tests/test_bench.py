"""The benchmark measures what it says: it refuses two ways that disagree, and every row can be run."""

import subprocess
import sys
from pathlib import Path

import byhand
import harness
import pytest
import torch

import tnsim

BENCH = Path(__file__).parent / "bench"


def test_two_ways_that_disagree_are_not_timed():
    with pytest.raises(AssertionError, match="differ by"):
        harness.measured("x", harness.Matter("x", lambda: 1.0, "y", lambda: 1.0 + 1e-6), small=True)


def test_ratios_are_those_of_what_runs():
    square = torch.ones(300, 300, dtype=torch.float64)

    def times(n):
        def run():
            for _ in range(n):
                square @ square
            return 1.0

        return run

    matter = harness.Matter("x", times(40), "y", times(10), flops=40 * 2 * 300**3)
    ratio = float(harness.measured("x", matter, patience=1.0).ratio.split()[0])
    assert 1.5 < ratio < 11  # four, on a machine that does other things as well
    matter.upside_down, matter.share = True, 0.25
    ratio = float(harness.measured("x", matter, patience=1.0).ratio.split()[0])
    assert 0.4 < ratio < 2.5


def test_the_table_goes_between_the_marks():
    page = f"before\n{harness.MARKS[0]}\nold\n{harness.MARKS[1]}\nafter\n"
    assert harness.written(page, "new") == page.replace("old", "new")
    line = harness.Line(*"abcdefgh")
    assert harness.table([line]).splitlines()[-1] == "| a | b | c | d | e | f | g | h |"


def test_closed_forms_are_the_similarity():
    a, b = (byhand.net([7, 5], 6, seed) for seed in (0, 1))
    torch.testing.assert_close(byhand.one_layer(a, b), tnsim.similarity(a, b))
    torch.testing.assert_close(byhand.square_with_slices([a, b]), tnsim.gram([a, b]).products)
    a, b = (byhand.net([7, 5, 4, 3], 6, seed) for seed in (0, 1))
    torch.testing.assert_close(byhand.layerwise(a, b), tnsim.similarity(a, b, method="layerwise"))


@pytest.mark.parametrize(
    "names",
    [
        ["a"],
        pytest.param(
            ["b", "c", "d", "tokens", "workers", "attention", "language", "positions"], marks=pytest.mark.slow
        ),
    ],
)
def test_rows_run(names):
    command = [sys.executable, str(BENCH / "run.py"), "--small", *names]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {line.split(" ")[1] for line in done.stdout.splitlines()[4:]} == set(names)


def test_unknown_rows_are_named():
    done = subprocess.run([sys.executable, str(BENCH / "run.py"), "zz"], capture_output=True, text=True)
    assert done.returncode == 1 and "no row zz; there are a b c" in done.stderr
