"""Readers: tables that are read with token ids."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tnsim.convert.module.errors import Refusal
from tnsim.convert.operations.elementwise import plus, times
from tnsim.convert.operations.moves import MOVED
from tnsim.convert.record.trace import Node, Recorded, mapped, members, words
from tnsim.convert.tokens.token_ids import NAMES, Ids
from tnsim.convert.values.axiswise import reduced
from tnsim.convert.values.site import Site
from tnsim.convert.values.value import Value, move

__all__ = ["COMPARISONS", "looked_up", "renames", "table_of"]

COMPARISONS = words("eq ne gt lt ge le isin")


def looked_up(site: Site, args: Any, kwargs: Any) -> Any:
    """An operation on token ids: they are moved, changed one by one, or read by a table."""
    op = site.step.op
    (tokens, *others) = members((args, kwargs), Ids)
    if table_of(site.step, args, kwargs) is not None and not renames(site.step):
        return _READERS[op](site, *args, **kwargs)
    if others or members((args, kwargs), Value) or members((args, kwargs), Node):
        raise Refusal(*NAMES)

    def call(t: Tensor) -> Any:
        a, k = mapped((args, kwargs), Ids, lambda _: t)
        return site.step.function(*a, **k)

    if op in COMPARISONS:
        return tokens.told(site, call)
    if renames(site.step):
        return tokens.changed(lambda t: call(t.clamp(0, len(args[0]) - 1)))
    if renames(site.step):
        return tokens.changed(lambda t: call(t.clamp(0, len(args[0]) - 1)))
    if op not in MOVED:
        return tokens.changed(call)
    if not site.step.several:
        return tokens.moved(call)
    return tuple(tokens.moved(lambda t, k=k: call(t)[k]) for k in range(len(site.step.outputs)))


def table_of(step: Recorded, args: Any, kwargs: Any) -> int | None:
    """How many rows the table has that an operation reads with token ids; ``None`` if it reads none."""
    if step.op == "one_hot":
        return int(step.outputs[0].shape[-1])
    if step.op in ("embedding", "embedding_bag"):
        return len(args[1] if len(args) > 1 else kwargs["weight"])
    if step.op in ("getitem", "index_select") and isinstance(args[0], Tensor):
        return len(args[0])
    if step.op in ("scatter", "scatter_add") and isinstance(args[0], Tensor):
        return int(args[0].shape[args[1] if len(args) > 1 else kwargs["dim"]])
    return None


def renames(step: Recorded) -> bool:
    """Whether token ids are looked up in a table of token ids."""
    return (
        step.op in ("getitem", "index_select")
        and isinstance(step.args[0], Tensor)
        and step.outputs[0].is_tokens
    )


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
    if not isinstance(input, Ids) or not isinstance(weight, Tensor):
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


def _one_hot(site: Site, tensor: Ids, num_classes: int = -1) -> Value:
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
    if not isinstance(first, Ids) or not whole or (len(index) == 2 and index[0] not in (0, -input.dim())):
        raise Refusal(
            "{name} reads a table with token ids in another place than the first", "Write weight[ids]."
        )
    rows = first.read(site, site.adopt(input.reshape(len(input), -1), input))
    shape = (*first.shape, *input.shape[1:])
    return move(lambda t: t.reshape(shape), rows)


def _scattered(
    site: Site, input: Tensor, dim: int, index: Any, src: Any = None, *, value: Any = None
) -> Value:
    """A number put where a token says, as one-hot vectors are made by hand."""
    src = value if src is None else src
    last = dim % input.dim() == input.dim() - 1 and index.shape[:-1] == input.shape[:-1]
    if not last or isinstance(src, Value) or (site.step.op == "scatter" and index.shape[-1] > 1):
        raise Refusal("{name} puts numbers where token ids say", "Let F.one_hot read the ids.")
    like = index.value.poly.like
    hot = index.read(site, torch.eye(input.shape[-1], dtype=like.dtype, device=like.device))
    put = times(site, hot, src[..., : index.shape[-1], None] if isinstance(src, Tensor) else src)
    if site.step.op == "scatter" and bool(input.any()):
        put = plus(site, put, times(site, hot, -input[..., None, :]))
    return plus(site, reduced(put, (-2,)), input.to(like.dtype))


_READERS: dict[str, Callable[..., Value]] = {
    "embedding": _embedding,
    "embedding_bag": _embedding_bag,
    "one_hot": _one_hot,
    "getitem": _indexed,
    "index_select": _indexed,
    **dict.fromkeys(("scatter", "scatter_add"), _scattered),
}
