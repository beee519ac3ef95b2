"""Graded: the exact law of hidden states that are polynomials of the input, order by order."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import factorial
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.polys.packed import fold
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term
from tnsim.common.wires import SIDES, Leg, identify, index, model_index
from tnsim.engine.contract import Contraction
from tnsim.measure.chaos.diagram import Diagram, diagrams
from tnsim.measure.chaos.states import Group, Parts, States, input_parts, quadratic_factors
from tnsim.measure.pairings.bridges import Bridges
from tnsim.measure.pairings.expectation import placed
from tnsim.measure.pairings.measure import Bridge, Closure, Measure, Whole

__all__ = ["Graded"]

Array = Any


@dataclass(frozen=True, eq=False)
class Graded(Measure):
    """The law of y = f(x), exactly, where f is a polynomial and x follows a Gaussian law (or is closed as by Symmetric).

    y = Σ_k y_k, and y_k is given by a symmetric tensor A_k of order k. Under a Gaussian law y_k is the part of y in
    the k-th Wiener chaos, y_k = :A_k(x, …, x): (a Hermite polynomial of order k), so

        E[y_j ⊗ y′_k] = 0 for j ≠ k,     E[y_k ⊗ y′_k] = k! ⟨A_k, Σ^⊗k A′_k⟩.

    A product of several parts is closed by joining their legs, never two of the same part. Under ``Symmetric`` y_k is
    the part of degree k and legs are joined between the models only.

    However many terms a layer has (residual, bias), a hidden state has one part for every order.

    Attributes:
        states: the hidden states, and the law of the input without a mean.
        coefficients: the orders of a product that are closed from the coefficients of the two models' outputs;
            the others are closed leg by leg.
        factored: for either factor of a product, whether parts of order 2 are taken as products of their factors,
            where these are known: cheaper where a first layer has fewer hidden units than inputs.
        orders: the orders of a product that count, if not all.

    References:
        Wiener (1938); Itô (1951); Janson, Gaussian Hilbert Spaces (1997), ch. 3.
    """

    states: States
    coefficients: frozenset[int] = frozenset()
    factored: tuple[bool, bool] = (False, False)
    orders: frozenset[int] | None = None

    @classmethod
    def at_input(cls, base: Measure, layers: Sequence[Poly]) -> "Graded":
        """The input itself, for models that begin with these layers: a part of order 1."""
        return cls(States(base, tuple(map(input_parts, layers))))

    @property
    def splits(self) -> bool:
        """As the law of the input."""
        return self.states.base.splits

    @property
    def _within(self) -> bool:
        return bool(self.states.base.within)

    def run_of(self, side: int) -> int | None:
        """Models stacked on one side."""
        return self.states.run_of(side)

    # ------------------------------------------------------------------ closing legs

    def closures(
        self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False
    ) -> Iterator[Closure]:
        """Diagrams of parts, one for every leg, of the orders that are not closed from coefficients."""
        places = [(f, k) for f, t in enumerate(factors) for k in range(t.degree)]
        ends = [_End(sides[f], factors[f].legs[k], self.factored[f]) for f, k in places]
        for diagram in self._diagrams(factors, sides, exchange):
            weight = float(diagram.weight)
            if not self._within:
                weight /= factorial(diagram.crossings)
            nodes, bonds = self._joined(diagram, ends)
            bridges = [Bridge((place,), (), (x,)) for place, x in zip(places, nodes, strict=True)]
            yield Closure(weight, (*bridges, *(Bridge((), (), (x,)) for x in bonds)), diagram.crossings)

    def count(self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False) -> int:
        """How many diagrams there are."""
        return len(self._diagrams(factors, sides, exchange))

    def _diagrams(self, factors: Sequence[Term], sides: Sequence[int], exchange: bool) -> tuple[Diagram, ...]:
        if len(factors) == 1 and not self._within:
            return ()
        parts = tuple(
            tuple(sorted(self.states.parts[side].orders)) for side, _ in zip(sides, factors, strict=False)
        )
        most = min(t.degree * max(p) for t, p in zip(factors, parts, strict=True)) if len(factors) > 1 else 0
        wanted = self._counting(frozenset(range(most + 1)) - self.coefficients)
        trees = tuple(t.tree if t.degree else None for t in factors)
        return diagrams(trees, parts, self._within, wanted, exchange=exchange)

    def whole(self, factors: Sequence[Poly], sides: Sequence[int], outs: Sequence[Leg]) -> Iterator[Whole]:
        """Inner products of coefficients, order by order."""
        if len(factors) == 1 and not self._within:
            return
        orders = self._counting(self.coefficients)
        outputs = []
        for f, side in zip(factors, sides, strict=False):
            parts = list(self.states.parts)
            parts[side] = self.behind(side, f, orders)
            outputs.append(States(self.states.base, tuple(parts)))
        shared = orders.intersection(*(s.parts[side].orders for s, side in zip(outputs, sides, strict=False)))
        for k in sorted(shared if len(factors) > 1 else shared & {0}):
            bonds = (index("order", "d"),) if k else ()
            ends = [sides[1], None] if len(factors) > 1 else [None]
            tensors = tuple(
                s.node(side, k, ((k, end),) if k else (), (*out, *bonds))
                for s, side, end, out in zip(outputs, sides, ends, outs, strict=False)
            )
            yield Whole(k, float(factorial(k)) if self._within else 1.0, tensors)

    def _counting(self, orders: frozenset[int]) -> frozenset[int]:
        return orders if self.orders is None else orders & self.orders

    # ------------------------------------------------------------------ through a layer

    def pushed(self, layers: Sequence[Poly]) -> "Graded":
        """The law behind one more layer of every model. Exact."""
        parts = tuple(self.behind(side, f) for side, f in enumerate(layers))
        return replace(self, states=States(self.states.base, parts))

    def behind(self, side: int, f: Poly, orders: Collection[int] | None = None) -> Parts:
        """The state of one model behind a layer; only parts of the given orders, if given."""
        most = f.degree * max(self.states.parts[side].orders)
        wanted = frozenset(range(most + 1) if orders is None else orders)
        made = self.states.kept((id(f), side, wanted), lambda: (self._behind(side, f, wanted), f))
        parts: Parts = made[0]  # kept with f, so that its id stays its own
        return parts

    def _behind(self, side: int, f: Poly, wanted: frozenset[int]) -> Parts:
        p = self.states.parts[side]
        models = f.models or self.run_of(side)
        run = model_index(SIDES[side])
        bridges = Bridges()
        sums: dict[tuple[int, ...], Array] = {}
        available = tuple(sorted(p.orders))
        for t in (placed(t, SIDES[side], run, models) for t in f.terms):
            trees = (t.tree if t.degree else None,)
            groups: dict[tuple[int, ...], list[Closure]] = {}
            ends = [_End(side, leg, False) for leg in t.legs]
            for d in diagrams(trees, (available,), self._within, wanted, leave=True):
                nodes, _ = self._joined(d, ends)
                bridges_of = tuple(Bridge(((0, k),), (), (x,)) for k, x in enumerate(nodes))
                closure = Closure(float(d.weight), bridges_of)
                groups.setdefault(tuple(m for m in d.alone if m), []).append(closure)
            for group, closures in groups.items():
                output = (*((run,) if models else ()), *t.out, *(_open(i) for i in range(len(group))))
                for weight, tensors, joins in bridges.closed([t], closures):
                    value = Contraction(tensors, output, identify(joins), weight * t.coefficient).value()
                    sums[group] = value if group not in sums else sums[group] + value
        found: dict[int, Array] = {}
        for group, value in sums.items():
            packed = _packed(value, p.d, group)
            k = sum(group)
            found[k] = packed if k not in found else found[k] + packed
        factors = quadratic_factors(f) if p.given and 2 in found and bool(f.models) == bool(models) else None
        return Parts(f.out_shape, p.d, bool(models), found, factors)

    def _joined(self, diagram: Diagram, ends: Sequence["_End"]) -> tuple[list[qtn.Tensor], list[qtn.Tensor]]:
        """A tensor for every part of a diagram, on the leg that reads it, its bonds, and what is left open; and what
        lies on the bonds, where that is not in the parts already."""
        groups: list[list[Group]] = [[] for _ in ends]
        carry = self.states.base.cov_of(0, 0) is not None
        inds: list[list[str]] = [[] for _ in ends]
        split = [
            end.factored and order == 2 and self.states.parts[end.side].factors is not None
            for end, order in zip(ends, diagram.orders, strict=True)
        ]
        between = []
        for a, b, m in diagram.bonds:
            if not (split[a] or split[b]):
                name = index(f"bond{a}_{b}x{m}", "d")  # with its size, so that equal names fit
                groups[a].append((m, ends[b].side if carry else None))
                groups[b].append((m, None))
                inds[a].append(name)
                inds[b].append(name)
                continue
            for j in range(m):
                names = []
                for i in (a, b):
                    names.append(index(f"rank{i}", "h") if split[i] else index(f"end{i}_{a}_{b}_{j}", "d"))
                    if not split[i]:
                        groups[i].append((1, None))
                        inds[i].append(names[-1])
                kinds = ((ends[a].side, split[a]), (ends[b].side, split[b]))
                between.append(self.states.bond(kinds, (names[0], names[1])))
        nodes, opened = [], 0
        for i, (order, end, alone) in enumerate(zip(diagram.orders, ends, diagram.alone, strict=True)):
            if split[i]:
                nodes.append(self.states.down(end.side, (*end.leg, index(f"rank{i}", "h"))))
                continue
            if alone:
                groups[i].append((alone, None))
                inds[i].append(_open(opened))
                opened += 1
            nodes.append(
                self.states.node(end.side, order, tuple(groups[i]), (*end.leg, *inds[i]), bool(alone))
            )
        return nodes, between


@dataclass(frozen=True)
class _End:
    """A leg that reads a part: of which model, its indices, and whether in factors."""

    side: int
    leg: Leg
    factored: bool


def _open(i: int) -> str:
    return index(f"open{i}", "d")


def _packed(x: Array, d: int, groups: tuple[int, ...]) -> Array:
    """The symmetric part over all open legs, on one axis."""
    if not groups:
        return ar.do("reshape", x, (*ar.shape(x), 1))
    *rest, b = groups
    while rest:
        a = rest.pop()
        x, b = fold(x, d, a, b), a + b
    return x
