"""Multigraphs: how legs that come in blocks may be paired, up to permutations inside the blocks.

A symmetric matrix of pair counts says it: how many pairs run between every two blocks, on the diagonal how many inside.
They are counted without being listed, so that what is too much is known at once, and listed all at the same time.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import factorial, prod

import numpy as np

from tnsim.common.caches import cached
from tnsim.engine.effort import weigh

__all__ = ["MOST_GRAPHS", "count_multigraphs", "multigraphs"]

MOST_GRAPHS = 400_000  # that can be listed

_WEIGHED = 0.2  # operations weighed for every way of giving legs to other blocks


def multigraphs(sizes: Sequence[int], sides: Sequence[int] | None = None, leave: bool = False) -> np.ndarray:
    """Symmetric matrices of pair counts, shape ``(N, n, n)``; the diagonal counts pairs inside a block.

    Entry by entry, all matrices that agree so far are told apart at once. Arguments are as for :func:`orbits`.
    """
    n = len(sizes)
    left = np.array([sizes], dtype=np.int64)
    history: list[tuple[int, int, np.ndarray, np.ndarray]] = []

    def told_apart(i: int, j: int, first: np.ndarray, step: int, counts: np.ndarray) -> np.ndarray:
        """So many values of entry (i, j) from the first on; returns what is left of the blocks then."""
        counts = np.maximum(counts, 0)
        parent = np.repeat(np.arange(len(counts)), counts)
        value = first[parent] + step * (np.arange(len(parent)) - (np.cumsum(counts) - counts)[parent])
        history.append((i, j, parent, value))
        rest = left[parent]
        rest[:, i] -= value
        rest[:, j] -= value
        return rest

    for i in range(n):
        if sides is None:
            left = told_apart(i, i, np.zeros(len(left), dtype=np.int64), 1, left[:, i] // 2 + 1)
        others = [j for j in range(i + 1, n) if sides is None or sides[i] != sides[j]]
        for k, j in enumerate(others):
            most = np.minimum(left[:, i], left[:, j])
            least = 0 * most if leave else np.maximum(left[:, i] - left[:, others[k + 1 :]].sum(axis=1), 0)
            left = told_apart(i, j, most, -1, most - least + 1)
        if not leave:
            left = told_apart(i, i, 0 * left[:, i], 1, 1 - np.sign(left[:, i]))
    return _read_back(history, len(left), n)


def _read_back(history: Sequence[tuple[int, int, np.ndarray, np.ndarray]], count: int, n: int) -> np.ndarray:
    """The matrices whose entries were told apart one after the other."""
    table, at = np.zeros((count, n, n), dtype=np.int8), np.arange(count)
    for i, j, parent, value in reversed(history):
        table[:, i, j] += value[at].astype(np.int8)
        if i != j:
            table[:, j, i] = table[:, i, j]
        at = parent[at]
    return table


def count_multigraphs(sizes: Sequence[int], sides: Sequence[int] | None = None, leave: bool = False) -> int:
    """How many there are, without listing them; of more than can be listed, a lower bound.

    Example:
        Two depth-3 trees: eight blocks of two legs.

        >>> count_multigraphs((2,) * 8)
        18155
    """
    owners = (0,) * len(sizes) if sides is None else sides
    return _number(tuple(sorted(zip(owners, sizes, strict=True))), sides is None, leave)


@cached(2**16)
def _number(blocks: tuple[tuple[int, int], ...], within: bool, leave: bool) -> int:
    """Multigraphs on blocks, each given by its side and size; only the sizes of blocks that are left matter."""
    if not blocks:
        return 1
    (side, size), *others = blocks
    total = 0
    for loops in range(size // 2 + 1 if within else 1):
        need = size - 2 * loops
        for ways, rest, missing in _spread(need, tuple(Counter(others).items()), side, within):
            weigh(_WEIGHED)
            if leave or not missing:
                total += ways * _number(rest, within, leave)
            if total > MOST_GRAPHS:
                return total
    return total


def _spread(
    need: int, kinds: Sequence[tuple[tuple[int, int], int]], side: int, within: bool
) -> Iterator[tuple[int, tuple[tuple[int, int], ...], int]]:
    """So many legs given to blocks of some kinds: in how many ways, what is left of the blocks, and legs to spare."""
    if not kinds:
        yield 1, (), need
        return
    ((other, size), count), *more = kinds
    most = min(size, need) if within or other != side else 0
    for taken in _multisets(count, most, need):
        ways = factorial(count) // prod(map(factorial, Counter(taken).values()))
        left = tuple((other, size - k) for k in taken if size > k)
        for rest_ways, rest, missing in _spread(need - sum(taken), more, side, within):
            yield ways * rest_ways, tuple(sorted((*left, *rest))), missing


def _multisets(count: int, most: int, total: int) -> Iterator[tuple[int, ...]]:
    """So many numbers, in falling order, none above ``most``, of sum at most ``total``."""
    if count == 0:
        yield ()
        return
    for first in range(min(most, total), -1, -1):
        if first == 0:
            yield (0,) * count
            return
        for rest in _multisets(count - 1, first, total - first):
            yield (first, *rest)
