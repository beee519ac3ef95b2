"""Complexes: complex numbers as pairs of real ones, along one more axis."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from tnsim.convert.module.errors import Refusal
from tnsim.convert.operations.elementwise import plus, times
from tnsim.convert.operations.moves import MOVED, join
from tnsim.convert.operations.transforms import by_basis
from tnsim.convert.record.trace import mapped, members, words
from tnsim.convert.values.axiswise import contracted, reduced, scale
from tnsim.convert.values.complex_values import Pairs
from tnsim.convert.values.site import Site
from tnsim.convert.values.value import Value, move

__all__ = ["with_complex"]

_NOT_POLYNOMIAL = words("abs absolute angle sgn sign polar exp log sqrt norm")


def with_complex(site: Site, args: Any, kwargs: Any) -> Any:
    """An operation that reads or gives complex numbers."""
    op = site.step.op
    if op in _OPERATIONS:
        return _OPERATIONS[op](site, *args, **kwargs)
    if op in MOVED:
        return _moved(site, args, kwargs)
    if op in _NOT_POLYNOMIAL:
        raise Refusal(
            "no polynomial form for {name} of complex numbers",
            "Use z * z.conj(), its real part, or z.abs() ** 2.",
        )
    return by_basis(site, args, kwargs)


def _paired(site: Site, v: Any, like: Tensor) -> Any:
    """Anything as pairs: a value, or a constant tensor with one more axis."""
    if isinstance(v, Pairs):
        return v.value
    if isinstance(v, Value):
        v = move(lambda t: t.unsqueeze(-1), v)
        return join(site, [v, torch.zeros(v.shape, dtype=like.dtype, device=like.device)], len(v.shape) - 1)
    c = torch.as_tensor(v, device=like.device)
    c = c if c.is_complex() else torch.complex(c.to(like.dtype), torch.zeros_like(c, dtype=like.dtype))
    return site.adopt(torch.view_as_real(c.resolve_conj()).to(like.dtype), v)


def _like(*things: Any) -> Tensor:
    (first, *_) = members(things, Pairs | Value)  # type: ignore[arg-type]
    like: Tensor = (first.value if isinstance(first, Pairs) else first).poly.like
    return like


# ---------------------------------------------------------------- sums and products


def _add(site: Site, input: Any, other: Any, *, alpha: complex = 1) -> Pairs:
    like = _like(input, other)
    other = other if alpha == 1 else _mul(site, other, alpha)
    return Pairs(plus(site, *(_paired(site, v, like) for v in (input, other))))


def _sub(site: Site, input: Any, other: Any, *, alpha: complex = 1) -> Pairs:
    return _add(site, input, other, alpha=-alpha)


def _mul(site: Site, input: Any, other: Any) -> Any:
    if not members((input, other), Pairs | Value):  # type: ignore[arg-type]
        return input * other
    for a, b in ((input, other), (other, input)):
        if isinstance(a, Pairs) and _is_real(b):
            b = move(lambda t: t.unsqueeze(-1), b) if isinstance(b, Value) else b
            b = site.adopt(b[..., None], b) if isinstance(b, Tensor) and b.dim() else b
            return Pairs(times(site, a.value, b))
    return Pairs(
        _product(site, input, other, lambda t: t[..., None, :, None], lambda t: t[..., None, None, :])
    )


def _is_real(v: Any) -> bool:
    return isinstance(v, Value | float | int) or (isinstance(v, Tensor) and not v.is_complex())


def _product(
    site: Site,
    a: Any,
    b: Any,
    lay_a: Callable[[Tensor], Tensor],
    lay_b: Callable[[Tensor], Tensor],
    sums: int = 0,
) -> Value:
    """Complex numbers multiplied, and summed over axes before the last three: result, left pair, right pair."""
    like = _like(a, b)
    a, b = _paired(site, a, like), _paired(site, b, like)
    rule = torch.zeros(2, 2, 2, dtype=like.dtype, device=like.device)
    rule[0, 0, 0] = rule[1, 0, 1] = rule[1, 1, 0] = 1.0
    rule[0, 1, 1] = -1.0
    places = range(-3 - sums, -3)
    if isinstance(a, Value) and isinstance(b, Value):
        y = contracted(site, (a, b, rule), (lay_a, lay_b, lambda t: t), (*places, -2, -1))
    elif isinstance(b, Value):  # the constant and the rule make one matrix
        matrix = site.adopt((lay_a(a) * rule).sum(-2), a)
        y = contracted(
            site, (b, matrix), (lambda t: lay_b(t)[..., 0, :], lambda t: t), (*(k + 1 for k in places), -1)
        )
    else:
        matrix = site.adopt((lay_b(b) * rule).sum(-1), b)
        y = contracted(
            site, (a, matrix), (lambda t: lay_a(t)[..., 0], lambda t: t), (*(k + 1 for k in places), -1)
        )
    return y


def _matmul(site: Site, input: Any, other: Any) -> Pairs:
    if min(len(input.shape), len(other.shape)) < 2:
        raise Refusal("{name} of complex vectors is not supported", "Give both two axes.")
    # (i, ·, k, ·, p, ·) against (·, j, k, ·, ·, q)
    lay_a = lambda t: t[..., :, None, :, None, :, None]  # noqa: E731
    lay_b = lambda t: t.transpose(-3, -2)[..., None, :, :, None, None, :]  # noqa: E731
    return Pairs(_product(site, input, other, lay_a, lay_b, 1))


def _div(site: Site, input: Any, other: Any) -> Pairs:
    if members(other, Pairs | Value):  # type: ignore[arg-type]
        raise Refusal("no polynomial form for a division by data", "Multiply instead.")
    inverse = 1 / other
    return _mul(site, input, site.adopt(inverse, other) if isinstance(inverse, Tensor) else inverse)


def _pow(site: Site, input: Pairs, exponent: Any) -> Pairs:
    if not isinstance(exponent, int) or exponent < 1:
        raise Refusal(f"no polynomial form for the power {exponent}", "Use a whole exponent, such as z ** 2.")
    return reduce(lambda a, b: _mul(site, a, b), [input] * exponent)


# ---------------------------------------------------------------- parts


def _complex(site: Site, real: Any, imag: Any) -> Pairs:
    parts = [
        move(lambda t: t.unsqueeze(-1), v) if isinstance(v, Value) else v.unsqueeze(-1) for v in (real, imag)
    ]
    return Pairs(join(site, parts, len(parts[0].shape) - 1))


def _part(at: int) -> Callable[[Site, Any], Any]:
    return lambda site, input: move(lambda t: t[..., at], input.value)


def _conj(site: Site, input: Pairs) -> Pairs:
    like = input.value.poly.like
    return Pairs(scale(input.value, torch.tensor([1.0, -1.0], dtype=like.dtype, device=like.device), "conj"))


def _same(site: Site, input: Any, *_: Any, **__: Any) -> Any:
    return input


def _sum(site: Site, input: Pairs, dim: Any = None, keepdim: bool = False) -> Pairs:
    n = len(input.shape)
    dims = range(n) if dim is None else (dim,) if isinstance(dim, int) else dim
    return Pairs(reduced(input.value, [d % n for d in dims], keepdim))


def _mean(site: Site, input: Pairs, dim: Any = None, keepdim: bool = False) -> Pairs:
    total = _sum(site, input, dim, keepdim).value
    return Pairs(times(site, total, total.size / input.value.size))


def _moved(site: Site, args: Any, kwargs: Any) -> Any:
    (pairs,) = members((args, kwargs), Pairs)

    def call(t: Tensor) -> Any:
        a, k = mapped((args, kwargs), Pairs, lambda _: t)
        return site.step.function(*a, **k)

    def behind(fn: Callable[[Tensor], Tensor]) -> Pairs:
        return Pairs(
            move(lambda t: fn(t[..., 0] // 2)[..., None] * 2 + torch.arange(2, device=t.device), pairs.value)
        )

    if not site.step.several:
        return behind(call)
    return tuple(behind(lambda t, k=k: call(t)[k]) for k in range(len(site.step.outputs)))  # type: ignore[misc]


_OPERATIONS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("add", "radd"), _add),
    **dict.fromkeys(("sub", "subtract"), _sub),
    "rsub": lambda site, input, other: _sub(site, other, input),
    **dict.fromkeys(("mul", "multiply", "rmul"), _mul),
    **dict.fromkeys(("div", "divide", "true_divide", "truediv"), _div),
    "neg": lambda site, input: Pairs(times(site, input.value, -1.0)),
    "pow": _pow,
    "square": lambda site, input: _pow(site, input, 2),
    **dict.fromkeys(("matmul", "mm", "bmm"), _matmul),
    "rmatmul": lambda site, input, other: _matmul(site, other, input),
    "view_as_complex": lambda site, input: Pairs(input),
    "view_as_real": lambda site, input: input.value,
    "complex": _complex,
    "real": _part(0),
    "imag": _part(1),
    **dict.fromkeys(("conj", "conj_physical"), _conj),
    **dict.fromkeys(("clone", "contiguous", "resolve_conj", "resolve_neg", "detach", "data"), _same),
    "sum": _sum,
    "mean": _mean,
}
