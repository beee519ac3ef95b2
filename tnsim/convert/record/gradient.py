"""Gradient: what autograd takes for constant in a forward pass, by ``detach`` or ``no_grad``."""

from torch import Tensor

from tnsim.convert.record.trace import Node, Trace, members

__all__ = ["constant", "entangled"]


def constant(trace: Trace) -> frozenset[Node]:
    """The tensors through which no gradient comes back from the output."""
    felt, cut_off = _reached(trace)
    return frozenset(cut_off - felt)


def entangled(trace: Trace) -> frozenset[Node]:
    """The tensors with trained weights behind them that the output reads both with and without their gradient.

    What lies behind one is a constant in one place and none in the other, and so cannot be a layer by itself.
    """
    felt, cut_off = _reached(trace)
    trained: set[Node] = set()
    for step in trace.steps:
        weights = members((step.args, step.kwargs), Tensor)
        if (
            step.rule is not None
            or any(w.requires_grad for w in weights)
            or trained.intersection(step.inputs)
        ):
            trained.update(step.outputs)
    return frozenset(felt & cut_off & trained)


def _reached(trace: Trace) -> tuple[set[Node], set[Node]]:
    """The tensors that a gradient of the output reaches, and those where it is cut off on some way."""
    felt: set[Node] = {trace.output}
    cut_off: set[Node] = set()
    for step in reversed(trace.steps):
        if felt.intersection(step.outputs):
            (cut_off if step.is_detached else felt).update(step.inputs)
        if cut_off.intersection(step.outputs):
            cut_off.update(step.inputs)
    return felt, cut_off
