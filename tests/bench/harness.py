"""Timing in ratios: what is compared runs in turns, and the spread is shown with the median."""

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from tqdm import tqdm

__all__ = ["ROOT", "ROWS", "Line", "Matter", "elsewhere", "machine", "measured", "row", "table", "written"]

ROOT = Path(__file__).parent.parent.parent
MARKS = ("<!-- bench -->", "<!-- /bench -->")
SIZE = 1024  # of the matrix product that tells the machine's peak


@dataclass
class Matter:
    """Something to measure.

    Attributes:
        what: what is computed.
        ours: computes it.
        against: what it is compared with; nothing if only seconds are of interest.
        other: computes it in the other way.
        target: what the ratio (or, without ``other``, the seconds) should be.
        flops: floating-point operations of ``ours``; the share of the machine's peak is shown.
        upside_down: show other ÷ ours, for "so many times faster".
        share: how much of the whole ``other`` does, where the whole would take too long.
        same: checks that the two results agree; to 1e-9 of their size by default.
        most: repetitions at most, for what takes long.
        once: takes minutes: the run that is checked is the one that is timed; the other way runs before and after it.
        warm: something smaller of the same structure, so that planning is not timed where things run once.
        note: what else is to be said.
        told: ``ours`` returns its seconds itself, those of another process for instance.
    """

    what: str
    ours: Callable[[], Any]
    against: str = ""
    other: Callable[[], Any] | None = None
    target: str = ""
    flops: float = 0.0
    upside_down: bool = False
    share: float = 1.0
    same: Callable[[Any, Any], None] | None = None
    most: int = 25
    once: bool = False
    warm: Callable[[], Any] | None = None
    note: str | Callable[[], str] = ""
    told: bool = False


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    row: str
    what: str
    seconds: str
    against: str
    ratio: str
    target: str
    peak: str
    note: str


ROWS: dict[str, Callable[[bool], Iterator[Matter]]] = {}


def row(name: str) -> Callable[[Callable[[bool], Iterator[Matter]]], Callable[[bool], Iterator[Matter]]]:
    """Register a row: a function of ``small`` (sizes to try it out with) that yields what to measure."""

    def register(make: Callable[[bool], Iterator[Matter]]) -> Callable[[bool], Iterator[Matter]]:
        ROWS[name] = make
        return make

    return register


def measured(name: str, matter: Matter, small: bool = False, patience: float = 8.0) -> Line:
    """Check that both ways agree, then let them run in turns for ``patience`` seconds, three times at least."""
    times: list[tuple[float, float, float]] = []
    made: list[Any] = []
    if matter.warm:
        matter.warm()
    if matter.once and matter.other:
        turns = (matter.other, matter.ours, matter.other, matter.other)
        spent = [_time(lambda fn=fn: made.append(fn())) for fn in turns]
        times.append((spent.pop(1), statistics.median(spent) / matter.share, _peak_time()))
        (matter.same or agree)(*made[1:3])
    elif matter.other:
        (matter.same or agree)(matter.ours(), matter.other())
    elif matter.most > 1 and not matter.told:
        matter.ours()  # what takes long and has nothing to agree with is not run twice
    start = perf_counter()
    least, most = min(1 if small else 3, matter.most), 2 if small else matter.most
    least, most = (1, 1) if times else (least, most)
    with tqdm(desc=f"{name}: {matter.what}", total=most, leave=False, delay=1) as bar:
        while len(times) < least or (len(times) < most and perf_counter() - start < patience):
            mine = matter.ours() if matter.told else _time(matter.ours)
            times.append((mine, _time(matter.other) / matter.share, _peak_time()))
            bar.update()
    mine, theirs, peak = zip(*times, strict=True)
    ratios = [b / a if matter.upside_down else a / b for a, b in zip(mine, theirs, strict=True) if b]
    shares = [matter.flops / a / (2 * SIZE**3 / p) for a, p in zip(mine, peak, strict=True) if matter.flops]
    note = matter.note() if callable(matter.note) else matter.note
    return Line(
        name,
        matter.what,
        _spread(mine, _seconds),
        matter.against,
        _spread(ratios, lambda x: f"{x:.3g}"),
        matter.target,
        _spread(shares, lambda x: f"{x:.0%}"),
        note,
    )


def agree(a: Any, b: Any) -> None:
    """Both ways give the same numbers."""
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    error = ((a - b).abs().max() / b.abs().max()).item()
    assert error < 1e-9, f"the two ways differ by {error:.1e}"


def elsewhere(script: str, threads: int | None = None) -> dict[str, float]:
    """Run a script in a fresh process; the numbers it prints, with ``peak``, its peak resident memory in GiB.

    The peak is read from /proc: what getrusage says starts from the size of the process that started it.
    """
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))
    count = threads or torch.get_num_threads()
    tail = """
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print("peak", int(line.split()[1]) / 2**20)
"""
    head = f"import torch\ntorch.set_num_threads({count})\n"
    done = subprocess.run(
        [sys.executable, "-c", head + script + tail], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    pairs = (line.split() for line in done.stdout.splitlines())
    return {pair[0]: float(pair[1]) for pair in pairs if len(pair) == 2}


def machine() -> str:
    """What this runs on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    blas = "MKL" if torch.backends.mkl.is_available() else "other BLAS"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "cotengra", "quimb"))
    rates = [2 * SIZE**3 / _peak_time() / 1e9 for _ in range(9)]
    return (
        f"{cpu}, {os.cpu_count()} cores, {torch.get_num_threads()} threads ({blas}), "
        f"load {os.getloadavg()[0]:.1f} at the start; Python {platform.python_version()}, {packages}. "
        f"Product of two {SIZE} × {SIZE} matrices in float64: {_spread(rates, lambda x: f'{x:.0f}')} GF/s."
    )


def table(lines: list[Line]) -> str:
    """The lines as a markdown table."""
    head = ("row", "what", "seconds", "against", "ratio", "target", "of peak", "note")
    rows = [head, ("---",) * len(head)]
    rows += [(x.row, x.what, x.seconds, x.against, x.ratio, x.target, x.peak, x.note) for x in lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def written(page: str, text: str, marks: tuple[str, str] = MARKS) -> str:
    """The page with ``text`` between the marks."""
    before, rest = page.split(marks[0])
    _, after = rest.split(marks[1])
    return f"{before}{marks[0]}\n{text}\n{marks[1]}{after}"


def _time(fn: Callable[[], Any] | None) -> float:
    if fn is None:
        return 0.0
    start = perf_counter()
    fn()
    return perf_counter() - start


def _peak_time() -> float:
    return _time(lambda: _SQUARE @ _SQUARE)


_SQUARE = torch.ones(SIZE, SIZE, dtype=torch.float64)


def _spread(values: Any, show: Callable[[float], str]) -> str:
    """The median, and the quartiles where there are enough values."""
    if not values:
        return ""
    middle = show(statistics.median(values))
    if len(values) < 2:
        return middle
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle} ({show(low)}–{show(high)})"


def _seconds(x: float) -> str:
    return f"{x:.2g}" if x < 10 else f"{x:.0f}"
