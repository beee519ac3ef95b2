"""Axiswise: operations on values of several axes, as products and sums over named axes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from tnsim.convert.errors import Refusal
from tnsim.convert.layout import unified
from tnsim.convert.site import Site
from tnsim.convert.structure import counts_positions, plus_constant, positioned, scaled, summed
from tnsim.convert.value import Value, affine, move, uniform

__all__ = ["add", "affordable", "any_axes", "contracted", "join", "multiply", "offset", "reduced", "scale"]

_MOST_TERMS = 4096
_APART = (
    "{name} pairs samples of a batch with each other",
    "Treat every sample alike, and keep the batch axis in one place.",
)


def any_axes(*things: Any) -> bool:
    """Whether one of them is a value with several output axes."""
    return any(isinstance(v, Value) and v.has_axes for v in things)


def affordable(terms: int) -> None:
    """Raise unless a layer of so many terms is within reason."""
    if terms > _MOST_TERMS:
        raise Refusal(
            f"{{name}} makes a polynomial of {terms} terms in one layer",
            f"The limit is {_MOST_TERMS}. Connections that skip over several products keep a model from being cut "
            "into layers; leave them out, or pass all data through one tensor in between.",
        )


def multiply(a: Value, b: Value) -> Value:
    """a · b, broadcast."""
    affordable(len(a.poly.terms) * len(b.poly.terms))
    shape, batch, (f, g) = _together(a, b)
    return Value(f * g, shape, batch)


def add(a: Value, b: Value) -> Value:
    """a + b, broadcast."""
    shape, batch, (f, g) = _together(a, b)
    return Value(f + g, shape, batch)


def scale(a: Value, c: Tensor, role: str) -> Value:
    """a · c for a constant, broadcast."""
    shape, batch, c = _beside(a, c)
    return Value(scaled(a.poly, a.item, c, _without(shape, batch), role), shape, batch)


def offset(a: Value, c: Tensor) -> Value:
    """a + c for a constant, broadcast."""
    shape, batch, c = _beside(a, c)
    return Value(plus_constant(a.poly, a.item, c, _without(shape, batch)), shape, batch)


def reduced(a: Value, dims: Sequence[int], keep: bool = False) -> Value:
    """The sum over axes of the tensor, the batch not among them."""
    axes = sorted(d % len(a.shape) for d in dims)
    if a.batch in axes:
        raise Refusal("{name} mixes the samples of a batch", "Treat every sample alike.")
    f = summed(a.poly, a.item, [d - (d > a.batch) for d in axes])
    if keep:
        return Value(f, tuple(1 if d in axes else n for d, n in enumerate(a.shape)), a.batch)
    shape = tuple(n for d, n in enumerate(a.shape) if d not in axes)
    return Value(f, shape, a.batch - sum(d < a.batch for d in axes))


def contracted(
    site: Site, operands: Sequence[Any], lay: Sequence[Callable[[Tensor], Tensor]], dims: Sequence[int]
) -> Value:
    """Values and constants laid out beside each other, multiplied, and summed over the last axes.

    Args:
        site: the operation.
        operands: values and constant tensors.
        lay: for each of them, how it is laid out: all get the same number of axes.
        dims: the axes to sum over, counted from the end.
    """
    data = [move(fn, v) for fn, v in zip(lay, operands, strict=True) if isinstance(v, Value)]
    product = reduce(multiply, data)
    new = [k for k, n in enumerate(product.item) if n == 1]
    for fn, c in zip(lay, operands, strict=True):
        if not isinstance(c, Value):
            product = scale(product, fn(c).to(product.poly.like.dtype), site.role(c))
    if not dims:
        return product
    given = [k for k in new if product.item[k] > 1]
    gone = [d % len(product.shape) for d in dims]
    gone = [d - (d > product.batch) for d in gone if d != product.batch]
    if len(given) == 1 and sum(counts_positions(product.poly, product.item, k) for k in gone) == 1:
        product = replace(product, poly=positioned(product.poly, product.item, given[0]))
    return reduced(product, dims)


def join(site: Site, parts: Sequence[Any], axis: int) -> Value:
    """Values and constants one after the other along an axis."""
    data = [v for v in parts if isinstance(v, Value)]
    total, batch = sum(v.shape[axis] for v in parts), data[0].batch
    if any(v.batch != batch for v in data) or axis == batch:
        raise Refusal(*_APART)
    shape = tuple(total if k == axis else n for k, n in enumerate(data[0].shape))
    at, placed = 0, []
    like = data[0].poly.like
    whole = torch.zeros(shape, dtype=like.dtype, device=like.device)
    constants = False
    for v in parts:
        n = v.shape[axis]
        if isinstance(v, Value):
            sides = [0, 0] * (len(shape) - 1 - axis) + [at, total - at - n]
            placed.append(affine(v, lambda t, s=sides: torch.nn.functional.pad(t, s), shape, "place"))  # type: ignore[misc]
        else:
            whole = whole.slice_scatter(v.to(like.dtype), axis, at, at + n)
            constants = True
        at += n
    out = reduce(add, placed)
    return offset(out, whole) if constants else out


def _together(a: Value, b: Value) -> tuple[tuple[int, ...], int, list[Any]]:
    shape = tuple(torch.broadcast_shapes(a.shape, b.shape))
    batch = a.batch + len(shape) - len(a.shape)
    if batch != b.batch + len(shape) - len(b.shape):
        raise Refusal(*_APART)
    polys, _ = unified([(a.poly, a.item), (b.poly, b.item)], [], _without(shape, batch))
    return shape, batch, polys


def _beside(a: Value, c: Tensor) -> tuple[tuple[int, ...], int, Tensor]:
    """The shape of the result, its batch axis, and the constant for one sample."""
    shape = tuple(torch.broadcast_shapes(a.shape, c.shape))
    batch = a.batch + len(shape) - len(a.shape)
    c = c.to(a.poly.like.dtype)
    if len(shape) - c.dim() > batch:
        return shape, batch, c
    at = batch - (len(shape) - c.dim())
    rest = (*c.shape[:at], *c.shape[at + 1 :])
    return shape, batch, uniform(c, at).reshape(rest) if c.shape[at] > 1 else c.select(at, 0)


def _without(shape: tuple[int, ...], batch: int) -> tuple[int, ...]:
    return (*shape[:batch], *shape[batch + 1 :])
