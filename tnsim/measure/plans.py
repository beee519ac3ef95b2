"""What to do for products of links: which of them meet, what is zero there, and where everything is found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from tnsim.measure.batch import Linked
from tnsim.measure.chains import Chains
from tnsim.measure.ends import Ends
from tnsim.measure.links import entries
from tnsim.measure.outputs import Keep, each_axis
from tnsim.measure.patterns import patterns
from tnsim.measure.program import Program, Recorder, Symbol

__all__ = [
    "CACHE",
    "LEAST",
    "OVERHEAD",
    "Asked",
    "Group",
    "Plan",
    "distinct",
    "planned",
    "shared_outputs",
]

Array = Any
CACHE = 2.0**25  # bytes of small matrices that are alive at once: what a processor's cache holds
LEAST = 16  # products in a chunk
OVERHEAD = 1e7  # flops that take as long as it takes to run a program, whatever for


@dataclass(frozen=True, eq=False)
class Asked:
    """An expectation of the links of one term, or of two.

    Attributes:
        f: a term.
        g: another; ``None`` for the mean of the first.
        mirrored: the two are one and the same, so half of the products tell the other half.
    """

    f: Linked
    g: Linked | None
    mirrored: bool = False

    @property
    def terms(self) -> list[Linked]:
        """The factors."""
        return [self.f] if self.g is None else [self.f, self.g]

    @property
    def combinations(self) -> int:
        """How many models, or pairs of models."""
        f, g = self.f, self.g
        return (f.models or 1) * (1 if g is None or f.side == g.side else g.models or 1)


@dataclass(frozen=True, eq=False)
class Group:
    """Products for which the same covariances are zero.

    Attributes:
        program: what to do.
        inputs: for every input of the program the number of its array, and where every product finds its matrix.
        targets: to which result every product is added, in order.
        weights: where the weights of the factors are found.
        share: a factor of every product: ½ where one meets itself and the transpose is added; ``None`` for one.
    """

    program: Program
    inputs: Mapping[Any, tuple[int, np.ndarray]]
    targets: np.ndarray
    weights: tuple[np.ndarray, ...]
    share: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """What is done for terms of equal wiring, as numbers.

    Attributes:
        groups: products, sorted.
        runs: for every array a number per combination of models: which part of the array is meant.
        n_weights: how many of the arrays, at the end, are weights.
        targets: number of results.
        shape: rows and columns of a result.
    """

    groups: tuple[Group, ...]
    runs: tuple[np.ndarray, ...]
    n_weights: int
    targets: int
    shape: tuple[int, int]

    @property
    def combinations(self) -> int:
        """How many combinations of models there are."""
        return len(self.runs[0])

    def flops(self) -> float:
        """Floating-point operations."""
        return sum(len(g.targets) * g.program.flops for g in self.groups) * self.combinations

    def numbers(self) -> float:
        """Numbers held at once, besides what is given."""
        most = max((g.program.peak for g in self.groups), default=0.0)
        chunk = most * max(LEAST, CACHE / 8 / max(most, 1.0))
        total = sum(len(g.targets) for g in self.groups) * self.combinations
        return min(chunk, most * total) + 2.0 * self.combinations * self.targets * prod(self.shape)


def _names(one: Asked) -> list[Any]:
    """The inputs that a product may have: ``(k, e)`` a mean, ``(k, e, l, f)`` a covariance, of factors k and l."""
    where = [(k, e) for k, t in enumerate(one.terms) for e in range(len(t.product.ends))]
    pairs = [(*a, *b) for n, a in enumerate(where) for b in where[n:]]
    return [*where, *pairs]


def planned(asked: Sequence[Asked], ends: Ends, connected: bool, keep: Keep, halved: bool) -> Plan:
    """What is to be done for terms that are alike."""
    one = asked[0]
    f, g = one.f, one.g
    tables = [f.table, np.zeros((1, 0), dtype=np.int64) if g is None else g.table]
    both = [] if g is None else shared_outputs(f, g, keep)
    i, j = _meeting(f, g, tables, both)
    if halved:
        i, j = i[i <= j], j[i <= j]
    equal = [a for a, _ in both]
    right = [] if g is None else [ix for ix in g.kept if ix not in [b for _, b in both]]
    n_right = 1 if g is None else entries(right, g.sizes)
    kept = [*equal, *(ix for ix in f.kept if ix not in equal)]
    targets = f.address(tables[0], kept)[i] * n_right
    targets = targets + (0 if g is None else g.address(tables[1], right)[j])
    order = np.argsort(targets, kind="stable")
    i, j, targets = i[order], j[order], targets[order]
    rows = [tables[0][i], tables[1][j]]
    names = [n for n in _names(one) if len(n) == 4 or ends.has_mean(one.terms[n[0]], n[1])]
    made: dict[Any, Any] = {}
    live = {n: _live(one, n, rows, ends, made) for n in names}
    structure = _structure(one)
    runs, numbers = _runs(asked, names)
    groups: list[Group] = []

    def flops(alive: frozenset[Any]) -> float:
        program = _recorded(structure, alive, connected)
        return 0.0 if program is None else (1.0 + program.flops) * len(runs[0])

    for some, alive in patterns(live, len(i), flops, OVERHEAD):
        program = _recorded(structure, alive, connected)
        if program is None:
            continue
        inputs = {}
        here: dict[Any, np.ndarray] = {}  # inputs that lie at the same places share one array of numbers
        for name in program.inputs:
            every, mask = _address(one, name, rows, ends, made), live[name]
            key = (id(every), id(mask))
            if key not in here:
                here[key] = every[some] if mask is None else np.where(mask[some], every[some], -1)
            inputs[name] = (numbers[name], here[key])
        weights = [f.address(tables[0], f.product.batch)[i[some]]]
        if g is not None:
            weights.append(g.address(tables[1], g.product.batch)[j[some]])
        share = np.where(i[some] == j[some], 0.5, 1.0) if halved else None
        groups.append(Group(program, inputs, targets[some], tuple(weights), share))
    n_both = entries(equal, f.sizes)
    n_left = entries([ix for ix in f.kept if ix not in equal], f.sizes)
    shape = (f.rows, 1 if g is None else g.rows)
    return Plan(tuple(groups), runs, len(one.terms), n_both * n_left * n_right, shape)


def _structure(one: Asked) -> Any:
    """Sides, links and sizes of all ends of both factors."""
    sides: list[int] = []
    sizes: list[int] = []
    pairs: list[tuple[int, int]] = []
    singles: list[int] = []
    for k, t in enumerate(one.terms):
        at = len(sides)
        pairs += [(u + at, w + at) for u, w in t.product.pairs]
        singles += [e + at for e in t.product.singles]
        sizes += [t.sizes[end.inner] if end.inner else 1 for end in t.product.ends]
        sides += [k] * len(t.product.ends)
    return tuple(sides), tuple(pairs), tuple(singles), tuple(sizes)


@lru_cache(maxsize=4096)
def _recorded(structure: Any, alive: frozenset[Any], connected: bool) -> Program | None:
    """What to do where some means and covariances are not zero; ``None`` if the result is zero."""
    sides, pairs, singles, sizes = structure
    first = sides.count(0)
    recorder = Recorder()

    def named(e: int) -> tuple[int, int]:
        return sides[e], e - first * sides[e]

    def cov(e: int, f: int) -> Symbol | None:
        if e > f:
            x = cov(f, e)
            return None if x is None else x.turned
        name = (*named(e), *named(f))
        return recorder.given(name, (sizes[e], sizes[f])) if name in alive else None

    def mean(e: int) -> Symbol | None:
        return recorder.given(named(e), (1, sizes[e])) if named(e) in alive else None

    total = Chains(sides, pairs, singles, sizes, cov, mean, recorder).total(connected)
    if total is None:
        return None
    return recorder.program(recorder.ones() if isinstance(total, float) else total)


def _live(
    one: Asked, name: Any, rows: Sequence[np.ndarray], ends: Ends, made: dict[Any, Any]
) -> np.ndarray | None:
    """For which products an input may be other than zero; ``None`` for all."""
    if len(name) == 2:
        return None
    (k, e, m, f), terms = name, one.terms
    pairs = ends.apart(terms[k], e, terms[m], f)
    pairs = [(a, b) for a, b in pairs if k != m or a != b]
    key = ("live", k, m, *pairs)
    if key not in made:
        mine, other = terms[k].address, terms[m].address
        found = [mine(rows[k], (a,)) == other(rows[m], (b,)) for a, b in pairs]
        mask = np.logical_and.reduce(found) if found else None
        made[key] = None if mask is None or mask.all() else mask
    live: np.ndarray | None = made[key]
    return live


def _address(
    one: Asked, name: Any, rows: Sequence[np.ndarray], ends: Ends, made: dict[Any, Any]
) -> np.ndarray:
    """Where every product finds an input."""
    k, m = name[0], name[2] if len(name) == 4 else name[0]
    s, t = one.terms[k], one.terms[m]
    first: tuple[str, ...] = s.product.ends[name[1]].batch
    own: tuple[str, ...] = ()
    if len(name) == 4:
        first, own = ends.first(s, name[1], t), ends.own(s, name[1], t, name[3], k == m)
    key = (k, first, m, own)
    if key not in made:
        made[key] = s.address(rows[k], first) * entries(own, t.sizes) + t.address(rows[m], own)
    at: np.ndarray = made[key]
    return at


def distinct(asked: Sequence[Asked], k: int) -> list[Linked]:
    """The terms that are the k-th factors, each once."""
    return list({id(t): t for t in (one.terms[k] for one in asked)}.values())


def _runs(asked: Sequence[Asked], names: Sequence[Any]) -> tuple[tuple[np.ndarray, ...], dict[Any, int]]:
    """For every array the part that is meant in every combination of models; and the number of every name's array.

    Arrays are those of the names, then the weights of the factors.
    """
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
    runs = [sides[n[0]] if len(n) == 2 or n[0] == n[2] else every for n in names]
    return (*runs, *sides), {name: k for k, name in enumerate(names)}


def shared_outputs(f: Linked, g: Linked, keep: Keep) -> list[tuple[str, str]]:
    """Outputs of which only equal ones are kept, and that number products of both."""
    kept = each_axis(keep, len(f.term.out))
    pairs = zip(f.term.out, g.term.out, kept, strict=False)
    return [(a, b) for a, b, k in pairs if k != "all" and a in f.kept and b in g.kept]


def _meeting(
    f: Linked, g: Linked | None, tables: Sequence[np.ndarray], both: Sequence[tuple[str, str]]
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the products that meet: all pairs with equal values of some indices."""
    left, right = tables
    mine = f.address(left, [a for a, _ in both])
    other = np.zeros(len(right), dtype=np.int64) if g is None else g.address(right, [b for _, b in both])
    i, j = np.nonzero(mine[:, None] == other[None, :])
    return i, j
