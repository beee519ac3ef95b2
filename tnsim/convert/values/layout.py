"""Layout: how the output axes of a polynomial make up the axes of a tensor."""

import itertools
from collections.abc import Iterable, Sequence
from math import prod

from torch import Tensor

from tnsim.algebra import Poly
from tnsim.algebra.polys.axes import rename, reorder, repeat, split

__all__ = [
    "Factors",
    "Misfit",
    "common",
    "factors",
    "is_position",
    "keeps_positions",
    "named",
    "permuted",
    "refined",
    "unified",
]

Factors = tuple[tuple[int, ...], ...]  # for every axis of a tensor the sizes of the output axes in it


class Misfit(Exception):
    """Axes that cannot be cut into common parts; entries have to be moved one by one."""


def is_position(name: str) -> bool:
    """Whether an output axis counts positions of the sequence."""
    return name.startswith("s")


def keeps_positions(poly: Poly) -> bool:
    """Whether no tensor reads position and feature of one copy of the input together, other than entry by entry."""
    return not any(
        set(leg) <= set(x.inds) and not set(leg) <= set(t.out)
        for t in poly.terms
        for leg in t.legs
        for x in t.tensors
    )


def common(factorings: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """The coarsest row-major factoring that refines all of them.

    Example:
        >>> common([(2, 8), (16,), (4, 4)])
        (2, 2, 4)

    Raises:
        Misfit: if there is none, as for (2, 3) and (3, 2).
    """
    bounds = sorted({prod(f[k:]) for f in factorings for k in range(len(f) + 1)}, reverse=True)
    if any(a % b for a, b in itertools.pairwise(bounds)):
        raise Misfit
    return tuple(a // b for a, b in itertools.pairwise(bounds))


def factors(poly: Poly, item: Sequence[int]) -> Factors:
    """For every axis of a sample of shape ``item`` the sizes of the output axes it is made of; axes of size one have none.

    Raises:
        Misfit: if the two do not divide each other.
    """
    parts = list(common([poly.out_shape, tuple(item)]))
    found = []
    for n in item:
        mine: list[int] = []
        while prod(mine) < n:
            mine.append(parts.pop(0))
        found.append(tuple(mine))
    return tuple(found)


def refined(poly: Poly, sizes: Sequence[int]) -> Poly:
    """The polynomial with output axes of these sizes: axes are split, and those of size one are dropped."""
    for at in reversed(range(len(poly.codomain))):
        if poly.codomain[at][1] == 1:
            poly = poly[(*[slice(None)] * at, 0)]
    rest, at = list(sizes), 0
    while at < len(poly.codomain):
        n = poly.codomain[at][1]
        mine: list[int] = []
        while prod(mine) < n:
            mine.append(rest.pop(0))
        if len(mine) > 1:
            taken = {s for s, _ in poly.codomain}
            fresh = (f"h{k}" for k in range(len(taken) + len(mine)))
            names = [name for name in fresh if name not in taken][: len(mine)]
            poly = split(poly, at, list(zip(names, mine, strict=True)))
        at += len(mine)
    return poly


def named(poly: Poly, kinds: Sequence[bool]) -> Poly:
    """The polynomial with output axes named in order, positions ``s0 s1 …`` and others ``h0 h1 …``."""
    return rename(poly, _names(kinds))


def _names(kinds: Sequence[bool]) -> list[str]:
    return [f"{'s' if kind else 'h'}{k}" for k, kind in enumerate(kinds)]


def unified(
    values: Sequence[tuple[Poly, tuple[int, ...]]], constants: Sequence[Tensor], shape: tuple[int, ...]
) -> tuple[list[Poly], list[tuple[Tensor, list[int]]]]:
    """Polynomials and constants, broadcast to one shape, over the same named output axes.

    Args:
        values: polynomials, each with the shape of one sample.
        constants: arrays that broadcast to the shape.
        shape: the common shape.

    Returns:
        The polynomials, those repeated along an axis they lack; for every constant an array with one axis for each
        output axis it varies along, and which these are.

    Raises:
        Misfit: if the axes have no common parts.
    """
    padded = [(f, (1,) * (len(shape) - len(item)) + tuple(item)) for f, item in values]
    own = [factors(f, item) for f, item in padded]
    parts = [
        common([mine[j] for mine, (_, item) in zip(own, padded, strict=True) if item[j] > 1] or [(n,)])
        if n > 1
        else ()
        for j, n in enumerate(shape)
    ]
    cut = [refined(f, [n for j, part in enumerate(parts) if item[j] > 1 for n in part]) for f, item in padded]
    sizes = [n for part in parts for n in part]
    holds = [[item[j] > 1 for j, part in enumerate(parts) for _ in part] for _, item in padded]
    own_names = [iter([name for name, _ in f.codomain]) for f in cut]
    kinds = [
        any([is_position(next(mine)) for mine, has in zip(own_names, holds, strict=True) if has[k]])
        for k in range(len(sizes))
    ]
    names = _names(kinds)
    polys = []
    for f, has in zip(cut, holds, strict=True):
        f = rename(f, [name for name, held in zip(names, has, strict=True) if held])
        for at in range(len(names)):
            f = f if has[at] else repeat(f, at, names[at], sizes[at])
        polys.append(f)
    arrays = []
    for c in constants:
        c = c.reshape((1,) * (len(shape) - c.dim()) + tuple(c.shape))
        c = c[tuple(slice(0, 1) if step == 0 else slice(None) for step in c.stride())]
        varies = [c.shape[j] > 1 for j in range(len(shape))]
        wanted = [n for part, v in zip(parts, varies, strict=True) if v for n in part]
        axes = [v for part, v in zip(parts, varies, strict=True) for _ in part]
        array = c if list(c.shape) == wanted else c.reshape(wanted)
        arrays.append((array, [k for k, v in enumerate(axes) if v]))
    return polys, arrays


def permuted(poly: Poly, order: Sequence[int]) -> Poly:
    """The output axes in another order."""
    return poly if list(order) == list(range(len(poly.codomain))) else reorder(poly, order)
