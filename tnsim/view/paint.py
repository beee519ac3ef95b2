"""From coordinates to ink: layers, lines, dots, discs, and labels that keep out of each other's way."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path

from tnsim.view.layout import WIDTH, Point
from tnsim.view.legend import Scenes, add_legend, columns_for, entries_of
from tnsim.view.scene import OUT
from tnsim.view.style import INK, MUTED, PAPER, RULE, SIZES, ink_on, role_colours
from tnsim.view.text import READABLE, Board, Spot, extent, room

__all__ = ["paint"]

_RADIUS = 0.31
_DOT = 0.075
_FADED = 0.16
_LINE = "#8b95a3"
_BAND = "#f3f5f8"


def paint(
    ax: Axes,
    scenes: Scenes,
    signs: Sequence[tuple[float, float, str]],
    notes: Sequence[str],
    sizes: bool,
    names: bool,
    legend: bool,
    highlight: set[str],
) -> None:
    """Draw scenes at their coordinates on ``ax`` and set its limits."""
    colours = role_colours(d["role"] for scene, _ in scenes for _, d in scene.nodes(data=True) if "role" in d)
    entries = entries_of(scenes, colours) if legend else []
    wide, tall = room(ax)
    columns = columns_for(entries, wide) if entries else 1
    foot = (13.0 * -(-len(entries) // columns) + 10) if entries else 0.0
    board = Board(ax, _frame(ax, scenes, signs, wide, tall, foot, 12.0 if notes else 0.0))
    for scene, at in scenes:
        _layers(board, scene, at, highlight)
    for scene, at in scenes:
        for n, d in scene.nodes(data=True):
            x, y = at[n]
            r = {"tensor": _RADIUS, "hub": _DOT}.get(d["kind"], 0.0)
            board.taken.append((x - r, y - r, x + r, y + r))
    for scene, at in scenes:
        _lines(board, scene, at, sizes, names, highlight)
        _discs(board, scene, at, colours, highlight)
        _ports(board, scene, at)
    for x, y, sign in signs:
        ax.text(x, y, sign, fontsize=board.size(15), ha="center", va="center", color=INK)
    if notes:
        ax.text(
            0.99, 0.99, "; ".join(notes), transform=ax.transAxes, ha="right", va="top",
            fontsize=SIZES["small"], color=MUTED,
        )  # fmt: skip
    if entries:
        add_legend(ax, entries, columns)


def _frame(
    ax: Axes,
    scenes: Scenes,
    signs: Sequence[tuple[float, float, str]],
    wide: float,
    tall: float,
    foot: float,
    head: float,
) -> float:
    """Set limits with equal units, leaving room for legend and notes (in points), and return the scale."""
    points = [p for _, at in scenes for p in at.values()] + [(x, y) for x, y, _ in signs]
    for scene, at in scenes:
        for a, b, _ in scene.edges:
            points += [(float(x), float(y)) for x, y in np.asarray(_curve(scene, at, a, b).vertices)]
    layered = any(d.get("layer") for scene, _ in scenes for _, d in scene.nodes(data=True))
    left, right = min(x for x, _ in points) - 1.0, max(x for x, _ in points) + 1.0
    low, high = min(y for _, y in points) - 0.6, max(y for _, y in points) + (1.15 if layered else 0.6)
    scale = min(wide / (right - left), max(tall - foot - head, 0.5 * tall) / (high - low))
    ax.set(xlim=(left, right), ylim=(low - foot / scale, high + head / scale), aspect="equal")
    ax.set_axis_off()
    return float(scale)


def _layers(board: Board, scene: nx.MultiGraph, at: dict[str, Point], highlight: set[str]) -> None:
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
        pad = 0.46
        board.ax.add_patch(
            FancyBboxPatch(
                (left - pad, low), right - left + 2 * pad, top - low, boxstyle="round,pad=0.0,rounding_size=0.3",
                facecolor=_BAND, edgecolor=RULE, linewidth=0.7, zorder=0, gid=f"layer {layer}",
                alpha=0.4 if highlight and layer not in highlight else 1.0,
            )
        )  # fmt: skip
        board.write([((left + right) / 2, top + 0.1, "center", "bottom")], layer, SIZES["tick"], color=MUTED)


def _lines(
    board: Board, scene: nx.MultiGraph, at: dict[str, Point], sizes: bool, names: bool, highlight: set[str]
) -> None:
    todo: list[tuple[list[Spot], str, int]] = []
    for a, b, d in scene.edges(data=True):
        wire = _is_wire(scene, a, b)
        path = _curve(scene, at, a, b)
        faded = highlight and not any(highlight & set(scene.nodes[n].get("tags", ())) for n in (a, b))
        board.ax.add_patch(
            PathPatch(
                path, facecolor="none", edgecolor=_LINE, linewidth=max(0.6, 0.045 * board.scale),
                alpha=_FADED if faded else 1.0, zorder=1, capstyle="round",
                linestyle=(0, (2.2, 1.6)) if wire else "-", gid=f"index {d['index']}",
            )
        )  # fmt: skip
        if not any(scene.nodes[n]["kind"] == "hub" for n in (a, b)):
            upright = abs(at[a][0] - at[b][0]) < 0.1
            todo.append((_along(path, upright), d["index"], d["size"]))
    for n, d in scene.nodes(data=True):
        if d["kind"] == "hub":
            x, y = at[n]
            board.ax.plot(x, y, "o", color=_LINE, markersize=2 * _DOT * board.scale, zorder=2, gid=f"hub {n}")
            around = [(x, y + 0.14, "center", "bottom"), (x, y - 0.14, "center", "top")]
            todo.append((around, n, d["size"]))
    ended = {
        d["index"]
        for *_, d in scene.edges([n for n, k in scene.nodes(data="kind") if k in ("port", "stub")], data=True)
    }
    for spots, index, size in todo:
        named = (names and index not in ended) or scene.nodes.get(index, {}).get("wire", False)
        name = index.rsplit("/", 1)[-1].rsplit(":", 1)[0]
        text = " ".join([name] * named + [str(size)] * sizes)
        if text:
            board.write(spots, text, SIZES["small"], color=MUTED, gid=f"size {index}", zorder=4)


def _is_wire(scene: nx.MultiGraph, a: str, b: str) -> bool:
    return any(scene.nodes[n].get("wire") for n in (a, b))


def _curve(scene: nx.MultiGraph, at: dict[str, Point], a: str, b: str) -> Path:
    """An S from left to right; an arc between tensors of one column; a wire to the output goes around."""
    (x0, y0), (x1, y1) = sorted((at[a], at[b]))
    if _is_wire(scene, a, b) and OUT in (a, b) and x1 - x0 > 2 * WIDTH:
        low = min(y for _, y in at.values()) - 0.85
        beside = x0 - 0.75 * _crossed(scene, at, (x0, y0))
        points = [
            (x0, y0),
            (beside, y0 - 0.2),
            (beside, low),
            (x0 + WIDTH, low),
            (x1 - WIDTH, low),
            (x1, low),
            (x1, low),
            (x1, y1),
        ]
        return Path(points, [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3])
    if abs(x1 - x0) < 0.1:
        bulge = 0.0 if abs(y1 - y0) < 1.6 else 0.28 * WIDTH
        middle = [(x0 - bulge, y0), (x1 - bulge, y1)]
    else:
        half = 0.5 * min(x1 - x0, WIDTH)
        middle = [(x0 + half, y0), (x1 - half, y1)]
    return Path([(x0, y0), *middle, (x1, y1)], [Path.MOVETO, *[Path.CURVE4] * 3])


def _crossed(scene: nx.MultiGraph, at: dict[str, Point], start: Point) -> bool:
    """Whether another wire stands straight below: a line through it would seem to begin there."""
    rail = [at[n] for n, wire in scene.nodes(data="wire") if wire]
    return any(abs(x - start[0]) < 0.1 and y < start[1] for x, y in rail)


def _along(path: Path, upright: bool) -> list[Spot]:
    """Where the size of an index may stand: on its line, or beside an upright one."""
    p = np.asarray(path.vertices)
    spots: list[Spot] = []
    for t in (0.5, 0.42, 0.58, 0.35, 0.65):
        weights = np.array([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
        x, y = (float(v) for v in weights @ p[:4])
        spots += (
            [(x - 0.07, y, "right", "center"), (x + 0.07, y, "left", "center")]
            if upright
            else [(x, y, "center", "center")]
        )
    return spots


def _discs(
    board: Board, scene: nx.MultiGraph, at: dict[str, Point], colours: Mapping[str, str], highlight: set[str]
) -> None:
    for n, d in scene.nodes(data=True):
        if d["kind"] != "tensor":
            continue
        x, y = at[n]
        colour = colours[d["role"]]
        faded = bool(highlight) and not highlight & set(d["tags"])
        size = board.size(10.5)
        wide = extent(d["label"], size)[0] / board.scale
        stretch = max(0.0, wide - 1.45 * _RADIUS) / 2
        board.taken.append((x - _RADIUS - stretch, y - _RADIUS, x + _RADIUS + stretch, y + _RADIUS))
        board.ax.add_patch(
            FancyBboxPatch(
                (x - stretch, y), 2 * stretch, 0.0, boxstyle=f"round,pad={_RADIUS},rounding_size={_RADIUS}",
                facecolor=colour, edgecolor=PAPER, linewidth=1.2, zorder=3, gid=f"tensor {n}",
            )
        )  # fmt: skip
        patch = board.ax.patches[-1]
        if faded:
            patch.set_facecolor(_mix(colour))
        if size >= READABLE:
            board.ax.text(
                x, y, d["label"], ha="center", va="center_baseline", fontsize=size, zorder=4,
                color=MUTED if faded else ink_on(colour),
            )  # fmt: skip


def _mix(colour: str) -> tuple[float, float, float]:
    r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return tuple(1 - _FADED * (1 - c) for c in (r, g, b))  # type: ignore[return-value]


def _ports(board: Board, scene: nx.MultiGraph, at: dict[str, Point]) -> None:
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
            board.write([spot], d["label"], SIZES["label"], color=INK, gid=f"port {n}")
        elif d["kind"] == "stub":
            (tensor,) = scene[n]
            hangs = y < at[tensor][1]
            spot = (x, y - 0.05, "center", "top") if hangs else (x, y + 0.05, "center", "bottom")
            board.write([spot], d["label"], SIZES["small"], color=INK, gid=f"port {n}")
