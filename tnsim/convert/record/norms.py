"""Norms: layers that divide by a norm of the data, written out in sums, products and roots.

Each takes the dtype of the module's own weights, and then what the function of torch takes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["WRITTEN_OUT"]


def _layer_norm(
    dtype: torch.dtype,
    input: Tensor,
    normalized_shape: Sequence[int] | int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    dims = _last(normalized_shape)
    return _gained(_centred(input, dims, eps), weight, bias)


def _rms_norm(
    dtype: torch.dtype,
    input: Tensor,
    normalized_shape: Sequence[int] | int,
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    dims = _last(normalized_shape)
    eps = torch.finfo(dtype).eps if eps is None else eps
    return _gained(input * torch.rsqrt(input.pow(2).mean(dims, keepdim=True) + eps), weight, None)


def _group_norm(
    dtype: torch.dtype,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    groups = input.unflatten(1, (num_groups, -1))
    y = _centred(groups, tuple(range(2, groups.dim())), eps).flatten(1, 2)
    return _gained(y, _channels(weight, input), _channels(bias, input))


def _instance_norm(
    dtype: torch.dtype,
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    if use_input_stats or running_mean is None or running_var is None:
        y = _centred(input, tuple(range(2, input.dim())), eps)
    else:
        scale, shift = torch.rsqrt(running_var + eps), -running_mean * torch.rsqrt(running_var + eps)
        y = _gained(input, _channels(scale, input), _channels(shift, input))
    return _gained(y, _channels(weight, input), _channels(bias, input))


def _normalize(
    dtype: torch.dtype, input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None
) -> Tensor:
    return input / input.norm(p, dim, keepdim=True).clamp_min(eps).expand_as(input)


def _cosine_similarity(dtype: torch.dtype, x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    size, other = (x.norm(2, dim).clamp_min(eps) for x in (x1, x2))
    return (x1 * x2).sum(dim) / (size * other)


def _centred(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    around = x - x.mean(dims, keepdim=True)
    return around * torch.rsqrt(around.pow(2).mean(dims, keepdim=True) + eps)


def _last(shape: Sequence[int] | int) -> tuple[int, ...]:
    return tuple(range(-(1 if isinstance(shape, int) else len(shape)), 0))


def _channels(c: Tensor | None, x: Tensor) -> Tensor | None:
    return None if c is None else c.reshape(-1, *[1] * (x.dim() - 2))


def _gained(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


WRITTEN_OUT: dict[str, Callable[..., Tensor]] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "normalize": _normalize,
    "cosine_similarity": _cosine_similarity,
}
