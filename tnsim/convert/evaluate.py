"""Evaluate: carry out recorded operations in the algebra of polynomials."""

from typing import Any

from tnsim.algebra import ComposeError, CostError, WireError
from tnsim.convert.complexes import with_complex
from tnsim.convert.cut import Layer
from tnsim.convert.errors import ConvertError, Refusal
from tnsim.convert.general import operated
from tnsim.convert.layout import Misfit
from tnsim.convert.maps import along_one_axis
from tnsim.convert.pairs import Modulus
from tnsim.convert.regions import Region, regions
from tnsim.convert.site import Site
from tnsim.convert.tokens import Tokens, looked_up
from tnsim.convert.trace import Node, Step, Trace, mapped, members
from tnsim.convert.value import Value
from tnsim.convert.weights import Weights

__all__ = ["evaluate"]

Known = dict[Node, Any]  # values, and tokens


def evaluate(layer: Layer, source: Value | Tokens, trace: Trace, weights: Weights) -> Value:
    """What a layer computes.

    Args:
        layer: its operations, in order.
        source: the value of the tensor it reads.
        trace: the forward pass they belong to.
        weights: the weights of the module.

    Raises:
        ConvertError: if an operation has no polynomial form.
    """
    values: Known = {layer.source: source}
    runs = {}
    if isinstance(source, Tokens) or source.has_axes:
        runs = regions(layer.steps, layer.output, frozenset(weights.parameters))
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
            if value.shape != node.shape:
                raise ConvertError(
                    f"{step.name} {step.where} was converted to shape {value.shape}, but torch gives {node.shape}. "
                    "This is a mistake in tnsim; please report it."
                )
            values[node] = value.detached() if step.is_detached else value
    result: Value = values[layer.output]
    return result.detached() if layer.is_constant else result


def _results(step: Step, values: Known, trace: Trace, weights: Weights) -> tuple[Any, ...]:
    args, kwargs = mapped((step.args, step.kwargs), Node, values.__getitem__)
    site = Site(step, trace, weights)
    try:
        if members((args, kwargs), Tokens):
            result = looked_up(site, args, kwargs)
        elif members((args, kwargs), Modulus) or any(n.is_complex for n in (*step.inputs, *step.outputs)):
            result = with_complex(site, args, kwargs)
        else:
            result = operated(site, args, kwargs)
    except Refusal as refusal:
        raise refusal.at(step.name, step.where) from None
    except (RuntimeError, TypeError, ComposeError, WireError) as error:
        if isinstance(error, CostError):
            raise
        raise ConvertError(
            f"{step.name} {step.where} is used in a way that tnsim does not support: {error}"
        ) from error
    return result if isinstance(result, tuple) else (result,)


def _at_once(region: Region, values: Known, trace: Trace, weights: Weights) -> Value:
    """A run of linear operations as one map along one axis."""
    site = Site(region.steps[-1], trace, weights)
    return along_one_axis(values[region.source], region, region.output.shape, site.role(*region.constants))
