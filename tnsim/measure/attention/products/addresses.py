"""Where the products of a plan find what they read: covariances and means of the ends of links."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from tnsim.measure.attention.links.asked import Expected
from tnsim.measure.attention.links.ends import Ends
from tnsim.measure.attention.links.link import entries

__all__ = ["Found", "Held", "Places"]

_LISTED = 2**20  # numbers of blocks that are listed once for all chunks


class Held(NamedTuple):
    """What is in an array.

    Attributes:
        kind: ``"mean"`` of an end, or ``"cov"`` of two stacks of ends.
        k: a factor.
        x: the number of one of its ends, or stacks.
        m: a factor.
        y: the number of one of its stacks.
    """

    kind: str
    k: int
    x: int
    m: int
    y: int = 0


@dataclass(frozen=True, eq=False)
class Places:
    """Where products find an input: a matrix of blocks of an array.

    Attributes:
        array: the number of the array.
        bases: for every product a number of a block, −1 for a block of zeros; several, as blocks differ in positions.
        which: for every block of the matrix, by rows and columns, which of the bases.
        offset: what is added to it.
    """

    array: int
    bases: tuple[np.ndarray, ...]
    which: np.ndarray
    offset: np.ndarray

    def blocks(self, some: np.ndarray) -> np.ndarray:
        """Numbers of the blocks of some products, shape ``(products, rows, columns)``."""
        if self.which.size * len(self.bases[0]) > _LISTED:
            return self._blocks(some)
        return self._table[some]

    @cached_property
    def _table(self) -> np.ndarray:
        return self._blocks(np.arange(len(self.bases[0])))

    def _blocks(self, some: np.ndarray) -> np.ndarray:
        bases = np.stack([base[some] for base in self.bases])[self.which]
        return np.moveaxis(np.where(bases < 0, -1, bases + self.offset[..., None]), -1, 0)

    @property
    def padded(self) -> bool:
        """Whether some blocks are zeros."""
        return any((base < 0).any() for base in self.bases)


class Found:
    """Where the products of a plan find what they read.

    Args:
        one: the terms.
        rows: for every factor the batch indices of every product.
        ends: the ends of their links.
    """

    def __init__(self, one: Expected, rows: Sequence[np.ndarray], ends: Ends):
        self._one, self._rows, self._ends = one, rows, ends
        self._made: dict[Any, Any] = {}

    def source(self, name: Any) -> Held:
        """The array that a mean or covariance is part of."""
        if len(name) == 2:
            k, e = name
            return Held("mean", k, e, k)
        k, e, m, f = name
        return Held("cov", k, self._one.terms[k].stack_of(e), m, self._one.terms[m].stack_of(f))

    def live(self, name: Any) -> np.ndarray | None:
        """For which products a mean or covariance may be other than zero; ``None`` for all."""
        if len(name) == 2:
            return None
        (k, e, m, f), terms = name, self._one.terms
        pairs = self._ends.apart(terms[k], e, terms[m], f)
        pairs = [(a, b) for a, b in pairs if k != m or a != b]
        key = ("live", k, m, *pairs)
        if key not in self._made:
            mine, other = terms[k].address, terms[m].address
            found = [mine(self._rows[k], (a,)) == other(self._rows[m], (b,)) for a, b in pairs]
            mask = np.logical_and.reduce(found) if found else None
            self._made[key] = None if mask is None or mask.all() else mask
        live: np.ndarray | None = self._made[key]
        return live

    def places(self, name: Any, sources: Sequence[Held], alive: frozenset[Any], some: np.ndarray) -> Places:
        """Where some products find an input of a program."""
        kind, left, *more = name
        if kind == "mean":
            k, e = left
            at = self._address(k, self._one.terms[k].product.ends[e].batch, k, ())[some]
            return Places(sources.index(self.source(left)), (at,), *np.zeros((2, 1, 1), dtype=np.int64))
        (right,) = more
        bases: dict[int, np.ndarray] = {}
        which, offset = np.zeros((2, len(left), len(right)), dtype=np.int64)
        for at in np.ndindex(which.shape):
            base, offset[at] = self._block((*left[at[0]], *right[at[1]]), alive, some)
            bases.setdefault(id(base), base)
            which[at] = list(bases).index(id(base))
        source = self.source((*left[0], *right[0]))
        return Places(sources.index(source), tuple(bases.values()), which, offset)

    def _block(self, name: Any, alive: frozenset[Any], some: np.ndarray) -> tuple[np.ndarray, int]:
        """Where some products find the covariance of two ends, −1 where it is zero; and where such blocks begin."""
        k, e, m, f = name
        s, t = self._one.terms[k], self._one.terms[m]
        name = (k, min(e, f), m, max(e, f)) if k == m else name
        first, own = self._ends.batches(s, e, t, f, k == m)
        every = self._address(k, first, m, own)
        mask = self.live(name) if name in alive else np.zeros(len(every), dtype=bool)
        key = ("block", id(every), id(mask) if name in alive else None, id(some))
        if key not in self._made:
            self._made[key] = every[some] if mask is None else np.where(mask[some], every[some], -1)
        x, y = (u.stacks[u.stack_of(n)].ends for u, n in ((s, e), (t, f)))
        number = x.index(e) * len(y) + y.index(f)
        return self._made[key], number * entries(first, s.sizes) * entries(own, t.sizes)

    def _address(self, k: int, first: tuple[str, ...], m: int, own: tuple[str, ...]) -> np.ndarray:
        """The number of every product's value of some indices of two factors."""
        key = ("address", k, first, m, own)
        if key not in self._made:
            s, t = self._one.terms[k], self._one.terms[m]
            at = s.address(self._rows[k], first) * entries(own, t.sizes)
            self._made[key] = at + t.address(self._rows[m], own)
        address: np.ndarray = self._made[key]
        return address
