"""What a question is given: models as modules, polynomials or networks, brought together as networks."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch

from tnsim.algebra.networks.network import Network
from tnsim.algebra.polys.axes import viewed
from tnsim.algebra.polys.poly import Poly
from tnsim.convert import convert

__all__ = ["Model", "as_network", "comparable", "is_models", "together"]

Model = Network | Poly | torch.nn.Module


def as_network(model: Model, name: str = "model") -> Network:
    """A Network from whatever a user holds: a module is converted, a polynomial is a network of one layer."""
    if isinstance(model, Network):
        return model
    if isinstance(model, Poly):
        return Network((("layer0", model),))
    if isinstance(model, torch.nn.Module):
        return convert(model)
    raise TypeError(f"{name} is a {type(model).__name__}; pass a torch.nn.Module or a tnsim Network.")


def is_models(x: Any) -> bool:
    """Whether something is a list of models, or a run that reads them; none is read for it."""
    if hasattr(x, "labels") and isinstance(x, Sequence):
        return True
    return isinstance(x, list | tuple) and all(isinstance(m, Network | Poly | torch.nn.Module) for m in x)


def together(models: Sequence[Model], names: Sequence[str] = ("a", "b")) -> tuple[Network, ...]:
    """Networks that read the same input in the same dtype on the same device.

    Where some read images along the axes of an image and others flat, all read them along axes.

    Raises:
        ValueError: if they do not, naming the two that differ.
    """
    if not names:
        raise ValueError("the list of models is empty.")
    known: dict[int, tuple[Callable[[], Any], Network]] = {}
    found = []
    for model, name in zip(models, names, strict=True):
        same, net = known.get(id(model), (None, None))
        if net is None or same is None or same() is not model:  # models that are read from disk do not stay
            net = as_network(model, name)
            known[id(model)] = (weakref.ref(model), net)
        found.append(net)
    nets = _seen_alike(found)
    first = nets[0]
    for net, name in zip(nets[1:], names[1:], strict=True):
        for what, mine, other in (
            ("input", first.domain, net.domain),
            ("dtype", first.dtype, net.dtype),
            ("device", _device(first), _device(net)),
        ):
            if mine != other:
                hint = {
                    "input": "Compare models that read the same input.",
                    "dtype": f"Write {name}.to(dtype={first.dtype!r}).",
                    "device": f"Write {name}.to(device={mine!r}).",
                }[what]
                raise ValueError(f"{names[0]} has {what} {mine}, {name} has {what} {other}. {hint}")
    return nets


def _seen_alike(nets: Sequence[Network]) -> tuple[Network, ...]:
    """Flat images along the axes along which one of the networks reads them."""
    axes = next((net.domain for net in nets if len(net.domain) > 1 and net.domain[0][0] != "s"), ())
    size = prod(n for _, n in axes)

    def seen(net: Network) -> Network:
        if not axes or len(net.domain) > 1 or net.domain[0][1] != size:
            return net
        (name, f), *rest = net.layers
        return replace(net, layers=((name, viewed(f, axes)), *rest))

    return tuple(map(seen, nets))


def comparable(a: Model, b: Model) -> tuple[Network, ...]:
    """Networks with the same inputs and the same outputs."""
    nets = together((a, b))
    if nets[0].codomain != nets[1].codomain:
        raise ValueError(
            f"a has outputs {nets[0].polys[-1].out_shape}, b has outputs {nets[1].polys[-1].out_shape}; an inner "
            "product needs the same outputs. moments(a, b) compares all outputs of one with all of the other."
        )
    return nets


def _device(net: Network) -> str:
    return str(getattr(net.polys[0].like, "device", "cpu"))
