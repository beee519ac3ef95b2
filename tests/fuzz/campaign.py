"""Random architectures, as many as one likes: ``make fuzz DRAWS=5000 SEED=0``.

Draws are made in batches, two processes at a time. What fails is written to a file as code, the smallest of every kind
first, to become a test in ``test_found.py``. Afterwards there is a table: how often every question was asked, and what
came of it.
"""

import os
import sys
import warnings
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import torch  # noqa: E402
from fuzz.check import passes  # noqa: E402
from fuzz.draws import cases  # noqa: E402
from fuzz.questions import QUESTIONS  # noqa: E402
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402

BATCH = 25
OUTCOMES = ("equal", "undecided", "not asked", "refused", "slow", "crash", "mismatch")


def batch(number):
    """Some draws: (question, outcome, text, case as code) of each question."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    found = []

    @seed(number)
    @settings(
        max_examples=BATCH,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(tuple(QUESTIONS)))
    def draw(case):
        found.extend((*row, repr(case)) for row in passes(case, QUESTIONS))

    draw()
    return found


def main():
    draws, start = int(os.environ.get("DRAWS", 5000)), int(os.environ.get("SEED", 0))
    processes = int(os.environ.get("PROCESSES", 2))
    log = Path(os.environ.get("FAILURES", "fuzz-failures.txt"))
    numbers = [1_000_000 * start + k for k in range(-(-draws // BATCH))]
    tally, failures, done = Counter(), defaultdict(list), 0
    with ProcessPoolExecutor(processes, get_context("spawn"), max_tasks_per_child=8) as pool:
        for job in as_completed(pool.submit(batch, k) for k in numbers):
            rows = job.result()
            done += sum(name == "convert" for name, *_ in rows)
            for name, outcome, text, code in rows:
                tally[name, outcome] += 1
                if outcome in ("crash", "mismatch", "slow", "refused"):
                    kind = text.split(":")[0]
                    failures[outcome, name, kind].append((len(code), text, code))
            bad = sum(n for (_, outcome), n in tally.items() if outcome in ("crash", "mismatch"))
            print(f"{done} draws, {bad} failures", file=sys.stderr, flush=True)
            _write(log, failures)
    print(table(tally, done))
    return bool(bad)


def _write(log, failures):
    lines = []
    for (outcome, name, kind), found in sorted(
        failures.items(), key=lambda f: (OUTCOMES.index(f[0][0]), *f[0][1:]), reverse=True
    ):
        found.sort()
        lines.append(f"# {outcome} of {name}: {kind}, {len(found)} times")
        lines += [f"#   {text}\n{code}" for _, text, code in found[:3]]
    log.write_text("\n".join(lines))


def table(tally, done):
    """Counts for every question, in Markdown."""
    shown = [o for o in OUTCOMES if any(tally[n, o] for n, _ in tally)]
    rows = [["question", *shown], ["---"] * (len(shown) + 1)]
    for name in ("convert", *QUESTIONS):
        rows.append([name.replace("_", " "), *(str(tally[name, o] or "") for o in shown)])
    total = [str(sum(n for (_, outcome), n in tally.items() if outcome == o)) for o in shown]
    rows.append([f"{done} draws", *total])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
