"""What a network does that rooms above it know how to: become a torch module, tell the ranks of its bonds."""

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Modular", "Ranked", "modules_by", "ranks_by"]

_MAKERS: list[Callable[[], Callable[[Any, Iterable[str]], Any]]] = []
_RANKERS: list[Callable[[], Callable[..., Any]]] = []


def modules_by(make: Callable[[], Callable[[Any, Iterable[str]], Any]]) -> None:
    """Say what gives, when needed, the maker of a module of a network and the roles that are fixed."""
    _MAKERS[:] = [make]


def ranks_by(ask: Callable[[], Callable[..., Any]]) -> None:
    """Say what gives, when needed, the question for the ranks of a network's bonds."""
    _RANKERS[:] = [ask]


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
        return _MAKERS[0]()(self, fixed)


class Ranked:
    """A network whose bonds have ranks."""

    def ranks(self, under: Any = None, **options: Any) -> Any:
        """How many directions every bond uses: hard and effective rank, in the metric of the law.

        A bond carries the state h(x) behind a layer, or a layer's hidden units (Lx + b)∘(Rx + c), where it
        has no positions. Its eigenvalues are those
        of the covariance of h under the law: a constant takes no room, since a bias adds it. The *hard* rank counts
        those that are not zero: so wide the bond has to be. The *effective* rank is the exponential of the entropy of
        their shares: r equal ones count r. What the layers above make of a direction is not asked: that is
        :func:`tnsim.unfold`.

        Args:
            under: the law of the input; the standard normal by default.
            **options: ``at=``, names of some places only, such as ``["blocks.0", "blocks.0.hidden", "in"]``; by default all
                layers and their hidden units. ``method=``, ``"layerwise"`` (the default: exact up to and with the
                first nonlinear layer, and for samples; behind that states are taken to be Gaussian) or ``"exact"``.
                ``centred=False`` for E[h hᵀ] in place of the covariance. ``budget=``, flops that may be spent, ``memory=``,
                bytes that intermediate tensors may take.

        Returns:
            :class:`tnsim.Ranks`, with ``.hard()``, ``.effective``, ``.plot()`` and ``.to_frame()``.

        Raises:
            CostError: if it would take more than the budget.
            ValueError: for a stack of several models, or if there is no such place.
            MeasureError: if the law has no covariance, or no rule for hidden states.
            ScaleError: if a state leaves the range of its dtype.

        References:
            Effective rank: Roy and Vetterli, The effective rank (EUSIPCO 2007).

        Example:
            >>> import tnsim
            >>> net = tnsim.convert(tnsim.nn.BilinearMLP(6, 4, 3, 2, n_layer=1))
            >>> print(net.ranks().hard())
            {'embed': 4, 'blocks.0.hidden': 3, 'blocks.0': 3, 'head': 2}
        """
        return _RANKERS[0]()(self, under=under, **options)
