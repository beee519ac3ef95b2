"""Moves: operations that only rearrange, repeat, drop or join entries, done on the numbers of the entries."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tnsim.common.wires import PLACE, constant_role
from tnsim.convert.module.errors import APART, MIXED, Refusal
from tnsim.convert.operations.maps import affine
from tnsim.convert.record.trace import mapped, members, words
from tnsim.convert.values.axiswise import add, apart, offset, scale
from tnsim.convert.values.layout import Misfit
from tnsim.convert.values.site import Site
from tnsim.convert.values.value import Value, fixed, joint, move, picked

__all__ = ["MOVED", "MOVES", "join"]

MOVED = words("""
    getitem select narrow index_select chunk split split_with_sizes tensor_split hsplit vsplit dsplit unbind
    unsafe_chunk unsafe_split flatten ravel view reshape unflatten permute transpose swapaxes swapdims movedim moveaxis
    t T mT H mH adjoint squeeze unsqueeze expand broadcast_to repeat tile repeat_interleave flip fliplr flipud roll
    rot90 diagonal gather take_along_dim unfold_copy slice index
    _unsafe_view atleast_1d atleast_2d atleast_3d
""")
_VIEWS = words("view _unsafe_view")  # numbers are laid out in memory in their own way
_STACKS = words("hstack vstack dstack column_stack row_stack")


def _moved(site: Site, *args: Any, **kwargs: Any) -> Any:
    values = members((args, kwargs), Value)
    if site.step.op in _STACKS:
        args, kwargs = mapped((args, kwargs), Tensor, lambda c: fixed(c, values[0]))
        values = members((args, kwargs), Value)
    whole, grids = joint(values)
    numbers = iter(grids)
    args, kwargs = mapped((args, kwargs), Value, lambda v: next(numbers))
    function = Tensor.reshape if site.step.op in _VIEWS else site.step.function
    out = function(*args, **kwargs)
    return picked(whole, out) if isinstance(out, Tensor) else tuple(picked(whole, grid) for grid in out)


def _shaped(site: Site, input: Value, other: Any) -> Value:
    return move(lambda t: site.step.function(t, torch.empty(other.shape, device=t.device)), input)


def _broadcast(site: Site, *tensors: Any) -> tuple[Any, ...]:
    given = tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], list | tuple) else tensors
    shape = np.broadcast_shapes(*(v.shape for v in given))
    return tuple(v.broadcast(shape) if isinstance(v, Value) else v.expand(shape) for v in given)


def _cat(site: Site, tensors: Sequence[Any], dim: int = 0) -> Value:
    return join(site, list(tensors), dim % len(tensors[0].shape))


def _stack(site: Site, tensors: Sequence[Any], dim: int = 0) -> Value:
    dim = dim % (len(tensors[0].shape) + 1)
    parts = [
        move(lambda t: t.unsqueeze(dim), v) if isinstance(v, Value) else v.unsqueeze(dim) for v in tensors
    ]
    return join(site, parts, dim)


def join(site: Site, parts: Sequence[Any], axis: int) -> Value:
    """Values and constants one after the other along an axis."""
    data = [v for v in parts if isinstance(v, Value)]
    if axis == data[0].batch and len(data) == len(parts):  # folded into the batch, one part after the other
        opened = [move(lambda t, n=v.fold[0]: t.unflatten(axis, (n, -1)), v) for v in data]  # type: ignore[misc]
        return move(lambda t: t.flatten(axis, axis + 1), join(site, opened, axis))
    if any(apart(v, data[0]) for v in data) or axis == data[0].batch:
        raise Refusal(*APART)
    if not any(v.has_axes for v in data):
        return _side_by_side([v if isinstance(v, Value) else fixed(v, data[0]) for v in parts], axis)
    total = sum(v.shape[axis] for v in parts)
    shape = tuple(total if k == axis else n for k, n in enumerate(data[0].shape))
    at, placed = 0, []
    like = data[0].poly.like
    whole = torch.zeros(shape, dtype=like.dtype, device=like.device)
    constants = False
    for v in parts:
        n = v.shape[axis]
        if isinstance(v, Value):
            sides = [0, 0] * (len(shape) - 1 - axis) + [at, total - at - n]
            placed.append(affine(v, lambda t, s=sides: torch.nn.functional.pad(t, s), shape, PLACE))
        else:
            whole = whole.slice_scatter(v.to(like.dtype), axis, at, at + n)
            constants = True
        at += n
    out = reduce(add, placed)
    return offset(out, whole) if constants else out


def _setitem(site: Site, target: Any, key: Any, value: Any) -> Value:
    """A tensor after ``target[key] = value``: what is kept of it, and the new entries, put in their places axis by axis."""
    like = members((target, value), Value)[0].poly.like
    keys = _spelled(key, len(target.shape))
    places = [
        torch.arange(n, device="cpu")[k if isinstance(k, slice) else [k]]
        for n, k in zip(target.shape, keys, strict=True)
    ]
    region = torch.zeros(target.shape, dtype=like.dtype, device=like.device)
    region[tuple(keys)] = 1.0
    parts = [_kept(site, target, 1.0 - region)]
    if isinstance(value, Value):
        shape = [len(p) for p, k in zip(places, keys, strict=True) if isinstance(k, slice)]
        whole = [len(p) for p in places]
        new = move(lambda t: t.expand(shape).reshape(whole), value)
        for axis, (n, place) in enumerate(zip(target.shape, places, strict=True)):
            if len(place) == n:
                continue
            if axis == new.batch:
                raise Refusal(*MIXED)
            into = tuple(n if k == axis else m for k, m in enumerate(new.shape))
            new = affine(new, _into(axis, n, place), into, PLACE)
        parts.append(new)
    else:
        constant = torch.zeros_like(region)
        constant[tuple(keys)] = torch.as_tensor(value, dtype=like.dtype, device=like.device)
        parts.append(constant)
    data = [v for v in parts if isinstance(v, Value)]
    constants = [c for c in parts if isinstance(c, Tensor) and (c.requires_grad or bool(c.any()))]
    return reduce(offset, constants, reduce(add, data))


def _spelled(key: Any, axes: int) -> list[Any]:
    """A key as one slice or number for every axis."""
    keys = list(key) if isinstance(key, tuple) else [key]
    at = next((k for k, v in enumerate(keys) if v is Ellipsis), len(keys))
    keys[at : at + 1] = [slice(None)] * (axes - len(keys) + (at < len(keys)))
    if not all(isinstance(k, slice | int) and not isinstance(k, bool) for k in keys):
        raise Misfit
    return keys


def _kept(site: Site, target: Any, mask: Tensor) -> Any:
    return (
        scale(target, mask, constant_role("mask"))
        if isinstance(target, Value)
        else target.to(mask.dtype) * mask
    )


def _into(axis: int, n: int, place: Tensor) -> Callable[[Tensor], Tensor]:
    def into(t: Tensor) -> Tensor:
        zeros = t.new_zeros((*t.shape[:axis], n, *t.shape[axis + 1 :]))
        return zeros.index_copy(axis, place.to(t.device), t)

    return into


def _side_by_side(values: list[Value], axis: int) -> Value:
    whole, grids = joint(values)
    return picked(whole, torch.cat(grids, axis))


def _pixel_shuffle(site: Site, input: Value, upscale_factor: int) -> Value:
    """Channels become pixels, r · r of them each."""
    parts = move(lambda t: t.unflatten(-3, (-1, upscale_factor, upscale_factor)), input)
    parts = move(lambda t: t.movedim(-4, -2).movedim(-4, -1), parts)  # (channel, y, row, x, column)
    return move(lambda t: t.flatten(-2).flatten(-3, -2), parts)


def _pixel_unshuffle(site: Site, input: Value, downscale_factor: int) -> Value:
    """Pixels become channels, r · r of them."""
    r = downscale_factor
    parts = move(lambda t: t.unflatten(-1, (-1, r)).unflatten(-3, (-1, r)), input)
    parts = move(lambda t: t.movedim(-3, -4).movedim(-1, -3), parts)  # (channel, row, column, y, x)
    return move(lambda t: t.flatten(-5, -3), parts)


def _channel_shuffle(site: Site, input: Value, groups: int) -> Value:
    parts = move(lambda t: t.unflatten(1, (groups, -1)), input)
    return move(lambda t: t.flatten(1, 2), move(lambda t: t.transpose(1, 2), parts))


MOVES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(MOVED | _STACKS, _moved),
    **dict.fromkeys(("view_as", "reshape_as", "expand_as"), _shaped),
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "stack": _stack,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "channel_shuffle": _channel_shuffle,
    "broadcast_tensors": _broadcast,
    "setitem": _setitem,
}
