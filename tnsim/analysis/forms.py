"""Exact inner products of deep models: which of several equal forms takes the least effort."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial
from math import inf, prod
from typing import Any

import autoray as ar

from tnsim.algebra.network import Network
from tnsim.algebra.poly import Poly
from tnsim.algebra.price import Cost, CostError, price, pricing
from tnsim.algebra.symmetrise import Form, symmetrise
from tnsim.measure.expect import Keep, expect
from tnsim.measure.graded import Graded
from tnsim.measure.linked import has_links
from tnsim.measure.measure import Measure

__all__ = ["reduced"]

Chain = Sequence[Poly]  # layers, first to last
Reduced = tuple[tuple[Poly, ...], Measure]
Choice = tuple[str, frozenset[int]]  # a form, and the orders it takes from coefficients

_FORMS: tuple[Form, ...] = ("polarised", "dense")
_LARGEST = 2**30  # bytes of the coefficients of one order
_chosen: dict[Hashable, Choice] = {}  # by structure alone


def reduced(chains: Sequence[Chain], law: Measure) -> Reduced:
    """One polynomial for every chain of layers, and the law of what these polynomials read.

    Shallow models are composed, and so are those with scores (attention): their closures are summed as they stand.
    Other deep ones (degree above 2) are either composed as well, with the exchange of legs made structural, or the law
    is carried exactly through all layers but the last (:class:`Graded`), whichever takes less effort. The choice
    depends on shapes only, and is made once for every structure.
    """
    deep = max(prod(f.degree for f in layers) for layers in chains) > 2
    scores = law.within and any(has_links(f) for layers in chains for f in layers)
    if not deep or law.within is None or scores:
        return tuple(map(_collapsed, chains)), law
    key = _key(chains, law)
    if key not in _chosen:
        _chosen[key] = _choice(chains, law)
    return _in_form(chains, law, *_chosen[key])


def _choice(chains: Sequence[Chain], law: Measure) -> Choice:
    degree = max(prod(f.degree for f in layers) for layers in chains)
    enough = 10 ** (
        7 + degree / 2
    )  # effort not worth a comparison: composed, 4 legs have ten closures, 8 hundreds
    best: Choice = ("graded", frozenset())
    least = inf
    for form in ("graded", *_FORMS):
        if least < enough:
            break
        try:
            orders = _from_coefficients(chains, law) if form == "graded" else frozenset()
            effort = price(partial(_product, chains, law, (form, orders)), least).effort
        except CostError:
            continue
        if effort < least:
            best, least = (form, orders), effort
    return best


def _product(chains: Sequence[Chain], law: Measure, choice: Choice) -> Any:
    factors, law = _in_form(chains, law, *choice)
    pair = (factors[0], factors[-1])
    return expect(pair, law, _keep(pair), sides=(0, len(factors) - 1))


def _keep(pair: Sequence[Poly]) -> Keep:
    return "sum" if pair[0].codomain == pair[1].codomain else "all"


def _in_form(chains: Sequence[Chain], law: Measure, form: Any, orders: frozenset[int]) -> Reduced:
    if form == "graded":
        return _graded(chains, law, orders)
    return tuple(_collapsed([symmetrise(f, form) for f in layers]) for layers in chains), law


def _graded(chains: Sequence[Chain], law: Measure, orders: frozenset[int]) -> Reduced:
    state = Graded.at_input(law, [layers[0] for layers in chains])
    for side, layers in enumerate(chains):
        for f in layers[:-1]:
            parts = list(state.parts)
            parts[side] = state.behind(side, f)
            state = replace(state, parts=tuple(parts), _made={})
    return tuple(layers[-1] for layers in chains), replace(state, coefficients=orders, _made={})


def _from_coefficients(chains: Sequence[Chain], law: Measure) -> frozenset[int]:
    """The orders whose part of an inner product takes less effort from coefficients than leg by leg."""
    with pricing():
        factors, state = _graded(chains, law, frozenset())
    assert isinstance(state, Graded)
    last = len(factors) - 1
    pair = (factors[0], factors[last])
    most = min(f.degree * max(p.orders) for f, p in zip(factors, state.parts, strict=True))
    chosen = set()
    for k in range(most + 1):
        own = Cost()
        for side, f in enumerate(factors):
            own = own + price(partial(replace(state, _made={}).behind, side, f, {k}))
        if own.bytes > _LARGEST:
            continue
        only = replace(state, orders=frozenset({k}), _made={})
        joined = price(partial(expect, pair, only, _keep(pair), (0, last)), own.effort + 1)
        if own.effort <= joined.effort:
            chosen.add(k)
    return frozenset(chosen)


def _key(chains: Sequence[Chain], law: Measure) -> Hashable:
    """The structure of a problem, without its numbers."""
    blocks = [law.cov_of(a, b) for a in range(len(chains)) for b in range(a, len(chains))]
    shapes = tuple(None if x is None else (tuple(ar.shape(x.data)), x.models) for x in blocks)
    runs = tuple(law.run_of(side) for side in range(len(chains)))
    return (
        type(law).__name__,
        shapes,
        runs,
        ar.get_dtype_name(chains[0][0].like),
        tuple(tuple(f.signature() for f in layers) for layers in chains),
    )


def _collapsed(layers: Chain) -> Poly:
    return Network(tuple((f"{i}", f) for i, f in enumerate(layers))).collapse()
