"""Elementwise operations on values, constants and numbers."""

from collections.abc import Callable
from dataclasses import replace
from math import comb
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from tnsim.algebra.term import retensor
from tnsim.convert.axiswise import add, affordable, any_axes, multiply, offset, scale
from tnsim.convert.errors import Refusal
from tnsim.convert.layout import Misfit
from tnsim.convert.site import Site
from tnsim.convert.value import Value, uniform

__all__ = ["ELEMENTWISE", "plus", "times"]

_LINE = "Multiply instead, or register a rule with @tnsim.convert.register."


def plus(site: Site, a: Any, b: Any) -> Any:
    """a + b."""
    if not isinstance(a, Value) and not isinstance(b, Value):
        return a + b
    if not isinstance(a, Value):
        a, b = b, a
    b = site.plain(b)
    if isinstance(b, Real):
        if not b:
            return a
        if not a.has_axes:
            return replace(a, poly=a.poly + float(b))
        b = torch.tensor(float(b), dtype=a.poly.like.dtype, device=a.poly.like.device)
    if any_axes(a, b):
        try:
            return add(a, b) if isinstance(b, Value) else offset(a, b)
        except Misfit:
            a, b = _flattened(a, b)
    a, b = _aligned(a, b)
    return replace(a, poly=a.poly + (b.poly if isinstance(b, Value) else b))


def times(site: Site, a: Any, b: Any) -> Any:
    """a · b, elementwise."""
    if not isinstance(a, Value) and not isinstance(b, Value):
        return a * b
    if not isinstance(a, Value):
        a, b = b, a
    b = site.plain(b)
    if isinstance(b, Real):
        return replace(a, poly=a.poly * float(b))
    if any_axes(a, b):
        try:
            return multiply(a, b) if isinstance(b, Value) else scale(a, b, site.role(b))
        except Misfit:
            a, b = _flattened(a, b)
    if isinstance(b, Value):
        a, b = _aligned(a, b)
        affordable(len(a.poly.terms) * len(b.poly.terms))
        return replace(a, poly=a.poly * b.poly)
    role = site.role(b)
    if b.numel() == 1 and b.dim() <= len(a.shape):
        b = b.reshape(())
    if b.dim():
        a, b = _aligned(a, b)
    b = b.to(a.poly.like.dtype)
    f = a.poly * b
    terms = (
        replace(t, tensors=tuple(retensor(x, tags=role) if x.data is b else x for x in t.tensors))
        for t in f.terms
    )
    return replace(a, poly=f.written(tuple(terms)))


def _flattened(*things: Any) -> list[Any]:
    return [v.flattened() if isinstance(v, Value) else v for v in things]


def _aligned(a: Value, b: "Value | Tensor") -> tuple[Value, Any]:
    """Both broadcast to one shape; a constant as the entries of one sample."""
    shape = tuple(torch.broadcast_shapes(a.shape, b.shape))
    a = a.broadcast(shape).flattened()
    if not isinstance(b, Value):
        return a, uniform(b.expand(shape), a.batch).to(a.poly.like.dtype)
    b = b.broadcast(shape).flattened()
    if a.batch != b.batch:
        raise Refusal(
            "{name} pairs samples of a batch with each other",
            "Treat every sample alike, and keep the batch axis in one place.",
        )
    return a, b


def _add(site: Site, input: Any, other: Any, *, alpha: float = 1) -> Any:
    return plus(site, input, other if alpha == 1 else times(site, other, alpha))


def _sub(site: Site, input: Any, other: Any, *, alpha: float = 1) -> Any:
    return plus(site, input, times(site, other, -alpha))


def _rsub(site: Site, input: Any, other: Any, *, alpha: float = 1) -> Any:
    return plus(site, other, times(site, input, -alpha))


def _neg(site: Site, input: Any) -> Any:
    return times(site, input, -1.0)


def _same(site: Site, input: Any, **_: Any) -> Any:
    return input


def _div(site: Site, input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode is not None:
        raise Refusal("no polynomial form for rounding", "Divide without rounding_mode.")
    if isinstance(other, Value):
        raise Refusal("no polynomial form for a division by data", _LINE)
    if isinstance(other, Tensor):
        return times(site, input, site.adopt(other.to(input.poly.like.dtype).reciprocal(), other))
    return times(site, input, 1.0 / other)


def _rdiv(site: Site, input: Any, other: Any) -> Any:
    return _div(site, other, input)


def _square(site: Site, input: Value) -> Value:
    return _pow(site, input, 2)


def _pow(site: Site, input: Any, exponent: Any) -> Value:
    if isinstance(exponent, Value):
        raise Refusal(
            "no polynomial form for an exponent that depends on data",
            "Use a fixed whole exponent, such as x ** 2.",
        )
    n = exponent.item() if isinstance(exponent, Tensor) and exponent.numel() == 1 else exponent
    if not isinstance(n, Real) or float(n) < 0 or not float(n).is_integer():
        raise Refusal(f"no polynomial form for the power {n}", "Use a whole exponent, such as x ** 2.")
    n = int(float(n))
    affordable(comb(len(input.poly.terms) + n - 1, n))
    return replace(input, poly=input.poly**n)


def _rpow(site: Site, input: Any, other: Any) -> Value:
    return _pow(site, other, input)


def _lerp(site: Site, input: Any, end: Any, weight: Any) -> Any:
    rest = plus(site, 1.0, _neg(site, weight))
    if isinstance(rest, Tensor):
        site.adopt(rest, weight)
    return plus(site, times(site, input, rest), times(site, end, weight))


def _addcmul(site: Site, input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Any:
    return plus(site, input, times(site, times(site, tensor1, tensor2), value))


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("add", "radd"), _add),
    **dict.fromkeys(("sub", "subtract"), _sub),
    "rsub": _rsub,
    **dict.fromkeys(("mul", "multiply", "rmul"), times),
    **dict.fromkeys(("div", "divide", "true_divide", "truediv"), _div),
    **dict.fromkeys(("rdiv", "rtruediv"), _rdiv),
    **dict.fromkeys(("neg", "negative"), _neg),
    **dict.fromkeys(("clone", "contiguous", "detach", "data", "alias", "positive", "requires_grad"), _same),
    "square": _square,
    "pow": _pow,
    "rpow": _rpow,
    "lerp": _lerp,
    "addcmul": _addcmul,
}
