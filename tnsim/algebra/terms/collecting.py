"""Tidying a sum of terms: drop idle wires, merge what is constant, merge what is linear."""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.terms.term import Term, aligned, retensor
from tnsim.common.digits import rounded
from tnsim.common.wires import MODEL, WIRE, index
from tnsim.engine.contract import Contraction
from tnsim.engine.costs import CostError
from tnsim.engine.effort import weigh

__all__ = ["affordable", "busy", "collect"]

Array = Any

_MOST_TERMS = 2**12  # of a product or a composition
_WEIGHED = 3  # operations weighed for a term
_SMALL = 10_000  # entries; below this a dense matrix is always worth having


def collect(terms: Iterable[Term]) -> tuple[Term, ...]:
    """The same sum in fewer terms, highest degree first.

    Constants become one vector. Several linear terms become one matrix, unless that matrix would be
    larger than the factors it replaces. Terms with the same tensors are counted once.

    Where the output or a leg has several axes nothing becomes a matrix: a position that an output shares with a leg
    is a wire and stays one. There only constants of a single tensor are added up.
    """
    given = list(terms)
    if not given:
        raise ValueError("a polynomial needs at least one term.")
    kept = [_pruned(t) for t in given if t.coefficient != 0.0]
    if len(kept) < len(given):
        kept += _traces(given, kept)
    kept = [aligned(t, kept[0].out) for t in kept]
    groups: dict[int, list[Term]] = {}
    for t in kept:
        groups.setdefault(t.degree, []).append(t)
    result: list[Term] = []
    for degree in sorted(groups, reverse=True):
        group = _merged(groups[degree])
        if len(group[0].out) > 1 or any(len(leg) > 1 for t in group for leg in t.legs):
            result += group if degree else _added(group)
            continue
        if degree == 0 and (len(group) > 1 or len(group[0].tensors) > 1 or group[0].coefficient != 1.0):
            group = [_dense(group, "c")]
        if degree == 1 and len(group) > 1 and _worth_it(group):
            group = [_dense(group, "A")]
        result += group
    return tuple(result)


def _pruned(t: Term) -> Term:
    """Without the ones that anchor an identity, wherever another tensor carries the same index."""
    tensors = list(t.tensors)
    for x in t.tensors:
        if _idle(x) and len(tensors) > 1:
            rest = {ix for y in tensors if y is not x for ix in y.inds}
            if rest.issuperset(x.inds):
                tensors = [y for y in tensors if y is not x]
    return t if len(tensors) == len(t.tensors) else replace(t, tensors=tuple(tensors))


def _traces(given: Sequence[Term], kept: Sequence[Term]) -> list[Term]:
    """The constant 0, where a sum without its zeros would have no term, or would not say how many models it is of."""
    runs = [t for t in given if any(MODEL in x.inds for x in t.tensors)]
    if kept and (not runs or any(MODEL in x.inds for t in kept for x in t.tensors)):
        return []
    t = runs[0] if runs else given[0]
    inds = (MODEL, *t.out) if runs else t.out
    zeros = ar.do("zeros", tuple(t.sizes[ix] for ix in inds), like=t.tensors[0].data)
    return [Term((qtn.Tensor(zeros, inds, tags="c"),), (), t.out)]


def busy(t: Term) -> list[qtn.Tensor]:
    """The tensors of a term but for ones on indices that other tensors have too, or that are open; at least one.

    Ones on an index that nothing else has are summed: they say how often the rest counts.

    Example:
        >>> import numpy as np
        >>> weight = qtn.Tensor(np.eye(2), ("out:d", "in0:d"), tags="W")
        >>> idle = qtn.Tensor(np.ones(2), ("out:d",), tags=WIRE)
        >>> len(busy(Term((weight, idle), (("in0:d",),), ("out:d",))))
        1
    """
    ends = {ix for end in (t.out, *t.legs) for ix in end}
    return [x for x in t.tensors if not _idle(x) or not _known(x, t, ends)] or list(t.tensors)


def _known(x: qtn.Tensor, t: Term, ends: set[str]) -> bool:
    """Whether the indices of a tensor are open, or those of others."""
    return ends.union(ix for y in t.tensors if y is not x for ix in y.inds).issuperset(x.inds)


def _merged(group: list[Term]) -> list[Term]:
    """Add the coefficients of terms made of the very same tensors in the same wiring."""
    found: dict[Any, Term] = {}
    for t in group:
        tensors, *wiring = t.key
        key = (tuple(sorted(tensors)) if t.degree < 2 else tensors, *wiring)
        same = found.get(key)
        found[key] = t if same is None else replace(t, coefficient=t.coefficient + same.coefficient)
    return list(found.values())


def _added(group: list[Term]) -> list[Term]:
    """Constants over several axes, those of a single tensor as one: over the axes that any of them has."""
    simple = [t for t in group if len(busy(t)) < 2 or not _real(t)]
    if len(simple) < 2:
        return group
    first = simple[0]
    have = {ix for t in simple for x in busy(t) for ix in x.inds}
    kept = tuple(ix for ix in (MODEL, *first.out) if ix in have)
    values = []
    for t in simple:
        tensors = tuple(busy(t))
        own = tuple(ix for ix in kept if any(ix in x.inds for x in tensors))
        value = Contraction(tensors, own, {}, t.coefficient).value()
        values.append((value, own))
    total = qtn.Tensor(_summed(values, kept)[0], kept, tags="c")
    ones = tuple(x for x in first.tensors if _idle(x) and set(x.inds) <= set(first.out) - set(kept))
    missing = [ix for ix in first.out if ix not in kept and not any(ix in x.inds for x in ones)]
    sizes = {ix: n for t in simple for ix, n in t.sizes.items()}
    ones += tuple(
        qtn.Tensor(ar.do("ones", (sizes[ix],), like=total.data), (ix,), tags=WIRE) for ix in missing
    )
    return [*(t for t in group if t not in simple), Term((total, *ones), (), first.out)]


def _summed(
    values: list[tuple[Array, tuple[str, ...]]], order: tuple[str, ...]
) -> tuple[Array, tuple[str, ...]]:
    """Arrays with named axes added up, over the axes that any of them has; on the others each is constant."""
    have = {ix for _, own in values for ix in own}
    kept = tuple(ix for ix in order if ix in have)
    spread = (x[tuple(slice(None) if ix in own else None for ix in kept)] for x, own in values)
    return reduce(operator.add, spread), kept


def _real(t: Term) -> list[qtn.Tensor]:
    return [x for x in t.tensors if not _idle(x)]


def _idle(x: qtn.Tensor) -> bool:
    """Whether a tensor is the ones on one index; identity matrices and selections carry the tag too, but do work."""
    return WIRE in x.tags and len(x.inds) == 1


def _worth_it(group: list[Term]) -> bool:
    sizes = group[0].sizes
    entries = reduce(operator.mul, (sizes[ix] for ix in (*group[0].out, *group[0].legs[0])), 1)
    factors = sum(ar.size(x.data) for t in group for x in t.tensors)
    return entries <= _SMALL + 2 * factors


def _dense(group: list[Term], tag: str) -> Term:
    """One tensor for a sum of terms of degree 0 or 1. What they have in common is contracted once, with the sum."""
    out = group[0].out
    legs = tuple(tuple(index("in0", ix.rsplit(":", 1)[-1]) for ix in leg) for leg in group[0].legs)
    ends = (*out, *(ix for leg in legs for ix in leg))
    run = (MODEL,) if any(MODEL in t.sizes for t in group) else ()
    common = _common(group)
    between = tuple(
        dict.fromkeys(
            ix for x in common for ix in x.inds if ix not in out and any(ix in t.sizes for t in group)
        )
    )
    inner = tuple(ix for ix in (*out, *between) if ix not in run)
    values = []
    for t in group:
        rest = _without(t.tensors, common)
        rest = rest or (qtn.Tensor(ar.do("ones", (), like=t.tensors[0].data), ()),)
        joins = {
            new: old
            for leg, names in zip(t.legs, legs, strict=True)
            for old, new in zip(leg, names, strict=True)
        }
        have = {ix for x in rest for ix in x.inds}
        keep = tuple(
            ix for ix in (*run, *inner, *(ix for leg in legs for ix in leg)) if joins.get(ix, ix) in have
        )
        values.append((Contraction(rest, keep, joins, t.coefficient).value(), keep))
    total, kept = _summed(values, (*run, *inner, *(ix for leg in legs for ix in leg)))
    tags = dict.fromkeys(tag for t in group for x in t.tensors for tag in list(x.tags)[1:])
    tensor = qtn.Tensor(total, kept)
    if common:
        whole = tuple(ix for ix in (*run, *ends))
        tensor = qtn.Tensor(Contraction((*common, tensor), whole).value(), whole)
    return Term((retensor(tensor, tags=[tag, *tags]),), legs, out)


def _common(group: list[Term]) -> list[qtn.Tensor]:
    """Tensors on the output side that all terms share, in the same wiring, as often as all of them have them."""
    first, *others = group
    legs = {ix for t in group for leg in t.legs for ix in leg}
    found: list[qtn.Tensor] = []
    for x in first.tensors:
        apart = not set(x.inds) & set(first.out) or legs & set(x.inds)
        if others and not apart and all(_holds(t.tensors, [*found, x]) for t in others):
            found.append(x)
    return found


def _holds(tensors: Sequence[qtn.Tensor], wanted: Sequence[qtn.Tensor]) -> bool:
    return len(_without(tensors, wanted)) == len(tensors) - len(wanted)


def _without(tensors: Sequence[qtn.Tensor], gone: Sequence[qtn.Tensor]) -> tuple[qtn.Tensor, ...]:
    """The tensors without some, each of which is taken out once: a square holds the same one twice."""
    rest = list(tensors)
    for y in gone:
        at = next((k for k, x in enumerate(rest) if _same(x, y)), None)
        if at is not None:
            del rest[at]
    return tuple(rest)


def _same(x: qtn.Tensor, y: qtn.Tensor) -> bool:
    return x.data is y.data and x.inds == y.inds


def affordable(many: int, what: str) -> None:
    """Refuse a sum of too many terms before they are made, and note that they are weighed.

    Raises:
        CostError: with their number, and the limit.
    """
    if many > _MOST_TERMS:
        number = f"{many}" if many < 10**6 else f"{rounded(many):.1e}"
        raise CostError(
            f"{what} has {number} terms; the limit is {_MOST_TERMS}. Compose fewer layers, or ask about a Network of "
            "them: its layers are not multiplied out."
        )
    weigh(_WEIGHED * many)
