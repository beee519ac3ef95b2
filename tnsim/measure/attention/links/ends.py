"""Moments of the ends of links: covariances of linear forms of the input, each made once for all products."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.terms.term import retensor
from tnsim.common.wires import MODEL, identify
from tnsim.engine.contract import Contraction
from tnsim.measure.attention.links.batch import Linked, Stack
from tnsim.measure.attention.links.link import entries
from tnsim.measure.pairings.measure import Block

__all__ = ["Ends", "Moments"]

Array = Any


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of the input of two models, as arrays on its axes.

    Attributes:
        axes: for every side how many axes its input has.
        means: for every side, or ``None`` for zero.
        covs: for sides (0, 0), (0, 1) and (1, 1); ``None`` for the identity.
    """

    axes: Mapping[int, int]
    means: Mapping[int, Block | None]
    covs: Mapping[tuple[int, int], Block | None]

    def cov(self, a: int, b: int) -> Block | None:
        """The covariance with the axes of side a first."""
        block = self.covs[min(a, b), max(a, b)]
        return block if block is None or a <= b else block.turned(self.axes[b])

    def shared(self, a: int, b: int) -> tuple[int, ...]:
        """Axes along which the covariance of two sides is diagonal."""
        if self.axes[a] != self.axes[b]:
            return ()
        cov = self.covs[min(a, b), max(a, b)]
        return tuple(range(self.axes[a])) if cov is None else cov.shared(self.axes[a])


class Ends:
    """Covariances and means of the ends of products, kept while a question is answered.

    A self product, the two sides of it and a product with another model ask for many of the same.
    """

    def __init__(self, law: Moments):
        self.law = law
        self._made: dict[Any, Any] = {}

    def apart(self, s: Linked, e: int, t: Linked, f: int) -> list[tuple[str, str]]:
        """Positions of two ends that have to be equal, or the law does not join them: as pairs of indices."""
        x, y = s.product.ends[e], t.product.ends[f]
        shared = self.law.shared(s.side, t.side)
        pairs = enumerate(zip(x.leg, y.leg, strict=False))  # none is shared where one leg has more
        return [(i, j) for k, (i, j) in pairs if k in shared and i in x.batch and j in y.batch]

    def batches(self, s: Linked, e: int, t: Linked, f: int, same: bool) -> tuple[tuple[str, ...], ...]:
        """Indices that number the covariances of two ends: of the first, and of the second besides."""
        x, y = s.stacks[s.stack_of(e)], t.stacks[t.stack_of(f)]
        first, second = x.named(s.product.ends[e]), y.named(t.product.ends[f])
        own = self._own(x, y, self.law.shared(s.side, t.side), same)
        return tuple(first[ix] for ix in x.batch), tuple(second[ix] for ix in own)

    def _own(self, x: Stack, y: Stack, shared: Sequence[int], same: bool) -> tuple[str, ...]:
        """What numbers the forms of the second of two stacks, and not those of the first with it."""
        joined = {y.leg[k] for k in shared if x.leg[k] in x.batch}
        joined |= {ix for ix in y.common if same and ix in x.common}
        return tuple(ix for ix in y.batch if ix not in joined)

    def cov(self, s: Linked, x: int, t: Linked, y: int, same: bool) -> Array:
        """The covariances of two stacks of ends.

        Args:
            s: a term.
            x: the number of one of its stacks.
            t: a term.
            y: the number of one of its stacks.
            same: whether both belong to one product.

        Returns:
            Shape ``(models, forms, c, c')``: for every model or pair of models, numbered by the ends of both stacks,
            the batch of the first, and what the second's has besides.
        """
        key = (id(s), x, id(t), y, same)
        if key not in self._made:
            value = self._covariance(s, x, t, y, same)
            models = (s.models or 1) * (1 if same or s.side == t.side else t.models or 1)
            sizes = (s.size(s.stacks[x].ends[0]), t.size(t.stacks[y].ends[0]))
            self._made[key] = (ar.do("reshape", value, (models, -1, *sizes)), s, t)
        return self._made[key][0]

    def _covariance(self, s: Linked, a: int, t: Linked, b: int, same: bool) -> Array:
        x, y = s.stacks[a], t.stacks[b]
        one = same or s.side == t.side  # both follow one model
        inds = {ix for z in y.tensors for ix in z.inds} | set(y.leg)
        second = {ix: f"~{ix}" for ix in inds if not (one and ix == MODEL)}
        joins = [(ix, second[ix]) for ix in x.common if same and ix in y.common]
        leg = tuple(second[ix] for ix in y.leg)
        shared = self.law.shared(s.side, t.side)
        joins += [(x.leg[k], leg[k]) for k in shared]
        if len(shared) == self.law.axes[s.side]:
            cov = self.law.cov(s.side, t.side)
            tensors = [*x.tensors, *([] if cov is None else [_block(cov, s.side, t.side, x.leg)])]
        else:
            tensors = [self._half(s, a, t.side, leg)]
        tensors += [retensor(z, inds=tuple(second.get(ix, ix) for ix in z.inds)) for z in y.tensors]
        own = tuple(second[ix] for ix in self._own(x, y, shared, same))
        runs = ((MODEL,) if s.models else ()) + ((f"~{MODEL}",) if t.models and not one else ())
        inner = (x.inner, second[y.inner] if y.inner else None)
        ends = (*x.index, *(second[ix] for ix in y.index))
        output = (*runs, *ends, *x.batch, *own, *(ix for ix in inner if ix))
        return Contraction(tuple(tensors), output, identify(joins)).value()

    def _half(self, s: Linked, a: int, side: int, leg: tuple[str, ...]) -> qtn.Tensor:
        """Forms with a full covariance on them, made once for all forms that they meet."""
        x = s.stacks[a]
        shared = self.law.shared(s.side, side)
        key = ("half", id(s), a, side)
        ports = tuple(f"port{k}" for k in range(self.law.axes[side]) if k not in shared)
        if key not in self._made:
            cov = self.law.cov(s.side, side)
            assert cov is not None
            tensors = (*x.tensors, _block(cov, s.side, side, (*x.leg, *ports)))
            own = (*x.index, *x.batch, *((x.inner,) if x.inner else ()))
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
            shape = (s.models or 1, entries(x.batch, s.sizes), 1, s.size(e))
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
