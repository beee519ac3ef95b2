"""A tensor network as a networkx graph."""

import re
from collections.abc import Iterable

import autoray as ar
import networkx as nx
import quimb.tensor as qtn

from tnsim.common.wires import place, role_of, side_of

__all__ = ["to_graph"]

_INPUT = re.compile(r"in\d+$")


def to_graph(network: qtn.TensorNetwork, layers: Iterable[str] = ()) -> nx.MultiGraph:
    """Tensors and hyperedge hubs as nodes, indices as edges.

    Nodes:
        * ``"T0", "T1", …``: ``kind="tensor"``, ``role``, ``layer``, ``side``, ``shape``, ``inds``, ``tags``.
        * one node for every index on three or more tensors, named after it: ``kind="hub"``, ``size``.
        * one node for every open index, named after it: ``kind="open"``, ``size``, ``place`` (``in0`` … or ``out``).

    Edges carry ``index`` and ``size``; two tensors that share two indices have two edges.

    Args:
        network: the network; its tensors' first tag is taken as their role.
        layers: names of layers, to be recognised among the tags; by default the second tag is the layer.
    """
    names = set(layers)
    graph = nx.MultiGraph()
    ends: dict[str, list[str]] = {}
    for k, t in enumerate(network.tensors):
        tags = [role_of([tag]) for tag in t.tags]
        node = f"T{k}"
        known = [tag for tag in tags if tag in names]
        graph.add_node(
            node,
            kind="tensor",
            role=tags[0] if tags else "",
            layer=known[-1] if known else (tags[1] if len(tags) > 1 else ""),
            side=next((s for s in map(side_of, t.inds) if s), ""),
            shape=tuple(int(n) for n in ar.shape(t.data)),
            inds=t.inds,
            tags=tuple(tags),
        )
        for ix in t.inds:
            ends.setdefault(ix, []).append(node)
    outer = set(network.outer_inds())
    for ix, nodes in ends.items():
        size = int(network.ind_size(ix))
        is_open = ix in outer or place(ix) == "out" or ("/" not in ix and _INPUT.match(place(ix)) is not None)
        if len(nodes) == 2 and not is_open:
            graph.add_edge(*nodes, index=ix, size=size)
            continue
        graph.add_node(ix, kind="open" if is_open else "hub", size=size, place=place(ix))
        for node in nodes:
            graph.add_edge(node, ix, index=ix, size=size)
    return graph
