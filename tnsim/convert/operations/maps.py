"""Maps: any operation that is affine in its data, found by applying it to unit vectors."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce

import torch
from torch import Tensor

from tnsim.algebra import Poly
from tnsim.convert.module.errors import MIXED, Refusal
from tnsim.convert.record.trace import BATCH_SIZE
from tnsim.convert.values.axiswise import add, offset
from tnsim.convert.values.layout import Misfit
from tnsim.convert.values.structure import operator, operators
from tnsim.convert.values.value import Fold, Value, folds, gathered, item_of, linear

__all__ = ["affine", "affine_in_all", "along_one_axis", "check_dense", "is_affine", "on_axes"]

_MOST_ENTRIES = 10**8
_MOST_ON_AXES = 10**7
_ROWS = 512  # unit vectors that an operation is given at once

Function = Callable[..., Tensor]


def affine(value: Value, fn: Function, out: tuple[int, ...], role: str, has_offset: bool = False) -> Value:
    """Any affine operation, by its values on zero and on the unit vectors.

    Args:
        value: what it is applied to.
        fn: the operation on a batch.
        out: its output shape in the traced batch.
        role: the tag of the matrix.
        has_offset: whether to keep a constant part that is zero.

    Raises:
        Refusal: if the matrix would have more than 1e8 entries, or samples are mixed.
    """
    if value.has_axes:
        try:
            return on_axes(value, fn, out, role)
        except Misfit:
            check_dense([value], [out])
            value = value.flattened()
    check_dense([value], [out])
    n = value.size
    batch, fold = _samples_of(value, fn, out)
    matrix, bias = _matrix(value, fn, out, batch, fold)
    whole = replace(value, shape=(BATCH_SIZE, n), batch=0, fold=(1, 1))
    f = linear(whole, matrix, None, role).poly
    if has_offset or bool(bias.detach().any()):
        f = f + bias
    return Value(f, out, batch, fold)


def check_dense(values: Sequence[Value], shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise if an operation would be too large a matrix between all entries of what it reads and of what it gives.

    Where values have axes that do not survive it, the limit is 1e7 entries, else 1e8.
    """
    for v in values:
        limit = _MOST_ON_AXES if v.has_axes else _MOST_ENTRIES
        for shape in shapes:
            entries = v.size * math.prod(shape) // BATCH_SIZE
            if entries > limit:
                raise Refusal(
                    f"{{name}} would be a dense matrix of {entries:.1e} entries, more than {limit:.0e},",
                    "Make the input smaller, or register a rule with @tnsim.convert.register.",
                )


def on_axes(value: Value, fn: Function, out: tuple[int, ...], role: str) -> Value:
    """An affine operation that mixes the entries along one axis only, or along several, each for itself.

    Raises:
        Misfit: if it does neither.
    """
    try:
        return along_one_axis(value, fn, out, role)
    except Misfit:
        return _with(operators, value, fn, out, role)


def along_one_axis(value: Value, fn: Function, out: tuple[int, ...], role: str) -> Value:
    """An affine operation that mixes the entries along one axis only.

    Raises:
        Misfit: if it mixes more.
    """
    return _with(operator, value, fn, out, role)


def _with(build: Callable[..., Poly], value: Value, fn: Function, out: tuple[int, ...], role: str) -> Value:
    batch, fold = _samples_of(value, fn, out)

    def one(x: Tensor) -> Tensor:
        return gathered(fn(value.spread(x.expand(BATCH_SIZE, *x.shape))), batch, fold)[0]

    return Value(build(value.poly, value.item, one, item_of(out, batch, fold), role), out, batch, fold)


def affine_in_all(
    values: Sequence[Value], fn: Function, out: tuple[int, ...], role: str, has_offset: bool = False
) -> Value:
    """An operation that is affine in several tensors together: the sum of what it does to each of them.

    Raises:
        Misfit: if a tensor of several axes is mixed along more than one of them.
    """
    one = lambda v, f, keep: on_axes(v, f, out, role) if v.has_axes else affine(v, f, out, role, keep)  # noqa: E731
    if len(values) == 1:
        return one(values[0], fn, has_offset)
    zeros = [torch.zeros(v.shape, dtype=v.poly.like.dtype, device=v.poly.like.device) for v in values]

    def part(k: int) -> Function:
        return lambda x: fn(*_others(zeros, k, x)) - fn(*_others(zeros, k, torch.zeros_like(x)))

    whole = reduce(add, [one(v, part(k), False) for k, v in enumerate(values)])
    rest = fn(*zeros)
    return offset(whole, rest) if has_offset or bool(rest.detach().any()) else whole


def _others(zeros: list[Tensor], k: int, x: Tensor) -> list[Tensor]:
    return [*zeros[:k], x, *zeros[k + 1 :]]


@torch.no_grad()
def is_affine(values: Sequence[Value], fn: Function) -> bool:
    """Whether an operation is affine in its data, all together, as asked of random batches at many scales.

    A sum of inputs must give the sum of results, and so must multiples by powers of two between 2⁻⁹⁰⁰ and 2⁹⁰⁰ of
    either sign: in double precision, an operation that has a threshold, a clamp or a rounding fails one of these.

    Args:
        values: the data.
        fn: the operation on one batch for each of them.
    """
    generator = torch.Generator().manual_seed(0)
    like = values[0].poly.like
    x, y = (
        [
            torch.randn(v.shape, generator=generator, dtype=torch.float64, device="cpu").to(
                like.device, like.dtype
            )
            for v in values
        ]
        for _ in range(2)
    )
    far = 2.0**900 if like.dtype == torch.float64 else 2.0**90
    try:
        zero = fn(*(0 * a for a in x))
        at_x, at_y = fn(*x) - zero, fn(*y) - zero
        if not at_x.is_floating_point() or not _close(fn(*x) - zero, at_x, zero):
            return False
        if not _close(fn(*(a + b for a, b in zip(x, y, strict=True))) - zero, at_x + at_y, zero):
            return False
        scales = (
            -1.0,
            2.0,
            -(2.0**40),
            2.0**-40,
            far,
            1 / far,
        )  # a threshold or a rounding shows at one of them
        return all(_close(fn(*(c * a for a in x)) - zero, c * at_x, zero) for c in scales)
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False


def _close(got: Tensor, want: Tensor, zero: Tensor) -> bool:
    if not want.numel():
        return False
    eps = torch.finfo(want.dtype).eps
    allowed = eps**0.6 * want.abs().max() + 1e4 * eps * zero.abs().max()
    return bool(torch.isfinite(got).all()) and bool(((got - want).abs() <= allowed).all())


def _samples_of(value: Value, fn: Function, out: tuple[int, ...]) -> tuple[int, Fold]:
    """Along which axis, and folded with what, an affine operation returns the samples."""
    like = value.poly.like
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(value.item, generator=generator, dtype=torch.float64, device="cpu").to(
        like.device, like.dtype
    )
    factors = torch.arange(BATCH_SIZE, dtype=like.dtype, device=like.device)
    batch = torch.stack([c * x for c in factors])
    try:
        with torch.no_grad():
            zero = fn(value.spread(0 * batch))
            result = fn(value.spread(batch)) - zero
    except (RuntimeError, IndexError):
        raise Refusal(*MIXED) from None
    if tuple(result.shape) == out:
        for axis, fold in sorted(folds(out), key=lambda at: at != (value.batch, value.fold)):
            first, *rest = gathered(result, axis, fold)
            if not bool(first.any()) and all(
                torch.allclose(r, c * rest[0]) for c, r in zip(factors[1:], rest, strict=True)
            ):
                return axis, fold
    raise Refusal(*MIXED)


def _matrix(
    value: Value, fn: Function, out: tuple[int, ...], batch: int, fold: Fold
) -> tuple[Tensor, Tensor]:
    """The matrix and the constant part of an affine operation."""
    like = value.poly.like
    n = value.size

    def results(rows: Tensor) -> Tensor:
        t = fn(value.spread(rows.reshape(-1, *value.item)))
        if tuple(t.shape) != (*out[:batch], out[batch] // BATCH_SIZE * len(rows), *out[batch + 1 :]):
            raise Misfit
        return gathered(t, batch, fold, len(rows)).reshape(len(rows), -1)

    def columns(step: int) -> tuple[Tensor, Tensor]:
        bias = results(torch.zeros(step, n, dtype=like.dtype, device=like.device))[0]
        parts = []
        for at in range(0, n, step):
            basis = torch.zeros(step, n, dtype=like.dtype, device=like.device)
            basis[: n - at, at : at + step].fill_diagonal_(1.0)
            parts.append(results(basis)[: n - at] - bias)
        return torch.cat(parts).T, bias

    try:
        return columns(min(n, _ROWS))
    except (Misfit, RuntimeError, IndexError):
        return columns(BATCH_SIZE)  # it reads constants with a batch axis of their own
