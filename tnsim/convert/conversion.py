"""Conversion: from a torch module to a Network."""

from typing import Any

import torch
from torch import nn

from tnsim.algebra import Network, Poly
from tnsim.convert.check import check_finite, verify
from tnsim.convert.cut import cut
from tnsim.convert.errors import ConvertError
from tnsim.convert.evaluate import evaluate
from tnsim.convert.forward import check_signature, record
from tnsim.convert.rules import register
from tnsim.convert.shape import example_shape, inferred
from tnsim.convert.value import Value, start
from tnsim.convert.weights import Weights

__all__ = ["convert"]


def convert(module: nn.Module, example: Any = None, *, dtype: torch.dtype = torch.float64) -> Network:
    """A polynomial torch module as a :class:`~tnsim.algebra.Network`: ``convert(m)(x) == m(x)``.

    The module is used as it is, and left as it is. One forward pass is traced; every operation is then carried out
    on polynomials instead of numbers, and the result is compared with the module on a random batch. Layers are
    named after the module's children. Autograd flows from the network back to the module's parameters; convert
    under ``torch.no_grad()`` if that is not wanted.

    Supported are linear and bilinear maps, sums and products of data, whole powers, convolutions, average pooling,
    BatchNorm and Dropout in eval mode, everything that only moves entries around, and modules with a rule (see
    :func:`register`).

    Args:
        module: a module whose ``forward`` takes one batch of inputs, batch axis first.
        example: a batch of inputs, for its shape; or one vector. Needed only when the shape cannot be inferred
            from the weights, as for images.
        dtype: the dtype of the network.

    Returns:
        A network whose input has the shape of one sample; outputs of several axes come out flat.

    Raises:
        ConvertError: if the module is not polynomial, or not supported; the message says where and what to do.

    Example:
        >>> import torch
        >>> from tnsim.convert import convert
        >>> class Model(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.embed = torch.nn.Linear(8, 4)
        ...         self.left = torch.nn.Linear(4, 4)
        ...         self.right = torch.nn.Linear(4, 4)
        ...     def forward(self, x):
        ...         x = self.embed(x)
        ...         return x + self.left(x) * self.right(x)
        >>> model = Model()
        >>> net = convert(model)
        >>> net.names, net.degree
        (('embed', 'left+right'), 2)
        >>> x = torch.randn(5, 8)
        >>> torch.allclose(net(x), model.double()(x.double()))
        True
    """
    if not isinstance(module, nn.Module):
        hint = " Call the class first." if isinstance(module, type) else " Pass the model itself."
        raise ConvertError(
            f"convert takes a torch.nn.Module, not {getattr(module, '__name__', type(module).__name__)!r}.{hint}"
        )
    check_signature(module)
    weights = Weights.of(module, dtype)
    trace = inferred(module, weights) if example is None else record(module, example_shape(example), weights)
    like = torch.empty((), dtype=weights.dtype, device=weights.device)
    layers = []
    shape, batch = trace.source.shape, 0
    for layer in cut(trace):
        value = start(shape, batch, like)
        value = evaluate(layer.steps, {layer.source: value}, trace, weights)[layer.output]
        layers.append((layer.name, value.poly))
        shape, batch = value.shape, value.batch
    if batch != 0:
        raise ConvertError(f"the output has its batch on axis {batch}; return it with the batch axis first.")
    layers[-1] = (layers[-1][0], _shaped(value))
    net = Network(tuple(layers), trace.source.shape[1:])
    check_finite(net)
    verify(module, net, weights, trace.precision)
    return net


def _shaped(value: Value) -> Poly:
    """One number for every sample is an output without axes."""
    return value.poly[0] if not value.item else value.poly


convert.register = register  # type: ignore[attr-defined]
