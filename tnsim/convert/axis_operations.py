"""Axis operations: torch functions on values of several axes whose arguments say which axes they mean."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tnsim.algebra.axes import along, rename
from tnsim.convert.axiswise import affordable, contracted, join, offset, reduced, scale
from tnsim.convert.elementwise import plus, times
from tnsim.convert.errors import Refusal
from tnsim.convert.layout import Misfit, factors, refined
from tnsim.convert.site import Site
from tnsim.convert.trace import members
from tnsim.convert.value import Value, move

__all__ = ["AXIS_OPERATIONS"]

Lay = Callable[[Tensor], Tensor]


def _same(t: Tensor) -> Tensor:
    return t


def _linear(site: Site, input: Any, weight: Any, bias: Any = None) -> Value:
    if not isinstance(input, Value) or isinstance(weight, Value) or isinstance(bias, Value):
        raise Misfit
    y = contracted(site, (input, weight), (lambda t: t.unsqueeze(-2), _same), (-1,))
    return y if bias is None else offset(y, bias)


def _matmul(site: Site, input: Any, other: Any) -> Value:
    if min(_dims(input), _dims(other)) < 2:
        if _dims(input) == 1:
            return contracted(site, (input, other), (lambda t: t.unsqueeze(-1), _same), (-2,))
        return contracted(site, (input, other), (_same, _same), (-1,))
    return contracted(site, (input, other), (lambda t: t.unsqueeze(-1), lambda t: t.unsqueeze(-3)), (-2,))


def _rmatmul(site: Site, input: Any, other: Any) -> Value:
    return _matmul(site, other, input)


def _einsum(site: Site, equation: Any, *operands: Any) -> Value:
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    left, arrow, out = str(equation).replace(" ", "").partition("->")
    words = left.split(",")
    if not isinstance(equation, str) or not arrow or len(words) != len(operands):
        raise Refusal(
            "{name} is not supported in this form",
            "Write it with one word of letters for each operand and an arrow, such as 'bqd,bkd->bqk'.",
        )
    words, out = _spelled(words, out, operands)
    if any(len(set(w)) != len(w) for w in words):
        raise Refusal(
            "{name} takes a diagonal", "Take it with torch.diagonal, and give every axis a letter of its own."
        )
    summed = "".join(dict.fromkeys(c for w in words for c in w if c not in out))
    letters = out + summed

    def lay(word: str) -> Lay:
        order = [word.index(c) for c in letters if c in word]
        keys = tuple(slice(None) if c in word else None for c in letters)
        return lambda t: t.permute(order)[keys]

    return contracted(site, operands, [lay(w) for w in words], range(len(out) - len(letters), 0))


def _spelled(words: Sequence[str], out: str, operands: Sequence[Any]) -> tuple[list[str], str]:
    """The words with letters in place of each ``...``."""
    free = [
        chr(c) for c in range(ord("A"), ord("z") + 1) if chr(c).isalpha() and chr(c) not in "".join(words)
    ]
    extra = [_dims(v) - len(w.replace("...", "")) for w, v in zip(words, operands, strict=True)]
    most = max([n for n, w in zip(extra, words, strict=True) if "..." in w], default=0)
    dots = "".join(free[:most])
    words = [w.replace("...", dots[most - n :]) for w, n in zip(words, extra, strict=True)]
    return words, out.replace("...", dots)


def _bilinear(site: Site, input1: Any, input2: Any, weight: Tensor, bias: Tensor | None = None) -> Value:
    lay = (lambda t: t[..., None, :, None], lambda t: t[..., None, None, :], _same)
    y = contracted(site, (input1, input2, weight), lay, (-2, -1))
    return y if bias is None else offset(y, bias)


def _sum(
    site: Site, input: Value, dim: Any = None, keepdim: bool = False, *, axis: Any = None, dtype: Any = None
) -> Value:
    dim = axis if dim is None else dim
    dims = range(len(input.shape)) if dim is None else (dim,) if isinstance(dim, int) else dim
    return reduced(input, tuple(dims), keepdim)


def _mean(
    site: Site, input: Value, dim: Any = None, keepdim: bool = False, *, axis: Any = None, dtype: Any = None
) -> Value:
    total = _sum(site, input, dim, keepdim, axis=axis)
    return times(site, total, total.size / input.size)


def _tri(site: Site, input: Value, diagonal: int = 0) -> Value:
    if min(len(input.shape) - 1 - input.batch, len(input.shape)) < 2:
        raise Misfit
    like = input.poly.like
    ones = torch.ones(input.shape[-2:], dtype=like.dtype, device=like.device)
    return scale(input, site.step.function(ones, diagonal), site.step.op)


def _masked_fill(site: Site, input: Any, mask: Tensor, value: Any) -> Value:
    if not isinstance(input, Value) or isinstance(value, Value):
        raise Misfit
    kept = _mask(site, input, ~mask, mask)
    return (
        kept if _is_zero(value) else offset(kept, mask * torch.as_tensor(value, dtype=input.poly.like.dtype))
    )


def _where(site: Site, condition: Any, input: Any, other: Any) -> Any:
    if isinstance(condition, Value):
        raise Refusal("no polynomial form for a choice by data", "Use a constant mask.")
    parts = []
    for v, mask in ((input, condition), (other, ~condition)):
        if isinstance(v, Value):
            parts.append(_mask(site, v, mask, condition))
        elif not _is_zero(v):
            like = members((input, other), Value)[0].poly.like
            parts.append(mask * torch.as_tensor(v, dtype=like.dtype, device=like.device))
    return parts[0] if len(parts) == 1 else plus(site, *parts)


def _mask(site: Site, v: Value, mask: Tensor, named_by: Tensor) -> Value:
    role = site.role(named_by)
    return scale(v, mask.to(v.poly.like.dtype), "mask" if role == site.step.op else role)


def _is_zero(value: Any) -> bool:
    return (
        not isinstance(value, Value)
        and torch.as_tensor(value).numel() == 1
        and not bool(torch.as_tensor(value))
    )


def _cat(site: Site, tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None) -> Value:
    parts = list(tensors)
    dim = dim if axis is None else axis
    return join(site, parts, dim % _dims(parts[0]))


def _stack(site: Site, tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None) -> Value:
    dim = (dim if axis is None else axis) % (_dims(tensors[0]) + 1)
    parts = [
        move(lambda t: t.unsqueeze(dim), v) if isinstance(v, Value) else v.unsqueeze(dim) for v in tensors
    ]
    return join(site, parts, dim)


def _rule(site: Site, input: Value) -> Value:
    """A rule for the last axis, at every place of the others."""
    f, shape = site.step.rule, site.step.outputs[0].shape
    assert f is not None
    if f.in_shape != input.shape[-1:] or input.batch == len(input.shape) - 1:
        raise Misfit
    parts = factors(input.poly, input.item)
    if len(parts[-1]) != 1:
        raise Misfit
    g = refined(input.poly, [n for part in parts for n in part])
    affordable(sum(len(g.terms) ** t.degree for t in f.terms))
    g = rename(g, [*(name for name, _ in g.codomain[:-1]), "d"])
    result = along(f, g.codomain[:-1]) @ g
    if (*input.shape[:-1], f.out_shape[0]) != shape:
        raise Refusal(
            f"the rule for {{name}} returns {f.out_shape[0]} features but its forward returns {shape[-1]},",
            "Correct one of the two.",
        )
    return Value(result, shape, input.batch)


def _dims(v: Any) -> int:
    return len(v.shape)


AXIS_OPERATIONS: dict[str, Callable[..., Any]] = {
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm"), _matmul),
    "rmatmul": _rmatmul,
    "einsum": _einsum,
    "bilinear": _bilinear,
    "sum": _sum,
    "mean": _mean,
    **dict.fromkeys(("tril", "triu"), _tri),
    "masked_fill": _masked_fill,
    "where": _where,
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "stack": _stack,
    "rule": _rule,
}
