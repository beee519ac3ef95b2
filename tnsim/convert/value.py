"""Value: what an intermediate tensor of a forward pass is, as a polynomial of the layer's input."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tnsim.algebra import Poly, concat, constant, identity, poly
from tnsim.algebra.axes import fuse, rename, repeat
from tnsim.algebra.term import retensor
from tnsim.convert.errors import Refusal
from tnsim.convert.layout import Misfit
from tnsim.convert.structure import moved, operator
from tnsim.convert.trace import BATCH_SIZE

__all__ = ["Value", "affine", "along_one_axis", "joint", "linear", "move", "named", "start", "uniform"]

_MOST_ENTRIES = 10**8
_ROWS = 512  # unit vectors that an affine operation is given at once
_MIXED = ("{name} mixes the samples of a batch", "Treat every sample alike, and keep the batch axis apart.")


@dataclass(frozen=True)
class Value:
    """A polynomial whose entries are those of one sample, in row-major order, and how they are laid out as a tensor.

    The output axes of the polynomial need not be the axes of the tensor; only the order of the entries is the same.
    Where there is one output axis, operations act on entries. Where there are several (in models of sequences),
    they act on axes, and a position stays one wire.

    Attributes:
        poly: the polynomial, from the layer's input to the entries of one sample.
        shape: shape of the tensor in the traced batch.
        batch: which of its axes is the batch.
    """

    poly: Poly
    shape: tuple[int, ...]
    batch: int = 0

    @property
    def item(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return (*self.shape[: self.batch], *self.shape[self.batch + 1 :])

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
        """Whether the polynomial has several output axes."""
        return len(self.poly.codomain) > 1

    @property
    def domain(self) -> tuple[tuple[str, int], ...]:
        """Axes of the layer's input."""
        return self.poly.domain

    def flattened(self) -> "Value":
        """The same with one output axis."""
        if not self.poly.codomain:  # one entry, whose axes all have size one
            return replace(self, poly=repeat(self.poly, 0, "d", 1))
        if not self.has_axes:
            return self if self.poly.codomain[0][0] == "d" else replace(self, poly=rename(self.poly, ["d"]))
        if self.size**2 > _MOST_ENTRIES:
            raise Refusal(
                f"{{name}} moves {self.size} entries of a sequence one by one, which is too many",
                "Keep positions and features on axes of their own.",
            )
        return replace(self, poly=fuse(self.poly, 0, len(self.poly.codomain), "d"))

    def detached(self) -> "Value":
        """The same, a constant to autograd."""
        return replace(self, poly=self.poly.mapped(lambda a: a.detach() if a.requires_grad else a))

    def numbered(self, total: int | None = None, offset: int = 0) -> Tensor:
        """A tensor of this shape whose entries say which sample and which entry they are."""
        device = self.poly.like.device
        items = torch.arange(self.size, device=device) + offset
        samples = torch.arange(BATCH_SIZE, device=device) * (self.size if total is None else total)
        grid = (samples[:, None] + items).reshape(BATCH_SIZE, *self.item)
        return grid.movedim(0, self.batch)

    def broadcast(self, shape: Sequence[int]) -> "Value":
        """The value repeated along new axes and axes of size one."""
        return self if tuple(shape) == self.shape else move(lambda t: t.expand(*shape), self)


def start(shape: tuple[int, ...], batch: int, like: Tensor, positions: int | None = None) -> Value:
    """The input of a layer.

    Args:
        shape: its shape in the traced batch.
        batch: which axis is the batch.
        like: an array of the dtype and device to use.
        positions: which axis of a sample counts the positions of a sequence; the others are features.
    """
    item = [n for k, n in enumerate(shape) if k != batch]
    if positions is None:
        return Value(identity((("d", math.prod(item)),), like), shape, batch)
    n = item.pop(positions)
    first = Value(identity((("s", n), ("d", math.prod(item))), like), (BATCH_SIZE, n, *item))
    return move(lambda t: t.movedim(1, positions + 1).movedim(0, batch), first)


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
    shape = tuple(grid.shape)
    if not grid.numel():
        raise Refusal(
            "{name} leaves nothing of the data", f"Its result has shape {shape[1:]} for every sample."
        )
    samples, items = grid // value.size, grid % value.size
    for axis in (k for k, n in enumerate(shape) if n == BATCH_SIZE):
        along = torch.arange(BATCH_SIZE, device=grid.device)
        along = along.reshape([-1 if k == axis else 1 for k in range(len(shape))])
        first = items.select(axis, 0)
        if bool((samples == along).all()) and bool((items == first.unsqueeze(axis)).all()):
            if value.has_axes:
                try:
                    return Value(moved(value.poly, value.item, first), shape, axis)
                except Misfit:
                    value = value.flattened()
            return Value(_select(value.flattened().poly, first.flatten().tolist()), shape, axis)
    raise Refusal(*_MIXED)


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
    return Value(f, (*value.shape[:-1], int(weight.shape[0])), value.batch)


def affine(
    value: Value, fn: Callable[[Tensor], Tensor], out: tuple[int, ...], role: str, offset: bool = False
) -> Value:
    """Any affine operation, by its values on zero and on the unit vectors.

    Args:
        value: what it is applied to.
        fn: the operation on a batch.
        out: its output shape in the traced batch.
        role: the tag of the matrix.
        offset: whether to keep a constant part that is zero.

    Raises:
        Refusal: if the matrix would have more than 1e8 entries, or samples are mixed.
    """
    if value.has_axes:
        try:
            return along_one_axis(value, fn, out, role)
        except Misfit:
            value = value.flattened()
    n, o = value.size, math.prod(out) // BATCH_SIZE
    if n * o > _MOST_ENTRIES:
        raise Refusal(
            f"{{name}} would be a dense matrix of {float(n * o):.1e} entries, more than {_MOST_ENTRIES:.0e},",
            "Make the input smaller, or register a rule with @tnsim.convert.register.",
        )
    like = value.poly.like
    step = min(n, _ROWS)
    rows = step + 1 if step + 1 != BATCH_SIZE else step + 2  # told apart from every axis of the traced batch
    parts, axis = [], 0
    for at in range(0, n, step):
        basis = torch.zeros(rows, n, dtype=like.dtype, device=like.device)
        basis[1 : step + 1, at : at + step].fill_diagonal_(1.0)
        flat, axis = _on_batch(fn, basis.reshape(rows, *value.item).movedim(0, value.batch), rows, out)
        parts.append(flat[1 : min(step, n - at) + 1] - flat[0])
        bias = flat[0]
    matrix = torch.cat(parts).T
    moved = linear(replace(value, shape=(BATCH_SIZE, n), batch=0), matrix, None, role).poly
    if offset or bool(bias.detach().any()):
        moved = moved + bias
    return Value(moved, out, axis)


def along_one_axis(value: Value, fn: Callable[[Tensor], Tensor], out: tuple[int, ...], role: str) -> Value:
    """An affine operation that mixes the entries along one axis only.

    Raises:
        Misfit: if it mixes more.
    """
    one, axis = _for_one_sample(value, fn, out)
    return Value(operator(value.poly, value.item, one, (*out[:axis], *out[axis + 1 :]), role), out, axis)


def _for_one_sample(
    value: Value, fn: Callable[[Tensor], Tensor], out: tuple[int, ...]
) -> tuple[Callable[[Tensor], Tensor], int]:
    """An affine operation on a traced batch as one on a sample, and the axis on which it returns the samples."""

    def spread(x: Tensor, factors: Tensor | None = None) -> Tensor:
        batch = x.expand(BATCH_SIZE, *x.shape)
        if factors is not None:
            batch = batch * factors.reshape(-1, *[1] * x.dim())
        return batch.movedim(0, value.batch)

    like = value.poly.like
    x = torch.ones(value.item, dtype=like.dtype, device=like.device)
    zero = fn(spread(0 * x))
    result = fn(spread(x, torch.arange(BATCH_SIZE, dtype=like.dtype, device=like.device))) - zero
    axes = [
        k
        for k, n in enumerate(out)
        if n == BATCH_SIZE
        and not bool(result.select(k, 0).any())
        and torch.allclose(result.select(k, 2), 2 * result.select(k, 1))
    ]
    if tuple(result.shape) != out or not axes:
        raise Refusal(*_MIXED)
    return lambda x: fn(spread(x)).select(axes[0], 0), axes[0]


def _on_batch(
    fn: Callable[[Tensor], Tensor], x: Tensor, rows: int, out: tuple[int, ...]
) -> tuple[Tensor, int]:
    """Results of ``fn``, one row for every sample, and the axis on which it returned the samples."""
    try:
        result = fn(x)
    except (RuntimeError, IndexError):
        raise Refusal(*_MIXED) from None
    axes = [k for k, pair in enumerate(zip(result.shape, out, strict=False)) if pair == (rows, BATCH_SIZE)]
    if result.dim() != len(out) or len(axes) != 1:
        raise Refusal(*_MIXED)
    return result.movedim(axes[0], 0).reshape(rows, -1), axes[0]


def uniform(c: Tensor, batch: int) -> Tensor:
    """The entries of a constant for one sample; it must be the same for all."""
    first = c.select(batch, 0)
    c = c.detach()
    if not bool(((c == first.detach().unsqueeze(batch)) | c.isnan()).all()):
        raise Refusal("{name} uses a constant that differs between samples", _MIXED[1])
    return first.reshape(-1)


def fixed(c: Tensor, like: Value) -> Value:
    """A constant tensor with a batch axis, as a value."""
    if c.dim() <= like.batch or c.shape[like.batch] != BATCH_SIZE:
        raise Refusal(*_MIXED)
    return Value(constant(uniform(c, like.batch), like.domain), tuple(c.shape), like.batch)


def named(f: Poly, role: str) -> Poly:
    """The same polynomial with ``role`` as the first tag of every tensor."""
    return replace(
        f,
        terms=tuple(
            replace(t, tensors=tuple(retensor(x, tags=(role, *list(x.tags)[1:])) for x in t.tensors))
            for t in f.terms
        ),
    )
