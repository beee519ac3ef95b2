"""Pairings of legs up to the exchanges that do not change their value.

Legs come in blocks whose members may be permuted at will. Up to that, a pairing is a multigraph on the blocks: how
many pairs run between every two of them, how many inside, how many legs are left alone. The multigraphs are
listed directly (18,155 of them stand for the 2,027,025 matchings of two depth-3 trees) and then merged under
exchanges of whole blocks.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import factorial, prod

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tnsim.algebra.price import rounded
from tnsim.algebra.symmetry import blocks, swaps
from tnsim.algebra.term import Term

__all__ = [
    "MOST_ORBITS",
    "Orbit",
    "Paired",
    "TooManyPairings",
    "count_matchings",
    "count_multigraphs",
    "count_pairings",
    "orbits",
    "pairings_of",
]

MOST_ORBITS = 50_000
_MOST_GRAPHS = 400_000

Place = tuple[int, int]  # (factor, leg number)
Paired = tuple[int, tuple[tuple[Place, Place], ...], tuple[Place, ...]]  # weight, pairs, legs left alone


def pairings_of(
    factors: Sequence[Term], across: bool = False, leave: bool = False, exchange: bool = False
) -> list[Paired]:
    """One pairing of the legs of a product for every orbit, with the number of pairings it stands for.

    Args:
        factors: one or two terms, with their symmetries.
        across: only pairs between the two factors count.
        leave: whether legs may be left alone.
        exchange: whether the two factors, then the same term, may be exchanged as well.
    """
    groups, found = _orbits_of(factors, across, leave, exchange)
    result = []
    for orbit in found:
        rest = [[(f, leg) for leg in block] for f, block in groups]
        pairs = tuple((rest[i].pop(0), rest[j].pop(0)) for i, j, n in orbit.pairs for _ in range(n))
        result.append((orbit.weight, pairs, tuple(place for places in rest for place in places)))
    return result


def count_pairings(
    factors: Sequence[Term], across: bool = False, leave: bool = False, exchange: bool = False
) -> int:
    """How many there are in :func:`pairings_of`."""
    return len(_orbits_of(factors, across, leave, exchange)[1])


def _orbits_of(
    factors: Sequence[Term], across: bool, leave: bool, exchange: bool
) -> tuple[list[tuple[int, tuple[int, ...]]], tuple["Orbit", ...]]:
    """Blocks of legs, each with its factor, and the orbits of their pairings."""
    groups = [(f, block) for f, t in enumerate(factors) for block in blocks(t.tree)]
    counts = [sum(f == k for f, _ in groups) for k in range(len(factors))]
    generators = []
    for f, t in enumerate(factors):
        first = sum(counts[:f])
        for swap in swaps(t.tree):
            order = list(range(len(groups)))
            order[first : first + counts[f]] = [first + k for k in swap]
            generators.append(tuple(order))
    if exchange and groups:
        half = counts[0]
        generators.append((*range(half, 2 * half), *range(half)))
    sides = tuple(f for f, _ in groups) if across else None
    return groups, orbits(tuple(len(b) for _, b in groups), tuple(generators), sides, leave)


class TooManyPairings(ValueError):
    """More pairings than can be listed."""

    def __init__(self, legs: int, count: int):
        super().__init__(f"{legs} legs have {rounded(count):.1g} pairings or more, up to exchanges.")
        self.legs, self.count = legs, count


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
    generators: tuple[tuple[int, ...], ...] = (),
    sides: tuple[int, ...] | None = None,
    leave: bool = False,
) -> tuple[Orbit, ...]:
    """All pairings of the legs of some blocks, up to exchanges.

    Args:
        sizes: the number of legs of every block.
        generators: permutations of the blocks that do not change a pairing's value.
        sides: if given, only pairs between blocks of different sides count.
        leave: whether legs may be left alone.

    Raises:
        TooManyPairings: if there are more multigraphs than can be listed.

    Example:
        Two bilinear layers: 3 matchings, of which the two that cross have one value.

        >>> [(orbit.weight, orbit.pairs) for orbit in orbits((2, 2))]
        [(2, ((0, 1, 2),)), (1, ((0, 0, 1), (1, 1, 1)))]
    """
    n = len(sizes)
    legs = sum(sizes)
    pairings = factorial(legs // 2) if sides is not None else count_matchings(legs)
    least = pairings // prod(map(factorial, sizes))  # of the multigraphs, without counting them
    count = least if least > _MOST_GRAPHS else count_multigraphs(sizes, sides, leave)
    fewest = count // factorial(len(generators) + 1)  # transpositions of a tree generate no larger group
    if count > _MOST_GRAPHS or fewest > MOST_ORBITS:
        raise TooManyPairings(legs, max(fewest, MOST_ORBITS + 1))
    if not count:
        return ()
    graphs = list(_multigraphs(sizes, sides, leave))
    table = np.array(graphs, dtype=np.int8).reshape(len(graphs), n, n)
    weights = [_count(sizes, graph) for graph in table]
    label = _merged(table, generators)
    found: dict[int, tuple[int, int]] = {}
    for k, (orbit, weight) in enumerate(zip(label, weights, strict=True)):
        first, total = found.get(orbit, (k, 0))
        found[orbit] = (first, total + weight)
    return tuple(_orbit(sizes, table[first], total) for first, total in found.values())


def count_multigraphs(sizes: Sequence[int], sides: Sequence[int] | None = None, leave: bool = False) -> int:
    """How many there are, without listing them; of more than can be listed, a lower bound.

    Example:
        Two depth-3 trees: eight blocks of two legs.

        >>> count_multigraphs((2,) * 8)
        18155
    """
    owners = (0,) * len(sizes) if sides is None else sides
    return _number(tuple(sorted(zip(owners, sizes, strict=True))), sides is None, leave)


@lru_cache(maxsize=2**16)
def _number(blocks: tuple[tuple[int, int], ...], within: bool, leave: bool) -> int:
    """Multigraphs on blocks, each given by its side and size; only the sizes of blocks that are left matter."""
    if not blocks:
        return 1
    (side, size), *others = blocks
    total = 0
    for loops in range(size // 2 + 1 if within else 1):
        need = size - 2 * loops
        for ways, rest, missing in _spread(need, tuple(Counter(others).items()), side, within):
            if leave or not missing:
                total += ways * _number(rest, within, leave)
            if total > _MOST_GRAPHS:
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


def _merged(table: np.ndarray, generators: Sequence[tuple[int, ...]]) -> np.ndarray:
    """The orbit of every multigraph: connected components under the generators."""
    count = len(table)
    if not generators:
        return np.arange(count)
    images = [table, *(table[:, order][:, :, order] for order in map(list, generators))]
    flat = np.concatenate(images).reshape(len(images) * count, -1)
    codes = np.unique(np.ascontiguousarray(flat).view(f"V{flat.shape[1]}").ravel(), return_inverse=True)[1]
    where = np.empty(count, dtype=np.int64)
    where[codes[:count]] = np.arange(count)
    targets = where[codes[count:]]
    sources = np.tile(np.arange(count), len(generators))
    graph = coo_array((np.ones(len(sources), dtype=np.int8), (sources, targets)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _orbit(sizes: Sequence[int], graph: np.ndarray, weight: int) -> Orbit:
    n = len(sizes)
    pairs = tuple((i, j, int(graph[i, j])) for i in range(n) for j in range(i, n) if graph[i, j])
    return Orbit(weight, pairs, tuple(_alone(sizes, graph)))


def count_matchings(n: int) -> int:
    """How many perfect matchings n legs have: (n−1)!!, or 0 if n is odd.

    Example:
        >>> [count_matchings(n) for n in (0, 1, 4, 8, 16)]
        [1, 0, 3, 105, 2027025]
    """
    return 0 if n % 2 else prod(range(1, n, 2))
