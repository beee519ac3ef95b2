"""Roles: what a tensor does, read off where it stands, whatever it is called.

Towards the output, lines of data meet in products: at an index that three or more things share, or in a tensor that takes
two of them. What such a point takes in are its factors, left and right; what reads it is an output map. Where inputs are
read at two positions, what reads the copy at the output's own position is a query and meets a key, which reads another;
what else reads another position is a value.
"""

from collections.abc import Mapping
from typing import Any

import networkx as nx

from tnsim.common.wires import BRIDGE_TAGS
from tnsim.view.layout import depths
from tnsim.view.scene import OUT, input_number, is_output, is_position

__all__ = ["FACTORS", "roles_of", "shared_roles"]

FACTORS = ("left factor", "right factor", "third factor", "fourth factor")
_BRIDGES = dict(zip(BRIDGE_TAGS, ("covariance", "mean", "data"), strict=True))


def roles_of(scene: nx.MultiGraph) -> dict[str, str]:
    """What every tensor of a scene does; nothing for networks whose inputs are not known.

    Args:
        scene: see :func:`tnsim.view.scene.scene_of`.

    Returns:
        For tensors: ``"left factor"``, ``"right factor"``, …, ``"both factors"`` (the same array on both sides),
        ``"output map"``, ``"input map"`` (in front of a product), ``"interaction"`` (a tensor that multiplies),
        ``"linear map"``, ``"gain"``, ``"constant"``, ``"ones"`` (the same for every position), ``"mask"``, ``"turn"`` (a
        map for every position), ``"query 1"``, ``"key 1"``, …, ``"value"``, ``"score"`` (query and key in one),
        ``"head output"``.
    """
    nodes = dict(scene.nodes(data=True))
    tensors = [n for n, d in nodes.items() if d["kind"] == "tensor"]
    sources = [n for n in nodes if input_number(n) is not None and nodes[n]["kind"] == "port"]
    sources += [n for n in tensors if nodes[n]["role"] in _BRIDGES and nodes[n]["side"]]
    constant = not sources and any(is_output(n) for n in nodes)
    if not sources and not constant:
        return {}
    found = {n: _BRIDGES[nodes[n]["role"]] for n in tensors if n in sources}
    found.update(_of_positions(scene, tensors))
    found = {**_of_attention(scene, tensors), **found}
    tree = _Tree(scene, sources)
    for n in tensors:
        if n not in found:
            found[n] = tree.role(n)
    return found


def shared_roles(scenes: list[nx.MultiGraph]) -> list[dict[str, str]]:
    """Roles in all terms of a layer: an array does in every term what it does in the one of highest degree."""
    order = sorted(
        range(len(scenes)), key=lambda k: -sum(d["kind"] == "port" for _, d in scenes[k].nodes(data=True))
    )
    roles: list[dict[str, str]] = [{} for _ in scenes]
    known: dict[int, set[str]] = {}
    for k in order:
        nodes = scenes[k].nodes
        own = roles_of(scenes[k])
        if not any(input_number(n) is not None for n in nodes):
            own = own or {n: "constant" for n, d in nodes.items() if d["kind"] == "tensor"}
        roles[k] = {
            n: next(iter(known[nodes[n]["array"]])) if len(known.get(nodes[n]["array"], ())) == 1 else role
            for n, role in own.items()
        }
        fresh: dict[int, set[str]] = {}
        for n, role in roles[k].items():
            if nodes[n]["array"] not in known:
                fresh.setdefault(nodes[n]["array"], set()).add(role)
        known.update(fresh)
    return roles


class _Tree:
    """The scene as a tree towards the output, and where data come from."""

    def __init__(self, scene: nx.MultiGraph, sources: list[str]):
        self.nodes: Mapping[str, Any] = scene.nodes
        self.parent = depths(scene)[1]
        self.scene = scene
        self.least: dict[str, tuple[int, str]] = {}  # the first input below a node
        bridges = {n for n in sources if self.nodes[n]["kind"] == "tensor"}  # what they close, they feed
        starts = [(n, n) for n in sources if n not in bridges] + [(m, n) for n in bridges for m in scene[n]]
        for start, n in starts:
            number = input_number(n)
            key = (10**6 if number is None else number, start)
            at: str | None = start
            while at is not None and at not in bridges:
                self.least[at] = min(key, self.least.get(at, key))
                at = self.parent.get(at)
        self.below: dict[str, list[str]] = {}
        for n, up in self.parent.items():
            if n in self.least:
                self.below.setdefault(up, []).append(n)

    def role(self, n: str) -> str:
        up = self.parent.get(n)
        if n not in self.least:
            if self.nodes[n]["ones"]:
                return "ones"
            return "gain" if self._ends(n) == 1 and self._beside_data(n) else "constant"
        if up is not None and self._is_product(up):
            return self._factor(n, up)
        below = self.below.get(n, [])
        if len(below) > 1:
            return "interaction"
        if any(self.nodes[m]["kind"] == "hub" and self._is_product(m) for m in below):
            return "output map"
        if self._beyond(n, below):
            return "output map"
        return "input map" if self._ahead(n) else "linear map"

    def _beside_data(self, n: str) -> bool:
        """Whether an index of a tensor carries data past it."""
        hubs = [m for m in self.scene[n] if self.nodes[m]["kind"] == "hub"]
        return any(
            self.below.get(m) or (self.nodes[m]["wire"] and set(self.scene[m]) & set(self.least))
            for m in hubs
        )

    def _ends(self, n: str) -> int:
        return len({d["index"] for *_, d in self.scene.edges(n, data=True) if not is_position(d["index"])})

    def _is_product(self, n: str) -> bool:
        return len(self.below.get(n, [])) > 1 and not is_output(n)

    def _factor(self, n: str, up: str) -> str:
        siblings = sorted(self.below[up], key=lambda m: self.least[m])
        arrays = [self.nodes[m].get("array", m) for m in siblings]
        if len(siblings) == 2 and arrays[0] == arrays[1]:
            return "both factors"
        return FACTORS[min(siblings.index(n), len(FACTORS) - 1)]

    def _ahead(self, n: str) -> bool:
        """Whether a product comes later in the same layer."""
        at, layer = self.parent.get(n), self.nodes[n]["layer"]
        while at is not None and self.nodes[at].get("layer", layer) == layer:
            if self._is_product(at):
                return True
            at = self.parent.get(at)
        return False

    def _beyond(self, n: str, below: list[str]) -> bool:
        """Whether a product came before in the same layer."""
        layer = self.nodes[n]["layer"]
        while below:
            if any(self.nodes[m].get("layer", layer) != layer for m in below):
                return False
            if len(below) > 1 or self._is_product(below[0]):
                return True
            below = self.below.get(below[0], [])
        return False


def _of_positions(scene: nx.MultiGraph, tensors: list[str]) -> dict[str, str]:
    """What knows nothing but positions, and what is a map for every position."""
    found = {}
    for n in tensors:
        spaces = [is_position(d["index"]) for *_, d in scene.edges(n, data=True)]
        ports = [m for m in scene[n] if scene.nodes[m]["kind"] == "port"]
        if spaces and all(spaces) and len(spaces) > 1:
            found[n] = "mask"
        elif sum(spaces) == 1 and len(spaces) > 2 and not ports:
            found[n] = "turn"
    return found


def _of_attention(scene: nx.MultiGraph, tensors: list[str]) -> dict[str, str]:
    """Queries, keys, values, and what reads the heads."""
    places = {n: _positions(scene, n) for n in scene if scene.nodes[n]["kind"] == "port"}
    here = places.pop(OUT, frozenset())
    away = {n for n, at in places.items() if at and at != here}
    if not here or not away or len(set(places.values())) < 2:
        return {}
    reads: dict[str, list[str]] = {}  # by which tensors every input is read, and what each reads
    for n in tensors:
        for p in places:
            if _reads(scene, n, p):
                reads.setdefault(n, []).append(p)
    found = {n: "score" for n, ports in reads.items() if len({places[p] for p in ports}) > 1}
    single = {n: ports[0] for n, ports in reads.items() if n not in found}
    plain = _between_factors(scene, tensors)
    pairs = []
    for q in sorted((n for n in single if single[n] not in away), key=lambda n: input_number(single[n]) or 0):
        meets = [k for k in single if single[k] in away and k not in found and _meet(plain, q, k, reads)]
        if meets:
            pairs.append((q, meets[0]))
            found[q] = found[meets[0]] = "paired"
    for i, (q, k) in enumerate(pairs, 1):
        number = f" {i}" if len(pairs) > 1 else ""
        found[q], found[k] = f"query{number}", f"key{number}"
    found.update({n: "value" for n, p in single.items() if n not in found and p in away})
    if pairs or "score" in found.values():
        outside = [n for n in tensors if n not in found and scene.has_edge(n, OUT) and n not in reads]
        found.update(dict.fromkeys(outside, "head output"))
    return found


def _reads(scene: nx.MultiGraph, n: str, port: str) -> bool:
    """Whether a tensor takes the features of an input, as they are or each times a gain."""
    features = [d["index"] for *_, d in scene.edges(n, data=True) if not is_position(d["index"])]
    if any(d["index"] in features for d in (scene.get_edge_data(n, port) or {}).values()):
        return True
    gained = (
        m
        for m in features
        if m in scene and [p for p in scene[m] if scene.nodes[p]["kind"] == "port"] == [port]
    )
    return len(set(features)) > 1 and any(gained)


def _positions(scene: nx.MultiGraph, port: str) -> frozenset[str]:
    return frozenset(d["index"] for *_, d in scene.edges(port, data=True) if is_position(d["index"]))


def _between_factors(scene: nx.MultiGraph, tensors: list[str]) -> nx.Graph:
    """Tensors that share a feature index with one other and no third; not those at the output."""
    known = {n for n in tensors if not scene.has_edge(n, OUT)}
    plain = nx.Graph()
    plain.add_nodes_from(known)
    plain.add_edges_from(
        (a, b) for a, b, d in scene.edges(data=True) if {a, b} <= known and not is_position(d["index"])
    )
    return plain


def _meet(plain: nx.Graph, q: str, k: str, reads: Mapping[str, list[str]]) -> bool:
    """Whether two readers of the input meet without a third in between."""
    if q not in plain or k not in plain:
        return False
    others = set(reads) - {q, k}
    return nx.has_path(plain.subgraph(set(plain) - others), q, k)
