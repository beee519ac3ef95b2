"""Sharing: weights of a network that are those of the module, entry by entry, use the module's memory."""

from dataclasses import replace

import torch
from torch import Tensor

from tnsim.algebra import Network
from tnsim.convert.module.weights import Weights
from tnsim.convert.record.trace import words

__all__ = ["shared"]

# what autograd calls the copy of a weight, and operations that only look at it in another way
_VIEWS = words("""
    ToCopyBackward0 AliasBackward0 AsStridedBackward0 DiagonalBackward0 ExpandBackward0 PermuteBackward0
    ReshapeAliasBackward0 SelectBackward0 SliceBackward0 SplitBackward0 SplitWithSizesBackward0 SqueezeBackward0
    SqueezeBackward1 SqueezeBackward2 TBackward0 TransposeBackward0 UnbindBackward0 UnsafeViewBackward0
    UnsqueezeBackward0 ViewBackward0
""")


def shared(net: Network, weights: Weights) -> Network:
    """The same network without copies of the module's parameters, where those have the dtype of the network.

    A forward pass runs on copies, in which it may write. What it left as it was becomes a view of the parameter again,
    so that no memory is taken.

    Args:
        net: the network.
        weights: what the module ran with.
    """
    pairs = [(weights.tensors[name], weights.originals[name]) for name in weights.parameters]
    homes = {t.untyped_storage().data_ptr(): (t, p) for t, p in pairs if _unchanged(t, p)}
    made: dict[int, Tensor] = {}  # an array of several layers stays one

    def of(a: Tensor) -> Tensor:
        t, p = homes.get(a.untyped_storage().data_ptr(), (None, None))
        if t is None or p is None or not _looks_on(a):
            return a
        if id(a) not in made:
            base = p if a.requires_grad else p.detach()
            offset = p.storage_offset() + a.storage_offset() - t.storage_offset()
            made[id(a)] = base.as_strided(a.shape, a.stride(), offset)
        return made[id(a)]

    return replace(net, layers=tuple((name, f.mapped(of)) for name, f in net.layers))


def _unchanged(t: Tensor, p: Tensor) -> bool:
    return p.is_floating_point() and t.dtype == p.dtype and t.stride() == p.stride() and torch.equal(t, p)


def _looks_on(a: Tensor) -> bool:
    """Whether a tensor is made from a weight by views alone."""
    node = a.grad_fn
    while node is not None and node.name() in _VIEWS:
        ((node, _),) = node.next_functions
    return node is None or node.name() == "torch::autograd::AccumulateGrad"
