"""Pairings of legs up to the exchanges that do not change their value.

Legs come in blocks whose members may be permuted at will. Up to that, a pairing is a multigraph on the blocks: how
many pairs run between every two of them, how many inside, how many legs are left alone. The multigraphs are
listed directly (18,155 of them stand for the 2,027,025 matchings of two depth-3 trees) and then merged under
exchanges of whole blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import factorial, prod

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["Orbit", "orbits"]

_MOST_GRAPHS = 400_000


@dataclass(frozen=True)
class Orbit:
    """Pairings that have the same value, by one of them.

    Attributes:
        weight: how many there are.
        pairs: ``(i, j, n)``: n pairs between blocks i ≤ j.
        alone: for every block the number of legs left alone.
    """

    weight: int
    pairs: tuple[tuple[int, int, int], ...]
    alone: tuple[int, ...]


@lru_cache(maxsize=4096)
def orbits(
    sizes: tuple[int, ...],
    swaps: tuple[tuple[int, ...], ...] = (),
    sides: tuple[int, ...] | None = None,
    leave: bool = False,
) -> tuple[Orbit, ...]:
    """All pairings of the legs of some blocks, up to exchanges.

    Args:
        sizes: the number of legs of every block.
        swaps: permutations of the blocks that do not change a pairing's value (generators of the group).
        sides: if given, only pairs between blocks of different sides count.
        leave: whether legs may be left alone.

    Raises:
        ValueError: if there are more multigraphs than can be listed.

    Example:
        Two bilinear layers: 3 matchings, of which the two that cross have one value.

        >>> [(orbit.weight, orbit.pairs) for orbit in orbits((2, 2))]
        [(2, ((0, 1, 2),)), (1, ((0, 0, 1), (1, 1, 1)))]
    """
    n = len(sizes)
    graphs = []
    for graph in _multigraphs(sizes, sides, leave):
        graphs.append(graph)
        if len(graphs) > _MOST_GRAPHS:
            raise ValueError(f"blocks of {sizes} legs have more than {_MOST_GRAPHS} pairings up to exchanges.")
    if not graphs:
        return ()
    table = np.array(graphs, dtype=np.int8).reshape(len(graphs), n, n)
    weights = [_count(sizes, graph) for graph in table]
    label = _merged(table, swaps)
    found: dict[int, tuple[int, int]] = {}
    for k, (orbit, weight) in enumerate(zip(label, weights, strict=True)):
        first, total = found.get(orbit, (k, 0))
        found[orbit] = (first, total + weight)
    return tuple(_orbit(sizes, table[first], total) for first, total in found.values())


def _multigraphs(sizes: Sequence[int], sides: Sequence[int] | None, leave: bool) -> Iterator[list[list[int]]]:
    """Symmetric matrices of pair counts; the diagonal counts pairs inside a block."""
    n = len(sizes)
    graph = [[0] * n for _ in range(n)]
    left = list(sizes)

    def row(i: int) -> Iterator[list[list[int]]]:
        if i == n:
            yield [line[:] for line in graph]
            return
        most = left[i] // 2 if sides is None else 0
        for loops in range(most + 1):
            graph[i][i] = loops
            yield from spread(i, i + 1, left[i] - 2 * loops)
        graph[i][i] = 0

    def spread(i: int, j: int, rest: int) -> Iterator[list[list[int]]]:
        if rest == 0 or j == n:
            if rest == 0 or leave:
                yield from row(i + 1)
            return
        across = sides is None or sides[i] != sides[j]
        for count in range(min(rest, left[j]) if across else 0, -1, -1):
            graph[i][j] = graph[j][i] = count
            left[j] -= count
            yield from spread(i, j + 1, rest - count)
            left[j] += count
        graph[i][j] = graph[j][i] = 0

    yield from row(0)


def _alone(sizes: Sequence[int], graph: np.ndarray) -> list[int]:
    return [int(s - graph[i].sum() - graph[i, i]) for i, s in enumerate(sizes)]


def _count(sizes: Sequence[int], graph: np.ndarray) -> int:
    """How many pairings of the legs a multigraph stands for."""
    n = len(sizes)
    over = prod(factorial(int(graph[i, j])) for i in range(n) for j in range(i + 1, n))
    over *= prod(2 ** int(graph[i, i]) * factorial(int(graph[i, i])) for i in range(n))
    over *= prod(map(factorial, _alone(sizes, graph)))
    return prod(map(factorial, sizes)) // over


def _merged(table: np.ndarray, swaps: Sequence[tuple[int, ...]]) -> np.ndarray:
    """The orbit of every multigraph: connected components under the generators."""
    count = len(table)
    if not swaps:
        return np.arange(count)
    images = [table, *(table[:, order][:, :, order] for order in map(list, swaps))]
    flat = np.concatenate(images).reshape(len(images) * count, -1)
    codes = np.unique(np.ascontiguousarray(flat).view(f"V{flat.shape[1]}").ravel(), return_inverse=True)[1]
    where = np.empty(count, dtype=np.int64)
    where[codes[:count]] = np.arange(count)
    targets = where[codes[count:]]
    sources = np.tile(np.arange(count), len(swaps))
    graph = coo_array((np.ones(len(sources), dtype=np.int8), (sources, targets)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _orbit(sizes: Sequence[int], graph: np.ndarray, weight: int) -> Orbit:
    n = len(sizes)
    pairs = tuple((i, j, int(graph[i, j])) for i in range(n) for j in range(i, n) if graph[i, j])
    return Orbit(weight, pairs, tuple(_alone(sizes, graph)))
