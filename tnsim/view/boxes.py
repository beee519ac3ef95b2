"""From a line of boxes to ink."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch
from matplotlib.path import Path

from tnsim.view.legend import add_legend, foot_of
from tnsim.view.line import BOX, DOT, NAME, PLUS, SMALL, Box, Line, Point
from tnsim.view.style import INK, LINE, MUTED, PAPER, SIZES, faded, ink_on, kind_colour
from tnsim.view.text import READABLE, broken, extent, room

__all__ = ["line_inches", "paint_line"]

_TURN = 0.09  # radius of corners
_HINT = "too small for names; a figure of its own has room for them"


def line_inches(line: Line, legend: bool, notes: list[str]) -> tuple[float, float]:
    """Width and height of a figure of its own, legend and notes included."""
    left, low, right, top = line.frame
    wide = max(right - left, 3.6)
    foot = foot_of(line.entries, 72 * wide).height / 72 if legend else 0.0
    return wide, top - low + foot + 0.18 * bool(notes)


def paint_line(
    ax: Axes, line: Line, sizes: bool, legend: bool, highlight: set[str], notes: list[str]
) -> None:
    """Draw boxes, wires and marks on ``ax`` and set its limits."""
    wide, tall = room(ax)
    below = foot_of(line.entries if legend else [], wide)
    foot = below.height
    left, low, right, top = line.frame
    for more in ([], [_HINT]):
        lines = broken("; ".join([*notes, *more]), 0.96 * wide, SIZES["small"]) if [*notes, *more] else []
        head = 11.0 * len(lines) + 2.0 * bool(lines)
        scale = min(
            wide / (right - left), max(tall - foot - head, 0.4 * tall) / (top - low)
        )  # points an inch
        if scale / 72 * (SMALL - 0.5) >= READABLE:
            break
    spare = (wide / scale - (right - left)) / 2
    ax.set(xlim=(left - spare, right + spare), aspect="equal")
    above = (tall - foot - head) / scale - (top - low)
    ax.set_ylim(low - foot / scale - above / 2, top + head / scale + above / 2)
    ax.set_axis_off()
    ink = _Ink(ax, scale / 72)
    for wire in line.wires:
        ink.wire(wire)
    for box in line.boxes:
        ink.box(box, bool(highlight) and box.stage.name not in highlight)
    for (x, y), text in line.sizes if sizes else []:
        ink.text(x, y, text, SMALL, ha="center", va="bottom", color=MUTED, gid="size")
    for (x, y), text, ha in line.ends:
        ink.text(x, y, text, NAME + 0.5, ha=ha, va="center", color=INK, gid=f"port {text}")
    if lines:
        ax.text(
            0.99, 0.995, "\n".join(lines), transform=ax.transAxes, ha="right", va="top", fontsize=SIZES["small"],
            color=MUTED,
        )  # fmt: skip
    add_legend(ax, below)


class _Ink:
    """Axes in inches of the drawing, and how large an inch of it is on paper."""

    def __init__(self, ax: Axes, scale: float):
        self.ax, self.scale = ax, scale

    def text(self, x: float, y: float, text: str, points: float, **style: Any) -> None:
        size = points * min(self.scale, 1.0)
        if size >= READABLE:
            self.ax.text(x, y, text, fontsize=size, zorder=5, **style)

    def wire(self, corners: list[Point], alpha: float = 1.0, gid: str = "wire") -> None:
        self.ax.add_patch(
            PathPatch(
                _rounded(corners), facecolor="none", edgecolor=LINE, linewidth=1.6 * min(self.scale, 1.3), zorder=1,
                capstyle="round", alpha=alpha, gid=gid,
            )
        )  # fmt: skip

    def box(self, box: Box, fade: bool) -> None:
        stage, (x, y) = box.stage, box.at
        w, h = BOX
        colour: Any = kind_colour(stage.kind)
        face = faded(colour) if fade else colour
        out = bool(stage.stands_for)
        self.ax.add_patch(
            FancyBboxPatch(
                (x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0,rounding_size=0.09", facecolor=PAPER if out else face,
                edgecolor=LINE if out else PAPER, linewidth=1.0, zorder=3, gid=f"box {stage.name}",
                linestyle=(0, (3, 2)) if out else "-",
            )
        )  # fmt: skip
        tone = MUTED if fade or out else ink_on(colour)
        points = min(NAME, NAME * 72 * (w - 0.12) / max(extent(box.label, NAME)[0], 1e-9))
        lift = 0.1
        self.text(
            x, y + lift, box.label, points, ha="center", va="center", color=tone, gid=f"name {stage.name}"
        )
        self.text(
            x, y - 0.1, box.about, SMALL, ha="center", va="center", color=tone, gid=f"about {stage.name}"
        )
        if box.leaves and box.returns:
            self._skip(box, stage.skip or 0.0)
        if stage.bias:
            self._pill(x, y - h / 2, "+ bias", f"mark {stage.name}")
        if stage.times > 1:
            self._pill(x + w / 2 - 0.14, y + h / 2, f"× {stage.times}", f"mark {stage.name}")
        if stage.same and stage.same != stage.name:
            below = 0.1 if stage.bias else 0.02
            self.text(
                x, y - h / 2 - below, f"= {stage.same}", SMALL - 0.5, ha="center", va="top", color=MUTED,
                gid=f"same {stage.name}",
            )  # fmt: skip

    def _skip(self, box: Box, factor: float) -> None:
        self.wire(box.bend(), gid=f"skip {box.stage.name}")
        (a, y), (b, _) = box.leaves or (0.0, 0.0), box.returns or (0.0, 0.0)
        self.ax.add_patch(Circle((a, y), DOT, facecolor=LINE, edgecolor="none", zorder=2))
        self.ax.add_patch(
            Circle(
                (b, y), PLUS, facecolor=PAPER, edgecolor=LINE, linewidth=1.4 * min(self.scale, 1.3), zorder=3
            )
        )
        for dx, dy in ((0.05, 0.0), (0.0, 0.05)):
            self.ax.plot(
                [b - dx, b + dx], [y - dy, y + dy], color=INK, linewidth=1.1 * min(self.scale, 1.3), zorder=4
            )
        if not math.isclose(factor, 1.0):
            top = max(p[1] for p in box.bend())
            self.text(
                box.at[0], top + 0.03, f"× {factor:.3g}", SMALL, ha="center", va="bottom", color=MUTED,
                gid=f"factor {box.stage.name}",
            )  # fmt: skip

    def _pill(self, x: float, y: float, text: str, gid: str) -> None:
        if (SMALL - 0.5) * min(self.scale, 1.0) < READABLE:
            return
        wide, high = extent(text, SMALL - 0.5)[0] / 72 + 0.1, 0.15
        self.ax.add_patch(
            FancyBboxPatch(
                (x - wide / 2, y - high / 2), wide, high, boxstyle="round,pad=0,rounding_size=0.07", facecolor=PAPER,
                edgecolor=LINE, linewidth=0.8, zorder=4, gid=f"pill {gid}",
            )
        )  # fmt: skip
        self.text(x, y - 0.004, text, SMALL - 0.5, ha="center", va="center", color=INK, gid=gid)


def _rounded(corners: list[Point]) -> Path:
    """A line through corners that are rounded."""
    points, codes = [corners[0]], [Path.MOVETO]
    for before, at, after in zip(corners, corners[1:], corners[2:], strict=False):
        points += [_towards(at, before), at, _towards(at, after)]
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    return Path([*points, corners[-1]], [*codes, Path.LINETO])


def _towards(a: Point, b: Point) -> Point:
    far = math.dist(a, b)
    part = min(_TURN, far / 2) / far if far else 0.0
    return a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1])
