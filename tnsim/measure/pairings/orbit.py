"""Pairings of legs up to the exchanges that do not change their value.

Legs come in blocks whose members may be permuted at will. Up to that, a pairing is a multigraph on the blocks: how
many pairs run between every two of them, how many inside, how many legs are left alone. The multigraphs are
listed directly (18,155 of them stand for the 2,027,025 matchings of two depth-3 trees) and then merged under
exchanges of whole blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial, inf, prod

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tnsim.algebra.terms.symmetry import blocks, swaps
from tnsim.algebra.terms.term import Term
from tnsim.common.caches import cached
from tnsim.common.digits import rounded
from tnsim.engine.costs import Cost, CostError
from tnsim.engine.effort import weigh
from tnsim.measure.pairings.multigraph import MOST_GRAPHS, count_multigraphs, multigraphs

__all__ = [
    "MOST_ORBITS",
    "Orbit",
    "Paired",
    "TooManyPairings",
    "count_matchings",
    "count_pairings",
    "orbits",
    "pairings_of",
]

MOST_ORBITS = 50_000

_IMAGES = 20  # multigraphs that are listed, or exchanged, while one operation is weighed

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


class TooManyPairings(CostError):
    """More pairings than can be listed."""

    def __init__(self, legs: int, count: int):
        super().__init__(
            f"{legs} legs have {rounded(count):.1g} pairings or more, up to exchanges; the limit is {MOST_ORBITS}. "
            'Use method="layerwise" (approximate), or compare fewer layers, net[:k].',
            Cost(inf, inf, count, inf, True),
        )
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


@cached(4096)
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
    legs = sum(sizes)
    pairings = factorial(legs // 2) if sides is not None else count_matchings(legs)
    least = pairings // prod(map(factorial, sizes))  # of the multigraphs, without counting them
    count = least if least > MOST_GRAPHS else count_multigraphs(sizes, sides, leave)
    fewest = count // factorial(len(generators) + 1)  # transpositions of a tree generate no larger group
    if count > MOST_GRAPHS or fewest > MOST_ORBITS:
        raise TooManyPairings(legs, max(fewest, MOST_ORBITS + 1))
    if not count:
        return ()
    weigh(count * (1 + len(generators)) / _IMAGES)
    table = multigraphs(sizes, sides, leave)
    weights = _weights(sizes, table)
    label = _merged(table, generators)
    found: dict[int, tuple[int, int]] = {}
    for k, (orbit, weight) in enumerate(zip(label, weights, strict=True)):
        first, total = found.get(orbit, (k, 0))
        found[orbit] = (first, total + weight)
    return tuple(_orbit(sizes, table[first], total) for first, total in found.values())


def _alone(sizes: Sequence[int], table: np.ndarray) -> np.ndarray:
    """How many legs of every block a multigraph leaves alone."""
    return (
        np.array(sizes, dtype=np.int64)
        - table.sum(axis=-1, dtype=np.int64)
        - np.diagonal(table, axis1=-2, axis2=-1)
    )


def _weights(sizes: Sequence[int], table: np.ndarray) -> list[int]:
    """How many pairings of the legs every multigraph stands for."""
    whole = prod(map(factorial, sizes))
    kind = np.int64 if whole < 2**62 else object
    factorials = np.array([factorial(k) for k in range(max(sizes, default=0) + 1)], dtype=kind)
    above = np.triu_indices(len(sizes), 1)
    loops = np.diagonal(table, axis1=-2, axis2=-1).astype(np.int64)
    over = factorials[table[:, above[0], above[1]]].prod(axis=1)
    over = over * (
        factorials[loops] * np.array([2**k for k in range(max(sizes, default=0) + 1)], dtype=kind)[loops]
    ).prod(axis=1)
    over = over * factorials[_alone(sizes, table)].prod(axis=1)
    return [int(n) for n in whole // over]


def _merged(table: np.ndarray, generators: Sequence[tuple[int, ...]]) -> np.ndarray:
    """The orbit of every multigraph: connected components under the generators."""
    count = len(table)
    if not generators:
        return np.arange(count)
    images = [table, *(table[:, order][:, :, order] for order in map(list, generators))]
    flat = np.concatenate(images).reshape(len(images) * count, -1)
    codes = np.unique(np.ascontiguousarray(flat).view(f"V{flat.shape[1]}").ravel(), return_inverse=True)[1]
    every = np.arange(count, dtype=np.int32)  # on wider indices the graphs of older scipys fail, silently
    where = np.empty_like(every)
    where[codes[:count]] = every
    targets, sources = where[codes[count:]], np.tile(every, len(generators))
    graph = coo_array((np.ones(len(sources), dtype=np.int8), (sources, targets)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _orbit(sizes: Sequence[int], graph: np.ndarray, weight: int) -> Orbit:
    n = len(sizes)
    pairs = tuple((i, j, int(graph[i, j])) for i in range(n) for j in range(i, n) if graph[i, j])
    return Orbit(weight, pairs, tuple(_alone(sizes, graph).tolist()))


def count_matchings(n: int) -> int:
    """How many perfect matchings n legs have: (n−1)!!, or 0 if n is odd.

    Example:
        >>> [count_matchings(n) for n in (0, 1, 4, 8, 16)]
        [1, 0, 3, 105, 2027025]
    """
    return 0 if n % 2 else prod(range(1, n, 2))
