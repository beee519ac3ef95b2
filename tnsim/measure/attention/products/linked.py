"""Moments of polynomials whose terms are products of links (attention): the whole sum over closures at once.

The closures of a Gaussian law are the pairings of all legs. Where scores join legs in pairs, the sum over closures is
taken over chains and loops of links instead (:mod:`tnsim.measure.attention.programs.chains`); the value is the same.
"""

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import autoray as ar
import numpy as np
import quimb.tensor as qtn

from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term, retensor
from tnsim.common.wires import MODEL, identify, space
from tnsim.engine.contract import Contraction, zeros
from tnsim.engine.costs import CostError
from tnsim.engine.effort import weigh
from tnsim.measure.attention.links.asked import Expected, shared_outputs
from tnsim.measure.attention.links.batch import Linked
from tnsim.measure.attention.links.ends import Ends, Moments
from tnsim.measure.attention.links.family import families_of
from tnsim.measure.attention.links.link import entries, product_of
from tnsim.measure.attention.products.moments import product_moments
from tnsim.measure.pairings.outputs import Keep, Kept, each_axis, kept_shape, read_outputs

__all__ = ["has_links", "linked_moments"]

Array = Any
_PAIRS = 10  # of tensors that are looked at while one operation is weighed
_MOST_UNITS = 256  # products for given positions: attention has one for every head
_MOST = 2.0**20  # products of a term
_MOST_PAIRS = 2.0**24  # products of two terms: listed, they take some GiB


def has_links(f: Poly) -> bool:
    """Whether a term of the polynomial has a link with two legs: scores, as attention has.

    Composed layers may have such links too, but then hidden units number the products. Where these are many, single
    pairings are cheaper, and links do not count.
    """
    linked = [t for t in f.terms if t.degree > 1 and _product(t).pairs]
    return bool(linked) and all(_units(t) <= _MOST_UNITS for t in linked)


def _units(t: Term) -> int:
    """How many products there are for given positions: heads, of attention."""
    return entries([ix for ix in _product(t).batch if space(ix) != "s"], t.sizes)


def linked_moments(
    factors: Sequence[Poly],
    sides: Sequence[int],
    asked: Sequence[tuple[int, ...]],
    law: Moments,
    models: Sequence[int | None],
    keep: Keep,
    connected: bool,
) -> list[Array]:
    """E[f ⊗ g], or the covariance, under a Gaussian law, of several pairs of polynomials; what they share is done once.

    Args:
        factors: polynomials.
        sides: for every factor the side it is on.
        asked: numbers of factors, two for a product and one for a mean.
        law: mean and covariance of the inputs of all sides.
        models: for every factor the number of stacked models, or ``None``.
        keep: which outputs to keep.
        connected: the covariance instead of the second moment.

    Returns:
        For everything asked an array of shape ``([m,] [m',] *outputs)``.

    Raises:
        CostError: if there are too many pairs of products to list.
    """
    linked: dict[tuple[int, int], list[Linked]] = {}
    every: list[list[Linked]] = []
    for f, side, n in zip(factors, sides, models, strict=True):
        if (id(f), side) not in linked:
            linked[id(f), side] = _linked(f, side, n)
        every.append(linked[id(f), side])
    wanted: list[tuple[int, Expected, bool]] = []
    for n, numbers in enumerate(asked):
        terms = [every[k] for k in numbers]
        alone = len(terms) == 2 and terms[0] is terms[1]
        for choice in product(*(range(len(x)) for x in terms)):
            if alone and choice[0] > choice[1]:
                continue  # t with s is the transpose of s with t
            pair = [x[k] for x, k in zip(terms, choice, strict=True)]
            same = alone and choice[0] == choice[1]
            one = Expected(pair[0], pair[1] if len(pair) > 1 else None, same)
            _check_number(one, keep)
            wanted.append((n, one, alone and not same))
    found = product_moments([one for _, one, _ in wanted], Ends(law), connected, keep)
    totals: list[Array | None] = [None] * len(asked)
    for (n, one, twice), value in zip(wanted, found, strict=True):
        if value is not None:
            x = _read(one, *value, keep)
            if twice:
                x = x + _transposed(x, each_axis(keep, len(one.f.term.out)), ar.ndim(x) - _axes(one, keep))
            totals[n] = x if totals[n] is None else totals[n] + x
    results = []
    for numbers, total in zip(asked, totals, strict=True):
        if total is None:
            runs = {sides[k]: models[k] for k in numbers if models[k]}
            shape = kept_shape([factors[k].out_shape for k in numbers], keep)
            total = zeros((*(int(m or 1) for m in runs.values()), *shape), factors[0].like)
        results.append(total)
    return results


def _check_number(one: Expected, keep: Keep) -> None:
    """Refuse what has too many products to list, before they are listed."""
    counts = [entries(t.product.batch, t.sizes) for t in one.terms]
    few = max(counts) <= _MOST and (prod(counts) <= _MOST_PAIRS or _met(one, keep) <= _MOST_PAIRS)
    if not few:
        raise CostError(
            f"a sum over up to {prod(counts):.0e} products of links is too long to be written down. Ask for fewer "
            "outputs with output=, or take models with fewer positions and heads."
        )


def _met(one: Expected, keep: Keep) -> float:
    """How many pairs of products there are, without masked ones and those of outputs that do not meet."""
    both = [] if one.g is None else shared_outputs(one.f, one.g, keep)
    counts = []
    for k, t in enumerate(one.terms):
        read = [pair[k] for pair in both]
        counts.append(np.bincount(t.address(t.table, read), minlength=entries(read, t.sizes)).astype(float))
    return float(np.prod(counts, axis=0).sum())


def _axes(one: Expected, keep: Keep) -> int:
    """How many axes of outputs are kept."""
    outs = [t.term.out for t in (one.f, one.g) if t is not None]
    return len(read_outputs(outs, keep)[1])


def _linked(f: Poly, side: int, models: int | None) -> list[Linked]:
    """The terms of a polynomial, families of them as one, as products of links."""
    return [Linked(family.term, side, models, family.offsets) for family in families_of(f)]


def _transposed(x: Array, keep: Sequence[Kept], front: int) -> Array:
    """The outputs of both factors exchanged, where both are kept."""
    own = [k for k in keep if k != "sum"]
    order, at = list(range(ar.ndim(x))), front + len(own)
    for axis, k in enumerate(own, start=front):
        if k == "all":
            order[axis], order[at] = at, axis
            at += 1
    return ar.do("transpose", x, tuple(order)) if "all" in own else x


def _read(one: Expected, data: Array, inds: Sequence[str], keep: Keep) -> Array:
    """What stands between the links and the output, contracted. ``inds`` are without the run axis, which is in front."""
    terms = [one.f] if one.g is None else [one.f, one.g]
    apart = one.g is not None and one.f.side != one.g.side
    names = [MODEL, f"~{MODEL}" if apart else MODEL]
    runs = tuple(dict.fromkeys(names[k] for k, t in enumerate(terms) if t.models))
    counts = tuple({names[k]: t.models for k, t in enumerate(terms) if t.models}.values())
    data = ar.do("reshape", data, (*counts, *ar.shape(data)[1:]))
    tensors = [qtn.Tensor(data, (*runs, *inds))]
    outs = []
    for k, t in enumerate(terms):
        named = {ix: ix if not k else f"~{ix}" for ix in t.sizes} | {MODEL: names[k]}
        rest = [t.term.tensors[n] for n in t.product.rest if n not in t.weighing]
        tensors += [retensor(x, inds=tuple(named[ix] for ix in x.inds)) for x in rest]
        outs.append(tuple(named[ix] for ix in t.term.out))
    have = {ix for x in tensors for ix in x.inds}
    joins, kept = read_outputs(outs, keep)
    gone = {b for _, b in joins}
    for t, out in zip(terms, outs, strict=True):
        for ix, name in zip(t.term.out, out, strict=True):
            if name not in have and name not in gone:
                tensors.append(qtn.Tensor(ar.do("ones", (t.sizes[ix],), like=data), (name,)))
    return Contraction(tuple(tensors), (*runs, *kept), identify(joins)).value()


def _product(t: Term) -> Any:
    weigh(1 + len(t.tensors) ** 2 / _PAIRS)
    inds = tuple(tuple(ix for ix in x.inds if ix != MODEL) for x in t.tensors)
    return product_of((inds, t.legs, t.out), tuple((ix, n) for ix, n in t.sizes.items() if ix != MODEL))
