"""Expectations of products of polynomials: closing the legs, and summing."""

import operator
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import product
from typing import Any, Literal

import autoray as ar
import quimb.tensor as qtn
from tqdm import tqdm

from tnsim.algebra.contract import Contraction, CostError
from tnsim.algebra.poly import Poly
from tnsim.algebra.term import Term
from tnsim.algebra.wires import MODEL, SIDES, identify, model_index
from tnsim.measure.measure import Measure

__all__ = ["MOST_CLOSURES", "Keep", "expect", "plan"]

Array = Any
MOST_CLOSURES = 50_000
Keep = Literal["all", "diagonal", "sum"]


def plan(
    factors: Sequence[Poly],
    measure: Measure,
    keep: Keep = "all",
    sides: Sequence[int] = (0, 1),
    connected: bool = False,
) -> Iterator[Contraction]:
    """The contractions whose sum is the expectation; nothing is computed yet. See :func:`expect`."""
    ends: tuple[str, ...] = SIDES[: len(factors)]
    runs = tuple(model_index(SIDES[side]) for side in sides[: len(factors)])
    models = [f.models or measure.run_of(side) for f, side in zip(factors, sides, strict=False)]
    prepared = [
        [_placed(t, end, run, n) for t in f.terms]
        for f, end, run, n in zip(factors, ends, runs, models, strict=True)
    ]
    front = tuple(dict.fromkeys(run for run, n in zip(runs, models, strict=True) if n))
    for choice in product(*prepared):
        legs = [leg for t in choice for leg in t.legs]
        factor_of = [k for k, t in enumerate(choice) for _ in t.legs]
        side_of = [sides[k] for k in factor_of]
        tensors = tuple(x for t in choice for x in t.tensors)
        outs = [t.out for t in choice]
        joined = [] if keep == "all" else [(outs[0][i], o) for out in outs[1:] for i, o in enumerate(out)]
        kept = {"all": tuple(ix for out in outs for ix in out), "diagonal": outs[0], "sum": ()}[keep]
        factor = reduce(operator.mul, (t.coefficient for t in choice))
        for c in measure.closures(legs, factor_of, side_of):
            if connected and not c.crossings:
                continue
            yield Contraction(
                (*tensors, *c.tensors), (*front, *kept), identify((*joined, *c.joins)), factor * c.weight
            )


def expect(
    factors: Sequence[Poly],
    measure: Measure,
    keep: Keep = "all",
    sides: Sequence[int] = (0, 1),
    connected: bool = False,
    progress: bool = False,
) -> Array:
    """E[f₀(x) ⊗ f₁(x)] under a measure, exactly: one contraction for every closure of the legs.

    Args:
        factors: one or two polynomials. Stacked ones put their run axes in front of the result.
        measure: the law of the input, bound to the factors' arrays.
        keep: ``"all"`` output axes of both; ``"diagonal"``: the same output of both, shape of one output;
            ``"sum"``: summed over outputs.
        sides: for every factor the model it belongs to (both may belong to the same).
        connected: leave out closures in which no bridge runs between the two factors. For a Gaussian law
            that is the covariance instead of the second moment.
        progress: show a bar if it takes more than two seconds.

    Returns:
        Shape ``([m,] [m',] *outputs)``.
    """
    _refuse_swarms(factors, measure)
    models = [f.models or measure.run_of(side) for f, side in zip(factors, sides, strict=False)]
    shape = tuple(n for i, n in enumerate(models) if n and sides[i] not in sides[:i])
    outs = [f.out_shape for f in factors]
    shape += {"all": tuple(n for o in outs for n in o), "diagonal": outs[0], "sum": ()}[keep]
    total = None
    todo = plan(factors, measure, keep, sides, connected)
    for contraction in tqdm(todo, "closing legs", delay=2, leave=False, disable=not progress):
        value = contraction.value()
        total = value if total is None else total + value
    return ar.do("zeros", shape, like=factors[0].like) if total is None else total


def _refuse_swarms(factors: Sequence[Poly], measure: Measure) -> None:
    """Stop before millions of closures are even listed."""
    degrees = [[t.degree for t in f.terms] for f in factors]
    pairs = [(c[0], c[1] if len(c) > 1 else 0) for c in product(*degrees)]
    count = sum(measure.count(*pair) for pair in pairs)
    if count > MOST_CLOSURES:
        legs = max(map(sum, pairs))
        raise CostError(
            f"closing {legs} legs exactly takes {count:.2g} contractions; the limit is {MOST_CLOSURES}. "
            'Use method="layerwise" (approximate), or compare fewer layers, net[:k].'
        )


def _placed(t: Term, end: str, run: str, models: int | None) -> Term:
    """The term on its side of the product, with its run index named after its model."""
    t = t.nested(end).renamed({MODEL: run})
    if models and run not in t.sizes:
        ones = ar.do("ones", (models,), like=t.tensors[0].data)
        t = t.attached(qtn.Tensor(ones, (run,), tags="I"))
    return t
