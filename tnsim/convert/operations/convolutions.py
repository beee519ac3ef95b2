"""Convolutions and windows of values of several axes: the kernel, and for every axis of space a tensor of zeros and ones.

y[o, p, q] = Σ W[o, c, k, l] · A[i, k, p] · B[j, l, q] · x[c, i, j], where A[i, k, p] is one if output p reads input i with
entry k of the kernel. What stride, padding, dilation and transposition do is in A and B alone, each of its own axis; the
matrix between all entries of two images is never made.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tnsim.convert.operations.contractions import einsum
from tnsim.convert.values.axiswise import offset
from tnsim.convert.values.layout import Misfit
from tnsim.convert.values.site import Site
from tnsim.convert.values.structure import counts_positions, positioned
from tnsim.convert.values.value import Value, move

__all__ = ["CONVOLUTIONS"]

_MOST_ENTRIES = 10**8
_INNER, _KERNEL, _OUTER = "ijklm", "pqrst", "uvwxy"  # letters of the axes of space


def _forward(
    site: Site,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    """conv1d, conv2d, conv3d."""
    each = _spread(weight, stride=stride, padding=padding, dilation=dilation)
    return _convolved(site, input, weight, bias, groups, False, each)


def _transposed(
    site: Site,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    """conv_transpose1d, conv_transpose2d, conv_transpose3d."""
    each = _spread(weight, stride=stride, padding=padding, output_padding=output_padding, dilation=dilation)
    return _convolved(site, input, weight, bias, groups, True, each)


def _core(
    site: Site,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Value:
    """What torch makes of all of them."""
    if transposed:
        return _transposed(site, input, weight, bias, stride, padding, output_padding, groups, dilation)
    return _forward(site, input, weight, bias, stride, padding, dilation, groups)


def _spread(weight: Any, **options: Any) -> list[dict[str, Any]]:
    """The options of each axis of space."""
    n = len(weight.shape) - 2
    values = {
        name: [v] * n if isinstance(v, int | str) else list(v) * (n if len(v) == 1 else 1)
        for name, v in options.items()
    }
    return [{name: v[k] for name, v in values.items()} for k in range(n)]


def _convolved(
    site: Site,
    input: Any,
    weight: Any,
    bias: Any,
    groups: int,
    transposed: bool,
    each: Sequence[dict[str, Any]],
) -> Value:
    space = range(2, len(each) + 2)
    known = isinstance(input, Value) and isinstance(weight, Tensor) and not isinstance(bias, Value)
    if not known or not input.has_axes or len(input.shape) != len(space) + 2 or input.batch in (1, *space):
        raise Misfit
    if counts_positions(input.poly, input.item, 1):  # channels are features
        raise Misfit
    inner, kernel, outer = (letters[: len(space)] for letters in (_INNER, _KERNEL, _OUTER))
    words, tables = [], []
    parts = weight.unflatten(
        0, (groups, -1)
    )  # (group, out, in, …), or (group, in, out, …) if it is transposed
    for k, (axis, options) in enumerate(zip(space, each, strict=True)):
        table = _reads(input.shape[axis], weight.shape[axis], transposed, options, input.poly.like)
        words.append(inner[k] + kernel[k] + outer[k])
        tables.append(table)
    channels = "gca" if transposed else "gac"
    equation = ",".join([f"bgc{inner}", channels + kernel, *words]) + f"->bga{outer}"
    x = move(lambda t: t.unflatten(1, (groups, -1)), input)
    y = einsum(site, equation, x, site.adopt(parts, weight), *tables)
    y = move(lambda t: t.flatten(1, 2), y)
    y = _positioned(y, input, space)
    return y if bias is None else offset(y, bias.reshape(-1, *[1] * len(space)))


def _windows(site: Site, input: Any, *args: Any, **kwargs: Any) -> Value:
    """Windows of one axis (of a tensor), or of all of space (torch.nn.functional.unfold)."""
    if not isinstance(input, Value) or not input.has_axes:
        raise Misfit
    return (_patches if site.step.function is F.unfold else _along)(site, input, *args, **kwargs)


def _along(site: Site, input: Value, dimension: int, size: int, step: int) -> Value:
    axis = dimension % len(input.shape)
    if axis == input.batch:
        raise Misfit
    table = _reads(input.shape[axis], size, False, {"stride": step}, input.poly.like)
    word = "abcdefgh"[: len(input.shape)]
    given = word.replace(word[axis], "u")
    y = einsum(site, f"{word},{word[axis]}pu->{given}p", input, table)
    return _positioned(y, input, [axis])


def _patches(
    site: Site, input: Value, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Value:
    if len(input.shape) != 4 or input.batch:
        raise Misfit
    pair = lambda v: (v, v) if isinstance(v, int) else tuple(v)  # noqa: E731
    options = [
        dict(zip(("stride", "padding", "dilation"), v, strict=True))
        for v in zip(*map(pair, (stride, padding, dilation)), strict=True)
    ]
    tables = [
        _reads(input.shape[2 + k], size, False, options[k], input.poly.like)
        for k, size in enumerate(pair(kernel_size))
    ]
    y = einsum(site, "bcij,ipu,jqv->bcpquv", input, *tables)
    return move(lambda t: t.flatten(4).flatten(1, 3), y)


def _positioned(y: Value, input: Value, axes: Iterable[int]) -> Value:
    """What is made of positions, each from those around it, counts positions."""
    for axis in axes:
        if counts_positions(input.poly, input.item, axis):
            y = replace(y, poly=positioned(y.poly, y.item, axis))
    return y


def _reads(n: int, size: int, transposed: bool, options: dict[str, Any], like: Tensor) -> Tensor:
    """Which output reads which input with which entry of the kernel, as torch does along one axis: (in, kernel, out).

    Raises:
        Misfit: if it would have more than about 1e8 entries.
    """
    if n * n * size > _MOST_ENTRIES:
        raise Misfit
    inputs, kernels = (torch.eye(m, dtype=like.dtype, device=like.device) for m in (n, size))
    convolve: Callable[..., Tensor] = F.conv_transpose1d if transposed else F.conv1d
    return convolve(inputs[:, None], kernels[None] if transposed else kernels[:, None], **options)


CONVOLUTIONS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _forward),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed),
    "convolution": _core,
    "unfold": _windows,
}
