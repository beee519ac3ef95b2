"""Bounds: the least that it takes to carry a law exactly through layers, from degrees and sizes alone.

Behind a layer of degree n that reads parts of orders k₁, …, kₙ stands, among others, their product with all legs open:
a tensor of Πᵢ C(d+kᵢ−1, kᵢ) entries for every output, which is then made symmetric. Both grow so fast with depth that
the few dearest products of every layer tell what is hopeless, without a single contraction being planned.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, islice
from math import comb, inf, prod

from tnsim.algebra.polys.packed import entries
from tnsim.algebra.polys.poly import Poly
from tnsim.common.digits import rounded
from tnsim.engine.costs import LARGEST, Cost, Exceeded

__all__ = ["least_behind"]

_ORDERS = 32  # of a hidden state, the highest ones
_PRODUCTS = 600  # of a term, the dearest ones
_BITS = 4096  # of a binomial coefficient that is worked out
_ENDLESS = 10**400  # beyond all floating-point numbers


def least_behind(layers: Sequence[Poly], d: int, itemsize: int, limit: float, spent: Cost) -> Cost:
    """A lower bound of the price of :meth:`Graded.behind`, for one layer after the other of one model.

    Args:
        layers: first to last.
        d: entries of the input.
        itemsize: bytes of a number.
        limit: flops beyond which nothing more is added up.
        spent: what other models take at least, to be added to.

    Raises:
        Exceeded: with the bound, if it is beyond the limit, or beyond what any memory holds.
    """
    orders: tuple[int, ...] = (1,)
    total = spent
    for f in layers:
        outputs, behind, folded = prod(f.out_shape), set[int](), set[tuple[int, ...]]()
        for t in f.terms:
            for choice in islice(combinations_with_replacement(orders, t.degree), _PRODUCTS):
                behind.add(sum(choice))
                parts = tuple(k for k in choice if k)
                if len(parts) < 2:  # may be there without being computed
                    continue
                total = total + _product(parts, d, outputs, itemsize)
                if parts not in folded:  # once for all terms
                    folded.add(parts)
                    total = total + Cost(sum(2 * rounded(outputs * n) for n in _folds(parts, d)))
                if total.flops > limit or total.flops == inf or total.bytes > LARGEST:
                    raise Exceeded(total)
        orders = tuple(sorted(behind, reverse=True)[:_ORDERS])
    return total


def _product(parts: Sequence[int], d: int, outputs: int, itemsize: int) -> Cost:
    """The product of parts of these orders."""
    known = max(parts) < _BITS or d == 1
    size = rounded(outputs * prod(entries(d, k) for k in parts)) if known else inf
    return Cost(size, size * itemsize, 1, size)


def _folds(parts: Sequence[int], d: int) -> Iterator[int]:
    """Additions per output that make the last group of legs symmetric with the one before it, group by group."""
    *rest, last = parts
    while rest:
        other = rest.pop()
        last += other
        known = last < _BITS
        yield prod(entries(d, k) for k in (*rest, last)) * comb(last, other) if known else _ENDLESS
