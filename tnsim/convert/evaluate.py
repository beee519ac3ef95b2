"""Evaluate: carry out recorded operations in the algebra of polynomials."""

from collections.abc import Sequence

from tnsim.algebra import ComposeError, CostError, WireError
from tnsim.convert.errors import ConvertError, Refusal, unsupported
from tnsim.convert.operations import OPERATIONS
from tnsim.convert.site import Site
from tnsim.convert.trace import Node, Step, Trace, mapped
from tnsim.convert.value import Value
from tnsim.convert.weights import Weights

__all__ = ["evaluate"]


def evaluate(
    steps: Sequence[Step], start: dict[Node, Value], trace: Trace, weights: Weights
) -> dict[Node, Value]:
    """The values of all nodes that the steps compute.

    Args:
        steps: operations in order.
        start: values of the nodes they read from outside.
        trace: the forward pass they belong to.
        weights: the weights of the module.

    Raises:
        ConvertError: if an operation has no polynomial form.
    """
    values = dict(start)
    for step in steps:
        if step.op not in OPERATIONS:
            raise unsupported(step.op, step.name, step.where)
        args, kwargs = mapped((step.args, step.kwargs), Node, values.__getitem__)
        try:
            result = OPERATIONS[step.op](Site(step, trace, weights), *args, **kwargs)
        except Refusal as refusal:
            raise refusal.at(step.name, step.where) from None
        except (RuntimeError, TypeError, ComposeError, WireError) as error:
            if isinstance(error, CostError):
                raise
            raise ConvertError(
                f"{step.name} {step.where} is used in a way that tnsim does not support: {error}"
            ) from error
        results = result if isinstance(result, tuple) else (result,)
        for node, value in zip(step.outputs, results, strict=True):
            if value.shape != node.shape:
                raise ConvertError(
                    f"{step.name} {step.where} was converted to shape {value.shape}, but torch gives {node.shape}. "
                    "This is a mistake in tnsim; please report it."
                )
            values[node] = value
    return values
