"""Pairings of legs: the combinatorics of Gaussian moments. Pure Python, imports nothing of tnsim."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import comb

__all__ = ["Pairing", "count_matchings", "count_partial_matchings", "matchings", "partial_matchings"]

Pairing = tuple[tuple[int, int], ...]


def matchings(items: Sequence[int]) -> Iterator[Pairing]:
    """All perfect matchings, (n−1)!! of them; none if the number of items is odd.

    Example:
        >>> list(matchings(range(4)))
        [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    """
    if not items:
        yield ()
        return
    first, rest = items[0], items[1:]
    for k, partner in enumerate(rest):
        for tail in matchings((*rest[:k], *rest[k + 1 :])):
            yield ((first, partner), *tail)


def partial_matchings(items: Sequence[int]) -> Iterator[tuple[Pairing, tuple[int, ...]]]:
    """All partial matchings, with the items they leave alone.

    Example:
        >>> list(partial_matchings(range(2)))
        [(((0, 1),), ()), ((), (0, 1))]
    """
    for alone in range(len(items) % 2, len(items) + 1, 2):
        for left in combinations(items, alone):
            for pairs in matchings(tuple(i for i in items if i not in left)):
                yield pairs, left


def count_matchings(n: int) -> int:
    """(n−1)!!, or 0 if n is odd.

    Example:
        >>> [count_matchings(n) for n in (0, 1, 4, 8, 16)]
        [1, 0, 3, 105, 2027025]
    """
    if n % 2:
        return 0
    product = 1
    for k in range(1, n, 2):
        product *= k
    return product


def count_partial_matchings(n: int) -> int:
    """The number of partial matchings of n items (the telephone numbers).

    Example:
        >>> [count_partial_matchings(n) for n in (0, 1, 2, 4, 8)]
        [1, 1, 2, 10, 764]
    """
    return sum(comb(n, k) * count_matchings(k) for k in range(0, n + 1, 2))
