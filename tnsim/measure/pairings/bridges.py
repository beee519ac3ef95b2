"""Bridges between legs, contracted once and shared by all closures of a product."""

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import quimb.tensor as qtn

from tnsim.algebra.terms.term import Term, retensor
from tnsim.common.wires import Leg, identify, rename
from tnsim.engine.contract import Contraction
from tnsim.measure.pairings.measure import Bridge, Closure

__all__ = ["Bridges", "Closed"]

Place = tuple[int, int]
Closed = tuple[
    float, tuple[qtn.Tensor, ...], list[tuple[str, str]]
]  # weight, tensors, joins still to be made


class Bridges:
    """The matrices W Σ W′ᵀ of pairs of legs (vectors W μ of single ones), kept while a product is computed.

    The same few bridges occur in every closure, so what they cost is paid once, and what remains of a closure is
    a small network of bridges and inner tensors. Closures whose bridges all run between the same two hidden
    indices, or end at one of them, differ in one matrix only, so these matrices are added up before the rest is
    contracted.
    """

    def __init__(self) -> None:
        self._made: dict[Any, tuple[Any, Any]] = {}
        self._rank: dict[int, int] = {}  # arrays in order of appearance, the same in every process

    def closed(self, factors: Sequence[Term], closures: Iterable[Closure]) -> Iterator[Closed]:
        """Closed products: their weight, their tensors, and which of their indices are still to be joined."""
        holders = {(f, k): _holder(t, k) for f, t in enumerate(factors) for k in range(t.degree)}
        everything = [(f, n, x) for f, t in enumerate(factors) for n, x in enumerate(t.tensors)]
        sums: dict[Any, list[tuple[float, list[qtn.Tensor]]]] = {}
        for closure in closures:
            bridges: list[qtn.Tensor] = []
            loose: list[qtn.Tensor] = []
            joins: list[tuple[str, str]] = []
            absorbed: set[Place] = set()
            for bridge in closure.bridges:
                held = [(f, n) for f, k in bridge.legs if (n := holders[f, k]) is not None]
                if bridge.legs and len(held) == len(bridge.legs):
                    legs = [factors[f].legs[k] for f, k in bridge.legs]
                    bridges.append(self._bridge(bridge, legs, [factors[f].tensors[n] for f, n in held]))
                    absorbed.update(held)
                else:
                    loose += bridge.tensors
                    joins += bridge.joins
            rest = [x for f, n, x in everything if (f, n) not in absorbed]
            widest = frozenset(max((b.inds for b in bridges), key=len, default=()))
            if bridges and widest.issuperset(ix for b in bridges for ix in b.inds) and not (loose or joins):
                sums.setdefault((widest, frozenset(absorbed)), []).append((closure.weight, bridges))
            else:
                yield closure.weight, (*bridges, *loose, *rest), joins
        for (_, absorbed), summands in sums.items():
            inner = [x for f, n, x in everything if (f, n) not in absorbed]
            yield 1.0, (_added(summands), *inner), []

    def _bridge(self, bridge: Bridge, legs: Sequence[Leg], parts: Sequence[qtn.Tensor]) -> qtn.Tensor:
        """Weights and covariance contracted over the legs."""
        tensors = list(bridge.tensors)
        ranks = [self._rank.setdefault(id(x.data), len(self._rank)) for x in parts]
        if bridge.symmetric and ranks != sorted(ranks):
            turned = dict(zip((*legs[0], *legs[1]), (*legs[1], *legs[0]), strict=True))
            tensors = [retensor(x, inds=rename(x.inds, turned)) for x in tensors]
            parts, legs = parts[::-1], legs[::-1]
        joined = {ix for pair in bridge.joins for ix in pair}
        first, *others = parts
        for x in tensors:  # the covariance goes onto the first weight, whose other bridges then share it
            first = self._contracted((first, x), {}, set(legs[0]) - joined)
        summed = {ix for leg in legs for ix in leg}
        return self._contracted((first, *others), identify(bridge.joins), summed)

    def _contracted(
        self, tensors: Sequence[qtn.Tensor], joins: Mapping[str, str], summed: set[str]
    ) -> qtn.Tensor:
        """Tensors contracted over the indices in ``summed``; the others stay."""
        if len(tensors) == 1 and not summed & set(tensors[0].inds):
            return tensors[0]
        output = tuple(dict.fromkeys(ix for x in tensors for ix in x.inds if ix not in summed))
        number: dict[str, int] = {}
        wiring = tuple(
            tuple(number.setdefault(joins.get(ix, ix), len(number)) for ix in x.inds) for x in tensors
        )
        key = (tuple(id(x.data) for x in tensors), wiring, tuple(number[ix] for ix in output))
        if key not in self._made:
            value = Contraction(tuple(tensors), output, joins).value()
            self._made[key] = (value, tuple(tensors))  # kept, so that the ids of their data stay theirs
        return qtn.Tensor(self._made[key][0], output, tags="BRIDGE")


def _added(summands: Sequence[tuple[float, Sequence[qtn.Tensor]]]) -> qtn.Tensor:
    """Σ_c w_c ∏ bridges: elementwise products of matrices (and vectors) on the same indices, added up."""
    inds = max((b.inds for b in summands[0][1]), key=len)
    products = (Contraction(tuple(bridges), inds, weight=weight).value() for weight, bridges in summands)
    return qtn.Tensor(reduce(operator.add, products), inds, tags="BRIDGE")


def _holder(t: Term, k: int) -> int | None:
    """The one tensor that carries all of leg k and nothing of other legs, if there is one and it is not a wire."""
    leg = t.legs[k]
    owners = {n for ix in leg for n, x in enumerate(t.tensors) if ix in x.inds}
    if len(owners) != 1 or any(ix in t.out for ix in leg):
        return None
    (owner,) = owners
    others = {ix for j, other in enumerate(t.legs) if j != k for ix in other}
    return None if others & set(t.tensors[owner].inds) else owner
