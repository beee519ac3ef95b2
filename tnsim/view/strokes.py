"""Strokes: the curves of indices, and where their sizes may stand."""

import networkx as nx
import numpy as np
from matplotlib.path import Path

from tnsim.view.layout import WIDTH, Point
from tnsim.view.scene import OUT
from tnsim.view.text import Spot

__all__ = ["along", "curve", "is_wire", "lowest"]


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


def is_wire(scene: nx.MultiGraph, a: str, b: str) -> bool:
    """Whether an edge leads to a position or an identity."""
    return any(scene.nodes[n].get("wire") for n in (a, b))


def curve(scene: nx.MultiGraph, at: dict[str, Point], a: str, b: str) -> Path:
    """An S from left to right; an arc between tensors of one column; a wire to the output goes around."""
    (x0, y0), (x1, y1) = sorted((at[a], at[b]))
    if is_wire(scene, a, b) and OUT in (a, b) and x1 - x0 > 2 * WIDTH:
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
