"""Extent: how far the numbers on the way to an inner product may be from 1. Most models need no units at all."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from math import log2
from typing import Any, TypeVar
from weakref import finalize

import numpy as np

from tnsim.algebra.network import Network
from tnsim.algebra.ranges import log_sizes, spread
from tnsim.algebra.scaled import limits
from tnsim.algebra.values import numbers

__all__ = ["Extent", "extent", "once"]

Array = Any
T = TypeVar("T")

_ZERO = -5e5  # what is no more than that is the exponent of zero

_KNOWN: dict[tuple[str, int], tuple[Any, Any]] = {}


def once(what: str, x: Any, version: Any, measured: Callable[[], T]) -> T:
    """``measured()``, which is something about x, asked once while x lives and its version stays the same."""
    key = (what, id(x))
    known = _KNOWN.get(key)
    if known is None:
        finalize(x, _KNOWN.pop, key, None)
    if known is None or known[0] != version:
        known = _KNOWN[key] = (version, measured())
    return known[1]


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
    """The extent of a network, measured once while its weights stay as they are: they are read for it."""
    versions = [getattr(x, "_version", 0) for f in net.polys for x in f.arrays()]
    return once("extent", net, versions, lambda: _extent(net))


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
            norm = (
                most + total
            ) / 2  # no smaller than the norm: the sum of squares is at most largest times sum
            far = np.maximum(np.abs(most), np.abs(norm)) * (most > _ZERO)
            terms.append((far.sum(axis=0) + abs(c), norm.sum(axis=0) + c + spread(t), t.degree))
        layers.append(tuple(terms))
    return Extent(tuple(layers), -log2(limits(net.polys[0].like)[0]))


def _largest(x: list[Array]) -> Array:
    return reduce(np.maximum, x)
