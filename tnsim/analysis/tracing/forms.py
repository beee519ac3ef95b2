"""Exact inner products of deep models: which of several equal forms takes the least effort."""

import operator
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial, reduce
from math import inf, prod
from typing import Any

import autoray as ar

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.polys.symmetrising import Form, symmetrise
from tnsim.analysis.tracing.recipes import answer
from tnsim.common.caches import cleared_by
from tnsim.engine.contract import itemsize
from tnsim.engine.costs import Cost, CostError, Exceeded, current_cap, left, price, pricing
from tnsim.engine.effort import Overplanned, planning, reserve, spare
from tnsim.measure.attention.products.linked import has_links
from tnsim.measure.chaos.bounds import least_behind
from tnsim.measure.chaos.graded import Graded
from tnsim.measure.chaos.states import States
from tnsim.measure.pairings.expectation import Keep, count_closures, expect
from tnsim.measure.pairings.measure import Measure

__all__ = ["reduced"]

Chain = Sequence[Poly]  # layers, first to last
Reduced = tuple[tuple[Poly, ...], Measure]

_FORMS: tuple[Form, ...] = ("polarised", "dense")
_MANY = 100  # closures; to plan more of them in slices takes longer than there is patience
_MANY_TERMS = 64  # of a composed model; more have more closures
_MANY_LEGS = 1024  # of a composed model; it has at least as many tensors
_ALIKE = 2  # times the effort of the best choice, summed up order by order, is worth a closer look
_HELD = 4  # times the memory of the largest order is enough for all
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
cleared_by(_chosen.clear)


def reduced(chains: Sequence[Chain], law: Measure) -> Reduced:
    """One polynomial for every chain of layers, and the law of what these polynomials read.

    Shallow models are composed, and so are those with scores (attention): their closures are summed as they stand.
    Other deep ones (degree above 2) are either composed as well, with the exchange of legs made structural, or the law
    is carried exactly through all layers but the last (:class:`Graded`), whichever takes less effort of those that
    fit into memory. The choice depends on shapes only, and is made once for every structure.

    Raises:
        CostError: if models that are composed have too many terms.
        Exceeded: if every form takes more than may be spent (:func:`tnsim.engine.costs.left`).
    """
    deep = max(prod(f.degree for f in layers) for layers in chains) > 2
    scores = law.within and any(has_links(f) for layers in chains for f in layers)
    if not deep or law.within is None or scores:
        return tuple(map(_collapsed, chains)), law
    key = _key(chains, law)
    if key not in _chosen:
        choice, good = _choice(chains, law)
        if not good:
            return _in_form(chains, law, choice)
        _chosen[key] = choice
    return _in_form(chains, law, _chosen[key])


def _choice(chains: Sequence[Chain], law: Measure) -> tuple[Choice, bool]:
    """The choice, and whether it is one for good: not made because better ones are beyond what may be spent now.

    Raises:
        Exceeded: if every form takes more than may be spent.
    """
    room, most, reserved = 2 * current_cap(), left(), reserve()
    beyond: list[Cost] = []
    try:
        graded = _graded_choices(chains, law, most, reserved)
    except Exceeded as error:
        graded = []
        beyond.append(error.cost)
    best, least, large = Choice(), inf, True
    if (
        graded and _HELD * graded[0][1].bytes <= room
    ):  # what nothing comes near to need not be looked at closely
        first, *others = graded
        if all(cost.effort > _ALIKE * first[1].effort for _, cost in others):
            best, least, large, graded = first[0], first[1].effort, False, []
    for choice, about in (*graded, *((Choice(form), Cost()) for form in _FORMS)):
        if about.effort > _ALIKE * least and not large:
            continue
        try:
            with planning(inf if large else spare(least, reserved)):
                if choice.form is not None and not _few_closures(chains, law, choice):
                    continue
                cost = answer(_product, (chains, law, choice), most if large else min(least, most)).cost
        except (CostError, Overplanned):
            continue
        except Exceeded as error:
            beyond.append(error.cost)
            continue
        if (cost.bytes > room, cost.effort) < (large, least):
            best, least, large = choice, cost.effort, cost.bytes > room
    if least == inf and beyond:
        raise Exceeded(min(beyond, key=lambda cost: cost.flops))
    return best, not (large and beyond)


def _few_closures(chains: Sequence[Chain], law: Measure, choice: Choice) -> bool:
    """Whether composed models have so few closures that it is worth planning them."""
    for layers in chains:
        terms = 1
        for f in layers:
            terms = sum(terms**t.degree for t in f.terms)
            if terms > _MANY_TERMS:
                return False
        if prod(f.degree for f in layers) > _MANY_LEGS:
            return False
    return count_closures(*_asked(chains, law, choice)) <= _MANY


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


def _graded_choices(
    chains: Sequence[Chain], law: Measure, most: float, reserved: float
) -> list[tuple[Choice, Cost]]:
    """With every order taken from coefficients where that takes less effort than closing it leg by leg.

    Orders are gone through from the highest, which is the dearest. How an order is closed leg by leg is weighed as long
    as it may be worth it.

    Args:
        chains: layers of every model.
        law: of what they read.
        most: flops that may be spent.
        reserved: operations weighed that are left for what has to be done in any case.

    Returns:
        Choices with about what they take, the least effort first.

    Raises:
        Exceeded: as soon as no choice can take less than ``most``, or the laws of the hidden states are beyond what
            may be spent.
    """
    bound = Cost()
    for layers in chains:
        bound = least_behind(layers[:-1], prod(layers[0].in_shape), itemsize(layers[0].like), left(), bound)
    with pricing(left()):
        state = _behind(chains, law)
    factors = [layers[-1] for layers in chains]
    parts, last = state.states.parts, len(factors) - 1
    pair = (factors[0], factors[last])
    orders = range(min(f.degree * max(p.orders) for f, p in zip(factors, parts, strict=True)), -1, -1)

    @cache
    def whole(k: int) -> Cost:
        found: dict[Hashable, Cost] = {}  # models of one structure have one price
        return reduce(
            operator.add, (_coefficients(state, side, f, k, most, found) for side, f in enumerate(factors))
        )

    choices: list[tuple[Choice, Cost]] = []

    def legs(k: int, factored: tuple[bool, bool]) -> Cost:
        own = whole(k)
        only = Graded(state.states.fresh(), frozenset(), factored, frozenset({k}))
        enough, gain = (min(own.effort + 1, most), own.effort) if _held(own) else (most, inf)
        if choices:  # there is one already
            gain = min(gain, choices[0][1].effort)
        with planning(inf if gain == inf else spare(gain, reserved)):
            return price(partial(expect, pair, only, _keep(pair), (0, last)), enough)

    ways = [(False, False), (False, True), (True, True)]
    beyond = []
    for factored in ways if all(p.factors is not None for p in parts) else ways[:1]:
        chosen, least = set(), Cost()
        for k in orders:
            own, other = whole(k), legs(k, factored)
            if _held(own) and (other.at_least or own.effort <= other.effort):
                chosen.add(k)
            least = least + (own if k in chosen else other)
            if least.at_least or least.flops > most:
                beyond.append(least)
                break
        else:
            choices.append((Choice(None, frozenset(chosen), factored), least))
    if not choices:
        raise Exceeded(min(beyond, key=lambda cost: cost.flops))
    return sorted(choices, key=lambda choice: choice[1].effort)


def _coefficients(
    state: Graded, side: int, f: Poly, k: int, most: float, found: dict[Hashable, Cost]
) -> Cost:
    """The price of one order of what a layer makes of the state of one model."""
    sizes = tuple((order, ar.shape(x)) for order, x in state.states.parts[side].orders.items())
    key = (f.signature(), sizes, state.run_of(side))
    if key not in found:
        alone = replace(state, states=state.states.fresh())
        found[key] = price(partial(alone.behind, side, f, {k}), most)
    return found[key]


def _held(own: Cost) -> bool:
    """Whether the coefficients of an order can be made and held."""
    return not own.at_least and own.bytes <= _LARGEST


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
