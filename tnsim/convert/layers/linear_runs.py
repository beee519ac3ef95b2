"""Regions: runs of operations that together are one linear map of one tensor.

A rotary embedding, or a tensor less its own mean, is one matrix then and not a sum of terms.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from torch import Tensor

from tnsim.convert.record.trace import Node, Recorded, mapped, members, words

__all__ = ["Region", "regions"]

_JOINS = words("cat concat concatenate stack hstack vstack dstack roll flip setitem")
_SUMS = words("add radd sub rsub subtract")
_LINEAR = words("""
    mul multiply rmul div divide truediv neg negative clone contiguous alias matmul rmatmul mm bmm einsum linear
    getitem select narrow index_select chunk split split_with_sizes tensor_split unbind unsafe_chunk unsafe_split
    flatten ravel view reshape unflatten permute transpose swapaxes swapdims movedim moveaxis t T mT
    squeeze unsqueeze expand broadcast_to repeat repeat_interleave view_as reshape_as expand_as type_as
""")


@dataclass(frozen=True, eq=False)
class Region:
    """Operations through which what they read of ``source`` flows into ``output``, linearly and without parameters.

    Both have the same shape.

    Attributes:
        source: the tensor they read.
        output: the tensor they compute.
        steps: the operations, in order.
    """

    source: Node
    output: Node
    steps: tuple[Recorded, ...]

    @property
    def is_centring(self) -> bool:
        """Whether a mean is taken off."""
        return self.steps[0].op == "mean"

    @property
    def constants(self) -> list[Tensor]:
        """The constant tensors they read."""
        return [c for step in self.steps for c in members((step.args, step.kwargs), Tensor)]

    def __call__(self, x: Tensor) -> Tensor:
        """What they compute from ``x``."""
        known = {self.source: x}
        for step in self.steps:
            args, kwargs = mapped((step.args, step.kwargs), Node, known.__getitem__)
            result = step.function(*args, **kwargs)
            known.update(zip(step.outputs, result if step.several else (result,), strict=True))
        return known[self.output]


def regions(steps: Sequence[Recorded], output: Node, parameters: Set[str]) -> dict[Recorded, Region]:
    """The smallest regions that take a tensor apart and join it again, by the operation in whose place they stand.

    Args:
        steps: operations in order.
        output: what they compute in the end.
        parameters: names of weights that are trained; an operation that reads one stands for itself.
    """
    uses: dict[Node, int] = {output: 1}
    for step in steps:
        for node in step.inputs:
            uses[node] = uses.get(node, 0) + 1
    found: dict[Recorded, Region] = {}
    inside: set[Recorded] = set()
    sources = list(dict.fromkeys(node for step in steps for node in step.inputs))
    for source in sources:
        region = _grown(source, steps, uses, parameters)
        if region is not None and not inside & set(region.steps):
            found[region.steps[0]] = region
            inside |= set(region.steps)
    for region in _centrings(steps, parameters):
        if not inside & set(region.steps):
            found[region.steps[-1]] = region
    return found


def _grown(
    source: Node, steps: Sequence[Recorded], uses: dict[Node, int], parameters: Set[str]
) -> Region | None:
    """A region through which all of the source flows, in several parts on the way."""
    left = {source: uses[source]}
    taken: list[Recorded] = []
    apart = uses[source] > 1
    for step in steps:
        if not step.inputs or not set(step.inputs) <= left.keys():
            continue
        if not _linear(step, parameters):
            return None
        taken.append(step)
        for node in step.inputs:
            left[node] -= 1
        left.update({node: uses.get(node, 0) for node in step.outputs})
        live = [node for node, n in left.items() if n]
        apart = apart or len(live) > 1
        if not apart:
            return None  # one that begins later is shorter
        if len(live) == 1 and live[0] is not source and live[0].shape == source.shape:
            return Region(source, live[0], tuple(taken)) if _joins(taken) else None
    return None


def _centrings(steps: Sequence[Recorded], parameters: Set[str]) -> Iterator[Region]:
    """A tensor less its mean, both of which may be read elsewhere as well."""
    means = {
        step.outputs[0]: step
        for step in steps
        if step.op == "mean" and len(step.inputs) == 1 and not step.is_detached
    }
    for step in steps:
        if step.op not in _SUMS or len(step.inputs) != 2 or not _linear(step, parameters):
            continue
        for mean in (means[node] for node in step.inputs if node in means):
            (source,) = mean.inputs
            if source in step.inputs and step.outputs[0].shape == source.shape:
                yield Region(source, step.outputs[0], (mean, step))


def _linear(step: Recorded, parameters: Set[str]) -> bool:
    if parameters & set(step.weights) or step.rule is not None or step.is_detached:
        return False
    if any(c.requires_grad for c in members((step.args, step.kwargs), Tensor)):
        return False  # a weight that is no parameter; numbers that are equal by chance have gradients of their own
    return step.op in _SUMS | _JOINS or (step.op in _LINEAR and len(step.inputs) == 1)


def _joins(steps: Sequence[Recorded]) -> bool:
    return any(step.op in _JOINS for step in steps)
