"""Blocks: an axis as several, of which an operation mixes the entries along one only.

A rotary embedding mixes feature i with i + d/2, or 2i with 2i + 1: with features as d/2 pairs, it is a 2 × 2 matrix for
every position and pair, where one between all features of a position would have d/4 times as many entries as that.
"""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

__all__ = ["blocks"]

Sizes = tuple[int, ...]


def blocks(fn: Callable[[Tensor], Tensor], item: Sizes, axis: int, like: Tensor) -> Sizes | None:
    """The axis as (a, s, b) of which an affine operation mixes the entries along s only, with the smallest s there is.

    Args:
        fn: the operation on one tensor; its result has the same shape.
        item: that shape.
        axis: the axis.
        like: a tensor of the dtype and on the device to ask it with.

    Returns:
        Three sizes whose product is that of the axis; ``None`` if all of it is mixed, or entries along other axes are.

    Example:
        >>> halves = lambda x: x + torch.cat((-x[..., 3:], x[..., :3]), -1)
        >>> pairs = lambda x: x + x.unflatten(-1, (3, 2)).flip(-1).flatten(-2)
        >>> blocks(halves, (4, 6), 1, torch.zeros(())), blocks(pairs, (4, 6), 1, torch.zeros(()))
        ((1, 2, 3), (3, 2, 1))
    """
    if not _keeps_apart(fn, item, axis, like):
        return None
    n = item[axis]
    read, given = _reads(fn, item, axis, like).nonzero(as_tuple=True)
    for s in (s for s in range(1, n) if n % s == 0):
        for a in (a for a in range(1, n // s + 1) if n // s % a == 0):
            b = n // (a * s)
            within = (read // (s * b) == given // (s * b)) & (read % b == given % b)
            if bool(within.all()):
                return a, s, b
    return None


def _keeps_apart(fn: Callable[[Tensor], Tensor], item: Sizes, axis: int, like: Tensor) -> bool:
    """Whether entries along all other axes stay apart: then numbers for each of them may be multiplied before or after."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64).to(like)  # noqa: E731
    x, c = draw(item), draw((*item[:axis], 1, *item[axis + 1 :]))
    zero = fn(like.new_zeros(item))
    before, after = fn(x * c) - zero, (fn(x) - zero) * c
    rtol = torch.finfo(like.dtype).eps ** 0.5
    return torch.allclose(before, after, rtol=rtol, atol=rtol * float(after.detach().abs().max()))


def _reads(fn: Callable[[Tensor], Tensor], item: Sizes, axis: int, like: Tensor) -> Tensor:
    """Which entries along the axis change which, by noise on one of them: booleans of shape (read, given)."""
    zero = fn(like.new_zeros(item))
    generator = torch.Generator().manual_seed(0)
    rows = []
    for entry in range(item[axis]):
        x = like.new_zeros(item)
        noise = torch.randn(prod(item) // item[axis], generator=generator, dtype=torch.float64)
        part = x.select(axis, entry)
        part.copy_(noise.reshape(part.shape))
        rows.append((fn(x) - zero).movedim(axis, 0).flatten(1).any(1))
    return torch.stack(rows).cpu()
