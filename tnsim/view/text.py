"""Text that knows how large it is, without a renderer, and keeps out of the way of other text."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from tnsim.common.caches import cached
from tnsim.view.style import FONT, PAPER

__all__ = ["READABLE", "Board", "Spot", "broken", "extent", "room"]

Box = tuple[float, float, float, float]  # left, bottom, right, top
Spot = tuple[float, float, str, str]  # x, y, horizontal and vertical alignment

_PARTS = re.compile(r"[^\s._+]+[._+]*\s*|[._+]+\s*|\s+")  # after which a line may end

READABLE = 4.5  # points; smaller text is left out


def extent(text: str, size: float) -> tuple[float, float]:
    """Width and height of a text in points."""
    width, height = _unit_extent(text)
    return width * size, height * size


def broken(text: str, most: float, size: float) -> list[str]:
    """The lines of a text that is to take at most ``most`` points in width; names are broken between their parts."""
    lines, line = [], ""
    for part in _PARTS.findall(text):
        if line.strip() and extent((line + part).rstrip(), size)[0] > most:
            lines.append(line.rstrip())
            line = ""
        line += part
        while extent(line.rstrip(), size)[0] > most and len(line.rstrip()) > 1:
            fits = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or extent(line[:n], size)[0] <= most)
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


@cached(4096)
def _unit_extent(text: str) -> tuple[float, float]:
    return (sum(map(_advance, text)), 0.95) if text.strip() else (0.0, 0.0)


@cached(4096)
def _advance(letter: str) -> float:
    """How much one letter moves those behind it, in font sizes."""
    font = FontProperties(family=FONT, size=100)
    wide, narrow = (
        text_to_path.get_text_width_height_descent(t, font, False)[0] for t in (f"x{letter}x", "xx")
    )
    return float(wide - narrow) / 100


def room(ax: Axes) -> tuple[float, float]:
    """Width and height of the axes in points."""
    box, dpi = ax.get_window_extent(), ax.get_figure(root=True).dpi  # type: ignore[union-attr]
    return float(box.width * 72 / dpi), float(box.height * 72 / dpi)


@dataclass
class Board:
    """Axes with a scale, and the places already taken by text or discs."""

    ax: Axes
    scale: float  # points per unit
    taken: list[Box] = field(default_factory=list)

    def size(self, points: float) -> float:
        """A font size that shrinks with the drawing."""
        return min(points, points * self.scale / 30)

    def write(self, spots: Iterable[Spot], text: str, points: float, **style: Any) -> bool:
        """Write at the first spot (x, y, ha, va) where nothing is in the way; say whether there was one."""
        size = self.size(points)
        if size < READABLE:
            return False
        w, h = (n / self.scale for n in extent(text, size))
        for x, y, ha, va in spots:
            left = x - w * {"left": 0.0, "center": 0.5, "right": 1.0}[ha]
            bottom = y - h * {"bottom": 0.0, "center": 0.5, "top": 1.0}[va]
            box = (left - 0.04, bottom - 0.03, left + w + 0.04, bottom + h + 0.03)
            if not any(_overlap(box, other) for other in self.taken):
                self.taken.append(box)
                text_ = self.ax.text(x, y, text, fontsize=size, ha=ha, va=va, **style)
                text_.set_path_effects([patheffects.withStroke(linewidth=0.4 * size, foreground=PAPER)])
                return True
        return False


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
