"""Stages: a model as a line of boxes, one for every layer, with true sizes and what goes past each."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import autoray as ar
import numpy as np

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.poly import Axes, Poly
from tnsim.algebra.terms.term import Term
from tnsim.common.values import numbers
from tnsim.common.wires import MODEL, space
from tnsim.view.scene import is_ones

__all__ = ["LayerBox", "is_skip", "size_of", "stages_of"]

_FEW = 64


@dataclass(frozen=True)
class LayerBox:
    """One box of a model.

    Attributes:
        name: of the layer.
        inside: sizes of its input, and of its output.
        degree: of the layer.
        kind: ``"linear"``, ``"product"``, ``"mixing"`` if it reads more than one position, or ``"identity"`` if all
            that it does is to add a constant.
        skip: the factor of what goes past it, or ``None``.
        bias: whether a constant is added.
        hidden: how many products are taken side by side, 0 where that is not known.
        times: how often it is applied in a row.
        same: the earlier layer that has the same weights, or ``""``.
        stands_for: how many layers are left out where this box stands, 0 for none.
    """

    name: str
    inside: tuple[Axes, Axes]
    degree: int
    kind: str
    skip: float | None
    bias: bool
    hidden: int = 0
    times: int = 1
    same: str = ""
    stands_for: int = 0


def stages_of(net: Network, most: int) -> list[LayerBox]:
    """A box for every layer; layers in a row that have the same weights share one.

    Args:
        net: the network.
        most: how many boxes there may be; the middle of a longer line is left out, and counted.
    """
    first: dict[tuple[Any, ...], list[tuple[str, Poly]]] = {}
    line: list[tuple[LayerBox, Poly]] = []
    for name, f in net:
        alike = first.setdefault(f.signature(), [])
        twin = next((at for at, g in alike if _same_weights(f, g)), "")
        if not twin:
            alike.append((name, f))
        if line and twin and twin in (line[-1][0].name, line[-1][0].same):
            line[-1] = (replace(line[-1][0], times=line[-1][0].times + 1), line[-1][1])
        else:
            line.append((replace(_stage(name, f), same=twin), f))
    found = [stage for stage, _ in line]
    if len(found) <= most:
        return found
    front = most // 2
    back = len(found) - (most - front - 1)
    left = found[front:back]
    gap = LayerBox(
        "", (left[0].inside[0], left[-1].inside[1]), 0, "left out", None, False, stands_for=len(left)
    )
    return [*found[:front], gap, *found[back:]]


def size_of(axes: Axes) -> str:
    """Sizes as they are written on a line: positions × features.

    Example:
        >>> size_of((("s", 4), ("d", 64))), size_of(())
        ('4 × 64', '1')
    """
    return " × ".join(str(n) for _, n in axes) or "1"


def _stage(name: str, f: Poly) -> LayerBox:
    own = f.units.resolved() if f.units else None
    past = [t for g in (f, own.rest if own else None) if g is not None for t in g.terms if is_skip(t)]
    mixing = any(_mixes(t) for t in f.terms)
    alone = f.degree == 1 and all(
        t.degree == 0 or (is_skip(t) and math.isclose(t.coefficient, 1.0)) for t in f.terms
    )
    return LayerBox(
        name,
        (f.domain, f.codomain),
        f.degree,
        "identity" if alone else "mixing" if mixing else "linear" if f.degree < 2 else "product",
        past[0].coefficient if past and not alone else None,
        any(t.degree == 0 for t in f.terms) and f.degree > 0,
        0 if mixing or f.degree < 2 else max(_shared(t) for t in f.terms if t.degree == f.degree),
    )


def is_skip(t: Term) -> bool:
    """Whether a term is a multiple of the input itself: a wire from input to output."""
    return t.legs == (t.out,) and all(is_ones(x) for x in t.tensors)


def _mixes(t: Term) -> bool:
    """Whether some input is read at a position that is not that of the output."""
    here = {ix for ix in t.out if space(ix).startswith("s")}
    return bool(here) and any(ix not in here for leg in t.legs for ix in leg if space(ix).startswith("s"))


def _shared(t: Term) -> int:
    """Size of the largest inner index on three tensors or more."""
    outer = {MODEL, *t.out, *(ix for leg in t.legs for ix in leg)}
    ends: dict[str, int] = {}
    for x in t.tensors:
        for ix in x.inds:
            ends[ix] = ends.get(ix, 0) + 1
    return max((n for ix, n in t.sizes.items() if ends.get(ix, 0) > 2 and ix not in outer), default=0)


def _same_weights(f: Poly, g: Poly) -> bool:
    """Whether two layers of one signature are the same map, by their weights."""
    if any(s.coefficient != t.coefficient for s, t in zip(f.terms, g.terms, strict=True)):
        return False
    return all(a is b or _equal(a, b) for a, b in zip(_arrays(f), _arrays(g), strict=True))


def _arrays(f: Poly) -> Iterable[Any]:
    return (x.data for t in f.terms for x in t.tensors)


def _equal(a: Any, b: Any) -> bool:
    """Whether two arrays hold the same numbers; a few of them mostly say that they do not."""
    if ar.shape(a) != ar.shape(b):
        return False
    x, y = numbers(a), numbers(b)
    return np.array_equal(x.flat[:_FEW], y.flat[:_FEW]) and np.array_equal(x, y)
