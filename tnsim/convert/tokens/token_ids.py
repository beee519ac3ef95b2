"""Tokens: ids that the model reads, as one-hot vectors, and what becomes of them before a table reads them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tnsim.convert.module.errors import Refusal
from tnsim.convert.operations.contractions import embedded
from tnsim.convert.record.trace import BATCH_SIZE
from tnsim.convert.values.site import Site
from tnsim.convert.values.value import Value, gathered, move, traced_to

__all__ = ["NAMES", "Ids"]

NAMES = (
    "{name} calculates with token ids, which are names and not numbers",
    "Let an embedding table read them: nn.Embedding, F.embedding, or F.one_hot and a matrix.",
)


@dataclass(frozen=True)
class Ids:
    """Token ids: one-hot vectors along one more axis, and what the model has made of each id, at each place.

    Attributes:
        value: the one-hot vectors.
        ids: for every token, and every place of a sample, the id at this stage.
        origin: for every place of a sample, the place in the input that it comes from.
    """

    value: Value
    ids: Tensor
    origin: Tensor

    @classmethod
    def one_hot(cls, value: Value) -> "Ids":
        """The tokens as the model is given them."""
        n, place = value.shape[-1], value.item[:-1]
        ids = torch.arange(n, device="cpu").reshape(n, *[1] * len(place)).expand(n, *place)
        return cls(value, ids, torch.arange(ids[0].numel(), device="cpu").reshape(place))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor of ids in the traced batch."""
        return self.value.shape[:-1]

    @property
    def places(self) -> Value:
        """The layout of the tensor of ids."""
        return replace(self.value, shape=self.shape)

    def detached(self) -> "Ids":
        """The same; token ids have no gradient."""
        return self

    def moved(self, fn: Callable[[Tensor], Tensor]) -> "Ids":
        """The tokens after an operation that only rearranges, repeats or drops them."""
        n = self.value.shape[-1]
        behind = lambda t: fn(t[..., 0] // n)[..., None] * n + torch.arange(n, device=t.device)  # noqa: E731
        _, _, entries = traced_to(fn(self.places.numbered()), self.places.size)
        return Ids(move(behind, self.value), self.ids.flatten(1)[:, entries], self.origin.flatten()[entries])

    def changed(self, fn: Callable[[Tensor], Tensor]) -> "Ids":
        """The tokens after an operation on each of them by itself.

        Raises:
            Refusal: if it is none, or gives other than whole numbers.
        """
        fill = -len(self.ids) % BATCH_SIZE
        groups = torch.cat((self.ids, self.ids[:1].expand(fill, *self.ids.shape[1:]))).split(BATCH_SIZE)
        ids = torch.cat([self._each(fn, group) for group in groups])[: len(self.ids)]
        generator = torch.Generator().manual_seed(0)
        some = torch.randint(len(ids), (BATCH_SIZE, *ids.shape[1:]), generator=generator, device="cpu")
        if not torch.equal(self._each(fn, self.ids.gather(0, some)), ids.gather(0, some)):
            raise Refusal(
                "{name} lets token ids meet", "Treat every token by itself before a table reads it."
            )
        return replace(self, ids=ids)

    def told(self, site: Site, fn: Callable[[Tensor], Tensor]) -> Value:
        """What a comparison says of each of them by itself, as numbers zero and one."""
        shape = site.step.outputs[0].shape
        if shape != self.shape:
            return self.moved(lambda t: t.expand(shape)).told(site, fn)
        n = len(self.ids)
        fill = -n % BATCH_SIZE
        groups = torch.cat((self.ids, self.ids[:1].expand(fill, *self.ids.shape[1:]))).split(BATCH_SIZE)
        spread = self.places.spread
        found = [gathered(fn(spread(group)), self.places.batch, self.places.fold) for group in groups]
        table = torch.cat(found)[:n].movedim(0, -1)[..., None]
        laid = replace(self.value, shape=(*self.shape, *table.shape[-2:]))
        like = self.value.poly.like
        rows = laid.spread(table.to(like.device, like.dtype).expand(BATCH_SIZE, *table.shape))
        return move(lambda t: t[..., 0], embedded(site, self.value, site.adopt(rows)))

    def read(self, site: Site, table: Tensor) -> Value:
        """The rows of a table that they name. Where there is no such row, it is taken for zero."""
        like = self.value.poly.like
        flat = self.ids.flatten(1)
        if bool((flat == flat[:, :1]).all()):
            rows = _rows(table, flat[:, 0])
        else:
            everywhere = _rows(table, self.ids).movedim(0, -2)  # (*place, token, feature)
            laid = replace(self.value, shape=(*self.shape, *everywhere.shape[-2:]))
            rows = laid.spread(everywhere.expand(BATCH_SIZE, *everywhere.shape))
        rows = site.adopt(rows, table) if rows is not table else rows
        return embedded(site, self.value, rows.to(like.dtype))

    def _each(self, fn: Callable[[Tensor], Tensor], samples: Tensor) -> Tensor:
        out = fn(self.places.spread(samples))
        if out.shape != self.shape or out.is_floating_point() or out.dtype == torch.bool:
            raise Refusal(*NAMES)
        return gathered(out, self.places.batch, self.places.fold)


def _rows(table: Tensor, ids: Tensor) -> Tensor:
    """Rows of a table by number; zero where there is none."""
    n = len(table)
    if ids.dim() == 1 and torch.equal(ids, torch.arange(len(ids), device=ids.device)) and len(ids) <= n:
        return table if len(ids) == n else table[: len(ids)]
    has = (ids >= 0) & (ids < n)
    return table[ids.clamp(0, n - 1).to(table.device)] * has[..., None].to(table.device)
