"""Axiswise: operations on values of several axes, as products and sums over named axes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from math import prod
from typing import Any

import numpy as np
from torch import Tensor

from tnsim.algebra.terms.term import retensor
from tnsim.convert.module.errors import APART, MIXED, Refusal
from tnsim.convert.values.layout import unified
from tnsim.convert.values.site import Site
from tnsim.convert.values.structure import counts_positions, plus_constant, positioned, scaled, summed
from tnsim.convert.values.value import Value, move, uniform

__all__ = ["add", "affordable", "apart", "contracted", "multiply", "offset", "reduced", "scale"]

_MOST_TERMS = 4096


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
    like, (f, g) = _together(a, b)
    return replace(like, poly=f * g)


def add(a: Value, b: Value) -> Value:
    """a + b, broadcast."""
    like, (f, g) = _together(a, b)
    return replace(like, poly=f + g)


def scale(a: Value, c: Tensor, role: str) -> Value:
    """a · c for a constant, broadcast."""
    like, c = _beside(a, c)
    if a.has_axes or like.size != a.size:
        return replace(like, poly=scaled(a.poly, a.item, c, like.item, role))
    c = _entries(c, like.item)
    f = a.poly * c
    terms = (
        replace(t, tensors=tuple(retensor(x, tags=role) if x.data is c else x for x in t.tensors))
        for t in f.terms
    )
    return replace(like, poly=f.written(tuple(terms)))


def offset(a: Value, c: Tensor) -> Value:
    """a + c for a constant, broadcast."""
    like, c = _beside(a, c)
    if not a.has_axes and like.size == a.size:
        return replace(like, poly=a.poly + (_entries(c, like.item) if c.dim() else c.expand(like.size)))
    return replace(like, poly=plus_constant(a.poly, a.item, c, like.item))


def reduced(a: Value, dims: Sequence[int], keep: bool = False) -> Value:
    """The sum over axes of the tensor, the batch not among them."""
    axes = sorted(d % len(a.shape) for d in dims)
    if a.batch in axes:
        raise Refusal(*MIXED)
    f = summed(a.poly, a.item, axes)
    if keep:
        return replace(a, poly=f, shape=tuple(1 if d in axes else n for d, n in enumerate(a.shape)))
    shape = tuple(n for d, n in enumerate(a.shape) if d not in axes)
    return replace(a, poly=f, shape=shape, batch=a.batch - sum(d < a.batch for d in axes))


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
    new = [k for k, n in enumerate(product.item) if n == 1 and k != product.batch]
    for fn, c in zip(lay, operands, strict=True):
        if not isinstance(c, Value):
            product = scale(product, fn(c).to(product.poly.like.dtype), site.role(c))
    if not dims:
        return product
    given = [k for k in new if product.item[k] > 1]
    gone = [d % len(product.shape) for d in dims]
    if len(given) == 1 and sum(counts_positions(product.poly, product.item, k) for k in gone) == 1:
        product = replace(product, poly=positioned(product.poly, product.item, given[0]))
    return reduced(product, dims)


def apart(a: Value, b: Value) -> bool:
    """Whether two tensors of as many axes have their samples in different places."""
    return (a.batch - len(a.shape), a.fold) != (b.batch - len(b.shape), b.fold)


def _together(a: Value, b: Value) -> tuple[Value, list[Any]]:
    """Both over the same output axes, and the layout of what is made from them."""
    if apart(a, b):
        raise Refusal(*APART)
    shape = tuple(np.broadcast_shapes(a.shape, b.shape))
    like = replace(a, shape=shape, batch=a.batch + len(shape) - len(a.shape))
    if a.size == b.size == like.size and a.poly.codomain == b.poly.codomain and not a.has_axes:
        return like, [a.poly, b.poly]
    polys, _ = unified([(a.poly, a.item), (b.poly, b.item)], [], like.item)
    return like, polys


def _beside(a: Value, c: Tensor) -> tuple[Value, Tensor]:
    """The layout of the result, and the constant for one sample."""
    shape = tuple(np.broadcast_shapes(a.shape, c.shape))
    like = replace(a, shape=shape, batch=a.batch + len(shape) - len(a.shape))
    at = like.batch - (len(shape) - c.dim())
    c = c.to(a.poly.like.dtype)
    if c.numel() == 1:
        return like, c.reshape(())
    return like, uniform(c, at, a.fold) if at >= 0 and c.shape[at] > 1 else c


def _entries(c: Tensor, item: tuple[int, ...]) -> Tensor:
    """A constant for one sample as a vector of its entries; a number stays one."""
    return c if not c.dim() else c if c.dim() == 1 and c.numel() == prod(item) else c.expand(item).reshape(-1)
