"""Heads of an attention layer: the index that numbers its products, and a gain on every one of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from math import comb, isclose
from typing import Any

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.term import Term, retensor
from tnsim.common.wires import MODEL, is_constant, space
from tnsim.measure.attention.products.linked import has_links

__all__ = ["head_gained", "heads"]

Array = Any

_FEW = 3  # tensors; an index of fewer is a bond, not a number of parallel products


def heads(f: Poly) -> int | None:
    """How many heads a layer has; ``None`` if it is no attention layer."""
    if not has_links(f):
        return None
    top, *others = (t for t in f.terms if t.degree == f.degree)
    head = _head(top)
    count = top.sizes[head] if head is not None else 1
    if others or (count == 1 and not _is_single(top)):
        return None
    if any(t.degree > 1 and not _through(t, top, count) for t in f.terms):
        return None
    return count if _complete([t for t in f.terms if _through(t, top, count)], top) else None


def head_gained(net: Network, layer: str, gains: Array) -> Network:
    """The network with a gain on every head of a layer.

    Args:
        net: the network.
        layer: the name of a layer for which :func:`heads` counts some.
        gains: shape ``(heads,)``.
    """
    f = net[layer]
    (count,) = ar.shape(gains)
    top = max(f.terms, key=lambda t: t.degree)
    if count == 1:
        terms = (t.attached(qtn.Tensor(gains[0], ())) if _through(t, top, 1) else t for t in f.terms)
    else:
        terms = (_gained(t, _head(t, count), gains) for t in f.terms)
    new = replace(f, terms=tuple(terms))
    return replace(net, layers=tuple((n, new if n == layer else g) for n, g in net.layers))


def _complete(terms: Sequence[Term], top: Term) -> bool:
    """Whether these are all that biases inside the heads make of the term of highest degree.

    Where there are no positions, linear terms are merged, with what goes past the heads as well: no gain tells them apart.
    Of b biases there are C(b, j) terms of j legs less, made of the same maps.
    """
    if not top.coefficient:  # nothing of them is left
        return len(terms) == 1
    own = {id(x.data) for x in top.tensors}
    counts: defaultdict[int, float] = defaultdict(float)  # of coefficients, by how many legs are missing
    for t in terms:
        read = {ix for leg in t.legs for ix in leg}
        maps = [x for x in t.tensors if read & set(x.inds) and not is_constant(x.tags)]
        if any(id(x.data) not in own for x in maps):
            return False
        counts[top.degree - t.degree] += t.coefficient / top.coefficient
    biases = round(counts[1])
    return all(isclose(counts[j], comb(biases, j)) for j in range(max(biases, *counts) + 1))


def _through(t: Term, top: Term, count: int) -> bool:
    """Whether a term is one of the heads'. All those of a single head go through the same output map."""
    if count > 1:
        return _head(t, count) is not None
    return any(x.data is _writer(top).data for x in t.tensors)


def _writer(t: Term) -> qtn.Tensor:
    """The output map."""
    return max(t.tensors, key=lambda x: (not {*t.out[-1:]}.isdisjoint(x.inds), len(x.inds)))


def _is_single(t: Term) -> bool:
    """Whether there is one head: an index of size one, or no index that enough tensors share, and an output map."""
    inner = [ix for ix in _writer(t).inds if ix not in _ends(t) and ix != MODEL]
    return (
        bool(inner)
        and not {*t.out[-1:]}.isdisjoint(_writer(t).inds)
        and max(_shared(t).values(), default=0) < _FEW
    )


def _gained(t: Term, head: str | None, gains: Array) -> Term:
    """Terms without heads, such as a residual connection and the last bias, stay as they are."""
    if head is None:
        return t
    owners = [k for k, x in enumerate(t.tensors) if head in x.inds]
    at = max(
        owners, key=lambda k: sum(ix in t.tensors[k].inds for ix in t.out[-1:])
    )  # the output map, not a tied score
    x = t.tensors[at]
    shape = [1] * len(x.inds)
    shape[x.inds.index(head)] = -1
    tensors = list(t.tensors)
    tensors[at] = retensor(x, data=x.data * ar.do("reshape", gains, tuple(shape)))
    return replace(t, tensors=tuple(tensors))


def _head(t: Term, count: int | None = None) -> str | None:
    """The inner index, not a position, that most tensors share: queries, keys, values and output of one head."""
    held = {ix: n for ix, n in _shared(t).items() if count in (None, t.sizes[ix])}
    most = max(held.values(), default=0)
    best = [ix for ix, n in held.items() if n == most]
    return best[0] if most >= _FEW and len(best) == 1 else None


def _shared(t: Term) -> dict[str, int]:
    """How many tensors share an inner index that is no position; one of a single entry numbers nothing."""
    held: dict[str, int] = {}
    for x in t.tensors:
        for ix in x.inds:
            if ix not in _ends(t) and ix != MODEL and space(ix) != "s" and t.sizes[ix] > 1:
                held[ix] = held.get(ix, 0) + 1
    return held


def _ends(t: Term) -> Sequence[str]:
    return [ix for end in (t.out, *t.legs) for ix in end]
