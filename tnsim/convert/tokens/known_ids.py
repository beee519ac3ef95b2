"""Vocabulary: which token ids a model has rows for."""

from math import prod

import torch
from torch import Tensor

from tnsim.convert.module.errors import ConvertError, Refusal
from tnsim.convert.operations.moves import MOVED
from tnsim.convert.record.trace import Node, Trace, mapped, members, words
from tnsim.convert.tokens.readers import COMPARISONS, looked_up, renames, table_of
from tnsim.convert.tokens.token_ids import Ids
from tnsim.convert.values.site import Site
from tnsim.convert.values.value import start

__all__ = ["vocabulary"]

_SHIFTS = words("add radd sub subtract rsub")
_MOST_TOKENS = 10**5  # that are tried where ids are calculated with


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
    ] or _compared(trace)
    shape = trace.source.shape
    if len(shape) != 2:
        raise ConvertError(
            f"token ids of shape {shape[1:]} are read; give one sequence of ids for every sample, such as ids.flatten(1), "
            "and view it in forward as the model needs it."
        )
    if not reads:
        raise ConvertError(
            f"token ids of shape {shape[1:]} are read, but by no embedding table; give one sequence of ids for every "
            "sample, and let nn.Embedding, F.embedding or F.one_hot read them."
        )
    like = torch.empty((), dtype=trace.weights.dtype, device=trace.weights.device)
    n = max(reads) if not _changes(trace) else min(prod(set(reads)) + _shift(trace), _MOST_TOKENS)
    known = {trace.source: Ids.one_hot(start(like, (*shape, n), 0, (1, 1), 1))}
    legal = torch.ones(shape[1], n, dtype=torch.bool, device="cpu")
    for step in trace.steps:
        if not any(node.is_tokens for node in step.inputs):
            continue
        args, kwargs = mapped((step.args, step.kwargs), Node, lambda node: known.get(node, node))  # noqa: B023
        rows = table_of(step, args, kwargs)
        tokens = members((args, kwargs), Ids)[0]
        if rows is not None:
            fits = (tokens.ids >= 0) & (tokens.ids < rows)
            for place, at in enumerate(tokens.origin.flatten().tolist()):
                legal[at] &= fits.flatten(1)[:, place]
        if rows is None or renames(step):
            try:
                made = looked_up(Site(step, trace, trace.weights), args, kwargs)
            except Refusal as refusal:
                raise refusal.at(step.name, step.where) from None
            known |= dict(zip(step.outputs, made if isinstance(made, tuple) else (made,), strict=True))
    return legal[:, : int(legal.any(0).nonzero().max()) + 1 if bool(legal.any()) else 1]


def _compared(trace: Trace) -> list[int]:
    """How many tokens there are at least where ids are compared with numbers, as in ``ids[..., None] == arange(n)``."""
    steps = [step for step in trace.steps if step.op in COMPARISONS and step.inputs[0].is_tokens]
    numbers = members([step.args for step in steps], Tensor)
    return [int(t.max()) + 1 for t in numbers if t.numel() > 1 and not t.is_floating_point()]


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
