"""Tokens: ids that the model reads, as one-hot vectors, and what becomes of them before a table reads them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from tnsim.convert.axiswise import reduced
from tnsim.convert.elementwise import times
from tnsim.convert.errors import ConvertError, Refusal
from tnsim.convert.moves import MOVED
from tnsim.convert.products import embedded
from tnsim.convert.site import Site
from tnsim.convert.trace import BATCH_SIZE, Node, Step, Trace, mapped, members, words
from tnsim.convert.value import Value, gathered, move, start, traced_to

__all__ = ["Tokens", "looked_up", "table_of", "vocabulary"]

_SHIFTS = words("add radd sub subtract rsub")
_COMPARISONS = words("eq ne gt lt ge le isin")
_MOST_TOKENS = 10**5  # that are tried where ids are calculated with
_NAMES = (
    "{name} calculates with token ids, which are names and not numbers",
    "Let an embedding table read them: nn.Embedding, F.embedding, or F.one_hot and a matrix.",
)


@dataclass(frozen=True)
class Tokens:
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
    def one_hot(cls, value: Value) -> "Tokens":
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

    def detached(self) -> "Tokens":
        """The same; token ids have no gradient."""
        return self

    def moved(self, fn: Callable[[Tensor], Tensor]) -> "Tokens":
        """The tokens after an operation that only rearranges, repeats or drops them."""
        n = self.value.shape[-1]
        behind = lambda t: fn(t[..., 0] // n)[..., None] * n + torch.arange(n, device=t.device)  # noqa: E731
        _, _, entries = traced_to(fn(self.places.numbered()), self.places.size)
        return Tokens(
            move(behind, self.value), self.ids.flatten(1)[:, entries], self.origin.flatten()[entries]
        )

    def changed(self, fn: Callable[[Tensor], Tensor]) -> "Tokens":
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
            raise Refusal(*_NAMES)
        return gathered(out, self.places.batch, self.places.fold)


def looked_up(site: Site, args: Any, kwargs: Any) -> Any:
    """An operation on token ids: they are moved, changed one by one, or read by a table."""
    op = site.step.op
    (tokens, *others) = members((args, kwargs), Tokens)
    if table_of(site.step, args, kwargs) is not None:
        return _READERS[op](site, *args, **kwargs)
    if others or members((args, kwargs), Value) or members((args, kwargs), Node):
        raise Refusal(*_NAMES)

    def call(t: Tensor) -> Any:
        a, k = mapped((args, kwargs), Tokens, lambda _: t)
        return site.step.function(*a, **k)

    if op in _COMPARISONS:
        return tokens.told(site, call)
    if op not in MOVED:
        return tokens.changed(call)
    if not site.step.several:
        return tokens.moved(call)
    return tuple(tokens.moved(lambda t, k=k: call(t)[k]) for k in range(len(site.step.outputs)))


def table_of(step: Step, args: Any, kwargs: Any) -> int | None:
    """How many rows the table has that an operation reads with token ids; ``None`` if it reads none."""
    if step.op == "one_hot":
        return int(step.outputs[0].shape[-1])
    if step.op in ("embedding", "embedding_bag"):
        return len(args[1] if len(args) > 1 else kwargs["weight"])
    if step.op in ("getitem", "index_select") and isinstance(args[0], Tensor):
        return len(args[0])
    return None


def vocabulary(trace: Trace) -> Tensor:
    """Which tokens may stand at which place of the input, as the tables that read them have rows.

    Returns:
        Booleans, one row for every place, as long as the largest number of tokens.

    Raises:
        ConvertError: if no table reads them.
    """
    reads = [
        rows
        for step in trace.steps
        if any(node.is_tokens for node in step.inputs) and (rows := table_of(step, step.args, step.kwargs))
    ]
    shape = trace.source.shape
    if len(shape) != 2 or not reads:
        raise ConvertError(
            f"token ids of shape {shape[1:]} are read, but by no embedding table; give one sequence of ids for every "
            "sample, and let nn.Embedding, F.embedding or F.one_hot read them."
        )
    like = torch.empty((), dtype=trace.weights.dtype, device=trace.weights.device)
    n = max(reads) if not _changes(trace) else min(prod(set(reads)) + _shift(trace), _MOST_TOKENS)
    known = {trace.source: Tokens.one_hot(start(like, (*shape, n), 0, (1, 1), 1))}
    legal = torch.ones(shape[1], n, dtype=torch.bool, device="cpu")
    for step in trace.steps:
        if not any(node.is_tokens for node in step.inputs):
            continue
        args, kwargs = mapped((step.args, step.kwargs), Node, lambda node: known.get(node, node))  # noqa: B023
        rows = table_of(step, args, kwargs)
        tokens = members((args, kwargs), Tokens)[0]
        if rows is not None:
            fits = (tokens.ids >= 0) & (tokens.ids < rows)
            for place, at in enumerate(tokens.origin.flatten().tolist()):
                legal[at] &= fits.flatten(1)[:, place]
        else:
            try:
                made = looked_up(Site(step, trace, trace.weights), args, kwargs)
            except Refusal as refusal:
                raise refusal.at(step.name, step.where) from None
            known |= dict(zip(step.outputs, made if isinstance(made, tuple) else (made,), strict=True))
    return legal[:, : int(legal.any(0).nonzero().max()) + 1 if bool(legal.any()) else 1]


def _changes(trace: Trace) -> bool:
    """Whether ids are calculated with."""
    return any(
        node.is_tokens and step.op not in MOVED
        for step in trace.steps
        if any(given.is_tokens for given in step.inputs)
        for node in step.outputs
    )


def _shift(trace: Trace) -> int:
    """How far ids may be shifted before a table reads them."""
    steps = [
        step for step in trace.steps if step.op in _SHIFTS and any(node.is_tokens for node in step.outputs)
    ]
    given = [(step.args, step.kwargs) for step in steps]
    largest = [int(t.abs().max()) for t in members(given, Tensor) if t.numel() and not t.is_floating_point()]
    return sum(abs(n) for n in members(given, int)) + sum(largest)


def _rows(table: Tensor, ids: Tensor) -> Tensor:
    """Rows of a table by number; zero where there is none."""
    n = len(table)
    if ids.dim() == 1 and torch.equal(ids, torch.arange(len(ids), device=ids.device)) and len(ids) <= n:
        return table if len(ids) == n else table[: len(ids)]
    has = (ids >= 0) & (ids < n)
    return table[ids.clamp(0, n - 1).to(table.device)] * has[..., None].to(table.device)


def _embedding(
    site: Site,
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Value:
    """A table read by tokens: the matrix of its rows, times one-hot vectors."""
    if not isinstance(input, Tokens) or not isinstance(weight, Tensor):
        raise Refusal("{name} looks up data", "An embedding table must be a weight, read by token ids.")
    if max_norm is not None:
        raise Refusal("{name} with max_norm changes its table", "Leave max_norm out.")
    return input.read(site, weight)


def _embedding_bag(
    site: Site,
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Value:
    """The sum or the mean of the rows of a table that the tokens of a bag name."""
    if mode == "max" or offsets is not None or len(input.shape) != 2:
        raise Refusal(
            "{name} is a polynomial as a sum or a mean over bags of one size only",
            'Use mode="sum" or mode="mean", and give it ids of shape (n, size).',
        )
    if padding_idx is not None:
        if mode == "mean":
            raise Refusal("{name} divides by the number of tokens that are no padding", 'Use mode="sum".')
        kept = torch.arange(len(weight), device=weight.device) != padding_idx
        weight = site.adopt(weight * kept[:, None], weight)
    rows = _embedding(site, input, weight, None, max_norm)
    if per_sample_weights is not None:
        rows = times(site, rows, per_sample_weights[..., None])
    total = reduced(rows, (1,))
    return total if mode == "sum" else times(site, total, 1.0 / input.shape[1])


def _one_hot(site: Site, tensor: Tokens, num_classes: int = -1) -> Value:
    n = site.step.outputs[0].shape[-1]
    like = tensor.value.poly.like
    flat = tensor.ids.flatten(1)
    if len(flat) == n and bool((flat == torch.arange(n, device=flat.device)[:, None]).all()):
        return tensor.value
    return tensor.read(site, torch.eye(n, dtype=like.dtype, device=like.device))


def _indexed(site: Site, input: Tensor, *index: Any) -> Value:
    """weight[ids], weight[ids, :], weight.index_select(0, ids)."""
    *_, found = index
    first, *rest = found if isinstance(found, tuple) else (found,)
    whole = all(key is Ellipsis or key == slice(None) for key in rest)
    if not isinstance(first, Tokens) or not whole or (len(index) == 2 and index[0] not in (0, -input.dim())):
        raise Refusal(
            "{name} reads a table with token ids in another place than the first", "Write weight[ids]."
        )
    rows = first.read(site, site.adopt(input.reshape(len(input), -1), input))
    shape = (*first.shape, *input.shape[1:])
    return move(lambda t: t.reshape(shape), rows)


_READERS: dict[str, Callable[..., Value]] = {
    "embedding": _embedding,
    "embedding_bag": _embedding_bag,
    "one_hot": _one_hot,
    "getitem": _indexed,
    "index_select": _indexed,
}
