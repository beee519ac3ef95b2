"""Graded: the exact law of hidden states that are polynomials of the input, order by order."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import factorial, prod
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.contract import Contraction
from tnsim.algebra.packed import fold, merge, scale, unfold
from tnsim.algebra.poly import Poly
from tnsim.algebra.term import Term
from tnsim.algebra.wires import SIDES, Leg, identify, index, model_index
from tnsim.measure.bridges import Bridges
from tnsim.measure.diagrams import Diagram, diagrams
from tnsim.measure.expect import placed
from tnsim.measure.measure import Bridge, Closure, Measure, Whole

__all__ = ["Graded", "Parts"]

Array = Any
Group = tuple[
    int, int | None
]  # a number of legs, and the side whose input they are carried to by the covariance


@dataclass(frozen=True, eq=False)
class Parts:
    """A hidden state as a sum of parts of different order in the input.

    Attributes:
        shape: axes of the hidden state.
        d: size of the input.
        run: whether there is one for every model of a run.
        orders: for every order k an array of shape ``([m,] *shape, entries(d, k))``: symmetric tensors, packed.
    """

    shape: tuple[int, ...]
    d: int
    run: bool
    orders: Mapping[int, Array]


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
        base: the law of the input, without a mean.
        parts: the hidden state of every model.
        coefficients: the orders of a product that are closed from the coefficients of the two models' outputs;
            the others are closed leg by leg.
        orders: the orders of a product that count, if not all.

    References:
        Wiener (1938); Itô (1951); Janson, Gaussian Hilbert Spaces (1997), ch. 3.
    """

    base: Measure
    parts: tuple[Parts, ...]
    coefficients: frozenset[int] = frozenset()
    orders: frozenset[int] | None = None
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def at_input(cls, base: Measure, layers: Sequence[Poly]) -> "Graded":
        """The input itself, for models that begin with these layers: a part of order 1."""
        parts = []
        for f in layers:
            d = prod(f.in_shape)
            eye = ar.do("reshape", ar.do("eye", d, like=f.like), (*f.in_shape, d))
            parts.append(Parts(f.in_shape, d, False, {1: ar.astype(eye, ar.get_dtype_name(f.like))}))
        return cls(base, tuple(parts))

    @property
    def splits(self) -> bool:
        """As the law of the input."""
        return self.base.splits

    def run_of(self, side: int) -> int | None:
        """Models stacked on one side."""
        p = self.parts[side]
        return int(ar.shape(next(iter(p.orders.values())))[0]) if p.run else self.base.run_of(side)

    # ------------------------------------------------------------------ closing legs

    def closures(
        self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False
    ) -> Iterator[Closure]:
        """Diagrams of parts, one for every leg, of the orders that are not closed from coefficients."""
        places = [(f, k) for f, t in enumerate(factors) for k in range(t.degree)]
        for diagram in self._diagrams(factors, sides, exchange):
            weight = float(diagram.weight)
            if not self.base.within:
                weight /= factorial(diagram.crossings)
            nodes = self._nodes(
                diagram, [sides[f] for f, _ in places], [factors[f].legs[k] for f, k in places]
            )
            bridges = (Bridge((place,), (), (x,)) for place, x in zip(places, nodes, strict=True))
            yield Closure(weight, tuple(bridges), diagram.crossings)

    def count(self, factors: Sequence[Term], exchange: bool = False) -> int:
        """How many diagrams there are."""
        return len(self._diagrams(factors, (0, len(self.parts) - 1), exchange))

    def _diagrams(self, factors: Sequence[Term], sides: Sequence[int], exchange: bool) -> tuple[Diagram, ...]:
        if len(factors) == 1 and not self.base.within:
            return ()
        parts = tuple(tuple(sorted(self.parts[side].orders)) for side, _ in zip(sides, factors, strict=False))
        most = min(t.degree * max(p) for t, p in zip(factors, parts, strict=True)) if len(factors) > 1 else 0
        wanted = self._counting(frozenset(range(most + 1)) - self.coefficients)
        trees = tuple(t.tree if t.degree else None for t in factors)
        return diagrams(trees, parts, bool(self.base.within), wanted, exchange=exchange)

    def whole(self, factors: Sequence[Poly], sides: Sequence[int], outs: Sequence[Leg]) -> Iterator[Whole]:
        """Inner products of coefficients, order by order."""
        if len(factors) == 1 and not self.base.within:
            return
        orders, laws = self._counting(self.coefficients), []
        for f, side in zip(factors, sides, strict=False):
            parts = list(self.parts)
            parts[side] = self.behind(side, f, orders)
            laws.append(replace(self, parts=tuple(parts), _made={}))
        shared = frozenset.intersection(
            *(frozenset(law.parts[side].orders) for law, side in zip(laws, sides, strict=False))
        )
        for k in sorted(shared & orders if len(factors) > 1 else shared & orders & {0}):
            bonds = (index("order", "d"),) if k else ()
            ends = [sides[1], None] if len(factors) > 1 else [None]
            tensors = tuple(
                law.node(side, k, ((k, end),) if k else (), (*out, *bonds))
                for law, side, end, out in zip(laws, sides, ends, outs, strict=False)
            )
            yield Whole(k, float(factorial(k)) if self.base.within else 1.0, tensors)

    def _counting(self, orders: frozenset[int]) -> frozenset[int]:
        return orders if self.orders is None else orders & self.orders

    # ------------------------------------------------------------------ through a layer

    def pushed(self, layers: Sequence[Poly]) -> "Graded":
        """The law behind one more layer of every model. Exact."""
        return replace(self, parts=tuple(self.behind(side, f) for side, f in enumerate(layers)), _made={})

    def behind(self, side: int, f: Poly, orders: Collection[int] | None = None) -> Parts:
        """The state of one model behind a layer; only parts of the given orders, if given."""
        p = self.parts[side]
        most = f.degree * max(p.orders)
        wanted = frozenset(range(most + 1) if orders is None else orders)
        key = (id(f), side, wanted)
        if key not in self._made:
            self._made[key] = (self._behind(side, f, wanted), f)  # kept, so that its id stays its own
        parts: Parts = self._made[key][0]
        return parts

    def _behind(self, side: int, f: Poly, wanted: frozenset[int]) -> Parts:
        p = self.parts[side]
        models = f.models or self.run_of(side)
        run = model_index(SIDES[side])
        bridges = Bridges()
        sums: dict[tuple[int, ...], Array] = {}
        available = tuple(sorted(p.orders))
        for t in (placed(t, SIDES[side], run, models) for t in f.terms):
            trees = (t.tree if t.degree else None,)
            groups: dict[tuple[int, ...], list[Closure]] = {}
            for d in diagrams(trees, (available,), bool(self.base.within), wanted, leave=True):
                nodes = self._nodes(d, [side] * t.degree, t.legs)
                closure = Closure(
                    float(d.weight), tuple(Bridge(((0, k),), (), (x,)) for k, x in enumerate(nodes))
                )
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
        return Parts(f.out_shape, p.d, bool(models), found)

    # ------------------------------------------------------------------ parts as tensors

    def _nodes(self, diagram: Diagram, sides: Sequence[int], legs: Sequence[Leg]) -> Iterator[qtn.Tensor]:
        """A tensor for every part of a diagram: on the leg that reads it, its bonds, and what is left open."""
        opened = 0
        for i, (order, side, leg) in enumerate(zip(diagram.orders, sides, legs, strict=True)):
            groups: list[Group] = []
            bonds = []
            for a, b, m in diagram.bonds:
                if i in (a, b):
                    groups.append((m, sides[b] if i == a else None))
                    bonds.append(index(f"bond{a}_{b}x{m}", "d"))  # with its size, so that equal names fit
            if diagram.alone[i]:
                groups.append((diagram.alone[i], None))
                bonds.append(_open(opened))
                opened += 1
            yield self.node(side, order, tuple(groups), (*leg, *bonds), bool(diagram.alone[i]))

    def node(
        self,
        side: int,
        order: int,
        groups: tuple[Group, ...],
        inds: tuple[str, ...],
        opened: bool = False,
    ) -> qtn.Tensor:
        """A part of a hidden state with its legs in groups.

        Groups are bonds, in a basis in which a bond is a plain sum; with ``opened`` the last is left as it is.
        """
        key = (side, order, groups, opened)
        if key not in self._made:
            self._made[key] = self._grouped(side, order, groups, opened)
        data, runs = self._made[key]
        return qtn.Tensor(data, (*(model_index(SIDES[r]) for r in runs), *inds), tags="PART")

    def _grouped(
        self, side: int, order: int, groups: tuple[Group, ...], opened: bool
    ) -> tuple[Array, tuple[int, ...]]:
        p = self.parts[side]
        x = p.orders[order]
        runs: tuple[int, ...] = (side,) if p.run else ()
        if not groups:
            return ar.do("reshape", x, ar.shape(x)[:-1]), runs
        x = unfold(x, p.d, [m for m, _ in groups])
        dims: list[tuple[int, int] | None] = []
        for axis, (m, other) in enumerate(groups):
            cov = None if other is None else self._covariance(side, other)
            dims.append((p.d if cov is None or other is None else self.parts[other].d, m))
            if cov is not None:
                x, runs = _carried(x, runs, axis - len(groups), m, *cov)
        return scale(x, [*dims[:-1], None] if opened else dims), runs

    def _covariance(self, a: int, b: int) -> tuple[Array, tuple[int, ...]] | None:
        """Of the inputs of two models, as a matrix, with the runs it has; ``None`` is the identity."""
        block = self.base.cov_of(min(a, b), max(a, b))
        if block is None:
            return None
        key = ("cov", a, b)
        if key not in self._made:
            front = ar.shape(block.data)[: len(block.models)]
            rows, columns = self.parts[min(a, b)].d, self.parts[max(a, b)].d
            if prod(ar.shape(block.data)[len(front) :]) == rows * columns:
                x = ar.do("reshape", block.data, (*front, rows, columns))
            else:
                x = ar.do("reshape", block.data, (*front, rows, 1)) * ar.do("eye", rows, like=block.data)
            axes = (*range(len(front)), len(front) + 1, len(front))
            self._made[key] = (x if a <= b else ar.do("transpose", x, axes), block.models)
        found: tuple[Array, tuple[int, ...]] = self._made[key]
        return found


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


def _carried(
    x: Array, runs: tuple[int, ...], axis: int, m: int, cov: Array, models: tuple[int, ...]
) -> tuple[Array, tuple[int, ...]]:
    """All m indices of a packed axis through a matrix, one after the other."""
    d, e = ar.shape(cov)[-2:]
    after = -axis - 1
    both = tuple(sorted({*runs, *models}))
    front = {r: index(f"run{r}", "m") for r in both}
    shape = ar.shape(x)
    at = len(shape) + axis
    x = ar.do("reshape", x, (*shape[:at], 1, shape[at], *shape[at + 1 :]))
    tail = [index(f"after{i}", "d") for i in range(after)]
    for j in range(m):
        rest = m - 1 - j
        if rest:
            x = unfold(x, d, (1, rest), axis)
        else:
            x = ar.do(
                "reshape", x, (*ar.shape(x)[: ar.ndim(x) - after], 1, *ar.shape(x)[ar.ndim(x) - after :])
            )
        lead = [index(f"before{i}", "d") for i in range(ar.ndim(x) - len(runs) - after - 3)]
        ends = [index(name, "d") for name in ("done", "old", "new", "rest")]
        inds = (*(front[r] for r in runs), *lead, ends[0], ends[1], ends[3], *tail)
        out = (*(front[r] for r in both), *lead, ends[0], ends[2], ends[3], *tail)
        matrix = qtn.Tensor(cov, (*(front[r] for r in models), ends[1], ends[2]))
        x = Contraction((qtn.Tensor(x, inds), matrix), out).value()
        x, runs = merge(x, e, j + 1, axis - 1), both
    shape = ar.shape(x)
    at = len(shape) + axis
    return ar.do("reshape", x, (*shape[:at], *shape[at + 1 :])), runs
