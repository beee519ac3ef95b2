"""Moments of the ends of links: covariances of linear forms of the input, each made once for all products."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.contract import Contraction
from tnsim.algebra.term import retensor
from tnsim.algebra.wires import MODEL, identify
from tnsim.measure.batch import Linked
from tnsim.measure.links import End, entries
from tnsim.measure.measure import Block

__all__ = ["Ends", "Moments"]

Array = Any


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of the input of two models, as arrays on its axes.

    Attributes:
        axes: how many axes an input has.
        means: for every side, or ``None`` for zero.
        covs: for sides (0, 0), (0, 1) and (1, 1); ``None`` for the identity.
    """

    axes: int
    means: Mapping[int, Block | None]
    covs: Mapping[tuple[int, int], Block | None]

    def cov(self, a: int, b: int) -> Block | None:
        """The covariance with the axes of side a first."""
        block = self.covs[min(a, b), max(a, b)]
        return block if block is None or a <= b else block.turned(self.axes)

    def shared(self, a: int, b: int) -> tuple[int, ...]:
        """Axes along which the covariance of two sides is diagonal."""
        cov = self.covs[min(a, b), max(a, b)]
        return tuple(range(self.axes)) if cov is None else cov.shared(self.axes)


class Ends:
    """Covariances and means of the ends of products, kept while a question is answered.

    A self product, the two sides of it and a product with another model ask for many of the same.
    """

    def __init__(self, law: Moments):
        self.law = law
        self._made: dict[Any, Any] = {}

    def size(self, s: Linked, e: int) -> int:
        """How many entries an end has."""
        inner = s.product.ends[e].inner
        return s.sizes[inner] if inner else 1

    def places(self, x: End, y: End) -> list[int]:
        """Axes of the input that number the forms of both ends: positions."""
        return [k for k, (i, j) in enumerate(zip(x.leg, y.leg, strict=True)) if i in x.batch and j in y.batch]

    def apart(self, s: Linked, e: int, t: Linked, f: int) -> list[tuple[str, str]]:
        """Positions of two ends that have to be equal, or the law does not join them: as pairs of indices."""
        x, y = s.product.ends[e], t.product.ends[f]
        shared = self.law.shared(s.side, t.side)
        return [(x.leg[k], y.leg[k]) for k in self.places(x, y) if k in shared]

    def first(self, s: Linked, e: int, t: Linked) -> tuple[str, ...]:
        """Indices that number the forms of the first of two ends."""
        x = s.product.ends[e]
        stack = s.stack if t.stack else None
        return (*(x.leg[k] for k in stack.places), *stack.others) if stack else x.batch

    def own(self, s: Linked, e: int, t: Linked, f: int, same: bool) -> tuple[str, ...]:
        """Indices that number the forms of the second end, besides those of the first."""
        x, y = s.product.ends[e], t.product.ends[f]
        shared = self.law.shared(s.side, t.side)
        if s.stack and t.stack:
            apart = tuple(y.leg[k] for k in t.stack.places if k not in shared or k not in s.stack.places)
            return (*apart, *(() if same else t.stack.others))
        joined = {y.leg[k] for k in self.places(x, y) if k in shared}
        return tuple(ix for ix in y.batch if ix not in joined and not (same and ix in x.batch))

    def cov(self, s: Linked, e: int, t: Linked, f: int, same: bool) -> Array:
        """The covariance of two ends; of all ends of two terms, if those of either are alike.

        Args:
            s: a term.
            e: the number of one of its ends.
            t: a term.
            f: the number of one of its ends.
            same: whether both belong to one product.

        Returns:
            Shape ``(models, forms, c, c')``: for every model or pair of models, numbered by the batch of the first
            end, then by what the second's has besides; of all ends by their numbers before.
        """
        stacked = s.stack is not None and t.stack is not None
        key: Any = (id(s), id(t), same) if stacked else (id(s), e, id(t), f, same)
        if key not in self._made:
            forms = entries(self.first(s, e, t), s.sizes) * entries(self.own(s, e, t, f, same), t.sizes)
            models = (s.models or 1) * (1 if same or s.side == t.side else t.models or 1)
            shape: tuple[int, ...] = (models, forms, self.size(s, e), self.size(t, f))
            if stacked:
                value = self._stacked(s, t, same)
                shape = (models, len(s.product.ends) * len(t.product.ends) * forms, *shape[2:])
            else:
                value = self._covariance(s, e, t, f, same)
            self._made[key] = (ar.do("reshape", value, shape), s, t)
        return self._made[key][0]

    def _stacked(self, s: Linked, t: Linked, same: bool) -> Array:
        """Covariances of all ends of two terms whose ends are alike: one contraction."""
        assert s.stack and t.stack
        one = same or s.side == t.side
        shared = self.law.shared(s.side, t.side)
        x, y = s.stack, t.stack
        keep = {MODEL} if one else set()
        keep |= set(x.others) if same else set()
        form = y.tensor
        form = retensor(form, inds=tuple(ix if ix in keep else f"~{ix}" for ix in form.inds))
        ports = tuple(f"~{ix}" for ix in y.leg)
        joins = [(x.leg[k], ports[k]) for k in shared]
        cov = self.law.cov(s.side, t.side)
        if cov is None:
            tensors: tuple[qtn.Tensor, ...] = (x.tensor, form)
        elif len(shared) == self.law.axes:
            tensors = (x.tensor, _block(cov, s.side, t.side, x.leg), form)
        else:
            free = tuple(p for k, p in enumerate(ports) if k not in shared)
            key = ("half", id(s), t.side)
            if key not in self._made:
                block = _block(cov, s.side, t.side, (*x.leg, *free))
                both = {ix: None for z in (x.tensor, block) for ix in z.inds}
                inds = tuple(
                    ix for ix in both if ix not in x.leg or ix in x.inner or x.leg.index(ix) in shared
                )
                self._made[key] = (Contraction((x.tensor, block), inds).value(), inds, s)
            tensors = (qtn.Tensor(*self._made[key][:2]), form)
        runs = ((MODEL,) if s.models else ()) + ((f"~{MODEL}",) if t.models and not one else ())
        second = tuple(f"~{y.leg[k]}" for k in y.places if k not in shared or k not in x.places)
        more = () if same else tuple(f"~{ix}" for ix in y.others)
        first = (*(x.leg[k] for k in x.places), *x.others)
        output = (*runs, "end", "~end", *first, *second, *more, "inner", "~inner")
        return Contraction(tensors, output, identify(joins)).value()

    def _covariance(self, s: Linked, e: int, t: Linked, f: int, same: bool) -> Array:
        x, y = s.product.ends[e], t.product.ends[f]
        one = same or s.side == t.side  # both follow one model
        inds = {ix for z in t.form(f) for ix in z.inds} | set(y.leg)
        second = {ix: f"~{ix}" for ix in inds if not (one and ix == MODEL)}
        joins = [(ix, second[ix]) for ix in x.batch if same and ix in y.batch]
        leg = tuple(second[ix] for ix in y.leg)
        shared = self.law.shared(s.side, t.side)
        joins += [(x.leg[k], leg[k]) for k in shared]
        if len(shared) == self.law.axes:
            tensors = s.form(e)
            cov = self.law.cov(s.side, t.side)
            tensors += [] if cov is None else [_block(cov, s.side, t.side, x.leg)]
        else:
            tensors = [self._half(s, e, t.side, leg)]
        tensors += [retensor(z, inds=tuple(second.get(ix, ix) for ix in z.inds)) for z in t.form(f)]
        own = tuple(second[ix] for ix in self.own(s, e, t, f, same))
        runs = ((MODEL,) if s.models else ()) + ((f"~{MODEL}",) if t.models and not one else ())
        inner = (x.inner, second[y.inner] if y.inner else None)
        output = (*runs, *x.batch, *own, *(ix for ix in inner if ix))
        return Contraction(tuple(tensors), output, identify(joins)).value()

    def _half(self, s: Linked, e: int, side: int, leg: tuple[str, ...]) -> qtn.Tensor:
        """A form with a full covariance on it, made once for all forms that it meets."""
        x = s.product.ends[e]
        shared = self.law.shared(s.side, side)
        key = ("half", id(s), e, side)
        ports = tuple(f"port{k}" for k in range(self.law.axes) if k not in shared)
        if key not in self._made:
            cov = self.law.cov(s.side, side)
            assert cov is not None
            tensors = (*s.form(e), _block(cov, s.side, side, (*x.leg, *ports)))
            own = (*x.batch, *((x.inner,) if x.inner else ()))
            runs = tuple(ix for ix in (MODEL, f"~{MODEL}") if any(ix in z.inds for z in tensors))
            output = (*runs, *own, *(x.leg[k] for k in shared if x.leg[k] not in own), *ports)
            self._made[key] = (qtn.Tensor(Contraction(tensors, output).value(), output), s)
        half = self._made[key][0]
        names = {f"port{k}": ix for k, ix in enumerate(leg)}
        return qtn.Tensor(half.data, tuple(names.get(ix, ix) for ix in half.inds))

    def has_mean(self, s: Linked, e: int) -> bool:
        """Whether an end has a mean that is not zero."""
        return self.law.means[s.side] is not None or e in s.offsets

    def mean(self, s: Linked, e: int) -> Array:
        """The mean of an end, shape ``(models, forms, 1, c)``."""
        key = ("mean", id(s), e)
        if key not in self._made:
            x, mean = s.product.ends[e], self.law.means[s.side]
            output = (
                *((MODEL,) if s.models else ()),
                *x.batch,
                *((x.inner,) if x.inner else ()),
            )
            sums = [] if mean is None else [(*s.form(e), _block(mean, s.side, s.side, x.leg))]
            if e in s.offsets:
                sums.append(tuple(s.form(e, bias=True)))
            values = [_broadcast(tensors, output, s).value() for tensors in sums]
            shape = (s.models or 1, entries(x.batch, s.sizes), 1, self.size(s, e))
            self._made[key] = (ar.do("reshape", sum(values[1:], start=values[0]), shape), s)
        return self._made[key][0]


def _broadcast(tensors: tuple[qtn.Tensor, ...], output: tuple[str, ...], s: Linked) -> Contraction:
    """A contraction whose result has all of the output, repeated along what no tensor has."""
    have = {ix for x in tensors for ix in x.inds}
    like = tensors[0].data
    ones = [qtn.Tensor(ar.do("ones", (s.sizes[ix],), like=like), (ix,)) for ix in output if ix not in have]
    return Contraction((*tensors, *ones), output)


def _block(block: Block, a: int, b: int, legs: tuple[str, ...]) -> qtn.Tensor:
    """A block on some legs, with run indices named after the factors that read it."""
    runs = tuple(MODEL if side == a else f"~{MODEL}" for side in block.models)
    return qtn.Tensor(block.data, (*runs, *legs))
