"""Measure: a law of the input, given as a rule for closing input legs."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import quimb.tensor as qtn

from tnsim.algebra.polys.poly import Axes, Poly
from tnsim.algebra.terms.term import Term
from tnsim.common.wires import Leg
from tnsim.engine.constants import as_like
from tnsim.measure.pairings.arrays import Block
from tnsim.measure.pairings.outputs import Keep

__all__ = ["Block", "Bridge", "Closure", "Keep", "Measure", "MeasureError", "Whole", "as_like", "unchecked"]

Array = Any


class MeasureError(ValueError):
    """A measure does not fit the model, or cannot do what was asked.

    Example:
        >>> import torch, tnsim
        >>> layer = tnsim.nn.BilinearLayer(4, 6, 3)
        >>> tnsim.inner(layer, under=tnsim.Gaussian(torch.zeros(5)))
        Traceback (most recent call last):
            ...
        tnsim.measure.pairings.measure.MeasureError: mean has shape (5,); the model's input is (4,).
    """


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

    Example:
        >>> import torch, tnsim
        >>> from tnsim.measure import Closure
        >>> class Zero(tnsim.Measure):  # x = 0 for certain: only constants survive
        ...     def closures(self, factors, sides, exchange=False):
        ...         if all(term.degree == 0 for term in factors):
        ...             yield Closure(1.0, ())
        ...     def count(self, factors, sides, exchange=False):
        ...         return int(all(term.degree == 0 for term in factors))
        >>> layer = tnsim.nn.BilinearLayer(4, 8, 3, bias=True).double()
        >>> at_zero = layer(torch.zeros(4, dtype=torch.float64))
        >>> torch.isclose(tnsim.inner(layer, under=Zero()), at_zero @ at_zero).item()
        True
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
            keep: outputs to keep, as in :func:`tnsim.measure.pairings.expectation.expect`.
            sides: for every factor the model whose law its input follows.
            connected: leave out closures in which no bridge runs between the two factors.
        """
        return None

    def several(
        self, factors: Sequence[Poly], asked: Sequence[tuple[int, int]], keep: Keep
    ) -> list[Array] | None:
        """E[fᵢ ⊗ fⱼ] for several pairs of factors, one for every side, where it is shorter to do them at once."""
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

    def exponents(self) -> tuple[Array, ...]:
        """The size of what every model reads as a power of two, a whole number; none where there is no size to change."""
        return ()

    def scaled(self, exponents: Sequence[Array]) -> "Measure":
        """The law of z with x = 2ᵉ z, one exponent for every model."""
        return self

    def normalised(self) -> "tuple[Measure, tuple[Array, ...]]":
        """The law in units of its own size, and these units: exponents e of x = 2ᵉ z, one for every model.

        Where a law has no size to change, there are no units.
        """
        own = self.exponents()
        return (self.scaled(own), own) if own else (self, ())


def unchecked(kind: type, **fields: Any) -> Any:
    """A law (or anything that checks what it is made of) from parts that were checked before."""
    law: Any = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(law, name, value)
    return law
