"""Phases of training and ticks along an axis: what heat maps and curves share."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import Locator, MaxNLocator

from tnsim.view.layout import spread
from tnsim.view.style import MUTED, SIZES
from tnsim.view.text import READABLE, extent, room

__all__ = ["LabelTicks", "check_phases", "name_phases"]


def check_phases(n: float, boundaries: Sequence[float], phases: Sequence[str], start: float = 0.0) -> None:
    """Boundaries must increase and lie inside; phases must be one more.

    Raises:
        ValueError: otherwise.
    """
    edges = [start, *boundaries, n]
    if any(b <= a for a, b in pairwise(edges)):
        raise ValueError(
            f"boundaries must increase and lie between {start:g} and {n:g}; got {list(boundaries)}."
        )
    if phases and len(phases) != len(boundaries) + 1:
        raise ValueError(
            f"{len(phases)} phases for {len(boundaries)} boundaries; {len(boundaries) + 1} phases lie between them."
        )


def name_phases(
    ax: Axes, n: float, boundaries: Sequence[float], phases: Sequence[str], start: float = 0.0
) -> None:
    """Write the names above the axes, each over its phase, or as close to it as its neighbours allow."""
    long, _ = room(ax)
    size = SIZES["small"]
    while size >= READABLE and sum(extent(p, size)[0] + 5 for p in phases) > long:
        size -= 0.5
    if size < READABLE:
        return
    edges = (np.array([start, *boundaries, n]) - start) / (n - start) * long
    wide = [extent(p, size)[0] + 5 for p in phases]
    offsets = np.cumsum([0.0, *((a + b) / 2 for a, b in pairwise(wide))])
    middles = np.array(spread(list((edges[:-1] + edges[1:]) / 2 - offsets), 0.0))
    middles = np.clip(middles, wide[0] / 2, max(wide[0] / 2, long - wide[-1] / 2 - offsets[-1])) + offsets
    for name, middle in zip(phases, middles, strict=True):
        ax.text(
            middle / long, 1.015, name, transform=ax.transAxes, ha="center", va="bottom", fontsize=size,
            color=MUTED, gid="phase",
        )  # fmt: skip


class LabelTicks(Locator):
    """Ticks for as many labels as fit, found anew whenever the axes change size; numbers are marked at round values."""

    def __init__(self, labels: Sequence[str | int | float]):
        self.labels = list(labels)
        self.texts = [
            label if isinstance(label, str) else f"{label:g}" if abs(label) < 1e6 else f"{label:.3g}"
            for label in labels
        ]

    def text(self, at: float, _: int | None = None) -> str:
        """The label of a tick (a matplotlib formatter)."""
        return self.texts[round(at)] if 0 <= round(at) < len(self.texts) else ""

    def slanted(self) -> bool:
        """Whether the labels are too long to stand side by side."""
        return max(map(len, self.texts)) > 6 and len(self.texts) > 2

    def tick_values(self, vmin: float, vmax: float) -> list[int]:
        """All ticks that fit; the limits of the view do not matter."""
        return self()

    def __call__(self) -> list[int]:
        """The ticks."""
        horizontal = self.axis.axis_name == "x"  # type: ignore[union-attr]
        length = room(self.axis.axes)[0 if horizontal else 1]  # type: ignore[union-attr]
        widest = max(extent(t, SIZES["tick"])[0] for t in self.texts)
        each = widest + 7 if horizontal and not self.slanted() else 14.0
        n, fitting = len(self.labels), max(2, int(length / each))
        if n <= fitting:
            return list(range(n))
        numbers = np.array([float(label) for label in self.labels if not isinstance(label, str)])
        runs = np.split(np.arange(n), np.flatnonzero(np.diff(numbers) <= 0) + 1) if len(numbers) == n else []
        step = -(-n // fitting)
        if runs and 2 * len(runs) <= fitting:  # of several runs each on its own
            most = min(fitting // len(runs), 9)
            for chosen in (
                [run[_round_ticks(numbers[run], most)] for run in runs],
                [run[::step] for run in runs],
            ):
                at = _apart(chosen, n, 0.9 * each * n / length)
                if len(at) >= 2 * len(runs):
                    return at
        return list(range(0, n, step))


def _apart(runs: Sequence[np.ndarray], n: int, least: float) -> list[int]:
    """Positions without those that are too near to the one before, or to the first one of the next run."""
    found: list[int] = []
    for run, following in zip(runs, [*(r[0] for r in runs[1:]), n + least], strict=True):
        for i in map(int, run):
            if i == run[0] or (i - found[-1] >= least and following - i >= least):
                found.append(i)
    return found


def _round_ticks(numbers: np.ndarray, most: int) -> list[int]:
    """At most so many positions of increasing numbers: of evenly spaced ones at exact multiples of a round one."""
    if len(numbers) <= most:
        return list(range(len(numbers)))
    gaps = np.diff(numbers)
    if np.allclose(gaps, gaps[0]) and np.allclose(numbers / gaps[0], np.round(numbers / gaps[0])):
        least = -(-len(numbers) // most)
        many = min(range(least, 2 * least + 1), key=lambda k: (*_roundness(k * gaps[0]), k))
        found = [i for i, x in enumerate(np.round(numbers / gaps[0])) if x % many == 0]
        if len(found) >= 2:
            return found
    return _near_round_values(numbers, max(1, most - 1))


def _roundness(number: float) -> tuple[int, bool]:
    """How many digits a number has, zeros at its ends left out; and whether it is none of 1, 2, 5."""
    digits = f"{number:.6g}".replace(".", "").strip("0")
    return len(digits), digits not in ("1", "2", "5")


def _near_round_values(numbers: np.ndarray, most: int) -> list[int]:
    values = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(numbers[0], numbers[-1])
    gap = 0.5 * float(np.min(np.diff(numbers)))
    near = [(int(np.argmin(np.abs(numbers - v))), v) for v in values]
    return sorted({i for i, v in near if abs(numbers[i] - v) <= max(gap, 0.02 * abs(v))})
