"""Forward: the outputs of models on draws, where tables of tokens are looked up and vocabularies are contracted away."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.onehot_ids import is_ids, one_hot
from tnsim.algebra.polys.axes import is_local
from tnsim.algebra.polys.poly import Poly
from tnsim.algebra.terms.collecting import busy
from tnsim.engine.costs import paying

__all__ = ["Affine", "Forward", "affine"]

Array = Any

_TRIED = 16  # draws that are priced
_LARGEST = 2048  # draws at once: what is then made of them stays near the processor


@dataclass(frozen=True, eq=False)
class Affine:
    """W h + b at every position.

    Attributes:
        weight: W, shape ``(out, in)``.
        bias: b, shape ``(out,)`` or ``(n_ctx, out)``; ``None`` for zero.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None = None

    def looked_up(self, ids: torch.Tensor) -> torch.Tensor:
        """Of one-hot vectors, given by their numbers."""
        found = self.weight.T[ids]
        return found if self.bias is None else found + self.bias

    def __call__(self, h: torch.Tensor) -> torch.Tensor:
        """Of states."""
        found = h @ self.weight.T
        return found if self.bias is None else found + self.bias


def affine(f: Poly) -> Affine | None:
    """A layer as one matrix on every position, and a bias; ``None`` if it is not written as that."""
    if f.degree != 1 or f.models or len(f.domain) != len(f.codomain) or len(f.domain) > 2:
        return None
    if len(f.domain) == 2 and not is_local(f, 0):
        return None
    linear = [t for t in f.terms if t.degree]
    if len(linear) != 1:
        return None
    (t,) = linear
    end, start = t.out[-1], t.legs[0][-1]
    matrix, *others = busy(t)
    if others or set(matrix.inds) != {end, start} or end == start:
        return None
    data = matrix.data if matrix.inds[0] == end else matrix.data.T
    rest = tuple(t for t in f.terms if not t.degree)
    bias = None
    if rest:
        nothing = data.new_zeros(()).expand(1, *f.in_shape)
        bias = replace(f, terms=rest).evaluate(nothing)[0]
    return Affine(t.coefficient * data, bias)


@dataclass(frozen=True, eq=False)
class Forward:
    """Networks that read the same draws.

    Attributes:
        nets: the networks; equal ones are evaluated once.
        narrow: whether only inner products of outputs with each other matter. Heads that write into a large space, such
            as a vocabulary, are then replaced by smaller ones with the same inner products: with W_i = Q R_i for all
            models together, those of R_i h are those of W_i h.
    """

    nets: tuple[Network, ...]
    narrow: bool = False

    @cached_property
    def tables(self) -> list[Affine | None]:
        """First layers that token ids are looked up in."""
        return [affine(net.polys[0]) if len(net.domain) == 2 else None for net in self.nets]

    @cached_property
    def heads(self) -> list[Affine] | None:
        """Small heads in place of the last layers."""
        if not self.narrow or any(len(net) < 2 for net in self.nets):
            return None
        last = [affine(net.polys[-1]) for net in self.nets]
        known = [x for x in last if x is not None]
        if len(known) < len(last) or any(x.bias is not None and x.bias.ndim > 1 for x in known):
            return None
        columns = [torch.column_stack([x.weight, *([] if x.bias is None else [x.bias])]) for x in known]
        sizes = [x.shape[1] for x in columns]
        if 2 * sum(sizes) > len(columns[0]):
            return None
        corner = torch.linalg.qr(torch.cat(columns, 1), mode="r").R
        parts = corner.split(sizes, 1)
        return [
            Affine(part if x.bias is None else part[:, :-1], None if x.bias is None else part[:, -1])
            for part, x in zip(parts, known, strict=True)
        ]

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Outputs of every model, shape ``(N, *out_shape)``; of small heads ``(N, …, rank)``."""
        made: dict[int, torch.Tensor] = {}
        for k, net in enumerate(self.nets):
            if id(net) not in made:
                made[id(net)] = self._of(k, net, x)
        return [made[id(net)] for net in self.nets]

    def norms(self, values: Sequence[torch.Tensor], apart: bool) -> torch.Tensor:
        """|f_i|² of every model, and with ``apart`` |f_0 − f_1|² as well: shape ``(N, k)``."""
        found = [v.reshape(len(v), -1).square().sum(1) for v in values]
        if apart:
            found.append((values[0] - values[1]).reshape(len(values[0]), -1).square().sum(1))
        return torch.stack(found, 1)

    def _of(self, k: int, net: Network, x: torch.Tensor) -> torch.Tensor:
        layers = list(net.polys)
        table = self.tables[k]
        if is_ids(x) and table is not None:
            h = table.looked_up(x)
            del layers[0]
        elif is_ids(x):
            n_ctx, size = net.polys[0].in_shape
            h = one_hot(x, n_ctx, size, net.polys[0].like)
        else:
            h = x
        for f in layers[:-1] if self.heads and layers else layers:
            h = f.evaluate(h)
        return self.heads[k](h) if self.heads else h

    @cached_property
    def _prices(self) -> dict[bool, tuple[float, float]]:
        return {}

    def price(self, x: torch.Tensor) -> tuple[float, float]:
        """Flops and bytes that one draw like those of ``x`` takes; a few are tried, once."""
        if is_ids(x) not in self._prices:
            some = x[:1].expand(_TRIED, *x.shape[1:])
            with paying() as bill, torch.no_grad():
                values = self(some)
            cost, made = bill.total(), sum(v[0].numel() for v in values)
            held = 2 * cost.bytes / _TRIED + values[0].element_size() * (made + x[0].numel())
            self._prices[is_ids(x)] = cost.flops / _TRIED + 2.0 * made, held
        return self._prices[is_ids(x)]

    def at_once(self, x: torch.Tensor, memory: float) -> int:
        """How many draws to take together."""
        return int(max(1, min(_LARGEST, memory / 4 // self.price(x)[1])))
