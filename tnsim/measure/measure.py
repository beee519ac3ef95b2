"""Measure: a law of the input, given as a rule for closing input legs."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.poly import Axes, Poly
from tnsim.algebra.term import Term
from tnsim.algebra.wires import SIDES, Leg, model_index

__all__ = [
    "Block",
    "Bridge",
    "Closure",
    "Keep",
    "Kept",
    "Measure",
    "MeasureError",
    "Whole",
    "as_like",
    "each_axis",
    "kept_shape",
    "read_outputs",
    "unchecked",
]

Array = Any
Kept = Literal["all", "diagonal", "sum"]
Keep = Kept | tuple[Kept, ...]  # the same for all output axes, or one for each


def each_axis(keep: Keep, axes: int) -> tuple[Kept, ...]:
    """What is kept of every output axis."""
    return keep if isinstance(keep, tuple) else (keep,) * axes


class MeasureError(ValueError):
    """A measure does not fit the model, or cannot do what was asked."""


def read_outputs(outs: Sequence[Leg], keep: Keep) -> tuple[list[tuple[str, str]], Leg]:
    """Which output indices of two factors are joined, and which of them stay."""
    if keep == "all":
        return [], tuple(ix for out in outs for ix in out)
    kept = each_axis(keep, len(outs[0]))
    joined = [
        (first, second)
        for out in outs[1:]
        for first, second, k in zip(outs[0], out, each_axis(keep, len(out)), strict=True)
        if k != "all"
    ]
    stay = tuple(ix for ix, k in zip(outs[0], kept, strict=True) if k != "sum")
    for out in outs[1:]:
        stay += tuple(ix for ix, k in zip(out, each_axis(keep, len(out)), strict=True) if k == "all")
    return joined, stay


def kept_shape(outs: Sequence[Sequence[int]], keep: Keep) -> tuple[int, ...]:
    """The shape of what is kept of outputs of some shapes."""
    shape = tuple(n for n, k in zip(outs[0], each_axis(keep, len(outs[0])), strict=True) if k != "sum")
    for out in outs[1:]:
        shape += tuple(n for n, k in zip(out, each_axis(keep, len(out)), strict=True) if k == "all")
    return shape


@dataclass(frozen=True)
class Bridge:
    """What one or several legs hang on.

    Attributes:
        legs: the legs it closes, as ``(factor, leg number)``.
        joins: pairs of indices that become one (a bridge by the identity costs nothing).
        tensors: tensors to attach.
        symmetric: whether exchanging the two legs it joins changes nothing (the law treats them alike).
    """

    legs: tuple[tuple[int, int], ...]
    joins: tuple[tuple[str, str], ...] = ()
    tensors: tuple[qtn.Tensor, ...] = ()
    symmetric: bool = False


@dataclass(frozen=True)
class Closure:
    """One way of closing all input legs, standing for all ways of equal value.

    Attributes:
        weight: its factor in the sum.
        bridges: together they close every leg once.
        order: how many pairs run between the factors, where a bridge is not one pair.
    """

    weight: float = 1.0
    bridges: tuple[Bridge, ...] = ()
    order: int | None = None

    @property
    def crossings(self) -> int:
        """How many pairs run between different factors."""
        if self.order is not None:
            return self.order
        return sum(len({factor for factor, _ in bridge.legs}) > 1 for bridge in self.bridges)


@dataclass(frozen=True, eq=False)
class Block:
    """An array of a law: one axis for the run index of every side in ``models``, then the axes of its legs.

    A covariance of two legs may be diagonal along some axes: positions that are independent, or of which only equal
    ones are ever asked for. Such an axis is there once, with those of the first leg.

    Attributes:
        data: the array.
        models: sides (0 ket, 1 bra) whose run index comes first, in order.
        joined: axes of a leg along which a covariance is diagonal.
    """

    data: Array
    models: tuple[int, ...] = ()
    joined: tuple[int, ...] = ()

    def tensor(self, legs: Sequence[str], tag: str) -> qtn.Tensor:
        """The block as a tensor on the given leg indices."""
        return qtn.Tensor(self.data, (*(model_index(SIDES[s]) for s in self.models), *legs), tags=tag)

    def shared(self, axes: int) -> tuple[int, ...]:
        """Axes along which a covariance is diagonal, where legs have so many: all, if it has no more axes than a leg."""
        return tuple(range(axes)) if ar.ndim(self.data) - len(self.models) == axes else self.joined

    def places(self, axes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Where the axes of the first and of the second leg are found, besides run axes."""
        front, shared = len(self.models), self.shared(axes)
        second, at = [], front + axes
        for k in range(axes):
            second.append(front + k if k in shared else at)
            at += k not in shared
        return tuple(range(front, front + axes)), tuple(second)

    def diagonal(self, axes: int) -> Array:
        """The variances: run axes, then those of a leg."""
        first, second = self.places(axes)
        inds = list(range(ar.ndim(self.data)))
        for a, b in zip(first, second, strict=True):
            inds[b] = a
        names = "abcdefghijklmnop"
        equation = "".join(names[i] for i in inds) + "->" + names[: len(self.models) + axes]
        return ar.do("einsum", equation, self.data)

    def dense(self, axes: int) -> Array:
        """The covariance with all axes of both legs."""
        data, shared = self.data, self.shared(axes)
        for k in sorted(shared):
            n = ar.shape(data)[len(self.models) + k]
            at = len(self.models) + axes + k
            data = ar.do("reshape", data, (*ar.shape(data)[:at], 1, *ar.shape(data)[at:]))
            eye = [1] * ar.ndim(data)
            eye[len(self.models) + k] = eye[at] = n
            data = data * ar.do("reshape", ar.do("eye", n, like=data), tuple(eye))
        return data

    def symmetrised(self, axes: int) -> "Block":
        """A covariance of a side with itself is symmetric; rounding must not say otherwise.

        Args:
            axes: how many axes one leg has.
        """
        return replace(self, data=(self.data + self.turned(axes).data) / 2)

    def turned(self, axes: int) -> "Block":
        """A covariance with the axes of the second leg first."""
        order = list(range(ar.ndim(self.data)))
        for a, b in zip(*self.places(axes), strict=True):
            order[a], order[b] = b, a
        return replace(self, data=ar.do("transpose", self.data, tuple(order)))


@dataclass(frozen=True, eq=False)
class Whole:
    """One order of a product of polynomials, closed as a whole.

    Attributes:
        order: how many pairs run between the factors.
        weight: a factor.
        tensors: what to contract.
    """

    order: int
    weight: float
    tensors: tuple[qtn.Tensor, ...]


class Measure(ABC):
    """What the input legs hang on: E[f ⊗ g] = Σ_c w_c · contract(f ∪ g ∪ c).

    To add a law, say how legs are closed (:meth:`closures`). If the law of a layer's *output* is known as
    well, exactly or by approximation, say so in :meth:`push` and :meth:`carries`.
    """

    as_functions: ClassVar[bool] = True
    """Whether values depend on functions only, not on how they are written down."""

    within: ClassVar[bool | None] = None
    """Whether legs of one model are closed in pairs as well; ``None`` where legs are not closed in such pairs."""

    @abstractmethod
    def closures(
        self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False
    ) -> Iterator[Closure]:
        """All ways of closing the legs of a product of terms.

        Args:
            factors: one or two terms.
            sides: for every factor the model whose law its input follows, 0 or 1. In the product of a model
                with itself both factors follow the same.
            exchange: the two factors are the same term and only a value symmetric in them is wanted, so
                closures that differ by exchanging the factors may stand for each other.
        """

    @abstractmethod
    def count(self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False) -> int:
        """How many closures there are, without listing them where that is long."""

    def whole(self, factors: Sequence[Poly], sides: Sequence[int], outs: Sequence[Leg]) -> Iterator[Whole]:
        """Parts of a product that are closed without looking at single terms, beside those of :meth:`closures`.

        Args:
            factors: one or two polynomials.
            sides: as for :meth:`closures`.
            outs: names for the output indices of every factor.
        """
        return iter(())

    @property
    def splits(self) -> bool:
        """Whether the closures that connect two factors add up to the covariance of these."""
        return bool(self.within)

    def at_once(
        self, factors: Sequence[Poly], keep: Keep, sides: Sequence[int], connected: bool
    ) -> Array | None:
        """The sum over all closures, where there is a shorter way to it than to list them; else ``None``.

        Args:
            factors: one or two polynomials.
            keep: outputs to keep, as in :func:`tnsim.measure.expect.expect`.
            sides: for every factor the model whose law its input follows.
            connected: leave out closures in which no bridge runs between the two factors.
        """
        return None

    def run_of(self, side: int) -> int | None:
        """How many models of a run the law tells apart on one side; ``None`` if it is the same for all."""
        return None

    def cov_of(self, a: int, b: int) -> Block | None:
        """The covariance between two models' inputs that pairs of legs carry; ``None`` is the identity."""
        return None

    def bound(self, domain: Axes, like: Array) -> "Measure":
        """The same law with its arrays made like ``like``.

        Raises:
            MeasureError: if the law lives on another space than ``domain``.
        """
        return self

    def centred(self, layers: Sequence[Poly]) -> "tuple[tuple[Poly, ...], Measure]":
        """Move the mean of the law into the layers, where there is one."""
        return tuple(layers), self

    def eased(self, layers: Sequence[Poly]) -> "tuple[tuple[Poly, ...], Measure]":
        """The mean of the law where it costs least, in the law or in the layers."""
        return self.centred(layers)

    def carries(self, layers: Sequence[Poly]) -> bool:
        """Whether :meth:`push` through these layers is exact, and worth it."""
        return False

    def push(
        self, layers: Sequence[Poly], known: "Sequence[Measure | None]" = (), apart: Sequence[int] = ()
    ) -> "Measure":
        """The law of the outputs of ``layers``, one layer for every model.

        Args:
            layers: one for every model.
            known: for every model the law of its outputs alone, where that was pushed before.
            apart: axes of the outputs along which only equal places will be asked for; a law may leave out the
                covariance of different ones.

        Raises:
            MeasureError: if the law has no such rule.
        """
        raise MeasureError(
            f'{type(self).__name__} cannot be pushed through a layer, so method="layerwise" is not defined for it. '
            'Use method="exact", or Gaussian().'
        )

    def normalised(self) -> "tuple[Measure, tuple[Array, ...]]":
        """The law in units of its own size, and these units: exponents e of x = 2ᵉ z, one for every model.

        Where a law has no size that matters, there are no units.
        """
        return self, ()


def as_like(x: Array, like: Array) -> Array:
    """``x`` as an array of the backend, dtype and device of ``like``; gradients survive."""
    backend = ar.infer_backend(like)
    if ar.infer_backend(x) != backend:
        x = ar.do("asarray", x, like=backend)
    x = ar.astype(x, ar.get_dtype_name(like))
    device = getattr(like, "device", None)
    return x if device is None or getattr(x, "device", None) == device else ar.to_device(x, device)


def unchecked(kind: type, **fields: Any) -> Any:
    """A law (or anything that checks what it is made of) from parts that were checked before."""
    law: Any = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(law, name, value)
    return law
