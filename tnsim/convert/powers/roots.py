"""Roots: what a tensor is that is a power of a polynomial, such as a norm, until it becomes a whole one."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from tnsim.convert.operations.elementwise import plus, times
from tnsim.convert.operations.table import OPERATIONS
from tnsim.convert.powers.exponents import (
    CARRIED,
    DIVISIONS,
    POWERS,
    TIMES,
    exponent,
    fraction,
    is_whole,
    summed_over,
)
from tnsim.convert.record.trace import mapped
from tnsim.convert.values.axiswise import multiply, reduced
from tnsim.convert.values.complex_values import Pairs
from tnsim.convert.values.site import Site
from tnsim.convert.values.value import Value, move

__all__ = ["Root", "base_of", "carried", "made"]


@dataclass(frozen=True)
class Root:
    """A polynomial to a power that is no whole number, times another polynomial or a constant.

    Attributes:
        base: the polynomial.
        exponent: the exponent.
        factor: what it is multiplied by.
    """

    base: Value
    exponent: Fraction
    factor: Any = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor in the traced batch."""
        return tuple(torch.broadcast_shapes(self.base.shape, getattr(self.factor, "shape", ())))

    def detached(self) -> "Root":
        """The same, a constant to autograd."""
        factor = self.factor.detached() if isinstance(self.factor, Value) else self.factor
        return replace(self, base=self.base.detached(), factor=factor)


def made(site: Site, args: Any, kwargs: Any) -> Root:
    """What an operation makes whose result is a root of a polynomial."""
    e = exponent(site.step)
    assert e is not None
    return Root(base_of(site, args, kwargs), e)


def base_of(site: Site, args: Any, kwargs: Any) -> Value:
    """The polynomial of which an operation takes a root."""
    op = site.step.op
    if op in ("sqrt", "rsqrt", "reciprocal", "pow"):
        found: Value = args[0] if args else kwargs["input"]
        return found
    if op in ("abs", "absolute"):
        return _squared(site, args[0])
    if op == "std":
        base: Value = OPERATIONS["var"](site, *args, **kwargs)
        return base
    if op == "hypot":
        parts = [times(site, v, v) for v in args]
        return reduce(lambda a, b: plus(site, a, b), parts)
    how = summed_over(op, args, kwargs)
    assert how is not None
    p, dim, keep = how
    x = _difference(site, args, kwargs) if op in ("pairwise_distance", "cdist") else args[0]
    power = _squared(site, x) if p == 2 else reduce(multiply, [x] * p)
    dims = range(len(power.shape)) if dim is None else (dim,) if isinstance(dim, int) else dim
    return reduced(power, tuple(dims), keep)


def _squared(site: Site, x: Any) -> Value:
    if isinstance(x, Pairs):
        return reduced(times(site, x.value, x.value), (-1,))
    return multiply(x, x)


def _difference(site: Site, args: Any, kwargs: Any) -> Value:
    a, b = args[0], args[1]
    if site.step.op == "cdist":
        a, b = (
            move(lambda t, at=at: t.unsqueeze(at), v) if isinstance(v, Value) else v.unsqueeze(at)  # type: ignore[misc]
            for v, at in ((a, -2), (b, -3))
        )
        return plus(site, a, times(site, b, -1.0))
    eps = kwargs.get("eps", args[3] if len(args) > 3 else 1e-6)
    return plus(site, plus(site, a, times(site, b, -1.0)), eps)


# ---------------------------------------------------------------- what becomes of them


def carried(site: Site, args: Any, kwargs: Any) -> Any:
    """What an operation makes of roots, which is a root again, or a polynomial."""
    op = site.step.op
    if op in CARRIED:
        return _moved(site, args, kwargs)
    if op in POWERS or op == "pow":
        given = POWERS.get(op) or fraction(args[1] if len(args) > 1 else kwargs.get("exponent"))
        assert given is not None
        return _raised(site, args[0], given)
    a, b = args if op in TIMES | DIVISIONS else reversed(args)
    return _product(site, a, b if op in TIMES else _raised(site, b, Fraction(-1)))


def _moved(site: Site, args: Any, kwargs: Any) -> Any:
    root: Root = args[0]
    if not isinstance(root.factor, Value | Tensor):
        parts = [root.base]
    else:
        parts = [root.base.broadcast(root.shape), _broadcast(root.factor, root.shape)]
    made = [_call(site, part, args, kwargs) for part in parts]
    if not site.step.several:
        return Root(made[0], root.exponent, made[1] if len(made) > 1 else root.factor)
    return tuple(
        Root(base, root.exponent, made[1][k] if len(made) > 1 else root.factor)
        for k, base in enumerate(made[0])
    )


def _call(site: Site, part: Any, args: Any, kwargs: Any) -> Any:
    args, kwargs = mapped((args, kwargs), Root, lambda _: part)
    if isinstance(part, Value):
        return OPERATIONS[site.step.op](site, *args, **kwargs)
    return site.step.function(*args, **kwargs)


def _broadcast(v: Any, shape: tuple[int, ...]) -> Any:
    return v.broadcast(shape) if isinstance(v, Value) else v.expand(shape)


def _raised(site: Site, v: Any, e: Fraction) -> Any:
    """A root or a constant to a power."""
    if not isinstance(v, Root):
        return v ** float(e) if not isinstance(v, Tensor) else site.adopt(v ** float(e), v)
    return _settled(site, Root(v.base, v.exponent * e, _power(site, v.factor, e)))


def _power(site: Site, factor: Any, e: Fraction) -> Any:
    if not isinstance(factor, Value):
        return _raised(site, factor, e)
    return factor if e == 1 else reduce(multiply, [factor] * int(e))


def _product(site: Site, a: Any, b: Any) -> Any:
    if not isinstance(b, Root):
        a, b = b, a
    if not isinstance(a, Root):
        return _settled(site, replace(b, factor=times(site, b.factor, a)))
    factor = times(site, a.factor, b.factor)
    if a.base is b.base:
        return _settled(site, Root(a.base, a.exponent + b.exponent, factor))
    return Root(multiply(a.base, b.base), a.exponent, factor)


def _settled(site: Site, root: Root) -> Any:
    """The polynomial, where the exponent is a whole number."""
    if not is_whole(root.exponent):
        return root
    if not root.exponent:
        like = root.base.poly.like
        ones = torch.ones(root.shape, dtype=like.dtype, device=like.device)
        return times(site, root.factor, ones) if isinstance(root.factor, Value) else root.factor * ones
    power = reduce(multiply, [root.base] * int(root.exponent))
    return times(site, power, root.factor)
