"""Forward: run a copy of a module, under the recorder or as it is."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tnsim.algebra import Poly
from tnsim.convert.module.errors import ConvertError, InputError, located
from tnsim.convert.module.output import Output, chosen
from tnsim.convert.module.replicas import replica
from tnsim.convert.module.rules import has_rule, rule
from tnsim.convert.module.weights import Weights
from tnsim.convert.record.frames import raised_at
from tnsim.convert.record.recorder import Recorder
from tnsim.convert.record.sandbox import Sandbox
from tnsim.convert.record.trace import BATCH_SIZE, Node, Recorded, Trace
from tnsim.engine.constants import as_like
from tnsim.nn import Unembedding

__all__ = ["check_signature", "record", "run", "sample"]

_SHAPE_ERRORS = (RuntimeError, ValueError, IndexError, AssertionError)
_MISSING = object()


def check_signature(module: nn.Module) -> None:
    """Raise unless ``forward`` can be called with one tensor."""
    for path, part in module.named_modules():
        if hasattr(part, "_orig_mod"):
            name = f'"{path}"' if path else "this"
            raise ConvertError(
                f"{name} is a torch.compile'd model; convert the model it was made from, model._orig_mod."
            )
        if isinstance(part, nn.DataParallel | nn.parallel.DistributedDataParallel):
            name = f'"{path}"' if path else "this"
            raise ConvertError(
                f"{name} is a {type(part).__name__}, which copies its module to several devices; convert the module "
                "inside, model.module."
            )
        if isinstance(part, torch.jit.ScriptModule):
            name = f'"{path}"' if path else type(part).__name__
            raise ConvertError(
                f"{name} is a TorchScript module, which hides its operations; convert the module it was made from."
            )
        if isinstance(part, Unembedding) and part.training and part.energy is not None:
            raise ConvertError(
                f"no polynomial form for {type(part).__name__} {located(path)} in training mode. It divides by the "
                "energy of the batch. Call model.eval() first."
            )
    parameters = inspect.signature(module.forward).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in kinds]
    keyword = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name in required]
    takes = any(
        p.kind not in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD) for p in parameters
    )
    if len(required) > 1 or keyword or not takes:
        found = ", ".join(required) or "none"
        raise ConvertError(
            f"{type(module).__name__}.forward needs one input; it requires {found}. Give the others a default, or "
            "wrap the module in one whose forward takes a single tensor."
        )


def sample(n: int, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A reproducible random batch that leaves the global generator alone."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn((n, *shape), generator=generator, dtype=torch.float64, device="cpu").to(device, dtype)


def run(module: nn.Module, tensors: Mapping[int, Tensor], x: Tensor, output: Output = None) -> Tensor:
    """The output of a copy of a module.

    Args:
        module: the copy.
        tensors: for the id of a tensor of the module itself, what takes its place where ``forward`` still meets it.
        x: the input.
        output: which tensor of what it returns.
    """
    with Sandbox({**tensors, id(x): x}):
        return chosen(module(x), output, type(module).__name__)


def _where(error: BaseException) -> str:
    """The line of the user's code that an error came from."""
    line = raised_at(error)
    return f" ({line})" if line else ""


def _reason(error: BaseException) -> str:
    """What to write instead, where that can be told."""
    said = str(error)
    if isinstance(error, TypeError) and "data type 'str'" in said:
        return (
            " The input is one tensor, and is read by name, as of a dictionary: wrap the model in a module whose forward "
            'takes a tensor and makes the dictionary, self.model({"x": x}).'
        )
    if isinstance(error, ValueError) and "to unpack" in said:
        return (
            " The input is one tensor: if forward takes several, wrap it in a module that makes them of one."
        )
    if "does not require grad" in said:
        return " Gradients are taken in forward: write the derivative itself, with sums and products."
    if isinstance(error, IndexError) and "out of range in self" in said:
        return (
            " A table is read beyond its last row: that of positions, if the example is longer than the model knows, or "
            "that of tokens, if it reads ids that it has no rows for."
        )
    return ""


def record(
    module: nn.Module,
    shape: tuple[int, ...],
    weights: Weights,
    output: Output = None,
    tokens: Tensor | None = None,
) -> Trace:
    """Trace one forward pass of a copy of a module on a batch of inputs of the given shape.

    Args:
        module: the module; it is only read.
        shape: shape of one input.
        weights: what to run it with.
        output: which tensor of what it returns.
        tokens: where inputs are token ids, those of one input.

    Raises:
        InputError: if it cannot run on this shape.
        ConvertError: if it cannot be traced.
    """
    kind = type(module).__name__
    weights = weights.renewed()
    tensors = weights.replaced(weights.tensors)
    copy = replica(module, tensors)
    recorder = Recorder(weights)
    x = sample(BATCH_SIZE, shape, weights.dtype, weights.device)
    x = x if tokens is None else tokens.to(x.device, torch.long).expand(x.shape).clone()
    source = recorder.feed(x, copy)
    try:
        with _observed(copy, recorder), recorder:
            out = run(copy, tensors, x, output)
    except ConvertError:
        raise
    except _SHAPE_ERRORS as error:
        given = str(("n", *shape)).replace("'n'", "n")
        raise InputError(
            f"{kind}.forward fails on an input of shape {given}{_where(error)}: {type(error).__name__}: {error}."
            f"{_reason(error)}"
        ) from error
    except Exception as error:
        raise ConvertError(
            f"{kind}.forward cannot be traced{_where(error)}: {type(error).__name__}: {error}.{_reason(error)}"
        ) from error
    if id(out) not in recorder.nodes:
        raise ConvertError(
            f"the output of {kind} is not made from its input by operations that can be seen. Either it does not depend on "
            "its input, or a part of it is hidden: scripted or compiled functions, custom autograd functions, numpy."
        )
    result = recorder.nodes[id(out)]
    return Trace(
        source,
        result,
        _live(recorder.steps, result),
        recorder.root,
        weights,
        recorder.origins,
        recorder.precision,
        recorder.alive,
        output,
    )


def _live(steps: list[Recorded], output: Node) -> tuple[Recorded, ...]:
    """The steps the output depends on."""
    needed = {output}
    kept = []
    for step in reversed(steps):
        if needed.intersection(step.outputs):
            needed.update(step.inputs)
            kept.append(step)
    return tuple(reversed(kept))


@contextmanager
def _observed(module: nn.Module, recorder: Recorder) -> Iterator[None]:
    """While this lasts, every submodule of a copy tells the recorder when it is called.

    The wrapper is an instance attribute that hides the class's ``forward``, so that calls from anywhere,
    also ``self.block.forward(x)``, pass through it.
    """
    hidden: list[tuple[nn.Module, Any]] = []
    try:
        for path, child in module.named_modules():
            hidden.append((child, child.__dict__.get("forward", _MISSING)))
            child.__dict__["forward"] = _observer(path, child, child.forward, recorder)
        yield
    finally:
        for child, before in hidden:
            child.__dict__.pop("forward", None)
            if before is not _MISSING:
                child.__dict__["forward"] = before


def _observer(
    path: str, child: nn.Module, forward: Callable[..., Any], recorder: Recorder
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with recorder.inside(path, child):
            if has_rule(child):
                return recorder.leaf(forward, _polynomial(path, child, recorder.weights), args, kwargs)
            return forward(*args, **kwargs)

    return call


def _polynomial(path: str, module: nn.Module, weights: Weights) -> Poly:
    """What the user's rule says, cast to the dtype of the conversion."""
    f = rule(module)
    kind = type(module).__name__
    if not isinstance(f, Poly):
        raise ConvertError(
            f'the rule for {kind} at "{path}" returns a {type(f).__name__}; it must return a Poly.'
        )
    if [s for s, _ in f.domain] != ["d"] or len(f.codomain) != 1:
        raise ConvertError(
            f'the rule for {kind} at "{path}" returns a polynomial {f.domain} → {f.codomain}; it must map one '
            "feature axis to one feature axis."
        )
    like = torch.empty((), dtype=weights.dtype, device=weights.device)
    return f.mapped(lambda a: as_like(a, like))
