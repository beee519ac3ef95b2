"""Symmetric tensors with every entry stored once.

A symmetric tensor of order k over d dimensions has C(d+k−1, k) different entries: one for every multiset of k
numbers below d. They stand on one axis, the multisets in colexicographic order.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import combinations
from math import comb, factorial, prod
from typing import Any

import autoray as ar
import numpy as np

from tnsim.common.caches import cached
from tnsim.common.digits import rounded
from tnsim.engine.constants import Constant, table
from tnsim.engine.contract import itemsize, performed
from tnsim.engine.costs import Cost

__all__ = ["entries", "fold", "merge", "multiplicity", "scale", "unfold"]

Array = Any


def entries(d: int, k: int) -> int:
    """How many different entries a symmetric tensor has.

    Example:
        >>> entries(16, 4), 16**4
        (3876, 65536)
    """
    return comb(d + k - 1, k)


def unfold(x: Array, d: int, groups: Sequence[int], axis: int = -1) -> Array:
    """Split the indices of a symmetric tensor into groups: its axis becomes one axis for every group.

    Args:
        x: an array with a packed axis.
        d: the dimension of the indices.
        groups: how many indices each group has, in sum the order of the tensor.
        axis: the packed axis, counted from the end.

    Example:
        The entries 00, 01, 11 as a matrix.

        >>> unfold(np.array([1.0, 2.0, 3.0]), 2, (1, 1))
        array([[1., 2.],
               [2., 3.]])
    """
    for m in groups[:-1]:
        rest = sum(groups) - m
        x = _taken(x, axis, (entries(d, m), entries(d, rest)), _joined, d, m, rest)
        groups = groups[1:]
    return x


def fold(x: Array, d: int, a: int, b: int) -> Array:
    """The symmetric part of a tensor that is symmetric in its first a and in its last b indices.

    Args:
        x: shape ``(…, entries(d, a), entries(d, b))``.
        d: the dimension of the indices.
        a: the order of the last axis but one.
        b: the order of the last axis.

    Returns:
        Shape ``(…, entries(d, a + b))``: every entry is the mean over the C(a+b, a) ways of giving a of its
        indices to the first group.

    Example:
        >>> fold(np.array([[1.0, 4.0], [0.0, 3.0]]), 2, 1, 1)
        array([1., 2., 3.])
    """
    if not (a and b):
        return _flat(x, 2)
    shape = (*ar.shape(x)[:-2], entries(d, a + b))
    ways = comb(a + b, a)
    size = rounded(prod(shape) * ways)
    held = rounded(2 * prod(ar.shape(x)) + 2 * prod(shape)) * itemsize(x)  # both also with their axes turned
    cost = Cost(2 * size, held, 0, size, starts=2 * rounded(ways))
    return performed(_folded, (x, shape[-1], _Ways(d, a, b)), shape, x, cost)


def merge(x: Array, d: int, k: int, axis: int = -1) -> Array:
    """Pack a tensor that is symmetric, but has its first k − 1 indices on one axis and the last on the next.

    Args:
        x: an array with axes of ``entries(d, k - 1)`` and ``d``.
        d: the dimension of the indices.
        k: the order of the result.
        axis: the second of the two axes, counted from the end.
    """
    if k == 1:
        at = ar.ndim(x) + axis
        return ar.do("reshape", x, (*ar.shape(x)[: at - 1], d, *ar.shape(x)[at + 1 :]))
    at = ar.ndim(x) + axis
    flat = ar.do("reshape", x, (*ar.shape(x)[: at - 1], entries(d, k - 1) * d, *ar.shape(x)[at + 1 :]))
    return _taken(flat, axis, (entries(d, k),), _chosen, d, k, tuple(range(k - 1)))


def scale(x: Array, groups: Sequence[tuple[int, int] | None]) -> Array:
    """Packed axes in an orthonormal basis: entries times the square root of how often they occur in the full tensor.

    Then a sum over a packed axis is the sum over all its indices.

    Args:
        x: an array whose last axes are packed.
        groups: for each of these its dimension and order, or ``None`` to leave it as it is.
    """
    if all(group is None or group[1] < 2 for group in groups):
        return x
    size = float(prod(ar.shape(x)))
    sizes = table(_sizes, *groups)
    return performed(_scaled, (x, sizes), ar.shape(x), x, Cost(size, 0.0, 0, size))


@cached(256)
def multiplicity(d: int, k: int) -> np.ndarray:
    """How often every packed entry occurs in the full tensor.

    Example:
        >>> multiplicity(2, 2).tolist()
        [1.0, 2.0, 1.0]
    """
    rows = _multisets(d, k)
    run = np.ones(rows.shape, dtype=np.int64)
    for j in range(1, k):
        run[:, j] = np.where(rows[:, j] == rows[:, j - 1], run[:, j - 1] + 1, 1)
    return factorial(k) / run.prod(axis=1).astype(float)


def _flat(x: Array, axes: int) -> Array:
    shape = ar.shape(x)
    return ar.do("reshape", x, (*shape[:-axes], prod(shape[-axes:])))


@dataclass(frozen=True)
class _Ways:
    """Tables for all ways of choosing a of a + b indices: as many as there are, so they are made when they are read."""

    d: int
    a: int
    b: int

    @cached_property
    def tables(self) -> tuple[Constant, ...]:
        order = self.a + self.b
        return tuple(table(_chosen, self.d, order, way) for way in combinations(range(order), self.a))


def _folded(x: Array, size: int, ways: _Ways) -> Array:
    *front, a, b = ar.shape(x)
    n = len(front)
    rows = ar.do("transpose", x, (n, n + 1, *range(n)))  # whole rows are looked up, not single numbers
    rows = ar.do("reshape", rows, (a * b, prod(front)))
    parts = (ar.do("take", rows, way.index(x), axis=0) for way in ways.tables)
    total = reduce(operator.add, parts) / len(ways.tables)
    return ar.do("reshape", ar.do("transpose", total, (1, 0)), (*front, size))


def _scaled(x: Array, sizes: Constant) -> Array:
    return x * sizes.like(x)


def _sizes(*groups: tuple[int, int] | None) -> np.ndarray:
    """Square roots of how often entries occur, for packed axes and, where there is no group, for any others."""
    whole = np.ones(())
    for group in groups:
        whole = whole[..., None] * (np.ones(1) if group is None else multiplicity(*group) ** 0.5)
    return whole


def _taken(x: Array, axis: int, shape: tuple[int, ...], make: Callable[..., np.ndarray], *key: Any) -> Array:
    """Entries of one axis at the positions in ``make(*key)``, which is made only if values are wanted."""
    at = ar.ndim(x) + axis
    whole = (*ar.shape(x)[:at], *shape, *ar.shape(x)[at + 1 :])
    size = rounded(prod(whole))
    return performed(_looked_up, (x, at, whole, table(make, *key)), whole, x, Cost(size, 0.0, 0, size))


def _looked_up(x: Array, at: int, shape: tuple[int, ...], numbers: Constant) -> Array:
    return ar.do("reshape", ar.do("take", x, numbers.index(x), axis=at), shape)


@cached(256)
def _multisets(d: int, k: int) -> np.ndarray:
    """All multisets of k numbers below d, sorted, one for every row, in colexicographic order."""
    if k == 0:
        return np.zeros((1, 0), dtype=np.min_scalar_type(d))  # small: tables of them are large
    less = _multisets(d, k - 1)
    parts = [less[: entries(v + 1, k - 1)] for v in range(d)]
    last = np.repeat(np.arange(d, dtype=less.dtype), [len(p) for p in parts])
    return np.concatenate([np.concatenate(parts), last[:, None]], axis=1)


def _rank(rows: np.ndarray, d: int) -> np.ndarray:
    """The position of sorted multisets in the list of all."""
    k = rows.shape[-1]
    position = np.zeros(rows.shape[:-1], dtype=np.int64)
    for j in range(k):
        table = np.array([comb(v + j, j + 1) for v in range(d)], dtype=np.int64)
        position += table[rows[..., j]]
    return position


@cached(64)
def _joined(d: int, a: int, b: int) -> np.ndarray:
    """Where the union of two multisets stands, shape ``(entries(d, a), entries(d, b))``."""
    first, second = _multisets(d, a), _multisets(d, b)
    shape = (len(first), len(second))
    rows = np.concatenate(
        [np.broadcast_to(first[:, None], (*shape, a)), np.broadcast_to(second[None], (*shape, b))], axis=-1
    )
    return _rank(np.sort(rows, axis=-1), d)


@cached(512)
def _chosen(d: int, k: int, way: tuple[int, ...]) -> np.ndarray:
    """For every multiset, where its split stands: the members ``way`` on one axis, the others on the next."""
    rows = _multisets(d, k)
    others = [j for j in range(k) if j not in way]
    return _rank(rows[:, list(way)], d) * entries(d, len(others)) + _rank(rows[:, others], d)
