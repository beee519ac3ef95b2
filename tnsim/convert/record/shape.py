"""Shape: how many features a module reads, found from its weights."""

from typing import Any

import torch
from torch import nn

from tnsim.convert.module.errors import ConvertError, IdsError, InputError
from tnsim.convert.module.output import Output
from tnsim.convert.module.replicas import replica
from tnsim.convert.module.rules import has_rule, rule
from tnsim.convert.module.weights import Weights
from tnsim.convert.record.forward import record
from tnsim.convert.record.trace import Trace
from tnsim.nn import BilinearAttention, TokenEmbedding

__all__ = ["inferred", "traced"]


def traced(module: nn.Module, example: Any, weights: Weights, output: Output = None) -> Trace:
    """Trace a module on inputs of the example's shape: as token ids where it holds integers and the module reads them."""
    shape = _shape(example)
    if "int" in str(getattr(example, "dtype", "")):
        given = torch.as_tensor(example)
        first: InputError | None = None
        for ids in (
            torch.zeros(shape, dtype=torch.long, device="cpu"),
            given if given.dim() == 1 else given[0],
        ):
            try:
                return record(module, shape, weights, output, ids)
            except InputError as error:
                first = first or error
        try:  # whole numbers that are features, such as the pixels of an image
            return record(module, shape, weights, output)
        except IdsError:
            raise first from None  # type: ignore[misc]
    return record(module, shape, weights, output)


def _shape(example: Any) -> tuple[int, ...]:
    """The shape of one input: ``example`` is a batch, or a single vector.

    Raises:
        ConvertError: if it is not an array with at least one axis.
    """
    shape = getattr(example, "shape", None)
    if shape is None or not len(shape):
        raise ConvertError(
            f"example={type(example).__name__} is not a batch of inputs; pass an array such as torch.zeros(1, 784)."
        )
    sizes = tuple(int(n) for n in shape)
    return sizes if len(sizes) == 1 else sizes[1:]


def inferred(module: nn.Module, weights: Weights, output: Output = None) -> Trace:
    """Trace a module that reads vectors, trying the sizes that occur among its weights.

    The width is accepted if it is the only one that fits, and one feature more does not.

    Raises:
        ConvertError: if no width fits, or several do.
    """
    kind = type(module).__name__
    parts = list(module.modules())
    if any(isinstance(part, nn.Embedding | TokenEmbedding | BilinearAttention) for part in parts):
        ids = any(isinstance(part, nn.Embedding | TokenEmbedding) for part in parts)
        example = "torch.zeros(1, n_ctx, dtype=torch.long)" if ids else "torch.zeros(1, n_ctx, d)"
        raise ConvertError(
            f"{kind} reads sequences; say how many positions they have with an example: convert(model, {example})."
        )
    found: dict[int, Trace] = {}
    failure: ConvertError | None = None
    reason = ""
    widths = _widths(module, weights)
    for n in widths:
        try:
            found[n] = record(module, (n,), weights, output)
        except InputError as error:
            reason = reason or str(error)
        except ConvertError as error:
            failure = failure or error
    if len(found) > 1:
        found.pop(1, None)  # one feature fits nearly everywhere, by broadcasting
    ask = "pass a batch of inputs, such as convert(model, example=torch.zeros(1, 784))."
    if not found:
        if failure is not None:
            raise failure
        raise ConvertError(
            f"cannot infer the input shape of {kind}; {ask}" + (f" ({reason})" if reason else "")
        )
    if len(found) > 1:
        raise ConvertError(f"{kind} runs on inputs of {_listed(found)} features; to say which, {ask}")
    ((n, trace),) = found.items()
    try:
        record(module, (n + 1,), weights, output)
    except ConvertError:
        return trace
    raise ConvertError(f"{kind} does not fix the number of its input features; {ask}")


def _widths(module: nn.Module, weights: Weights) -> list[int]:
    sizes = [n for t in weights.tensors.values() for n in reversed(t.shape)]
    if any(map(has_rule, module.modules())):
        copied = replica(module, weights.replaced(weights.tensors)).modules()
        sizes += [n for child in copied if has_rule(child) for n in rule(child).in_shape]
    return [n for n in dict.fromkeys(map(int, sizes)) if n > 0]


def _listed(found: dict[int, Trace]) -> str:
    *most, last = map(str, found)
    return f"{', '.join(most)} and of {last}"
