"""Transforms: operations on complex numbers that are linear over the real ones, such as Fourier transforms."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tnsim.convert.module.errors import unsupported
from tnsim.convert.operations.maps import affine_in_all, is_affine
from tnsim.convert.record.trace import mapped, members
from tnsim.convert.values.complex_values import Pairs
from tnsim.convert.values.layout import Misfit
from tnsim.convert.values.site import Site
from tnsim.convert.values.value import Value, move

__all__ = ["by_basis"]


def by_basis(site: Site, args: Any, kwargs: Any) -> Any:
    """Any operation that is linear over the real numbers, such as a Fourier transform."""
    data = members((args, kwargs), Pairs | Value)  # type: ignore[arg-type]
    node = site.step.outputs[0]
    if site.step.several:
        raise unsupported(site.step.op, site.step.name, site.step.where)
    role = site.role(*members((args, kwargs), Tensor))
    n = min(len(v.shape) for v in data)
    for axis in reversed(range(n)):
        fn, shape = _on_reals(site, args, kwargs, axis)
        values = [_fused(v, axis) for v in data]
        if axis == n - 1 and not is_affine(values, fn):
            raise unsupported(site.step.op, site.step.name, site.step.where)
        try:
            return _parted(affine_in_all(values, fn, shape, role), axis, node.is_complex)
        except Misfit:
            continue
    fn, shape = _on_reals(site, args, kwargs, n - 1)
    values = [_fused(v, n - 1).flattened() for v in data]
    return _parted(affine_in_all(values, fn, shape, role), n - 1, node.is_complex)


def _on_reals(site: Site, args: Any, kwargs: Any, axis: int) -> tuple[Callable[..., Tensor], tuple[int, ...]]:
    """The operation on real tensors in which pairs stand along an axis, and the shape of its result."""
    node = site.step.outputs[0]

    def fn(*data: Tensor) -> Tensor:
        rest = iter(data)
        one = lambda v: _joined(next(rest), axis) if isinstance(v, Pairs) else next(rest)  # noqa: E731
        a, k = mapped((args, kwargs), Pairs | Value, one)  # type: ignore[arg-type]
        out = site.step.function(*a, **k)
        if not node.is_complex:
            found: Tensor = out
            return found
        return torch.view_as_real(out.resolve_conj()).movedim(-1, axis + 1).flatten(axis, axis + 1)

    shape = list(node.shape)
    if node.is_complex:
        shape[axis] *= 2
    return fn, tuple(shape)


def _joined(t: Tensor, axis: int) -> Tensor:
    return torch.view_as_complex(t.unflatten(axis, (-1, 2)).movedim(axis + 1, -1).contiguous())


def _fused(v: Any, axis: int) -> Value:
    if isinstance(v, Value):
        return v
    return move(lambda t: t.movedim(-1, axis + 1).flatten(axis, axis + 1), v.value)


def _parted(value: Value, axis: int, is_complex: bool) -> Any:
    if not is_complex:
        return value
    return Pairs(move(lambda t: t.unflatten(axis, (-1, 2)).movedim(axis + 1, -1), value))
