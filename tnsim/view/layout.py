"""Where things go: x is the distance from the output in factors, y follows the tree of legs.

Pure geometry, in units of one row. Drawn from left to right: inputs, factors, output; y grows upwards.
"""

from collections.abc import Iterable, Iterator
from itertools import count, permutations
from typing import Any

import networkx as nx
import numpy as np

from tnsim.common.wires import place
from tnsim.view.scene import OUT

__all__ = ["WIDTH", "depths", "place_nodes", "spread"]

WIDTH = 1.6  # of a column, in rows

_ALL_ORDERS_UP_TO = 6  # children of one node; beyond, their order is left as it is
_SWEEPS = 12

Point = tuple[float, float]


def place_nodes(scene: nx.MultiGraph, columns: int = 0) -> dict[str, Point]:
    """Coordinates for every node of a scene.

    Args:
        scene: see :func:`tnsim.view.scene.scene_of`.
        columns: columns of factors to make room for, when several pictures share their edges.
    """
    depth, parent = depths(scene)
    wide = max([columns, *(d + 1 for d in depth.values())])
    y = _rows(scene, depth, parent)
    x = {n: (wide - 1 - d) * WIDTH for n, d in depth.items()}
    left, right = -WIDTH, wide * WIDTH
    kind = {n: d["kind"] for n, d in scene.nodes(data=True)}
    for n, d in scene.nodes(data=True):
        if d["kind"] == "port":
            x[n] = right if _is_out(n, kind) else left
        elif d["kind"] == "hub" and n in parent:
            x[n] = (x[parent[n]] if parent[n] in depth else right) - 0.5 * WIDTH
    if OUT in scene:
        roots = [y[n] for n, d in depth.items() if d == 0 and n in y]
        y[OUT] = float(np.mean(roots or [v for n, v in y.items() if n != OUT] or [0.0]))
    _hub_rows(scene, x, y, parent)
    _rail(scene, x, y, left)
    _stubs(scene, x, y)
    return {n: (float(x[n]), float(y[n])) for n in scene}


def depths(scene: nx.MultiGraph) -> tuple[dict[str, int], dict[str, str]]:
    """Distance of every tensor from the output in factors, and from where each node was reached.

    Wires (positions, identities) are not followed, unless nothing else leads to the output.
    """
    kind = {n: d["kind"] for n, d in scene.nodes(data=True)}
    wires = {n for n, d in scene.nodes(data=True) if d.get("wire")}
    rail = {n for n in kind if kind[n] == "tensor" and scene[n] and set(scene[n]) <= wires}
    depth: dict[str, int] = {}
    parent: dict[str, str] = {}
    for starts in _starts(scene, kind, depth, rail):
        queue = list(starts)
        depth.update({n: 0 for n in starts if kind[n] == "tensor"})
        follow = all(set(scene[n]) <= wires for n in starts)
        while queue:
            node = queue.pop(0)
            above = depth.get(parent[node], -1) if kind[node] == "hub" else depth.get(node, -1)
            for other in scene[node]:
                if other in parent or other in starts or other in depth or other in rail:
                    continue
                if (other in wires and not (follow and node in starts)) or kind[other] == "stub":
                    continue
                parent[other] = node
                if kind[other] == "tensor":
                    depth[other] = above + 1
                if kind[other] != "port":
                    queue.append(other)
    _before_inputs(scene, kind, wires, depth, parent)
    return depth, parent


def _before_inputs(
    scene: nx.MultiGraph, kind: dict[str, str], wires: set[str], depth: dict[str, int], parent: dict[str, str]
) -> None:
    """What turns a query by its position stands after the query, not between it and its input."""
    for n in list(depth):
        up = parent.get(n)
        if up is None or kind[up] != "tensor" or not wires & set(scene[n]) or n in parent.values():
            continue
        if any(kind[m] == "port" for m in scene[up]) and not any(kind[m] == "port" for m in scene[n]):
            depth[n], depth[up] = depth[up], depth[n]
            if up in parent:
                parent[n] = parent[up]
            parent[up] = n


def _starts(
    scene: nx.MultiGraph, kind: dict[str, str], depth: dict[str, int], rail: set[str]
) -> Iterator[list[str]]:
    """Where to measure from: the output, summed or not; otherwise what is far from the inputs or the first tensor."""
    for n in kind:
        if _is_out(n, kind):
            yield [n]
    tensors = [n for n in kind if kind[n] == "tensor" and n not in rail]
    summed = [t for t in tensors if any(place(e["index"]) == OUT for *_, e in scene.edges(t, data=True))]
    if summed and not depth:
        yield summed
    for n in tensors:
        if n not in depth:
            inputs = [p for p in nx.node_connected_component(scene, n) if kind[p] == "port"]
            away = nx.multi_source_dijkstra_path_length(scene, set(inputs) or {n})
            yield [max((m for m in tensors if m in away and m not in depth), key=lambda m: away[m])]


def _is_out(n: str, kind: dict[str, str]) -> bool:
    return kind[n] == "port" and n.rsplit("/", 1)[-1] == OUT


def _rows(scene: nx.MultiGraph, depth: dict[str, int], parent: dict[str, str]) -> dict[str, float]:
    """Leaves on consecutive rows, everything else at the middle of its children."""
    kind = {n: d["kind"] for n, d in scene.nodes(data=True)}

    def owner(n: str) -> str | None:
        up = parent.get(n)
        while up is not None and kind[up] == "hub":
            up = parent.get(up)
        return up

    children: dict[str | None, list[str]] = {}
    for n in scene:
        if (kind[n] == "tensor" and n in depth) or (kind[n] == "port" and n in parent):
            children.setdefault(owner(n), []).append(n)
    tangled = not nx.is_forest(nx.Graph(scene))
    if tangled:
        for up, below in children.items():
            children[up] = _untangled(scene, below)
    y: dict[str, float] = {}
    row = count()
    roots = [n for n in scene if n not in parent and (n in children) and kind[n] != "hub"]
    for root in [*dict.fromkeys(roots), *children.get(None, [])]:
        _descend(root, children, y, row)
    for n in scene:
        if kind[n] == "port" and n not in y and not _is_out(n, kind):
            y[n] = -float(next(row))
    if tangled:
        _sweep(scene, depth, y)
    return y


def _descend(
    root: str, children: dict[str | None, list[str]], y: dict[str, float], row: Iterator[int]
) -> None:
    if root in y:
        return
    below = [n for n in children.get(root, []) if n != root]
    for n in below:
        _descend(n, children, y, row)
    y[root] = float(np.mean([y[below[0]], y[below[-1]]])) if below else -float(next(row))


def _untangled(scene: nx.MultiGraph, siblings: list[str]) -> list[str]:
    """The order that keeps siblings with a common edge together, and ports of one position."""
    if not 2 < len(siblings) <= _ALL_ORDERS_UP_TO:
        return siblings
    pairs = [(a, b) for a in siblings for b in siblings if a < b and scene.has_edge(a, b)]
    groups = [
        [n for n in siblings if n in scene[hub] or any(p in scene[hub] for p in scene[n])]
        for hub, d in scene.nodes(data=True)
        if d.get("wire")
    ]

    def tangle(order: Iterable[str]) -> float:
        at = {n: i for i, n in enumerate(order)}
        near = sum(abs(at[a] - at[b]) for a, b in pairs)
        spread = sum(max(at[n] for n in g) - min(at[n] for n in g) for g in groups if g)
        return 2 * near + spread

    return list(min(permutations(siblings), key=tangle))


def _sweep(scene: nx.MultiGraph, depth: dict[str, int], y: dict[str, float]) -> None:
    """Barycentres, column by column: every node towards the mean of its neighbours, one row apart."""
    columns: dict[int, list[str]] = {}
    for n, d in depth.items():
        columns.setdefault(d, []).append(n)
    near = {n: [m for m in _neighbours(scene, n) if m in y] for n in y}
    for sweep in range(_SWEEPS):
        for d in sorted(columns, reverse=sweep % 2 == 0):
            nodes = sorted(columns[d], key=lambda n: -y[n])
            wish = [np.mean([y[n], *(y[m] for m in near[n])]) for n in nodes]
            for n, value in zip(nodes, spread([-w for w in wish]), strict=True):
                y[n] = -value
    for n in y:
        if scene.nodes[n]["kind"] == "port" and len(near[n]) == 1:
            y[n] = y[near[n][0]]
    ports = sorted((n for n in y if scene.nodes[n]["kind"] == "port" and n != OUT), key=lambda n: -y[n])
    for n, value in zip(ports, spread([-y[n] for n in ports]), strict=True):
        y[n] = -value


def _neighbours(scene: nx.MultiGraph, n: str) -> set[str]:
    """Across plain edges and hubs, but not along wires."""
    found: set[str] = set()
    for m in scene[n]:
        d = scene.nodes[m]
        if d["kind"] == "hub":
            found |= set() if d["wire"] else set(scene[m])
        else:
            found.add(m)
    return found - {n}


def spread(wish: list[Any], gap: float = 1.0) -> list[float]:
    """The closest values to ``wish`` (in the same order) that are at least ``gap`` apart.

    Example:
        >>> spread([0.0, 0.0, 5.0])
        [-0.5, 0.5, 5.0]
    """
    blocks: list[tuple[float, int]] = []  # (mean, how many) of an increasing regression
    for i, w in enumerate(wish):
        mean, n = float(w) - gap * i, 1
        while blocks and blocks[-1][0] > mean:
            before, m = blocks.pop()
            mean, n = (before * m + mean * n) / (m + n), m + n
        blocks.append((mean, n))
    flat = [mean for mean, n in blocks for _ in range(n)]
    return [value + gap * i for i, value in enumerate(flat)]


def _hub_rows(scene: nx.MultiGraph, x: dict[str, float], y: dict[str, float], parent: dict[str, str]) -> None:
    for n, d in scene.nodes(data=True):
        if d["kind"] == "hub" and n in parent:
            up = parent[n]
            y[n] = y[up] if up in y else float(np.mean([y[m] for m in scene[n] if m in y]))
    for column in {x[n] for n, d in scene.nodes(data=True) if d["kind"] == "hub" and n in parent}:
        hubs = sorted(
            (n for n, d in scene.nodes(data=True) if d["kind"] == "hub" and x.get(n) == column),
            key=lambda n: y[n],
        )
        for n, value in zip(hubs, spread([y[n] for n in hubs], 0.6), strict=True):
            y[n] = value


def _rail(scene: nx.MultiGraph, x: dict[str, float], y: dict[str, float], left: float) -> None:
    """Positions, and what only they touch (a mask), stand to the left of the inputs."""
    hubs = [n for n, d in scene.nodes(data=True) if d["kind"] == "hub" and n not in x]
    for n in hubs:
        ends = [y[m] for m in scene[n] if m in y and m != OUT]
        x[n], y[n] = left - 0.75 * WIDTH, float(np.mean(ends or [0.0]))
    hubs.sort(key=lambda n: y[n])
    for n, value in zip(hubs, spread([y[n] for n in hubs]), strict=True):
        y[n] = value
    rest = [n for n, d in scene.nodes(data=True) if d["kind"] == "tensor" and n not in x]
    for n in rest:
        x[n], y[n] = left - 1.5 * WIDTH, float(np.mean([y[m] for m in scene[n] if m in y] or [0.0]))
    rest.sort(key=lambda n: y[n])
    for n, value in zip(rest, spread([y[n] for n in rest]), strict=True):
        y[n] = value


def _stubs(scene: nx.MultiGraph, x: dict[str, float], y: dict[str, float]) -> None:
    """Open indices that are neither input nor output hang below their tensor, or stand above it."""
    fixed = [(x[n], y[n]) for n in x]
    for n in list(x):
        mine = [m for m in scene[n] if scene.nodes[m]["kind"] == "stub"]
        below, above = (
            any(abs(x[n] - u) < 0.1 and 0 < side * (v - y[n]) < 1.6 for u, v in fixed) for side in (-1, 1)
        )
        rise = 0.75 if below and not above else -0.75
        lean = 0.55 if below and above else 0.0
        for i, m in enumerate(mine):
            x[m], y[m] = x[n] + 0.5 * (i - (len(mine) - 1) / 2) - lean, y[n] + rise
