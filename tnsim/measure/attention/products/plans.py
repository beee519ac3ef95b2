"""What to do for products of links: which of them meet, what is zero there, and where everything is found."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from tnsim.engine.constants import Constant
from tnsim.engine.effort import weigh
from tnsim.measure.attention.links.asked import Expected, distinct, shared_outputs
from tnsim.measure.attention.links.batch import Linked
from tnsim.measure.attention.links.ends import Ends
from tnsim.measure.attention.links.link import entries
from tnsim.measure.attention.products.addresses import Found, Held
from tnsim.measure.attention.products.groups import Chunk, SparsityClass
from tnsim.measure.attention.products.zeros import patterns
from tnsim.measure.attention.programs.recording import recorded, structure
from tnsim.measure.pairings.outputs import Keep

__all__ = ["CACHE", "LEAST", "OVERHEAD", "ProductPlan", "planned"]

Array = Any
CACHE = 2.0**24  # bytes of small matrices that are alive at once: what a processor's cache holds
LEAST = 8  # products in a chunk
OVERHEAD = 1e7  # flops that take as long as it takes to run a program, whatever for
_FASTER = 4  # times as fast as others is an operation of a program started
_SIFTED = 20_000  # entries of tables that are gone through while one operation is weighed
KEPT = 2**20  # numbers that are kept with a plan, besides those that it needs


@dataclass(frozen=True, eq=False)
class ProductPlan:
    """What is done for terms of equal wiring, as numbers.

    Attributes:
        groups: products, sorted.
        sources: what is in every array, but for the weights of the factors, which come last.
        runs: for every array a number per combination of models: which part of the array is meant.
        targets: number of results.
        shape: rows and columns of a result.
    """

    groups: tuple[SparsityClass, ...]
    sources: tuple[Held, ...]
    runs: tuple[np.ndarray, ...]
    targets: int
    shape: tuple[int, int]

    @property
    def combinations(self) -> int:
        """How many combinations of models there are."""
        return len(self.runs[0])

    def flops(self) -> float:
        """Floating-point operations."""
        return sum(len(g.targets) * g.program.flops for g in self.groups) * self.combinations

    def starts(self) -> float:
        """Those of the first chunk, which take less than others: nothing is looked up, no memory is asked for."""
        return sum(len(g.program.steps) for g in self.groups) / _FASTER

    def chunks(self, itemsize: int) -> Iterable[Chunk]:
        """Products in chunks that fit into a cache; those of a small plan are kept."""
        if sum(group.numbers for group in self.groups) * self.combinations > KEPT:
            return self._chunks(itemsize)
        if itemsize not in self._kept:
            self._kept[itemsize] = tuple(self._chunks(itemsize))
        return self._kept[itemsize]

    def where(self, itemsize: int, chunks: Sequence[Chunk]) -> Constant:
        """The results that the targets of all chunks are."""
        made = Constant(lambda: np.concatenate([chunk.targets for chunk in chunks]))
        return self._where.setdefault(itemsize, made) if itemsize in self._kept else made

    @cached_property
    def _kept(self) -> dict[int, tuple[Chunk, ...]]:
        return {}

    @cached_property
    def _where(self) -> dict[int, Constant]:
        return {}

    def _chunks(self, itemsize: int) -> Iterator[Chunk]:
        for group in self.groups:
            count = len(group.targets)
            step = max(LEAST, int(CACHE / (group.program.peak * itemsize)))
            for at in range(0, count * self.combinations, step):
                run, some = np.divmod(np.arange(at, min(at + step, count * self.combinations)), count)
                targets, ids = np.unique(run * self.targets + group.targets[some], return_inverse=True)
                yield Chunk(group, tuple(x[run] for x in self.runs), some, targets, ids)

    def held(self, itemsize: int) -> float:
        """Bytes held at once, besides what is given."""
        most = itemsize * max((g.program.peak for g in self.groups), default=0.0)
        chunk = max(LEAST * most, CACHE)
        total = sum(len(g.targets) for g in self.groups) * self.combinations
        return min(chunk, most * total) + 2.0 * itemsize * self.combinations * self.targets * prod(self.shape)


def _names(one: Expected) -> list[Any]:
    """What a product may read: ``(k, e)`` a mean, ``(k, e, m, f)`` a covariance, of factors k and m."""
    where = [(k, e) for k, t in enumerate(one.terms) for e in range(len(t.product.ends))]
    pairs = [(*a, *b) for n, a in enumerate(where) for b in where[n:]]
    return [*where, *pairs]


def planned(asked: Sequence[Expected], ends: Ends, connected: bool, keep: Keep, halved: bool) -> ProductPlan:
    """What is to be done for terms that are alike."""
    one = asked[0]
    f, g = one.f, one.g
    tables = [f.table, np.zeros((1, 0), dtype=np.int64) if g is None else g.table]
    both = [] if g is None else shared_outputs(f, g, keep)
    weigh(len(tables[0]) * len(tables[1]) / _SIFTED)
    i, j = _meeting(f, g, tables, both)
    if halved:
        i, j = i[i <= j], j[i <= j]
    names = [n for n in _names(one) if len(n) == 4 or ends.has_mean(one.terms[n[0]], n[1])]
    weigh(len(i) * len(names) / _SIFTED)
    equal = [a for a, _ in both]
    right = [] if g is None else [ix for ix in g.kept if ix not in [b for _, b in both]]
    n_right = 1 if g is None else entries(right, g.sizes)
    kept = [*equal, *(ix for ix in f.kept if ix not in equal)]
    targets = f.address(tables[0], kept)[i] * n_right
    targets = targets + (0 if g is None else g.address(tables[1], right)[j])
    order = np.argsort(targets, kind="stable")
    i, j, targets = i[order], j[order], targets[order]
    rows = [tables[0][i], tables[1][j]]
    found = Found(one, rows, ends)
    live = {n: found.live(n) for n in names}
    wiring = structure(one)
    sources = tuple(dict.fromkeys(found.source(n) for n in names))
    runs = _runs(asked, sources)
    groups: list[SparsityClass] = []

    def flops(alive: frozenset[Any]) -> float:
        program = recorded(wiring, alive, connected)
        return 0.0 if program is None else (1.0 + program.flops) * len(runs[0])

    for some, alive in patterns(live, len(i), flops, OVERHEAD):
        program = recorded(wiring, alive, connected)
        if program is None:
            continue
        inputs = {name: found.places(name, sources, alive, some) for name in program.inputs}
        weights = [f.address(tables[0], f.product.batch)[i[some]]]
        if g is not None:
            weights.append(g.address(tables[1], g.product.batch)[j[some]])
        share = np.where(i[some] == j[some], 0.5, 1.0) if halved else None
        groups.append(SparsityClass(program, inputs, targets[some], tuple(weights), share))
    n_both = entries(equal, f.sizes)
    n_left = entries([ix for ix in f.kept if ix not in equal], f.sizes)
    shape = (f.rows, 1 if g is None else g.rows)
    return ProductPlan(tuple(groups), sources, runs, n_both * n_left * n_right, shape)


def _runs(asked: Sequence[Expected], sources: Sequence[Held]) -> tuple[np.ndarray, ...]:
    """For every array the part that is meant in every combination of models; the weights of the factors come last."""
    single: list[list[np.ndarray]] = [[] for _ in asked[0].terms]
    for k in range(len(single)):
        starts, at = {}, 0
        for t in distinct(asked, k):
            starts[id(t)] = at
            at += t.models or 1
        for one in asked:
            n = np.arange(one.combinations)
            apart = one.g is not None and one.f.side != one.g.side
            if apart and one.g is not None:
                n = n // (one.g.models or 1) if k == 0 else n % (one.g.models or 1)
            single[k].append(starts[id(one.terms[k])] + n)
    sides = [np.concatenate(x) for x in single]
    every = np.arange(len(sides[0]))
    return (*(sides[x.k] if x.k == x.m else every for x in sources), *sides)


def _meeting(
    f: Linked, g: Linked | None, tables: Sequence[np.ndarray], both: Sequence[tuple[str, str]]
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the products that meet: all pairs with equal values of some indices."""
    left, right = tables
    mine = f.address(left, [a for a, _ in both])
    other = np.zeros(len(right), dtype=np.int64) if g is None else g.address(right, [b for _, b in both])
    i, j = np.nonzero(mine[:, None] == other[None, :])
    return i, j
