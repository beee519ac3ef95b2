"""Poly: a sum of terms, which is what a polynomial layer *is*."""

import operator
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import product
from numbers import Real
from typing import Any, Union

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.terms.collecting import affordable, collect
from tnsim.algebra.terms.hidden import Units
from tnsim.algebra.terms.symmetry import count_labellings, labellings
from tnsim.algebra.terms.term import Term, canonical, compose, multiply, picked, retensor
from tnsim.common.absent import OutputError
from tnsim.common.notebook import Drawn
from tnsim.common.wires import BATCH, MODEL, WIRE, WireError, output_leg
from tnsim.engine.contract import Contraction

__all__ = ["Axes", "ComposeError", "Poly", "identity"]

Array = Any
Axes = tuple[tuple[str, int], ...]  # (space, size) pairs, e.g. (("d", 64),) or (("s", 4), ("d", 64))


class ComposeError(ValueError):
    """Two polynomials do not fit together.

    Example:
        >>> import torch, tnsim
        >>> f = tnsim.poly("D[out,in0]", D=torch.ones(2, 4))
        >>> f @ f
        Traceback (most recent call last):
            ...
        tnsim.algebra.polys.poly.ComposeError: cannot feed a layer with input (d: 4) from one with output (d: 2).
    """


@dataclass(frozen=True, eq=False)
class Poly(Drawn):
    """A polynomial map f(x) = Σₜ t(x, …, x), as a sum of :class:`Term`.

    ``f + g``, ``f - g``, ``f * g`` (elementwise, or by a number or an array over the outputs), ``f ** n``,
    ``f @ g`` (composition f(g(x))), ``f[9]`` (one output), ``f(x)``.

    Attributes:
        terms: the terms; degree 0 is the bias, degree 1 the linear part.
        domain: axes of the input, e.g. ``(("d", 64),)``.
        codomain: axes of the output; ``()`` for one selected output.
        units: the hidden units of a layer that was made from a product, if that is known.

    Example:
        >>> import torch, tnsim
        >>> one = torch.ones(1, 1)
        >>> square = tnsim.poly("D[out,hid] L[hid,in0] R[hid,in1]", D=one, L=one, R=one)
        >>> f = square @ square - 2 * square  # x⁴ − 2x²
        >>> f.degree, f(torch.tensor([3.0]))
        (4, tensor([63.]))
    """

    terms: tuple[Term, ...]
    domain: Axes
    codomain: Axes
    units: Units | None = field(default=None, init=False, repr=False, compare=False)  # replace() forgets them

    def __repr__(self) -> str:
        count = f"{len(self.terms)} term" + "s" * (len(self.terms) != 1)
        lines = [f"  {t!r}" for t in self.terms[:6]] + [f"  … {len(self.terms) - 6} more"] * (
            len(self.terms) > 6
        )
        return "\n".join([f"Poly({self.in_shape} → {self.out_shape}, degree {self.degree}, {count})", *lines])

    @property
    def degree(self) -> int:
        """The highest degree of a term."""
        return max((t.degree for t in self.terms), default=0)

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Sizes of the input axes."""
        return tuple(n for _, n in self.domain)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Sizes of the output axes."""
        return tuple(n for _, n in self.codomain)

    @property
    def like(self) -> Array:
        """One of the arrays: what new arrays of the same backend, dtype and device are made like."""
        return self.terms[0].tensors[0].data

    @property
    def models(self) -> int | None:
        """How many models are stacked, or ``None`` for a single one."""
        return next((t.sizes[MODEL] for t in self.terms if MODEL in t.sizes), None)

    # ------------------------------------------------------------------ arithmetic

    def __add__(self, other: Union["Poly", Array]) -> "Poly":
        other = self._lifted(other)
        self._same(other, "+")
        units = self.units.plus(other) if self.units else other.units and other.units.plus(self)
        return replace(self, terms=collect((*self.terms, *other.terms))).having(units)

    __radd__ = __add__

    def __neg__(self) -> "Poly":
        return self * -1.0

    def __sub__(self, other: Union["Poly", Array]) -> "Poly":
        return self + -1.0 * self._lifted(other)

    def __rsub__(self, other: Array) -> "Poly":
        return -self + other

    def __mul__(self, other: Union["Poly", Array, float]) -> "Poly":
        if isinstance(other, Real):
            scaled = replace(self, terms=tuple(t.scaled(float(other)) for t in self.terms))
            return scaled.having(self.units and self.units.each(lambda f: f * other))
        if not isinstance(other, Poly):
            shape = ar.shape(other)
            if shape not in ((), self.out_shape):
                raise ComposeError(
                    f"cannot multiply outputs of shape {self.out_shape} by an array of shape {shape}."
                )
            inds = output_leg([s for s, _ in self.codomain]) if shape else ()
            terms = collect(t.attached(qtn.Tensor(other, inds, tags="scale")) for t in self.terms)
            return replace(self, terms=terms).having(self.units and self.units.each(lambda f: f * other))
        self._same(other, "*")
        spaces = [s for s, _ in self.domain]
        affordable(len(self.terms) * len(other.terms), "a product")
        products = (canonical(multiply(a, b), spaces) for a, b in product(self.terms, other.terms))
        found = replace(self, terms=collect(products))
        if len(self.domain) == len(self.codomain) == 1 and self.degree and other.degree:
            return replace(found).having(Units(found, identity(self.codomain, self.like)))
        return found

    __rmul__ = __mul__

    def __pow__(self, n: int) -> "Poly":
        if not isinstance(n, int) or n < 0:
            raise ComposeError(f"only whole powers of a polynomial are polynomials; got {n!r}.")
        if n == 0:
            return self._lifted(1.0)
        return reduce(operator.mul, [self] * n)

    def __matmul__(self, inner: "Poly") -> "Poly":
        if not isinstance(inner, Poly):
            return NotImplemented
        if inner.codomain != self.domain:
            raise ComposeError(
                f"cannot feed a layer with input {_show(self.domain)} from one with output {_show(inner.codomain)}."
            )
        spaces = [s for s, _ in inner.domain]
        many = sum(count_labellings(t.tree, len(inner.terms)) for t in self.terms)
        affordable(many, f"a composition of degree {self.degree} with {len(inner.terms)} terms")
        terms = (
            canonical(compose(t, [inner.terms[k] for k in choice]), spaces).scaled(count)
            for t in self.terms
            for choice, count in labellings(t.tree, len(inner.terms))
        )
        kept = self.units.behind(inner) if self.units else None
        kept = inner.units.before(self) if inner.units and self.degree <= 1 else kept
        return Poly(collect(terms), inner.domain, self.codomain).having(kept)

    def __getitem__(self, key: Any) -> "Poly":
        """Outputs by position: ``f[9]``, ``f[2:5]``, ``f[[0, 3]]``; one entry for every output axis."""
        keys = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in [k for k in keys if k is Ellipsis]:
            at = next(i for i, k in enumerate(keys) if k is Ellipsis)
            keys[at : at + 1] = [slice(None)] * (len(self.codomain) - len(keys) + 1)
        if len(keys) > len(self.codomain):
            raise OutputError(f"{len(keys)} indices for outputs {_show(self.codomain)}.")
        result = self
        for axis in reversed(range(len(keys))):
            if not (isinstance(keys[axis], slice) and keys[axis] == slice(None)):
                result = result._select(axis, keys[axis])
        return result.having(self.units and self.units.each(lambda f: f[key]))

    # ------------------------------------------------------------------ values

    def __call__(self, x: Array) -> Array:
        """Evaluate on a batch.

        Args:
            x: shape ``(*batch, *in_shape)``.

        Returns:
            Shape ``(*batch, *out_shape)``; a stacked polynomial puts ``(n_models,)`` in front.
        """
        n = len(self.in_shape)
        shape = tuple(ar.shape(x))
        if len(shape) < n or shape[len(shape) - n :] != self.in_shape:
            raise WireError(
                f"x has shape {shape}; this polynomial reads {_show(self.domain)} on its last axes."
            )
        batch = shape[: len(shape) - n]
        y = self.evaluate(ar.do("reshape", x, (-1, *self.in_shape)))
        front = () if self.models is None else (self.models,)
        return ar.do("reshape", y, (*front, *batch, *self.out_shape))

    def evaluate(self, x: Array, run: bool = False) -> Array:
        """Values on a flat batch; with ``run`` the input carries a run axis in front as well.

        Args:
            x: shape ``(b, *in_shape)``, or ``(m, b, *in_shape)`` with ``run``.

        Returns:
            Shape ``([m,] b, *out_shape)``.
        """
        front = (MODEL, BATCH) if run else (BATCH,)
        keep = (MODEL,) if run or self.models else ()
        like = self.like
        values = []
        for t in self.terms:
            tensors = list(t.tensors)
            tensors += [qtn.Tensor(x, (*front, *leg)) for leg in t.legs]
            have = {ix for tensor in tensors for ix in tensor.inds}
            if BATCH not in have:
                tensors.append(
                    qtn.Tensor(ar.do("ones", (ar.shape(x)[-len(self.domain) - 1],), like=like), (BATCH,))
                )
            if keep and MODEL not in have:
                n = self.models or ar.shape(x)[0]
                tensors.append(qtn.Tensor(ar.do("ones", (n,), like=like), (MODEL,)))
            values.append(Contraction(tuple(tensors), (*keep, BATCH, *t.out), weight=t.coefficient).value())
        return reduce(operator.add, values)

    # ------------------------------------------------------------------ helpers

    def tagged(self, *tags: str) -> "Poly":
        """The same polynomial with more tags on every tensor."""
        return self.written(tuple(t.tagged(tags) for t in self.terms))

    def absolute(self) -> "Poly":
        """The same sums of products with all signs positive: a bound of what rounding can do, also where all cancels."""
        terms = tuple(replace(t, coefficient=abs(t.coefficient)) for t in self.terms)
        return replace(self, terms=terms).mapped(lambda x: ar.do("abs", x))

    def written(self, terms: tuple[Term, ...]) -> "Poly":
        """The same polynomial in other terms."""
        return replace(self, terms=terms).having(self.units)

    def mapped(self, fn: Any) -> "Poly":
        """The same network with ``fn`` applied to every array; arrays that terms share stay shared."""
        made: dict[int, Array] = {}

        def of(x: Array) -> Array:
            if id(x) not in made:
                made[id(x)] = fn(x)
            return made[id(x)]

        terms = (
            replace(t, tensors=tuple(retensor(x, data=of(x.data)) for x in t.tensors)) for t in self.terms
        )
        return replace(self, terms=tuple(terms)).having(
            self.units and self.units.mapped(lambda f: f.mapped(of))
        )

    def arrays(self) -> Iterator[Array]:
        """All arrays, in order."""
        return (x.data for t in self.terms for x in t.tensors)

    def signature(self) -> tuple[Any, ...]:
        """What two polynomials must share to be stacked: wiring, shapes and coefficients."""
        return (
            self.domain,
            self.codomain,
            tuple(
                (tuple((x.inds, tuple(ar.shape(x.data))) for x in t.tensors), t.legs, t.out, t.coefficient)
                for t in self.terms
            ),
            self.units and self.units.signature(),
        )

    def having(self, units: Units | None) -> "Poly":
        """This new polynomial, with what is known of its hidden units."""
        if units is not None:
            object.__setattr__(self, "units", units)
        return self

    def _lifted(self, other: Union["Poly", Array, float]) -> "Poly":
        if isinstance(other, Poly):
            return other
        if isinstance(other, Real):
            other = ar.do("ones", self.out_shape, like=self.like) * float(other)
        if tuple(ar.shape(other)) != self.out_shape:
            raise ComposeError(
                f"cannot add an array of shape {tuple(ar.shape(other))} to outputs {self.out_shape}."
            )
        out = output_leg([s for s, _ in self.codomain])
        return replace(self, terms=(Term((qtn.Tensor(other, out, tags="c"),), (), out),))

    def _same(self, other: "Poly", sign: str) -> None:
        if (self.domain, self.codomain) != (other.domain, other.codomain):
            raise ComposeError(
                f"`{sign}` needs equal spaces: {_show(self.domain)} → {_show(self.codomain)} "
                f"against {_show(other.domain)} → {_show(other.codomain)}."
            )

    def _select(self, axis: int, key: Any) -> "Poly":
        name, size = self.codomain[axis]
        if isinstance(key, int) and not -size <= key < size:
            raise OutputError(f"output {key} of {size}.")
        if isinstance(key, slice) and not len(range(size)[key]):
            raise OutputError(f"{key} takes none of {size} outputs.")
        kept = (
            ()
            if isinstance(key, int)
            else ((name, len(range(size)[key]) if isinstance(key, slice) else len(key)),)
        )
        codomain = (*self.codomain[:axis], *kept, *self.codomain[axis + 1 :])
        terms = tuple(picked(t, axis, key, bool(kept)) for t in self.terms)
        return Poly(terms, self.domain, codomain)


def identity(domain: Axes, like: Array) -> Poly:
    """The map x ↦ x, as wires: each leg index *is* the output index.

    Example:
        >>> import torch, tnsim
        >>> x = torch.arange(3.0)
        >>> same = tnsim.identity((("d", 3),), like=x)
        >>> (same + same)(x)
        tensor([0., 2., 4.])
    """
    out = output_leg([s for s, _ in domain])
    ones = (
        qtn.Tensor(ar.do("ones", (n,), like=like), (ix,), tags=WIRE)
        for ix, (_, n) in zip(out, domain, strict=True)
    )
    return Poly((Term(tuple(ones), (out,), out),), domain, domain)


def _show(axes: Axes) -> str:
    return "(" + ", ".join(f"{s}: {n}" for s, n in axes) + ")"
