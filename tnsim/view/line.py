"""A model as a line of boxes, in rows as long as a page is wide: where everything stands, in inches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tnsim.view.legend import Entry
from tnsim.view.short import cut_to, without_prefix
from tnsim.view.stages import LayerBox, size_of
from tnsim.view.style import MUTED, kind_colour, kind_meaning
from tnsim.view.text import extent

__all__ = ["BOX", "NAME", "SMALL", "Box", "Line", "line_of"]

NAME, SMALL = 9.0, 7.5  # points
BOX = (1.12, 0.54)
DOT, PLUS = 0.035, 0.085  # radius of a branch, and of a sum
_PAGE = 9.4
_ROOM = 72 * (BOX[0] - 0.12)  # points for a name
_LIFT = 0.19  # of a skip over its box
_SPACE = 0.2  # between rows, where a line goes back to the left

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A stage, the middle of its box, what is written in it, and where what goes past it leaves and comes back."""

    stage: LayerBox
    at: Point
    label: str
    about: str
    leaves: Point | None = None
    returns: Point | None = None

    def bend(self) -> list[Point]:
        """Corners of the way past the box."""
        if self.leaves is None or self.returns is None:
            return []
        top = self.at[1] + BOX[1] / 2 + _LIFT
        return [self.leaves, (self.leaves[0], top), (self.returns[0], top), self.returns]


@dataclass
class Line:
    """Boxes, wires as corners, sizes on them, and the corners of the whole."""

    boxes: list[Box] = field(default_factory=list)
    wires: list[list[Point]] = field(default_factory=list)
    sizes: list[tuple[Point, str]] = field(default_factory=list)
    ends: list[tuple[Point, str, str]] = field(default_factory=list)  # where, what, alignment
    frame: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    entries: list[Entry] = field(default_factory=list)


def line_of(stages: Sequence[LayerBox], page: float = _PAGE) -> Line:
    """Places for everything.

    Args:
        stages: what there is to draw.
        page: width in inches that rows keep to, if one box fits.
    """
    texts = [size_of(stages[0].inside[0]), *(size_of(s.inside[1]) for s in stages)]
    gap = 0.56 + max(extent(t, SMALL)[0] for t in texts) / 72
    fitting = max(1, int((page - 0.9 - gap) // (BOX[0] + gap)))
    rows = -(-len(stages) // fitting)
    columns = -(-len(stages) // rows)
    top, low = _heights(stages)
    pitch = top + low + _SPACE
    names = [s.name for s in stages if s.name]
    prefix, short = (
        without_prefix(names) if any(_wide(n) > _ROOM for n in names) else ("", {n: n for n in names})
    )
    line = Line()
    shown: dict[str, str] = {}
    for k, stage in enumerate(stages):
        row, column = divmod(k, columns)
        at = (gap + column * (BOX[0] + gap) + BOX[0] / 2, -row * pitch)
        if stage.name:
            shown[stage.name] = cut_to(short[stage.name], NAME - 1.5, _ROOM, lambda c: c in shown.values())
        line.boxes.append(_box(stage, at, shown.get(stage.name, "⋯")))
    _wires(line, texts, columns, gap, pitch, (top, low))
    line.entries = _entries(stages, prefix, {n: (shown[n], short[n]) for n in names})
    right = columns * (BOX[0] + gap) + gap
    line.frame = (-0.3, -(rows - 1) * pitch - low - 0.06, right + 0.42, top + 0.06)
    return line


def _heights(stages: Sequence[LayerBox]) -> tuple[float, float]:
    """What a row takes above and below the middle of its boxes."""
    skips = [s.skip for s in stages if s.skip is not None]
    top = BOX[1] / 2 + (_LIFT if skips else 0.1) + 0.15 * any(not math.isclose(c, 1.0) for c in skips)
    return top, BOX[1] / 2 + 0.1 + 0.13 * any(s.same for s in stages)


def _wide(name: str) -> float:
    return extent(name, NAME - 1.5)[0]


def _box(stage: LayerBox, at: Point, label: str) -> Box:
    x, y = at
    left, right = x - BOX[0] / 2 - 0.13, x + BOX[0] / 2 + 0.13 + PLUS
    ends = ((left, y), (right, y)) if stage.skip is not None else (None, None)
    return Box(stage, at, label, _about(stage), *ends)


def _about(stage: LayerBox) -> str:
    if stage.stands_for:
        return f"{stage.stands_for} more"
    if stage.degree == 0:
        return "constant"
    if stage.kind in ("linear", "identity"):
        return stage.kind
    return f"degree {stage.degree}" + (f" · {stage.hidden}" if stage.hidden else "")


def _wires(
    line: Line, texts: list[str], columns: int, gap: float, pitch: float, heights: tuple[float, float]
) -> None:
    """Lines from box to box; at the end of a row one goes back, between two rows."""
    half = BOX[0] / 2
    last = len(line.boxes) - 1
    for k, box in enumerate(line.boxes):
        (x, y), ends = box.at, k % columns == columns - 1 and k < last
        if k == 0:
            line.wires.append([(0.0, y), (x - half, y)])
            line.ends.append(((-0.06, y), "x", "right"))
            line.sizes.append((_between(0.0, box.leaves[0] if box.leaves else x - half, y), texts[0]))
        start = box.returns[0] + PLUS if box.returns else x + half
        if box.returns:
            line.wires.append([(x + half, y), (box.returns[0] - PLUS, y)])
        stop = x + half + gap
        if k == last:
            line.wires.append([(start, y), (stop, y)])
            line.ends.append(((stop + 0.06, y), "out", "left"))
        elif ends:
            middle, turn, back = y - heights[1] - _SPACE / 2, stop + 0.06, 0.1
            below = y - pitch
            line.wires.append(
                [(start, y), (turn, y), (turn, middle), (back, middle), (back, below), (gap, below)]
            )
        else:
            line.wires.append([(start, y), (stop, y)])
        following = line.boxes[k + 1] if k < last and not ends else None
        end = following.leaves[0] if following and following.leaves else stop
        line.sizes.append((_between(start, end, y), texts[k + 1]))


def _between(a: float, b: float, y: float) -> Point:
    return (a + b) / 2, y + 0.045


def _entries(stages: Sequence[LayerBox], prefix: str, names: dict[str, tuple[str, str]]) -> list[Entry]:
    found = [
        Entry("box", kind_colour(kind), kind_meaning(kind))
        for kind in ("linear", "identity", "product", "mixing")
        if any(s.kind == kind for s in stages)
    ]
    if any(s.hidden for s in stages):
        one = next(s for s in stages if s.hidden)
        found.append(
            Entry("text", MUTED, f"degree {one.degree} · {one.hidden}: {one.hidden} products side by side")
        )
    if any(s.skip is not None for s in stages):
        found.append(Entry("line", MUTED, "a bend: the input itself goes past the layer and is added"))
    if any(s.bias for s in stages):
        found.append(Entry("text", MUTED, "+ bias: a constant is added"))
    if any(s.times > 1 for s in stages):
        found.append(Entry("text", MUTED, "× n: n times in a row, with the same weights"))
    if any(s.same and s.times == 1 for s in stages):
        found.append(Entry("text", MUTED, "= name: the same weights as that layer"))
    if any(len(axes) > 1 for s in stages for axes in s.inside):
        found.append(Entry("text", MUTED, "numbers on the line: positions × features"))
    if prefix:
        found.append(Entry("text", MUTED, f"…: {prefix}"))
    for name, (shown, short) in names.items():
        if shown != short:
            found.append(Entry("text", MUTED, f"{shown}: {name}"))
    return found
