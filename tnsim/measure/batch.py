"""A term as a batch of products of links, one for every head and every two positions that it joins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import autoray as ar
import numpy as np
import quimb.tensor as qtn

from tnsim.algebra.term import Term
from tnsim.measure.links import Product, product_of

__all__ = ["Linked"]

Array = Any


@dataclass(frozen=True, eq=False)
class Linked:
    """A term with its links, on one side of the product.

    Attributes:
        term: the term.
        side: the model whose law its input follows.
        offsets: biases: for ends that are affine forms, what stands in place of the tensor that holds the leg.
    """

    term: Term
    side: int
    offsets: Mapping[int, qtn.Tensor] = field(default_factory=dict)

    @cached_property
    def product(self) -> Product:
        """Its links."""
        t = self.term
        return product_of((tuple(x.inds for x in t.tensors), t.legs, t.out), tuple(t.sizes.items()))

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The size of every index."""
        return self.term.sizes

    @cached_property
    def weighing(self) -> list[int]:
        """Numbers of the tensors that only weigh the products of a batch."""
        p = self.product
        return [n for n in p.rest if set(self.term.tensors[n].inds) <= set(p.batch)]

    @cached_property
    def weights(self) -> Array:
        """The weight of every product."""
        p, t = self.product, self.term
        value = (
            ar.do("reshape", ar.do("ones", (1,), like=t.tensors[0].data), (1,) * len(p.batch)) * t.coefficient
        )
        shape = [self.sizes[ix] for ix in p.batch]
        for n in self.weighing:
            x = t.tensors[n]
            order = sorted(range(len(x.inds)), key=lambda k: p.batch.index(x.inds[k]))
            axes = [self.sizes[ix] if ix in x.inds else 1 for ix in p.batch]
            data = ar.do("transpose", x.data, tuple(order)) if order else x.data
            value = value * ar.do("reshape", data, tuple(axes))
        return value + ar.do("zeros", tuple(shape), like=value)

    @cached_property
    def table(self) -> np.ndarray:
        """The products that have a weight: a row of batch indices each, those of one output together."""
        p = self.product
        value = np.asarray(ar.to_numpy(ar.stop_gradient(self.weights))).reshape(
            [self.sizes[ix] for ix in p.batch]
        )
        rows = np.argwhere(value != 0) if p.batch else np.zeros((int(value != 0), 0), dtype=np.int64)
        return rows[np.argsort(self.address(rows, self.kept), kind="stable")]

    @cached_property
    def kept(self) -> tuple[str, ...]:
        """Batch indices that the output, or what stands between it and the links, still reads."""
        p, t = self.product, self.term
        read = set(t.out).union(*(t.tensors[n].inds for n in p.rest if n not in self.weighing))
        return tuple(ix for ix in p.batch if ix in read)

    def address(self, rows: np.ndarray, inds: Sequence[str]) -> np.ndarray:
        """The number of every product's value of some batch indices."""
        number = np.zeros(len(rows), dtype=np.int64)
        for ix in inds:
            number = number * self.sizes[ix] + rows[:, self.product.batch.index(ix)]
        return number

    def form(self, e: int) -> list[qtn.Tensor]:
        """The tensors of a linear form; ones where the input is read as it is."""
        end = self.product.ends[e]
        like = self.term.tensors[0].data
        ones = [
            qtn.Tensor(ar.do("ones", (self.sizes[ix],), like=like), (ix,))
            for ix in end.leg
            if ix not in end.summed
        ]
        return [*(self.term.tensors[n] for n in end.parts), *ones]
