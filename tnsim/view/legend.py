"""The legend of a drawing: what letters, colours, dashes and numbers stand for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tnsim.view.style import MUTED, SIZES
from tnsim.view.text import broken, extent

__all__ = ["Entry", "add_legend", "foot_of"]

_LINE = 11.5  # points
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


def foot_of(entries: Sequence[Entry], width: float) -> tuple[list[Entry], int, float]:
    """The entries, their lines broken to fit into ``width`` points; how many columns they take; their height in points."""
    if not entries:
        return [], 1, 0.0
    most = 0.96 * width - 30
    lines = [Entry(e.mark, e.colour, "\n".join(broken(e.text, most, SIZES["small"]))) for e in entries]
    for columns in range(len(lines), 0, -1):  # of different width, and filled as matplotlib fills them
        parts = np.array_split(np.arange(len(lines)), columns)
        if columns == 1 or sum(max(_width(lines[k]) for k in part) + 30 for part in parts) <= 0.97 * width:
            break
    high = max(sum(_LINE * (1 + lines[k].text.count("\n")) + 2 for k in part) for part in parts)
    return lines, columns, high + 10


def add_legend(ax: Axes, entries: Sequence[Entry], columns: int) -> None:
    """The legend, below."""
    handles = [Line2D([], [], color=e.colour, label=e.text, **_MARKS[e.mark]) for e in entries]
    ax.legend(
        handles=handles, loc="lower center", ncols=columns, frameon=False, fontsize=SIZES["small"], handlelength=1.3,
        handletextpad=0.4, columnspacing=1.3, borderaxespad=0.3, labelspacing=0.45, labelcolor=MUTED,
    )  # fmt: skip


def _width(e: Entry) -> float:
    return max(extent(line, SIZES["small"])[0] for line in e.text.split("\n"))
