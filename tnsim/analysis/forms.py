"""Exact inner products of deep models: which of several equal forms takes the least effort."""

import operator
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from math import inf, prod
from typing import Any

import autoray as ar

from tnsim.algebra.network import Network
from tnsim.algebra.poly import Poly
from tnsim.algebra.price import Cost, CostError, Exceeded, current_cap, price, pricing
from tnsim.algebra.symmetrise import Form, symmetrise
from tnsim.analysis.recipe import answer
from tnsim.measure.expect import Keep, count_closures, expect
from tnsim.measure.graded import Graded
from tnsim.measure.linked import has_links
from tnsim.measure.measure import Measure
from tnsim.measure.parts import States

__all__ = ["reduced"]

Chain = Sequence[Poly]  # layers, first to last
Reduced = tuple[tuple[Poly, ...], Measure]

_FORMS: tuple[Form, ...] = ("polarised", "dense")
_MANY = 100  # closures; to plan more of them in slices takes longer than there is patience
_LARGEST = 2**30  # bytes of the coefficients of one order


@dataclass(frozen=True)
class Choice:
    """How an inner product is computed: composed in some form, or from the exact law of the hidden states.

    Attributes:
        form: how composed layers are symmetrised; ``None`` if the law is carried through them.
        coefficients: see :class:`Graded`.
        factored: see :class:`Graded`.
    """

    form: Form | None = None
    coefficients: frozenset[int] = frozenset()
    factored: tuple[bool, bool] = (False, False)


_chosen: dict[Hashable, Choice] = {}  # by structure alone


def reduced(chains: Sequence[Chain], law: Measure) -> Reduced:
    """One polynomial for every chain of layers, and the law of what these polynomials read.

    Shallow models are composed, and so are those with scores (attention): their closures are summed as they stand.
    Other deep ones (degree above 2) are either composed as well, with the exchange of legs made structural, or the law
    is carried exactly through all layers but the last (:class:`Graded`), whichever takes less effort of those that
    fit into memory. The choice depends on shapes only, and is made once for every structure.
    """
    deep = max(prod(f.degree for f in layers) for layers in chains) > 2
    scores = law.within and any(has_links(f) for layers in chains for f in layers)
    if not deep or law.within is None or scores:
        return tuple(map(_collapsed, chains)), law
    key = _key(chains, law)
    if key not in _chosen:
        _chosen[key] = _choice(chains, law)
    return _in_form(chains, law, _chosen[key])


def _choice(chains: Sequence[Chain], law: Measure) -> Choice:
    degree = max(prod(f.degree for f in layers) for layers in chains)
    enough = 10 ** (7 + degree / 2)  # comparing takes longer: composed, 4 legs have ten closures, 8 hundreds
    room = 2 * current_cap()
    best, least, large = Choice(), inf, True
    for choice in (*_graded_choices(chains, law), *(Choice(form) for form in _FORMS)):
        if choice.form is not None and least < enough and not large:
            break
        try:
            if choice.form is not None and count_closures(*_asked(chains, law, choice)) > _MANY:
                continue
            cost = answer(_product, (chains, law, choice), inf if large else least).cost
        except (CostError, Exceeded):
            continue
        if (cost.bytes > room, cost.effort) < (large, least):
            best, least, large = choice, cost.effort, cost.bytes > room
    return best


def _asked(chains: Sequence[Chain], law: Measure, choice: Choice) -> tuple[Any, ...]:
    """An inner product in some form, as :func:`expect` is asked for it."""
    factors, law = _in_form(chains, law, choice)
    pair = (factors[0], factors[-1])
    return pair, law, _keep(pair), (0, len(factors) - 1)


def _product(chains: Sequence[Chain], law: Measure, choice: Choice) -> Any:
    return expect(*_asked(chains, law, choice))


def _keep(pair: Sequence[Poly]) -> Keep:
    return "sum" if pair[0].codomain == pair[1].codomain else "all"


def _in_form(chains: Sequence[Chain], law: Measure, choice: Choice) -> Reduced:
    form = choice.form
    if form is None:
        state = replace(_behind(chains, law), coefficients=choice.coefficients, factored=choice.factored)
        return tuple(layers[-1] for layers in chains), state
    return tuple(_collapsed([symmetrise(f, form) for f in layers]) for layers in chains), law


def _behind(chains: Sequence[Chain], law: Measure) -> Graded:
    """The law behind all layers but the last."""
    state = Graded.at_input(law, [layers[0] for layers in chains])
    for side, layers in enumerate(chains):
        for f in layers[:-1]:
            parts = list(state.states.parts)
            parts[side] = state.behind(side, f)
            state = Graded(States(law, tuple(parts)))
    return state


def _graded_choices(chains: Sequence[Chain], law: Measure) -> Iterator[Choice]:
    """With every order taken from coefficients where that takes less effort than closing it leg by leg."""
    with pricing():
        state = _behind(chains, law)
    factors = [layers[-1] for layers in chains]
    parts, last = state.states.parts, len(factors) - 1
    pair = (factors[0], factors[last])
    most = min(f.degree * max(p.orders) for f, p in zip(factors, parts, strict=True))
    whole: list[Cost] = []
    for k in range(most + 1):
        runs = (
            partial(replace(state, states=state.states.fresh()).behind, side, f, {k})
            for side, f in enumerate(factors)
        )
        whole.append(reduce(operator.add, map(price, runs)))
    ways = [(False, False), (False, True), (True, True)]
    for factored in ways if all(p.factors is not None for p in parts) else ways[:1]:
        chosen = set()
        for k, own in enumerate(whole):
            only = Graded(state.states.fresh(), frozenset(), factored, frozenset({k}))
            legs = price(partial(expect, pair, only, _keep(pair), (0, last)), own.effort + 1)
            if own.bytes <= _LARGEST and own.effort <= legs.effort:
                chosen.add(k)
        yield Choice(None, frozenset(chosen), factored)


def _key(chains: Sequence[Chain], law: Measure) -> Hashable:
    """The structure of a problem, without its numbers."""
    blocks = [law.cov_of(a, b) for a in range(len(chains)) for b in range(a, len(chains))]
    shapes = tuple(None if x is None else (tuple(ar.shape(x.data)), x.models) for x in blocks)
    runs = tuple(law.run_of(side) for side in range(len(chains)))
    return (
        type(law).__name__,
        shapes,
        runs,
        current_cap(),
        ar.get_dtype_name(chains[0][0].like),
        tuple(tuple(f.signature() for f in layers) for layers in chains),
    )


def _collapsed(layers: Chain) -> Poly:
    return Network(tuple((f"{i}", f) for i, f in enumerate(layers))).collapse()
