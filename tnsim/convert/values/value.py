"""Value: what an intermediate tensor of a forward pass is, as a polynomial of the layer's input."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tnsim.algebra import Poly, concat, constant, identity, poly
from tnsim.algebra.polys.axes import fuse, rename, repeat
from tnsim.algebra.polys.poly import Axes
from tnsim.algebra.terms.term import retensor
from tnsim.convert.module.errors import MIXED, Refusal
from tnsim.convert.record.trace import BATCH_SIZE
from tnsim.convert.values.layout import Misfit
from tnsim.convert.values.structure import moved

__all__ = [
    "Value",
    "fixed",
    "folds",
    "gathered",
    "item_of",
    "joint",
    "linear",
    "move",
    "named",
    "picked",
    "start",
    "traced_to",
    "uniform",
]

Fold = tuple[int, int]
_MOST_ENTRIES = 10**8


@dataclass(frozen=True)
class Value:
    """A polynomial whose entries are those of one sample, in row-major order, and how they are laid out as a tensor.

    The output axes of the polynomial need not be the axes of the tensor; only the order of the entries is the same.
    A flat model has one output axis, a model of sequences several. Positions or heads may be folded into the batch:
    along that axis of the tensor run ``before``, the samples, and ``after``, in row-major order.

    Attributes:
        poly: the polynomial, from the layer's input to the entries of one sample.
        shape: shape of the tensor in the traced batch.
        batch: along which of its axes the samples lie.
        fold: sizes of what is folded into that axis, ``(before, after)``.
    """

    poly: Poly
    shape: tuple[int, ...]
    batch: int = 0
    fold: Fold = (1, 1)

    @property
    def item(self) -> tuple[int, ...]:
        """Shape of one sample; of the batch axis only what is folded into it is left, size one if nothing is."""
        return item_of(self.shape, self.batch, self.fold)

    @property
    def size(self) -> int:
        """Entries of one sample."""
        return math.prod(self.item)

    @property
    def is_flat(self) -> bool:
        """Whether the last axis holds all of the sample."""
        return self.batch != len(self.shape) - 1 and self.shape[-1] == self.size

    @property
    def has_axes(self) -> bool:
        """Whether the polynomial has other than one output axis."""
        return len(self.poly.codomain) != 1

    @property
    def domain(self) -> tuple[tuple[str, int], ...]:
        """Axes of the layer's input."""
        return self.poly.domain

    def flattened(self) -> "Value":
        """The same with one output axis, ``d``."""
        if not self.has_axes:
            return self if self.poly.codomain[0][0] == "d" else replace(self, poly=rename(self.poly, ["d"]))
        if not self.poly.codomain:
            return replace(self, poly=repeat(self.poly, 0, "d", 1))
        if self.size**2 > _MOST_ENTRIES:
            raise Refusal(
                f"{{name}} would be a dense matrix between all of {self.size} entries, which is too large,",
                "Keep axes apart: features, positions, rows and columns of images.",
            )
        return replace(self, poly=fuse(self.poly, 0, len(self.poly.codomain), "d"))

    def detached(self) -> "Value":
        """The same, a constant to autograd."""
        return replace(self, poly=self.poly.mapped(lambda a: a.detach() if a.requires_grad else a))

    def spread(self, samples: Tensor) -> Tensor:
        """Samples of the shape of an item, along a new first axis, laid out as this tensor is."""
        k, (before, after), item = self.batch, self.fold, self.item
        t = samples.reshape(len(samples), *item[:k], before, after, *item[k + 1 :]).movedim(0, k + 1)
        return t.reshape(*item[:k], before * len(samples) * after, *item[k + 1 :])

    def numbered(self, total: int | None = None, offset: int = 0) -> Tensor:
        """A tensor of this shape whose entries say which sample and which entry they are."""
        device = self.poly.like.device
        items = torch.arange(self.size, device=device) + offset
        samples = torch.arange(BATCH_SIZE, device=device) * (self.size if total is None else total)
        return self.spread(samples[:, None] + items)

    def broadcast(self, shape: Sequence[int]) -> "Value":
        """The value repeated along new axes and axes of size one."""
        return self if tuple(shape) == self.shape else move(lambda t: t.expand(*shape), self)


def item_of(shape: Sequence[int], batch: int, fold: Fold) -> tuple[int, ...]:
    """The shape of one sample."""
    return (*shape[:batch], fold[0] * fold[1], *shape[batch + 1 :])


def folds(shape: Sequence[int], rows: int = BATCH_SIZE) -> Iterator[tuple[int, Fold]]:
    """Along which axis, and folded with what, the samples of a tensor may lie; what is simple comes first."""
    axes = sorted((k for k, n in enumerate(shape) if n and n % rows == 0), key=lambda k: shape[k] != rows)
    for k in axes:
        rest = shape[k] // rows
        for before in range(1, rest + 1):
            if rest % before == 0:
                yield k, (before, rest // before)


def gathered(t: Tensor, batch: int, fold: Fold, rows: int = BATCH_SIZE) -> Tensor:
    """The samples of a tensor along a new first axis, each of the shape of an item."""
    before, after = fold
    samples = t.reshape(*t.shape[:batch], before, rows, after, *t.shape[batch + 1 :]).movedim(batch + 1, 0)
    return samples.reshape(rows, *t.shape[:batch], before * after, *t.shape[batch + 1 :])


def start(
    like: Tensor,
    shape: tuple[int, ...],
    batch: int,
    fold: Fold,
    positions: int | None,
    axes: Axes | None = None,
) -> Value:
    """The input of a layer.

    Args:
        like: an array of the dtype and device to use.
        shape: its shape in the traced batch.
        batch: along which axis the samples lie.
        fold: what is folded into it.
        positions: which axis counts the positions of a sequence; the others are features.
        axes: those of an image, in row-major order; by default there is one for all features.
    """
    item = item_of(shape, batch, fold)
    if axes is not None:
        return Value(identity(axes, like), shape, batch, fold)
    if positions is None:
        return Value(identity((("d", math.prod(item)),), like), shape, batch, fold)
    n, rest = item[positions], (*item[:positions], *item[positions + 1 :])
    f = identity((("s", n), ("d", math.prod(rest))), like)
    entries = torch.arange(math.prod(item), device="cpu").reshape(n, *rest).movedim(0, positions)
    return Value(moved(f, (n, *rest), entries), shape, batch, fold)


def joint(values: Sequence[Value]) -> tuple[Value, list[Tensor]]:
    """Several values side by side, and the numbering of their entries in the whole."""
    if len(values) == 1:
        return values[0], [values[0].numbered()]
    values = [v.flattened() for v in values]
    total = sum(v.size for v in values)
    grids, at = [], 0
    for v in values:
        grids.append(v.numbered(total, at))
        at += v.size
    return Value(concat(v.poly for v in values), (BATCH_SIZE, total)), grids


def move(fn: Callable[[Tensor], Tensor], value: Value) -> Value:
    """The value after an operation that only rearranges, repeats or drops entries."""
    return picked(value, fn(value.numbered()))


def picked(value: Value, grid: Tensor) -> Value:
    """The value whose entries are those of ``value`` that ``grid`` numbers.

    Raises:
        Refusal: if samples were mixed.
    """
    axis, fold, entries = traced_to(grid, value.size)
    shape = tuple(grid.shape)
    if value.has_axes:
        try:
            return Value(moved(value.poly, value.item, entries), shape, axis, fold)
        except Misfit:
            value = value.flattened()
    return Value(_select(value.poly, entries.flatten().tolist()), shape, axis, fold)


def traced_to(grid: Tensor, size: int) -> tuple[int, Fold, Tensor]:
    """Where the samples lie in a tensor of numbers of entries, and which entries of a sample of that size there are.

    Raises:
        Refusal: if samples were mixed.
    """
    shape = tuple(grid.shape)
    if not grid.numel():
        raise Refusal(
            "{name} leaves nothing of the data", f"Its result has shape {shape[1:]} for every sample."
        )
    samples, items = grid // size, grid % size
    along = torch.arange(BATCH_SIZE, device=grid.device).reshape(-1, *[1] * len(shape))
    for axis, fold in folds(shape):
        if bool((gathered(samples, axis, fold) == along).all()):
            entries = gathered(items, axis, fold)
            if bool((entries == entries[0]).all()):
                return axis, fold, entries[0]
    raise Refusal(*MIXED)


def _select(f: Poly, indices: list[int]) -> Poly:
    """Outputs by number: as a slice where they follow each other, so that weights are sliced too."""
    if indices == list(range(f.out_shape[0])):
        return f
    step = indices[1] - indices[0] if len(indices) > 1 else 1
    if step > 0 and indices == list(range(indices[0], indices[-1] + 1, step)):
        return f[indices[0] : indices[-1] + 1 : step]
    return f[indices]


def linear(value: Value, weight: Tensor, bias: Tensor | None, role: str) -> Value:
    """A matrix on the last axis of a flat value: W v + b."""
    f = named(poly("W[out,in0]", W=weight), role) @ value.flattened().poly
    if bias is not None:
        f = f + bias
    return replace(value, poly=f, shape=(*value.shape[:-1], int(weight.shape[0])))


def uniform(c: Tensor, batch: int, fold: Fold) -> Tensor:
    """The entries of a constant for one sample, which must be the same for all; of the shape of an item."""
    samples = gathered(c, batch, fold)
    known = samples.detach()
    if not bool(((known == known[0]) | known.isnan()).all()):
        raise Refusal(
            "{name} uses a constant that differs between samples",
            "Treat every sample alike. If it is made from the data by scripted or custom functions, which hide their "
            "operations, call plain torch in their place.",
        )
    return samples[0]


def fixed(c: Tensor, like: Value) -> Value:
    """A constant tensor with a batch axis, as a value."""
    if c.dim() <= like.batch or c.shape[like.batch] != BATCH_SIZE * math.prod(like.fold):
        raise Refusal(*MIXED)
    entries = uniform(c, like.batch, like.fold).flatten().to(like.poly.like.dtype)
    return Value(constant(entries, like.domain), tuple(c.shape), like.batch, like.fold)


def named(f: Poly, role: str) -> Poly:
    """The same polynomial with ``role`` as the first tag of every tensor."""
    return replace(
        f,
        terms=tuple(
            replace(t, tensors=tuple(retensor(x, tags=(role, *list(x.tags)[1:])) for x in t.tensors))
            for t in f.terms
        ),
    )
