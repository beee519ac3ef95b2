"""Random architectures and laws: every question agrees with the slow truth, or is refused in words.

More of them: ``make fuzz DRAWS=5000 SEED=1``. A case that fails is shrunk and printed as code; it becomes a test of its
own in ``test_found.py``.
"""

from collections import Counter

import pytest
from fuzz.check import passes
from fuzz.draws import cases
from fuzz.questions import QUESTIONS
from hypothesis import HealthCheck, given, settings

DRAWS = 100
tally = Counter()


@settings(
    max_examples=DRAWS,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(cases(tuple(QUESTIONS)))
def test_a_drawn_case_equals_the_truth(case):
    for question, outcome, text in passes(case, QUESTIONS):
        tally[outcome] += 1
        if outcome in ("mismatch", "crash"):
            pytest.fail(f"{outcome} of {question}: {text}\n{case!r}", pytrace=False)


def test_most_draws_were_decided():
    if sum(tally.values()) > DRAWS:  # where the test above ran in this process
        assert tally["equal"] > 2 * (tally["refused"] + tally["undecided"] + tally["slow"]), tally
