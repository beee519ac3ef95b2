"""Units: the hidden units of a layer, remembered while it is written down."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["Units"]

Poly = Any  # of tnsim.algebra.polys.poly, which imports this file


@dataclass(frozen=True, eq=False)
class Units:
    """How a layer f = read ∘ products + rest came about: from a product, what reads it, and what goes past it.

    Terms are tidied when polynomials are added and composed: constants become one vector, linear terms one matrix. Then
    nobody can tell which part of a bias belongs to a unit. So the layer remembers it.

    Attributes:
        products: x ↦ q(x), one output for every unit; biases of the factors included.
        read: an affine map of the units without a constant.
        rest: what of f does not go through the units; ``None`` for nothing.
        inner: what x goes through first, where that is not yet composed.
    """

    products: Poly
    read: Poly
    rest: Poly | None = None
    inner: Poly | None = None

    def resolved(self) -> "Units":
        """The same with nothing left to compose."""
        if self.inner is None:
            return self
        rest = None if self.rest is None else self.rest @ self.inner
        return Units(self.products @ self.inner, self.read, rest)

    def gained(self, gains: Any) -> Poly:
        """The layer with a gain on every unit: read(g ∘ q(x)) + rest(x)."""
        own = self.resolved()
        whole = own.read @ (own.products * gains)
        return whole if own.rest is None else whole + own.rest

    def behind(self, inner: Poly) -> "Units":
        """Those of f ∘ inner."""
        return replace(self, inner=inner if self.inner is None else self.inner @ inner)

    def before(self, outer: Poly) -> "Units | None":
        """Those of outer ∘ f, for an affine map."""
        own = self.resolved()
        linear, constant = ([t for t in outer.terms if t.degree == n] for n in (1, 0))
        if not linear:
            return None
        read = replace(outer, terms=tuple(linear)) @ own.read
        if own.rest is not None:
            return Units(own.products, read, outer @ own.rest)
        past = replace(outer, terms=tuple(constant), domain=own.products.domain) if constant else None
        return Units(own.products, read, past)

    def plus(self, other: Poly) -> "Units":
        """Those of f + other. If that has units as well, they are part of the rest, which does not remember them."""
        own = self.resolved()
        return replace(own, rest=replace(other if own.rest is None else own.rest + other))

    def each(self, change: Callable[[Poly], Poly]) -> "Units":
        """The same after a change of the outputs that is linear."""
        own = self.resolved()
        return replace(own, read=change(own.read), rest=None if own.rest is None else change(own.rest))

    def mapped(self, change: Callable[[Poly], Poly]) -> "Units":
        """The same with every polynomial changed."""
        return replace(self.each(change), products=change(self.resolved().products))

    def signature(self) -> tuple[Any, ...]:
        """What two must share to be stacked."""
        own = self.resolved()
        parts = (own.products, own.read, own.rest)
        return tuple(None if f is None else f.signature() for f in parts)
