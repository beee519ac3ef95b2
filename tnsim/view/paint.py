"""From coordinates to ink: layers, lines, dots, discs, and labels that keep out of each other's way."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, PathPatch

from tnsim.view.labels import Labels, labels_of
from tnsim.view.layout import WIDTH, Point
from tnsim.view.legend import Foot, add_legend, foot_of
from tnsim.view.pictures import Picture
from tnsim.view.scene import OUT
from tnsim.view.strokes import along, curve, is_dashed, size_on
from tnsim.view.style import INK, LINE, MUTED, PAPER, RULE, SIZES, faded, ink_on
from tnsim.view.text import READABLE, Board, Spot, broken, extent, room

__all__ = ["paint", "picture_inches"]

_RADIUS = 0.31
_WIDEST = 0.83  # of the text in a disc
_DOT = 0.075
_FADED = 0.16
_BAND = "#f3f5f8"
_INCH = 0.56  # one row, where there is room
_LARGEST = (15.0, 9.5)  # inches
_LEAST = 3.6
_HINTED = 1.04  # small letters on pixels are that much wider
_SMALL = 4.5 * 30 / SIZES["small"]  # points a row, below which sizes are left out
_HINT = 'too small for sizes: level="model" has one box for every layer'


@dataclass(frozen=True)
class Margins:
    """What is written around a picture in the room there is, and the scale that is left for it.

    Attributes:
        labels: what is in the discs.
        notes: lines at the top.
        below: the legend.
        scale: points a row.
    """

    labels: Labels
    notes: list[str]
    below: Foot
    scale: float

    @property
    def foot(self) -> float:
        """Height of the legend in points."""
        return self.below.height

    @property
    def head(self) -> float:
        """Height of the notes in points."""
        return 11.0 * len(self.notes) + 7.0 * bool(self.notes)


def picture_inches(picture: Picture, sizes: bool, legend: bool) -> tuple[float, float]:
    """Width and height of a figure of its own, legend and notes included."""
    left, right, low, high = _bounds(picture)
    span, rise = (right - left) * _INCH, (high - low) * _INCH
    shrink = min(1.0, _LARGEST[0] / span, _LARGEST[1] / rise)
    width = max(span * shrink, _LEAST)
    sheet = _sheet(picture, 72 * width, 72 * rise * shrink, sizes, legend, own=True)
    return width, rise * shrink + (sheet.foot + sheet.head) / 72


def paint(ax: Axes, picture: Picture, sizes: bool, names: bool, legend: bool, highlight: set[str]) -> None:
    """Draw scenes at their coordinates on ``ax`` and set its limits."""
    wide, tall = room(ax)
    sheet = _sheet(picture, wide, tall, sizes, legend)
    left, right, low, high = _bounds(picture)
    beside = (wide / sheet.scale - (right - left)) / 2
    spare = (tall - sheet.foot - sheet.head) / sheet.scale - (high - low)
    ax.set(xlim=(left - beside, right + beside), aspect="equal")
    ax.set_ylim(low - sheet.foot / sheet.scale - spare / 2, high + sheet.head / sheet.scale + spare / 2)
    ax.set_axis_off()
    board = Board(ax, sheet.scale)
    labels = sheet.labels
    for scene, at in picture.scenes:
        _layers(board, scene, at, labels, highlight)
    for (scene, at), texts in zip(picture.scenes, labels.texts, strict=True):
        for n, d in scene.nodes(data=True):
            x, y = at[n]
            r = {"tensor": _RADIUS, "hub": _DOT}.get(d["kind"], 0.0)
            half = r + (_stretch(board, texts[n]) if d["kind"] == "tensor" else 0.0)
            board.taken.append((x - half, y - r, x + half, y + r))
    for k, (scene, at) in enumerate(picture.scenes):
        key = f"{k}/" if len(picture.scenes) > 1 else ""
        _lines(board, scene, at, key, sizes, names, highlight)
        _discs(board, scene, at, key, labels.texts[k], labels.colours[k], highlight)
        _ports(board, scene, at, key)
    for x, y, sign in picture.signs:
        ax.text(x, y, sign, fontsize=board.size(15), ha="right", va="center", color=INK)
    for x, y, text in picture.captions:
        if board.size(SIZES["label"]) >= READABLE:
            ax.text(x, y, text, fontsize=board.size(SIZES["label"]), ha="left", va="center", color=INK)
    if sheet.notes:
        ax.text(
            0.99, 0.99, "\n".join(sheet.notes), transform=ax.transAxes, ha="right", va="top", linespacing=1.15,
            fontsize=SIZES["small"], color=MUTED, gid="notes",
        )  # fmt: skip
    add_legend(ax, sheet.below)


def _sheet(
    picture: Picture, wide: float, tall: float, sizes: bool, legend: bool, own: bool = False
) -> Margins:
    """Fit everything into ``wide`` × ``tall`` points; of a figure of its own, legend and notes come on top of that."""
    labels = labels_of(picture.scenes, sizes)
    below = foot_of(labels.entries if legend else [], wide)
    left, right, low, high = _bounds(picture)
    sheet = Margins(labels, [], below, 0.0)
    for hint in ([], [_HINT]):
        text = "; ".join([*picture.notes, *hint])
        notes = broken(text, 0.96 * wide, SIZES["small"]) if text else []
        sheet = replace(sheet, notes=notes)
        rest = tall if own else max(tall - sheet.foot - sheet.head, 0.4 * tall)
        sheet = replace(sheet, scale=min(wide / (right - left), rest / (high - low)))
        if sheet.scale >= _SMALL:
            return sheet
    return sheet


def _bounds(picture: Picture) -> tuple[float, float, float, float]:
    """Left, right, lowest and highest of what is drawn."""
    points = [p for _, at in picture.scenes for p in at.values()] + [(x, y) for x, y, _ in picture.signs]
    for scene, at in picture.scenes:
        for a, b, _ in scene.edges:
            points += [(float(x), float(y)) for x, y in np.asarray(curve(scene, at, a, b).vertices)]
    layered = any(d.get("layer") for scene, _ in picture.scenes for _, d in scene.nodes(data=True))
    begin = [x + 0.8 for x, *_ in picture.captions]
    begin += [x + 0.8 - _HINTED * extent(text, 15)[0] / 30 for x, _, text in picture.signs]
    over = [(x - 0.5 + _HINTED * extent(text, SIZES["label"])[0] / 30, y) for x, y, text in picture.captions]
    return (
        min([*(x for x, _ in points), *begin]) - 1.0,
        max(x for x, _ in [*points, *over]) + 1.0,
        min(y for _, y in points) - 0.6,
        max([max(y for _, y in points) + (1.15 if layered else 0.6), *(y + 0.4 for _, y in over)]),
    )


def _stretch(board: Board, label: str) -> float:
    """By how much half a disc is wider than its radius."""
    return max(0.0, _written(board, label)[1] - 1.45 * _RADIUS) / 2


def _written(board: Board, label: str) -> tuple[float, float]:
    """Font size and width (in rows) of what is in a disc."""
    size = board.size(10.5)
    wide = extent(label, size)[0] / board.scale
    return (size, wide) if wide <= _WIDEST else (size * _WIDEST / wide, _WIDEST)


def _layers(
    board: Board, scene: nx.MultiGraph, at: dict[str, Point], labels: Labels, highlight: set[str]
) -> None:
    """A soft band for every layer, unless bands would overlap. Masks, left of the inputs, stand apart."""
    edge = min(
        (at[n][0] for n, d in scene.nodes(data=True) if d["kind"] == "port" and n != OUT), default=-np.inf
    )
    groups: dict[str, list[str]] = {}
    for n, d in scene.nodes(data=True):
        if d["kind"] == "tensor" and d["layer"] and at[n][0] > edge:
            groups.setdefault(d["layer"], []).append(n)
    spans = sorted((min(at[n][0] for n in g), max(at[n][0] for n in g)) for g in groups.values())
    if not groups or any(b[0] - a[1] < 0.75 * WIDTH for a, b in pairwise(spans)):
        return
    rows = [at[n][1] for g in groups.values() for n in g]
    top, low = max(rows) + 0.55, min(rows) - 0.5
    for layer, nodes in groups.items():
        left, right = (f(at[n][0] for n in nodes) for f in (min, max))
        pad = 0.56
        board.ax.add_patch(
            FancyBboxPatch(
                (left - pad, low), right - left + 2 * pad, top - low, boxstyle="round,pad=0.0,rounding_size=0.3",
                facecolor=_BAND, edgecolor=RULE, linewidth=0.7, zorder=0, gid=f"layer {layer}",
                alpha=0.4 if highlight and layer not in highlight else 1.0,
            )
        )  # fmt: skip
        name = labels.layers[layer]
        room_ = (right - left + 2 * pad + 0.3) * board.scale
        points = SIZES["tick"] * min(1.0, room_ / max(extent(name, board.size(SIZES["tick"]))[0], 1e-9))
        board.write([((left + right) / 2, top + 0.1, "center", "bottom")], name, points, color=MUTED)


def _lines(
    board: Board,
    scene: nx.MultiGraph,
    at: dict[str, Point],
    key: str,
    sizes: bool,
    names: bool,
    highlight: set[str],
) -> None:
    todo: list[tuple[list[Spot], str, str]] = []
    for a, b, d in scene.edges(data=True):
        path = curve(scene, at, a, b)
        faded = highlight and not any(highlight & set(scene.nodes[n].get("tags", ())) for n in (a, b))
        board.ax.add_patch(
            PathPatch(
                path, facecolor="none", edgecolor=LINE, linewidth=max(0.6, 0.045 * board.scale),
                alpha=_FADED if faded else 1.0, zorder=1, capstyle="round",
                linestyle=(0, (2.2, 1.6)) if is_dashed(scene, a, b, d["index"]) else "-", gid=f"index {key}{d['index']}",
            )
        )  # fmt: skip
        if not any(scene.nodes[n]["kind"] == "hub" for n in (a, b)):
            upright = abs(at[a][0] - at[b][0]) < 0.1
            size = size_on(scene, a, b, d["index"])
            spots = along(path, upright)
            if "×" in size:  # too wide to stand on the line
                spots = [(x, y + 0.08, ha, "bottom") for x, y, ha, _ in spots]
            if size:
                todo.append((spots, d["index"], size))
    for n, d in scene.nodes(data=True):
        if d["kind"] == "hub":
            x, y = at[n]
            board.ax.plot(
                x, y, "o", color=LINE, markersize=2 * _DOT * board.scale, zorder=2, gid=f"hub {key}{n}"
            )
            around = [(x, y + 0.14, "center", "bottom"), (x, y - 0.14, "center", "top")]
            todo.append((around, n, str(d["size"])))
    ended = {
        d["index"]
        for *_, d in scene.edges([n for n, k in scene.nodes(data="kind") if k in ("port", "stub")], data=True)
    }
    for spots, index, size in todo:
        named = (names and index not in ended) or scene.nodes.get(index, {}).get("wire", False)
        name = index.rsplit("/", 1)[-1].rsplit(":", 1)[0]
        text = " ".join([name] * named + [size] * sizes)
        if text:
            board.write(spots, text, SIZES["small"], color=MUTED, gid=f"size {key}{index}", zorder=4)


def _discs(
    board: Board, scene: nx.MultiGraph, at: dict[str, Point], key: str, texts: Mapping[str, str],
    colours: Mapping[str, str], highlight: set[str],
) -> None:  # fmt: skip
    for n, d in scene.nodes(data=True):
        if d["kind"] != "tensor":
            continue
        x, y = at[n]
        colour = colours[n]
        fade = bool(highlight) and not highlight & set(d["tags"])
        size, _ = _written(board, texts[n])
        stretch = _stretch(board, texts[n])
        board.ax.add_patch(
            FancyBboxPatch(
                (x - stretch, y), 2 * stretch, 0.0, boxstyle=f"round,pad={_RADIUS},rounding_size={_RADIUS}",
                facecolor=faded(colour) if fade else colour, edgecolor=PAPER, linewidth=1.2, zorder=3,
                gid=f"tensor {key}{n}",
            )
        )  # fmt: skip
        if size >= READABLE:
            board.ax.text(
                x, y, texts[n], ha="center", va="center_baseline", fontsize=size, zorder=4, gid=f"name {key}{n}",
                color=MUTED if fade else ink_on(colour),
            )  # fmt: skip


def _ports(board: Board, scene: nx.MultiGraph, at: dict[str, Point], key: str) -> None:
    for n, d in scene.nodes(data=True):
        x, y = at[n]
        if d["kind"] == "port":
            is_out = n.rsplit("/", 1)[-1] == OUT
            wired = any(scene.nodes[m].get("wire") for m in scene[n]) and not is_out
            spot = (
                (x + 0.02, y + 0.1, "left", "bottom")
                if wired
                else (x + 0.1, y, "left", "center")
                if is_out
                else (x - 0.1, y, "right", "center")
            )
            board.write([spot], d["label"], SIZES["label"], color=INK, gid=f"port {key}{n}")
        elif d["kind"] == "stub":
            (tensor,) = scene[n]
            hangs = y < at[tensor][1]
            spot = (x, y - 0.05, "center", "top") if hangs else (x, y + 0.05, "center", "bottom")
            board.write([spot], d["label"], SIZES["small"], color=INK, gid=f"port {key}{n}")
