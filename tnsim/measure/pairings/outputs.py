"""Which outputs of a product are kept."""

from collections.abc import Sequence
from typing import Literal

from tnsim.common.wires import Leg

__all__ = ["Keep", "Kept", "each_axis", "kept_shape", "read_outputs"]

Kept = Literal["all", "diagonal", "sum"]
Keep = Kept | tuple[Kept, ...]  # the same for all output axes, or one for each


def each_axis(keep: Keep, axes: int) -> tuple[Kept, ...]:
    """What is kept of every output axis."""
    return keep if isinstance(keep, tuple) else (keep,) * axes


def read_outputs(outs: Sequence[Leg], keep: Keep) -> tuple[list[tuple[str, str]], Leg]:
    """Which output indices of two factors are joined, and which of them stay."""
    if keep == "all":
        return [], tuple(ix for out in outs for ix in out)
    kept = each_axis(keep, len(outs[0]))
    joined = [
        (first, second)
        for out in outs[1:]
        for first, second, k in zip(outs[0], out, each_axis(keep, len(out)), strict=True)
        if k != "all"
    ]
    stay = tuple(ix for ix, k in zip(outs[0], kept, strict=True) if k != "sum")
    for out in outs[1:]:
        stay += tuple(ix for ix, k in zip(out, each_axis(keep, len(out)), strict=True) if k == "all")
    return joined, stay


def kept_shape(outs: Sequence[Sequence[int]], keep: Keep) -> tuple[int, ...]:
    """The shape of what is kept of outputs of some shapes."""
    shape = tuple(n for n, k in zip(outs[0], each_axis(keep, len(outs[0])), strict=True) if k != "sum")
    for out in outs[1:]:
        shape += tuple(n for n, k in zip(out, each_axis(keep, len(out)), strict=True) if k == "all")
    return shape
