"""From a network back to a torch module, which trains."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from tnsim.algebra import Network, Poly
from tnsim.algebra.networks.topology import all_terms, from_plain, to_plain
from tnsim.common.wires import is_constant, role_of

__all__ = ["NetworkModule"]


class NetworkModule(nn.Module):
    """A network as a torch module: what :meth:`tnsim.Network.to_module` makes, where it is told what trains.

    Weights are parameters, named after their layer and role (``blocks/0/left``); all else are buffers.

    Args:
        net: a network; its arrays are copied.
        fixed: roles of tensors that shall not train.
    """

    def __init__(self, net: Network, fixed: Iterable[str] = ()):
        super().__init__()
        tensors = [x for f in net.polys for t in all_terms(f) for x in t.tensors]
        roles = {role_of(x.tags) for x in tensors}
        kept = {fixed} if isinstance(fixed, str) else set(fixed)
        if kept - roles:
            raise ValueError(
                f"fixed= names the roles {sorted(kept - roles)}; this network has {sorted(roles)}."
            )
        still = {id(x.data) for x in tensors if is_constant(x.tags) or role_of(x.tags) in kept}
        self.plain, arrays = to_plain(replace(net, layers=tuple((name, _trainable(f)) for name, f in net)))
        self.names: dict[str, str] = {}
        for name, x in arrays.items():
            data = torch.as_tensor(x).detach().clone()
            stem = name.replace(".", "/")
            free = (f"{stem}{'_' * n}" for n in count())
            own = self.names[name] = next(n for n in free if n not in self.names.values())
            if id(x) in still or not (data.is_floating_point() or data.is_complex()):
                self.register_buffer(own, data)
            else:
                self.register_parameter(own, nn.Parameter(data))

    @property
    def network(self) -> Network:
        """The network of the weights as they are now; autograd flows through it to them."""
        return from_plain(self.plain, {name: getattr(self, own) for name, own in self.names.items()})

    def forward(self, x: Tensor) -> Any:
        """The network's output.

        Args:
            x: shape ``(*batch, *in_shape)``, or token ids; see :meth:`tnsim.Network.__call__`.

        Returns:
            Shape ``(*batch, *out_shape)``.
        """
        return self.network(x)

    def extra_repr(self) -> str:
        """Its layers."""
        return repr(self.network)


def _trainable(f: Poly) -> Poly:
    """A layer with its hidden units only where these are made of the very same tensors, and so change with them."""
    if f.units is None:
        return f
    parts = (f.units.products, f.units.read, f.units.rest, f.units.inner)
    same = _weights([part for part in parts if part is not None]) == _weights([f])
    return f if same else replace(f)


def _weights(polys: Iterable[Poly]) -> set[int]:
    tensors = (x for f in polys for t in f.terms for x in t.tensors)
    return {id(x.data) for x in tensors if not is_constant(x.tags)}
