"""Arithmetic of batches of small matrices, where ``None`` stands for a batch of zeros."""

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import autoray as ar

__all__ = ["cat", "contracted", "row", "scaled", "times", "total", "trace", "turned"]

Array = Any


def total(values: Any) -> Array | None:
    """The sum of those that are not zero."""
    given = [x for x in values if x is not None]
    return reduce(operator.add, given) if given else None


def scaled(x: Array | None, factor: Array | float) -> Array | None:
    """An array times numbers."""
    return None if x is None else x if isinstance(factor, float) and factor == 1.0 else x * factor


def times(x: Array, y: Array | None) -> Array | None:
    """A product of matrices."""
    return None if y is None else x @ y


def turned(x: Array) -> Array:
    """Every matrix transposed."""
    return x.swapaxes(1, 2)


def cat(parts: Sequence[Array], axis: int) -> Array:
    """Arrays one behind the other."""
    return parts[0] if len(parts) == 1 else ar.do("concatenate", tuple(parts), axis=axis)


def row(
    parts: Sequence[Array | None], sizes: Sequence[int], zeros: Callable[[tuple[int, int]], Array]
) -> Array | None:
    """Vectors side by side, as matrices of one row."""
    if all(x is None for x in parts):
        return None
    return cat([zeros((1, n)) if x is None else x[:, None] for x, n in zip(parts, sizes, strict=True)], -1)


def trace(x: Array) -> Array:
    """The trace of every matrix, as a matrix of one entry."""
    return x.diagonal(0, 1, 2).sum(-1)[:, None, None]


def contracted(x: Array, y: Array) -> Array:
    """The sum over all entries of x ∘ y, as a matrix of one entry."""
    return (x * y).reshape(x.shape[0], -1).sum(-1)[:, None, None]
