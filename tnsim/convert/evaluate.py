"""Evaluate: carry out recorded operations in the algebra of polynomials."""

from typing import Any

from tnsim.algebra import ComposeError, CostError, WireError
from tnsim.convert.axis_operations import AXIS_OPERATIONS
from tnsim.convert.axiswise import any_axes
from tnsim.convert.cut import Layer
from tnsim.convert.errors import ConvertError, Refusal, unsupported
from tnsim.convert.layout import Misfit
from tnsim.convert.operations import OPERATIONS
from tnsim.convert.regions import Region, regions
from tnsim.convert.site import Site
from tnsim.convert.trace import Node, Step, Trace, mapped, members
from tnsim.convert.value import Value, along_one_axis
from tnsim.convert.weights import Weights

__all__ = ["evaluate"]

_READ_TOKENS = ("embedding", "one_hot")


def evaluate(layer: Layer, source: Value, trace: Trace, weights: Weights) -> Value:
    """What a layer computes.

    Args:
        layer: its operations, in order.
        source: the value of the tensor it reads.
        trace: the forward pass they belong to.
        weights: the weights of the module.

    Raises:
        ConvertError: if an operation has no polynomial form.
    """
    values = {layer.source: source}
    runs = regions(layer.steps, layer.output, frozenset(weights.parameters)) if source.has_axes else {}
    done: set[Step] = set()
    for step in layer.steps:
        if step in done:
            continue
        if step in runs and values[runs[step].source].has_axes:
            try:
                values[runs[step].output] = _at_once(runs[step], values, trace, weights)
            except Misfit:
                pass
            else:
                done |= set(runs[step].steps)
                continue
        for node, value in zip(step.outputs, _results(step, values, trace, weights), strict=True):
            if value.shape != node.shape and not node.is_tokens:
                raise ConvertError(
                    f"{step.name} {step.where} was converted to shape {value.shape}, but torch gives {node.shape}. "
                    "This is a mistake in tnsim; please report it."
                )
            values[node] = value.detached() if step.is_detached else value
    return values[layer.output].detached() if layer.is_constant else values[layer.output]


def _results(step: Step, values: dict[Node, Value], trace: Trace, weights: Weights) -> tuple[Value, ...]:
    if step.op not in OPERATIONS:
        raise unsupported(step.op, step.name, step.where)
    args, kwargs = mapped((step.args, step.kwargs), Node, values.__getitem__)
    site = Site(step, trace, weights)
    try:
        if step.op not in _READ_TOKENS and any(node.is_tokens for node in step.inputs):
            raise Refusal(
                "{name} calculates with token ids, which are names and not numbers",
                "Let an embedding table read them: nn.Embedding, F.embedding, or F.one_hot and a matrix.",
            )
        result = _operated(site, args, kwargs)
    except Refusal as refusal:
        raise refusal.at(step.name, step.where) from None
    except (RuntimeError, TypeError, ComposeError, WireError) as error:
        if isinstance(error, CostError):
            raise
        raise ConvertError(
            f"{step.name} {step.where} is used in a way that tnsim does not support: {error}"
        ) from error
    return result if isinstance(result, tuple) else (result,)


def _operated(site: Site, args: Any, kwargs: Any) -> Any:
    """On axes where there are several and the operation can; else on entries."""
    if any_axes(*members((args, kwargs), Value)) and site.step.op in AXIS_OPERATIONS:
        try:
            return AXIS_OPERATIONS[site.step.op](site, *args, **kwargs)
        except Misfit:
            args, kwargs = mapped((args, kwargs), Value, lambda v: v.flattened())
    return OPERATIONS[site.step.op](site, *args, **kwargs)


def _at_once(region: Region, values: dict[Node, Value], trace: Trace, weights: Weights) -> Value:
    """A run of linear operations as one map along one axis."""
    site = Site(region.steps[-1], trace, weights)
    return along_one_axis(values[region.source], region, region.output.shape, site.role(*region.constants))
