"""Hidden states as tensors: parts of different order, with their legs in groups, and what bonds between them carry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.polys.packed import merge, scale, unfold
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.polys.rewriting import star
from tnsim.common.wires import SIDES, index, model_index
from tnsim.engine.contract import Contraction
from tnsim.measure.pairings.measure import Measure

__all__ = ["Group", "Parts", "States", "input_parts", "quadratic_factors"]

Array = Any
Group = tuple[int, int | None]  # a number of legs, and the side whose input a covariance carries them to
Factors = tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class Parts:
    """A hidden state as a sum of parts of different order in the input.

    Attributes:
        shape: axes of the hidden state.
        d: size of the input.
        run: whether there is one for every model of a run.
        orders: for every order k an array of shape ``([m,] *shape, entries(d, k))``: symmetric tensors, packed.
        factors: the part of order 2 once more, where it is known as Σ_r down[:, r] up_r up_rᵀ: arrays of shape
            ``([m,] *shape, r)`` and ``([m,] r, d)``.
        given: whether it is the input itself.
    """

    shape: tuple[int, ...]
    d: int
    run: bool
    orders: Mapping[int, Array]
    factors: Factors | None = None
    given: bool = False


def input_parts(f: Poly) -> Parts:
    """What the first layer of a model reads: the input itself, a part of order 1."""
    d = prod(f.in_shape)
    eye = ar.astype(ar.do("eye", d, like=f.like), ar.get_dtype_name(f.like))
    return Parts(f.in_shape, d, False, {1: ar.do("reshape", eye, (*f.in_shape, d))}, given=True)


def quadratic_factors(f: Poly) -> Factors | None:
    """The part of degree 2 of a layer that reads the input, polarised: (l·x)(r·x) = ¼[((l+r)·x)² − ((l−r)·x)²]."""
    if f.degree != 2 or len(f.domain) != 1 or len(f.codomain) != 1:
        return None
    downs, ups = [], []
    for t in f.terms:
        if t.degree == 2:
            factors = star(t)
            if factors is None:
                return None
            down, left, right = factors
            downs += [down / 4, -down / 4]
            ups += [left + right, left - right]
    axes = {ar.ndim(x) for x in (*downs, *ups)}
    if len(axes) > 1 or (axes == {3} and f.models is None):
        return None
    return ar.do("concatenate", downs, axis=-1), ar.do("concatenate", ups, axis=-2)


@dataclass(frozen=True, eq=False)
class States:
    """The hidden states of one or two models, and the law of their input. What is made of them is kept.

    Attributes:
        base: the law of the input, without a mean.
        parts: the hidden state of every model.
    """

    base: Measure
    parts: tuple[Parts, ...]
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)

    def fresh(self) -> "States":
        """The same, with nothing made of them yet."""
        return States(self.base, self.parts)

    def run_of(self, side: int) -> int | None:
        """Models stacked on one side."""
        p = self.parts[side]
        return int(ar.shape(next(iter(p.orders.values())))[0]) if p.run else self.base.run_of(side)

    def kept(self, key: Any, make: Any) -> Any:
        """``make()``, made once."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def node(
        self, side: int, order: int, groups: tuple[Group, ...], inds: tuple[str, ...], opened: bool = False
    ) -> qtn.Tensor:
        """A part with its legs in groups.

        Groups are bonds, in a basis in which a bond is a plain sum; with ``opened`` the last is left as it is.
        """
        key = (side, order, groups, opened)
        return _tensor(inds, *self.kept(key, lambda: self._grouped(side, order, groups, opened)))

    def down(self, side: int, inds: tuple[str, ...]) -> qtn.Tensor:
        """The first factor of the part of order 2."""
        p = self.parts[side]
        assert p.factors is not None
        return _tensor(inds, p.factors[0], (side,) if p.run else ())

    def bond(self, ends: tuple[tuple[int, bool], tuple[int, bool]], inds: tuple[str, str]) -> qtn.Tensor:
        """What lies between two ends: the covariance of the inputs, between factors where an end has these.

        Args:
            ends: for either end its side, and whether it is one of the factors of the part of order 2.
            inds: the two indices.
        """
        return _tensor(inds, *self.kept(("bond", ends), lambda: self._bond(ends)))

    def _bond(self, ends: tuple[tuple[int, bool], tuple[int, bool]]) -> tuple[Array, tuple[int, ...]]:
        (a, first), (b, second) = ends
        cov = self._covariance(a, b)
        names = [index(f"end{i}", "d") for i in range(4)]
        tensors = []
        if first:
            tensors.append(self._up(a, names[:2]))
        if cov is not None:
            tensors.append(_tensor((names[1], names[2]), *cov))
        else:
            names[2] = names[1]
        if second:
            tensors.append(self._up(b, [names[3], names[2]]))
        out = (names[0] if first else names[1], names[3] if second else names[2])
        runs = tuple(r for r in (0, 1) if any(model_index(SIDES[r]) in x.inds for x in tensors))
        return Contraction(tuple(tensors), (*(model_index(SIDES[r]) for r in runs), *out)).value(), runs

    def _up(self, side: int, inds: list[str]) -> qtn.Tensor:
        p = self.parts[side]
        assert p.factors is not None
        return _tensor(tuple(inds), p.factors[1], (side,) if p.run else ())

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
        rows, columns = self.parts[min(a, b)].d, self.parts[max(a, b)].d

        def matrix() -> tuple[Array, tuple[int, ...]]:
            front = ar.shape(block.data)[: len(block.models)]
            count = ar.ndim(block.data) - len(front)
            full = prod(ar.shape(block.data)[len(front) :]) == rows * columns and not block.joined
            x = (
                block.data
                if full
                else block.dense((count + len(block.joined)) // 2 if block.joined else count)
            )
            x = ar.do("reshape", x, (*front, rows, columns))
            axes = (*range(len(front)), len(front) + 1, len(front))
            return (x if a <= b else ar.do("transpose", x, axes)), block.models

        found: tuple[Array, tuple[int, ...]] = self.kept(("cov", a, b), matrix)
        return found


def _tensor(inds: tuple[str, ...], data: Array, runs: tuple[int, ...]) -> qtn.Tensor:
    return qtn.Tensor(data, (*(model_index(SIDES[r]) for r in runs), *inds), tags="PART")


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
