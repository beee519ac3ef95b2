"""What there is to draw: tensors, hubs, ports and stubs of an open network, as one graph.

=========  =========================================================================
tensor     a tensor
hub        an index on three or more things (a hyperedge), drawn as a dot
port       a copy of the input or the output, where one or more indices end
stub       any other open index
=========  =========================================================================
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import networkx as nx
import quimb.tensor as qtn

from tnsim.algebra.networks.graph import to_graph
from tnsim.common.values import numbers
from tnsim.common.wires import SIDES, WIRE, Leg, place, space

__all__ = ["OUT", "input_number", "is_ones", "is_output", "is_position", "scene_of"]

OUT = "out"

_PORT = re.compile(r"^(in\d+|out)$")
_INPUT = re.compile(r"in(\d+)$")


def scene_of(
    network: qtn.TensorNetwork, legs: Sequence[Leg] = (), out: Leg = (), layers: Iterable[str] = ()
) -> nx.MultiGraph:
    """The graph of a picture.

    Args:
        network: an open network.
        legs: its input legs, where they are known; otherwise ports are recognised by their names ``in0`` …, ``out``.
        out: its output indices, where they are known.
        layers: names of layers, to be recognised among the tags.

    Returns:
        Nodes carry ``kind``, ``label`` and, for tensors, ``role`` (the name), ``layer``, ``tags``, ``side``, ``shape``,
        ``data``, ``array`` (equal for equal arrays), ``ones``. Edges carry ``index`` and ``size``. A hub of positions with
        two or more ports is marked ``wire``: the copies of x (and the output) that are read at one position.
    """
    graph = to_graph(network, layers)
    tensors = {n: d for n, d in graph.nodes(data=True) if d["kind"] == "tensor"}
    sizes = {ix: n for d in tensors.values() for ix, n in zip(d["inds"], d["shape"], strict=True)}
    ports = _named_ports(legs, out) if legs or out else _guessed_ports(graph, tensors)
    # The ones that anchor an identity are not drawn: the wire from input to output says it.
    arrays = dict(zip(list(tensors), network.tensors, strict=True))
    for node, d in list(tensors.items()):
        if len(d["inds"]) == 1 and len(ports.get(d["inds"][0], ())) > 1 and is_ones(arrays[node]):
            del tensors[node]

    scene = nx.MultiGraph()
    for node, d in tensors.items():
        scene.add_node(
            node,
            kind="tensor",
            label=d["role"],
            array=id(arrays[node].data),
            data=arrays[node].data,
            ones=is_ones(arrays[node]),
            **{k: d[k] for k in ("role", "layer", "tags", "side", "shape")},
        )
    for port in dict.fromkeys(p for names in ports.values() for p in names):
        scene.add_node(port, kind="port", label=port)
    for ix, size in sizes.items():
        ends = [node for node, d in tensors.items() if ix in d["inds"]] + ports.get(ix, [])
        if len(ends) == 2 and not (tensors and space(ix) == "s" and ends == ports.get(ix)):
            scene.add_edge(*ends, index=ix, size=size)
        elif len(ends) == 1:
            scene.add_node(f"stub {ix}", kind="stub", label=ix.rsplit(":", 1)[0])
            scene.add_edge(ends[0], f"stub {ix}", index=ix, size=size)
        else:
            scene.add_node(
                ix,
                kind="hub",
                label=place(ix),
                size=size,
                wire=is_position(ix) and len(ports.get(ix, ())) > 1,
            )
            for node in ends:
                scene.add_edge(node, ix, index=ix, size=size)
    return scene


def is_ones(t: qtn.Tensor) -> bool:
    """Whether a tensor is the vector of ones that anchors an identity; one of a model's own that has that name is not."""
    return WIRE in t.tags and len(t.inds) == 1 and bool((numbers(t.data) == 1).all())


def is_output(node: str) -> bool:
    """Whether a node is the output, of either side of an inner product."""
    return node.rsplit("/", 1)[-1] == OUT


def is_position(index: str) -> bool:
    """Whether an index counts positions.

    Example:
        >>> is_position("k:s"), is_position("in0:d")
        (True, False)
    """
    return space(index).startswith("s")


def input_number(node: str) -> int | None:
    """Which copy of the input a node is, or ``None``.

    Example:
        >>> input_number("in2"), input_number("ket/in0"), input_number("T3")
        (2, 0, None)
    """
    found = _INPUT.match(node.rsplit("/", 1)[-1])
    return int(found[1]) if found else None


def _named_ports(legs: Sequence[Leg], out: Leg) -> dict[str, list[str]]:
    ports: dict[str, list[str]] = {}
    for k, leg in enumerate(legs):
        for ix in leg:
            ports.setdefault(ix, []).append(f"in{k}")
    for ix in out:
        ports.setdefault(ix, []).append(OUT)
    return ports


def _guessed_ports(graph: nx.Graph, tensors: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Ports by name. An index between the two sides of an inner product is summed, so it is none."""
    ports: dict[str, list[str]] = {}
    for ix, d in graph.nodes(data=True):
        if d["kind"] == "open" and _PORT.match(place(ix)):
            sides = {tensors[n]["side"] for n in graph[ix] if n in tensors}
            if not set(SIDES) <= sides:
                ports[ix] = [ix.rsplit(":", 1)[0] if space(ix) in ("d", "s") else ix]
    return ports
