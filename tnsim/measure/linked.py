"""Moments of polynomials whose terms are products of links (attention): the whole sum over closures at once.

The closures of a Gaussian law are the pairings of all legs. Where scores join legs in pairs, the sum over closures is
taken over chains and loops of links instead (:mod:`tnsim.measure.chains`); the value is the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.contract import Contraction, performed
from tnsim.algebra.poly import Poly
from tnsim.algebra.price import Cost
from tnsim.algebra.term import Term
from tnsim.algebra.wires import MODEL, SIDES, identify
from tnsim.measure.batch import Linked
from tnsim.measure.ends import Moments, product_flops
from tnsim.measure.families import Factor, Sheet, families
from tnsim.measure.links import product_of
from tnsim.measure.measure import Block, Keep, Kept, each_axis, kept_shape, read_outputs
from tnsim.measure.products import product_bytes, product_moment

__all__ = ["has_links", "linked_moment"]

Array = Any


def has_links(f: Poly) -> bool:
    """Whether a term of the polynomial has a link with two legs: scores, as attention has."""
    return any(_product(t).pairs for t in f.terms if t.degree > 1)


def linked_moment(
    factors: Sequence[Poly],
    means: Mapping[int, Block | None],
    covs: Mapping[tuple[int, int], Block | None],
    models: Sequence[int | None],
    keep: Keep,
    sides: Sequence[int],
    connected: bool,
) -> Array:
    """E[f ⊗ g], or the covariance, under a Gaussian law.

    Args:
        factors: one or two polynomials.
        means: for every side the mean of its input, or ``None`` for zero.
        covs: for pairs of sides (a, b), a ≤ b, the covariance of their inputs, or ``None`` for the identity.
        models: for every factor the number of stacked models, or ``None``.
        keep: which outputs to keep.
        sides: for every factor the side it is on.
        connected: the covariance instead of the second moment.

    Returns:
        Shape ``([m,] [m',] *outputs)``.
    """
    arrays: list[Array] = []
    numbers: dict[int, int] = {}

    def number(x: Array) -> int:
        if id(x) not in numbers:
            numbers[id(x)] = len(arrays)
            arrays.append(x)
        return numbers[id(x)]

    terms = []
    for f, end in zip(factors, SIDES, strict=False):
        nested = [t.nested(end) for t in f.terms]
        sheets = tuple(
            Sheet(tuple((x.inds, number(x.data)) for x in t.tensors), t.legs, t.out, t.coefficient)
            for t in nested
        )
        terms.append(families(sheets, tuple(tuple(t.sizes.items()) for t in nested)))
    task = _Task(
        tuple(terms),
        tuple(sides[: len(factors)]),
        tuple(models),
        keep,
        connected,
        len(factors) == 2 and factors[0] is factors[1] and sides[0] == sides[1],
        tuple((side, None if m is None else (number(m.data), m.models)) for side, m in means.items()),
        tuple(
            (pair, None if c is None else (number(c.data), c.models, c.shared(len(factors[0].domain))))
            for pair, c in covs.items()
        ),
    )
    front = tuple(n for k, n in enumerate(models) if n and sides[k] not in sides[:k])
    shape = (*front, *kept_shape([f.out_shape for f in factors], keep))
    return performed(_evaluated, (task, arrays), shape, factors[0].like, task.cost(arrays))


@dataclass(frozen=True)
class _Task:
    """A moment, with numbers in place of arrays."""

    terms: tuple[tuple[Sheet, ...], ...]
    sides: tuple[int, ...]
    models: tuple[int | None, ...]
    keep: Keep
    connected: bool
    alone: bool
    means: tuple[tuple[int, tuple[int, tuple[int, ...]] | None], ...]
    covs: tuple[tuple[tuple[int, int], tuple[int, tuple[int, ...], tuple[int, ...]] | None], ...]

    def law(self, arrays: Sequence[Array], models: Mapping[int, int]) -> Moments:
        """The law of one model on every side."""

        def of(number: int, sides: tuple[int, ...]) -> Array:
            data = arrays[number]
            for side in sides:
                data = data[models[side]]
            return data

        means = {side: None if x is None else of(*x) for side, x in self.means}
        covs = {pair: None if x is None else Block(of(*x[:2]), (), x[2]) for pair, x in self.covs}
        return Moments((means.get(0), means.get(1)), covs)

    def runs(self) -> list[dict[int, int]]:
        """Every combination of models, in order: for every side its number."""
        count: dict[int, int] = {}
        for side, n in zip(self.sides, self.models, strict=True):
            count[side] = max(count.get(side, 1), n or 1)
        return [dict(zip(count, numbers, strict=True)) for numbers in product(*map(range, count.values()))]

    def choices(self) -> list[tuple[int, ...]]:
        """Which terms meet. In a self pair, t with s is the transpose of s with t."""
        every = product(*(range(len(terms)) for terms in self.terms))
        return [numbers for numbers in every if not self.alone or numbers[0] <= numbers[1]]

    def linked(self, arrays: Sequence[Array], models: Mapping[int, int]) -> list[list[Linked]]:
        """The terms of every factor with their arrays, those of one model of a run."""
        return [
            [_filled(sheet, arrays, models[side], side) for sheet in terms]
            for terms, side in zip(self.terms, self.sides, strict=True)
        ]

    def cost(self, arrays: Sequence[Array]) -> Cost:
        """An upper bound of the price: which positions are masked, and which covariances are zero, values tell."""
        runs = self.runs()
        linked = self.linked(arrays, runs[0])
        flops, memory, halves = 0.0, 0.0, 0.5 if self.alone else 1.0
        choices = self.choices()
        for numbers in choices:
            pair = [terms[k] for terms, k in zip(linked, numbers, strict=True)]
            flops += product_flops(pair) * (halves if len(set(numbers)) == 1 else 1.0)
            memory = max(memory, product_bytes(pair))
        return Cost(flops * len(runs), memory, len(choices) * len(runs), flops * len(runs) / 30)


def _filled(sheet: Sheet, arrays: Sequence[Array], model: int, side: int) -> Linked:
    def tensor(factor: Factor) -> qtn.Tensor:
        inds, n = factor
        data = arrays[n]
        for at, ix in enumerate(inds):
            if _is_run(ix):
                data = data[(slice(None),) * at + (model,)]
        return qtn.Tensor(data, tuple(ix for ix in inds if not _is_run(ix)))

    term = Term(tuple(map(tensor, sheet.tensors)), sheet.legs, sheet.out, sheet.coefficient)
    return Linked(term, side, {e: tensor(factor) for e, factor in sheet.offsets})


def _is_run(ix: str) -> bool:
    return ix.rsplit("/", 1)[-1] == MODEL


def _evaluated(task: _Task, arrays: Sequence[Array]) -> Array:
    """The moment itself."""
    runs = task.runs()
    values = [_single(task, arrays, models) for models in runs]
    front = [n for k, n in enumerate(task.models) if n and task.sides[k] not in task.sides[:k]]
    if not front:
        return values[0]
    return ar.do("reshape", ar.do("stack", tuple(values), axis=0), (*front, *ar.shape(values[0])))


def _single(task: _Task, arrays: Sequence[Array], models: Mapping[int, int]) -> Array:
    law = task.law(arrays, models)
    linked = task.linked(arrays, models)
    total: Array | None = None
    for numbers in task.choices():
        pair = [terms[k] for terms, k in zip(linked, numbers, strict=True)]
        mirrored = task.alone and numbers[0] == numbers[1]
        found = product_moment(pair, law, task.connected, mirrored, task.keep)
        if found is None:
            continue
        value = _read(pair, *found, task.keep)
        if task.alone and not mirrored:
            value = value + _transposed(value, each_axis(task.keep, len(pair[0].term.out)))
        total = value if total is None else total + value
    if total is not None:
        return total
    first = linked[0][0].term
    outs = [tuple(terms[0].sizes[ix] for ix in terms[0].term.out) for terms in linked]
    return ar.do("zeros", kept_shape(outs, task.keep), like=first.tensors[0].data)


def _transposed(x: Array, keep: Sequence[Kept]) -> Array:
    """The outputs of both factors exchanged, where both are kept."""
    own = [k for k in keep if k != "sum"]
    order, at = list(range(ar.ndim(x))), len(own)
    for axis, k in enumerate(own):
        if k == "all":
            order[axis], order[at] = at, axis
            at += 1
    return ar.do("transpose", x, tuple(order)) if "all" in own else x


def _read(pair: Sequence[Linked], data: Array, inds: Sequence[str], keep: Keep) -> Array:
    """What stands between the links and the output, contracted."""
    tensors = [qtn.Tensor(data, tuple(inds))]
    for t in pair:
        tensors += [t.term.tensors[n] for n in t.product.rest if n not in t.weighing]
    outs = [t.term.out for t in pair]
    have = {ix for x in tensors for ix in x.inds}
    for t in pair:
        ones = [ix for ix in t.term.out if ix not in have]
        tensors += [qtn.Tensor(ar.do("ones", (t.sizes[ix],), like=data), (ix,)) for ix in ones]
    joins, kept = read_outputs(outs, keep)
    return Contraction(tuple(tensors), kept, identify(joins)).value()


def _product(t: Term) -> Any:
    inds = tuple(tuple(ix for ix in x.inds if ix != MODEL) for x in t.tensors)
    return product_of((inds, t.legs, t.out), tuple((ix, n) for ix, n in t.sizes.items() if ix != MODEL))
