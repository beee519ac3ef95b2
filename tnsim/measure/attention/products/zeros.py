"""Products sorted by what is zero there."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["patterns"]


def patterns(
    live: Mapping[Any, np.ndarray | None],
    count: int,
    flops: Callable[[frozenset[Any]], float],
    overhead: float,
) -> list[tuple[np.ndarray, frozenset[Any]]]:
    """Products in groups, and the inputs that are not zero there: as few operations as can be had with few groups.

    Args:
        live: for every input for which products it is not zero; ``None`` for all.
        count: how many products there are.
        flops: operations for one product with some inputs.
        overhead: operations that one more group may cost.
    """
    number = np.zeros(count, dtype=np.int64)
    for mask in {id(mask): mask for mask in live.values()}.values():
        if mask is not None:
            number = np.unique(number * 2 + mask, return_inverse=True)[1]
    groups = []
    for value in range(number.max(initial=-1) + 1):
        some = np.flatnonzero(number == value)
        groups.append((some, frozenset(n for n, mask in live.items() if mask is None or mask[some[0]])))
    groups = [(some, alive) for some, alive in groups if flops(alive) > 0]
    while len(groups) > 1:
        best, pair = overhead, None
        for x, (some, alive) in enumerate(groups):
            for y, (others, more) in enumerate(groups[:x]):
                apart = len(some) * flops(alive) + len(others) * flops(more)
                added = (len(some) + len(others)) * flops(alive | more) - apart
                if added < best:
                    best, pair = added, (x, y)
        if pair is None:
            break
        x, y = pair
        (some, alive), (others, more) = groups.pop(x), groups.pop(y)
        groups.append((np.sort(np.concatenate([some, others])), alive | more))
    return groups
