"""Expectations of products of polynomials: closing the legs, and summing."""

import operator
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import product
from math import inf
from typing import Any

import autoray as ar
import quimb.tensor as qtn
from tqdm.auto import tqdm

from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term
from tnsim.common.digits import rounded
from tnsim.common.wires import MODEL, SIDES, WIRE, identify, model_index
from tnsim.engine.contract import Contraction, zeros
from tnsim.engine.costs import Cost, CostError, scope
from tnsim.engine.effort import weigh
from tnsim.measure.pairings.bridges import Bridges
from tnsim.measure.pairings.measure import Measure
from tnsim.measure.pairings.mirrors import halved
from tnsim.measure.pairings.orbit import MOST_ORBITS, TooManyPairings
from tnsim.measure.pairings.outputs import Keep, each_axis, kept_shape, read_outputs

__all__ = ["MOST_CLOSURES", "Keep", "count_closures", "expect", "placed", "plan"]

Array = Any
MOST_CLOSURES = MOST_ORBITS

_WEIGHED = 2  # operations weighed for a pair of terms


def plan(
    factors: Sequence[Poly],
    measure: Measure,
    keep: Keep = "all",
    sides: Sequence[int] = (0, 1),
    connected: bool = False,
    bridges: Bridges | None = None,
) -> Iterator[Contraction]:
    """The contractions whose sum is the expectation. See :func:`expect`."""
    ends = SIDES[: len(factors)]
    runs = tuple(model_index(SIDES[side]) for side in sides[: len(factors)])
    models = [f.models or measure.run_of(side) for f, side in zip(factors, sides, strict=False)]
    onsides = [
        [placed(t, end, run, n) for t in f.terms]
        for f, end, run, n in zip(factors, ends, runs, models, strict=True)
    ]
    outs = [terms[0].out for terms in onsides]
    front = tuple(dict.fromkeys(run for run, n in zip(runs, models, strict=True) if n))
    joined, kept = read_outputs(outs, keep)
    for whole in measure.whole(factors, sides, outs):
        if whole.order or not connected:
            yield Contraction(whole.tensors, (*front, *kept), identify(joined), whole.weight)
    bridges = bridges or Bridges()
    for numbers, count, exchange in _choices(factors, keep, sides):
        choice = [terms[k] for terms, k in zip(onsides, numbers, strict=True)]
        weight = count * reduce(operator.mul, (t.coefficient for t in choice))
        closures = measure.closures(choice, sides, exchange)
        wanted = (c for c in closures if c.crossings or not connected)
        for factor, tensors, joins in bridges.closed(choice, wanted):
            c = Contraction(tensors, (*front, *kept), identify((*joined, *joins)), weight * factor)
            yield from halved(c) if exchange else (c,)


def expect(
    factors: Sequence[Poly],
    measure: Measure,
    keep: Keep = "all",
    sides: Sequence[int] = (0, 1),
    connected: bool = False,
    progress: bool = False,
    bridges: Bridges | None = None,
) -> Array:
    """E[f₀(x) ⊗ f₁(x)] under a measure, exactly: one contraction for every orbit of closures of the legs.

    Args:
        factors: one or two polynomials. Stacked ones put their run axes in front of the result.
        measure: the law of the input, bound to the factors' arrays.
        keep: ``"all"`` output axes of both; ``"diagonal"``: the same output of both, shape of one output;
            ``"sum"``: summed over outputs. A tuple says so for every output axis apart.
        sides: for every factor the model it belongs to (both may belong to the same).
        connected: leave out closures in which no bridge runs between the two factors. For a Gaussian law
            that is the covariance instead of the second moment.
        progress: show a bar if it takes more than two seconds.
        bridges: those made before for the same polynomials and law, to be shared.

    Returns:
        Shape ``([m,] [m',] *outputs)``.

    Raises:
        CostError: if there are too many closures to list.
    """
    value = measure.at_once(factors, keep, sides, connected)
    if value is not None:
        return value
    todo = count_closures(factors, measure, keep, sides)
    models = [f.models or measure.run_of(side) for f, side in zip(factors, sides, strict=False)]
    shape = tuple(n for i, n in enumerate(models) if n and sides[i] not in sides[:i])
    outs = [f.out_shape for f in factors]
    shape += kept_shape(outs, keep)
    total = None
    contractions = plan(factors, measure, keep, sides, connected, bridges)
    with scope():
        for contraction in tqdm(
            contractions, "closing legs", todo, delay=2, leave=False, disable=not progress
        ):
            value = contraction.value()
            total = value if total is None else total + value
    return zeros(shape, factors[0].like) if total is None else total


def _choices(
    factors: Sequence[Poly], keep: Keep, sides: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], int, bool]]:
    """Which term of every factor, how often, and whether the two are the same and may be exchanged.

    In the product of a model with itself, terms s, t and t, s give each other's transpose: where only the
    diagonal is kept they are the same number, and are computed once.
    """
    whole = "all" in each_axis(keep, len(factors[0].codomain))
    self_pair = len(factors) == 2 and factors[0] is factors[1] and sides[0] == sides[1] and not whole
    for numbers in product(*(range(len(f.terms)) for f in factors)):
        weigh(_WEIGHED)
        if not self_pair:
            yield numbers, 1, False
        elif numbers[0] <= numbers[1]:
            yield numbers, 1 + (numbers[0] < numbers[1]), numbers[0] == numbers[1]


def count_closures(factors: Sequence[Poly], measure: Measure, keep: Keep, sides: Sequence[int]) -> int:
    """How many closures there are.

    Raises:
        CostError: if there are too many to list.
    """
    terms = [f.terms for f in factors]
    count = 0
    legs = sum(f.degree for f in factors)
    try:
        for numbers, _, exchange in _choices(factors, keep, sides):
            count += measure.count([t[k] for t, k in zip(terms, numbers, strict=True)], sides, exchange)
            if count > MOST_CLOSURES:
                break
    except TooManyPairings as error:
        count, legs = error.count, error.legs
    if count > MOST_CLOSURES:
        raise CostError(
            f"closing {legs} legs exactly takes at least {rounded(count):.1g} contractions; the limit is {MOST_CLOSURES}. "
            'Use method="layerwise" (approximate), or compare fewer layers, net[:k].',
            Cost(inf, inf, count, inf, True),
        )
    return count


def placed(t: Term, end: str, run: str, models: int | None) -> Term:
    """The term on its side of the product, with its run index named after its model."""
    t = t.nested(end).renamed({MODEL: run})
    if models and run not in t.sizes:
        ones = ar.do("ones", (models,), like=t.tensors[0].data)
        t = t.attached(qtn.Tensor(ones, (run,), tags=WIRE))
    return t
