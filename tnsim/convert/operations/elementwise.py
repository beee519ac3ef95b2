"""Elementwise operations on values, constants and numbers."""

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from math import comb
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from tnsim.common.wires import constant_role
from tnsim.convert.module.errors import MIXED, Refusal
from tnsim.convert.record.trace import members, words
from tnsim.convert.values.axiswise import add, affordable, multiply, offset, scale
from tnsim.convert.values.site import Site
from tnsim.convert.values.value import Value

__all__ = ["ELEMENTWISE", "plus", "times"]

_SAME = words("clone contiguous detach data alias positive requires_grad")
_DROPOUTS = words("""
    dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout
""")
_LINE = "Multiply instead, or register a rule with @tnsim.convert.register."


def plus(site: Site, a: Any, b: Any) -> Any:
    """a + b."""
    if not isinstance(a, Value) and not isinstance(b, Value):
        return a + b
    if not isinstance(a, Value):
        a, b = b, a
    b = site.plain(b)
    if isinstance(b, Value):
        return add(a, b)
    if isinstance(b, Real):
        if not b:
            return a
        b = torch.tensor(float(b), dtype=a.poly.like.dtype, device=a.poly.like.device)
    return offset(a, b)


def times(site: Site, a: Any, b: Any) -> Any:
    """a · b, elementwise."""
    if not isinstance(a, Value) and not isinstance(b, Value):
        return a * b
    if not isinstance(a, Value):
        a, b = b, a
    b = site.plain(b)
    if isinstance(b, Value):
        return multiply(a, b)
    if isinstance(b, Real):
        return replace(a, poly=a.poly * float(b))
    return scale(a, b, site.role(b))


def _add(site: Site, input: Any, other: Any, *, alpha: float = 1) -> Any:
    return plus(site, input, other if alpha == 1 else times(site, other, alpha))


def _sub(site: Site, input: Any, other: Any, *, alpha: float = 1) -> Any:
    return plus(site, input, times(site, other, -alpha))


def _rsub(site: Site, input: Any, other: Any, *, alpha: float = 1) -> Any:
    return plus(site, other, times(site, input, -alpha))


def _neg(site: Site, input: Any) -> Any:
    return times(site, input, -1.0)


def _same(site: Site, input: Any, *_: Any, **__: Any) -> Any:
    return input


def _div(site: Site, input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode is not None:
        raise Refusal("no polynomial form for rounding", "Divide with /, without rounding_mode.")
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
    if not isinstance(exponent, Tensor) or exponent.numel() == 1:
        return _power(input, exponent.item() if isinstance(exponent, Tensor) else exponent)
    if exponent.requires_grad:
        raise Refusal("no polynomial form for a trained exponent", "Use fixed whole exponents.")
    parts = []
    for n in exponent.unique().tolist():
        parts.append(scale(_power(input, n), exponent == n, constant_role("mask")))
    return reduce(add, parts)


def _power(input: Value, n: Any) -> Value:
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


def _addcdiv(site: Site, input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Any:
    return plus(site, input, times(site, _div(site, tensor1, tensor2), value))


def _tri(site: Site, input: Value, diagonal: int = 0) -> Value:
    if input.batch >= len(input.shape) - 2:
        raise Refusal(*MIXED)
    like = input.poly.like
    ones = torch.ones(input.shape[-2:], dtype=like.dtype, device=like.device)
    return scale(input, site.step.function(ones, diagonal), constant_role(site.step.op))


def _masked_fill(site: Site, input: Any, mask: Any, value: Any) -> Any:
    return _chosen(site, mask, value, input)


def _where(site: Site, condition: Any, input: Any, other: Any) -> Any:
    if site.step.function is Tensor.where:
        condition, input = input, condition
    return _chosen(site, condition, input, other)


def _chosen(site: Site, condition: Any, input: Any, other: Any) -> Any:
    if isinstance(condition, Value):  # of zeros and ones: what is true of token ids
        rest = plus(site, 1.0, _neg(site, condition))
        return plus(site, times(site, condition, input), times(site, rest, other))
    condition = condition.bool()
    like = members((input, other), Value)[0].poly.like
    parts: list[Any] = []
    for v, mask in ((input, condition), (other, ~condition)):
        if isinstance(v, Value):
            role = site.role(condition)
            unnamed = role == constant_role(site.step.op)
            parts.append(scale(v, mask.to(like.dtype), constant_role("mask") if unnamed else role))
        elif bool((torch.as_tensor(v).detach() != 0).any()) or members(v, Tensor):
            parts.append(torch.where(mask, torch.as_tensor(v, dtype=like.dtype, device=like.device), 0.0))
    return reduce(lambda a, b: plus(site, a, b), parts)


def _not(site: Site, input: Any) -> Any:
    _check_bools(site)
    return plus(site, 1.0, _neg(site, input))


def _and(site: Site, input: Any, other: Any) -> Any:
    _check_bools(site)
    return times(site, input, other)


def _or(site: Site, input: Any, other: Any) -> Any:
    _check_bools(site)
    return plus(site, plus(site, input, other), _neg(site, times(site, input, other)))


def _check_bools(site: Site) -> None:
    if not all(node.is_bool for node in site.step.inputs):
        raise Refusal(
            "no polynomial form for {name} of data",
            "Only what is said of token ids, such as ids != 0, can be negated and joined.",
        )


def _batch_norm(
    site: Site,
    input: Value,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    **_: Any,
) -> Value:
    if training or running_mean is None or running_var is None:
        why = "in training mode" if running_mean is not None else "without running statistics"
        raise Refusal(
            f"no polynomial form for {{name}} {why}",
            "It divides by the variance of the batch. Call model.eval() first, with track_running_stats=True.",
        )
    scale = torch.rsqrt(running_var + eps)
    if weight is not None:
        scale = scale * weight
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    spread = lambda c: c.reshape(-1, *[1] * (len(input.shape) - 2))  # noqa: E731
    scale, shift = site.adopt(spread(scale), weight, running_var), spread(shift)
    return plus(site, times(site, input, scale), shift)


def _dropout(site: Site, input: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> Value:
    if training and p > 0:
        raise Refusal(
            "no polynomial form for {name} in training mode", "It is random. Call model.eval() first."
        )
    return input


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("add", "radd"), _add),
    **dict.fromkeys(("sub", "subtract"), _sub),
    "rsub": _rsub,
    **dict.fromkeys(("mul", "multiply", "rmul"), times),
    **dict.fromkeys(("div", "divide", "true_divide", "truediv"), _div),
    **dict.fromkeys(("rdiv", "rtruediv"), _rdiv),
    **dict.fromkeys(("neg", "negative"), _neg),
    **dict.fromkeys(_SAME, _same),
    "square": _square,
    "pow": _pow,
    "rpow": _rpow,
    "lerp": _lerp,
    "addcmul": _addcmul,
    "addcdiv": _addcdiv,
    **dict.fromkeys(("tril", "triu"), _tri),
    "masked_fill": _masked_fill,
    "where": _where,
    **dict.fromkeys(("invert", "bitwise_not", "logical_not"), _not),
    **dict.fromkeys(("and", "rand", "bitwise_and", "logical_and"), _and),
    **dict.fromkeys(("or", "ror", "bitwise_or", "logical_or"), _or),
    "batch_norm": _batch_norm,
    **dict.fromkeys(_DROPOUTS, _dropout),
}
