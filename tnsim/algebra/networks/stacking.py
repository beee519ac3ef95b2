"""Stacking: several networks of equal wiring as one, with a run index on every weight."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import autoray as ar
import numpy as np
import quimb.tensor as qtn

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.notes import noted
from tnsim.algebra.polys.poly import ComposeError, Poly
from tnsim.algebra.terms.hidden import Units
from tnsim.algebra.terms.term import retensor
from tnsim.common.wires import MODEL, WIRE
from tnsim.engine.sparsity import over_positions, with_support

__all__ = ["outline", "stack"]

Array = Any


def stack(networks: Sequence[Network]) -> Network:
    """Several networks of equal wiring as one, with a run index ``model:m`` on every weight.

    Raises:
        ComposeError: if the list is empty or the networks are wired differently.
    """
    nets = list(networks)
    if not nets:
        raise ComposeError("nothing to stack: the list of networks is empty.")
    if len({net.signature() for net in nets}) > 1 or any(net.models for net in nets):
        raise ComposeError("only single networks with the same layers, shapes and wiring can be stacked.")
    return _joined(nets, lambda data: ar.do("stack", data, axis=0), np.stack)


def outline(net: Network, models: int) -> Network:
    """A network as if it were a stack of so many: for its shapes, it takes no memory.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra.polys.writing import poly
        >>> outline(Network((("w", poly("W[out,in0]", W=np.eye(2))),)), 1000).models
        1000
    """

    def spread(data: list[Array]) -> Array:
        return ar.do("broadcast_to", data[0], (models, *ar.shape(data[0])))

    return _joined([net], spread, spread)


def _joined(
    nets: Sequence[Network],
    join: Callable[[list[Array]], Array],
    zeros: Callable[[list[np.ndarray]], np.ndarray],
) -> Network:
    """One network with the run index on every weight; ``join`` makes one array of the models', ``zeros`` of masks."""
    made: dict[tuple[int, ...], Array] = {}  # what shared an array goes on sharing one
    tensors = [x for f in nets[0].polys for t in f.terms for x in t.tensors]
    anchor = (
        None if any(WIRE not in x.tags for x in tensors) else tensors[0]
    )  # without weights, wires carry the run

    def one(layers: Sequence[Poly]) -> Poly:
        first, *_ = layers
        terms = []
        for k, t in enumerate(first.terms):
            tensors = []
            for j, x in enumerate(t.tensors):
                data = [f.terms[k].tensors[j].data for f in layers]
                if WIRE not in x.tags or x is anchor:
                    key = tuple(map(id, data))
                    if key not in made:
                        made[key] = join(data)
                        if over_positions(x.inds):
                            made[key] = with_support(made[key], data, zeros)
                    x = retensor(x, data=made[key], inds=(MODEL, *x.inds))
                tensors.append(x)
            terms.append(replace(t, tensors=tuple(tensors)))
        units = [f.units.resolved() for f in layers if f.units]
        parts = zip(*((u.products, u.read, u.rest) for u in units), strict=True)
        joined = [None if fs[0] is None else one(fs) for fs in parts]
        return replace(first, terms=tuple(terms)).having(Units(*joined) if joined else None)

    layers = [(name, one([net[name] for net in nets])) for name in nets[0].names]
    if not made:  # no weights anywhere: the models are told apart by a factor of one
        name, f = layers[0]
        like = f.terms[0].tensors[0].data
        ones = qtn.Tensor(join([ar.do("ones", (), like=like)] * len(nets)), (MODEL,), tags="ONE")
        layers[0] = (name, replace(f, terms=tuple(t.attached(ones) for t in f.terms)))
    return replace(nets[0], layers=tuple(layers), notes=noted(nets))
