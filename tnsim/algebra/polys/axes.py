"""The output axes of a polynomial: renamed, reordered, split, fused, summed, repeated; done on names and shapes.

An output that *is* an index of a leg (a wire) stays one wherever that is possible.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from math import prod
from typing import Any, Concatenate, ParamSpec

import autoray as ar
import quimb.tensor as qtn

from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.collecting import collect
from tnsim.algebra.terms.term import Term, canonical, fresh, retensor
from tnsim.common.wires import VIEW, WIRE, index, input_leg, output_leg, space

__all__ = [
    "along",
    "attach",
    "fuse",
    "is_local",
    "rename",
    "reorder",
    "repeat",
    "split",
    "sum_out",
    "tidy",
    "tie",
    "viewed",
]

Array = Any
P = ParamSpec("P")


def _of_outputs(change: Callable[Concatenate[Poly, P], Poly]) -> Callable[Concatenate[Poly, P], Poly]:
    """A change of the outputs that is linear in them: what is known of hidden units is changed along."""

    @wraps(change)
    def wrapper(f: Poly, /, *args: P.args, **kwargs: P.kwargs) -> Poly:
        return change(f, *args, **kwargs).having(
            f.units and f.units.each(lambda g: change(g, *args, **kwargs))
        )

    return wrapper


@_of_outputs
def rename(f: Poly, names: Sequence[str]) -> Poly:
    """The outputs under other space names, all different.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra import poly
        >>> rename(poly("W[out,in0]", W=np.ones((2, 3))), ["s"]).codomain
        (('s', 2),)
    """
    out = output_leg(names)
    terms = []
    for t in f.terms:
        terms.append(t.renamed(dict(zip(t.out, out, strict=True))))
    sizes = (n for _, n in f.codomain)
    return replace(f, terms=tuple(terms), codomain=tuple(zip(names, sizes, strict=True)))


@_of_outputs
def reorder(f: Poly, order: Sequence[int]) -> Poly:
    """The output axes in another order."""
    terms = tuple(replace(t, out=tuple(t.out[k] for k in order)) for t in f.terms)
    return replace(f, terms=terms, codomain=tuple(f.codomain[k] for k in order))


@_of_outputs
def repeat(f: Poly, at: int, name: str, n: int) -> Poly:
    """The outputs n times over, on a new axis before axis ``at``."""
    (ix,) = output_leg([name])
    ones = qtn.Tensor(ar.do("ones", (n,), like=f.like), (ix,), tags=WIRE)
    terms = (t.clear({ix}).attached(ones, (*t.out[:at], ix, *t.out[at:])) for t in f.terms)
    return replace(f, terms=tuple(terms), codomain=(*f.codomain[:at], (name, n), *f.codomain[at:]))


@_of_outputs
def attach(f: Poly, array: Array, axes: Sequence[int], role: str) -> Poly:
    """The outputs times an array over some of their axes; the array itself is not copied."""

    def one(t: Term) -> Term:
        tensor = qtn.Tensor(array, tuple(t.out[k] for k in axes), tags=role)
        return t.attached(tensor)

    return replace(f, terms=collect(map(one, f.terms)))


@_of_outputs
def sum_out(f: Poly, axes: Sequence[int]) -> Poly:
    """The sum over some output axes: they become inner bonds, or the positions of legs."""
    spaces = [s for s, _ in f.domain]
    terms = []
    for t in f.terms:
        for ix in [t.out[k] for k in axes]:
            kind = "s" if space(ix).startswith("s") else "h"
            name = fresh(t, "k" if kind == "s" else "hid", kind)
            t = replace(t.renamed({ix: name}), out=tuple(i for i in t.out if i != ix))
        terms.append(canonical(t, spaces))
    codomain = tuple(axis for k, axis in enumerate(f.codomain) if k not in set(axes))
    return replace(f, terms=collect(terms), codomain=codomain)


@_of_outputs
def tie(f: Poly, a: int, b: int) -> Poly:
    """The diagonal of two axes, where axis ``a`` was."""
    spaces = [s for s, _ in f.domain]
    terms = []
    for t in f.terms:
        terms.append(canonical(t.tied(a, b), spaces))
    return replace(f, terms=tuple(terms), codomain=(*f.codomain[:b], *f.codomain[b + 1 :]))


@_of_outputs
def split(f: Poly, at: int, axes: Sequence[tuple[str, int]]) -> Poly:
    """One output axis as several, in row-major order."""
    sizes = tuple(n for _, n in axes)
    names = output_leg([s for s, _ in axes])
    reshaped = _Memo(lambda data, k: _reshape(data, k, 1, sizes))
    spaces = [s for s, _ in f.domain]
    terms = []
    for t in f.terms:
        ix = t.out[at]
        t = t.clear(set(names) - {ix})
        out = (*t.out[:at], *names, *t.out[at + 1 :])
        if t.wired(at):
            inner = fresh(t, "in", space(ix))
            eye = ar.do("reshape", ar.do("eye", prod(sizes), like=f.like), (*sizes, prod(sizes)))
            t = t.renamed({ix: inner}).attached(qtn.Tensor(eye, (*names, inner), tags=VIEW), out)
        else:
            tensors = []
            for x in t.tensors:
                if ix in x.inds and WIRE in x.tags and len(x.inds) == 1:
                    tensors += [_ones(n, name, f.like) for name, n in zip(names, sizes, strict=True)]
                elif ix in x.inds:
                    k = x.inds.index(ix)
                    inds = (*x.inds[:k], *names, *x.inds[k + 1 :])
                    tensors.append(retensor(x, data=reshaped(x.data, k), inds=inds))
                else:
                    tensors.append(x)
            t = replace(t, tensors=tuple(tensors), out=out)
        terms.append(canonical(t, spaces))
    return replace(f, terms=tuple(terms), codomain=(*f.codomain[:at], *axes, *f.codomain[at + 1 :]))


@_of_outputs
def fuse(f: Poly, at: int, count: int, name: str) -> Poly:
    """``count`` consecutive output axes as one, in row-major order."""
    if count == 1:
        names = [s for s, _ in f.codomain]
        return rename(f, [*names[:at], name, *names[at + 1 :]])
    sizes = tuple(n for _, n in f.codomain[at : at + count])
    (new,) = output_leg([name])
    spaces = [s for s, _ in f.domain]
    joined = _Memo(lambda data, inds: _joined(data, inds, sizes))
    terms = []
    for t in f.terms:
        group = t.out[at : at + count]
        t = t.clear({new} - set(group))
        out = (*t.out[:at], new, *t.out[at + count :])
        touched = [x for x in t.tensors if set(group) & set(x.inds)]
        grown = sum(ar.size(x.data) // prod(_sizes(x, group)) * prod(sizes) for x in touched)
        if any(t.wired(k) for k in range(at, at + count)) or grown > prod(sizes) ** 2:
            inner = {ix: fresh(t, f"view{k}", space(ix)) for k, ix in enumerate(group)}
            eye = ar.do("reshape", ar.do("eye", prod(sizes), like=f.like), (prod(sizes), *sizes))
            t = t.renamed(inner).attached(qtn.Tensor(eye, (new, *inner.values()), tags=VIEW), out)
        else:
            tensors = []
            for x in t.tensors:
                where = tuple(group.index(ix) if ix in group else -1 for ix in x.inds)
                if max(where, default=-1) >= 0:
                    inds = (new, *(ix for ix in x.inds if ix not in group))
                    x = retensor(x, data=joined(x.data, where), inds=inds)
                tensors.append(x)
            t = replace(t, tensors=tuple(tensors), out=out)
        terms.append(canonical(t, spaces))
    return replace(
        f, terms=tuple(terms), codomain=(*f.codomain[:at], (name, prod(sizes)), *f.codomain[at + count :])
    )


def along(f: Poly, axes: Sequence[tuple[str, int]]) -> Poly:
    """A polynomial of one feature axis applied at every place of more axes, which are wires through it.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra import poly
        >>> f = along(poly("W[out,in0]", W=np.ones((2, 3))), [("s", 4)])
        >>> f.domain, f.codomain, f(np.ones((4, 3))).shape
        ((('s', 4), ('d', 3)), (('s', 4), ('d', 2)), (4, 2))
    """
    extra = output_leg([s for s, _ in axes])
    ones = tuple(_ones(n, ix, f.like) for ix, (_, n) in zip(extra, axes, strict=True))
    terms = []
    for t in f.terms:
        t = t.clear(extra)
        terms.append(
            replace(
                t,
                tensors=(*t.tensors, *ones),
                legs=tuple((*extra, *leg) for leg in t.legs),
                out=(*extra, *t.out),
            )
        )
    return Poly(tuple(terms), (*axes, *f.domain), (*axes, *f.codomain))


def viewed(f: Poly, axes: Sequence[tuple[str, int]]) -> Poly:
    """A polynomial of one feature axis, whose entries now lie along several, in row-major order.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra import poly
        >>> f = viewed(poly("W[out,in0]", W=np.ones((2, 6))), [("y", 2), ("x", 3)])
        >>> f.domain, f(np.ones((2, 3)))
        ((('y', 2), ('x', 3)), array([6., 6.]))
    """
    sizes = tuple(n for _, n in axes)
    reshaped = _Memo(lambda data, k: _reshape(data, k, 1, sizes))
    terms = []
    for t in f.terms:
        ends = [ix for leg in t.legs for ix in leg]
        for k, (ix,) in enumerate(t.legs):
            names = input_leg(k, [s for s, _ in axes])
            if ix in t.out or ends.count(ix) > 1:
                eye = ar.do("reshape", ar.do("eye", prod(sizes), like=f.like), (prod(sizes), *sizes))
                tensors = [*t.tensors, qtn.Tensor(eye, (ix, *names), tags=VIEW)]
            else:
                tensors = [
                    retensor(
                        x,
                        data=reshaped(x.data, x.inds.index(ix)),
                        inds=tuple(name for i in x.inds for name in (names if i == ix else (i,))),
                    )
                    if ix in x.inds
                    else x
                    for x in t.tensors
                ]
            t = replace(t, tensors=tuple(tensors), legs=(*t.legs[:k], names, *t.legs[k + 1 :]))
        terms.append(t)
    return Poly(tuple(terms), tuple(axes), f.codomain)


def is_local(f: Poly, k: int) -> bool:
    """Whether places along axis k are mapped each for itself: every output there reads its own place alone.

    Example:
        >>> import numpy as np
        >>> from tnsim.algebra import poly
        >>> is_local(along(poly("W[out,in0]", W=np.ones((2, 3))), [("s", 4)]), 0)
        True
    """
    if k >= min(len(f.domain), len(f.codomain)) or f.domain[k] != f.codomain[k]:
        return False
    return all(leg[k] == t.out[k] for t in f.terms for leg in t.legs)


def tidy(f: Poly) -> Poly:
    """The same polynomial with short names for its inner indices: ``k:s k1:s`` positions, ``hid:h hid1:h`` bonds."""
    spaces = [s for s, _ in f.domain]
    terms = []
    for t in f.terms:
        seen = [ix for leg in t.legs for ix in leg]
        positions = {leg[0] for leg in t.legs if len(leg) > 1}
        mapping: dict[str, str] = {}
        counts = {"s": 0, "h": 0}
        for ix in dict.fromkeys((*seen, *(ix for x in t.tensors for ix in x.inds))):
            if ix in t.out or ix.endswith((":m", ":b")) or (seen.count(ix) == 1):
                continue
            kind = "s" if ix in positions or space(ix).startswith("s") else "h"
            place, n = ("k" if kind == "s" else "hid"), counts[kind]
            mapping[ix] = index(f"{place}{n}" if n else place, kind)
            counts[kind] += 1
        terms.append(canonical(t.renamed(mapping), spaces))
    return f.written(tuple(terms))


class _Memo:
    """Arrays made from arrays, each once: what shared an array goes on sharing one."""

    def __init__(self, make: Callable[[Array, Any], Array]):
        self.make = make
        self.made: dict[tuple[int, Any], tuple[Array, Array]] = {}

    def __call__(self, data: Array, key: Any) -> Array:
        if (id(data), key) not in self.made:
            self.made[id(data), key] = (data, self.make(data, key))
        return self.made[id(data), key][1]


def _ones(n: int, ix: str, like: Array) -> qtn.Tensor:
    return qtn.Tensor(ar.do("ones", (n,), like=like), (ix,), tags=WIRE)


def _sizes(x: qtn.Tensor, group: Sequence[str]) -> list[int]:
    return [int(n) for ix, n in zip(x.inds, ar.shape(x.data), strict=True) if ix in group]


def _reshape(data: Array, at: int, count: int, sizes: tuple[int, ...]) -> Array:
    shape = tuple(ar.shape(data))
    return ar.do("reshape", data, (*shape[:at], *sizes, *shape[at + count :]))


def _joined(data: Array, where: tuple[int, ...], sizes: tuple[int, ...]) -> Array:
    """The axes of a group in front, in order and as one; those it lacks are repeated."""
    rest = [k for k, g in enumerate(where) if g < 0]
    order = [where.index(g) if g in where else None for g in range(len(sizes))]
    data = ar.do("transpose", data, (*(k for k in order if k is not None), *rest))
    data = data[tuple(None if k is None else slice(None) for k in order)]
    shape = tuple(ar.shape(data))[len(sizes) :]
    data = ar.do("broadcast_to", data, (*sizes, *shape))
    return ar.do("reshape", data, (prod(sizes), *shape))
