"""What becomes a torch module again; :mod:`tnsim.convert` makes it, which is where torch is."""

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Modular", "modules_by"]

_MAKERS: list[Callable[[Any, Iterable[str]], Any]] = []


def modules_by(make: Callable[[Any, Iterable[str]], Any]) -> None:
    """Say what makes a module of a network and the roles that are fixed."""
    _MAKERS[:] = [make]


class Modular:
    """A network that can be trained."""

    def to_module(self, fixed: Iterable[str] = ()) -> Any:
        """A torch module that computes this network, and trains.

        Its parameters are the weights, each once however often it stands in the network, in the network's dtype and on its
        device; ``module.float()``, ``module.to(device)``, ``state_dict()`` and optimisers work as usual, and
        ``tnsim.convert(module)`` is the network of the trained weights. What a network writes as a dense matrix (a
        convolution) trains as one. What does not train: identities, selections and rearrangements, masks, and other buffers
        and constants of the module that the network came from, as far as they are tensors of their own. A buffer that was
        added to a bias, or multiplied into a weight, is part of it.

        Units of layers (of which ``attribute(to="hidden")`` tells) are kept where training cannot make them others, as in
        layers without biases.

        Args:
            fixed: roles (or one) of tensors that shall not train, as drawings and ``net[0].terms`` show them: ``"embed"``.

        Returns:
            A ``torch.nn.Module`` whose ``forward`` is ``net(x)``.

        Raises:
            ValueError: if nothing has a role that ``fixed`` names.

        Example:
            >>> import torch, tnsim
            >>> small = tnsim.truncate(tnsim.nn.BilinearMLP(6, 5, 5, 3, 2), rank=2).network
            >>> module = small.to_module()
            >>> x = torch.randn(5, 6, dtype=torch.float64)
            >>> torch.equal(module(x), small(x)), tnsim.convert(module).names == small.names
            (True, True)
            >>> module(x).square().mean().backward()
            >>> all(p.grad is not None for p in module.parameters())
            True
        """
        return _MAKERS[0](self, fixed)
