"""Faults planted by hand are found by the search, and that soon."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.planted import FAULTS

ROOT = Path(__file__).parents[2]


TRIED = [
    ("merged", 90),  # the first draw that shows it was number 97
    pytest.param("merged", 0, marks=pytest.mark.slow),
    ("unpermuted", 0),
]


def test_all_faults_are_planted():
    assert {fault for fault, _ in (getattr(case, "values", case) for case in TRIED)} == set(FAULTS)


@pytest.mark.parametrize(("fault", "first"), TRIED)
def test_a_planted_fault_is_found(fault, first):
    """In a process of its own: what is remembered of a structure would be wrong afterwards."""
    run = subprocess.run(
        [sys.executable, str(ROOT / "tests/fuzz/planted.py"), fault],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "DRAWS": "500", "FROM": str(first), "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("draw "), run.stdout
