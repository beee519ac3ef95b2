"""How hidden states of known orders may be joined: multigraphs without loops.

A leg of a term reads one part of a hidden state: a symmetric tensor of some order k, with k legs of its own. Under
a Gaussian law the part of order k is a Wick power, so no two of its legs are paired with each other, only with legs
of other parts.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from tnsim.algebra.terms.symmetry import Tree, exchanges, leaves, orbit_key
from tnsim.common.caches import cached
from tnsim.engine.effort import weigh
from tnsim.measure.pairings.orbit import orbits

__all__ = ["Diagram", "diagrams"]

_WEIGHED = 10  # operations weighed to list the orbits of some blocks, besides one for each


@dataclass(frozen=True)
class Diagram:
    """Parts and the bonds between them.

    Attributes:
        weight: how many pairings of legs it stands for.
        orders: the order of the part that every leg of the terms reads.
        bonds: ``(i, j, m)``: m pairs between the parts i < j.
        alone: for every part the number of its legs that are left open.
        crossings: how many pairs run between the two terms.
    """

    weight: int
    orders: tuple[int, ...]
    bonds: tuple[tuple[int, int, int], ...]
    alone: tuple[int, ...]
    crossings: int


@cached(4096)
def diagrams(
    trees: tuple[Tree | None, ...],
    parts: tuple[tuple[int, ...], ...],
    within: bool,
    wanted: frozenset[int],
    leave: bool = False,
    exchange: bool = False,
) -> tuple[Diagram, ...]:
    """All ways of joining the parts that the legs of one or two terms read, up to exchanges.

    Args:
        trees: for every term the symmetry of its legs; ``None`` for a constant.
        parts: for every term the orders of the hidden state that it reads.
        within: whether parts that one term reads are joined as well.
        wanted: numbers of pairs between the terms; with ``leave``, numbers of open legs.
        leave: whether legs may be left open.
        exchange: whether the two terms, then alike, may be exchanged.

    Example:
        Two products of two quadratic states, four pairs between them: both pairs of states joined twice, in two
        ways, or all four in a ring.

        >>> from tnsim.algebra.terms.symmetry import fixed
        >>> [d.bonds for d in diagrams((fixed(2), fixed(2)), ((2,), (2,)), True, frozenset({4}))]
        [((0, 2, 2), (1, 3, 2)), ((0, 2, 1), (0, 3, 1), (1, 2, 1), (1, 3, 1)), ((0, 3, 2), (1, 2, 2))]
    """
    least = min(wanted, default=0)
    choices = [
        [c for c in _assignments(tree, orders) if sum(c[0]) >= least]
        for tree, orders in zip(trees, parts, strict=True)
    ]
    owner = tuple(f for f, tree in enumerate(trees) for _ in _legs(tree))
    sides = tuple(range(len(owner))) if within else owner
    found = []
    for numbers in product(*(range(len(c)) for c in choices)):
        if exchange and numbers[0] > numbers[1]:
            continue
        chosen = [c[n] for c, n in zip(choices, numbers, strict=True)]
        sums = [sum(orders) for orders, _ in chosen]
        most = sum(sums) if leave else min(sums)
        if not any(k <= most and (sums[0] - k) % 2 == 0 for k in wanted):
            continue
        if not leave and (sum(sums) % 2 or (not within and len(set(sums)) > 1)):
            continue
        weight = 2 if exchange and numbers[0] < numbers[1] else 1
        for _, count in chosen:
            weight *= count
        orders = tuple(k for given, _ in chosen for k in given)
        generators = tuple(_generators(trees, orders, exchange and numbers[0] == numbers[1]))
        joined = orbits(orders, generators, sides, leave)
        weigh(_WEIGHED + len(joined))
        for orbit in joined:
            crossings = sum(m for i, j, m in orbit.pairs if owner[i] != owner[j])
            if (sum(orbit.alone) if leave else crossings) in wanted:
                found.append(Diagram(weight * orbit.weight, orders, orbit.pairs, orbit.alone, crossings))
    return tuple(found)


def _legs(tree: Tree | None) -> list[int]:
    return [] if tree is None else leaves(tree)


def _assignments(tree: Tree | None, orders: Collection[int]) -> list[tuple[tuple[int, ...], int]]:
    """Which order every leg may read, up to exchanges of legs, with their number."""
    if tree is None:
        return [((), 1)]
    found: dict[object, tuple[tuple[int, ...], int]] = {}
    for choice in product(orders, repeat=len(leaves(tree))):
        first, count = found.get(key := orbit_key(tree, choice), (choice, 0))
        found[key] = (first, count + 1)
    return list(found.values())


def _generators(
    trees: Sequence[Tree | None], orders: tuple[int, ...], exchange: bool
) -> Iterator[tuple[int, ...]]:
    """Permutations of parts that change nothing."""
    n, at = len(orders), 0
    for tree in trees:
        size = len(_legs(tree))
        for turn in exchanges(tree) if tree is not None else ():
            order = (*range(at), *(at + k for k in turn), *range(at + size, n))
            if all(orders[k] == orders[order[k]] for k in range(n)):
                yield order
        at += size
    if exchange and n:
        yield (*range(n // 2, n), *range(n // 2))
