"""Outlines: what operations make of empty tensors, from shapes alone.

Torch's own rules for these operations load its compiler when they are asked for the first time, which takes longer than
all else that a first question does.
"""

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch

__all__ = ["outlined"]


def _both(names: str) -> set[Any]:
    """Functions and methods of these names."""
    owners = (torch, torch.Tensor)
    return {getattr(owner, name) for name in names.split() for owner in owners if hasattr(owner, name)}


_ELEMENTWISE = _both(
    "add sub mul div true_divide pow neg abs sqrt exp2 log2 round floor ceil clamp clip maximum minimum "
    "__add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __rdiv__ __pow__ __rpow__ __neg__"
)
_OPERANDS = {"input", "self", "other", "exponent", "min", "max"}
_LOGICAL = _both("__or__ __and__ __xor__ logical_or logical_and logical_not __invert__")
_COMPARISONS = _both("gt ge lt le eq ne __gt__ __ge__ __lt__ __le__")


def outlined(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """``fn(*args, **kwargs)`` of empty tensors: an empty tensor of the right shape and dtype.

    Args:
        fn: a torch function.
        args: its arguments.
        kwargs: the others.
    """
    if fn in _RULES:
        value = _RULES[fn](*args, **kwargs)
        if value is not None:
            return value
    return fn(*args, **kwargs)


def _elementwise(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    operands = [x for x in (*args, *kwargs.values()) if x is not None]
    tensors = [x for x in operands if isinstance(x, torch.Tensor)]
    if set(kwargs) - _OPERANDS or not all(isinstance(x, torch.Tensor | Real) for x in operands):
        return None
    if not _alike(tensors):
        return None
    return _together(tensors, tensors[0].dtype)


def _compared(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    value = _elementwise(*args, **kwargs)
    return None if value is None else _empty(value.shape, torch.bool)


def _logical(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    if kwargs or not _alike(args, torch.bool):
        return None
    return _together(args, torch.bool)


def _where(condition: Any, *branches: Any) -> torch.Tensor | None:
    tensors = [x for x in branches if isinstance(x, torch.Tensor)]
    if len(branches) != 2 or not _alike(tensors) or not _alike([condition], torch.bool):
        return None
    return _together((condition, *tensors), tensors[0].dtype)


def _cat(tensors: Sequence[Any], dim: int = 0) -> torch.Tensor | None:
    if not _alike(tensors) or not tensors[0].ndim:
        return None
    dim %= tensors[0].ndim
    rest = {(*x.shape[:dim], *x.shape[dim + 1 :]) for x in tensors}
    if len(rest) > 1:
        return None
    shape = list(tensors[0].shape)
    shape[dim] = sum(x.shape[dim] for x in tensors)
    return _empty(shape, tensors[0].dtype)


def _stack(tensors: Sequence[Any], dim: int = 0) -> torch.Tensor | None:
    if not _alike(tensors) or len({x.shape for x in tensors}) > 1:
        return None
    shape = list(tensors[0].shape)
    shape.insert(dim % (len(shape) + 1), len(tensors))
    return _empty(shape, tensors[0].dtype)


def _matmul(input: Any, other: Any) -> torch.Tensor | None:
    if not _alike([input, other]) or min(input.ndim, other.ndim) < 2 or input.shape[-1] != other.shape[-2]:
        return None
    front = _together([x[..., 0, 0] for x in (input, other)], input.dtype)
    return None if front is None else _empty((*front.shape, input.shape[-2], other.shape[-1]), input.dtype)


def _norm(
    input: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, **kwargs: Any
) -> torch.Tensor | None:
    if kwargs or keepdim or type(dim) is not int or not _alike([input]):
        return None
    dim %= input.ndim
    return _empty((*input.shape[:dim], *input.shape[dim + 1 :]), input.dtype)


def _reduced(input: Any, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> torch.Tensor | None:
    dim = kwargs.pop("axis", dim)
    dims = (dim,) if type(dim) is int else dim
    if kwargs or keepdim or not isinstance(dims, tuple | list) or not dims or not _alike([input]):
        return None
    gone = {d % input.ndim for d in dims}
    return _empty([n for k, n in enumerate(input.shape) if k not in gone], input.dtype)


def _eye(n: int, m: int | None = None, **kwargs: Any) -> torch.Tensor | None:
    if set(kwargs) - {"dtype", "device"} or str(kwargs.get("device")) != "meta":
        return None
    return _empty((n, n if m is None else m), kwargs.get("dtype") or torch.get_default_dtype())


def _alike(tensors: Sequence[Any], dtype: torch.dtype | None = None) -> bool:
    """Whether all are empty tensors of one dtype, floating unless it is given."""
    if not tensors or not all(isinstance(x, torch.Tensor) and x.is_meta for x in tensors):
        return False
    kinds = {x.dtype for x in tensors}
    return kinds == {dtype} if dtype else len(kinds) == 1 and tensors[0].dtype.is_floating_point


def _together(tensors: Sequence[torch.Tensor], dtype: torch.dtype) -> torch.Tensor | None:
    """What is made of tensors entry by entry."""
    try:
        return _empty(np.broadcast_shapes(*(x.shape for x in tensors)), dtype)
    except ValueError:
        return None  # for torch to refuse


def _empty(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(tuple(shape), dtype=dtype, device="meta")


_RULES: dict[Any, Callable[..., torch.Tensor | None]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_COMPARISONS, _compared),
    **dict.fromkeys(_LOGICAL, _logical),
    **dict.fromkeys((torch.cat, torch.concatenate, torch.concat), _cat),
    **dict.fromkeys(_both("matmul __matmul__"), _matmul),
    **dict.fromkeys(_both("sum amax"), _reduced),
    torch.stack: _stack,
    torch.where: _where,
    torch.eye: _eye,
    torch.linalg.norm: _norm,
    torch.linalg.vector_norm: _norm,
}
