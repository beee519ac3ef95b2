"""Evaluate: carry out recorded operations in the algebra of polynomials."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tnsim.algebra import ComposeError, CostError, WireError
from tnsim.convert.layers.cuts import Layer
from tnsim.convert.layers.linear_runs import Region, regions
from tnsim.convert.module.errors import ConvertError, Refusal
from tnsim.convert.module.weights import Weights
from tnsim.convert.operations.complexes import with_complex
from tnsim.convert.operations.general import operated
from tnsim.convert.operations.maps import along_one_axis
from tnsim.convert.powers.exponents import Roots
from tnsim.convert.powers.fixed import Fixing
from tnsim.convert.powers.roots import Root, carried, made
from tnsim.convert.record.trace import Node, Recorded, Trace, mapped, members
from tnsim.convert.tokens.readers import looked_up
from tnsim.convert.tokens.token_ids import Ids
from tnsim.convert.values.layout import Misfit, is_position, keeps_positions
from tnsim.convert.values.site import Site
from tnsim.convert.values.value import Value

__all__ = ["evaluate"]

_FEW_TERMS = 8  # that are better than one matrix between positions and features of the input
_MOST_ROWS = 2048  # of the matrix that takes off the mean of a flat tensor
Known = dict[Node, Any]  # values, tokens, pairs, roots, and constants


def evaluate(
    layer: Layer,
    source: Value | Ids,
    trace: Trace,
    weights: Weights,
    roots: Roots,
    fixing: Fixing | None = None,
) -> Value:
    """What a layer computes.

    Args:
        layer: its operations, in order.
        source: the value of the tensor it reads.
        trace: the forward pass they belong to.
        weights: the weights of the module.
        roots: its roots and reciprocals.
        fixing: the law that fixes norms of data.

    Raises:
        ConvertError: if an operation has no polynomial form.
    """
    values: Known = {layer.source: source}
    runs = regions(layer.steps, layer.output, frozenset(weights.parameters))
    take = lambda step, known: _take(step, known, trace, weights, roots, fixing)  # noqa: E731
    done: set[Recorded] = set()
    for step in layer.steps:
        if step in done:
            continue
        if step in runs and _is_short(runs[step], values):
            try:
                value = _at_once(runs[step], values, trace, weights)
            except Misfit:
                pass
            else:
                if layer.source is trace.source and is_position(value.domain[0][0]):
                    value = _apart(value, runs[step], values, take)
                values[runs[step].output] = value
                done |= set(runs[step].steps)
                continue
        take(step, values)
    result: Value = values[layer.output]
    return result.detached() if layer.is_constant else result


def _take(
    step: Recorded, values: Known, trace: Trace, weights: Weights, roots: Roots, fixing: Fixing | None
) -> None:
    """One operation by itself; its results are added to the values."""
    made_here = _results(step, values, trace, weights, roots, fixing)
    for node, value in zip(step.outputs, made_here, strict=True):
        if tuple(value.shape) != node.shape:
            raise ConvertError(
                f"{step.name} {step.where} was converted to shape {value.shape}, but torch gives {node.shape}. "
                "This is a mistake in tnsim; please report it."
            )
        values[node] = _detached(value) if step.is_detached else value


def _apart(whole: Value, region: Region, values: Known, take: Callable[[Recorded, Known], None]) -> Value:
    """A region in a few terms, where as one matrix it would read positions and features of the input together."""
    if keeps_positions(whole.poly):
        return whole
    known = dict(values)
    try:
        for step in region.steps:
            take(step, known)
    except ConvertError:
        return whole
    parts: Value = known[region.output]
    few = len(parts.poly.terms) <= _FEW_TERMS
    return parts if few and keeps_positions(parts.poly) else whole


def _is_short(region: Region, values: Known) -> bool:
    """Whether one matrix is shorter than what the region is made of."""
    value = values[region.source]
    if not isinstance(value, Value):
        return False
    return value.has_axes or (region.is_centring and value.size <= _MOST_ROWS)


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value.detached()


def _results(
    step: Recorded, values: Known, trace: Trace, weights: Weights, roots: Roots, fixing: Fixing | None
) -> tuple[Any, ...]:
    args, kwargs = mapped((step.args, step.kwargs), Node, values.__getitem__)
    site = Site(step, trace, weights)
    try:
        if members((args, kwargs), Ids):
            result = looked_up(site, args, kwargs)
        elif step.outputs[0] in roots.constants:
            result = _constant(site, args, kwargs, roots, fixing)
        elif step in roots.makers and step not in roots.open:
            result = made(site, args, kwargs)
        elif members((args, kwargs), Root):
            result = carried(site, args, kwargs)
        elif any(n.is_complex for n in (*step.inputs, *step.outputs)):
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


def _constant(site: Site, args: Any, kwargs: Any, roots: Roots, fixing: Fixing | None) -> Any:
    """A norm that is fixed, or what is made of such constants."""
    if site.step in roots.fixed and members((args, kwargs), Value) and fixing is not None:
        return fixing.constant(site, args, kwargs)
    args, kwargs = mapped((args, kwargs), Value, _empty)  # of which only shape and kind are read
    made = site.step.function(*args, **kwargs)
    for c in members(made, Tensor):
        site.adopt(c, *members((args, kwargs), Tensor))
    return made


def _empty(value: Value) -> Tensor:
    like = value.poly.like
    return torch.empty(value.shape, dtype=like.dtype, device=like.device)


def _at_once(region: Region, values: Known, trace: Trace, weights: Weights) -> Value:
    """A run of linear operations as one map along one axis."""
    site = Site(region.steps[-1], trace, weights)
    return along_one_axis(values[region.source], region, region.output.shape, site.role(*region.constants))
