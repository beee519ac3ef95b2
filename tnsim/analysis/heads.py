"""Heads of an attention layer: the index that numbers its products, and a gain on every one of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import autoray as ar

from tnsim.algebra.network import Network
from tnsim.algebra.poly import Poly
from tnsim.algebra.term import Term, retensor
from tnsim.algebra.wires import MODEL, space
from tnsim.measure.linked import has_links

__all__ = ["head_gained", "heads"]

Array = Any

_FEW = 3  # tensors; an index of fewer is a bond, not a number of parallel products


def heads(f: Poly) -> int | None:
    """How many heads a layer has; ``None`` if it is no attention layer of several heads."""
    if not has_links(f):
        return None
    tops = [t for t in f.terms if t.degree == f.degree]
    found = [_head(t) for t in tops]
    if len(tops) != 1 or found[0] is None:
        return None
    count = tops[0].sizes[found[0]]
    mixed = [t for t in f.terms if t.degree > 1 and _head(t, count) is None]
    return None if mixed or count < 2 else count


def head_gained(net: Network, layer: str, gains: Array) -> Network:
    """The network with a gain on every head of a layer.

    Args:
        net: the network.
        layer: the name of a layer for which :func:`heads` counts some.
        gains: shape ``(heads,)``.
    """
    f = net[layer]
    (count,) = ar.shape(gains)
    new = replace(f, terms=tuple(_gained(t, _head(t, count), gains) for t in f.terms))
    return replace(net, layers=tuple((n, new if n == layer else g) for n, g in net.layers))


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
    held: dict[str, int] = {}
    for x in t.tensors:
        for ix in x.inds:
            if ix not in _ends(t) and ix != MODEL and space(ix) != "s" and count in (None, t.sizes[ix]):
                held[ix] = held.get(ix, 0) + 1
    most = max(held.values(), default=0)
    best = [ix for ix, n in held.items() if n == most]
    return best[0] if most >= _FEW and len(best) == 1 else None


def _ends(t: Term) -> Sequence[str]:
    return [ix for end in (t.out, *t.legs) for ix in end]
