"""The legend of a drawing: what letters, colours, dashes and numbers stand for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tnsim.view.style import MUTED, SIZES
from tnsim.view.text import broken, extent, room

__all__ = ["Entry", "Foot", "add_legend", "foot_of"]

_LINE = 11.5  # points
_COLUMN = 0.45  # of the width, that a column may take
_MARKS: dict[str, dict[str, Any]] = {
    "disc": {"marker": "o", "linestyle": "", "markersize": 6.5},
    "box": {"marker": "s", "linestyle": "", "markersize": 6.5},
    "dot": {"marker": "o", "linestyle": "", "markersize": 3.2},
    "dashes": {"linestyle": (0, (2.2, 1.6)), "linewidth": 1.6},
    "line": {"linestyle": "-", "linewidth": 1.6},
    "text": {"linestyle": ""},
}


@dataclass(frozen=True)
class Entry:
    """One line of a legend: a mark (disc, box, dot, dashes, line, text), its colour, and what it means."""

    mark: str
    colour: str
    text: str


@dataclass(frozen=True)
class Foot:
    """What is written below a drawing.

    Attributes:
        entries: of the legend, in how many ``columns``.
        notes: lines below the legend, for what is too long for a column.
        height: of all in points.
    """

    entries: list[Entry]
    columns: int
    notes: list[str]
    height: float


def foot_of(entries: Sequence[Entry], width: float) -> Foot:
    """The entries in as many columns as fit into ``width`` points, lines broken; long names in lines of their own."""
    if not entries:
        return Foot([], 1, [], 0.0)
    most = 0.96 * width - 30
    long = [e for e in entries if e.mark == "text" and _width(e) > _COLUMN * width]
    notes = [line for e in long for line in broken(e.text, most, SIZES["small"])]
    lines = [
        Entry(e.mark, e.colour, "\n".join(broken(e.text, most, SIZES["small"])))
        for e in entries
        if e not in long
    ]
    columns, high = _columns(lines, width)
    return Foot(lines, columns, notes, high + _LINE * len(notes) + 10)


def _columns(lines: Sequence[Entry], width: float) -> tuple[int, float]:
    """How many columns there are, of different width and filled as matplotlib fills them, and how high they are."""
    for columns in range(len(lines), 0, -1):
        parts = np.array_split(np.arange(len(lines)), columns)
        if columns == 1 or sum(max(_width(lines[k]) for k in part) + 30 for part in parts) <= 0.97 * width:
            return columns, max(
                sum(_LINE * (1 + lines[k].text.count("\n")) + 2 for k in part) for part in parts
            )
    return 1, 0.0


def add_legend(ax: Axes, foot: Foot) -> None:
    """The legend, below, and the notes under it."""
    if foot.notes:
        wide, tall = room(ax)
        left = max(0.0, 0.5 - max(extent(line, SIZES["small"])[0] for line in foot.notes) / wide / 2)
        for k, line in enumerate(reversed(foot.notes)):
            ax.text(
                left, (_LINE * k + 4) / tall, line, transform=ax.transAxes, ha="left", va="bottom",
                fontsize=SIZES["small"], color=MUTED, gid="legend",
            )  # fmt: skip
    if foot.entries:
        handles = [Line2D([], [], color=e.colour, label=e.text, **_MARKS[e.mark]) for e in foot.entries]
        below = 0.3 + _LINE * len(foot.notes) / SIZES["small"]
        ax.legend(
            handles=handles, loc="lower center", ncols=foot.columns, frameon=False, fontsize=SIZES["small"],
            handlelength=1.3, handletextpad=0.4, columnspacing=1.3, borderaxespad=below, labelspacing=0.45,
            labelcolor=MUTED,
        )  # fmt: skip


def _width(e: Entry) -> float:
    return max(extent(line, SIZES["small"])[0] for line in e.text.split("\n"))
