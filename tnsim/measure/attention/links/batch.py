"""A term as a batch of products of links, one for every head and every two positions that it joins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import autoray as ar
import numpy as np
import quimb.tensor as qtn

from tnsim.algebra.terms.term import Term
from tnsim.common.wires import MODEL
from tnsim.engine.contract import Contraction
from tnsim.engine.sparsity import support
from tnsim.measure.attention.links.link import End, Product, product_of

__all__ = ["Linked", "Stack"]

Array = Any


@dataclass(frozen=True, eq=False)
class Stack:
    """The forms of ends of a term that are alike, as one array; or of a single end.

    Attributes:
        ends: numbers of the ends.
        tensors: their forms: the run index, the batch, ``inner``, and features of the leg; an index ``end`` in front
            of several.
        leg: names of the leg's indices.
        batch: what numbers forms. Of several ends positions come first, with names of the leg.
        common: those of the batch that mean the same to all ends of a product.
        inner: the index that joins an end to its partner, or stays open; ``None`` for a number.
    """

    ends: tuple[int, ...]
    tensors: tuple[qtn.Tensor, ...]
    leg: tuple[str, ...]
    batch: tuple[str, ...]
    common: tuple[str, ...]
    inner: str | None

    @property
    def index(self) -> tuple[str, ...]:
        """The index of the ends, if there are several."""
        return ("end",) if len(self.ends) > 1 else ()

    def named(self, end: End) -> dict[str, str]:
        """The indices of one of the ends that the names of the batch stand for."""
        return {ix: ix if ix in self.common else end.leg[self.leg.index(ix)] for ix in self.batch}


@dataclass(frozen=True, eq=False)
class Linked:
    """A term with its links, on one side of the product.

    Attributes:
        term: the term; of a run of models, with the run index on its weights.
        side: the model whose law its input follows.
        models: how many models a run has; ``None`` for a single one.
        offsets: biases: for ends that are affine forms, what stands in place of the tensor that holds the leg.
    """

    term: Term
    side: int
    models: int | None = None
    offsets: Mapping[int, qtn.Tensor] = field(default_factory=dict)

    @cached_property
    def wiring(self) -> Any:
        """What two terms must have in common to be computed together."""
        t = self.term
        inds = tuple(tuple(ix for ix in x.inds if ix != MODEL) for x in t.tensors)
        sizes = tuple((ix, n) for ix, n in t.sizes.items() if ix != MODEL)
        return (inds, t.legs, t.out), sizes

    @cached_property
    def product(self) -> Product:
        """Its links."""
        return product_of(*self.wiring)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The size of every index."""
        return self.term.sizes

    @cached_property
    def weighing(self) -> list[int]:
        """Numbers of the tensors that only weigh the products of a batch."""
        p = self.product
        return [n for n in p.rest if set(self.wiring[0][0][n]) <= set(p.batch)]

    @cached_property
    def weights(self) -> Array:
        """The weight of every product, shape ``(models or 1, products)``: masks, and the coefficient."""
        p, t = self.product, self.term
        like = t.tensors[0].data
        value = ar.do("ones", (self.models or 1, *(self.sizes[ix] for ix in p.batch)), like=like)
        value = value * t.coefficient
        for n in self.weighing:
            x = t.tensors[n]
            places = [(MODEL, *p.batch).index(ix) for ix in x.inds]
            shape = [1] * (1 + len(p.batch))
            for at, ix in zip(places, x.inds, strict=True):
                shape[at] = self.sizes[ix]
            order = tuple(int(k) for k in np.argsort(places))
            data = ar.do("transpose", x.data, order) if order else x.data
            value = value * ar.do("reshape", data, tuple(shape))
        return ar.do("reshape", value, (self.models or 1, -1))

    @cached_property
    def table(self) -> np.ndarray:
        """The products that may have a weight: a row of batch indices each, those of one output together."""
        batch = self.product.batch
        live = np.ones([self.sizes[ix] for ix in batch], dtype=bool)
        for n in self.weighing:
            x = self.term.tensors[n]
            found, inds = support(x.data), x.inds
            if MODEL in inds:
                found, inds = found.any(axis=inds.index(MODEL)), tuple(ix for ix in inds if ix != MODEL)
            order = sorted(range(len(inds)), key=lambda k: batch.index(inds[k]))
            live &= found.transpose(order).reshape([self.sizes[ix] if ix in inds else 1 for ix in batch])
        rows = np.argwhere(live) if batch else np.zeros((int(live), 0), dtype=np.int64)
        return rows[np.argsort(self.address(rows, self.kept), kind="stable")]

    @cached_property
    def kept(self) -> tuple[str, ...]:
        """Batch indices that the output, or what stands between it and the links, still reads."""
        p, t = self.product, self.term
        read = set(t.out).union(*(t.tensors[n].inds for n in p.rest if n not in self.weighing))
        return tuple(ix for ix in p.batch if ix in read)

    @cached_property
    def stacks(self) -> tuple[Stack, ...]:
        """All ends: as one array if they are alike, or else one by one."""
        ends = self.product.ends
        together = self._together()
        if together:
            return (together,)
        return tuple(
            Stack((e,), tuple(self.form(e)), x.leg, x.batch, x.batch, x.inner) for e, x in enumerate(ends)
        )

    def size(self, e: int) -> int:
        """How many entries an end has."""
        inner = self.product.ends[e].inner
        return self.sizes[inner] if inner else 1

    def stack_of(self, e: int) -> int:
        """The number of the stack that holds an end."""
        return e if len(self.stacks) > 1 else 0

    def _together(self) -> Stack | None:
        ends = self.product.ends
        if len(ends) < 2 or any(e.inner is None for e in ends):
            return None
        kinds = set()
        for end in ends:
            places = tuple(k for k, ix in enumerate(end.leg) if ix in end.batch)
            others = tuple(sorted(ix for ix in end.batch if ix not in end.leg))
            free = [ix for k, ix in enumerate(end.leg) if k not in places and ix not in end.summed]
            sizes = (tuple(self.sizes[ix] for ix in end.leg), self.sizes[end.inner or ""])
            kinds.add((places, others, sizes, not free and end.inner not in end.leg))
        if len(kinds) > 1 or not next(iter(kinds))[3]:
            return None
        places, others, *_ = next(iter(kinds))
        leg = tuple(f"leg{k}" for k in range(len(ends[0].leg)))
        runs = (MODEL,) if self.models else ()
        forms = []
        for n, end in enumerate(ends):
            spots = tuple(end.leg[k] for k in places)
            rest = tuple(ix for ix in end.leg if ix not in spots)
            output = (*runs, *spots, *others, end.inner or "", *rest)
            tensors = self.form(n)
            have = {ix for x in tensors for ix in x.inds}
            like = tensors[0].data
            more = [ix for ix in output if ix not in have]
            tensors += [qtn.Tensor(ar.do("ones", (self.sizes[ix],), like=like), (ix,)) for ix in more]
            forms.append(Contraction(tuple(tensors), output).value())
        spots = tuple(leg[k] for k in places)
        inds = ("end", *runs, *spots, *others, "inner", *(ix for ix in leg if ix not in spots))
        data = qtn.Tensor(ar.do("stack", tuple(forms), axis=0), inds)
        return Stack(tuple(range(len(ends))), (data,), leg, (*spots, *others), others, "inner")

    @property
    def rows(self) -> int:
        """How many values the open index takes."""
        return self.sizes[self.product.open] if self.product.open else 1

    def address(self, rows: np.ndarray, inds: Sequence[str]) -> np.ndarray:
        """The number of every product's value of some batch indices."""
        number = np.zeros(len(rows), dtype=np.int64)
        for ix in inds:
            number = number * self.sizes[ix] + rows[:, self.product.batch.index(ix)]
        return number

    def form(self, e: int, bias: bool = False) -> list[qtn.Tensor]:
        """The tensors of a linear form, or of its bias; ones where the input is read as it is."""
        end = self.product.ends[e]
        like = self.term.tensors[0].data
        parts = [self.term.tensors[n] for n in end.parts]
        if bias:
            parts[0] = self.offsets[e]
        ones = [] if bias else [(ix, self.sizes[ix]) for ix in end.leg if ix not in end.summed]
        if self.models and not any(MODEL in x.inds for x in parts):
            ones.append((MODEL, self.models))
        return [*parts, *(qtn.Tensor(ar.do("ones", (n,), like=like), (ix,)) for ix, n in ones)]
