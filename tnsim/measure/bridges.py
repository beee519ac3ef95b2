"""Bridges between legs, contracted once and shared by all closures of a product."""

from collections.abc import Sequence
from typing import Any

import quimb.tensor as qtn

from tnsim.algebra.contract import Contraction
from tnsim.algebra.term import Term
from tnsim.algebra.wires import identify, space
from tnsim.measure.measure import Bridge, Closure

__all__ = ["Bridges"]

Place = tuple[int, int]


class Bridges:
    """The matrices W Σ W′ᵀ of pairs of legs (vectors W μ of single ones), kept while a product is computed.

    The same few bridges occur in every closure, so what they cost is paid once, and what remains of a closure is
    a small network of bridges and inner tensors.
    """

    def __init__(self) -> None:
        self._made: dict[Any, tuple[Any, Any]] = {}

    def closed(
        self, factors: Sequence[Term], closure: Closure
    ) -> tuple[tuple[qtn.Tensor, ...], list[tuple[str, str]]]:
        """The tensors of a closed product, and which of their indices are still to be joined."""
        holders = {(f, k): _holder(t, k) for f, t in enumerate(factors) for k in range(t.degree)}
        tensors: list[qtn.Tensor] = []
        joins: list[tuple[str, str]] = []
        absorbed: set[Place] = set()
        for bridge in closure.bridges:
            held = [holders[place] for place in bridge.legs]
            if bridge.legs and all(number is not None for number in held):
                parts = [
                    factors[f].tensors[n]
                    for (f, _), n in zip(bridge.legs, held, strict=True)
                    if n is not None
                ]
                tensors.append(self._bridge(bridge, parts))
                absorbed |= {(f, n) for (f, _), n in zip(bridge.legs, held, strict=True) if n is not None}
            else:
                tensors += bridge.tensors
                joins += bridge.joins
        tensors += [
            x for f, t in enumerate(factors) for n, x in enumerate(t.tensors) if (f, n) not in absorbed
        ]
        return tuple(tensors), joins

    def _bridge(self, bridge: Bridge, parts: Sequence[qtn.Tensor]) -> qtn.Tensor:
        """Weights and covariance contracted over the legs."""
        merged = identify(bridge.joins)
        everything = (*parts, *bridge.tensors)
        legs = {ix for pair in bridge.joins for ix in pair}
        inner = legs | {
            ix
            for x in bridge.tensors
            for ix in x.inds
            if any(ix in p.inds for p in parts) and space(ix) != "m"
        }
        output = tuple(dict.fromkeys(ix for x in everything for ix in x.inds if ix not in inner))
        number: dict[str, int] = {}
        wiring = tuple(
            tuple(number.setdefault(merged.get(ix, ix), len(number)) for ix in x.inds) for x in everything
        )
        key = (tuple(id(x.data) for x in everything), wiring, tuple(number[ix] for ix in output))
        if key not in self._made:
            value = Contraction(everything, output, merged).value()
            self._made[key] = (value, everything)  # the tensors are kept so that their ids stay theirs
        return qtn.Tensor(self._made[key][0], output, tags="BRIDGE")


def _holder(t: Term, k: int) -> int | None:
    """The one tensor that carries all of leg k and nothing of other legs, if there is one and it is not a wire."""
    leg = t.legs[k]
    owners = {n for ix in leg for n, x in enumerate(t.tensors) if ix in x.inds}
    if len(owners) != 1 or any(ix in t.out for ix in leg):
        return None
    (owner,) = owners
    others = {ix for j, other in enumerate(t.legs) if j != k for ix in other}
    return None if others & set(t.tensors[owner].inds) else owner
