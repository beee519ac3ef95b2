"""Extent: how far the numbers on the way to an inner product may be from 1. Most models need no units at all."""

from dataclasses import dataclass
from functools import reduce
from math import log2
from typing import Any
from weakref import finalize

import numpy as np

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.ranges import log_sizes, spread
from tnsim.common.caches import cleared_by
from tnsim.common.scaled import limits
from tnsim.common.values import numbers

__all__ = ["Extent", "extent"]

Array = Any

_ZERO = -5e5  # what is no more than that is the exponent of zero

_KNOWN: dict[int, tuple[list[int], "Extent"]] = {}  # by the id of a network, with the versions of its weights
cleared_by(_KNOWN.clear)


@dataclass(frozen=True, eq=False)
class Extent:
    """The sizes of a network's weights, for every layer and term; of a run as arrays, shape ``(m,)``.

    Attributes:
        layers: of every term how far its weights are from 1 together, what they make of random inputs of size one,
            and its degree; all as powers of two.
        room: how far the dtype reaches.
    """

    layers: tuple[tuple[tuple[Array, Array, int], ...], ...]
    room: float

    def moderate(self, size: float = 0.0, layerwise: bool = False) -> bool:
        """Whether nothing on the way to an inner product comes near the ends of the dtype's range.

        A product of some of the tensors is no larger than the product of their norms. That is asked of all copies of
        all weights at once where layers are composed, and of every layer apart where the law is pushed through them.

        Args:
            size: of the input, as a power of two.
            layerwise: whether the law is pushed through.
        """
        reach, state = np.abs(size), np.asarray(size)
        most = [np.asarray(0.0)]
        for terms in self.layers:
            before = np.abs(state) if layerwise else reach
            reach = _largest([far + degree * before for far, _, degree in terms])
            state = _largest([gain + degree * state for _, gain, degree in terms])
            most.append(reach)
        return bool((2 * _largest(most) <= self.room / 2).all())  # what is not a number is not moderate


def extent(net: Network) -> Extent:
    """The extent of a network: its weights are read for it, once while they say that they stay as they are."""
    versions = [_version(x) for f in net.polys for x in f.arrays()]
    if None in versions:
        return _extent(net)
    known = _KNOWN.get(id(net))
    if known is None:
        finalize(net, _KNOWN.pop, id(net), None)
    if known is None or known[0] != versions:
        known = _KNOWN[id(net)] = (versions, _extent(net))
    return known[1]


def _version(x: Array) -> Any:
    """A number that changes with the values; ``None`` where nothing tells: in other libraries, and in inference mode."""
    try:
        return x._version
    except (AttributeError, RuntimeError):
        return None


def _extent(net: Network) -> Extent:
    ids, logs = log_sizes(net)
    table = numbers(logs).astype(float)
    where = {n: k for k, n in enumerate(ids)}
    layers = []
    for f in net.polys:
        terms = []
        for t in f.terms:
            at = [where[id(x.data)] for x in t.tensors]
            most, total = table[[2 * k for k in at]], table[[2 * k + 1 for k in at]]
            c = log2(abs(t.coefficient)) if t.coefficient else 0.0
            norm = (most + total) / 2  # no smaller: the sum of squares is at most the largest times the sum
            far = np.maximum(np.abs(most), np.abs(norm)) * (most > _ZERO)
            terms.append((far.sum(axis=0) + abs(c), norm.sum(axis=0) + c + spread(t), t.degree))
        layers.append(tuple(terms))
    return Extent(tuple(layers), -log2(limits(net.polys[0].like)[0]))


def _largest(x: list[Array]) -> Array:
    return reduce(np.maximum, x)
