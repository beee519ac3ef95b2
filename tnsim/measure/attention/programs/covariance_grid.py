"""Grids: covariances of the ends of links as parts of larger matrices.

A chain leaves a link at one of its legs and enters the next at one of its own, so what is read of all covariances are
blocks of two rows and two columns. In a grid whose columns are ordered by where a chain comes *out*, they are
neighbours, and a block is a part of the grid, not a copy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tnsim.measure.attention.programs.program import Assembler, Symbol

__all__ = ["Grid", "JointMatrix", "wholes"]


@dataclass(frozen=True)
class JointMatrix:
    """Covariances of many ends in one matrix.

    Attributes:
        rows: numbers of ends.
        columns: numbers of ends.
        turned: the columns are those of the first stack, and what is given is the transpose.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    turned: bool = False


def wholes(
    stacks: Sequence[Sequence[int]], pairs: Sequence[tuple[int, int]], singles: Sequence[int]
) -> list[JointMatrix]:
    """The matrices of what chains read of stacks of ends: rows are left, columns are entered.

    Chains start at all single links but the last, and end at all but the first, or at the last.
    """
    left = [*(e for link in pairs for e in link), *singles[:-1]]
    entered = [*(e for u, w in pairs for e in (w, u)), *(singles[1:] or singles)]
    found = []
    for n, x in enumerate(stacks):
        for y in stacks[n:]:
            both = [(x, y, False)] if x is y else [(x, y, False), (y, x, True)]
            for rows, columns, turned in both:
                some = tuple(e for e in left if e in rows), tuple(e for e in entered if e in columns)
                if all(some):
                    found.append(JointMatrix(*some, turned))
    return found


class Grid:
    """Covariances and means of ends, as recorded matrices; ``None`` where they are zero.

    Args:
        sizes: how many entries every end has.
        alive: whether the covariance of two ends, the first number not larger, may be other than zero.
        mean: the mean of an end, a matrix of one row.
        together: the matrix of many covariances.
        parts: which such matrices there are.
        recorder: where it is written down what to do.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        alive: Callable[[int, int], bool],
        mean: Callable[[int], Symbol | None],
        together: Callable[[JointMatrix], Symbol],
        parts: Sequence[JointMatrix],
        recorder: Assembler,
    ):
        self._sizes, self._alive, self.mean = sizes, alive, mean
        self._together, self._parts, self._recorder = together, parts, recorder

    def alive(self, e: int, f: int) -> bool:
        """Whether two ends vary together."""
        return self._alive(min(e, f), max(e, f))

    def cov(self, e: int, f: int) -> Symbol | None:
        """The covariance of two ends, shape ``(c, c')``."""
        return self.block((e,), (f,))

    def block(self, rows: Sequence[int], columns: Sequence[int]) -> Symbol | None:
        """Covariances of some ends, one below the other, with others, side by side."""
        if not any(self.alive(e, f) for e in rows for f in columns):
            return None
        found = self._part(rows, columns)
        if found is not None:
            return found
        found = self._part(columns, rows)
        if found is not None:
            return found.turned
        return self._recorder.cat([self._below(rows, f) for f in columns], 1)

    def below(self, parts: Sequence[tuple[Symbol | None, int]], width: int) -> Symbol:
        """Matrices of some heights one below the other, zeros in place of ``None``."""
        return self._recorder.cat([self._recorder.zeros((h, width)) if x is None else x for x, h in parts], 0)

    def _below(self, rows: Sequence[int], f: int) -> Symbol:
        return self.below([(self.cov(e, f), self._sizes[e]) for e in rows], self._sizes[f])

    def _part(self, rows: Sequence[int], columns: Sequence[int]) -> Symbol | None:
        """A block of neighbours, as a part of a larger matrix."""
        for whole in self._parts:
            top, left = _start(whole.rows, rows), _start(whole.columns, columns)
            if top is not None and left is not None:
                c, d = self._sizes[rows[0]], self._sizes[columns[0]]
                x = self._together(whole).rows(top * c, (top + len(rows)) * c)
                return x.columns(left * d, (left + len(columns)) * d)
        return None


def _start(whole: Sequence[int], some: Sequence[int]) -> int | None:
    """Where some of the ends begin, if they are neighbours."""
    if some[0] not in whole:
        return None
    at = whole.index(some[0])
    return at if tuple(whole[at : at + len(some)]) == tuple(some) else None
