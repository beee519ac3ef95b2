"""Mixtures of laws: an expectation is the weighted sum of the components'."""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import autoray as ar
import numpy as np

from tnsim.algebra.polys.poly import Axes, Poly
from tnsim.algebra.terms.term import Term
from tnsim.common.values import numbers
from tnsim.measure.pairings.expectation import expect
from tnsim.measure.pairings.measure import Closure, Keep, Measure, MeasureError

__all__ = ["Mixture"]

Array = Any


@dataclass(frozen=True, eq=False)
class Mixture(Measure):
    """x follows one of several laws, chosen at random: E = Σᵢ wᵢ Eᵢ.

    Layer by layer every component goes through the layers on its own.

    Args:
        laws: the components.
        weights: their probabilities; equal by default.

    Raises:
        MeasureError: if there are no components, or the weights are no probabilities.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra.polys.writing import poly
        >>> from tnsim.measure.laws.gaussian import Gaussian
        >>> x = poly("W[out,in0]", W=np.eye(1))
        >>> two = Mixture([Gaussian(mean=np.array([m]), cov=np.array([0.01])) for m in (-1.0, 1.0)])
        >>> expect((x, x), two.bound(x.domain, x.like)).round(3)
        array([[1.01]])
    """

    laws: Sequence[Measure]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        laws = tuple(self.laws) if isinstance(self.laws, Sequence) else ()
        if not laws or not all(isinstance(law, Measure) for law in laws):
            raise MeasureError("a mixture needs a list of laws, such as [Gaussian(mean=m) for m in means].")
        given = (
            (1 / len(laws),) * len(laws)
            if self.weights is None
            else tuple(np.ravel(numbers(self.weights)).tolist())
        )
        if len(given) != len(laws) or not np.isclose(sum(given), 1) or min(given) < 0:
            raise MeasureError(f"{len(laws)} laws need as many weights that add up to 1; got {list(given)}.")
        object.__setattr__(self, "laws", laws)
        object.__setattr__(self, "weights", given)

    def closures(
        self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False
    ) -> Iterator[Closure]:
        """Those of the components, weighted."""
        for weight, law in self._parts():
            for closure in law.closures(factors, sides, exchange):
                yield replace(closure, weight=weight * closure.weight)

    def count(self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False) -> int:
        """Those of all components."""
        return sum(law.count(factors, sides, exchange) for law in self.laws)

    def at_once(
        self, factors: Sequence[Poly], keep: Keep, sides: Sequence[int], connected: bool
    ) -> Array | None:
        """The weighted sum of the components' expectations."""
        if connected:
            raise MeasureError(
                "the covariance under a mixture is not the sum of its components' covariances."
            )
        return reduce(operator.add, (w * self._one(law, factors, keep, sides) for w, law in self._parts()))

    def run_of(self, side: int) -> int | None:
        """As the components."""
        return self.laws[0].run_of(side)

    def bound(self, domain: Axes, like: Array) -> "Mixture":
        """Every component bound."""
        return replace(self, laws=tuple(law.bound(domain, like) for law in self.laws))

    def carries(self, layers: Sequence[Poly]) -> bool:
        """Whether all components do."""
        return all(law.carries(layers) for law in self.laws)

    def push(
        self, layers: Sequence[Poly], known: Sequence[Measure | None] = (), apart: Sequence[int] = ()
    ) -> "Mixture":
        """The mixture of the components' laws behind a layer."""
        own = [[m.laws[k] if isinstance(m, Mixture) else None for m in known] for k in range(len(self.laws))]
        pushed = (law.push(layers, m, apart) for law, m in zip(self.laws, own, strict=True))
        return replace(self, laws=tuple(pushed))

    def exponents(self) -> tuple[Array, ...]:
        """Those of the largest component, if all have some."""
        own = [law.exponents() for law in self.laws]
        return tuple(reduce(_larger, found) for found in zip(*own, strict=True)) if all(own) else ()

    def scaled(self, exponents: Sequence[Array]) -> "Mixture":
        """All components in the same units."""
        return replace(self, laws=tuple(law.scaled(exponents) for law in self.laws))

    def _one(self, law: Measure, factors: Sequence[Poly], keep: Keep, sides: Sequence[int]) -> Array:
        """Under one component. Means are moved into the factors side by side."""
        moved = {side: f for side, f in zip(sides, factors, strict=False)}
        if len(moved) == len(factors) and sorted(moved) == list(range(len(moved))):
            layers, law = law.centred([moved[side] for side in sorted(moved)])
            factors = [layers[side] for side in sides[: len(factors)]]
        return expect(factors, law, keep, sides)

    def _parts(self) -> Iterator[tuple[float, Measure]]:
        assert self.weights is not None
        return zip(self.weights, self.laws, strict=True)


def _larger(a: Array, b: Array) -> Array:
    return ar.do("where", a > b, a, b)
