"""Conversion: from a torch module to a Network."""

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn

from tnsim.algebra import Network
from tnsim.common.values import once
from tnsim.convert.layers.assemble import network
from tnsim.convert.layers.check import check_finite, deviation, verify
from tnsim.convert.layers.composed import check_composed
from tnsim.convert.layers.grouping import Cut
from tnsim.convert.layers.network_module import NetworkModule
from tnsim.convert.layers.sharing import shared
from tnsim.convert.module.ambient import undisturbed
from tnsim.convert.module.errors import ConvertError
from tnsim.convert.module.output import Output
from tnsim.convert.module.rules import register
from tnsim.convert.module.weights import Weights
from tnsim.convert.powers.fixed import Fixing
from tnsim.convert.record.forward import check_signature
from tnsim.convert.record.shape import inferred, traced
from tnsim.convert.record.trace import Trace
from tnsim.measure import Measure
from tnsim.measure.laws.under import law

__all__ = ["convert"]


def convert(
    module: nn.Module,
    example: Any = None,
    *,
    dtype: torch.dtype = torch.float64,
    output: Output = None,
    cut: Cut = None,
    norm: Literal["fixed"] | None = None,
    under: Measure | None = None,
) -> Network:
    """A polynomial torch module as a :class:`~tnsim.algebra.Network`: ``convert(m)(x) == m(x)``.

    The module is only read: what runs is a copy of it and of everything it holds, so that nothing of it changes, also
    if the conversion is interrupted or runs in several threads. One forward pass is traced; every operation is then
    carried out on polynomials instead of numbers, and the result is compared with the module on a random batch. Layers
    are named after the module's children. Autograd flows from the network back to the module's parameters, except
    through what ``forward`` detaches or computes under ``no_grad``; convert under ``torch.no_grad()`` if that is not
    wanted.

    Supported are linear and bilinear maps, sums and products of data, whole powers, BatchNorm and Dropout in eval mode,
    everything that only moves entries around or is linear in its data, complex numbers, what torch itself takes apart into
    such operations, and modules with a rule (see :func:`register`).

    Args:
        module: a module whose ``forward`` takes one batch of inputs, batch axis first.
        example: a batch of inputs, for its shape; or one vector. Needed only when the shape cannot be inferred
            from the weights, as for images and sequences: ``(1, n_ctx, d)``, or token ids ``(1, n_ctx)`` as integers.
        dtype: the dtype of the network.
        output: which tensor is the result where ``forward`` returns several in a dictionary, a tuple or an object: its
            name, its number, or a function of what is returned.
        cut: where to cut the model into layers. By default wherever all data flows through one tensor; with names of
            modules, such as ``"blocks.*"`` or ``["embed", "blocks.0"]``, before and after each of these and nowhere
            else; with ``[]`` nowhere. Fewer cuts make ``method="layerwise"`` dearer and closer to the exact answer.
        norm: ``"fixed"`` puts a constant in the place of every norm of the data that the model divides by (RMSNorm,
            LayerNorm, GroupNorm, ``F.normalize``, and those written by hand): its root mean square under ``under`` at this
            point of the network. Nothing else of them changes: means are taken off, gains and biases stay. That is an
            approximation; ``net.notes`` names it and says by how much the outputs deviate, instead of raising an error.
        under: the law of the input for ``norm``, such as ``tnsim.Gaussian()`` or ``tnsim.Empirical(x)``.

    Returns:
        A network whose input has the shape of one sample. Of a model of sequences it has the axes
        ``("s", n_ctx), ("d", features)``, and so has an output of one vector for each position; token ids are one-hot
        vectors. Other outputs of several axes come out flat.

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
    if norm not in (None, "fixed") or (norm is None) != (under is None):
        raise ConvertError(
            f'norm={norm!r} and under={under!r} do not go together; write norm="fixed", under=law, with a law of the input '
            "such as tnsim.Gaussian(), or leave both out."
        )
    if under is not None:
        law("under", under)
    if isinstance(module, NetworkModule):
        if (output, cut, norm) != (None, None, None):
            raise ConvertError(
                "this module is a network already, with its layers and output; leave output=, cut=, norm= out."
            )
        return _again(module, dtype)
    devices = {t.device for t in (*module.parameters(), *module.buffers())}
    return undisturbed(lambda: _converted(module, example, dtype, output, cut, under), devices)


def _converted(
    module: nn.Module, example: Any, dtype: torch.dtype, output: Output, cut: Cut, law: Measure | None
) -> Network:
    check_signature(module)

    def in_dtype(dtype: torch.dtype) -> tuple[Trace, Network, Fixing | None]:
        weights = Weights.of(module, dtype)
        trace = (
            inferred(module, weights, output) if example is None else traced(module, example, weights, output)
        )
        return trace, *network(trace, trace.weights, law, cut)

    trace, net, fixing = in_dtype(dtype)
    net = shared(net, trace.weights)
    if not torch.is_grad_enabled():
        bare = once(lambda a: a.detach())
        net = replace(net, layers=tuple((name, f.mapped(bare)) for name, f in net))
    check_finite(net)
    if fixing is not None and fixing.constants:
        net = replace(net, notes=(fixing.note(deviation(net, trace, fixing)),))
    else:
        verify(net, trace, lambda: in_dtype(torch.float32)[1])
    check_composed(net)
    return net


def _again(module: NetworkModule, dtype: torch.dtype) -> Network:
    """The network of a module that was made from one."""
    Weights.of(module, dtype)  # refuses what is not finite, and what a device does not know
    net = module.network
    cast = once(lambda a: _cast(a, dtype))
    return replace(net, layers=tuple((name, f.mapped(cast)) for name, f in net))


def _cast(a: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    a = a.to(dtype) if a.is_floating_point() else a
    return a if torch.is_grad_enabled() else a.detach()


convert.register = register  # type: ignore[attr-defined]
