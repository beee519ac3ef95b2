"""Structure: operations on values of several axes, done on the axes and not on the entries."""

from collections.abc import Callable, Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from tnsim.algebra import Poly
from tnsim.algebra.polys.axes import attach, fuse, repeat, sum_out, tie
from tnsim.algebra.polys.writing import constant
from tnsim.common.wires import PLACE
from tnsim.convert.values.axis_blocks import blocks
from tnsim.convert.values.layout import Misfit, factors, is_position, named, permuted, refined, unified

__all__ = [
    "counts_positions",
    "moved",
    "operator",
    "operators",
    "plus_constant",
    "positioned",
    "scaled",
    "summed",
]

Sizes = tuple[int, ...]
_MOST_ENTRIES = 10**7  # of what an operation does to every entry along an axis
_ROUNDED = 64  # times the precision, relative to the largest number; what may differ by chance


def moved(poly: Poly, item: Sizes, entries: Tensor) -> Poly:
    """The polynomial whose entries are those that ``entries`` numbers, where that permutes, picks or repeats axes.

    Args:
        poly: a polynomial with several output axes.
        item: the shape they make up.
        entries: numbers of entries, in the new shape.

    Raises:
        Misfit: if entries move in another way.
    """
    flat = entries.flatten()
    if flat.numel() == prod(item) and bool((flat == torch.arange(len(flat), device=flat.device)).all()):
        return poly
    parts = factors(poly, item)
    poly = refined(poly, [n for part in parts for n in part])
    kinds = [is_position(s) for s, _ in poly.codomain]
    coordinates = torch.unravel_index(entries, item)
    reads: list[list[int]] = [[] for _ in entries.shape]  # for every new axis, the old ones along it
    at = 0
    for old, part in enumerate(parts):
        if not part:
            continue
        along = _along(coordinates[old])
        numbers = (
            coordinates[old].movedim(along[0], 0).reshape(entries.shape[along[0]], -1)[:, 0]
            if along
            else None
        )
        if len(along) > 1:
            raise Misfit
        index = [int(coordinates[old].flatten()[0])] if numbers is None else numbers.tolist()
        if index != list(range(item[old])):
            poly = fuse(poly, at, len(part), f"picked{at}")
            kinds[at : at + len(part)] = [kinds[at] if len(part) == 1 else False]
            poly = _picked(poly, at, index, keep=bool(along))
            if not along:
                del kinds[at]
                continue
            part = (len(index),)
        if along:
            reads[along[0]] += range(at, at + len(part))
        at += len(part)
    return _laid(poly, kinds, reads, tuple(entries.shape))


def _laid(poly: Poly, kinds: list[bool], reads: list[list[int]], shape: Sizes) -> Poly:
    """The axes in the order of the new ones: two along one new axis are tied, and where there is none it repeats."""
    poly = named(poly, kinds)
    order = [k for mine in reads for k in mine]
    poly = permuted(poly, order)
    kinds = [kinds[k] for k in order]
    at = 0
    for n, mine in zip(shape, reads, strict=True):
        sizes = [size for _, size in poly.codomain[at : at + len(mine)]]
        while prod(sizes) > n:  # several old axes along one new one
            if sizes[0] != n or sizes[1] != n:
                raise Misfit
            poly = tie(poly, at, at + 1)
            second = kinds.pop(at + 1)
            kinds[at] = kinds[at] and second
            sizes.pop()
        if not mine and n > 1:
            poly = repeat(poly, at, f"new{at}", n)
            kinds.insert(at, False)
            sizes = [n]
        at += len(sizes)
    return named(poly, kinds)


def _along(coordinate: Tensor) -> list[int]:
    """The axes along which a coordinate changes."""
    return [
        k
        for k, n in enumerate(coordinate.shape)
        if n > 1 and not bool((coordinate == coordinate.select(k, 0).unsqueeze(k)).all())
    ]


def _picked(poly: Poly, at: int, index: list[int], keep: bool) -> Poly:
    before = (slice(None),) * at
    if not keep:
        return _present(poly[(*before, index[0])])
    step = index[1] - index[0] if len(index) > 1 else 1
    if step > 0 and index == list(range(index[0], index[-1] + 1, step)):
        return _present(poly[(*before, slice(index[0], index[-1] + 1, step))])
    return _present(poly[(*before, index)])


def _present(poly: Poly) -> Poly:
    """Without the terms of parts of which nothing was picked: they stand at places that are all zero then."""
    absent = [any(PLACE in x.tags and not bool((x.data != 0).any()) for x in t.tensors) for t in poly.terms]
    if not any(absent):
        return poly
    kept = tuple(t for t, gone in zip(poly.terms, absent, strict=True) if not gone)
    return poly.written(kept or poly.terms[:1]).having(poly.units and poly.units.each(_present))


def scaled(poly: Poly, item: Sizes, c: Tensor, shape: Sizes, role: str) -> Poly:
    """The polynomial times a constant that broadcasts to ``shape``."""
    (f,), ((array, axes),) = unified([(poly, item)], [c], shape)
    return attach(f, array, axes, role)


def plus_constant(poly: Poly, item: Sizes, c: Tensor, shape: Sizes) -> Poly:
    """The polynomial plus a constant that broadcasts to ``shape``."""
    (f,), ((array, axes),) = unified([(poly, item)], [c], shape)
    spaces = [f.codomain[k][0] for k in axes]
    term = constant(array, f.domain, spaces)
    for at, (name, n) in enumerate(f.codomain):
        if at not in axes:
            term = repeat(term, at, name, n)
    return f + term


def summed(poly: Poly, item: Sizes, axes: Sequence[int]) -> Poly:
    """The sum over axes of the tensor."""
    parts = factors(poly, item)
    poly = refined(poly, [n for part in parts for n in part])
    ends = [sum(map(len, parts[:k])) for k in range(len(parts) + 1)]
    return sum_out(poly, [k for axis in axes for k in range(ends[axis], ends[axis + 1])])


def counts_positions(poly: Poly, item: Sizes, axis: int) -> bool:
    """Whether an axis of the tensor is the positions of a sequence."""
    parts = factors(poly, item)
    poly = refined(poly, [n for part in parts for n in part])
    at = sum(map(len, parts[:axis]))
    return len(parts[axis]) == 1 and is_position(poly.codomain[at][0])


def positioned(poly: Poly, item: Sizes, axis: int) -> Poly:
    """The polynomial with an axis of the tensor named as positions: what is made from positions counts positions."""
    parts = factors(poly, item)
    if len(parts[axis]) != 1:
        return poly
    poly = refined(poly, [n for part in parts for n in part])
    kinds = [is_position(s) for s, _ in poly.codomain]
    kinds[sum(map(len, parts[:axis]))] = True
    return named(poly, kinds)


def operator(poly: Poly, item: Sizes, fn: Callable[[Tensor], Tensor], out: Sizes, role: str) -> Poly:
    """An affine operation that mixes the entries along one axis only, as one tensor.

    The tensor has an axis for the entries it reads, one for those it gives, and one for each other axis that it
    depends on: a rotary embedding depends on the position and not on the head.

    Args:
        poly: a polynomial with several output axes.
        item: the shape they make up.
        fn: the operation on one sample of that shape.
        out: the shape of its result.
        role: the tag of the tensor.

    Raises:
        Misfit: if it mixes more.
    """
    if len(out) != len(item) or sum(a != b for a, b in zip(item, out, strict=True)) > 1:
        raise Misfit
    changed = [k for k, (a, b) in enumerate(zip(item, out, strict=True)) if a != b]
    like = poly.like
    zero = fn(torch.zeros(item, dtype=like.dtype, device=like.device))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(item, generator=generator, dtype=torch.float64, device="cpu").to(like.device, like.dtype)
    want = fn(x) - zero
    axes = changed or list(reversed(range(len(item))))
    whole = [k for k in axes if counts_positions(poly, item, k)] if not changed else axes
    for read, axis in _readings(fn, item, out, axes, whole, zero):
        given = out if read is item else read
        matrix = _between(lambda v: fn(v.reshape(item)).reshape(given), read, axis, zero.reshape(given))  # noqa: B023
        along = lambda m, v: (m * v.movedim(axis, 0).unsqueeze(axis + 1)).sum(0)  # noqa: B023, E731
        v = x.reshape(read)
        if _agree(along(matrix, v), want.reshape(given), along(matrix.abs(), v.abs())):
            f = _mixed(poly, read, matrix, axis, role)
            return plus_constant(f, given, zero.reshape(given), given) if bool(zero.any()) else f
    raise Misfit


def _readings(
    fn: Callable[[Tensor], Tensor],
    item: Sizes,
    out: Sizes,
    axes: Sequence[int],
    whole: Sequence[int],
    zero: Tensor,
) -> Iterator[tuple[Sizes, int]]:
    """Axes along which one matrix is small enough, with the shape they stand in; last those that are a part of an axis."""
    large = []
    for axis in axes:
        if item[axis] * prod(out) <= _MOST_ENTRIES:
            yield item, axis
        elif prod(out) <= _MOST_ENTRIES and axis not in whole:
            large.append(axis)
    for axis in large:
        parts = blocks(fn, item, axis, zero)
        if parts is not None and parts[1] * prod(out) <= _MOST_ENTRIES:
            yield (*item[:axis], *parts, *item[axis + 1 :]), axis + 1


def _agree(got: Tensor, want: Tensor, size: Tensor) -> bool:
    """Whether numbers are the same up to rounding, each for its own size: a loud one hides no other."""
    eps = torch.finfo(want.dtype).eps
    most = want.detach().abs().max()
    return bool(((got - want).detach().abs() <= eps**0.5 * size.detach() + _ROUNDED * eps * most).all())


def _between(fn: Callable[[Tensor], Tensor], item: Sizes, axis: int, zero: Tensor) -> Tensor:
    """What an operation gives where one entry along an axis is one everywhere: shape (read, *out)."""
    columns = []
    for entry in range(item[axis]):
        unit = torch.zeros(item, dtype=zero.dtype, device=zero.device)
        unit.select(axis, entry).fill_(1.0)
        columns.append(fn(unit) - zero)
    return torch.stack(columns)


def _mixed(poly: Poly, item: Sizes, matrix: Tensor, axis: int, role: str) -> Poly:
    """The entries along one axis mixed by a matrix for each entry of the others, shape (read, *out)."""
    out = tuple(matrix.shape[1:])
    for k in range(len(out)):
        if k != axis:
            first = matrix.select(k + 1, 0).unsqueeze(k + 1)
            if bool((matrix == first).all()):
                matrix = first
    read = matrix.movedim(0, axis + 1)  # (…, given, read, …)
    wide = (*item[:axis], 1, *item[axis:])
    shape = (*out[: axis + 1], *item[axis:])
    f = scaled(poly, wide, read, shape, role)
    f = summed(f, shape, [axis + 1])
    return positioned(f, out, axis) if counts_positions(poly, item, axis) else f


def operators(poly: Poly, item: Sizes, fn: Callable[[Tensor], Tensor], out: Sizes, role: str) -> Poly:
    """An affine operation that mixes the entries along several axes, each for itself: one matrix for every axis.

    So are pooling by averages, padding with zeros, and resizing: (M₁ ⊗ M₂ ⊗ …) x + c. The matrices are read off what the
    operation does to products of vectors, one for each axis.

    Args:
        poly: a polynomial with several output axes.
        item: the shape they make up.
        fn: the operation on one sample of that shape.
        out: the shape of its result.
        role: the tag of the matrices.

    Raises:
        Misfit: if it is no such product.
    """
    if len(out) != len(item) or sum(map(prod, zip(item, out, strict=True))) > _MOST_ENTRIES:
        raise Misfit
    like = poly.like
    generator = torch.Generator().manual_seed(0)
    draw = lambda *sizes: torch.randn(  # noqa: E731
        sizes, generator=generator, dtype=torch.float64, device="cpu"
    ).to(like.device, like.dtype)
    zero = fn(torch.zeros(item, dtype=like.dtype, device=like.device))
    vectors = [draw(n) for n in item]
    whole = fn(_outer(vectors)) - zero
    where = torch.unravel_index(whole.detach().abs().argmax(), out)
    size = whole[where]
    if not bool(size):
        raise Misfit
    matrices, gain = [], size ** (1 - len(item))
    for k, n in enumerate(item):
        fibre = tuple(slice(None) if j == k else at for j, at in enumerate(where))
        units = torch.eye(n, dtype=like.dtype, device=like.device)
        columns = [(fn(_outer([*vectors[:k], e, *vectors[k + 1 :]])) - zero)[fibre] for e in units]
        matrix = torch.stack(columns, -1)
        largest = matrix.flatten()[matrix.detach().abs().argmax()]
        matrices.append(matrix / largest)
        gain = gain * largest
    x = draw(*item)
    want, got, size = fn(x) - zero, x * gain, (x * gain).abs()
    for k, matrix in enumerate(matrices):
        got = torch.tensordot(matrix, got, dims=([1], [k])).movedim(0, k)
        size = torch.tensordot(matrix.abs(), size, dims=([1], [k])).movedim(0, k)
    if not _agree(got, want, size):
        raise Misfit
    changes = [k for k, matrix in enumerate(matrices) if not _is_identity(matrix)]
    if not changes:
        return plus_constant(scaled(poly, item, gain, item, role), item, zero, item)
    for k in changes:
        matrix = matrices[k] * gain if k == changes[-1] else matrices[k]
        poly, item = _applied(poly, item, matrix, k, role)
    return plus_constant(poly, out, zero, out) if bool(zero.any()) else poly


def _outer(vectors: Sequence[Tensor]) -> Tensor:
    whole = vectors[0]
    for v in vectors[1:]:
        whole = whole[..., None] * v
    return whole


def _is_identity(matrix: Tensor) -> bool:
    rows, columns = matrix.shape
    eye = torch.eye(rows, columns, dtype=matrix.dtype, device=matrix.device)
    return rows == columns and torch.allclose(matrix, eye, rtol=0, atol=8 * torch.finfo(matrix.dtype).eps)


def _applied(poly: Poly, item: Sizes, matrix: Tensor, axis: int, role: str) -> tuple[Poly, Sizes]:
    """A matrix on one axis of the tensor."""
    n = len(matrix)
    out = (*item[:axis], n, *item[axis + 1 :])
    wide, shape = (*item[:axis], 1, *item[axis:]), (*item[:axis], n, *item[axis:])
    f = scaled(poly, wide, matrix.reshape(n, -1, *[1] * (len(item) - axis - 1)), shape, role)
    f = summed(f, shape, [axis + 1])
    return positioned(f, out, axis) if counts_positions(poly, item, axis) else f, out
