"""Random architectures, as many as one likes: ``make fuzz DRAWS=5000 SEED=0``.

Draws are numbered and independent; draw 17 of seed 0 is always the same. They are made in batches, two processes at a
time, and ``FROM=1000`` goes on from the thousandth. What fails is made smaller and written to a file as code, the
smallest of every kind first, to become a test in ``test_found.py``. Afterwards there is a table: how often every
question was asked, and what came of it.
"""

import json
import os
import sys
import warnings
from collections import Counter, defaultdict
from multiprocessing import get_context
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import torch  # noqa: E402
from fuzz.check import passes  # noqa: E402
from fuzz.draws import rolled  # noqa: E402
from fuzz.questions import QUESTIONS, asked_by  # noqa: E402
from fuzz.shrink import WRONG, shrunk  # noqa: E402

BATCH = 10
OUTCOMES = ("equal", "undecided", "refused", "slow", "crash", "mismatch")


def batch(seed, start, stop):
    """Some draws: (number, question, outcome, text, case as code) of each question, and what laws were drawn."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    found, laws = [], Counter()
    for number in range(start, stop):
        case = rolled(seed, number, tuple(QUESTIONS))
        laws[_kind(case)] += 1
        rows = passes(case, QUESTIONS)
        found.extend((number, *row, repr(case)) for row in rows)
        if any(outcome in WRONG for _, outcome, _ in rows) and not any(
            name == "shrunk" for _, name, *_ in found
        ):
            found.append((number, "shrunk", "", "", repr(shrunk(case, QUESTIONS))))
    return stop - start, found, laws


def batch_of(job):
    return batch(*job)


def _kind(case):
    law = case.law
    parts = [law.kind, "with a mean" * law.mean, f"{law.cov} covariance" * bool(law.cov)]
    return ", ".join(p for p in parts if p)


def main():
    draws, seed = int(os.environ.get("DRAWS", 5000)), int(os.environ.get("SEED", 0))
    first, processes = int(os.environ.get("FROM", 0)), int(os.environ.get("PROCESSES", 2))
    log = Path(os.environ.get("FAILURES", "fuzz-failures.txt"))
    tally, refusals, laws, failures, done = Counter(), Counter(), Counter(), defaultdict(list), 0
    stop = first + draws
    jobs = [(seed, k, min(k + BATCH, stop)) for k in range(first, stop, BATCH)]
    with get_context("spawn").Pool(processes, maxtasksperchild=20) as pool:
        for count, rows, drawn in pool.imap_unordered(batch_of, jobs):
            done, laws = done + count, laws + drawn
            for number, name, outcome, text, code in rows:
                if name == "shrunk":
                    failures["mismatch", "(made smaller)", str(number)].append((0, "", code))
                    continue
                tally[name, outcome] += 1
                if outcome == "refused":
                    refusals[text.split(" at ")[0]] += 1
                if outcome in ("crash", "mismatch", "slow", "refused"):
                    failures[outcome, name, text.split(":")[0]].append((len(code), f"{number}: {text}", code))
            bad = sum(n for (_, outcome), n in tally.items() if outcome in WRONG)
            print(f"{done} draws, {bad} failures", file=sys.stderr, flush=True)
            _write(log, failures)
            log.with_suffix(".json").write_text(
                json.dumps([done, sorted([*k, n] for k, n in tally.items()), refusals, laws])
            )
    print(table(tally, done), _listed("refused with", refusals), _listed("laws", laws), sep="\n\n")
    return bool(bad)


def _write(log, failures):
    lines = []
    order = ("mismatch", "crash", "slow", "refused")
    for (outcome, name, kind), found in sorted(
        failures.items(), key=lambda f: (order.index(f[0][0]), *f[0][1:])
    ):
        found.sort()
        lines.append(f"# {outcome} of {name}: {kind}, {len(found)} times")
        lines += [f"#   {text}\n{code}" for _, text, code in found[:3]]
    log.write_text("\n".join(lines))


def _listed(title, counts):
    return f"{title}: " + ", ".join(f"{name} {n}" for name, n in counts.most_common())


def table(tally, done):
    """Counts for every function of tnsim, in Markdown: comparisons in which it took part, and what came of them."""
    asked = {name: asked_by(f) for name, f in QUESTIONS.items()} | {"convert": {"convert"}}
    functions = sorted(set().union(*asked.values()), key=str.lower)
    shown = [o for o in OUTCOMES if any(tally[n, o] for n in asked)]
    rows = [["function", *shown], ["---"] * (len(shown) + 1)]
    for f in functions:
        counts = [sum(tally[n, o] for n in asked if f in asked[n]) for o in shown]
        rows.append([f"`{f}`", *(str(n or "") for n in counts)])
    rows.append([f"{done} draws", *(str(sum(tally[n, o] for n in asked)) for o in shown)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
