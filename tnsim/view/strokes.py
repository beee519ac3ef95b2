"""Strokes: the curves of indices, and where their sizes may stand."""

import networkx as nx
import numpy as np
from matplotlib.path import Path

from tnsim.view.layout import WIDTH, Point
from tnsim.view.scene import OUT, is_position
from tnsim.view.text import Spot

__all__ = ["along", "curve", "is_dashed", "lowest", "size_on"]


def lowest(scene: nx.MultiGraph, at: dict[str, Point]) -> float:
    """How far down a scene reaches, wires that go around it included."""
    low = min(y for _, y in at.values())
    return min(
        [
            low,
            *(
                float(np.asarray(curve(scene, at, a, b).vertices)[:, 1].min()) + 0.5
                for a, b, _ in scene.edges
            ),
        ]
    )


def is_dashed(scene: nx.MultiGraph, a: str, b: str, index: str) -> bool:
    """Whether an edge is a position of the input or the output, and not one line with its features."""
    return _is_wire(scene, a, b) or (
        is_position(index) and _at_a_port(scene, a, b) and not _both(scene, a, b)
    )


def _at_a_port(scene: nx.MultiGraph, a: str, b: str) -> bool:
    return any(scene.nodes[n]["kind"] == "port" for n in (a, b))


def _both(scene: nx.MultiGraph, a: str, b: str) -> bool:
    """Whether positions and features go the same way."""
    return len({is_position(d["index"]) for d in scene.get_edge_data(a, b).values()}) == 2


def _is_wire(scene: nx.MultiGraph, a: str, b: str) -> bool:
    """Whether an edge leads to a position that several copies of the input share."""
    return any(scene.nodes[n].get("wire") for n in (a, b))


def curve(scene: nx.MultiGraph, at: dict[str, Point], a: str, b: str) -> Path:
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


def size_on(scene: nx.MultiGraph, a: str, b: str, index: str) -> str:
    """What is written on an edge: its size; of positions and features in one line both, and once.

    Example:
        >>> scene = nx.MultiGraph()
        >>> scene.add_nodes_from(["in0", "out"], kind="port")
        >>> _ = scene.add_edge("in0", "out", index="in0:d", size=8), scene.add_edge("in0", "out", index="in0:s", size=4)
        >>> size_on(scene, "in0", "out", "in0:d"), size_on(scene, "in0", "out", "in0:s")
        ('4 × 8', '')
    """
    beside = sorted(scene.get_edge_data(a, b).values(), key=lambda d: not is_position(d["index"]))
    if not (_at_a_port(scene, a, b) and _both(scene, a, b)):
        return next(str(d["size"]) for d in beside if d["index"] == index)
    return " × ".join(str(d["size"]) for d in beside) if index == beside[-1]["index"] else ""


def _crossed(scene: nx.MultiGraph, at: dict[str, Point], start: Point) -> bool:
    """Whether another wire stands straight below: a line through it would seem to begin there."""
    rail = [at[n] for n, wire in scene.nodes(data="wire") if wire]
    return any(abs(x - start[0]) < 0.1 and y < start[1] for x, y in rail)


def along(path: Path, upright: bool) -> list[Spot]:
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
