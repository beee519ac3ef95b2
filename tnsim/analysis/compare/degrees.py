"""Orders of interaction: how much of an inner product is constant, linear, quadratic, …"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import autoray as ar

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term
from tnsim.analysis.asking.problem import BUDGET, MEMORY, Model, Problem, as_network, comparable, priced
from tnsim.analysis.asking.questions import question
from tnsim.analysis.asking.units import in_units
from tnsim.common.scaled import Scaled
from tnsim.common.wires import Leg
from tnsim.measure.laws.gaussian import Gaussian
from tnsim.measure.pairings.expectation import Keep, expect
from tnsim.measure.pairings.measure import Closure, Measure, MeasureError, Whole

__all__ = ["orders"]

Array = Any


@question
def orders(
    a: Model,
    b: Model | None = None,
    *,
    under: Gaussian | None = None,
    output: Any = None,
    each: bool = False,
    budget: float = BUDGET,
    memory: float = MEMORY,
    progress: bool = True,
) -> Array:
    """The inner product ⟨a, b⟩ = Σ_k ⟨a_k, b_k⟩, split by order of interaction. Exact.

    Under a Gaussian law every polynomial is a sum a = Σ_k a_k of orthogonal parts: a constant (its mean), a
    linear part, a quadratic one from which constant and linear parts are projected out, and so on. They are its
    projections on the Hermite polynomials of order k in the whitened input (the Wiener chaos of the law).
    ⟨a_k, b_k⟩ is the sum of those pairings of legs in which k pairs run between a and b:

    * order 0 is E[a]·E[b], so the covariance is all the rest;
    * the highest order of two models of the same degree n is n!·⟨a, b⟩ under ``Symmetric()``, with the
      covariance on the legs;
    * ``orders(a)`` is the power spectrum of a: non-negative, and E‖a‖² in sum.

    Costs what the inner product costs, and the bridges between legs once for every order.

    Args:
        a: a torch module or a Network.
        b: another with the same inputs and outputs; by default ``a`` itself.
        under: a Gaussian law; the standard normal by default.
        output: one output, or a slice of them; all by default.
        each: give the orders of every output apart; they add up to the whole.
        budget: flops that may be spent.
        memory: bytes that intermediate tensors may take.
        progress: show a bar for every order that takes more than two seconds.

    Returns:
        Shape ``(n + 1,)``, or ``(n + 1, *outputs)`` with ``each``, differentiable; n is the lower degree of the two,
        above which nothing is shared.
        Stacked networks put their run axes in front.

    Raises:
        CostError: if it would take more than the budget.
        ValueError: if inputs, outputs, dtypes or devices differ.
        MeasureError: if the law is not Gaussian.

    References:
        Wiener (1938); Itô (1951); Janson, Gaussian Hilbert Spaces (1997). Tensor similarity, arXiv 2605.15183.

    Example:
        x² = 1 + (x² − 1): one part in three of E[x⁴] is constant, two are quadratic.

        >>> import torch, tnsim
        >>> one = torch.ones(1, 1, dtype=torch.float64)
        >>> orders(tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=one, L=one, R=one)).tolist()
        [1.0, 0.0, 2.0]
    """
    nets: tuple[Network, ...] = (as_network(a, "a"),) if b is None else comparable(a, b)
    if under is not None and not isinstance(under, Gaussian):
        raise MeasureError(
            f"orders of interaction are those of a Gaussian law; got {under!r}. Write under=Gaussian(mean, cov)."
        )

    ready, law, exponents = in_units(nets, under, output)

    def run() -> tuple[list[Array], Array]:
        problem = Problem.of(ready, law, "exact", exponents=exponents, output=output)
        first, last = problem.factors[0], problem.factors[-1]
        sides = (0, len(nets) - 1)
        keep: Keep = "diagonal" if each else "sum"
        parts = [
            expect((first, last), _Crossing(problem.law, k), keep, sides, progress=progress)
            for k in range(min(net.degree for net in nets) + 1)
        ]
        return parts, problem.exponent(*sides)

    found, exponent = priced(run, "orders of interaction", budget, memory, cheaper=False)
    runs = sum(net.models is not None for net in nets)
    return Scaled(ar.do("stack", found, axis=runs), exponent).value("an order of the inner product")


@dataclass(frozen=True, eq=False)
class _Crossing(Measure):
    """Of the closures of a law, those with so many bridges between the two factors.

    Exchanges of legs, and of equal factors, keep that number, so an orbit of pairings is in or out as a whole.

    Attributes:
        law: a law without a mean.
        order: the number of bridges.
    """

    law: Measure
    order: int

    def closures(
        self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False
    ) -> Iterator[Closure]:
        """Those of the law that cross so many times."""
        for closure in self.law.closures(factors, sides, exchange):
            if closure.crossings == self.order:
                yield closure

    def count(self, factors: Sequence[Term], sides: Sequence[int], exchange: bool = False) -> int:
        """At most as many as of the law."""
        return self.law.count(factors, sides, exchange)

    def whole(self, factors: Sequence[Poly], sides: Sequence[int], outs: Sequence[Leg]) -> Iterator[Whole]:
        """That of the law."""
        return (whole for whole in self.law.whole(factors, sides, outs) if whole.order == self.order)

    def run_of(self, side: int) -> int | None:
        """As the law."""
        return self.law.run_of(side)
