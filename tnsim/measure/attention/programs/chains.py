"""Chains and loops: the sum over all pairings of the legs of two products of links.

A pairing of legs strings the links together. A link with two legs, s = Σ_c u_c w_c, is entered at one leg and left at
the other, so links form closed loops, and chains between links with one leg or between legs that are left alone with
their mean. A chain or loop through a set of links, in all orders and directions, is a joint cumulant; the sum over
all pairings is the sum over all partitions of the links into such sets. Both sums go over subsets of links, not over
pairings: five links on either side have 945 pairings (9496 with means), and take some hundred small matrix products.

Read from the bottom: ``_sum`` and ``_numbers`` are the sum over partitions, ``_cumulant`` is that of one set of links with
two legs, ``_rounds`` its loops (the first link stays in front, so that none is counted twice), ``_states`` and ``_closed``
its chains. A chain between two means is met from both of its ends, hence one half of them.

References:
    Isserlis (1918); Wick (1950). Cumulants of quadratic forms: Magnus, J. Econometrics 7 (1978).
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce, wraps
from itertools import combinations
from typing import Any

from tnsim.measure.attention.programs.covariance_grid import Grid
from tnsim.measure.attention.programs.program import Assembler, Symbol

__all__ = ["Chains"]

Set = frozenset[int]
State = tuple[
    tuple[int, ...], Symbol
]  # ends at which chains have arrived, and the chains: rows by entries of ends
EMPTY: Set = frozenset()


def _kept(method: Callable[..., Any]) -> Callable[..., Any]:
    """Results are kept in the object, and go with it."""

    @wraps(method)
    def recalled(self: "Chains", *given: Any) -> Any:
        key = (method, *given)
        if key not in self._memo:
            self._memo[key] = method(self, *given)
        return self._memo[key]

    return recalled


class Chains:
    """Expectations of many products at once, E[∏ links of f ∏ links of g], from the moments of their ends.

    Args:
        sides: for every end the factor it belongs to, 0 or 1.
        pairs: links with two legs, as numbers of ends.
        singles: links with one leg, those of factor 0 first.
        sizes: how many entries every end has.
        grid: their covariances and means.
        recorder: where it is written down what to do.
    """

    def __init__(
        self,
        sides: Sequence[int],
        pairs: Sequence[tuple[int, int]],
        singles: Sequence[int],
        sizes: Sequence[int],
        grid: Grid,
        recorder: Assembler,
    ):
        self._sides, self._pairs, self._singles, self._sizes = sides, pairs, singles, sizes
        self._grid, self._recorder = grid, recorder
        self._side = [{sides[u]} for u, _ in pairs]
        self._means = any(grid.mean(e) is not None for e in range(len(sides)))
        self._memo: dict[Any, Any] = {}

    def total(self, connected: bool = False) -> Symbol | float | None:
        """The expectation, shape ``(r, r')`` with the open indices of both factors, 1 where there is none.

        Args:
            connected: leave out pairings in which no pair runs between the two factors.
        """
        return self._sum(tuple(range(len(self._singles))), frozenset(range(len(self._pairs))), connected)

    # ------------------------------------------------------------------ steps from link to link

    @_kept
    def _step(self, legs: tuple[int, ...], j: int) -> State | None:
        """From some exits to those of link j that can be reached: it is entered at the other leg."""
        x, y = self._pairs[j]
        live = [(p, q) for p, q in ((x, y), (y, x)) if any(self._grid.alive(e, q) for e in legs)]
        block = self._grid.block(legs, [q for _, q in live])
        return None if block is None else (tuple(p for p, _ in live), block)

    @_kept
    def _leave(self, legs: tuple[int, ...], b: int) -> Symbol | None:
        """From some exits to an end."""
        return self._grid.block(legs, (b,))

    def _onward(self, before: Mapping[int, State], j: int) -> State | None:
        """All chains of a set, one link further."""
        moved = []
        for legs, x in before.values():
            step = self._step(legs, j)
            if step is not None:
                moved.append((step[0], x, step[1]))
        if not moved:
            return None
        if len({legs for legs, *_ in moved}) == 1:
            return moved[0][0], self._recorder.dot([(x, y) for _, x, y in moved])
        parts: dict[int, Symbol] = {}
        for legs, x, y in moved:
            onward, at = self._recorder.dot([(x, y)]), 0
            for e in legs:
                piece = onward.columns(at, at + self._sizes[e])
                parts[e] = parts[e] + piece if e in parts else piece
                at += self._sizes[e]
        return tuple(parts), self._recorder.cat(list(parts.values()), 1)

    # ------------------------------------------------------------------ chains

    @_kept
    def _states(self, through: Set) -> dict[int, State]:
        """All chains that start at a single link or at a mean and pass through a set of links, by the last of them."""
        if len(through) == 1:
            (j,) = through
            start = self._start(j)
            return {} if start is None else {j: start}
        found = {j: self._onward(self._states(through - {j}), j) for j in sorted(through)}
        return {j: state for j, state in found.items() if state is not None}

    def _start(self, j: int) -> State | None:
        """Rows: every single link but the last, then the mean."""
        x, y = self._pairs[j]
        rows = self._singles[:-1]
        live = [
            (p, q)
            for p, q in ((x, y), (y, x))
            if any(self._grid.alive(a, q) for a in rows) or self._grid.mean(q) is not None
        ]
        if not live:
            return None
        exits, entries = zip(*live, strict=True)
        parts = [(self._grid.block(rows, entries), sum(self._sizes[a] for a in rows))] if rows else []
        parts += [(self._row_of_means(entries), 1)] if self._means else []
        return exits, self._grid.below(parts, sum(self._sizes[q] for q in entries))

    @_kept
    def _closed(self, through: Set, b: int | None) -> Symbol | None:
        """Chains through a set that end at single link b, or at a mean; all rows."""
        pairs = []
        for legs, x in self._states(through).values():
            end = self._row_of_means(legs) if b is None else self._leave(legs, self._singles[b])
            if end is not None:
                pairs.append((x, end.turned if b is None else end))
        return self._recorder.dot(pairs) if pairs else None

    def _row_of_means(self, legs: Sequence[int]) -> Symbol | None:
        """Means of ends side by side."""
        means = [self._grid.mean(e) for e in legs]
        if all(x is None for x in means):
            return None
        sizes = [self._sizes[e] for e in legs]
        given = [self._recorder.zeros((1, n)) if x is None else x for x, n in zip(means, sizes, strict=True)]
        return self._recorder.cat(given, 1)

    def _rows(self, a: int | None) -> tuple[int, int]:
        """Where the chains that start at single link a, or at a mean, are found."""
        at = sum(self._sizes[e] for e in self._singles[: len(self._singles) - 1 if a is None else a])
        return at, at + (1 if a is None else self._sizes[self._singles[a]])

    def _path(self, a: int, b: int | None, through: Set) -> Symbol | None:
        """The cumulant of single link a, the links in a set, and single link b if given.

        Rows are what is open on side 0, columns what is open on side 1, whichever link has it.
        """
        e = self._singles[a]
        if b is not None:
            f = self._singles[b]
            if not through:
                value = self._grid.cov(e, f)
            else:
                closed = self._closed(through, b)
                value = None if closed is None else closed.rows(*self._rows(a))
            if value is None or self._sides[e] != self._sides[f]:
                return value
            lies = self._sizes[f] > 1 if self._sides[e] == 0 else self._sizes[e] > 1
            return value.turned if lies else value
        if not self._means:
            return None
        if not through:
            mean = self._grid.mean(e)
            value = None if mean is None else mean.turned
        elif a < len(self._singles) - 1:
            closed = self._closed(through, None)
            value = None if closed is None else closed.rows(*self._rows(a))
        else:
            closed = self._closed(through, a)
            value = None if closed is None else closed.rows(*self._rows(None)).turned
        return value if value is None or self._sides[e] == 0 else value.turned

    # ------------------------------------------------------------------ loops

    @_kept
    def _rounds(self, first: int, through: Set) -> dict[int, State]:
        """Chains from the second leg of a link through others, by the last of them."""
        if len(through) == 1:
            (j,) = through
            step = self._step((self._pairs[first][1],), j)
            return {} if step is None else {j: step}
        found = {j: self._onward(self._rounds(first, through - {j}), j) for j in sorted(through)}
        return {j: state for j, state in found.items() if state is not None}

    @_kept
    def _cumulant(self, links: Set) -> Symbol | None:
        """The joint cumulant of links with two legs: all loops, and all chains between two means."""
        first = min(links)
        u, w = self._pairs[first]
        rest = links - {first}
        parts: list[Symbol | None] = []
        if not rest:
            own = self._grid.cov(w, u)
            parts.append(None if own is None else own.trace)
        else:
            for legs, x in self._rounds(first, rest).values():
                back = self._leave(legs, u)
                if back is not None:
                    parts.append(x.contracted(back.turned))
        if self._means:
            closed = self._closed(links, None)
            parts.append(None if closed is None else closed.rows(*self._rows(None)) * 0.5)
        return _total(parts)

    def _crosses(self, links: Set, singles: Sequence[int] = ()) -> bool:
        sides = {self._sides[self._singles[a]] for a in singles}.union(*(self._side[i] for i in links))
        return len(sides) > 1

    # ------------------------------------------------------------------ partitions

    @_kept
    def _numbers(self, links: Set, connected: bool) -> Symbol | float | None:
        """The expectation of a product of links with two legs."""
        if not links:
            return None if connected else 1.0
        first = min(links)
        terms = []
        for part in _subsets(links - {first}):
            block = part | {first}
            rest = self._numbers(links - block, connected and not self._crosses(block))
            if rest is not None:
                terms.append(_scaled(self._cumulant(block), rest))
        return _total(terms)

    @_kept
    def _sum(self, singles: tuple[int, ...], links: Set, connected: bool) -> Symbol | float | None:
        """The expectation of a product of links of both kinds."""
        if not singles:
            return self._numbers(links, connected)
        a, *others = singles
        terms = []
        for b in (None, *others):
            left = tuple(x for x in others if x != b)
            chosen = [x for x in (a, b) if x is not None]
            for through in _subsets(links):
                crossed = connected and not self._crosses(through, chosen)
                rest = self._sum(left, links - through, crossed)
                if rest is not None:
                    terms.append(_scaled(self._path(a, b, through), rest))
        return _total(terms)


def _total(values: Any) -> Any:
    """The sum of those that are not zero."""
    given = [x for x in values if x is not None]
    return reduce(operator.add, given) if given else None


def _scaled(x: Symbol | None, factor: Symbol | float) -> Symbol | None:
    return None if x is None else x if isinstance(factor, float) and factor == 1.0 else x * factor


def _subsets(links: Set) -> Iterator[Set]:
    for k in range(len(links) + 1):
        yield from map(frozenset, combinations(sorted(links), k))
