"""Arrays of a law on the legs that it closes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.common.wires import SIDES, model_index

__all__ = ["Block"]

Array = Any


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
        """Where the axes of the first leg, which has so many, and of the second are found, besides run axes."""
        front, shared = len(self.models), self.shared(axes)
        second, at = [], front + axes
        for k in range(ar.ndim(self.data) - at + len(shared)):
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
        """A covariance with the axes of the second leg first; the first leg has so many."""
        first, second = self.places(axes)
        order = (*range(len(self.models)), *second, *(a for a in first if a not in second))
        return (
            replace(self, data=ar.do("transpose", self.data, order)) if order else self
        )  # torch turns no number
